"""A process among its like: alive as long as it says so, and nobody once it is taken for dead."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from databases import add_connection
from places import ORGANISATION, Place, StillClock
from servers import until
from tieout_server.errors import CallLimitError
from tieout_server.ledger.books import Purpose
from tieout_server.storage import replicas, tables, work
from tieout_server.storage.database import Database
from tieout_server.storage.notices import Notices
from tieout_server.work import engine as engines
from tieout_server.work import replica as replica_module
from tieout_server.work.engine import Engine, Job, Lane, LostLeaseError, Priority
from tieout_server.work.replica import Replica

CONNECTION = "c1"


class Slices:
    """Work whose slices end when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.cancelled = 0
        self.go = asyncio.Semaphore(0)

    async def perform(self, job: Job) -> datetime | None:
        self.jobs.append(job)
        try:
            await self.go.acquire()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return None


@contextlib.asynccontextmanager
async def at_work(at: Place, slices: Slices) -> AsyncIterator[Engine]:
    """An engine at work in this process."""
    engine = Engine(at.database, at.clock, at.replica, at.homes, Notices(at.database))
    engine.register("read", Lane.READ, slices.perform)
    at.heard.append(engine.hear)
    running = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def wake(at: Place, engine: Engine, organisation: str = ORGANISATION, connection_id: str = CONNECTION) -> None:
    """Have something due for a connection of this organisation."""
    await add_connection(at.database, connection_id)
    async with at.database.write() as tx:
        await tx.execute(
            update(tables.connections)
            .where(tables.connections.c.id == connection_id)
            .values(xero_tenant_id=organisation)
        )
        await engine.wake(tx, "read", connection_id, priority=Priority.ASKED)


async def owner_of(at: Place) -> str:
    async with at.database.read() as tx:
        return str((await tx.execute(select(tables.work.c.owner))).scalar_one())


async def test_who_is_silent_is_removed_and_what_it_held_is_free(one: Place, two: Place) -> None:
    slices, others = Slices(), Slices()
    async with at_work(one, slices) as engine:
        await wake(one, engine)
        await until(lambda: len(slices.jobs) == 1)
        assert await one.is_home()
        await two.replica.beat()
        assert two.replica.peers.replicas == 2
        assert not await two.settle(), "it was taken from who is alive"
        await one.fall_silent()
        async with at_work(two, others):
            await two.replica.beat()
            assert two.replica.peers.replicas == 1
            await until(lambda: len(others.jobs) == 1)
            assert await two.is_home()
            assert others.jobs[0]._lease.fence > slices.jobs[0]._lease.fence
            with pytest.raises(LostLeaseError):
                async with one.database.write() as tx:
                    await slices.jobs[0].hold(tx)


async def test_who_gives_signs_of_life_is_never_removed(one: Place, two: Place) -> None:
    for _ in range(3):
        await one.fall_silent()
        await one.replica.beat()
        await two.replica.beat()
        assert two.replica.peers.replicas == 2
    assert one.replica.is_alive()


async def test_a_displaced_replica_drops_its_tasks_forgets_its_homes_and_comes_back_under_another_name(
    one: Place, two: Place
) -> None:
    slices = Slices()
    async with at_work(one, slices) as engine:
        await wake(one, engine)
        await until(lambda: len(slices.jobs) == 1)
        before = one.replica.id
        await one.fall_silent()
        await two.replica.beat()
        assert await two.settle()
        await one.replica.beat()
        assert slices.cancelled == 1
        assert not one.homes.is_here(ORGANISATION)
        assert one.replica.id not in {"", before}
        assert one.replica.is_alive()
        assert two.homes.is_here(ORGANISATION)
        assert len(slices.jobs) == 1, "it went on with what is done elsewhere now"


async def test_leave_that_was_waited_for_is_none_any_more_once_the_place_was_lost(one: Place, two: Place) -> None:
    await one.called()

    async def wait() -> None:
        async with one.limits.call(ORGANISATION, Purpose.POLL):
            raise AssertionError("a call was let through that another process lets through, too")

    async with contextlib.AsyncExitStack() as stack:
        held = [await stack.enter_async_context(one.limits.call(ORGANISATION, Purpose.POLL)) for _ in range(5)]
        waiting = asyncio.create_task(wait())
        await one.fall_silent()
        await two.replica.beat()
        await one.replica.beat()
        assert one.replica.is_alive()
        assert not any(leave.is_good() for leave in held), "leave from an earlier life was taken for good"
        with pytest.raises(CallLimitError):
            await waiting


@pytest.mark.parametrize("clock", [0, 1], ids=["monotonic", "wall"])
async def test_a_place_is_trusted_for_18_seconds_from_when_life_was_last_shown_by_either_clock(
    clock: int, one: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0, 2_000.0]
    monkeypatch.setattr(replica_module, "_both_clocks", lambda: (now[0], now[1]))
    beat = replicas.beat

    async def slowly(*asked: Any) -> Any:  # noqa: ANN401 - as it was given
        now[clock] += 3  # the answer takes long: what counts is when it was asked
        return await beat(*asked)

    monkeypatch.setattr(replicas, "beat", slowly)
    await one.replica.beat()
    now[clock] += 14.9
    assert one.replica.is_alive()
    now[clock] += 0.2
    assert not one.replica.is_alive()
    await one.replica.beat()
    assert one.replica.is_alive()


async def test_without_a_place_that_is_sure_nothing_is_started_and_no_call_is_let_through(one: Place) -> None:
    await one.called()
    slices = Slices()
    async with one.guests.call(ORGANISATION, Purpose.POLL) as leave:
        one.replica._good_until = (0.0, 0.0)
        assert not leave.is_good()
    async with at_work(one, slices) as engine:
        await wake(one, engine)
        assert await engine._start_what_is_due() > 0
        assert not engine._running
    await one.homes._drop()
    with pytest.raises(CallLimitError):
        await one.called()


async def test_a_database_that_was_away_is_no_end(one: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "BEAT", 0.01)
    monkeypatch.setattr(replica_module, "RETRY", 0.01)
    beating = asyncio.create_task(one.replica.run())
    async with one.database.write() as tx:
        await tx.exec_driver_sql("ALTER TABLE replicas ADD CONSTRAINT away CHECK (alive_until < 0) NOT VALID")
    await until(lambda: one.replica._is_silent)
    async with one.database.write() as tx:
        await tx.exec_driver_sql("ALTER TABLE replicas DROP CONSTRAINT away")
    await until(lambda: not one.replica._is_silent)
    assert one.replica.is_alive()
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_who_leaves_frees_what_it_has_at_once(one: Place, two: Place) -> None:
    slices, others = Slices(), Slices()
    async with at_work(two, others):
        async with at_work(one, slices) as engine:
            assert await one.settle()
            await wake(one, engine)
            await until(lambda: len(slices.jobs) == 1)
        assert slices.cancelled == 1
        await one.homes.leave()
        await one.replica.leave()
        await until(lambda: len(others.jobs) == 1, within=10)  # others would miss it after 20


async def test_on_sqlite_one_process_is_alive_for_good(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(sqlite_url)
    first, second = Replica(database), Replica(database)
    await first.join(alone=True)
    await second.join(alone=True)
    monkeypatch.setattr(replica_module, "_both_clocks", lambda: (1e12, 1e12))
    assert second.is_alive()
    async with database.read() as tx:
        assert (await replicas.peers(tx)).replicas == 1
    await database.close()


# What is said to be in hand and is not


async def test_what_could_not_be_given_back_is_due_again(one: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "SWEEP", 0.05)
    slices = Slices()
    async with at_work(one, slices) as engine:
        await wake(one, engine)
        await until(lambda: len(slices.jobs) == 1)
        finish, broken = work.finish, list[bool]()

        async def breaks(*asked: Any, **named: Any) -> bool:  # noqa: ANN401 - as it was given
            if not broken:
                broken.append(True)
                raise ConnectionError("as the test wants it")
            return await finish(*asked, **named)

        monkeypatch.setattr(work, "finish", breaks)
        slices.go.release()
        await until(lambda: len(slices.jobs) == 2)
        slices.go.release()
        await until(lambda: not engine._running)
        assert await owner_of(one) == ""


async def test_what_a_crash_of_the_database_undid_is_done_again(one: Place) -> None:
    slices = Slices()
    async with at_work(one, slices) as engine:
        await wake(one, engine)
        slices.go.release()
        await until(lambda: len(slices.jobs) == 1 and not engine._running)
        async with one.database.write() as tx:  # that it was given back was not durable
            await tx.execute(update(tables.work).values(owner=one.replica.id))
        engine.hear(None)  # notices are heard again
        await until(lambda: len(slices.jobs) == 2)


async def test_nothing_is_freed_that_is_in_hand(one: Place) -> None:
    slices = Slices()
    async with at_work(one, slices) as engine:
        await wake(one, engine)
        await until(lambda: len(slices.jobs) == 1)
        engine.hear(None)
        await until(lambda: not engine._due.is_set() and not engine._may_hold_more)
        assert await owner_of(one) == one.replica.id
        async with one.database.write() as tx:
            await slices.jobs[0].hold(tx)


async def test_without_a_place_nothing_is_freed_that_nobody_holds(one: Place, still: StillClock) -> None:
    slices = Slices()
    async with at_work(one, slices) as engine:
        await wake(one, engine)
        slices.go.release()
        await until(lambda: len(slices.jobs) == 1 and not engine._running)
        one.replica.id = ""
    async with one.database.read() as tx:
        assert await work.due(tx, still.now(), 10) == []
