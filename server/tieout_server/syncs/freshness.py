"""How fresh the mirror of a connection is, and what keeping it so has cost."""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from tieout_server.clock import Clock
from tieout_server.errors import NotFoundError
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import Entity
from tieout_server.storage import calls, connections, mirror, watermarks
from tieout_server.storage.calls import Usage
from tieout_server.storage.database import Database


class EntityFreshness(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh one entity is."""

    entity: Entity
    rows: int
    watermark_at: datetime | None = None
    """Every change up to this instant of Xero's clock is here."""
    last_read_at: datetime | None = None


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh a connection's mirror is, and the calls and bytes of its organisation."""

    connection_id: str
    as_of: datetime
    entities: Sequence[EntityFreshness]
    allowance: Allowance
    today: Sequence[Usage]
    this_month: Sequence[Usage]


class FreshnessOf:
    """Tells the freshness of connections, from what is here: nothing is asked of Xero."""

    def __init__(self, database: Database, allowance: Callable[[str], Allowance], clock: Clock) -> None:
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
        return Freshness(
            connection_id=connection_id,
            as_of=now,
            entities=[
                EntityFreshness(
                    entity=entity,
                    rows=rows[entity],
                    watermark_at=marks[entity].watermark_at if entity in marks else None,
                    last_read_at=marks[entity].last_read_at if entity in marks else None,
                )
                for entity in Entity
            ],
            allowance=self._allowance(link.xero_tenant_id),
            today=_by_purpose([usage for usage in used if usage.used_on == today]),
            this_month=_by_purpose(used),
        )


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
