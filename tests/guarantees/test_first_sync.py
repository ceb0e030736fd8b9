"""Promise: the first sync ends with exactly what Xero has, whatever happens while it reads, and says how far it is."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from servers import (
    ROOMY,
    Service,
    client_of,
    differences,
    limits_kept,
    mirror_of,
    server_process,
    service,
    small_pages,
    truth_of,
    until,
)
from tieout.syncs import ENDED
from tieout.v1 import sync_service_pb2 as pb
from tieout.v1.connection_service_pb2 import (
    CONNECTION_HEALTH_DEGRADED,
    CONNECTION_HEALTH_OK,
    CONNECTION_REASON_CODE_DAY_LIMIT_REACHED,
    CONNECTION_STATE_CONNECTED,
)
from tieout.v1.types_pb2 import ENTITY_INVOICES
from tieout_sandbox import FaultKind, FaultRule, Sandbox, SandboxSettings, serve
from tieout_sandbox.limits import Quota

pytestmark = pytest.mark.timeout(90)

QUICK = 60.0
"""How many times as fast as ours the time of these servers passes."""
READS = r"/api\.xro/2\.0/(Contacts|Invoices|CreditNotes|Payments|Overpayments|Prepayments|Accounts)"
KILLS = 5
SMALL_AMOUNT = Decimal("12.34")


@contextlib.asynccontextmanager
async def quick_world(
    database_url: str, *, page_size: int = 20, latency_ms: float = 0.0, speed: float = QUICK
) -> AsyncIterator[tuple[Sandbox, Service]]:
    """A sandbox and our server whose minutes are seconds, reading small pages."""
    books = SandboxSettings(contacts=40, invoices=300, speed=speed, latency_ms=latency_ms)
    with small_pages(page_size):
        async with serve(books) as sandbox, service(sandbox, database_url, clock_speed=speed) as running:
            yield sandbox, running


def never_runs_backwards(told: list[pb.SyncProgress]) -> None:
    """Percent and every count of every listing only rise; a milestone is told once."""
    for before, after in pairwise(told):
        assert after.percent >= before.percent
        for earlier, later in zip(before.entities, after.entities, strict=False):
            assert (earlier.entity, earlier.open_only) == (later.entity, later.open_only)
            assert later.fetched >= earlier.fetched, (earlier, later)
            assert later.pages_read >= earlier.pages_read, (earlier, later)
            assert later.upserted >= earlier.upserted, (earlier, later)


def milestones(told: list[pb.SyncProgress]) -> list[str]:
    return [pb.Milestone.Name(p.milestone).removeprefix("MILESTONE_") for p in told if p.milestone]


async def test_nothing_is_missing_and_nothing_is_doubled_while_somebody_works_in_the_books(database_url: str) -> None:
    async with quick_world(database_url) as (sandbox, running):
        sandbox.limits.quota = Quota()
        sandbox.churn.on = True
        connection = await running.connect()
        told = await running.first_sync(connection.id)
        assert told[-1].sync.state == pb.SYNC_STATE_SUCCEEDED
        assert sandbox.churn.changes >= 25  # or nothing was happening
        sandbox.churn.on = False
        last = (await running.sync(connection.id, mode=pb.SYNC_MODE_INCREMENTAL))[-1]
        assert last.sync.state == pb.SYNC_STATE_SUCCEEDED
        assert differences(truth_of(sandbox.books), await mirror_of(database_url, connection.id)) == []
        assert list(limits_kept(sandbox)) == []
        never_runs_backwards(told)
        assert milestones(told) == ["COLLECTIBLE_READY", "HISTORY_COMPLETE"]


async def test_after_the_first_sync_alone_nothing_that_was_there_when_it_began_is_missing(database_url: str) -> None:
    async with quick_world(database_url) as (sandbox, running):
        connection = await running.connect()
        before = truth_of(sandbox.books)
        sandbox.churn.on = True
        await running.first_sync(connection.id)
        mirror = await mirror_of(database_url, connection.id)
        missing = {name: theirs.keys() - mirror[name].keys() for name, theirs in before.items()}
        assert not any(missing.values()), missing


async def test_killed_at_any_moment_it_ends_with_exactly_what_xero_has(database_url: str, tmp_path: Path) -> None:
    origin_at = datetime.now(UTC)
    books = SandboxSettings(
        contacts=40, invoices=300, latency_ms=60, speed=QUICK, starts_at=origin_at, anchor_on=origin_at.date()
    )
    chance = random.Random(20261122)
    quick = (str(Path(__file__).with_name("quick_server.py")),)
    told: list[pb.SyncProgress] = []
    async with (
        serve(books) as sandbox,
        server_process(sandbox.url, database_url, tmp_path, *quick, TIEOUT_TEST_ORIGIN=origin_at.isoformat()) as server,
        client_of(server) as running,
    ):
        connection = await running.connect()

        async def listen() -> None:
            async for message in running.client.syncs.watch_connection(connection.id):
                if message.HasField("progress"):
                    told.append(message.progress)
                    if message.progress.sync.state in ENDED:
                        return

        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen())
            for _ in range(KILLS):
                served, wanted = sandbox.requests.count(READS), chance.randrange(2, 9)
                await until(lambda: sandbox.requests.count(READS) >= served + wanted or listening.done())  # noqa: B023 - it is awaited here
                await asyncio.sleep(chance.uniform(0, 0.05))  # anywhere between a read and its commit
                assert not listening.done(), "it ended before it was killed often enough"
                await server.replace()
        assert told[-1].sync.state == pb.SYNC_STATE_SUCCEEDED, told[-1]
        never_runs_backwards(told)
        assert milestones(told) == ["COLLECTIBLE_READY", "HISTORY_COMPLETE"]
        assert differences(truth_of(sandbox.books), await mirror_of(database_url, connection.id)) == []
        assert list(limits_kept(sandbox)) == []
        assert told[-1].sync.calls <= sandbox.requests.count(READS, status=200)
        await every_page_was_committed_once(told[-1])


async def every_page_was_committed_once(last: pb.SyncProgress) -> None:
    """Each listing counts each of its rows once, and no more pages than it has."""
    for line in last.entities:
        if not line.open_only:  # what is open is met again in the listing itself
            assert line.fetched == line.expected, line
        assert line.pages_read == line.pages_expected, line


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.LIMIT_MINUTE,
        FaultKind.LIMIT_CONCURRENT,
        FaultKind.LIMIT_APP_MINUTE,
        FaultKind.UNAVAILABLE,
        FaultKind.ORGANISATION_OFFLINE,
        FaultKind.FORBIDDEN_HTML,
        FaultKind.DROP,
        FaultKind.DROP_AFTER,
    ],
)
async def test_trouble_in_the_middle_is_waited_out(kind: FaultKind, sqlite_url: str) -> None:
    async with quick_world(sqlite_url) as (sandbox, running):
        for path in ("Contacts", "Invoices", "Payments"):
            sandbox.faults.add(FaultRule(kind, f"/{path}$", times=2))
        connection = await running.connect()
        told = await running.first_sync(connection.id)
        assert told[-1].sync.state == pb.SYNC_STATE_SUCCEEDED, told[-1]
        assert all(rule.times == 0 for rule in sandbox.faults.rules)
        assert differences(truth_of(sandbox.books), await mirror_of(sqlite_url, connection.id)) == []
        never_runs_backwards(told)


async def test_an_outage_is_waited_for_by_name_and_nobody_has_to_do_anything(sqlite_url: str) -> None:
    async with quick_world(sqlite_url) as (sandbox, running):
        outage = sandbox.faults.add(FaultRule(FaultKind.OFFLINE, "/Invoices$", times=1_000_000))
        connection = await running.connect()
        told: list[pb.SyncProgress] = []
        async with contextlib.aclosing(running.client.syncs.watch_connection(connection.id)) as messages:
            async for message in messages:
                progress = message.progress
                told.append(progress)
                if progress.sync.state == pb.SYNC_STATE_WAITING and progress.waiting_on.HasField("until"):
                    assert progress.waiting_on.what == pb.WAIT_REASON_XERO_UNAVAILABLE
                    outage.times = 0
                if progress.sync.state in ENDED:
                    break
        assert outage.times == 0, "it was never said what is waited for"
        assert told[-1].sync.state == pb.SYNC_STATE_SUCCEEDED
        assert not told[-1].HasField("waiting_on")
        now = await running.client.connections.get(connection.id)
        assert (now.state, now.health) == (CONNECTION_STATE_CONNECTED, CONNECTION_HEALTH_OK)


async def test_a_minute_that_is_full_is_waited_out_and_said_so(sqlite_url: str) -> None:
    # A minute takes 7.5 seconds: its 60 calls have to be made within it, on a busy machine too.
    async with quick_world(sqlite_url, page_size=10, speed=8.0) as (sandbox, running):
        connection = await running.connect()
        told = await running.first_sync(connection.id)
        assert told[-1].sync.state == pb.SYNC_STATE_SUCCEEDED
        waits = [p.waiting_on for p in told if p.HasField("waiting_on")]
        assert {wait.what for wait in waits} == {pb.WAIT_REASON_MINUTE_LIMIT}
        assert any(wait.HasField("until") for wait in waits)
        assert sandbox.requests.count("/api.xro/") > 60  # or there was nothing to wait for
        assert list(limits_kept(sandbox)) == []


async def test_a_day_that_is_used_up_parks_the_sync_until_it_is_over(sqlite_url: str) -> None:
    async with quick_world(sqlite_url) as (sandbox, running):
        connection = await running.connect()
        sandbox.faults.add(FaultRule(FaultKind.LIMIT_DAY, "/Invoices$"))
        progress, now = pb.SyncProgress(), connection
        async with contextlib.aclosing(running.client.syncs.watch_connection(connection.id)) as messages:
            async for message in messages:
                progress = message.progress
                if progress.sync.state == pb.SYNC_STATE_WAITING and progress.waiting_on.HasField("until"):
                    break
                assert progress.sync.state not in ENDED
        assert progress.waiting_on.what == pb.WAIT_REASON_DAY_LIMIT
        left = progress.waiting_on.until.ToDatetime(UTC) - sandbox.clock.now()
        assert timedelta() < left <= timedelta(days=1, minutes=1)
        async with contextlib.aclosing(
            running.client.connections.watch(connection_ids=[connection.id], from_start=True)
        ) as changes:
            async for change in changes:
                now = change.snapshot if change.HasField("snapshot") else change.change.connection
                if now.health == CONNECTION_HEALTH_DEGRADED:
                    break
        assert now.state == CONNECTION_STATE_CONNECTED
        assert now.reason.code == CONNECTION_REASON_CODE_DAY_LIMIT_REACHED
        asked = sandbox.requests.count(READS)
        joined = await running.client.syncs.start(connection.id)
        assert joined.joined
        assert joined.sync.id == progress.sync.id
        assert sandbox.requests.count(READS) == asked


async def test_collectible_ready_is_told_only_when_every_open_receivable_is_here(database_url: str) -> None:
    async with quick_world(database_url, latency_ms=20) as (sandbox, running):
        sandbox.limits.quota = ROOMY
        truth = truth_of(sandbox.books)
        connection = await running.connect()
        async with contextlib.aclosing(running.client.syncs.watch_connection(connection.id)) as messages:
            async for message in messages:
                if message.progress.milestone == pb.MILESTONE_COLLECTIBLE_READY:
                    break
        mirror = await mirror_of(database_url, connection.id)
        still_reading = message.progress.sync.state == pb.SYNC_STATE_RUNNING
    open_ones = {
        name: {key: row for key, row in truth[name].items() if row[0] == "AUTHORISED"}
        for name in ("invoices", "credits")
    }
    assert open_ones["invoices"]
    assert open_ones["credits"]
    for name, theirs in open_ones.items():
        assert {key: mirror[name].get(key) for key in theirs} == theirs
    assert still_reading
    assert len(mirror["invoices"]) < len(truth["invoices"]), "the history was in already: nothing was shown"


async def test_a_second_first_sync_reads_everything_again_and_changes_nothing(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with service(sandbox, sqlite_url) as running:
        connection = await running.connected()
        before = await mirror_of(sqlite_url, connection.id)
        last = (await running.sync(connection.id, mode=pb.SYNC_MODE_FULL))[-1]
        assert last.sync.state == pb.SYNC_STATE_SUCCEEDED
        assert sum(line.upserted for line in last.entities) == 0
        assert await mirror_of(sqlite_url, connection.id) == before


async def test_an_incremental_sync_reads_what_changed_and_no_more(sandbox: Sandbox, sqlite_url: str) -> None:
    async with service(sandbox, sqlite_url) as running:
        connection = await running.connected()
        customer = next(c for c in sandbox.books.contacts.values() if c.is_customer and c.status == "ACTIVE")
        made = sandbox.books.create_invoice(customer.id, SMALL_AMOUNT)
        last = (await running.sync(connection.id))[-1]
        assert last.sync.state == pb.SYNC_STATE_SUCCEEDED
        (line,) = [line for line in last.entities if line.entity == ENTITY_INVOICES]
        assert line.upserted == 1
        assert (await running.client.receivables.get_invoice(connection.id, made.id)).number == made.number
        assert differences(truth_of(sandbox.books), await mirror_of(sqlite_url, connection.id)) == []
