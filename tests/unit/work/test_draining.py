"""A process that ends begins nothing, lets calls be answered, and leaves exactly what is known to who comes next."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from databases import add_connection
from fakes import SettableClock
from places import ORGANISATION, PLENTY, Place, StillClock, turns
from servers import until
from tieout_server.errors import DrainingError
from tieout_server.ledger.books import Purpose
from tieout_server.storage import tables
from tieout_server.storage.notices import Notices
from tieout_server.work.engine import Engine, Job, Lane, Priority
from tieout_server.xero.limits import AT_ONCE, LINGER, SKEW, Call

pytestmark = pytest.mark.timeout(60)

OTHER = "22222222-2222-4222-8222-222222222222"


@contextlib.asynccontextmanager
async def under_way(at: Place) -> AsyncIterator[Call]:
    """A call that lasts as long as the block, let through by this process."""
    async with at.limits.call(ORGANISATION, Purpose.CONNECT) as leave:
        leave.sent()
        yield leave


async def goes_at_once(at: Place) -> bool:
    """Whether a call is let through without waiting for time to pass."""
    calling = asyncio.create_task(at.called())
    await turns(calling.done)
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling
    return not calling.cancelled()


async def test_who_waits_for_leave_or_comes_for_it_is_sent_elsewhere_and_who_has_it_ends(one: Place) -> None:
    assert await one.settle()
    async with under_way(one) as leave:  # nothing is known yet: the others wait for what its answer says
        waiting = asyncio.create_task(one.called())
        await turns(times=5)
        one.guests.close()
        with pytest.raises(DrainingError):
            await waiting
        with pytest.raises(DrainingError):
            await one.called()
        assert leave.is_good()


async def test_a_guest_that_waits_is_sent_elsewhere_too(one: Place, two: Place) -> None:
    assert await one.settle()
    async with under_way(one):  # the first one of a process goes alone
        waiting = asyncio.create_task(two.called())
        await until(lambda: bool(two.guests._waiting))
        two.guests.close()
        with pytest.raises(DrainingError):
            await waiting


async def test_the_next_home_serves_a_guest_that_one_which_ends_did_not_let_through(one: Place, two: Place) -> None:
    assert await one.settle()
    async with under_way(one) as leave:
        waiting = asyncio.create_task(two.called())
        await until(lambda: len(one.host._serving) == 1)
        one.guests.close()
        await one.host.drain(asyncio.get_running_loop().time() + 5)
        leave.answered(PLENTY)
    await one.homes.drain()
    await waiting


async def test_once_all_calls_are_answered_the_next_home_waits_for_nothing(one: Place, two: Place) -> None:
    assert await one.settle()
    await one.called()
    await one.homes.drain()
    assert not await one.is_home()
    assert await goes_at_once(two)


async def test_of_calls_that_hang_the_next_home_keeps_the_places_free_and_no_others(
    one: Place, two: Place, still: StillClock
) -> None:
    assert await one.settle()
    await one.called()
    async with contextlib.AsyncExitStack() as hanging:
        for _ in range(AT_ONCE - 1):
            await hanging.enter_async_context(under_way(one))
        one.guests.close()
    await one.homes.leave()
    async with under_way(two) if await two.settle() else contextlib.nullcontext():
        assert not await goes_at_once(two), "more than five may be under way at Xero"
        still.move(LINGER + SKEW)
        assert await goes_at_once(two)


async def test_it_keeps_what_is_in_use_and_takes_no_part_in_the_sharing(one: Place, two: Place) -> None:
    assert await one.settle()
    assert await one.settle(OTHER)
    async with under_way(one):
        await one.homes.drain()
        assert await one.is_home()
        assert not await one.is_home(OTHER)
        await two.replica.beat()
        assert two.replica.peers.replicas == 1
        async with two.database.read() as tx:
            assert await two.homes.room(tx, 1) == 2  # all there are
        await one.homes.balance()
        assert await one.is_home()


async def test_slices_learn_that_they_are_to_end_and_what_does_not_end_is_broken_off(one: Place) -> None:
    for name in ("c1", "c2"):
        await add_connection(one.database, name)
    jobs: list[Job] = []
    answered, cancelled = asyncio.Event(), []

    async def ends(job: Job) -> None:
        jobs.append(job)
        await answered.wait()
        assert job.is_leaving
        raise DrainingError

    async def hangs(job: Job) -> None:
        jobs.append(job)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(job.connection_id)
            raise

    engine = Engine(one.database, SettableClock(), one.replica, one.homes, Notices(one.database))
    engine.register("ends", Lane.WRITE, ends)
    engine.register("hangs", Lane.READ, hangs)
    running = asyncio.create_task(engine.run())
    async with one.database.write() as tx:
        await engine.wake(tx, "ends", "c1", priority=Priority.ASKED)
        await engine.wake(tx, "hangs", "c1", priority=Priority.ASKED)
    await until(lambda: len(jobs) == 2)
    assert not any(job.is_leaving for job in jobs)
    await engine.hand_over()
    async with one.database.write() as tx:
        await engine.wake(tx, "ends", "c2", priority=Priority.ASKED)
    answered.set()
    await engine.drain(asyncio.get_running_loop().time() + 1)
    assert cancelled == ["c1"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    async with one.database.read() as tx:
        rows = (await tx.execute(tables.work.select())).all()
    assert len(jobs) == 2, "something was begun"
    assert {(row.kind, row.connection_id) for row in rows if row.owner == "" and row.due_at is not None} == {
        ("ends", "c1"),
        ("hangs", "c1"),
        ("ends", "c2"),
    }
