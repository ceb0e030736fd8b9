"""The commands of ConnectionService."""

import asyncio
import sys
import webbrowser
from contextlib import aclosing
from datetime import UTC, datetime
from uuid import uuid4

from tieout.cli.names import find_connection, find_connections
from tieout.cli.options import Server
from tieout.cli.run import run
from tieout.cli.show import ago, document, documents, moment, say, table, word
from tieout.client import Client
from tieout.errors import CallerError, PersonMustActError
from tieout.v1.connection_service_pb2 import (
    Connection,
    ConnectionEventKind,
    ConnectionHealth,
    ConnectionState,
    ConnectResponse,
    ReconnectResponse,
    WatchConnectionsResponse,
)


def connect(server: Server, merchant: str, return_url: str, *, browser: bool, wait: bool, as_json: bool) -> None:
    """Start a connection and lead the merchant to Xero's consent."""

    async def command(client: Client) -> None:
        answer = await client.connections.connect(merchant, return_url=return_url, request_id=str(uuid4()))
        await _consent(client, answer, browser=browser, wait=wait, as_json=as_json)

    run(server, command, as_json=as_json)


def reconnect(server: Server, name: str, return_url: str, *, browser: bool, wait: bool, as_json: bool) -> None:
    """Lead the merchant to a new consent for a connection."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        answer = await client.connections.reconnect(connection.id, return_url=return_url, request_id=str(uuid4()))
        await _consent(client, answer, browser=browser, wait=wait, as_json=as_json)

    run(server, command, as_json=as_json)


def choose(server: Server, name: str, organisation: str, *, as_json: bool) -> None:
    """Pick one of several organisations, by its id or by its name; to pick it once more changes nothing."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name, ConnectionState.CONNECTION_STATE_PENDING_ORGANISATION)
        if connection.organisation_choices:
            tenant = _offered(connection, organisation)
            connection = await client.connections.choose_organisation(connection.id, tenant)
        else:
            _check_chosen(connection, organisation)
        _show(connection, as_json=as_json)

    run(server, command, as_json=as_json)


def show(server: Server, name: str, merchant: str, *, as_json: bool) -> None:
    """Show one connection, or list those of a merchant, or all."""

    async def command(client: Client) -> None:
        listed = client.connections.list(merchant_id=merchant)
        found = await find_connections(client, name) if name else [it async for it in listed]
        if as_json:
            documents(found)
        elif name and len(found) == 1:
            _show(found[0], as_json=False)
        else:
            _list(found)

    run(server, command, as_json=as_json)


def watch(server: Server, merchant: str, names: list[str], after: str, *, as_json: bool) -> None:
    """Follow connections until Ctrl-C; without a token, what they are now comes first."""

    async def command(client: Client) -> None:
        ids = [(await find_connection(client, name)).id for name in names]
        stream = client.connections.watch(merchant_id=merchant, connection_ids=ids, after=after, from_start=not after)
        async with aclosing(stream) as messages:
            async for message in messages:
                _tell(message, as_json=as_json)

    run(server, command, as_json=as_json)


async def _consent(
    client: Client, answer: ConnectResponse | ReconnectResponse, *, browser: bool, wait: bool, as_json: bool
) -> None:
    if as_json:
        document(answer)
    else:
        say(f"The merchant consents here, until {moment(answer.expires_at)}")
        say(answer.authorization_url)
        if browser and sys.stdout.isatty():
            await asyncio.to_thread(webbrowser.open, answer.authorization_url)
    if wait:
        if not as_json:
            say("Waiting until then for the consent to come back; Ctrl-C ends only the waiting.")
        expires_in = (answer.expires_at.ToDatetime(UTC) - datetime.now(UTC)).total_seconds()
        try:
            async with asyncio.timeout(expires_in):
                connection = await _consented(client, answer.connection)
        except TimeoutError as error:
            raise PersonMustActError("The merchant did not consent in time.") from error
        _show(connection, as_json=as_json)


async def _consented(client: Client, before: Connection) -> Connection:
    """The connection once consent has come back: connected, or waiting for the choice of an organisation."""
    async with aclosing(client.connections.watch(connection_ids=[before.id], from_start=True)) as messages:
        async for message in messages:
            if message.change.event.kind == ConnectionEventKind.CONNECTION_EVENT_KIND_AUTHORISATION_REFUSED:
                raise PersonMustActError(message.change.event.reason.sentence)
            now = message.change.connection if message.HasField("change") else message.snapshot
            if _answered(now) and (now.state, now.updated_at.ToNanoseconds()) != (
                before.state,
                before.updated_at.ToNanoseconds(),
            ):
                return now
    raise PersonMustActError("The watch ended before the merchant consented.")


def _answered(connection: Connection) -> bool:
    return connection.state in {
        ConnectionState.CONNECTION_STATE_CONNECTED,
        ConnectionState.CONNECTION_STATE_PENDING_ORGANISATION,
    }


def _check_chosen(connection: Connection, named: str) -> None:
    organisation = connection.organisation
    if named == organisation.xero_tenant_id or named.casefold() == organisation.name.casefold():
        return
    now = f"connected to {organisation.name}" if _works(connection) else _state(connection)
    raise CallerError(f"This connection does not wait for a choice; it is {now}.")


def _works(connection: Connection) -> bool:
    return connection.state == ConnectionState.CONNECTION_STATE_CONNECTED


def _offered(connection: Connection, named: str) -> str:
    choices = connection.organisation_choices
    found = [it.xero_tenant_id for it in choices if named in {it.xero_tenant_id, it.name}]
    found = found or [it.xero_tenant_id for it in choices if it.name.casefold() == named.casefold()]
    if len(found) == 1:
        return found[0]
    offered = ", ".join(f"{it.name} ({it.xero_tenant_id})" for it in choices) or "none"
    raise CallerError(f"{named!r} is not exactly one of the organisations offered: {offered}.")


def _state(connection: Connection) -> str:
    state = word(ConnectionState, connection.state, "CONNECTION_STATE_")
    degraded = connection.health == ConnectionHealth.CONNECTION_HEALTH_DEGRADED
    return f"{state}, degraded" if degraded else state


def _list(connections: list[Connection]) -> None:
    made = table("merchant", "organisation", "state", "synced", "id")
    now = datetime.now(UTC)
    for it in connections:
        synced = ago(it.last_synced_at, now)
        made.add_row(it.merchant_id, it.organisation.name, _state(it), synced, it.id)
    say(made if connections else "There are no connections; `tieout connect MERCHANT` makes one.")


def _show(connection: Connection, *, as_json: bool) -> None:
    if as_json:
        document(connection)
        return
    made = table("", "")
    made.show_header = False
    organisation, user = connection.organisation, connection.authorised_by
    rows = {
        "connection": connection.id,
        "merchant": connection.merchant_id,
        "state": _state(connection),
        "why": connection.reason.sentence,
        "organisation": " ".join(filter(None, (organisation.name, organisation.base_currency))),
        "connected by": " ".join(filter(None, (user.name, user.email, user.organisation_role))),
        "missing scopes": " ".join(connection.missing_scopes),
        "choose from": "\n".join(f"{it.name}  {it.xero_tenant_id}" for it in connection.organisation_choices),
        "last synced": moment(connection.last_synced_at),
    }
    for label, value in rows.items():
        if value:
            made.add_row(label, value)
    say(made)


def _tell(message: WatchConnectionsResponse, *, as_json: bool) -> None:
    if as_json:
        document(message)
    elif message.HasField("snapshot"):
        it = message.snapshot
        say(f"{it.id}  {it.merchant_id}  {_state(it)}  {it.reason.sentence}".rstrip())
    elif message.HasField("change"):
        event, it = message.change.event, message.change.connection
        kind = word(ConnectionEventKind, event.kind, "CONNECTION_EVENT_KIND_")
        told = f"{moment(event.occurred_at)}  {it.id}  {it.merchant_id}  {kind}: {_state(it)}  {event.reason.sentence}"
        say(told.rstrip())
