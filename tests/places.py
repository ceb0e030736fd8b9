"""Processes that share the work, as objects in this one: what each has of its own, on one PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update

from tieout_server.clock import Clock
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.calls import Left
from tieout_server.storage import replica_tables, replicas
from tieout_server.storage.database import Database
from tieout_server.storage.notices import Callback, Notices
from tieout_server.storage.work import CHANNEL
from tieout_server.work.engine import Engine
from tieout_server.work.guests import Guests
from tieout_server.work.homes import Homes
from tieout_server.work.host import Host
from tieout_server.work.means import Means
from tieout_server.work.replica import Replica
from tieout_server.xero.limits import Limits

ORGANISATION = "11111111-1111-4111-8111-111111111111"
PLENTY = Left(minute=60, day=5_000)


class StillClock:
    """A clock that stands still until a test moves it; who waits for an instant is woken when it has come."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 12, tzinfo=UTC)
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        while self.monotonic() < until:
            await self._moved.wait()

    def move(self, seconds: float) -> None:
        """Let so much time pass."""
        self.time += timedelta(seconds=seconds)
        self._moved.set()
        self._moved = asyncio.Event()


@dataclass
class Place:
    """One process among its like."""

    database: Database
    clock: StillClock
    replica: Replica
    homes: Homes
    notices: Notices
    limits: Limits
    guests: Guests
    host: Host
    heard: list[Callback]
    """Who hears that something is due."""

    async def settle(self, organisation: str = ORGANISATION) -> bool:
        """Make this the organisation's home, if it has none."""
        async with self.database.write() as tx:
            return await self.homes.settle(tx, organisation)

    async def called(self, left: Left = PLENTY, purpose: Purpose = Purpose.CONNECT) -> None:
        """One call, answered with this left."""
        async with self.guests.call(ORGANISATION, purpose) as leave:
            leave.sent()
            leave.answered(left)

    async def is_home(self, organisation: str = ORGANISATION) -> bool:
        """Whether the database says that this is the organisation's home."""
        async with self.database.read() as tx:
            found = await replicas.home(tx, organisation)
        return found is not None and found.replica_id == self.replica.id

    async def fall_silent(self) -> None:
        """Let its last sign of life be so long ago that the others take it for dead."""
        of = replica_tables.replicas.c.id == self.replica.id
        async with self.database.write() as tx:
            await tx.execute(update(replica_tables.replicas).where(of).values(alive_until=0))

    async def die(self) -> None:
        """Be gone without a goodbye, and missed by the others."""
        async with self.database.write() as tx:
            await replicas.leave(tx, self.replica.id)

    async def guest_calls(self) -> int:
        """How many calls of guests are asked for or under way, of whomever."""
        async with self.database.read() as tx:
            return int((await tx.execute(select(func.count()).select_from(replica_tables.guest_calls))).scalar_one())


@asynccontextmanager
async def place(url: str, clock: StillClock, *, call_takes: timedelta = timedelta(seconds=60)) -> AsyncIterator[Place]:
    """A process that has a place, hears notices and lets guests through."""
    database = Database(url)
    replica, notices = Replica(database), Notices(database)
    limits = Limits(clock, replica.is_alive)
    homes = Homes(database, replica, limits)
    means = Means(database, clock, replica, homes, notices)
    guests, host = Guests(means, limits), Host(means, limits, call_takes=call_takes)
    heard: list[Callback] = []
    notices.listen(CHANNEL, lambda told: _tell(heard, told))
    await replica.join()
    tasks = [asyncio.create_task(work()) for work in (notices.run, host.run)]
    while not notices.is_heard:  # noqa: ASYNC110 - it sets no event
        await asyncio.sleep(0.01)
    try:
        yield Place(database, clock, replica, homes, notices, limits, guests, host, heard)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()


def alone(database: Database, clock: Clock) -> Engine:
    """The engine of a process that shares the work with nobody."""
    replica = Replica(database)
    return Engine(database, clock, replica, Homes(database, replica, Limits(clock)), Notices(database))


async def turns(condition: Callable[[], bool] = lambda: False, times: int = 50) -> None:
    """Let everybody do what can be done now, database and all, or until this is so."""
    for _ in range(times):
        if condition():
            return
        await asyncio.sleep(0.01)


def _tell(callbacks: Sequence[Callback], told: str | None) -> None:
    for callback in callbacks:
        callback(told)
