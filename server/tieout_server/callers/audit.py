"""The audit log: an act is on record before it is done, and what came of it is added afterwards.

Events that come while others are being written are written together, and outcomes wait a moment for company: so the
log costs a call one short transaction, and many calls not many more. These need not be durable by themselves: a
commit that is durable (that of the act) makes all that was committed before it so.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from tieout_server import log
from tieout_server.errors import StorageUnavailableError
from tieout_server.storage import audit
from tieout_server.storage.audit import AuditEvent, AuditQuery, Outcome
from tieout_server.storage.database import Database
from tieout_server.storage.pages import Span

OUTCOMES_WITHIN = 0.2
"""Seconds that an outcome waits for others at most."""
MOST_WAITING = 10_000
"""Outcomes that wait for a database that is away; more are let go, and those calls stay without one."""

logger = log.get("callers")


class AuditLog:
    """What callers did, on record."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._events: list[tuple[AuditEvent, asyncio.Future[None]]] = []
        self._outcomes: list[Outcome] = []
        self._writing: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None

    async def begin(self, event: AuditEvent) -> None:
        """Put this on record; it is there when this returns.

        Raises:
            StorageUnavailableError: it is not, and nothing must be done.
        """
        written = self._add(event)
        await written

    def note(self, event: AuditEvent) -> None:
        """Put this on record soon: it tells of what was not done."""
        if len(self._events) < MOST_WAITING:
            self._add(event).add_done_callback(lambda written: written.cancelled() or written.exception())

    def end(self, outcome: Outcome) -> None:
        """Add, soon, what came of it. Should this process be killed before, nobody knows."""
        if len(self._outcomes) < MOST_WAITING:
            self._outcomes.append(outcome)
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(OUTCOMES_WITHIN, self._write_soon)

    async def page(self, asked: AuditQuery, span: Span) -> tuple[Sequence[AuditEvent], Span | None]:
        """A page of what is on record, newest first, and the span of the next one."""
        async with self._database.read() as tx:
            return await audit.page(tx, asked, span)

    async def close(self) -> None:
        """Write what waits; before the database is closed."""
        if self._later is not None:
            self._write_soon()
        while self._writing is not None:
            await asyncio.wait((self._writing,))

    def _add(self, event: AuditEvent) -> asyncio.Future[None]:
        written = asyncio.get_running_loop().create_future()
        self._events.append((event, written))
        self._write_now()
        return written

    def _write_soon(self) -> None:
        self._later = None
        self._write_now()

    def _write_now(self) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="audit log")

    async def _write(self) -> None:
        """Write until nothing waits."""
        try:
            while self._events or (self._outcomes and self._later is None):
                events, outcomes = self._events, self._outcomes
                self._events, self._outcomes = [], []
                await self._write_these(events, outcomes)
        finally:
            self._writing = None

    async def _write_these(
        self, events: list[tuple[AuditEvent, asyncio.Future[None]]], outcomes: list[Outcome]
    ) -> None:
        try:
            async with self._database.write(durable=False) as tx:
                if events:
                    await audit.insert(tx, [event for event, _ in events])
                if outcomes:
                    await audit.settle(tx, outcomes)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it was
            self._failed(events, outcomes, error)
        else:
            for _, written in events:
                with contextlib.suppress(asyncio.InvalidStateError):  # who waited was cancelled
                    written.set_result(None)

    def _failed(
        self, events: list[tuple[AuditEvent, asyncio.Future[None]]], outcomes: list[Outcome], error: Exception
    ) -> None:
        for _, written in events:
            with contextlib.suppress(asyncio.InvalidStateError):
                written.set_exception(error)
        if isinstance(error, StorageUnavailableError):
            for outcome in outcomes:
                self.end(outcome)
        else:
            logger.error("the audit log cannot be written", exc_info=error)
