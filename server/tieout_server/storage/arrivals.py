"""Deliveries of webhooks as they arrived, kept until what they say is in the inbox (`storage.webhooks`).

Keeping one waits for nobody, whatever else is being written. On PostgreSQL it is a row that refers to nothing, through
a connection that nobody else uses. SQLite has one writer for each file: there it is a file beside the database.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec
from sqlalchemy import delete, select

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.notices import Notice
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.tables import webhook_arrivals

CONNECTIONS = 2
"""Connections to the database for nothing but this: for who puts in, and for who takes out."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[Notice, ...]).decode


class Arrival(msgspec.Struct, frozen=True):
    """A genuine delivery: what it says, as far as it concerns us, and when it came."""

    number: int
    notices: Sequence[Notice]
    at: datetime


@asynccontextmanager
async def kept_beside(database: Database) -> AsyncIterator[Database]:
    """Where the deliveries of this database are kept; the other functions want transactions on it."""
    url = database.url.set(database=f"{database.url.database}-arrivals") if database.is_sqlite else database.url
    beside = Database(url, pool_size=CONNECTIONS)
    try:
        if beside.is_sqlite:
            async with beside.write() as tx:
                await tx.run_sync(webhook_arrivals.create, checkfirst=True)
        yield beside
    finally:
        await beside.close()


async def put(tx: Transaction, notices: Sequence[Notice], at: datetime) -> None:
    """Keep a delivery."""
    await tx.execute(webhook_arrivals.insert().values(notices=_encode(notices), arrived_at=to_micros(at)))


async def oldest(tx: Transaction, limit: int) -> Sequence[Arrival]:
    """The deliveries that came first."""
    rows = await tx.execute(select(webhook_arrivals).order_by(webhook_arrivals.c.number).limit(limit))
    return [Arrival(row.number, _decode(row.notices), from_micros(row.arrived_at)) for row in rows]


async def take_out(tx: Transaction, arrivals: Sequence[Arrival]) -> None:
    """Take these out; somebody else may have done so."""
    numbers = [arrival.number for arrival in arrivals]
    await tx.execute(delete(webhook_arrivals).where(webhook_arrivals.c.number.in_(numbers)))
