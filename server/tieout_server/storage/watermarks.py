"""How far each entity has been read, in Xero's time and in ours."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import bindparam, select, update

from tieout_server.clock import from_micros, from_micros_if_any, to_micros, to_micros_if_any
from tieout_server.ledger.documents import Entity
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import watermarks

_EVERY = select(watermarks).where(watermarks.c.connection_id == bindparam("connection_id"))
"""Built once: see `connections`."""


class Watermark(msgspec.Struct, frozen=True):
    """Everything that changed in Xero up to `watermark_at` (Xero's clock) was read at `last_read_at` (ours)."""

    watermark_at: datetime
    last_read_at: datetime
    row_count: int = 0
    """How many documents were here when it was set."""
    next_read_at: datetime | None = None
    """When it will be read next without being asked; None while nothing is planned."""
    moved_at: datetime | None = None
    """When a read last brought something new."""


async def get(tx: Transaction, connection_id: str, entity: Entity) -> Watermark | None:
    """The watermark of one entity, or None while it was never read to its end."""
    return (await every(tx, connection_id)).get(entity)


async def every(tx: Transaction, connection_id: str) -> Mapping[Entity, Watermark]:
    """The watermarks of all entities that have one."""
    found = await tx.execute(_EVERY, {"connection_id": connection_id})
    return {
        Entity(row.entity): Watermark(
            from_micros(row.watermark_at),
            from_micros(row.last_read_at),
            row.row_count,
            from_micros_if_any(row.next_read_at),
            from_micros_if_any(row.moved_at),
        )
        for row in found
    }


async def put(tx: Transaction, connection_id: str, entity: Entity, watermark: Watermark) -> None:
    """Set the watermark of one entity. Xero's part never goes back: a repeat of an older read leaves it.

    Without `moved_at` the one that is there stays.
    """
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    values = (
        connection_id,
        entity.value,
        to_micros(watermark.watermark_at),
        to_micros(watermark.last_read_at),
        watermark.row_count,
        to_micros_if_any(watermark.next_read_at),
        to_micros_if_any(watermark.moved_at),
    )
    await tx.exec_driver_sql(_PUT.format(place), values)


async def postpone(tx: Transaction, connection_id: str, until: datetime, entity: Entity | None = None) -> None:
    """Plan no read of this connection, or of one entity of it, for an earlier instant."""
    planned = update(watermarks).where(
        watermarks.c.connection_id == connection_id, watermarks.c.next_read_at < to_micros(until)
    )
    if entity is not None:
        planned = planned.where(watermarks.c.entity == entity.value)
    await tx.execute(planned.values(next_read_at=to_micros(until)))


async def hasten(tx: Transaction, connection_id: str, entity: Entity, by: datetime) -> None:
    """Plan the next read of an entity for this instant at the latest."""
    is_later = watermarks.c.next_read_at > to_micros(by)
    planned = update(watermarks).where(
        watermarks.c.connection_id == connection_id, watermarks.c.entity == entity.value, is_later
    )
    await tx.execute(planned.values(next_read_at=to_micros(by)))


_PUT = (
    "INSERT INTO watermarks "
    "(connection_id, entity, watermark_at, last_read_at, row_count, next_read_at, moved_at) "
    "VALUES ({0}, {0}, {0}, {0}, {0}, {0}, {0}) ON CONFLICT (connection_id, entity) DO UPDATE SET "
    "watermark_at = CASE WHEN excluded.watermark_at > watermarks.watermark_at "
    "THEN excluded.watermark_at ELSE watermarks.watermark_at END, "
    "last_read_at = excluded.last_read_at, row_count = excluded.row_count, next_read_at = excluded.next_read_at, "
    "moved_at = COALESCE(excluded.moved_at, watermarks.moved_at)"
)
