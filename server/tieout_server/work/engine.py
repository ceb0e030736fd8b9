"""The engine that does what is due, in this process.

What is to be done is a row (`storage/work.py`), written in the transaction of the reason for it, so that nothing
depends on a process remembering. At most one task at a time runs per connection and lane, in the process that is the
home of the connection's organisation (`homes.py`); what a dead process held is taken over (`replica.py`), and the fence
keeps it from committing if it was only asleep.
"""

import asyncio
import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

import msgspec

from tieout_server import log, traces
from tieout_server.clock import Clock
from tieout_server.errors import DrainingError, StorageUnavailableError
from tieout_server.storage import work
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.notices import Notices
from tieout_server.storage.work import Due, Lease, Task
from tieout_server.work.homes import Homes
from tieout_server.work.observed import Causes, Outcome, Slice, observed
from tieout_server.work.replica import Replica

logger = log.get("work")

SWEEP = 5.0
"""Seconds between looks at the table when nobody said that something is due."""
AT_ONCE = 64
"""Tasks of one lane that run at the same time in one process: a lane that is full holds no other one up."""
BREATH = 0.02
"""Seconds in which what is said to be due gathers: then it is looked up once."""
CHEAP = 0.05
"""Seconds that a look at what is due may take before the next one has to wait for as long."""
COARSE = 1.0
"""Seconds by which what nobody waits for may start late where many share the work: its time is not awaited singly."""
RETRY = 1.0
"""Seconds between looks whether the database is back."""
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

    def __init__(self, lease: Lease, leaving: Callable[[], bool] = lambda: False) -> None:
        self._lease = lease
        self._leaving = leaving
        self.connection_id = lease.connection_id

    @property
    def is_leaving(self) -> bool:
        """Whether this process ends soon: the slice ends as soon as what is under way has been answered."""
        return self._leaving()

    async def hold(self, tx: Transaction) -> None:
        """Make this transaction count only if the task is still ours.

        Raises:
            LostLeaseError: it is not; the transaction must be rolled back.
        """
        if not await work.hold(tx, self._lease):
            raise LostLeaseError(f"{self._lease.kind} of {self.connection_id} was taken over")


Perform = Callable[[Job], Awaitable[datetime | None]]
"""Does one slice of a task; answers when to go on, or None when it is done until somebody wakes it."""


class _Kind(msgspec.Struct, frozen=True):
    lane: Lane
    perform: Perform


class Engine:
    """Does what is due. Register the kinds, then run it once per process."""

    def __init__(self, database: Database, clock: Clock, replica: Replica, homes: Homes, notices: Notices) -> None:
        self._database = database
        self._notices = notices
        self._notices.listen(work.CHANNEL, self.hear)
        self._clock = clock
        self._replica = replica
        self._homes = homes
        self._homes.is_busy = self._is_busy
        self._replica.on_lost(self._cancel_all)
        self._kinds: dict[str, _Kind] = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._organisations: dict[tuple[str, str], str] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._causes = Causes()
        self._moves: set[asyncio.Task[None]] = set()
        self._may_hold_more = False
        """Whether rows may say that this process has what it has not: something broke on the way to or from them."""
        self._is_away = False
        self._is_draining = False
        self._look_took = 0.0
        self._due = asyncio.Event()

    def register(self, kind: str, lane: Lane, perform: Perform) -> None:
        """Have tasks of this kind done by this function, in this lane."""
        self._kinds[kind] = _Kind(lane, perform)

    async def wake(
        self, tx: Transaction, kind: str, connection_id: str, *, priority: Priority, at: datetime | None = None
    ) -> None:
        """Have this done now or at this instant; counts once the transaction has committed."""
        task, now = Task(kind, connection_id, self._kinds[kind].lane), self._clock.now()
        is_soon = at is None or at <= now + timedelta(seconds=self._notices.patience(SWEEP))
        await work.wake(tx, task, priority=priority, due_at=at or now, tell=is_soon)
        self._database.after_commit(tx, self._due.set)
        if cause := traces.cause():
            self._database.after_commit(tx, functools.partial(self._causes.note, kind, connection_id, cause))

    def hear(self, told: str | None) -> None:
        """Something is due: another process says so."""
        if told is None:  # the database was away, perhaps it crashed: what was not durable is undone
            self._may_hold_more = True
        self._due.set()

    async def run(self) -> None:
        """Do what is due until cancelled; then what is in hand is let go, to be taken up by the next owner."""
        if not self._replica.id:
            await self._replica.join()
        try:
            while True:
                self._due.clear()
                idle_for = await self._start_unless_away()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(idle_for):  # not wait_for: Python 3.11's can lose a cancellation
                        await self._due.wait()
                        await asyncio.sleep(self._breath())
        finally:
            await self._let_go()

    async def hand_over(self) -> None:
        """Begin nothing more, and let organisations go as soon as nothing is in hand of them: another process goes on.

        Slices in hand learn that they are to end (`Job.is_leaving`).
        """
        self._is_draining = True
        await self._homes.drain()

    async def drain(self, by: float) -> None:
        """Let what is in hand come to an end until this time of the loop, then break it off."""
        self._is_draining = True
        if self._running:
            await asyncio.wait(self._running.values(), timeout=max(0.0, by - asyncio.get_running_loop().time()))
        if self._running:
            logger.warning("broken off", tasks=[task.get_name() for task in self._running.values()])
        await self._cancel_all()
        await asyncio.gather(*self._moves, return_exceptions=True)

    def _breath(self) -> float:
        """Seconds in which more may gather that is due: the longer, the more a look costs, so that looks stay few."""
        shared = BREATH if self._replica.peers.replicas > 1 else 0.0
        return max(shared, self._look_took if self._look_took > CHEAP else 0.0)

    async def _start_unless_away(self) -> float:
        """Start what can be started, if the database is there; what is in hand goes on either way."""
        began = asyncio.get_running_loop().time()
        try:
            idle_for = await self._start_what_is_due()
        except StorageUnavailableError as trouble:
            if not self._is_away:
                logger.warning("nothing can be started: the database is away", why=trouble.why)
            self._is_away = self._may_hold_more = True
            return RETRY
        self._is_away = False
        self._look_took = asyncio.get_running_loop().time() - began
        return idle_for

    async def _start_what_is_due(self) -> float:
        """Start what can be started; answers how many seconds to wait at most for more."""
        owner = self._replica.id
        if self._is_draining or not self._replica.is_alive():
            return SWEEP
        if self._may_hold_more and (freed := await self._give_back()):
            logger.warning("what was not given back is due again", tasks=freed)
        now, room = self._clock.now(), self._room()
        enough = AT_ONCE * len(self._kinds)  # a connection with all kinds due at once has one of them started
        async with self._database.read() as tx:
            found = await work.due(tx, now, enough, replica_id=owner, lanes=list(room)) if room else ()
            newcomers = await self._newcomers(tx, found)
            next_at = await work.next_due_at(tx, now)
        if self._replica.id != owner:  # the place was lost meanwhile: in nobody's name it would be taken from everybody
            return SWEEP
        for due in found:
            key, organisation = (due.task.connection_id, due.task.lane), due.xero_tenant_id
            is_ours = due.has_home or not organisation or organisation in newcomers
            if key in self._running or not room[due.task.lane] or not is_ours:
                continue
            if self._homes.is_leaving(organisation) or self._is_draining:
                continue
            room[due.task.lane] -= 1
            self._organisations[key] = organisation
            doing = self._do(due, owner)
            self._running[key] = asyncio.create_task(doing, name=f"{due.task.kind} {due.task.connection_id}")
            self._running[key].add_done_callback(functools.partial(self._done, key))
        return self._idle_for(now, next_at)

    async def _give_back(self) -> int:
        """Free what rows say that this process has in hand, and that it has not; answers how much that was."""
        owner, in_hand = self._replica.id, list(self._running)
        async with self._database.write() as tx:
            freed = await work.free(tx, owner, self._clock.now(), besides=in_hand)
        self._may_hold_more = False
        return freed

    def _idle_for(self, now: datetime, next_at: datetime | None) -> float:
        sweep = self._notices.patience(SWEEP)
        if next_at is None:
            return sweep
        seconds = (next_at - now).total_seconds()
        return min(sweep, max(seconds, COARSE) if self._replica.peers.replicas > 1 else seconds)

    async def _newcomers(self, tx: Transaction, found: Sequence[Due]) -> set[str]:
        """The organisations without a home that may settle here, most urgent first."""
        new = dict.fromkeys(due.xero_tenant_id for due in found if due.xero_tenant_id and not due.has_home)
        if not new or self._replica.peers.replicas == 1:
            return set(new)
        return set(itertools.islice(new, max(0, await self._homes.room(tx, len(new)))))

    def _room(self) -> dict[str, int]:
        """How many more tasks can be started in each lane that has room for any."""
        taken = Counter(lane for _, lane in self._running)
        return {lane: AT_ONCE - taken[lane] for lane in Lane if taken[lane] < AT_ONCE}

    def _is_busy(self, xero_tenant_id: str) -> bool:
        return xero_tenant_id in self._organisations.values()

    def _done(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        del self._running[key]
        organisation = self._organisations.pop(key)
        if self._homes.is_leaving(organisation):
            self._move_out(organisation)
        if task.cancelled() or task.exception() is None:
            self._due.set()
        else:  # the database did not let it be taken or given back: the next sweep sees to it
            self._may_hold_more = True
            if isinstance(task.exception(), StorageUnavailableError):
                logger.warning("task broken off: the database is away", task=task.get_name())
            else:
                logger.error("task broke", task=task.get_name(), exc_info=task.exception())

    def _move_out(self, organisation: str) -> None:
        move = asyncio.create_task(self._homes.move_out(organisation), name=f"move {organisation}")
        self._moves.add(move)
        move.add_done_callback(self._moved)

    def _moved(self, move: asyncio.Task[None]) -> None:
        self._moves.discard(move)
        if not move.cancelled() and (trouble := move.exception()) is not None:  # the next sign of life tries again
            logger.warning("no move", move=move.get_name(), trouble=repr(trouble))

    async def _do(self, due: Due, owner: str) -> None:
        """One slice of a task, from taking it to giving it back. An error is logged and tried again later."""
        task = due.task
        # On SQLite a power cut that undoes this takes the owner with it; on PostgreSQL the owner may live on.
        async with self._database.write(durable=not self._database.is_sqlite) as tx:
            if due.xero_tenant_id and not await self._homes.settle(tx, due.xero_tenant_id):
                return
            lease = await work.take(tx, task, owner=owner, now=self._clock.now())
        if lease is None:
            return
        with observed(task.kind, task.connection_id, self._causes.of(task.kind, task.connection_id)) as slice_:
            try:
                again_at = await self._perform(lease, slice_)
            except LostLeaseError as lost:
                slice_.outcome = Outcome.LOST
                logger.warning("task lost", task=str(lost))
                return
        async with self._database.write(durable=False) as tx:  # undone, it is done again: see `hear`
            await work.finish(tx, lease, again_at=again_at)

    async def _perform(self, lease: Lease, slice_: Slice) -> datetime | None:
        """One slice; when to go on, which after trouble is a while later each time."""
        key = (lease.kind, lease.connection_id)
        try:
            again_at: datetime | None = await self._kinds[lease.kind].perform(Job(lease, lambda: self._is_draining))
        except LostLeaseError:
            raise
        except DrainingError:  # it is another process's
            return self._clock.now()
        except StorageUnavailableError:  # no fault of the task's
            slice_.outcome = Outcome.DATABASE_AWAY
            return self._clock.now() + FIRST_RETRY
        except Exception:
            slice_.outcome = Outcome.FAILED
            self._failures[key] = failures = self._failures.get(key, 0) + 1
            again_at = self._clock.now() + min(FIRST_RETRY * 2 ** min(failures, 10), LAST_RETRY)
            logger.exception("task failed", again_at=again_at)
        else:
            self._failures.pop(key, None)
        return again_at

    async def _cancel_all(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _let_go(self) -> None:
        """Stop what is in hand and free it at once, so that the next owner need not wait until this one is missed."""
        await self._cancel_all()
        if not self._replica.id:  # it has lost its place, and with that all that it held
            return
        self._may_hold_more = True
        await self._give_back()
