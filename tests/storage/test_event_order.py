"""However commits are held back, undone and overtaken: every reader on every process sees each event once, in order."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select

from fakes import SettableClock
from servers import until
from tieout_server.events import feed as feeds
from tieout_server.events.feed import Feed
from tieout_server.storage import events, tables
from tieout_server.storage.database import Database
from tieout_server.storage.events import Event
from tieout_server.storage.notices import Notices

pytestmark = pytest.mark.timeout(60)

AT = datetime(2026, 11, 22, tzinfo=UTC)
WRITERS = 4


class Process:
    """One process on the database: its own connections, its own feed, somebody who follows from the beginning."""

    def __init__(self, url: str, *, listens: bool) -> None:
        self.database = Database(url)
        notices = Notices(self.database)
        self.feed = Feed(self.database, SettableClock(), notices)
        self.seen: list[int] = []
        self._listens: Sequence[Any] = (notices.run,) if listens else ()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Process"]:
        await self.feed.start()
        doing = [asyncio.create_task(run()) for run in (*self._listens, self.feed.run, self._follow)]
        try:
            yield self
        finally:
            for task in doing:
                task.cancel()
            await asyncio.gather(*doing, return_exceptions=True)
            await self.database.close()

    async def _follow(self) -> None:
        async with contextlib.aclosing(self.feed.follow(0, lambda _: True)) as items:
            async for item in items:
                if isinstance(item, Event):
                    self.seen.append(item.position)


class Looking:
    """Reads the table again and again from where it stands, as whoever has fallen behind does."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def look(self, database: Database) -> None:
        while True:
            async with database.read() as tx:
                batch = await events.after(tx, self.seen[-1] if self.seen else 0, limit=3)
            self.seen += [event.position for event in batch]
            await asyncio.sleep(0)


async def write(process: Process, count: int, commit: asyncio.Event, *, undo: bool) -> None:
    """Append so many events, and end the transaction only when told to."""
    with contextlib.suppress(ZeroDivisionError):
        async with process.database.write(durable=bool(count % 2)) as tx:
            for _ in range(count):
                await process.feed.append(tx, Event(0, "c", feeds.SYNC, "s", AT, b"{}"))
            await commit.wait()
            if undo:
                raise ZeroDivisionError


async def positions(database: Database) -> list[int]:
    async with database.read() as tx:
        return [row[0] for row in await tx.execute(select(tables.events.c.position).order_by("position"))]


async def test_no_reader_on_any_process_skips_doubles_or_reorders_an_event(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four transactions at a time on two processes, told to commit in each of their orders, a third of them undone."""
    monkeypatch.setattr(feeds, "POLL", 0.01)
    monkeypatch.setattr(feeds, "PAGE", 5)
    chance, looking = random.Random(8), Looking()
    one, other = Process(postgres_url, listens=True), Process(postgres_url, listens=False)
    async with one.running(), other.running():
        reading = asyncio.create_task(looking.look(one.database))
        expected = 0
        for order in permutations(range(WRITERS)):
            commits, undone = [asyncio.Event() for _ in order], [chance.random() < 1 / 3 for _ in order]
            counts = [chance.randint(1, 3) for _ in order]
            writing = []
            for number in range(WRITERS):
                by = (one, other)[chance.randrange(2)]
                writing.append(asyncio.create_task(write(by, counts[number], commits[number], undo=undone[number])))
                await asyncio.sleep(chance.choice((0, 0.001)))
            for number in order:
                commits[number].set()
                await asyncio.sleep(chance.choice((0, 0.002)))
            await asyncio.gather(*writing)
            expected += sum(count for count, undo in zip(counts, undone, strict=True) if not undo)
        readers = (one.seen, other.seen, looking.seen)
        await until(lambda: all(len(seen) >= expected for seen in readers))
        reading.cancel()
        truth = await positions(one.database)
    assert truth == list(range(1, expected + 1))
    assert [truth, truth, truth] == [one.seen, other.seen, looking.seen]


async def test_an_event_of_one_process_is_delivered_by_another_at_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of them looks at the log by itself within the time of this test."""
    monkeypatch.setattr(feeds, "POLL_BESIDE_NOTICES", 3600.0)
    monkeypatch.setattr(feeds, "POLL", 3600.0)
    one, other = Process(postgres_url, listens=True), Process(postgres_url, listens=True)
    async with one.running(), other.running():
        await until(lambda: one.feed._notices.is_heard and other.feed._notices.is_heard)
        for number in range(1, 11):
            async with (one, other)[number % 2].database.write() as tx:
                await (one, other)[number % 2].feed.append(tx, Event(0, "c", feeds.SYNC, "s", AT, b"{}"))
            await until(lambda: one.seen == other.seen == list(range(1, number + 1)))  # noqa: B023 - awaited here


@pytest.mark.parametrize(
    ("listens", "wait"), [(True, "POLL_BESIDE_NOTICES"), (False, "POLL")], ids=["while heard", "while not"]
)
async def test_what_no_notice_told_of_is_found_by_looking(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, *, listens: bool, wait: str
) -> None:
    for name in ("POLL_BESIDE_NOTICES", "POLL"):
        monkeypatch.setattr(feeds, name, 0.05 if name == wait else 3600.0)
    process = Process(postgres_url, listens=listens)
    async with process.running():
        await until(lambda: process.feed._notices.is_heard is listens)
        process.feed._appended.set()
        row = {"connection_id": "c", "topic": feeds.SYNC, "subject": "s", "at": 0, "payload": b"{}"}
        async with process.database.write() as tx:
            await tx.execute(tables.event_counter.insert().values(id=1, last=1, pruned=0))
            await tx.execute(tables.events.insert().values(position=1, **row))
        await until(lambda: process.seen == [1])
