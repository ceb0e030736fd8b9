"""Each organisation has one home: shared out evenly, moved with what is known of its limits, never in two places."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from places import ORGANISATION, PLENTY, Place, StillClock, place, turns
from servers import until
from tieout_server.errors import CallLimitError
from tieout_server.ledger.books import Purpose, WaitingFor
from tieout_server.ledger.calls import Left, Problem
from tieout_server.storage import replica_tables
from tieout_server.work.homes import _share

MANY = [f"organisation-{number}" for number in range(5)]


@contextlib.asynccontextmanager
async def under_way(at: Place, *, answered: Left | None = PLENTY) -> AsyncIterator[None]:
    """A call that lasts as long as the block, let through by this process."""
    async with at.limits.call(ORGANISATION, Purpose.CONNECT) as leave:
        leave.sent()
        yield
        if answered:
            leave.answered(answered)


async def homes_of(at: Place) -> int:
    async with at.database.read() as tx:
        rows = (await tx.execute(select(replica_tables.homes.c.replica_id))).scalars().all()
    return sum(row == at.replica.id for row in rows)


async def room(at: Place, new: int) -> int:
    async with at.database.read() as tx:
        return await at.homes.room(tx, new)


def test_a_share_is_rounded_up() -> None:
    assert [_share(count, 3) for count in (0, 1, 3, 4, 6, 7)] == [0, 1, 1, 2, 2, 3]
    assert _share(5, 0) == 5


async def test_nobody_settles_more_than_their_share(one: Place, two: Place) -> None:
    assert await room(one, 5) == 3
    for name in MANY[:3]:
        assert await one.settle(name)
    assert await room(one, 2) == 0
    assert await room(two, 2) == 3


async def test_of_those_who_settle_at_once_one_is_the_home(one: Place, two: Place) -> None:
    for name in MANY:
        settled = await asyncio.gather(one.settle(name), two.settle(name), one.settle(name), two.settle(name))
        here = [any(settled[::2]), any(settled[1::2])]
        assert sorted(here) == [False, True]
        assert here == [one.homes.is_here(name), two.homes.is_here(name)]


async def test_what_is_more_than_a_share_is_given_up_idle_ones_first(
    one: Place, postgres_url: str, still: StillClock
) -> None:
    busy = set(MANY[:3])
    one.homes.is_busy = lambda name: name in busy
    for name in MANY:
        assert await one.settle(name)
    await one.replica.beat()
    assert await homes_of(one) == 5
    async with place(postgres_url, still) as other:
        await one.replica.beat()
        assert {name for name in MANY if one.homes.is_here(name)} == busy
        assert await room(other, 2) == 3
        await one.replica.beat()
        assert await homes_of(one) == 3  # its share, rounded up


async def test_a_busy_one_is_given_up_when_nothing_is_done_for_it_and_nothing_is_begun(one: Place, two: Place) -> None:
    busy = set(MANY)
    one.homes.is_busy = lambda name: name in busy
    for name in MANY:
        assert await one.settle(name)
    await one.replica.beat()
    leaving = {name for name in MANY if one.homes.is_leaving(name)}
    assert len(leaving) == 2
    assert await homes_of(one) == 5
    busy -= leaving
    for name in leaving:
        await one.homes.move_out(name)
        assert not one.homes.is_leaving(name)
    assert await homes_of(one) == 3
    for name in leaving:
        assert await two.settle(name)


async def test_a_call_under_way_keeps_an_organisation_where_it_is(one: Place, two: Place) -> None:
    await one.called()
    assert await two.settle(MANY[0])
    async with under_way(one):
        one.homes._leaving = {ORGANISATION}
        await one.homes.move_out(ORGANISATION)
        assert await one.is_home()
    await one.homes.move_out(ORGANISATION)
    assert not await one.is_home()


async def move(at: Place) -> None:
    """Give the organisation up."""
    at.homes._leaving = {ORGANISATION}
    await at.homes.move_out(ORGANISATION)


async def test_what_was_used_of_a_minute_at_one_home_is_not_given_away_at_the_next(
    one: Place, two: Place, still: StillClock
) -> None:
    for number in range(60):
        await one.called(Left(minute=59 - number, day=5_000 - number))
    await move(one)
    waiting = asyncio.create_task(two.called())
    await turns()
    assert two.homes.is_here(ORGANISATION)
    assert not waiting.done(), "a minute that was used up was begun anew"
    held_up = two.limits.held_up(ORGANISATION)
    assert held_up
    assert held_up.by is WaitingFor.MINUTE_LIMIT
    assert two.limits.allowance(ORGANISATION).left_today == 4_941
    still.move(59)
    await turns(waiting.done)
    assert not waiting.done()
    still.move(4)  # two clocks may differ by some seconds
    await until(waiting.done)
    await waiting


async def test_a_pause_that_xero_asked_for_goes_along(one: Place, two: Place, still: StillClock) -> None:
    async with one.guests.call(ORGANISATION, Purpose.POLL) as leave:
        leave.sent()
        leave.answered(PLENTY)
        leave.refused(Problem.MINUTE, 30)
    await move(one)
    waiting = asyncio.create_task(two.called())
    await turns()
    assert not waiting.done()
    still.move(33)
    await until(waiting.done)
    await waiting


async def test_several_calls_at_once_are_let_through_right_after_a_move(one: Place, two: Place) -> None:
    await one.called()
    await move(one)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(two.guests.call(ORGANISATION, Purpose.CONNECT))


async def test_the_first_call_after_a_home_that_died_goes_alone_and_learns_what_was_left(
    one: Place, two: Place
) -> None:
    for number in range(10):
        await one.called(Left(minute=59 - number, day=5_000))
    await one.replica.beat()  # what is known is kept
    for number in range(30):  # and nobody hears of these
        await one.called(Left(minute=49 - number, day=5_000))
    await one.die()
    async with two.guests.call(ORGANISATION, Purpose.CONNECT) as first:
        first.sent()
        second = asyncio.create_task(two.called(Left(minute=18, day=5_000)))
        await turns()
        assert not second.done(), "two were under way, and nobody knows how many were before"
        first.answered(Left(minute=19, day=5_000))
    await second
    assert two.limits.allowance(ORGANISATION).left_this_minute <= 19


async def test_a_call_that_was_under_way_when_its_home_died_keeps_its_place_for_a_while(
    one: Place, two: Place, still: StillClock
) -> None:
    await one.called()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(under_way(one))
        await one.replica.beat()
        await one.die()
        fifth = asyncio.create_task(two.called())
        await turns()
        assert not fifth.done(), "nobody knows how many were under way beside the four"
        still.move(9)
        await turns(times=5)
        assert not fifth.done()
        still.move(4)
        await until(fifth.done)
    await fifth


async def test_while_it_moves_it_is_at_home_nowhere_and_no_call_is_let_through(one: Place, two: Place) -> None:
    await one.called()
    async with two.database.write() as held:
        await held.execute(select(replica_tables.homes).with_for_update())
        moving = asyncio.create_task(move(one))
        await turns(times=5)
        assert one.homes.is_leaving(ORGANISATION)
        assert not one.homes.is_here(ORGANISATION)
        assert not await one.settle(), "it would be here while the database says that it left"
        calls = [asyncio.create_task(at.called()) for at in (one, two, one)]
        await turns()
        assert not any(call.done() for call in calls)
        assert not moving.done()
    await moving
    await asyncio.gather(*calls)
    assert await one.is_home() is one.homes.is_here(ORGANISATION)
    assert await two.is_home() is two.homes.is_here(ORGANISATION)
    assert one.homes.is_here(ORGANISATION) is not two.homes.is_here(ORGANISATION)


async def test_a_move_that_failed_leaves_what_was_known(one: Place) -> None:
    for number in range(20):
        await one.called(Left(minute=59 - number, day=5_000))
    async with one.database.write() as tx:
        await tx.exec_driver_sql("ALTER TABLE homes RENAME TO away")
    with pytest.raises(Exception, match="homes"):
        await move(one)
    async with one.database.write() as tx:
        await tx.exec_driver_sql("ALTER TABLE away RENAME TO homes")
    assert await one.settle()
    assert one.limits.allowance(ORGANISATION).left_this_minute <= 40


async def test_who_leaves_leaves_what_is_known_behind(one: Place, two: Place, still: StillClock) -> None:
    for number in range(20):
        await one.called(Left(minute=59 - number, day=5_000))
    async with under_way(one):
        await one.homes.leave()
        await one.replica.leave()
    calling = asyncio.create_task(two.called(Left(minute=38, day=5_000)))
    still.move(13)  # the call that was under way is surely over
    await until(calling.done)
    await calling
    assert two.limits.allowance(ORGANISATION).left_this_minute <= 39


async def test_who_was_displaced_is_home_to_nothing_and_gives_no_leave(one: Place, two: Place) -> None:
    await one.called()
    await one.die()
    assert await two.settle()
    async with one.limits.call(ORGANISATION, Purpose.CONNECT) as leave:
        await one.replica.beat()
        assert not one.homes.is_here(ORGANISATION)
        assert not leave.is_good()
    assert not await one.settle()


async def test_nobody_without_a_place_settles(one: Place) -> None:
    one.replica.id = ""
    assert not await one.settle()
    with pytest.raises(CallLimitError):
        await one.called()
