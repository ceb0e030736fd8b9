"""What has to be done from time to time: booking calls, forgetting what is too old to be asked for."""

import asyncio
import random
from collections.abc import Sequence
from datetime import date, timedelta

from tieout_server.clock import Clock
from tieout_server.events.feed import Feed
from tieout_server.ledger.calls import Calls, CallsInMemory
from tieout_server.retention import Retention
from tieout_server.storage import calls, connections, requests, tokens, webhooks
from tieout_server.storage.calls import Usage
from tieout_server.storage.database import Database

BOOK_EVERY = 1.0
"""Seconds between bookings: what a killed process may leave unbooked."""
TIDY_EVERY = 3600.0
FORGET_FIRST = (300.0, 900.0)
"""Seconds after the start, and before each round, in which what is too old is not looked for yet."""
FORGET_EVERY = 86_400.0
REQUESTS_KEPT = timedelta(days=7)
"""How long a request_id is remembered; the API promises a day."""
CONSENTS_KEPT = timedelta(days=1)
"""How long an expired consent is remembered, so that its link can still say that it has expired."""
TOKENS_KEPT = timedelta(days=1)
"""How long tokens are kept that nothing needs: neither a connection nor what is to be removed at Xero."""

EVENTS_KEPT = timedelta(days=7)
"""How long what a webhook named waits to be read; polling has met it long before."""


class Housekeeping:
    """Keeps the house. Run it once per process."""

    def __init__(
        self, database: Database, feed: Feed, booked: CallsInMemory, clock: Clock, retention: Retention | None = None
    ) -> None:
        """Without `retention` nothing is forgotten but what nobody can ask for any more."""
        self._retention = retention
        self._database = database
        self._feed = feed
        self._booked = booked
        self._clock = clock

    async def run(self) -> None:
        """Keep house until cancelled."""
        async with asyncio.TaskGroup() as rounds:
            rounds.create_task(self._book_for_ever())
            rounds.create_task(self._tidy_for_ever())
            rounds.create_task(self._forget_for_ever())

    async def book_calls(self) -> None:
        """Move what was booked in memory to the database; what cannot be written stays booked."""
        taken = {tenant: self._booked.take(tenant) for tenant in self._booked.organisations()}
        if not taken:
            return
        day = self._clock.now().date()
        try:
            async with self._database.write(durable=False) as tx:
                await calls.add(tx, [row for tenant, booked in taken.items() for row in _usage(tenant, day, booked)])
        except BaseException:
            for tenant, booked in taken.items():
                for row in booked:
                    self._booked.book(tenant, row)
            raise

    async def tidy(self) -> None:
        """Forget what nobody can ask for any more."""
        now = self._clock.now()
        await self._feed.prune()
        async with self._database.write(durable=False) as tx:
            await requests.prune(tx, now - REQUESTS_KEPT)
            await connections.prune_authorisations(tx, now - CONSENTS_KEPT)
            await tokens.prune(tx, now - TOKENS_KEPT)
            await webhooks.prune(tx, now - EVENTS_KEPT)

    async def _book_for_ever(self) -> None:
        while True:
            await asyncio.sleep(BOOK_EVERY)
            await self.book_calls()

    async def _tidy_for_ever(self) -> None:
        while True:
            await self.tidy()
            await asyncio.sleep(TIDY_EVERY)

    async def _forget_for_ever(self) -> None:
        while self._retention:
            await asyncio.sleep(random.uniform(*FORGET_FIRST))  # noqa: S311 - keeps replicas out of step
            await self._retention.forget()
            await asyncio.sleep(FORGET_EVERY)


def _usage(xero_tenant_id: str, day: date, booked: Sequence[Calls]) -> Sequence[Usage]:
    """One row per purpose, whatever status the calls got."""
    rows: dict[str, Usage] = {}
    for row in booked:
        before = rows.get(row.purpose)
        rows[row.purpose] = Usage(
            xero_tenant_id=xero_tenant_id,
            used_on=day,
            purpose=row.purpose,
            call_count=row.calls + (before.call_count if before else 0),
            bytes_wire=row.wire_bytes + (before.bytes_wire if before else 0),
            bytes_body=row.body_bytes + (before.bytes_body if before else 0),
        )
    return list(rows.values())
