"""Delivery of the log: from the window or from the database, in order, without a queue per reader."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fakes import SettableClock
from tieout_server.errors import DrainingError, InvalidRequestError, ResumeTokenTooOldError
from tieout_server.events import feed as feeds
from tieout_server.events import token
from tieout_server.events.feed import Feed
from tieout_server.storage import events, migrate
from tieout_server.storage.database import Database
from tieout_server.storage.events import Event

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'tieout.db'}")
    await migrate.upgrade(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def feed(database: Database) -> AsyncIterator[Feed]:
    made = Feed(database, SettableClock())
    await made.start()
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def event(subject: str = "s", connection_id: str = "c") -> Event:
    return Event(0, connection_id, feeds.SYNC, subject, SettableClock().now(), b"{}")


async def happen(feed: Feed, database: Database, count: int, connection_id: str = "c") -> list[int]:
    async with database.write() as tx:
        return [await feed.append(tx, event(connection_id=connection_id)) for _ in range(count)]


async def happen_elsewhere(database: Database, count: int) -> list[int]:
    """Another process writes: nobody here is told."""
    async with database.write() as tx:
        return [await events.append(tx, event()) for _ in range(count)]


async def read(feed: Feed, after: int, count: int, connection_id: str = "c") -> list[int]:
    seen: list[int] = []
    async with contextlib.aclosing(feed.follow(after, lambda e: e.connection_id == connection_id)) as items:
        async for item in items:
            if isinstance(item, Event):
                seen.append(item.position)
                if len(seen) == count:
                    break
    return seen


async def test_what_was_missed_comes_first_and_then_what_happens(feed: Feed, database: Database) -> None:
    missed = await happen(feed, database, 3)
    reading = asyncio.create_task(read(feed, 0, 6))
    later = await happen(feed, database, 3)
    assert await reading == missed + later


async def test_what_another_process_wrote_is_found_by_looking(
    feed: Feed, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "POLL", 0.01)
    ours = await happen(feed, database, 2)
    theirs = await happen_elsewhere(database, 2)
    assert await read(feed, 0, 4) == [*ours, *theirs]


async def test_what_was_rolled_back_was_never_told(feed: Feed, database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with database.write() as tx:
            await feed.append(tx, event())
            raise ZeroDivisionError
    made = await happen(feed, database, 1)
    assert await read(feed, 0, 1) == made


async def test_whoever_falls_behind_the_window_reads_the_database_and_misses_nothing(
    feed: Feed, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "WINDOW", 10)
    monkeypatch.setattr(feeds, "PAGE", 7)
    slow = feed.follow(0, lambda _: True)
    made = await happen(feed, database, 1)
    first = await anext(slow)
    assert isinstance(first, Event)
    for _ in range(20):
        made += await happen(feed, database, 9)
    assert await read(feed, made[-2], 1) == made[-1:]  # the reader of the log has come so far
    assert len(feed._window) <= 20
    seen = [first.position]
    while len(seen) < len(made):
        item = await anext(slow)
        assert isinstance(item, Event)
        seen.append(item.position)
    await slow.aclose()
    assert seen == made


async def test_a_gap_in_the_log_is_no_gap_for_those_behind_it(feed: Feed, database: Database) -> None:
    """What lay in the gap was pruned before this process had read it: it had been asleep for a week."""
    await happen(feed, database, 3)
    await read(feed, 2, 1)
    async with database.write() as tx:
        for _ in range(4):
            await events.append(tx, event())
        await events.prune(tx, SettableClock().now() + timedelta(days=1))
    end = 7
    made = await happen(feed, database, 3)
    assert await read(feed, end, 3) == made


@pytest.mark.parametrize("window", [1, 10], ids=["behind the window", "within the window"])
async def test_a_slow_reader_is_not_told_what_was_erased_meanwhile(
    feed: Feed, database: Database, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "WINDOW", window)
    made = await happen(feed, database, 4)
    async with contextlib.aclosing(feed.follow(0, lambda it: it.topic == feeds.SYNC)) as items:
        told = [await anext(items)]
        async with database.write() as tx:
            await events.rewrite(tx, made[2], b"erased")
            await feed.tell_of_erasure(tx, "c")
        told += [await anext(items) for _ in made[1:]]
    assert [(it.position, it.payload) for it in told if isinstance(it, Event)] == list(
        zip(made, [b"{}", b"{}", b"erased", b"{}"], strict=True)
    )


async def test_when_it_is_quiet_a_heartbeat_tells_how_far_everything_was_told(
    feed: Feed, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "HEARTBEAT", 0.02)
    foreign = await happen(feed, database, 5, connection_id="another")
    async with contextlib.aclosing(feed.follow(0, lambda e: e.connection_id == "c")) as items:
        async for item in items:
            assert item in range(foreign[-1] + 1)
            if item == foreign[-1]:
                break


async def test_what_a_follower_does_not_want_does_not_wake_it(feed: Feed, database: Database) -> None:
    reading = asyncio.create_task(read(feed, 0, 1))
    while not feed._waiting:  # noqa: ASYNC110 - it takes a turn or two of the loop
        await asyncio.sleep(0)
    waiting = list(feed._waiting)
    await happen(feed, database, 3, connection_id="another")
    await asyncio.sleep(0.01)
    assert list(feed._waiting) == waiting
    assert await happen(feed, database, 1) == await reading


async def test_a_stopping_server_sends_its_followers_away(feed: Feed) -> None:
    waiting = asyncio.create_task(read(feed, 0, 1))
    await asyncio.sleep(0)
    feed.drain()
    with pytest.raises(DrainingError):
        await waiting


async def test_leaving_a_stream_leaves_nothing_behind(feed: Feed, database: Database) -> None:
    waiting = asyncio.create_task(read(feed, 0, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    made = await happen(feed, database, 1)
    assert await read(feed, 0, 1) == made


async def test_a_token_older_than_what_is_kept_is_refused_with_the_oldest_that_is_good(
    feed: Feed, database: Database
) -> None:
    made = await happen(feed, database, 3)
    clock = feed._clock
    assert isinstance(clock, SettableClock)
    clock.time += feeds.KEPT + timedelta(seconds=1)
    assert await feed.prune() == 3
    with pytest.raises(ResumeTokenTooOldError) as refusal:
        await feed.position_of(token.encode(made[0]))
    oldest = refusal.value.facts["oldest_resume_token"]
    assert await feed.position_of(oldest) == made[-1]


async def test_events_are_kept_for_seven_days(feed: Feed, database: Database) -> None:
    made = await happen(feed, database, 3)
    clock = feed._clock
    assert isinstance(clock, SettableClock)
    clock.time += feeds.KEPT
    assert await feed.prune() == 0
    assert await feed.position_of(token.encode(made[0])) == made[0]


@pytest.mark.parametrize("made_up", ["x", "!!!", "AAAA", "AQAAAAAAAAAAAA", token.encode(10**9), "ÄÖÜ"])
async def test_a_token_that_was_never_given_out_is_refused(feed: Feed, made_up: str) -> None:
    with pytest.raises(InvalidRequestError):
        await feed.position_of(made_up)


@pytest.mark.parametrize("position", [0, 1, 2**40, 2**63])
def test_a_token_stands_for_its_position(position: int) -> None:
    assert token.decode(token.encode(position), last=2**63) == position


async def test_after_an_erasure_what_was_in_memory_is_read_again_in_every_process(
    feed: Feed, database: Database
) -> None:
    elsewhere = Feed(database, SettableClock())
    await elsewhere.start()
    (position,) = await happen(feed, database, 1)
    await elsewhere._advance()
    async with database.write() as tx:
        await events.rewrite(tx, position, b"forgotten")
        await feed.tell_of_erasure(tx, "c")
    await elsewhere._advance()
    for process in (feed, elsewhere):
        async with contextlib.aclosing(process.follow(0, lambda _: True)) as items:
            first = await anext(items)
        assert isinstance(first, Event)
        assert first.payload == b"forgotten"
    assert await happen(feed, database, 1) == [position + 2]
    assert await read(feed, position, 2) == [position + 1, position + 2]
