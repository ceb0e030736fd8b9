"""What is to be removed at Xero: links that serve no connection any more, each with the user whose tokens can do it.

A row is written in the transaction that ends what the link was made for, and goes when it is removed there.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import and_, delete, exists, or_, select

from tieout_server.clock import from_micros, to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import leavings


class Leaving(msgspec.Struct, frozen=True, kw_only=True):
    """A link to be removed, or what one consent linked; with neither named, only the user's consent as a whole."""

    xero_user_id: str
    membership_id: str = ""
    event_id: str = ""
    """The authentication event of a consent of which nothing came."""


class Left(msgspec.Struct, frozen=True):
    """What one connection left behind at Xero, and since when the oldest of it."""

    leavings: Sequence[Leaving]
    since: datetime


async def add(tx: Transaction, connection_id: str, left: Collection[Leaving], at: datetime) -> None:
    """Have these removed; those that are to be already stay as they are."""
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    for leaving in left:
        values = (connection_id, leaving.xero_user_id, leaving.membership_id, leaving.event_id, to_micros(at))
        await tx.exec_driver_sql(_ADD.format(place), values)


async def of(tx: Transaction, connection_id: str) -> Left | None:
    """What is to be removed of this connection's, if anything is."""
    query = select(leavings).where(leavings.c.connection_id == connection_id)
    order = (leavings.c.xero_user_id, leavings.c.membership_id, leavings.c.event_id)
    rows = (await tx.execute(query.order_by(*order))).all()
    if not rows:
        return None
    left = [Leaving(xero_user_id=r.xero_user_id, membership_id=r.membership_id, event_id=r.event_id) for r in rows]
    return Left(left, from_micros(min(row.since for row in rows)))


async def done(tx: Transaction, connection_id: str, left: Collection[Leaving]) -> None:
    """These are removed, or need not be any more."""
    row = leavings.c
    each = [
        and_(row.xero_user_id == one.xero_user_id, row.membership_id == one.membership_id, row.event_id == one.event_id)
        for one in left
    ]
    await tx.execute(delete(leavings).where(row.connection_id == connection_id, or_(*each)))


async def others_leave(tx: Transaction, xero_user_id: str, connection_id: str) -> bool:
    """Whether another connection than this one still has something to remove with this user's tokens."""
    row = leavings.c
    query = select(exists().where(row.xero_user_id == xero_user_id, row.connection_id != connection_id))
    return bool((await tx.execute(query)).scalar_one())


_ADD = (
    "INSERT INTO leavings (connection_id, xero_user_id, membership_id, event_id, since) "
    "VALUES ({0}, {0}, {0}, {0}, {0}) ON CONFLICT DO NOTHING"
)
