"""What ever happened to connections: kept for ever, for people to look up; the log of events is pruned."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Row, select, update

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.links import Gap, LinkChangeKind, LinkEvent, Reason
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import connection_events


async def add(tx: Transaction, happened: LinkEvent) -> None:
    """Keep this, in the transaction of the event that tells of it."""
    await tx.execute(
        connection_events.insert().values(
            id=happened.id,
            connection_id=happened.connection_id,
            kind=happened.kind.value,
            from_state=happened.from_state,
            to_state=happened.to_state,
            health=happened.health,
            reason=_dump(happened.reason),
            actor=happened.actor,
            gap=_dump(happened.gap),
            occurred_at=to_micros(happened.occurred_at),
        )
    )


async def page(tx: Transaction, connection_id: str, *, before: int | None, limit: int) -> Sequence[LinkEvent]:
    """What happened to this connection, newest first, those with a smaller id than `before`, so many at most."""
    query = select(connection_events).where(connection_events.c.connection_id == connection_id)
    if before is not None:
        query = query.where(connection_events.c.id < before)
    return [_event(row) for row in await tx.execute(query.order_by(connection_events.c.id.desc()).limit(limit))]


async def rewrite(tx: Transaction, happened: LinkEvent) -> None:
    """Keep this event with another reason or actor, when a person is to be forgotten."""
    await tx.execute(
        update(connection_events)
        .where(connection_events.c.id == happened.id)
        .values(reason=_dump(happened.reason), actor=happened.actor)
    )


def _event(row: Row[tuple[object, ...]]) -> LinkEvent:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return LinkEvent(
        id=r["id"],
        connection_id=r["connection_id"],
        kind=LinkChangeKind(r["kind"]),
        from_state=r["from_state"],
        to_state=r["to_state"],
        health=r["health"],
        reason=msgspec.json.decode(r["reason"], type=Reason) if r["reason"] else None,
        actor=r["actor"],
        gap=msgspec.json.decode(r["gap"], type=Gap) if r["gap"] else None,
        occurred_at=from_micros(r["occurred_at"]),
    )


def _dump(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()
