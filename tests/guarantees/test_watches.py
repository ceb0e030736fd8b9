"""Promises of every watch: Ordered, Unique, Reliable, Resumable, Bookmarkable, Bounded, whoever is killed."""

import asyncio
import contextlib
import random
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from sqlalchemy import select

import tieout
from servers import ROOMY, Service, client_of, server_process, service, small_pages, until
from tieout.v1 import (
    connection_service_pb2,
    connection_service_pb2_grpc,
    payment_export_service_pb2_grpc,
    reconciliation_service_pb2,
    reconciliation_service_pb2_grpc,
    sync_service_pb2,
    sync_service_pb2_grpc,
)
from tieout.v1 import payment_export_service_pb2 as payments
from tieout.v1.reconciliation_service_pb2 import (
    DISCREPANCY_STATE_ACKNOWLEDGED,
    DISCREPANCY_STATE_NEEDS_ATTENTION,
    Discrepancy,
)
from tieout.v1.sync_service_pb2 import SYNC_MODE_FULL
from tieout.v1.types_pb2 import Money
from tieout_sandbox import Sandbox
from tieout_sandbox.books.causes import Cause, bring_about
from tieout_server.events import feed, token
from tieout_server.storage import events, tables
from tieout_server.storage.database import Database

Stream = AsyncGenerator[Any, None]
UNTIL_ANY = 2**63
QUICK = 60.0
"""How many times as fast as ours the time of these servers passes: a sync a second is more than a minute allows."""


@dataclass(frozen=True)
class Kind:
    """One of the watches: its topic in the log, how it is opened, what makes things happen, and what is an event."""

    topic: str
    watch: Callable[..., Stream]
    happen: Callable[[Service, str], Coroutine[Any, Any, None]]
    event: str

    def __repr__(self) -> str:
        return self.topic


async def _reconnect_often(running: Service, connection_id: str) -> None:
    for _ in range(11):
        await running.client.connections.reconnect(connection_id)


def _watch_connections(running: Service, connection_id: str, after: str = "") -> Stream:
    return running.client.connections.watch(connection_ids=[connection_id], after=after)


def _watch_syncs(running: Service, connection_id: str, after: str = "") -> Stream:
    return running.client.syncs.watch_connection(connection_id, after=after)


async def _sync_fully(running: Service, connection_id: str) -> None:
    await running.sync(connection_id, mode=SYNC_MODE_FULL)


def _watch_exports(running: Service, connection_id: str, after: str = "") -> Stream:
    return running.client.payment_exports.watch(connection_id, after=after)


async def _fail_to_export(running: Service, connection_id: str) -> None:
    """Hand payments over for which no account is chosen, and return when that is told of all of them."""
    exports = running.client.payment_exports
    amount = Money(currency_code="NZD", amount="1.00")
    line = payments.PaymentLine(invoice_number="INV-00001", amount=amount)
    for _ in range(6):
        name = uuid.uuid4().hex
        payment = payments.PlatformPayment(payment_id=name, paid_on="2026-11-20", amount=amount, lines=[line])
        await exports.export(connection_id, payment)
    under_way = (payments.XERO_STATUS_QUEUED, payments.XERO_STATUS_CHECKED)
    while [it async for it in exports.list(connection_id, xero_statuses=under_way)]:  # noqa: ASYNC110 - no event of ours
        await asyncio.sleep(0.05)


def _watch_discrepancies(running: Service, connection_id: str, after: str = "") -> Stream:
    return running.client.reconciliations.watch_discrepancies(connection_id, after=after)


async def _off_since_long(running: Service, connection_id: str) -> Discrepancy:
    """What is off balance, once all that comparing tells of it by itself was told."""
    while True:
        found = [one async for one in running.client.reconciliations.list_discrepancies(connection_id)]
        if found and found[0].state in SETTLED:
            return found[0]
        await asyncio.sleep(0.05)


async def _acknowledge_often(running: Service, connection_id: str) -> None:
    """Note eleven times that somebody knows what comparing has found by itself."""
    reconciliations = running.client.reconciliations
    async with asyncio.timeout(30):
        off = await _off_since_long(running, connection_id)
    for number in range(11):
        await reconciliations.acknowledge_discrepancy(off.id, note=f"Known {number}")


KINDS = [
    Kind(feed.CONNECTION, _watch_connections, _reconnect_often, "change"),
    Kind(feed.SYNC, _watch_syncs, _sync_fully, "progress"),
    Kind(feed.DISCREPANCY, _watch_discrepancies, _acknowledge_often, "change"),
    Kind(feed.EXPORT, _watch_exports, _fail_to_export, "change"),
]
SETTLED = (DISCREPANCY_STATE_NEEDS_ATTENTION, DISCREPANCY_STATE_ACKNOWLEDGED)
every_watch = pytest.mark.parametrize("kind", KINDS, ids=repr)


@pytest.fixture(autouse=True)
def _off_balance(sandbox: Sandbox, kind: Kind) -> None:
    """Of every organisation a customer whose balance Xero states otherwise, where discrepancies are watched."""
    if kind.topic == feed.DISCREPANCY:
        for organisation in sandbox.organisations[:2]:
            bring_about(organisation.books, Cause.ROUNDING)


def position_of(resume_token: str) -> int:
    return token.decode(resume_token, last=UNTIL_ANY)


async def logged(database_url: str, kind: Kind, connection_id: str) -> list[int]:
    """Where the log has the events of this kind, as the database states it: the truth about what happened."""
    database = Database(database_url)
    query = select(tables.events.c.position).where(
        tables.events.c.topic == kind.topic, tables.events.c.connection_id == connection_id
    )
    try:
        async with database.read() as tx:
            return [row[0] for row in await tx.execute(query.order_by(tables.events.c.position))]
    finally:
        await database.close()


@dataclass
class Reader:
    """Somebody who reads a stream to the end and notes each token, that of a heartbeat too."""

    kind: Kind
    events: list[int]
    tokens: list[str]

    async def read(self, stream: Stream) -> None:
        async with contextlib.aclosing(stream) as messages:
            async for message in messages:
                if message.HasField(self.kind.event):
                    self.events.append(position_of(message.resume_token))
                self.tokens.append(message.resume_token)


@contextlib.asynccontextmanager
async def reading(kind: Kind, running: Service, connection_id: str, after: str = "") -> AsyncIterator[Reader]:
    """A reader beside the block, listening already when it begins."""
    reader = Reader(kind, [], [])
    stream = kind.watch(running, connection_id, after)
    first = await anext(stream)  # a heartbeat, or the state now: what comes later is news
    reader.tokens.append(first.resume_token)
    if after and first.HasField(kind.event):
        reader.events.append(position_of(first.resume_token))
    task = asyncio.create_task(reader.read(stream))
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def replicas(sandbox: Sandbox, database_url: str) -> AsyncIterator[list[Service]]:
    """Our server: twice on PostgreSQL, once on SQLite, which belongs to one process."""
    sandbox.limits.quota, sandbox.clock.speed = ROOMY, QUICK
    count = 1 if database_url.startswith("sqlite") else 2
    async with contextlib.AsyncExitStack() as stack:
        with small_pages(20):
            yield [
                await stack.enter_async_context(service(sandbox, database_url, clock_speed=QUICK)) for _ in range(count)
            ]


async def make_happen(kind: Kind, running: Sequence[Service], connection_id: str) -> None:
    """Things happen on every replica at the same time."""
    await asyncio.gather(*(kind.happen(replica, connection_id) for replica in running))


@every_watch
async def test_ordered_events_arrive_in_the_order_in_which_they_were_committed(
    kind: Kind, sandbox: Sandbox, database_url: str
) -> None:
    async with replicas(sandbox, database_url) as running:
        connection = await running[0].connected()
        async with contextlib.AsyncExitStack() as stack:
            readers = [
                await stack.enter_async_context(reading(kind, replica, connection.id))
                for replica in (*running, running[0])
            ]
            await make_happen(kind, running, connection.id)
            truth = [
                p for p in await logged(database_url, kind, connection.id) if p > position_of(readers[-1].tokens[0])
            ]
            assert len(truth) > 10
            await until(lambda: all(len(reader.events) >= len(truth) for reader in readers))
        for reader in readers:
            assert [p for p in reader.events if p >= truth[0]] == truth
            positions = [position_of(each) for each in reader.tokens]
            assert positions == sorted(positions)


@every_watch
async def test_unique_no_event_is_told_twice_over_any_number_of_streams(
    kind: Kind, sandbox: Sandbox, database_url: str
) -> None:
    async with replicas(sandbox, database_url) as running:
        connection = await running[0].connected()
        start = (await anext(kind.watch(running[0], connection.id))).resume_token
        await make_happen(kind, running, connection.id)
        truth = [p for p in await logged(database_url, kind, connection.id) if p > position_of(start)]
        seen: list[int] = []
        after, step = start, 0
        while len(seen) < len(truth):  # a new stream after every third event, on the next replica
            step += 1
            stream = kind.watch(running[step % len(running)], connection.id, after)
            async with contextlib.aclosing(stream) as messages:
                for _ in range(3):
                    message = await anext(messages)
                    if message.HasField(kind.event):
                        seen.append(position_of(message.resume_token))
                    after = message.resume_token
                    if position_of(after) >= truth[-1]:
                        break
        assert seen == truth


@every_watch
async def test_reliable_nothing_is_skipped_when_the_server_is_killed(
    kind: Kind, sandbox: Sandbox, database_url: str, tmp_path: Path
) -> None:
    sandbox.limits.quota, sandbox.clock.speed = ROOMY, QUICK
    origin_at = datetime.now(UTC)
    quick = (str(Path(__file__).with_name("quick_server.py")),)
    async with (
        server_process(sandbox.url, database_url, tmp_path, *quick, TIEOUT_TEST_ORIGIN=origin_at.isoformat()) as server,
        client_of(server) as running,
    ):
        connection = await running.connected()
        async with reading(kind, running, connection.id) as reader:
            for _ in range(3):
                with contextlib.suppress(tieout.TryAgainError):
                    happening = asyncio.create_task(kind.happen(running, connection.id))
                    known = len(reader.events)
                    await until(lambda: len(reader.events) > known + 2 or happening.done())  # noqa: B023 - awaited here
                    await server.replace()
                    await happening
            await eventually(lambda: kind.happen(running, connection.id))
            truth = await logged(database_url, kind, connection.id)
            await until(lambda: bool(reader.events) and reader.events[-1] >= truth[-1])
        assert reader.events == [p for p in truth if p > position_of(reader.tokens[0])]


async def eventually(act: Callable[[], Awaitable[object]]) -> None:
    """Act, again and again while the server is on its way back."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(tieout.TryAgainError):
                await act()
                return


@every_watch
async def test_reliable_nothing_is_skipped_or_doubled_when_the_reader_is_killed(
    kind: Kind, sandbox: Sandbox, database_url: str
) -> None:
    async with replicas(sandbox, database_url) as running:
        connection = await running[0].connected()
        start = (await anext(kind.watch(running[0], connection.id))).resume_token
        seen: list[int] = []
        after, chance = start, random.Random(4)
        for turn in range(3):
            happening = asyncio.create_task(make_happen(kind, running, connection.id))
            wanted = None if turn == 2 else chance.randrange(1, 8)
            if wanted is None:
                await happening
            end = (await logged(database_url, kind, connection.id))[-1] if wanted is None else UNTIL_ANY
            target = running[turn % len(running)].target
            told = await read_and_kill(kind, target, connection.id, after, events=wanted, end=end)
            seen += [position_of(each) for each, is_event in told if is_event]
            after = told[-1][0]
            await happening
        assert seen == [p for p in await logged(database_url, kind, connection.id) if p > position_of(start)]


async def read_and_kill(
    kind: Kind, target: str, connection_id: str, after: str, *, events: int | None, end: int
) -> list[tuple[str, bool]]:
    """Start a reader, kill it with -9 after so many events or at this position; answers what it had printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("reader.py")), target, kind.topic, connection_id, after,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    told: list[tuple[str, bool]] = []
    try:
        while True:
            line = (await process.stdout.readline()).decode().rstrip("\n")
            assert line, "the reader ended by itself"
            told.append((line[1:], line.startswith("*")))
            enough = events is not None and sum(is_event for _, is_event in told) >= events
            if enough or position_of(told[-1][0]) >= end:
                break
        process.kill()
        rest = (await process.stdout.read()).decode()  # what it printed before it was killed has been read
        told += [(line[1:], line.startswith("*")) for line in rest.split("\n")[:-1]]
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
    return told


@every_watch
async def test_resumable_from_any_token_on_any_replica(kind: Kind, sandbox: Sandbox, database_url: str) -> None:
    async with replicas(sandbox, database_url) as running:
        connection = await running[0].connected()
        async with reading(kind, running[0], connection.id) as reader:
            await make_happen(kind, running, connection.id)
            truth = await logged(database_url, kind, connection.id)
            await until(lambda: bool(reader.events) and reader.events[-1] >= truth[-1])
        for index, after in enumerate(reader.tokens[:-1]):
            replica = running[index % len(running)]
            expected = [p for p in truth if p > position_of(after)]
            seen: list[int] = []
            async with contextlib.aclosing(kind.watch(replica, connection.id, after)) as messages:
                while len(seen) < len(expected):
                    message = await anext(messages)
                    if message.HasField(kind.event):
                        seen.append(position_of(message.resume_token))
            assert seen == expected


@every_watch
async def test_resumable_for_seven_days_and_then_told_from_where(
    kind: Kind, sandbox: Sandbox, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT", 0.1)
    async with replicas(sandbox, database_url) as running:
        connection = await running[0].connected()
        start = (await anext(kind.watch(running[0], connection.id))).resume_token
        await make_happen(kind, running, connection.id)
        truth = await logged(database_url, kind, connection.id)
        database = Database(database_url)
        async with database.write() as tx:  # as if all of it had happened more than 7 days ago
            await events.prune(tx, datetime.now(UTC) + timedelta(days=1))
        await database.close()
        for replica in running:
            with pytest.raises(tieout.errors.ResumeTokenTooOldError) as refusal:
                await anext(kind.watch(replica, connection.id, start))
            assert refusal.value.code == "OUT_OF_RANGE"
            oldest = refusal.value.metadata["oldest_resume_token"]
            assert position_of(oldest) >= truth[-1]
            async with reading(kind, running[0], connection.id, oldest) as reader:
                await kind.happen(replica, connection.id)
                later = await logged(database_url, kind, connection.id)
                await until(lambda: bool(reader.events) and reader.events[-1] >= later[-1])  # noqa: B023 - awaited here
            assert reader.events == [p for p in later if p > position_of(oldest)]


@every_watch
async def test_bookmarkable_a_heartbeat_means_that_all_before_it_was_delivered(
    kind: Kind, sandbox: Sandbox, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT", 0.03)
    async with replicas(sandbox, database_url) as running:
        connection = await running[0].connected()
        other = await running[0].connected("other", organisations=[sandbox.organisations[1].name])
        async with reading(kind, running[-1], connection.id) as reader:
            start = position_of(reader.tokens[0])
            for _ in range(3):
                await make_happen(kind, running, connection.id)
                await make_happen(kind, running, other.id)  # passes the reader by, and moves its bookmark all the same
            end = (await logged(database_url, kind, other.id))[-1]
            await until(lambda: position_of(reader.tokens[-1]) >= end)
        truth = [p for p in await logged(database_url, kind, connection.id) if p > start]
        assert reader.events == truth
        bookmarks = [position_of(each) for each in reader.tokens if position_of(each) not in truth]
        assert len(bookmarks) > 2
        delivered: list[int] = []
        for each in map(position_of, reader.tokens):
            if each in truth and each not in delivered:
                delivered.append(each)
            assert delivered == [p for p in truth if p <= each]


STUCK, HAPPENED = 4, 2_000


@every_watch
async def test_bounded_readers_that_do_not_read_cost_the_server_nothing(
    kind: Kind, sandbox: Sandbox, database_url: str, tmp_path: Path
) -> None:
    async with (
        server_process(sandbox.url, database_url, tmp_path, TIEOUT_LOG_LEVEL="warning") as server,
        client_of(server) as running,
        contextlib.AsyncExitStack() as stack,
    ):
        connection = await running.connected()
        if not await logged(database_url, kind, connection.id):
            await kind.happen(running, connection.id)
        await copy_events(database_url, kind, connection.id, 2 * feed.WINDOW)  # the window that all share is full
        async with reading(kind, running, connection.id) as awake:
            await copy_events(database_url, kind, connection.id, 100)
            await until(lambda: len(awake.events) >= 100)
            before = psutil.Process(server.pid).memory_info().rss
            stuck = [await stack.enter_async_context(open_and_read_no_more(kind, server.port, connection.id))
                     for _ in range(STUCK)]  # fmt: skip
            await copy_events(database_url, kind, connection.id, HAPPENED)
            await until(lambda: len(awake.events) >= 100 + HAPPENED)  # nobody who reads waits for those who do not
            grown = psutil.Process(server.pid).memory_info().rss - before
        last = (await logged(database_url, kind, connection.id))[-HAPPENED:]
        size = await size_of_an_event(database_url, last[0])
        assert grown < STUCK * HAPPENED * size / 2, f"{grown / 2**20:.0f} MiB"
        for call in stuck:  # and once they read, they have lost nothing
            seen: list[int] = []
            while len(seen) < HAPPENED:
                message = await call.read()
                if message.HasField(kind.event):
                    seen.append(position_of(message.resume_token))
            assert seen == last


@contextlib.asynccontextmanager
async def open_and_read_no_more(kind: Kind, port: int, connection_id: str) -> AsyncIterator[Any]:
    """A stream whose first message was read, on a connection of its own."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        if kind.topic == feed.CONNECTION:
            asked = connection_service_pb2.WatchConnectionsRequest(connection_ids=[connection_id])
            call: Any = connection_service_pb2_grpc.ConnectionServiceStub(channel).WatchConnections(asked)
        elif kind.topic == feed.EXPORT:
            wanted = payments.WatchPaymentExportsRequest(connection_id=connection_id)
            call = payment_export_service_pb2_grpc.PaymentExportServiceStub(channel).WatchPaymentExports(wanted)
        elif kind.topic == feed.DISCREPANCY:
            watch = reconciliation_service_pb2.WatchDiscrepanciesRequest(connection_id=connection_id)
            call = reconciliation_service_pb2_grpc.ReconciliationServiceStub(channel).WatchDiscrepancies(watch)
        else:
            call = sync_service_pb2_grpc.SyncServiceStub(channel).WatchSync(
                sync_service_pb2.WatchSyncRequest(connection_id=connection_id)
            )
        await call.read()
        yield call
        call.cancel()


async def copy_events(database_url: str, kind: Kind, connection_id: str, count: int) -> None:
    """Let the last event of the connection happen so many times again, committed by another process than the server."""
    database = Database(database_url)
    async with database.write() as tx:
        of = tables.events.c.topic == kind.topic, tables.events.c.connection_id == connection_id
        newest = select(tables.events).where(*of).order_by(tables.events.c.position.desc()).limit(1)
        last = (await tx.execute(newest)).one()
        end = (await events.bounds(tx)).last
        row = {"connection_id": connection_id, "topic": kind.topic, "subject": last.subject, "payload": last.payload}
        now = int(datetime.now(UTC).timestamp() * 1_000_000)
        rows = [{**row, "position": end + number, "at": now} for number in range(1, count + 1)]
        await tx.execute(tables.event_counter.update().values(last=end + count))
        await tx.execute(tables.events.insert(), rows)
    await database.close()


async def size_of_an_event(database_url: str, position: int) -> int:
    database = Database(database_url)
    async with database.read() as tx:
        (event,) = await events.after(tx, position - 1, limit=1)
    await database.close()
    return len(event.payload)
