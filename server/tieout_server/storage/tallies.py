"""What is counted in the database for operators to see: how much there is of what, and since when it waits."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import JSON, Column, case, cast, exists, func, select, type_coerce
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import MICROSECOND, to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.export_tables import payment_exports
from tieout_server.storage.tables import connections, watermarks, webhook_arrivals, webhook_events, work, xero_users

LATE = timedelta(minutes=10)
"""A planned read that is late by this much is overdue: polls are planned minutes ahead, and may wait for limits."""
LAPSE_SOON = timedelta(days=14)
"""Tokens are refreshed weekly; with so little life left, that has not worked for weeks."""


class Tally(msgspec.Struct, frozen=True):
    """How many there are, and for how many seconds the first of them has been there."""

    of: tuple[str, ...]
    count: int
    seconds: float = 0.0


class Tallies(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is counted, as of one instant."""

    connections: Sequence[Tally]
    """By state, health and reason."""
    reads: Sequence[Tally]
    """By entity: organisations whose planned read is overdue, and how long ago the one read longest ago was."""
    exports: Sequence[Tally]
    """By xero_status."""
    due: Sequence[Tally]
    """By kind: tasks that are due and in nobody's hands."""
    unread: Tally
    """Documents that webhooks named and that are not fetched yet."""
    lapsing: int
    """Xero users whose tokens lapse soon, though a connection works with them."""


async def count(tx: Transaction, now: datetime) -> Tallies:
    """Count all of it. It reads whole indexes, and the connections: it is for once in a while."""
    at = to_micros(now)
    return Tallies(
        connections=await _connections(tx),
        reads=await _reads(tx, at),
        exports=await _exports(tx, at),
        due=await _due(tx, at),
        unread=await _first(tx, webhook_events.c.received_at, at, of="inbox"),
        lapsing=await _lapsing(tx, to_micros(now + LAPSE_SOON)),
    )


async def arrivals(tx: Transaction, now: datetime) -> Tally:
    """Deliveries that were kept and are not sorted yet; the transaction is one on `storage.arrivals.kept_beside`."""
    return await _first(tx, webhook_arrivals.c.arrived_at, to_micros(now), of="arrivals")


async def _connections(tx: Transaction) -> list[Tally]:
    by = (connections.c.state, connections.c.health, _reason(tx))
    rows = await tx.execute(select(*by, func.count()).group_by(*by))
    return [Tally((state, health, reason), number) for state, health, reason, number in rows]


def _reason(tx: Transaction) -> ColumnElement[str]:
    """The code of a connection's reason; empty while there is none."""
    column = connections.c.reason
    document = type_coerce(column, JSON) if tx.dialect.name == "sqlite" else cast(column, JSON)
    return case((column == "", ""), else_=document["code"].as_string())


async def _reads(tx: Transaction, at: int) -> list[Tally]:
    overdue = func.count().filter(watermarks.c.next_read_at < at - LATE // MICROSECOND)
    query = (
        select(watermarks.c.entity, overdue, func.min(watermarks.c.last_read_at))
        .join(connections, connections.c.id == watermarks.c.connection_id)
        .where(connections.c.state == "CONNECTED", watermarks.c.last_read_at > 0)
        .group_by(watermarks.c.entity)
    )
    return [_tally(number, since, at, of=(name,)) for name, number, since in await tx.execute(query)]


async def _exports(tx: Transaction, at: int) -> list[Tally]:
    c = payment_exports.c
    query = select(c.xero_status, func.count(), func.min(c.created_at)).group_by(c.xero_status)
    return [_tally(number, since, at, of=(name,)) for name, number, since in await tx.execute(query)]


async def _due(tx: Transaction, at: int) -> list[Tally]:
    is_due = (work.c.owner == "") & (work.c.due_at <= at)
    query = select(work.c.kind, func.count(), func.min(work.c.due_at)).where(is_due).group_by(work.c.kind)
    return [_tally(number, since, at, of=(name,)) for name, number, since in await tx.execute(query)]


async def _first(tx: Transaction, since: Column[int], at: int, *, of: str) -> Tally:
    number, first = (await tx.execute(select(func.count(), func.min(since)))).one()
    return _tally(number, first, at, of=(of,))


async def _lapsing(tx: Transaction, before: int) -> int:
    stood_on = exists().where(
        connections.c.xero_user_id == xero_users.c.xero_user_id, connections.c.state == "CONNECTED"
    )
    query = select(func.count()).select_from(xero_users).where(xero_users.c.refresh_expires_at < before, stood_on)
    return int((await tx.execute(query)).scalar_one())


def _tally(number: int, since: int | None, at: int, *, of: tuple[str, ...]) -> Tally:
    return Tally(of, number, 0.0 if since is None else max(0.0, (at - since) / 1_000_000))
