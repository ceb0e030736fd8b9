"""The engine that does what is due, in this process.

What is to be done is a row (`storage/work.py`), written in the transaction of the reason for it, so that nothing
depends on a process remembering. At most one task at a time runs per connection and lane; a task that a dead owner
held is taken over, and the fence keeps the dead owner from committing if it was only asleep.
"""

import asyncio
import contextlib
import functools
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any, TypeVar

import msgspec

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.storage import work
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.work import Lease, Task

logger = log.get("work")
T = TypeVar("T")

LEASE = timedelta(seconds=20)
"""How long a task may go without a sign of life before another owner takes it over."""
PATIENCE = 1.0
"""Seconds between looks whether a task in hand needs a sign of life."""
SWEEP = 5.0
"""Seconds between looks at the table when nobody said that something is due."""
AT_ONCE = 64
"""Tasks of one lane that run at the same time in one process: a lane that is full holds no other one up."""
FIRST_RETRY = timedelta(seconds=2)
LAST_RETRY = timedelta(minutes=5)


class Lane(StrEnum):
    """Tasks of one connection in different lanes run beside each other: an export never waits for a backfill."""

    READ = "read"
    WRITE = "write"
    NEWS = "news"
    """What a webhook named: it is fetched while a slice of a backfill goes on."""
    NOTES = "notes"
    """What nobody waits for: it may stand in the line for calls for long, and holds nothing up meanwhile."""


class Priority(IntEnum):
    """Which of the due tasks goes first; lower is sooner."""

    NEWS = 5
    """A webhook named it: somebody in Xero has just done it."""
    ASKED = 10
    """Somebody waits for it."""
    POLL = 20
    """Its time has come, and nobody waits for it."""
    UPKEEP = 50
    """It may come late by hours."""


class LostLeaseError(Exception):
    """Another owner has taken this task over: whatever was going to be committed must not be."""


class Job:
    """One task in hand."""

    def __init__(self, lease: Lease, clock: Clock) -> None:
        self._lease = lease
        self._clock = clock
        self._held_at = clock.now()
        self.connection_id = lease.connection_id

    @property
    def needs_renewal(self) -> bool:
        """Whether it is time to show a sign of life with `hold`, so that nobody takes the task over."""
        return self._clock.now() - self._held_at > LEASE / 3

    async def hold(self, tx: Transaction) -> None:
        """Make this transaction count only if the task is still ours, and renew the lease.

        Raises:
            LostLeaseError: it is not; the transaction must be rolled back.
        """
        if not await work.hold(tx, self._lease, until=self._clock.now() + LEASE):
            raise LostLeaseError(f"{self._lease.kind} of {self.connection_id} was taken over")
        self._held_at = self._clock.now()

    async def keep_during(self, database: Database, doing: Coroutine[Any, Any, T]) -> T:
        """What this comes to; while it takes long, signs of life are shown. Cancelled or lost, it is cancelled too.

        Raises:
            LostLeaseError: the task is no longer ours.
        """
        task = asyncio.create_task(doing)
        try:
            while True:
                done, _ = await asyncio.wait((task,), timeout=PATIENCE)
                if done:
                    return task.result()
                if self.needs_renewal:
                    async with database.write(durable=False) as tx:
                        await self.hold(tx)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


Perform = Callable[[Job], Awaitable[datetime | None]]
"""Does one slice of a task; answers when to go on, or None when it is done until somebody wakes it."""


class _Kind(msgspec.Struct, frozen=True):
    lane: Lane
    perform: Perform


class Engine:
    """Does what is due. Register the kinds, then run it once per process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._owner = secrets.token_hex(8)
        self._kinds: dict[str, _Kind] = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._due = asyncio.Event()

    def register(self, kind: str, lane: Lane, perform: Perform) -> None:
        """Have tasks of this kind done by this function, in this lane."""
        self._kinds[kind] = _Kind(lane, perform)

    async def wake(
        self, tx: Transaction, kind: str, connection_id: str, *, priority: Priority, at: datetime | None = None
    ) -> None:
        """Have this done now or at this instant; counts once the transaction has committed."""
        task = Task(kind, connection_id, self._kinds[kind].lane)
        await work.wake(tx, task, priority=priority, due_at=at or self._clock.now())
        self._database.after_commit(tx, self._due.set)

    async def run(self) -> None:
        """Do what is due until cancelled; then what is in hand is let go, to be taken up by the next owner."""
        try:
            while True:
                self._due.clear()
                idle_for = await self._start_what_is_due()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(idle_for):  # not wait_for: Python 3.11's can lose a cancellation
                        await self._due.wait()
        finally:
            await self._let_go()

    async def recover(self) -> None:
        """Free what an earlier process held. Only where this process is the only one on the database."""
        async with self._database.write() as tx:
            freed = await work.free_all(tx, self._clock.now())
        if freed:
            logger.info("work of an earlier process is taken up", tasks=freed)

    async def _start_what_is_due(self) -> float:
        """Start what can be started; answers how many seconds to wait at most for more."""
        now, lanes = self._clock.now(), [lane for lane in Lane if self._has_room(lane)]
        enough = AT_ONCE * len(self._kinds)  # a connection with all kinds due at once has one of them started
        async with self._database.read() as tx:
            tasks = await work.due(tx, now, enough, lanes=lanes) if lanes else ()
            next_at = await work.next_due_at(tx)
        for task in tasks:
            key = (task.connection_id, task.lane)
            if key not in self._running and self._has_room(task.lane):
                self._running[key] = asyncio.create_task(self._do(task), name=f"{task.kind} {task.connection_id}")
                self._running[key].add_done_callback(functools.partial(self._done, key))
        if next_at is None or next_at <= now:
            return SWEEP
        return min(SWEEP, (next_at - now).total_seconds())

    def _has_room(self, lane: str) -> bool:
        return sum(1 for _, other in self._running if other == lane) < AT_ONCE

    def _done(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        del self._running[key]
        if task.cancelled() or task.exception() is None:
            self._due.set()
        else:  # the database did not let it be taken or given back: the next sweep tries again
            logger.error("task broke", task=task.get_name(), exc_info=task.exception())

    async def _do(self, task: Task) -> None:
        """One slice of a task, from taking it to giving it back. An error is logged and tried again later."""
        # On SQLite a power cut that undoes this takes the owner with it; on PostgreSQL the owner may live on.
        async with self._database.write(durable=not self._database.is_sqlite) as tx:
            lease = await work.take(tx, task, owner=self._owner, now=self._clock.now(), lease=LEASE)
        if lease is None:
            return
        key = (task.kind, task.connection_id)
        try:
            again_at = await self._kinds[task.kind].perform(Job(lease, self._clock))
            self._failures.pop(key, None)
        except LostLeaseError as lost:
            logger.warning("task lost", task=str(lost))
            return
        except Exception:
            self._failures[key] = failures = self._failures.get(key, 0) + 1
            again_at = self._clock.now() + min(FIRST_RETRY * 2 ** min(failures, 10), LAST_RETRY)
            logger.exception("task failed", kind=task.kind, connection_id=task.connection_id, again_at=again_at)
        async with self._database.write(durable=False) as tx:  # undone, it is done again once the lease has run out
            await work.finish(tx, lease, again_at=again_at)

    async def _let_go(self) -> None:
        """Stop what is in hand and free it at once, so that the next owner need not wait for the leases to run out."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._database.write() as tx:
            await work.free(tx, self._owner, self._clock.now())
