"""Forgetting what is older than an operator wants to keep: a few rows at a time, beside everything else."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.settings import Settings
from tieout_server.storage import retention
from tieout_server.storage.database import Database
from tieout_server.storage.retention import Kind

logger = log.get("retention")

PAUSE = 0.05
"""Seconds between two transactions: others write in between."""


class Retention:
    """What is kept, for how long, in one database."""

    def __init__(self, database: Database, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._kept: Mapping[Kind, timedelta] = {  # change runs behind syncs: they go with them
            Kind.SYNCS: settings.keep_syncs,
            Kind.CHANGE_RUNS: settings.keep_syncs,
            Kind.RECONCILIATIONS: settings.keep_syncs,
            Kind.COMPARISONS: settings.keep_comparisons,
            Kind.DISCREPANCY_EVENTS: settings.keep_comparisons,
            Kind.CALLS: settings.keep_calls,
            Kind.AUDIT_EVENTS: settings.keep_audit,
        }

    async def count(self) -> Mapping[Kind, int]:
        """How many rows of each kind would be forgotten now."""
        now = self._clock.now()
        async with self._database.read() as tx:
            return {kind: await retention.count(tx, kind, now - kept) for kind, kept in self._kept.items()}

    async def forget(self) -> Mapping[Kind, int]:
        """Forget all that is too old; says how many rows of each kind. Killed in between, the next one goes on."""
        now = self._clock.now()
        forgotten = {kind: await self._forget(kind, now - kept) for kind, kept in self._kept.items()}
        if any(forgotten.values()):
            logger.info("forgotten", **{kind.value: rows for kind, rows in forgotten.items() if rows})
        return forgotten

    async def _forget(self, kind: Kind, before: datetime) -> int:
        total = 0
        while True:
            async with self._database.write(durable=False) as tx:
                some = await retention.forget_some(tx, kind, before)
            if not some:
                return total
            total += some
            await asyncio.sleep(PAUSE)
