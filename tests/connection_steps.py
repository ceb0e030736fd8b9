"""What the tests of connections do to one: consent, do its work as the engine would, read what was told of it."""

from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import msgspec
from sqlalchemy import select

from databases import take
from fakes import World
from tieout_server.clock import from_micros
from tieout_server.connections.messages import Connect, Reconnect, Return, Started
from tieout_server.errors import AccessRevokedError
from tieout_server.ledger.links import Link, LinkChange, LinkEvent
from tieout_server.storage import tables, work
from tieout_server.storage.work import Task
from tieout_server.work.engine import Job


def state_of(started: Started) -> str:
    return parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]


async def connected(around: World, merchant_id: str = "acme", code: str = "code") -> Link:
    started = await around.connections.connect(Connect(merchant_id))
    return (await around.connections.complete(Return(state_of(started), code))).link


async def reconnected(around: World, link: Link) -> Link:
    started = await around.connections.reconnect(Reconnect(link.id))
    return (await around.connections.complete(Return(state_of(started), around.xero.code))).link


def shut_out(around: World) -> AccessRevokedError:
    """Xero refuses the books from now on, with this; they stay linked."""
    around.xero.refusal = refusal = AccessRevokedError("Refused.", words="AuthenticationUnsuccessful")
    return refusal


async def due_at(around: World, kind: str, connection_id: str) -> datetime | None:
    query = select(tables.work.c.due_at).where(tables.work.c.kind == kind, tables.work.c.connection_id == connection_id)
    async with around.database.read() as tx:
        micros = (await tx.execute(query)).scalar_one_or_none()
    return None if micros is None else from_micros(micros)


async def do(around: World, kind: str, connection_id: str) -> datetime | None:
    """One slice of this work, whose time comes now; answers when to go on."""
    due = await due_at(around, kind, connection_id)
    assert due, f"{kind} is not to be done"
    around.clock.time = max(around.clock.time, due)
    engine = around.connections._means.engine
    lease = await take(around.database, Task(kind, connection_id, "read"), now=around.clock.now())
    assert lease
    again_at = await engine._kinds[kind].perform(Job(lease))
    async with around.database.write() as tx:
        await work.finish(tx, lease, again_at=again_at)
    return again_at


async def history(around: World, link: Link) -> list[LinkEvent]:
    """What happened to the connection, oldest first."""
    return list(reversed(await around.connections.history(link.id, before=None, limit=100)))


async def told(around: World, link: Link) -> list[LinkChange]:
    """What watchers were told of the connection."""
    query = select(tables.events.c.payload).where(
        tables.events.c.topic == "connection", tables.events.c.subject == link.id
    )
    async with around.database.read() as tx:
        payloads = (await tx.execute(query.order_by(tables.events.c.position))).scalars().all()
    return [msgspec.json.decode(payload, type=LinkChange) for payload in payloads]
