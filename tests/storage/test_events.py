"""The log of events: numbered in the order of commits, without gaps, and read from any position."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from tieout_server.storage import events
from tieout_server.storage.database import Database
from tieout_server.storage.events import Bounds, Event

AT = datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)


def _event(subject: str = "s1", topic: str = "sync", at: datetime = AT) -> Event:
    return Event(0, "con1", topic, subject, at, subject.encode())


async def _append(database: Database, *told: Event) -> list[int]:
    async with database.write() as tx:
        return [await events.append(tx, event) for event in told]


async def test_an_event_comes_back_as_it_was_with_its_position(database: Database) -> None:
    (position,) = await _append(database, _event())
    async with database.read() as tx:
        assert await events.after(tx, 0, limit=9) == [Event(position, "con1", "sync", "s1", AT, b"s1")]


async def test_positions_have_no_gaps_even_where_transactions_roll_back(database: Database) -> None:
    async def one(number: int) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with database.write() as tx:
                await events.append(tx, _event(str(number)))
                assert 1 / (number % 3)

    await asyncio.gather(*(one(number) for number in range(18)))
    async with database.read() as tx:
        assert [event.position for event in await events.after(tx, 0, limit=99)] == list(range(1, 13))
        assert await events.bounds(tx) == Bounds(last=12, pruned=0)


async def test_whoever_reads_on_from_the_last_position_misses_nothing_that_is_committed_later(
    database: Database,
) -> None:
    """A transaction that appended first commits first: the later one waits for it."""
    order: list[str] = []
    appended, go = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with database.write() as tx:
            await events.append(tx, _event("first"))
            appended.set()
            await go.wait()
            order.append("first")

    async def second() -> None:
        await appended.wait()
        async with database.write() as tx:
            await events.append(tx, _event("second"))
            order.append("second")

    both = asyncio.gather(first(), second())
    await appended.wait()
    async with database.read() as tx:
        assert await events.after(tx, 0, limit=9) == []
    go.set()
    await both
    async with database.read() as tx:
        assert [event.subject for event in await events.after(tx, 0, limit=9)] == order == ["first", "second"]


async def test_what_is_about_one_thing_is_read_by_pages(database: Database) -> None:
    made = await _append(database, *(_event(s, t) for s in ("s1", "s2") for t in ("sync", "connection") for _ in "abc"))
    seen: list[int] = []
    async with database.read() as tx:
        while page := await events.about(tx, "s1", topic="sync", after=seen[-1] if seen else 0, limit=2):
            assert {(event.subject, event.topic) for event in page} == {("s1", "sync")}
            seen += [event.position for event in page]
    assert seen == made[:3]


async def test_what_is_old_goes_and_it_is_known_up_to_where(database: Database) -> None:
    await _append(database, _event(), _event(), _event(at=AT + timedelta(days=1)))
    async with database.write() as tx:
        assert await events.prune(tx, AT) == 0
        assert await events.prune(tx, AT + timedelta(hours=1)) == 2
        assert await events.bounds(tx) == Bounds(last=3, pruned=2)
        assert [event.position for event in await events.after(tx, 2, limit=9)] == [3]
    assert await _append(database, _event()) == [4]


async def test_an_empty_log_begins_at_nothing(database: Database) -> None:
    async with database.read() as tx:
        assert await events.bounds(tx) == Bounds(last=0, pruned=0)
