"""Forgetting what is older than an operator wants to keep: a few rows at a time, beside everything else."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.settings import Settings
from tieout_server.storage import retention
from tieout_server.storage.database import Database
from tieout_server.storage.retention import Kind
from tieout_server.work.requests import Requests

logger = log.get("retention")

PAUSE = 0.05
"""Seconds between two transactions: others write in between."""

SETTINGS: Mapping[Kind, str] = {  # change runs behind syncs: they go with them
    Kind.SYNCS: "keep_syncs",
    Kind.CHANGE_RUNS: "keep_syncs",
    Kind.RECONCILIATIONS: "keep_syncs",
    Kind.COMPARISONS: "keep_comparisons",
    Kind.DISCREPANCY_EVENTS: "keep_comparisons",
    Kind.CALLS: "keep_calls",
    Kind.AUDIT_EVENTS: "keep_audit",
}
"""Which setting says how long a kind is kept; in this order they are forgotten."""


class Retention:
    """What is kept, for how long, in one database. Several at once forget each row once."""

    def __init__(self, database: Database, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.kept: Mapping[Kind, timedelta] = {kind: getattr(settings, name) for kind, name in SETTINGS.items()}

    async def count(self) -> Mapping[Kind, int]:
        """How many rows of each kind would be forgotten now."""
        now = self._clock.now()
        async with self._database.read() as tx:
            return {kind: await retention.count(tx, kind, now - kept) for kind, kept in self.kept.items()}

    async def forget(self) -> Mapping[Kind, int]:
        """Forget all that is too old; says how many rows of each kind. Broken off in between, the next one goes on."""
        now = self._clock.now()
        forgotten = {kind: await self._forget(kind, now - kept) for kind, kept in self.kept.items()}
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


class Prune(msgspec.Struct, frozen=True):
    """A request to forget what is too old, or to say how much that is."""

    dry_run: bool = False
    request_id: str = ""


class Prunings:
    """Forgetting when somebody asks for it."""

    def __init__(self, database: Database, retention: Retention, requests: Requests) -> None:
        self._database = database
        self._retention = retention
        self._requests = requests

    @property
    def kept(self) -> Mapping[Kind, timedelta]:
        """How long each kind is kept."""
        return self._retention.kept

    async def prune(self, asked: Prune) -> Mapping[Kind, int]:
        """Forget all that is too old, or only count it. Broken off in between, a repeat does the rest.

        Raises:
            RequestIdReusedError: the request_id came before with other content.
        """
        if asked.dry_run:
            return await self._retention.count()
        method, name = "PruneExpired", asked.request_id
        async with self._database.read() as tx:
            if earlier := await self._requests.earlier(tx, method, name, asked, dict[Kind, int]):
                return earlier
        rows = await self._retention.forget()
        async with self._database.write() as tx:
            if earlier := await self._requests.earlier(tx, method, name, asked, dict[Kind, int]):
                return earlier  # the same came twice at the same time
            await self._requests.keep(tx, method, name, asked, rows)
        return rows
