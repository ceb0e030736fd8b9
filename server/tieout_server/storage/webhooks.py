"""The inbox of webhooks: which documents have to be read because Xero named them, and since when.

A document has one row however often it is named, in whatever order: the latest event counts. The row goes with the
commit of a version that is not older. What moved with something else has a row of its own beside it, since the
version that satisfies an event may be older than what moved silently. Rows of a connection are written under the lock
of its work (`work.wake` comes first), so that who takes them out and who puts them in cannot wait for each other.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import EPOCH, from_micros, to_micros
from tieout_server.ledger.documents import Entity
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import webhook_deliveries, webhook_events

HEARD_EVERY = timedelta(minutes=1)
"""How exactly it is kept when a delivery last came: one row of all processes, not to be fought over."""
FOLLOWS = "FOLLOWS"
"""The kind of what no event named, but what moved with something that one did."""
ANY = ""
"""In the place of an id: whatever changed of the entity."""


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A document that has to be read, and the version that is wanted."""

    entity: Entity
    xero_id: str
    kind: str
    event_at: datetime
    """By Xero's clock: a version that is older is not the one that the event is about. Of what follows: when it was
    put in, by ours, so that what is put in while it is being read is read once more."""
    tries: int = 0
    """How often something older than the event was read, or nothing was answered."""

    @property
    def follows(self) -> bool:
        """Whether no event named it: whatever version there is will do."""
        return self.kind == FOLLOWS


def following(entity: Entity, xero_id: str = ANY) -> Named:
    """Something to be read because something else changed."""
    return Named(entity=entity, xero_id=xero_id, kind=FOLLOWS, event_at=EPOCH)


async def put(tx: Transaction, connection_id: str, named: Sequence[Named], at: datetime) -> None:
    """Keep these as due now. What is there for the same or a later event stays."""
    if not named:
        return
    now = to_micros(at)
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    rows = [
        (
            connection_id,
            n.entity.value,
            n.xero_id,
            int(n.follows),
            n.kind,
            now if n.follows else to_micros(n.event_at),
            now,
            now,
        )
        for n in named
    ]
    await tx.exec_driver_sql(_PUT.format(place), rows)


async def due(tx: Transaction, connection_id: str, now: datetime, limit: int) -> Sequence[Named]:
    """What is to be read by now, oldest first."""
    row = webhook_events.c
    found = await tx.execute(
        select(row.entity, row.xero_id, row.kind, row.event_at, row.tries)
        .where(row.connection_id == connection_id, row.due_at <= to_micros(now))
        .order_by(row.due_at, row.entity, row.xero_id)
        .limit(limit)
    )
    return [
        Named(entity=Entity(entity), xero_id=xero_id, kind=kind, event_at=from_micros(event_at), tries=tries)
        for entity, xero_id, kind, event_at, tries in found
    ]


async def next_due_at(tx: Transaction, connection_id: str) -> datetime | None:
    """When the next one is to be read; None if there is none."""
    query = select(func.min(webhook_events.c.due_at)).where(webhook_events.c.connection_id == connection_id)
    micros: int | None = (await tx.execute(query)).scalar_one()
    return None if micros is None else from_micros(micros)


async def take_out(tx: Transaction, connection_id: str, named: Sequence[Named]) -> None:
    """Take these out, unless a later event has come meanwhile."""
    for start in range(0, len(named), _AT_ONCE):
        await tx.execute(delete(webhook_events).where(_are(connection_id, named[start : start + _AT_ONCE])))


async def put_off(tx: Transaction, connection_id: str, named: Sequence[Named], until: datetime) -> None:
    """Have these read again at this instant, unless a later event has come meanwhile."""
    for start in range(0, len(named), _AT_ONCE):
        rows = _are(connection_id, named[start : start + _AT_ONCE])
        again = {"due_at": to_micros(until), "tries": webhook_events.c.tries + 1}
        await tx.execute(update(webhook_events).where(rows).values(**again))


async def forget(tx: Transaction, connection_id: str) -> None:
    """Take out everything of a connection."""
    await tx.execute(delete(webhook_events).where(webhook_events.c.connection_id == connection_id))


async def prune(tx: Transaction, before: datetime) -> int:
    """Take out what came before this instant; says how many."""
    old = webhook_events.c.received_at < to_micros(before)
    return (await tx.execute(delete(webhook_events).where(old))).rowcount


async def heard(tx: Transaction, at: datetime) -> None:
    """Note that a delivery with a good signature came."""
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    await tx.exec_driver_sql(_HEARD.format(place), (to_micros(at), to_micros(at - HEARD_EVERY)))


async def last_heard(tx: Transaction) -> datetime | None:
    """When a delivery with a good signature last came, a minute too early at most; None if never."""
    micros: int | None = (await tx.execute(select(func.max(webhook_deliveries.c.heard_at)))).scalar_one()
    return None if micros is None else from_micros(micros)


_AT_ONCE = 100
"""Rows in one statement."""

_PUT = (
    "INSERT INTO webhook_events (connection_id, entity, xero_id, follows, kind, event_at, received_at, due_at, tries) "
    "VALUES ({0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, 0) ON CONFLICT (connection_id, entity, xero_id, follows) "
    "DO UPDATE SET kind = excluded.kind, event_at = excluded.event_at, received_at = excluded.received_at, "
    "due_at = excluded.due_at, tries = 0 WHERE excluded.event_at > webhook_events.event_at"
)
_HEARD = (
    "INSERT INTO webhook_deliveries (id, heard_at) VALUES (1, {0}) "
    "ON CONFLICT (id) DO UPDATE SET heard_at = excluded.heard_at WHERE webhook_deliveries.heard_at < {0}"
)


def _are(connection_id: str, named: Sequence[Named]) -> ColumnElement[bool]:
    """These rows, as far as no later event has come."""
    row = webhook_events.c
    each = [
        and_(
            row.entity == n.entity.value,
            row.xero_id == n.xero_id,
            row.follows == int(n.follows),
            row.event_at <= to_micros(n.event_at),
        )
        for n in named
    ]
    return and_(row.connection_id == connection_id, or_(*each))
