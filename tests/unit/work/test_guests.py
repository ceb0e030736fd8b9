"""Who is not an organisation's home calls with its leave: in its line, counted by it, and nothing is left behind."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from places import ORGANISATION, PLENTY, Place, StillClock, place, turns
from servers import until
from tieout_server.errors import CallLimitError
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.calls import Leave, Left, Problem
from tieout_server.work import host as host_module
from tieout_server.xero.limits import LINGER

pytestmark = pytest.mark.timeout(60)

AWAITS = 40
"""Steps of the event loop, and more, that a call of a guest takes: it is cancelled after each number of them."""


@pytest.fixture
async def home(one: Place) -> Place:
    """The organisation's home."""
    await one.called()
    return one


async def nothing_is_left(at: Place) -> None:
    """Wait until no guest's call is known any more, to the database or to the home."""
    async with asyncio.timeout(10):
        while await at.guest_calls() or at.host._serving:  # noqa: ASYNC110 - the database sets no event
            await asyncio.sleep(0.01)
    assert not at.host._told


async def until_none_is_asked_for(at: Place) -> None:
    async with asyncio.timeout(10):
        while await at.guest_calls():  # noqa: ASYNC110 - the database sets no event
            await asyncio.sleep(0.01)


def in_flight(at: Place) -> int:
    return at.limits._of(ORGANISATION)._in_flight


def lingering(at: Place) -> int:
    return len(at.limits._of(ORGANISATION)._lingering)


@contextlib.asynccontextmanager
async def under_way(at: Place, *, purpose: Purpose = Purpose.CONNECT) -> AsyncIterator[Leave]:
    """A call, asked for in this process, that lasts as long as the block and is answered then."""
    async with at.guests.call(ORGANISATION, purpose) as leave:
        leave.sent()
        yield leave
        leave.answered(PLENTY)


async def test_without_a_home_the_guest_becomes_it(two: Place) -> None:
    await two.called()
    assert two.homes.is_here(ORGANISATION)
    assert await two.guest_calls() == 0


async def test_leave_comes_from_the_home_and_what_the_answer_says_is_counted_there(home: Place, two: Place) -> None:
    await two.called(Left(minute=33, day=777))
    await nothing_is_left(home)
    assert not two.homes.is_here(ORGANISATION)
    known = home.limits.allowance(ORGANISATION)
    assert (known.left_this_minute, known.left_today) == (33, 777)
    assert in_flight(home) == lingering(home) == 0


async def test_a_guest_waits_in_the_line_of_the_home(home: Place, two: Place) -> None:
    async with contextlib.AsyncExitStack() as four:
        for _ in range(4):
            await four.enter_async_context(under_way(home))
        async with under_way(two):
            assert in_flight(home) == 5
            sixth, seventh = asyncio.create_task(two.called()), asyncio.create_task(home.called())
            await turns()
            assert not sixth.done()
            assert not seventh.done()
    await asyncio.gather(sixth, seventh)
    await nothing_is_left(home)


async def test_who_is_more_urgent_goes_first_wherever_they_ask(home: Place, two: Place) -> None:
    gone: list[Purpose] = []

    async def go(at: Place, purpose: Purpose) -> None:
        async with under_way(at, purpose=purpose):
            gone.append(purpose)

    async with contextlib.AsyncExitStack() as four:
        for _ in range(4):
            await four.enter_async_context(under_way(home))
        async with under_way(home):
            first = asyncio.create_task(go(home, Purpose.FIRST_SYNC))
            await turns(times=2)
            second = asyncio.create_task(go(two, Purpose.CONNECT))
            await until(lambda: len(home.host._serving) == 1)
            await turns(times=2)
        await asyncio.gather(first, second)
    assert gone == [Purpose.CONNECT, Purpose.FIRST_SYNC]


async def test_a_full_day_is_said_to_the_guest_with_its_end(home: Place, two: Place) -> None:
    await home.called(Left(minute=59, day=0))
    with pytest.raises(CallLimitError) as elsewhere:
        await two.called()
    with pytest.raises(CallLimitError) as here:
        await home.called()
    assert elsewhere.value.limit == here.value.limit == "day"
    assert elsewhere.value.retry_at
    assert elsewhere.value.retry_at == here.value.retry_at
    await nothing_is_left(home)


async def test_a_refusal_that_the_guest_met_holds_the_home_too(home: Place, two: Place, still: StillClock) -> None:
    async with two.guests.call(ORGANISATION, Purpose.POLL) as leave:
        leave.sent()
        leave.answered(PLENTY)
        assert leave.refused(Problem.MINUTE, 30) == still.now() + timedelta(seconds=30)
    await nothing_is_left(home)
    waiting = asyncio.create_task(home.called())
    await turns()
    assert not waiting.done()
    still.move(31)
    await until(waiting.done)
    await waiting


async def test_a_call_that_never_left_takes_nothing(home: Place, two: Place) -> None:
    before = home.limits.allowance(ORGANISATION)
    async with two.guests.call(ORGANISATION, Purpose.POLL) as leave:
        leave.sent()
        leave.not_sent()
    await nothing_is_left(home)
    assert home.limits.allowance(ORGANISATION) == before
    assert in_flight(home) == lingering(home) == 0


async def test_a_call_without_an_answer_keeps_its_place_for_a_while(home: Place, two: Place, still: StillClock) -> None:
    async with two.guests.call(ORGANISATION, Purpose.POLL) as leave:
        leave.sent()
    await nothing_is_left(home)
    assert (in_flight(home), lingering(home)) == (0, 1)
    still.move(LINGER + 0.1)
    await home.called()
    assert lingering(home) == 0


async def test_a_guest_that_is_gone_leaves_a_place_that_lingers(home: Place, two: Place) -> None:
    async with two.guests.call(ORGANISATION, Purpose.POLL) as leave:
        leave.sent()
        assert in_flight(home) == 1
        await two.die()
        await until(lambda: in_flight(home) == 0)
        assert lingering(home) == 1


async def test_a_guest_that_never_tells_is_not_waited_for_for_ever(
    home: Place, two: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "SWEEP", 0.05)
    home.host._patience = 0.2
    async with two.guests.call(ORGANISATION, Purpose.POLL) as leave:
        leave.sent()
        await until(lambda: in_flight(home) == 0)
        assert lingering(home) == 1
        assert await home.guest_calls() == 0
    assert await home.guest_calls() == 0


async def test_leave_is_not_good_for_ever(home: Place, two: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two.guests.call(ORGANISATION, Purpose.POLL) as leave:
        assert leave.is_good()
        monkeypatch.setattr(time, "monotonic", lambda: 1e12)
        assert not leave.is_good()
    monkeypatch.undo()
    await nothing_is_left(home)


async def test_a_guest_whose_home_died_becomes_the_home_and_goes_on(home: Place, two: Place) -> None:
    async with contextlib.AsyncExitStack() as five:
        for _ in range(5):
            await five.enter_async_context(under_way(home))
        waiting = asyncio.create_task(two.called())
        await until(lambda: len(home.host._serving) == 1)
        await home.die()
        await until(waiting.done)
    await waiting
    assert two.homes.is_here(ORGANISATION)
    assert await two.guest_calls() == 0


async def test_a_guest_whose_home_moved_is_served_by_the_next_one(
    home: Place, two: Place, postgres_url: str, still: StillClock
) -> None:
    async with place(postgres_url, still) as third, contextlib.AsyncExitStack() as five:
        for _ in range(5):
            await five.enter_async_context(under_way(home))
        waiting = asyncio.create_task(two.called(Left(minute=22, day=4_000)))
        await until(lambda: len(home.host._serving) == 1)
        async with home.database.write() as tx:  # it is at home elsewhere within one moment
            await tx.exec_driver_sql("UPDATE homes SET replica_id = %s", (third.replica.id,))
        assert await third.settle()
        await home.homes._drop()
        third.host._asked.set()
        await until(waiting.done)
        await waiting
        await until(lambda: third.limits.allowance(ORGANISATION).left_today == 4_000)
        await nothing_is_left(third)


async def test_who_lost_its_place_lets_no_guest_through(home: Place, two: Place) -> None:
    home.replica._good_until = (0.0, 0.0)
    waiting = asyncio.create_task(two.called())
    await turns()
    assert not waiting.done()
    await home.replica.beat()
    home.host._asked.set()
    await until(waiting.done)
    await waiting


async def test_what_became_of_a_call_while_its_home_changed_is_cleared_away(home: Place, two: Place) -> None:
    async with under_way(two):
        await home.host._send_away()
    home.host._asked.set()
    await nothing_is_left(home)


@pytest.mark.parametrize("waits", [False, True], ids=["served at once", "in line"])
async def test_cancelled_anywhere_nothing_is_left(home: Place, two: Place, *, waits: bool) -> None:
    async def call() -> None:
        async with under_way(two):
            await asyncio.sleep(0.02)

    for step in range(AWAITS):
        async with contextlib.AsyncExitStack() as five:
            for _ in range(5 if waits else 0):
                await five.enter_async_context(under_way(home))
            calling = asyncio.create_task(call())
            for _ in range(step):
                await asyncio.sleep(0.001 * (step % 3))
            calling.cancel()
            await asyncio.sleep(0)
            calling.cancel()  # as a deadline and a client that leaves do
            await asyncio.gather(calling, return_exceptions=True)
            await until_none_is_asked_for(home)
            if waits:
                assert in_flight(home) == 5
        await nothing_is_left(home)
        assert in_flight(home) == 0
        home.clock.move(LINGER + 1)
        home.clock.move(120)
    assert not two.guests._waiting


async def test_a_home_that_is_cancelled_anywhere_counts_what_may_have_been_sent(home: Place, two: Place) -> None:
    for step in range(AWAITS):
        calling = asyncio.create_task(two.called())
        for _ in range(step):
            await asyncio.sleep(0.001)
        was_served = bool(home.host._serving)
        await home.host._send_away()
        if was_served and await _is_granted(home):
            assert in_flight(home) + lingering(home) == 1
        home.host._asked.set()
        await asyncio.gather(calling)
        await nothing_is_left(home)
        home.clock.move(120)


async def _is_granted(at: Place) -> bool:
    async with at.database.read() as tx:
        rows = await tx.exec_driver_sql("SELECT state FROM guest_calls WHERE state IN ('GRANTED', 'ENDED')")
        return rows.first() is not None


async def test_calls_of_all_processes_at_once_are_five_at_most(home: Place, two: Place) -> None:
    most = now = 0

    async def call(at: Place) -> None:
        nonlocal most, now
        async with at.guests.call(ORGANISATION, Purpose.CONNECT) as leave:
            assert leave.is_good()
            leave.sent()
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.002)
            now -= 1
            leave.answered(PLENTY)

    await asyncio.gather(*(call(at) for at in (home, two) for _ in range(25)))
    await nothing_is_left(home)
    assert 1 < most <= 5


async def test_who_asks_while_the_organisation_moves_is_let_through_as_soon_as_it_has_arrived(
    home: Place, two: Place
) -> None:
    home.homes._here.clear()  # as between the commits of a move
    calling = asyncio.create_task(two.called())
    async with asyncio.timeout(10):
        while not await home.guest_calls():  # noqa: ASYNC110 - the database sets no event
            await asyncio.sleep(0.01)
    await turns()
    assert not calling.done()
    assert await home.settle()
    async with asyncio.timeout(5):  # and not at the home's next look of its own accord, some 15 seconds later
        await calling
