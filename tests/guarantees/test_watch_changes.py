"""WatchChanges keeps the promises of every watch: Ordered, Unique, Reliable, Resumable, Bookmarkable, Bounded."""

import asyncio
import contextlib
import functools
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from sqlalchemy import func, select

import tieout
from documents import AT, contact, invoice
from following import plain
from servers import ROOMY, Service, client_of, mirror_of, server_process, service, until
from tieout.v1.receivables_service_pb2 import CHANGE_KIND_UPSERTED, Change, WatchChangesRequest
from tieout.v1.receivables_service_pb2_grpc import ReceivablesServiceStub
from tieout.v1.types_pb2 import ENTITY_INVOICES
from tieout_sandbox import Sandbox
from tieout_server.events import feed
from tieout_server.ledger.documents import Document, Invoice
from tieout_server.receivables import place
from tieout_server.receivables.place import Place
from tieout_server.storage import events, mirror, tables
from tieout_server.storage.database import Database
from tieout_server.storage.events import Event

pytestmark = pytest.mark.timeout(90)

ANY = 2**62


@contextlib.asynccontextmanager
async def replicas(sandbox: Sandbox, database_url: str) -> AsyncIterator[list[Service]]:
    """Our server: twice on PostgreSQL, once on SQLite, which belongs to one process."""
    count = 1 if database_url.startswith("sqlite") else 2
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(service(sandbox, database_url)) for _ in range(count)]


async def begun(running: Service) -> str:
    """A connection whose mirror nobody writes but the test."""
    return (await running.client.connections.connect("acme")).connection.id


async def write(database_url: str, connection_id: str, *pages: Sequence[Document]) -> None:
    """Change the mirror page by page, as another process than the server would."""
    database = Database(database_url)
    try:
        for page in pages:
            async with database.write() as tx:
                now = datetime.now(UTC)
                await mirror.save(tx, connection_id, page, seen_in=0, at=now)
                await events.append(tx, Event(0, connection_id, feed.CHANGES, connection_id, now, b""))
    finally:
        await database.close()


def singles(prefix: str, count: int, **fields: Any) -> list[list[Invoice]]:  # noqa: ANN401 - fields of invoices
    """Pages of one invoice each."""
    return [[invoice(f"{prefix}{number:04}", **fields)] for number in range(count)]


async def in_order(database_url: str, connection_id: str) -> list[str]:
    """The invoices in the order in which they changed, as the database states it: the truth."""
    database = Database(database_url)
    stored = tables.invoices
    query = select(stored.c.xero_invoice_id).where(stored.c.connection_id == connection_id)
    try:
        async with database.read() as tx:
            found = await tx.execute(query.order_by(stored.c.change_number, stored.c.xero_invoice_id))
            return [row[0] for row in found]
    finally:
        await database.close()


def place_of(connection_id: str, token: str) -> Place:
    return place.decode(connection_id, token, last=ANY).place


class Reader:
    """Somebody who follows, and notes the ids of all that is told and every token."""

    def __init__(self, running: Service, connection_id: str, **asked: Any) -> None:  # noqa: ANN401 - of the watch
        self._stream = running.client.receivables.watch_changes(connection_id, **asked)
        self.ids: list[str] = []
        self.tokens: list[str] = []
        self.bookmarks: list[tuple[str, int]] = []
        self.copy: dict[tuple[int, str], Change] = {}

    async def read(self) -> None:
        async with contextlib.aclosing(self._stream) as messages:
            async for message in messages:
                self.take(message)

    def take(self, message: Any) -> None:  # noqa: ANN401 - a message of the stream
        self.tokens.append(message.resume_token)
        if message.HasField("heartbeat"):
            self.bookmarks.append((message.resume_token, len(self.ids)))
            return
        change = message.change if message.HasField("change") else message.snapshot
        self.ids.append(change.id)
        if change.kind == CHANGE_KIND_UPSERTED:
            self.copy[change.entity, change.id] = change
        else:
            self.copy.pop((change.entity, change.id), None)

    async def first(self) -> None:
        """Read one message: a heartbeat says that the watch has begun."""
        self.take(await anext(self._stream))


@contextlib.asynccontextmanager
async def reading(running: Service, connection_id: str, **asked: Any) -> AsyncIterator[Reader]:  # noqa: ANN401
    """A reader beside the block, listening already when it begins."""
    reader = Reader(running, connection_id, **asked)
    if "after" not in asked:
        await reader.first()
    task = asyncio.create_task(reader.read())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_ordered_changes_arrive_in_the_order_in_which_they_were_committed(
    sandbox: Sandbox, database_url: str
) -> None:
    async with replicas(sandbox, database_url) as running, contextlib.AsyncExitStack() as stack:
        connection_id = await begun(running[0])
        readers = [await stack.enter_async_context(reading(each, connection_id)) for each in (*running, running[0])]
        await asyncio.gather(*(write(database_url, connection_id, *singles(who, 15)) for who in "ab"))
        truth = await in_order(database_url, connection_id)
        assert len(truth) == 30
        await until(lambda: all(len(reader.ids) >= 30 for reader in readers))
        for reader in readers:
            assert reader.ids == truth
            places = [place_of(connection_id, each) for each in reader.tokens]
            assert places == sorted(set(places))


async def test_unique_no_change_is_told_twice_over_any_number_of_streams(sandbox: Sandbox, database_url: str) -> None:
    async with replicas(sandbox, database_url) as running:
        connection_id = await begun(running[0])
        pages = [[invoice(f"{page}{number}") for number in range(5)] for page in "abcd"]
        await write(database_url, connection_id, [contact("c1")], *pages)
        told = await in_order(database_url, connection_id)
        truth = [*told[:15], "c1", *told[15:]]  # the customer changed last with the last page, and goes before it
        after, seen = token_at_zero(connection_id), list[str]()
        while len(seen) < len(truth):  # a new stream after every third change, on the next replica
            stream = running[len(seen) % len(running)].client.receivables.watch_changes(connection_id, after=after)
            async with contextlib.aclosing(stream) as messages:
                for _ in range(min(3, len(truth) - len(seen))):
                    message = await anext(messages)
                    seen.append(message.change.id)
                    after = message.resume_token
        assert seen == truth


def token_at_zero(connection_id: str) -> str:
    """A place before everything that was ever told."""
    return place.encode(connection_id, place.Bookmark(Place.end_of(0)))


async def test_reliable_nothing_is_skipped_when_the_server_is_killed(
    sandbox: Sandbox, database_url: str, tmp_path: Path
) -> None:
    sandbox.limits.quota = ROOMY
    quick = (str(Path(__file__).with_name("quick_server.py")),)  # small pages
    origin_at = datetime.now(UTC).isoformat()
    sandbox.clock.speed = 60.0
    async with (
        server_process(sandbox.url, database_url, tmp_path, *quick, TIEOUT_TEST_ORIGIN=origin_at) as server,
        client_of(server) as running,
    ):
        connection = await running.connect()
        async with reading(running, connection.id) as reader:
            for told in (50, 200, 400):
                await until(lambda: len(reader.ids) >= told)  # noqa: B023 - awaited here
                await server.replace()
            await running.first_sync(connection.id)
            end = await last_number(database_url, connection.id)
            await until(lambda: place_of(connection.id, reader.tokens[-1]).number >= end)
            async with reading(running, connection.id, from_start=True) as snapshot:
                await until(lambda: bool(snapshot.bookmarks))
        assert {key: plain(it) for key, it in reader.copy.items()} == {
            key: plain(it) for key, it in snapshot.copy.items()
        }
        assert {name for entity, name in reader.copy if entity == ENTITY_INVOICES} <= set(
            (await mirror_of(database_url, connection.id))["invoices"]
        )


async def last_number(database_url: str, connection_id: str) -> int:
    """The highest number that a row of the mirror has."""
    database = Database(database_url)
    async with database.read() as tx:
        highest = [
            (await tx.execute(select(func.max(table.c.change_number)).where(table.c.connection_id == connection_id)))
            .scalar_one() or 0
            for table in (tables.invoices, tables.payments, tables.credits, tables.contacts, tables.accounts)
        ]  # fmt: skip
    await database.close()
    return max(highest)


async def test_reliable_nothing_is_skipped_or_doubled_when_the_reader_is_killed(
    sandbox: Sandbox, database_url: str
) -> None:
    async with replicas(sandbox, database_url) as running:
        connection_id = await begun(running[0])
        after, seen = token_at_zero(connection_id), list[str]()
        for turn, wanted in enumerate((3, 7, 30)):
            writing = asyncio.create_task(write(database_url, connection_id, *singles(str(turn), 10)))
            target = running[turn % len(running)].target
            told = await read_and_kill(target, connection_id, after, min(wanted, 30 - len(seen)))
            seen += [place_of(connection_id, each).id for each in told]
            after = told[-1]
            await writing
        assert seen == await in_order(database_url, connection_id)


async def read_and_kill(target: str, connection_id: str, after: str, count: int) -> list[str]:
    """Start a reader, kill it with -9 after so many changes; answers the tokens that it had printed with changes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("reader.py")), target, "changes", connection_id, after,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    told: list[str] = []
    try:
        while len(told) < count:
            line = (await process.stdout.readline()).decode().rstrip("\n")
            assert line, "the reader ended by itself"
            told += [line[1:]] if line.startswith("*") else []
        process.kill()
        rest = (await process.stdout.read()).decode()  # what it printed before it was killed has been read
        told += [line[1:] for line in rest.split("\n")[:-1] if line.startswith("*")]
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
    return told


async def test_resumable_from_any_token_of_a_snapshot_or_of_changes_on_any_replica(
    sandbox: Sandbox, database_url: str
) -> None:
    async with replicas(sandbox, database_url) as running:
        connection_id = await begun(running[0])
        await write(database_url, connection_id, *singles("a", 6))
        async with reading(running[0], connection_id, from_start=True) as reader:
            await until(lambda: bool(reader.bookmarks))
            await write(database_url, connection_id, *singles("b", 6))
            await until(lambda: len(reader.ids) == 12)
        for index, after in enumerate(reader.tokens[:-1]):
            async with reading(running[index % len(running)], connection_id, after=after) as again:
                rest = reader.tokens[index + 1 :]
                await until(lambda: len(again.tokens) >= len(rest))  # noqa: B023 - awaited here
            assert again.tokens[: len(rest)] == rest


async def test_resumable_from_tokens_of_any_age_but_of_this_connection_only(
    sandbox: Sandbox, database_url: str
) -> None:
    async with replicas(sandbox, database_url) as running:
        connection_id, other = await begun(running[0]), await begun(running[0])
        await write(database_url, connection_id, *singles("a", 3))
        database = Database(database_url)
        async with database.write() as tx:  # as if more than 7 days had passed
            await events.prune(tx, datetime(2100, 1, 1, tzinfo=UTC))
        await database.close()
        async with reading(running[0], connection_id, after=token_at_zero(connection_id)) as reader:
            await until(lambda: reader.ids == ["a0000", "a0001", "a0002"])
        for wrong in (token_at_zero(other), place.encode(connection_id, place.Bookmark(Place.end_of(9))), "x"):
            with pytest.raises(tieout.CallerError):
                await anext(running[0].client.receivables.watch_changes(connection_id, after=wrong))


async def test_bookmarkable_a_heartbeat_means_that_all_before_it_was_delivered(
    sandbox: Sandbox, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT", 0.02)
    async with replicas(sandbox, database_url) as running:
        connection_id = await begun(running[0])
        async with reading(running[-1], connection_id, entities=[ENTITY_INVOICES]) as reader:
            for number, page in enumerate(singles("a", 5), start=1):
                await write(database_url, connection_id, page)
                await until(lambda: reader.bookmarks[-1][1] == number)  # noqa: B023 - awaited here
            await write(database_url, connection_id, *singles("b", 15))
            await write(database_url, connection_id, [contact("c1")])  # passes the reader by, and moves its bookmark
            end = place_of(connection_id, reader.tokens[0]).number + 21
            await until(lambda: place_of(connection_id, reader.bookmarks[-1][0]).number == end)
        truth = await in_order(database_url, connection_id)
        assert reader.ids == truth
        assert len(reader.bookmarks) > 5
        for token, delivered in reader.bookmarks:
            assert place_of(connection_id, token).number - (end - 21) <= delivered + 1
            assert reader.ids[:delivered] == truth[:delivered]


STUCK, HAPPENED, SIZE, DAYS = 8, 1_000, 6_000, 3


async def test_bounded_readers_that_do_not_read_cost_the_server_nothing(
    sandbox: Sandbox, database_url: str, tmp_path: Path
) -> None:
    async with (
        server_process(sandbox.url, database_url, tmp_path, TIEOUT_LOG_LEVEL="warning") as server,
        client_of(server) as running,
        contextlib.AsyncExitStack() as stack,
    ):
        connection_id = await begun(running)
        await write(database_url, connection_id, *pages_at(AT))
        async with reading(running, connection_id) as awake:
            stuck = [
                await stack.enter_async_context(open_and_read_no_more(server.port, connection_id)) for _ in range(STUCK)
            ]
            taken: list[int] = []
            for day in range(1, DAYS + 1):
                await write(database_url, connection_id, *pages_at(AT + timedelta(days=day)))
                # Nobody who reads waits for those who do not.
                await until(functools.partial(has_read, awake, day * HAPPENED))
                taken.append(psutil.Process(server.pid).memory_info().rss)
        # From the first days on each of them has something in hand, and connections to the database what they cache.
        grown = taken[-1] - taken[-2]
        assert grown < STUCK * HAPPENED * SIZE / 2, f"{grown / 2**20:.0f} MiB"
        last = await in_order(database_url, connection_id)
        for call in stuck:  # and once they read, they have lost nothing
            seen: list[str] = []
            while seen[-HAPPENED:] != last:
                message = await call.read()
                seen += [message.change.id] if message.HasField("change") else []


def has_read(reader: Reader, count: int) -> bool:
    """Whether this reader was told of so many changes."""
    return len(reader.ids) >= count


def pages_at(at: datetime) -> Iterable[Sequence[Invoice]]:
    """So many invoices in this version, in pages of fifty."""
    invoices = [page[0] for page in singles("a", HAPPENED, updated_at=at, reference="x" * SIZE)]
    return [invoices[start : start + 50] for start in range(0, HAPPENED, 50)]


@contextlib.asynccontextmanager
async def open_and_read_no_more(port: int, connection_id: str) -> AsyncIterator[Any]:
    """A stream whose first message was read, on a connection of its own."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = ReceivablesServiceStub(channel).WatchChanges(WatchChangesRequest(connection_id=connection_id))
        await call.read()
        yield call
        call.cancel()
