"""The commands that look at connections, follow them and end them."""

from collections.abc import Sequence
from contextlib import aclosing
from itertools import zip_longest
from uuid import uuid4

from tieout.cli.confirm import confirm
from tieout.cli.connection import card, evidence, line, line_now, line_of_history, listing, named, state, way, who_acts
from tieout.cli.lists import listed, page_size
from tieout.cli.names import find_connection, find_connections
from tieout.cli.options import Server
from tieout.cli.run import LATER, PERSON, run
from tieout.cli.show import document, documents, say
from tieout.client import Client
from tieout.v1.connection_service_pb2 import (
    CheckConnectionResponse,
    Connection,
    ConnectionHealth,
    ConnectionState,
    WatchConnectionsResponse,
)
from tieout.v1.types_pb2 import Owner

_KEPT = "What was read of it, its settings and its history stay; {way} leads back."
_NEVER_WAS = "It was never connected; {way} begins anew."
_ERASED = (
    "What was read of it is being erased, and so are the name and the email of who consented. "
    "Its history stays, without them."
)


def show(server: Server, name: str, merchant: str, states: Sequence[str], *, as_json: bool) -> None:
    """Show one connection, or list those of a merchant, or all; only those in these states."""
    wanted = [ConnectionState.Value(f"CONNECTION_STATE_{it}") for it in states]

    async def command(client: Client) -> None:
        pages = client.connections.list(merchant_id=merchant, states=wanted)
        found = await find_connections(client, name) if name else [it async for it in pages]
        found = [it for it in found if it.state in (wanted or [it.state])]
        if as_json:
            documents(found)
        elif name and len(found) == 1:
            say(card(found[0]))
        elif found:
            say(listing(found))
        else:
            say("There are none." if wanted else "There are no connections; `tieout connect MERCHANT` makes one.")

    run(server, command, as_json=as_json)


def disconnect(server: Server, name: str, *, purge: bool, yes: bool, as_json: bool) -> None:
    """End a connection; what was read is only erased with `purge`, and after a yes."""
    connection = Connection()

    async def find(client: Client) -> None:
        connection.CopyFrom(await find_connection(client, name))

    async def command(client: Client) -> None:
        ended = await client.connections.disconnect(connection.id, purge_data=purge, request_id=str(uuid4()))
        if as_json:
            document(ended)
        else:
            say(f"{named(ended)} is {state(ended)}.")
            kept = _KEPT if ended.HasField("organisation") else _NEVER_WAS
            say(_ERASED if purge else kept.format(way=way(ended)))

    run(server, find, as_json=as_json)
    if purge and not yes:
        confirm(f"Erase all that was read of {named(connection)}, for good?")
    run(server, command, as_json=as_json)


def purge_merchant(server: Server, merchant: str, *, disconnect: bool, yes: bool, as_json: bool) -> None:
    """Erase all that is kept of a merchant, after a yes."""

    async def command(client: Client) -> None:
        answer = await client.connections.purge_merchant(merchant, disconnect=disconnect, request_id=str(uuid4()))
        if as_json:
            document(answer)
            return
        say(f"All that is kept of {merchant} is being erased, over {len(answer.connection_ids)} connections:")
        for count in answer.counts:
            if count.rows:
                say(f"{count.rows:>12,} {count.kind.replace('_', ' ')}")

    if not yes:
        confirm(f"Erase all that is kept of {merchant}, for good?")
    run(server, command, as_json=as_json)


def check(server: Server, name: str, *, as_json: bool) -> None:
    """Find out whether a connection works; leaves with the exit code of what has to happen next."""

    async def command(client: Client) -> int:
        connection = await find_connection(client, name)
        answer = await client.connections.check(connection.id)
        if as_json:
            document(answer)
        else:
            _tell_verdict(answer)
        return _next_move(answer.connection)

    run(server, command, as_json=as_json)


def events(server: Server, name: str, limit: int, *, as_json: bool) -> None:
    """List what happened to a connection, newest first."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        pages = client.connections.list_events(connection.id, page_size=page_size(limit))
        found = await pages.first(limit and limit + 1)
        shown = found[:limit] if limit else found
        if as_json:
            documents(shown)
        else:
            lines = [line_of_history(event, before) for event, before in zip_longest(shown, found[1:])]
            listed("\n".join(lines), more=len(found) > len(shown))

    run(server, command, as_json=as_json)


def watch(server: Server, merchant: str, names: list[str], after: str, *, as_json: bool) -> None:
    """Follow connections until Ctrl-C; without a token, what they are now comes first."""

    async def command(client: Client) -> None:
        ids = [(await find_connection(client, name)).id for name in names]
        stream = client.connections.watch(merchant_id=merchant, connection_ids=ids, after=after, from_start=not after)
        async with aclosing(stream) as messages:
            last: dict[str, ConnectionHealth.ValueType] = {}
            async for message in messages:
                _tell(message, last, as_json=as_json)

    run(server, command, as_json=as_json)


def _tell_verdict(answer: CheckConnectionResponse) -> None:
    connection = answer.connection
    if answer.evidence:
        say(evidence(answer.evidence))
    say(f"{named(connection)}: {state(connection)}")
    for sentence in (connection.reason.sentence, who_acts(connection)):
        if sentence:
            say(sentence)


def _next_move(connection: Connection) -> int:
    """The exit code: nothing has to happen, a person must act, or it passes."""
    if connection.state != ConnectionState.CONNECTION_STATE_CONNECTED:
        return PERSON
    if connection.health != ConnectionHealth.CONNECTION_HEALTH_DEGRADED:
        return 0
    return LATER if connection.reason.owner in {Owner.OWNER_XERO, Owner.OWNER_NOBODY} else PERSON


def _tell(message: WatchConnectionsResponse, last: dict[str, "ConnectionHealth.ValueType"], *, as_json: bool) -> None:
    """Print what was told; `last` keeps each connection's health, so that it can be said how that changed."""
    if as_json:
        document(message)
    elif message.HasField("snapshot"):
        say(line_now(message.snapshot))
        last[message.snapshot.id] = message.snapshot.health
    elif message.HasField("change"):
        connection = message.change.connection
        say(line(message.change, last.get(connection.id)))
        last[connection.id] = connection.health
