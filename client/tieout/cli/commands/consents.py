"""The commands that lead a person to consent, and wait for it."""

import asyncio
import sys
import webbrowser
from contextlib import aclosing
from datetime import UTC, datetime
from uuid import uuid4

from tieout.cli.connection import card, state
from tieout.cli.names import find_connection
from tieout.cli.options import Server
from tieout.cli.run import run
from tieout.cli.show import document, moment, say
from tieout.client import Client
from tieout.errors import CallerError, PersonMustActError
from tieout.v1.connection_service_pb2 import (
    Connection,
    ConnectionEvent,
    ConnectionEventKind,
    ConnectionState,
    ConnectResponse,
    ReconnectResponse,
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
            if message.HasField("snapshot"):  # what happened before the watch began is in the history
                now, happened = message.snapshot, await _since_asked(client, before.id)
            else:
                now, happened = message.change.connection, [message.change.event]
            for event in happened:
                if event.kind == ConnectionEventKind.CONNECTION_EVENT_KIND_AUTHORISATION_REFUSED:
                    raise PersonMustActError(event.reason.sentence)
            # What works already changes for other reasons, too; what a consent changes bears the name of a person.
            if _answered(now) and (not _works(before) or any(_by_a_person(event) for event in happened)):
                return now
    raise PersonMustActError("The watch ended before the merchant consented.")


async def _since_asked(client: Client, connection_id: str) -> list[ConnectionEvent]:
    """What happened since consent was asked for last."""
    happened: list[ConnectionEvent] = []
    async for event in client.connections.list_events(connection_id):
        if event.kind == ConnectionEventKind.CONNECTION_EVENT_KIND_AUTHORISATION_STARTED:
            break
        happened.append(event)
    return happened


def _by_a_person(event: ConnectionEvent) -> bool:
    return event.actor not in {"", "caller", "tieout"}


def _answered(connection: Connection) -> bool:
    return connection.state in {
        ConnectionState.CONNECTION_STATE_CONNECTED,
        ConnectionState.CONNECTION_STATE_PENDING_ORGANISATION,
    }


def _check_chosen(connection: Connection, named: str) -> None:
    organisation = connection.organisation
    if named == organisation.xero_tenant_id or named.casefold() == organisation.name.casefold():
        return
    now = f"connected to {organisation.name}" if _works(connection) else state(connection)
    raise CallerError(f"This connection does not wait for a choice; it is {now}.")


def _offered(connection: Connection, named: str) -> str:
    choices = connection.organisation_choices
    found = [it.xero_tenant_id for it in choices if named in {it.xero_tenant_id, it.name}]
    found = found or [it.xero_tenant_id for it in choices if it.name.casefold() == named.casefold()]
    if len(found) == 1:
        return found[0]
    offered = ", ".join(f"{it.name} ({it.xero_tenant_id})" for it in choices) or "none"
    raise CallerError(f"{named!r} is not exactly one of the organisations offered: {offered}.")


def _works(connection: Connection) -> bool:
    return connection.state == ConnectionState.CONNECTION_STATE_CONNECTED


def _show(connection: Connection, *, as_json: bool) -> None:
    if as_json:
        document(connection)
    else:
        say(card(connection))
