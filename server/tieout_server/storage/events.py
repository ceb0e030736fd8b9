"""The numbered log behind every watch.

A position is given out under the lock of one counter row in the transaction that causes the event, as its last
statement: so the order of positions is the order of commits, on every database, and no reader can skip an event
(server/decisions/0004-one-event-counter.md).
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Row, Text, bindparam, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert

from tieout_server.clock import from_micros, to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.lineage_tables import log_gaps
from tieout_server.storage.notices import telling
from tieout_server.storage.tables import event_counter, events

CHANNEL = "tieout_events"
"""Tells how far the log goes, at each commit that appends to it (`storage.notices`)."""

_COUNTER = 1
_NEXT_POSITION = (
    "INSERT INTO event_counter (id, last, pruned) VALUES (1, 1, 0) "
    "ON CONFLICT (id) DO UPDATE SET last = event_counter.last + 1 RETURNING last"
)

_TOLD = [column for column in events.c if column.name != "position"]
_NEXT = (
    postgresql_insert(event_counter)
    .values(id=_COUNTER, last=1, pruned=0)
    .on_conflict_do_update(index_elements=["id"], set_={"last": event_counter.c.last + 1})
    .returning(event_counter.c.last)
    .cte("next")
)
_APPEND = (
    events.insert()
    .from_select(
        ["position", *(column.name for column in _TOLD)],
        select(_NEXT.c.last, *(bindparam(column.name, type_=column.type) for column in _TOLD)),
    )
    .returning(events.c.position, telling(CHANNEL, cast(events.c.position, Text)))
)
"""On PostgreSQL all of it is one statement: the counter is locked for one round trip and the commit."""


class Event(msgspec.Struct, frozen=True):
    """One thing that happened: where in the log, to what, when, and what it looked like then."""

    position: int
    connection_id: str
    topic: str
    subject: str
    at: datetime
    payload: bytes


class Bounds(msgspec.Struct, frozen=True):
    """The last position given out, and the last one that is no longer kept."""

    last: int
    pruned: int


async def append(tx: Transaction, event: Event) -> int:
    """Number this event and add it to the log; its own `position` is ignored. Call it last before the commit."""
    row = {
        "connection_id": event.connection_id,
        "topic": event.topic,
        "subject": event.subject,
        "at": to_micros(event.at),
        "payload": event.payload,
    }
    if tx.dialect.name == "postgresql":
        numbered: int = (await tx.execute(_APPEND, row)).scalar_one()
        return numbered
    position: int = (await tx.exec_driver_sql(_NEXT_POSITION)).scalar_one()
    await tx.execute(events.insert().values(position=position, **row))
    return position


async def after(tx: Transaction, position: int, *, limit: int) -> Sequence[Event]:
    """The events behind this position, in order, so many at most."""
    rows = await tx.execute(select(events).where(events.c.position > position).order_by(events.c.position).limit(limit))
    return [_event(row) for row in rows]


async def about(tx: Transaction, subject: str, *, topic: str, after: int, limit: int) -> Sequence[Event]:
    """The events about one thing behind this position, in order, so many at most."""
    rows = await tx.execute(
        select(events)
        .where(events.c.topic == topic, events.c.subject == subject, events.c.position > after)
        .order_by(events.c.position)
        .limit(limit)
    )
    return [_event(row) for row in rows]


async def of_connection(
    tx: Transaction, connection_id: str, *, topics: Collection[str], after: int, limit: int
) -> Sequence[Event]:
    """The events of a connection on these topics behind this position, in order, so many at most.

    Looks through the log: for what is done seldom.
    """
    rows = await tx.execute(
        select(events)
        .where(events.c.connection_id == connection_id, events.c.topic.in_(topics), events.c.position > after)
        .order_by(events.c.position)
        .limit(limit)
    )
    return [_event(row) for row in rows]


async def rewrite(tx: Transaction, position: int, payload: bytes) -> None:
    """Have this event tell less than it did, when a person is to be forgotten."""
    await tx.execute(update(events).where(events.c.position == position).values(payload=payload))


async def bounds(tx: Transaction) -> Bounds:
    """How far the log goes, and from where it is kept."""
    row = (await tx.execute(select(event_counter).where(event_counter.c.id == _COUNTER))).one_or_none()
    return Bounds(row.last, row.pruned) if row else Bounds(0, 0)


async def is_lost(tx: Transaction, position: int) -> bool:
    """Whether this position was given out only in a future that was lost: what was told there never happened."""
    within = (log_gaps.c.behind < position) & (log_gaps.c.up_to > position)
    return (await tx.execute(select(log_gaps.c.behind).where(within).limit(1))).first() is not None


async def prune(tx: Transaction, before: datetime) -> int:
    """Drop what is older than this instant; answers how many events went."""
    newest = select(func.max(events.c.position)).where(events.c.at < to_micros(before)).scalar_subquery()
    last: int | None = (await tx.execute(select(newest))).scalar_one()
    if last is None:
        return 0
    gone = await tx.execute(delete(events).where(events.c.position <= last))
    await tx.execute(update(event_counter).where(event_counter.c.id == _COUNTER).values(pruned=last))
    await tx.execute(delete(log_gaps).where(log_gaps.c.up_to <= last))
    return gone.rowcount


def _event(row: Row[tuple[object, ...]]) -> Event:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Event(r["position"], r["connection_id"], r["topic"], r["subject"], from_micros(r["at"]), bytes(r["payload"]))
