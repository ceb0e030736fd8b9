"""What is swept of a connection, item by item: when each is due, and how far a listing was swept."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import select

from tieout_server.clock import from_micros, to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import sweeps


class Sweep(msgspec.Struct, frozen=True):
    """One item: when it is swept next, and from which page of its listing."""

    due_at: datetime
    page: int = 1


async def every(tx: Transaction, connection_id: str) -> Mapping[str, Sweep]:
    """The items of this connection, by name."""
    found = await tx.execute(select(sweeps).where(sweeps.c.connection_id == connection_id))
    return {row.item: Sweep(from_micros(row.due_at), row.page) for row in found}


async def put(tx: Transaction, connection_id: str, item: str, sweep: Sweep) -> None:
    """Keep this item as it is now."""
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    await tx.exec_driver_sql(_PUT.format(place), (connection_id, item, to_micros(sweep.due_at), sweep.page))


_PUT = (
    "INSERT INTO sweeps (connection_id, item, due_at, page) VALUES ({0}, {0}, {0}, {0}) "
    "ON CONFLICT (connection_id, item) DO UPDATE SET due_at = excluded.due_at, page = excluded.page"
)
