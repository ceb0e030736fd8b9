"""How fresh the mirror of a connection is, and what keeping it so has cost."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, time, timedelta

import msgspec

from tieout_server.clock import Clock
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import NotFoundError
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import Entity
from tieout_server.storage import calls, connections, mirror, watermarks
from tieout_server.storage.calls import Usage
from tieout_server.storage.database import Database

ONCE = (Purpose.FIRST_SYNC, Purpose.CATCH_UP)
"""The purposes of reading that is not repeated from day to day."""


class EntityFreshness(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh one entity is."""

    entity: Entity
    rows: int
    watermark_at: datetime | None = None
    """Every change up to this instant of Xero's clock is here."""
    last_read_at: datetime | None = None
    next_read_at: datetime | None = None
    """When it will be read without being asked; None while nothing is planned."""


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh a connection's mirror is, and the calls and bytes of its organisation."""

    connection_id: str
    as_of: datetime
    entities: Sequence[EntityFreshness]
    allowance: Allowance
    today: Sequence[Usage]
    this_month: Sequence[Usage]
    projected_month_bytes: int | None = None
    """What the month will have come to in decompressed bytes, if it goes on as so far; None before a day has passed."""


class FreshnessOf:
    """Tells the freshness of connections, from what is here: nothing is asked of Xero."""

    def __init__(self, database: Database, allowance: Callable[[str], Awaitable[Allowance]], clock: Clock) -> None:
        self._database = database
        self._allowance = allowance
        self._clock = clock

    async def connection(self, connection_id: str) -> Freshness:
        """The freshness of this connection.

        Raises:
            NotFoundError: there is no such connection.
        """
        now = self._clock.now()
        today = now.date()
        async with self._database.read() as tx:
            link = await connections.get(tx, connection_id)
            if link is None:
                raise NotFoundError("connection", connection_id)
            rows = await mirror.count_rows(tx, connection_id)
            marks = await watermarks.every(tx, connection_id)
            used = await calls.usage(tx, link.xero_tenant_id, today.replace(day=1)) if link.xero_tenant_id else []
            learnt = await calls.day_limit(tx, link.xero_tenant_id, now - calls.DAY_LIMIT_HOLDS)
        allowance = await self._allowance(link.xero_tenant_id)
        is_read = link.state == ConnectionState.CONNECTED
        day_limit = max(learnt or 0, allowance.day_limit or 0) or None
        return Freshness(
            connection_id=connection_id,
            as_of=now,
            entities=[
                EntityFreshness(
                    entity=entity,
                    rows=rows[entity],
                    watermark_at=marks[entity].watermark_at if entity in marks else None,
                    last_read_at=marks[entity].last_read_at if entity in marks else None,
                    next_read_at=marks[entity].next_read_at if entity in marks and is_read else None,
                )
                for entity in Entity
            ],
            allowance=msgspec.structs.replace(allowance, day_limit=day_limit),
            today=_by_purpose([usage for usage in used if usage.used_on == today]),
            this_month=_by_purpose(used),
            projected_month_bytes=projected(used, now),
        )


def projected(used: Sequence[Usage], now: datetime) -> int | None:
    """What this month's bytes will have come to at its end, as Xero may bill them: decompressed.

    What comes once (a first sync and its catch-up) is counted as it was; the rest is taken to go on at its rate since
    the beginning of the month's first day with a call, as usage is kept by the day. Whether Xero bills compressed bytes
    nobody knows (UNSURE register U10): this is the more.
    """
    if not used:
        return None
    first = datetime.combine(min(row.used_on for row in used), time(), UTC)
    next_month = (now.replace(day=1) + timedelta(days=32)).replace(day=1)
    end = datetime.combine(next_month.date(), time(), UTC)
    if now - first < timedelta(days=1):
        return None
    recurring = sum(row.bytes_body for row in used if row.purpose not in ONCE)
    return sum(row.bytes_body for row in used) + round(recurring * ((end - now) / (now - first)))


def _by_purpose(rows: Sequence[Usage]) -> Sequence[Usage]:
    """The rows of several days added up, one per purpose."""
    sums: dict[str, Usage] = {}
    for row in rows:
        before = sums.get(row.purpose)
        sums[row.purpose] = (
            row
            if before is None
            else msgspec.structs.replace(
                row,
                call_count=before.call_count + row.call_count,
                bytes_wire=before.bytes_wire + row.bytes_wire,
                bytes_body=before.bytes_body + row.bytes_body,
            )
        )
    return list(sums.values())
