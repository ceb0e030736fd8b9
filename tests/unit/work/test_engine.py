"""Durable work: one at a time per lane, nothing forgotten, and whoever lost a task cannot commit for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from databases import add_connection
from fakes import SettableClock
from places import alone
from servers import until
from tieout_server.storage import migrate, replicas, tables, work
from tieout_server.storage.database import Database
from tieout_server.work import engine as engines
from tieout_server.work.engine import Engine, Job, Lane, LostLeaseError, Perform, Priority

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'tieout.db'}")
    await migrate.upgrade(opened)
    for name in ("c1", "c2"):
        await add_connection(opened, name)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


class Slices:
    """Work whose slices begin and end when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.ended = 0
        self.cancelled = 0
        self.go = asyncio.Semaphore(0)
        self.again_at: datetime | None = None
        self.trouble: Exception | None = None

    async def perform(self, job: Job) -> datetime | None:
        self.jobs.append(job)
        try:
            await self.go.acquire()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.ended += 1
        if self.trouble:
            trouble, self.trouble = self.trouble, None
            raise trouble
        return self.again_at


@contextlib.asynccontextmanager
async def at_work(database: Database, clock: SettableClock, **kinds: Perform) -> AsyncIterator[Engine]:
    """An engine at work; kinds whose name begins with `write` run in the lane of writes."""
    engine = alone(database, clock)
    for name, perform in kinds.items():
        engine.register(name, Lane.WRITE if name.startswith("write") else Lane.READ, perform)
    running = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def wake(
    engine: Engine, database: Database, kind: str, connection_id: str = "c1", at: datetime | None = None
) -> None:
    async with database.write() as tx:
        await engine.wake(tx, kind, connection_id, priority=Priority.ASKED, at=at)


async def row(database: Database, kind: str, connection_id: str = "c1") -> dict[str, object]:
    query = select(tables.work).where(tables.work.c.kind == kind, tables.work.c.connection_id == connection_id)
    async with database.read() as tx:
        return dict((await tx.execute(query)).mappings().one())


async def test_what_is_woken_is_done_once(database: Database, clock: SettableClock) -> None:
    slices = Slices()
    async with at_work(database, clock, read=slices.perform) as engine:
        async with database.write() as tx:
            for _ in range(3):
                await engine.wake(tx, "read", "c1", priority=Priority.ASKED)
        await until(lambda: len(slices.jobs) == 1)
        slices.go.release()
        await until(lambda: not engine._running)
        done = await row(database, "read")
    assert (slices.ended, done["due_at"], done["owner"]) == (1, None, "")


async def test_what_was_rolled_back_is_never_done(database: Database, clock: SettableClock) -> None:
    slices, marker = Slices(), Slices()
    async with at_work(database, clock, read=slices.perform, write=marker.perform) as engine:
        with contextlib.suppress(ZeroDivisionError):
            async with database.write() as tx:
                await engine.wake(tx, "read", "c1", priority=Priority.ASKED)
                raise ZeroDivisionError
        await wake(engine, database, "write")
        await until(lambda: len(marker.jobs) == 1)
    assert slices.jobs == []


async def test_one_lane_of_a_connection_does_one_thing_at_a_time_and_others_do_not_wait(
    database: Database, clock: SettableClock
) -> None:
    one, two, write = Slices(), Slices(), Slices()
    async with at_work(database, clock, one=one.perform, two=two.perform, write=write.perform) as engine:
        for kind in ("one", "two", "write"):
            await wake(engine, database, kind)
        await wake(engine, database, "one", "c2")
        await until(lambda: len(one.jobs) + len(two.jobs) == 2 and len(write.jobs) == 1)
        of_c1 = [job for job in (*one.jobs, *two.jobs) if job.connection_id == "c1"]
        assert len(of_c1) == 1
        for slices in (one, one, two):
            slices.go.release()
        await until(lambda: one.ended + two.ended == 3)


async def test_a_lane_that_is_full_holds_no_other_one_up(
    database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "AT_ONCE", 1)
    backfill, news = Slices(), Slices()
    async with at_work(database, clock, read=backfill.perform) as engine:
        engine.register("news", Lane.NEWS, news.perform)
        await wake(engine, database, "read", "c1")
        await wake(engine, database, "read", "c2")
        await until(lambda: len(backfill.jobs) == 1)
        async with database.write() as tx:
            await engine.wake(tx, "news", "c1", priority=Priority.NEWS)
        await until(lambda: len(news.jobs) == 1)
        assert len(backfill.jobs) == 1


async def test_a_process_without_a_place_begins_nothing(database: Database, clock: SettableClock) -> None:
    slices = Slices()
    async with at_work(database, clock, read=slices.perform) as engine:
        await until(engine._replica.is_alive)
        await taken_for_dead(database, engine)
        engine._replica.id = ""
        await wake(engine, database, "read")
        await until(lambda: not engine._due.is_set())
        assert (slices.jobs, (await row(database, "read"))["owner"]) == ([], "")
        await engine._replica.join()
        engine._due.set()
        await until(lambda: len(slices.jobs) == 1)


async def test_a_process_that_loses_its_place_while_it_looks_takes_nothing_in_nobodys_name(
    database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices, due = Slices(), work.due
    async with at_work(database, clock, read=slices.perform) as engine:
        await until(engine._replica.is_alive)

        async def lost_meanwhile(*asked: Any, **named: Any) -> Any:  # noqa: ANN401 - as it was given
            found = await due(*asked, **named)
            if found:
                await taken_for_dead(database, engine)
                engine._replica.id = ""
            return found

        monkeypatch.setattr(work, "due", lost_meanwhile)
        await wake(engine, database, "read")
        await until(lambda: not engine._replica.id)
        await engine._replica.join()
        monkeypatch.undo()
        engine._due.set()
        await until(lambda: len(slices.jobs) == 1)
        assert (await row(database, "read"))["owner"] == engine._replica.id


async def test_what_stops_without_a_place_touches_nothing(database: Database, clock: SettableClock) -> None:
    later = clock.now() + timedelta(hours=1)
    async with at_work(database, clock, read=Slices().perform) as engine:
        await until(engine._replica.is_alive)
        await wake(engine, database, "read", at=later)
        before = await row(database, "read")
        engine._replica.id = ""
    assert await row(database, "read") == before


async def test_a_wake_while_it_runs_is_not_lost(database: Database, clock: SettableClock) -> None:
    slices = Slices()
    async with at_work(database, clock, read=slices.perform) as engine:
        await wake(engine, database, "read")
        await until(lambda: len(slices.jobs) == 1)
        await wake(engine, database, "read")
        slices.go.release()
        await until(lambda: len(slices.jobs) == 2)


async def test_it_is_done_again_when_it_says_so_and_not_before(database: Database, clock: SettableClock) -> None:
    slices = Slices()
    slices.again_at = clock.now() + timedelta(hours=1)
    async with at_work(database, clock, read=slices.perform) as engine:
        await wake(engine, database, "read")
        slices.go.release()
        await until(lambda: slices.ended == 1 and not engine._running)
        clock.time += timedelta(minutes=59)
        engine._due.set()
        await until(lambda: not engine._due.is_set())
        assert len(slices.jobs) == 1
        clock.time += timedelta(minutes=1)
        engine._due.set()
        await until(lambda: len(slices.jobs) == 2)


async def test_a_failure_backs_off_and_is_tried_again(database: Database, clock: SettableClock) -> None:
    slices = Slices()
    pauses = []
    async with at_work(database, clock, read=slices.perform) as engine:
        await wake(engine, database, "read")
        for attempt in range(1, 12):
            await until(lambda: len(slices.jobs) == attempt)  # noqa: B023 - awaited here
            slices.trouble = RuntimeError("as the test wants it")
            slices.go.release()
            await until(lambda: not engine._running)
            due_at = (await row(database, "read"))["due_at"]
            assert isinstance(due_at, int)
            pause = timedelta(microseconds=due_at) - (clock.now() - datetime.fromtimestamp(0, clock.now().tzinfo))
            pauses.append(pause)
            clock.time += pause
            engine._due.set()
    assert pauses == sorted(pauses)
    assert pauses[0] < timedelta(seconds=10)
    assert pauses[-1] == engines.LAST_RETRY


async def test_a_task_whose_owner_died_is_taken_over_once_it_is_missed(
    database: Database, clock: SettableClock
) -> None:
    dead, alive = Slices(), Slices()
    async with at_work(database, clock, read=dead.perform) as engine:
        await wake(engine, database, "read")
        await until(lambda: len(dead.jobs) == 1)
        async with at_work(database, clock, read=alive.perform) as other:
            clock.time += timedelta(days=1)
            other._due.set()
            await until(lambda: not other._due.is_set())
            assert alive.jobs == []  # its owner is alive
            await taken_for_dead(database, engine)
            other._due.set()
            await until(lambda: len(alive.jobs) == 1)
            assert alive.jobs[0]._lease.fence > dead.jobs[0]._lease.fence


async def test_the_fence_keeps_an_owner_that_lost_its_task_from_committing(
    database: Database, clock: SettableClock
) -> None:
    paused, alive = Slices(), Slices()
    async with at_work(database, clock, read=paused.perform) as engine:
        await wake(engine, database, "read")
        await until(lambda: len(paused.jobs) == 1)
        await taken_for_dead(database, engine)
        async with at_work(database, clock, read=alive.perform):
            await until(lambda: len(alive.jobs) == 1)
            with pytest.raises(LostLeaseError):
                await commit(database, paused.jobs[0], "by the lost one")
            await commit(database, alive.jobs[0], "by the owner")
            paused.go.release()  # it ends, and its ending counts for nothing
            await until(lambda: not engine._running)
            held = await row(database, "read")
            assert held["fence"] == alive.jobs[0]._lease.fence
            assert held["owner"] != ""
    async with database.read() as tx:
        assert (await tx.execute(select(tables.connections.c.merchant_id))).scalars().all().count(
            "by the lost one"
        ) == 0


async def taken_for_dead(database: Database, engine: Engine) -> None:
    """What the other processes do with one that has been silent for too long."""
    async with database.write() as tx:
        await replicas.leave(tx, engine._replica.id)


async def commit(database: Database, job: Job, merchant_id: str) -> None:
    async with database.write() as tx:
        await tx.execute(tables.connections.update().values(merchant_id=merchant_id))
        await job.hold(tx)


async def test_cancelled_it_cancels_what_is_in_hand_and_the_next_process_takes_it_up(
    database: Database, clock: SettableClock
) -> None:
    first, second = Slices(), Slices()
    async with at_work(database, clock, read=first.perform) as engine:
        await wake(engine, database, "read")
        await until(lambda: len(first.jobs) == 1)
    assert first.cancelled == 1
    async with at_work(database, clock, read=second.perform) as engine:
        await until(lambda: len(second.jobs) == 1)
        assert second.jobs[0]._lease.fence > first.jobs[0]._lease.fence


async def test_what_waits_behind_a_connection_at_work_keeps_no_other_connection_waiting(
    database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "AT_ONCE", 4)
    syncs, polls, sweeps = Slices(), Slices(), Slices()
    async with at_work(database, clock, sync=syncs.perform, poll=polls.perform, sweep=sweeps.perform) as engine:
        for number in range(3):
            await add_connection(database, f"big{number}")
            await wake(engine, database, "sync", f"big{number}")
        await until(lambda: len(syncs.jobs) == 3)
        for number in range(3):
            for kind in ("poll", "sweep"):
                await wake(engine, database, kind, f"big{number}", clock.now() - timedelta(seconds=9))
        await wake(engine, database, "poll")
        await until(lambda: [job.connection_id for job in polls.jobs] == ["c1"])
    assert sweeps.jobs == []


async def test_however_much_waits_for_one_lane_another_one_goes_on(
    database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "AT_ONCE", 2)
    writes, polls = Slices(), Slices()
    async with at_work(database, clock, write=writes.perform, poll=polls.perform) as engine:
        for number in range(6):
            await add_connection(database, f"n{number}")
            async with database.write() as tx:
                await engine.wake(tx, "write", f"n{number}", priority=Priority.NEWS)
        await until(lambda: len(writes.jobs) == 2)
        await wake(engine, database, "poll")
        await until(lambda: len(polls.jobs) == 1)
    assert len(writes.jobs) == 2
