"""The ledger of calls and bytes, kept by organisation, day and purpose."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import msgspec
from sqlalchemy import select

from tieout_server.clock import to_micros
from tieout_server.ledger.books import Purpose
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import calls, day_limits

DAY_LIMIT_HOLDS = timedelta(hours=30)
"""How long a day's limit is believed that was not seen again: every day begins with all its calls left, so within this
time it is, unless the merchant has gone to a smaller tier."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one organisation used on one day (UTC) for one purpose."""

    xero_tenant_id: str
    used_on: date
    purpose: Purpose
    call_count: int
    bytes_wire: int = 0
    """Bytes of the answers as they travelled, compressed."""
    bytes_body: int = 0
    """Bytes of the same answers decompressed."""


async def add(tx: Transaction, rows: Sequence[Usage]) -> None:
    """Add this to what was used before."""
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    values = [
        (row.xero_tenant_id, row.used_on.isoformat(), row.purpose.value, row.call_count, row.bytes_wire, row.bytes_body)
        for row in sorted(rows, key=_key)  # in one order, so that two transactions cannot lock each other out
    ]
    if values:
        await tx.exec_driver_sql(_ADD.format(place), values)


async def usage(tx: Transaction, xero_tenant_id: str, since: date) -> list[Usage]:
    """What the organisation used on this day and after, by day and purpose."""
    found = await tx.execute(
        select(calls)
        .where(calls.c.xero_tenant_id == xero_tenant_id, calls.c.day >= since.isoformat())
        .order_by(calls.c.day, calls.c.purpose)
    )
    return [
        Usage(
            xero_tenant_id=row.xero_tenant_id,
            used_on=date.fromisoformat(row.day),
            purpose=Purpose(row.purpose),
            call_count=row.call_count,
            bytes_wire=row.bytes_wire,
            bytes_body=row.bytes_body,
        )
        for row in found
    ]


async def day_limit(tx: Transaction, xero_tenant_id: str, since: datetime) -> int | None:
    """The calls a day that were last seen to be permitted to this organisation, if that was since this instant."""
    query = select(day_limits.c.calls).where(
        day_limits.c.xero_tenant_id == xero_tenant_id, day_limits.c.seen_at >= to_micros(since)
    )
    learnt: int | None = (await tx.execute(query)).scalar_one_or_none()
    return learnt


async def learn_day_limit(tx: Transaction, xero_tenant_id: str, calls_a_day: int, at: datetime) -> None:
    """Remember how many calls a day Xero was seen to permit to this organisation, and when."""
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    await tx.exec_driver_sql(_LEARN.format(place), (xero_tenant_id, calls_a_day, to_micros(at)))


def _key(row: Usage) -> tuple[str, date, str]:
    return row.xero_tenant_id, row.used_on, row.purpose


_ADD = (
    "INSERT INTO calls (xero_tenant_id, day, purpose, call_count, bytes_wire, bytes_body) "
    "VALUES ({0}, {0}, {0}, {0}, {0}, {0}) ON CONFLICT (xero_tenant_id, day, purpose) DO UPDATE SET "
    "call_count = calls.call_count + excluded.call_count, bytes_wire = calls.bytes_wire + excluded.bytes_wire, "
    "bytes_body = calls.bytes_body + excluded.bytes_body"
)
_LEARN = (
    "INSERT INTO day_limits (xero_tenant_id, calls, seen_at) VALUES ({0}, {0}, {0}) "
    "ON CONFLICT (xero_tenant_id) DO UPDATE SET calls = excluded.calls, seen_at = excluded.seen_at"
)
