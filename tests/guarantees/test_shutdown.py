"""Promise: a server that is stopped ends within ten seconds, and nothing that it had in hand is lost or done twice."""

import asyncio
import contextlib
import functools
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from sqlalchemy import select

from databases import MISSED_AFTER
from deliveries import KEY, body_of, event, post, signature
from fleet import Fleet, Replica, Watcher, following, quick_books
from fleet_merchants import Merchant, has_ended, never_runs_backwards, nothing_left, syncs_of
from servers import Service, client_of, server_process, until
from tieout.v1.connection_service_pb2 import CheckConnectionRequest, ListConnectionsRequest, WatchConnectionsRequest
from tieout.v1.connection_service_pb2_grpc import ConnectionServiceStub
from tieout.v1.payment_export_service_pb2 import WatchPaymentExportsRequest
from tieout.v1.payment_export_service_pb2_grpc import PaymentExportServiceStub
from tieout.v1.receivables_service_pb2 import WatchChangesRequest
from tieout.v1.receivables_service_pb2_grpc import ReceivablesServiceStub
from tieout.v1.reconciliation_service_pb2 import (
    StartReconciliationRequest,
    WatchDiscrepanciesRequest,
    WatchReconciliationRequest,
)
from tieout.v1.reconciliation_service_pb2_grpc import ReconciliationServiceStub
from tieout.v1.sync_service_pb2 import WatchSyncRequest
from tieout.v1.sync_service_pb2_grpc import SyncServiceStub
from tieout_sandbox import FaultKind, FaultRule, Sandbox, serve
from tieout_server.storage import replica_tables, tables
from tieout_server.storage.database import Database

pytestmark = pytest.mark.timeout(150)

QUICK_SERVER = Path(__file__).parent / "quick_server.py"
WITHIN = 10.0
"""Seconds from the signal to the end of the process."""
AT_ONCE = 5.0
"""Seconds in which a process is surely gone that waits for nothing, on a machine that has much else to do."""
LATE = "ended without having let go"
"""What the log says where the process had to be ended because it did not end by itself."""
WATCHERS = 1_000
A_FEW = 4
READS = r"/api\.xro/2\.0/(Contacts|Invoices)"
CREDITS = r"/api\.xro/2\.0/(CreditNotes|Overpayments|Prepayments)"
PAYMENTS = r"/api\.xro/2\.0/(Batch)?Payments$"
EVERYTHING = r"/api\.xro/"


@contextlib.asynccontextmanager
async def running(sandbox: Sandbox, database_url: str, folder: Path, **environment: str) -> AsyncIterator[Replica]:
    """A server process that goes by the sandbox's time and reads small pages, and a client of it."""
    settings = sandbox.settings
    assert settings.starts_at, "see `quick_books`"
    quick = {"TIEOUT_TEST_ORIGIN": settings.starts_at.isoformat(), "TIEOUT_TEST_SPEED": str(settings.speed)}
    async with (
        server_process(sandbox.url, database_url, folder, str(QUICK_SERVER), **quick, **environment) as one,
        client_of(one) as service,
    ):
        yield Replica(one, service)


async def has_ended_in_time(one: Replica, since: float) -> None:
    """See to it that it ends by itself, in time, as somebody who was asked to."""
    assert one.process.process
    code = await one.process.process.wait()
    took = asyncio.get_running_loop().time() - since
    log = one.process.log.read_text()
    assert code == 0, log
    assert took < WITHIN, log
    assert LATE not in log


def ask_to_end(one: Replica) -> float:
    """Send SIGTERM; answers when."""
    one.process_signal(signal.SIGTERM)
    return asyncio.get_running_loop().time()


async def stop(one: Replica) -> None:
    await has_ended_in_time(one, ask_to_end(one))


@contextlib.asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    try:
        yield database
    finally:
        await database.close()


async def held(database: Database) -> Sequence[Any]:
    """Who still has a place, a home or a task, as the database states it."""
    places, homes = replica_tables.replicas.c, replica_tables.homes.c
    async with database.read() as tx:
        return [
            *(await tx.execute(select(tables.work.c.kind).where(tables.work.c.owner != ""))).all(),
            *(await tx.execute(select(places.name))).all(),
            *(await tx.execute(select(homes.xero_tenant_id).where(homes.replica_id.is_not(None)))).all(),
        ]


async def merchant_at(one: Replica, sandbox: Sandbox, database: Database) -> Merchant:
    """A merchant whose first sync has just begun, and who has said where payments go to."""
    fleet = Fleet(sandbox, one.process.database_url, database, [one])
    merchant = Merchant(fleet, sandbox.organisations[0], random.Random(1))
    await merchant.connect()
    await merchant.choose_account()
    return merchant


async def keep_telling(merchant: Merchant, service: Service, answered: list[int]) -> None:
    """Somebody works in Xero all the time, which tells of it, until nobody listens any more."""
    with contextlib.suppress(aiohttp.ClientError):
        while True:
            invoice = merchant.books.create_invoice(merchant.someone(), Decimal(12))
            body = body_of(event(tenantId=merchant.organisation.id, resourceId=invoice.id, eventType="CREATE"))
            answered.append((await post(service, body, signature(body)))[0])
            await asyncio.sleep(0.05)


async def test_amid_a_sync_a_payment_being_sent_webhooks_and_watchers_nothing_is_lost_or_done_twice(
    database_url: str, tmp_path: Path
) -> None:
    books = quick_books(20.0, contacts=40, invoices=300, latency_ms=150)
    async with (
        serve(books) as sandbox,
        opened(database_url) as database,
        running(sandbox, database_url, tmp_path, TIEOUT_XERO_WEBHOOK_KEY=KEY) as one,
    ):
        sandbox.faults.add(FaultRule(FaultKind.SLOW, CREDITS, times=None, seconds=2.0))  # so that the sync lasts
        merchant = await merchant_at(one, sandbox, database)
        progress = syncs_of(merchant.connection_id, lambda: one)
        exports = Watcher(
            lambda client, after: client.payment_exports.watch(merchant.connection_id, after=after),
            "change",
            lambda: one,
        )
        answered: list[int] = []
        async with following([progress, exports]):
            sending = sandbox.faults.add(FaultRule(FaultKind.SLOW, PAYMENTS, "PUT", seconds=2.0))
            await merchant.pay()
            await until(lambda: sandbox.requests.count(READS) >= A_FEW)
            telling = asyncio.create_task(keep_telling(merchant, one.service, answered))
            await until(lambda: sending.times == 0 and len(answered) >= A_FEW)
            assert not has_ended(progress), "the sync was over before its server was stopped"
            await stop(one)
            sandbox.faults.clear()
            assert set(answered) == {200}
            states = [status for _, status, *_ in (await merchant.kept()).values()]
            assert await held(database) == []
            reads = sandbox.requests.count(READS)
            await one.process.start()
            await until(lambda: has_ended(progress), within=60)
            await nothing_left(merchant.unverified)
            await nothing_left(lambda: missed(exports, merchant))
        await telling
        assert states in (["EXPORTED"], ["VERIFIED"]), "its answer was not waited for"
        assert sandbox.requests.count(READS) > reads, "there was nothing left to do"
        assert sandbox.requests.count(PAYMENTS, method="PUT") == 1
        merchant.each_payment_is_there_once()
        never_runs_backwards(progress)
        await nothing_left(merchant.is_mirrored)


async def missed(exports: Watcher, merchant: Merchant) -> list[str]:
    """What was not told of exports, each once and in order."""
    logged = await merchant.fleet.logged("export", merchant.connection_id)
    truth = [position for position in logged if position > exports.start]
    return [] if exports.positions == truth else [f"told {exports.positions}, logged {truth}"]


# Watchers are sent on


@dataclass
class Listener:
    """Somebody at the end of one stream, who keeps what it said and how it ended."""

    open: Callable[[aio.Channel, str], Any]
    messages: list[Any] = field(default_factory=list)
    ended: aio.AioRpcError | None = None

    async def listen(self, channel: aio.Channel, after: str = "") -> None:
        try:
            async for message in self.open(channel, after):
                self.messages.append(message)
        except aio.AioRpcError as ended:
            self.ended = ended

    def told(self) -> Status:
        """The status with which the stream ended."""
        assert self.ended, "it goes on"
        return status_of(self.ended)


def status_of(error: aio.AioRpcError) -> Status:
    """The status of a call, with its details."""
    call: Any = error  # what it asks for is there
    status = rpc_status.from_call(call)
    assert status, error
    return status


def detail(status: Status, kind: Any) -> Any:  # noqa: ANN401 - any of google.rpc's messages
    """This kind of detail."""
    found = kind()
    assert any(one.Unpack(found) for one in status.details), status
    return found


def watches(connection_id: str, reconciliation_id: str) -> dict[str, Listener]:
    """One of each kind of watch there is."""
    return {
        "WatchConnections": Listener(
            lambda c, after: ConnectionServiceStub(c).WatchConnections(WatchConnectionsRequest(after=after))
        ),
        "WatchSync": Listener(
            lambda c, after: SyncServiceStub(c).WatchSync(WatchSyncRequest(connection_id=connection_id, after=after))
        ),
        "WatchChanges": Listener(
            lambda c, after: ReceivablesServiceStub(c).WatchChanges(
                WatchChangesRequest(connection_id=connection_id, after=after)
            )
        ),
        "WatchReconciliation": Listener(
            lambda c, after: ReconciliationServiceStub(c).WatchReconciliation(
                WatchReconciliationRequest(reconciliation_id=reconciliation_id, after=after)
            )
        ),
        "WatchDiscrepancies": Listener(
            lambda c, after: ReconciliationServiceStub(c).WatchDiscrepancies(
                WatchDiscrepanciesRequest(connection_id=connection_id, after=after)
            )
        ),
        "WatchPaymentExports": Listener(
            lambda c, after: PaymentExportServiceStub(c).WatchPaymentExports(
                WatchPaymentExportsRequest(connection_id=connection_id, after=after)
            )
        ),
    }


async def test_every_kind_of_watch_ends_with_a_token_that_another_server_goes_on_from(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        serve(quick_books(20.0, contacts=40, invoices=60)) as sandbox,
        running(sandbox, database_url, tmp_path) as one,
        asyncio.TaskGroup() as group,
    ):
        connection = await one.service.connected()
        sandbox.faults.add(FaultRule(FaultKind.SLOW, EVERYTHING, times=None, seconds=60.0))  # so that it goes on
        async with aio.insecure_channel(f"127.0.0.1:{one.process.port}") as channel:
            run = await ReconciliationServiceStub(channel).StartReconciliation(
                StartReconciliationRequest(connection_id=connection.id)
            )
            all_kinds = watches(connection.id, run.reconciliation.id)
            streams = [group.create_task(each.listen(channel)) for each in all_kinds.values()]
            await until(lambda: all(each.messages for each in all_kinds.values()))
            await stop(one)
            await asyncio.gather(*streams)
        for name, each in all_kinds.items():
            status, last = each.told(), each.messages[-1]
            assert status.code == grpc.StatusCode.UNAVAILABLE.value[0], name
            info = detail(status, details.ErrorInfo)
            assert info.reason == "DRAINING", name
            assert last.HasField("heartbeat"), name
            assert info.metadata["resume_token"] == last.resume_token != "", name
            assert detail(status, details.RetryInfo).retry_delay.ToTimedelta().total_seconds() <= 1, name
        sandbox.faults.clear()
        await one.process.start()
        async with aio.insecure_channel(f"127.0.0.1:{one.process.port}") as channel:
            again = watches(connection.id, run.reconciliation.id)
            streams = [
                group.create_task(each.listen(channel, all_kinds[name].messages[-1].resume_token))
                for name, each in again.items()
            ]
            sandbox.books.create_invoice(next(iter(sandbox.books.contacts)), Decimal(12))
            await one.service.client.syncs.start(connection.id)
            for name, happens in (("WatchSync", "progress"), ("WatchChanges", "change"), ("WatchReconciliation", "")):
                await until(functools.partial(has_heard, again[name], happens))
            for stream in streams:
                stream.cancel()
        assert not [name for name, each in again.items() if each.ended]


def has_heard(one: Listener, happens: str) -> bool:
    """Whether this was told, or anything at all."""
    return any(not happens or message.HasField(happens) for message in one.messages)


@pytest.fixture
def hanging() -> FaultRule:
    """Xero takes calls and does not answer."""
    return FaultRule(FaultKind.SLOW, READS, times=1_000, seconds=60.0)


def hang(rule: FaultRule) -> int:
    """How many calls hang."""
    assert rule.times is not None
    return 1_000 - rule.times


async def test_with_a_thousand_watchers_and_a_xero_that_hangs_it_ends_in_time(
    database_url: str, tmp_path: Path, hanging: FaultRule
) -> None:
    async with (
        serve(quick_books(1.0, contacts=40, invoices=300)) as sandbox,
        opened(database_url) as database,
        running(sandbox, database_url, tmp_path) as one,
        aio.insecure_channel(f"127.0.0.1:{one.process.port}") as channel,
        asyncio.TaskGroup() as group,
    ):
        sandbox.faults.add(hanging)
        connection = await one.service.connect()
        crowd = [watches(connection.id, "")["WatchConnections"] for _ in range(WATCHERS)]
        streams = [group.create_task(each.listen(channel)) for each in crowd]
        await until(lambda: all(each.messages for each in crowd) and hang(hanging) > 0, within=60)
        await stop(one)
        await asyncio.gather(*streams)
        assert {detail(each.told(), details.ErrorInfo).reason for each in crowd} == {"DRAINING"}
        assert all(each.messages[-1].HasField("heartbeat") for each in crowd)
        assert await held(database) == []


async def test_calls_in_hand_are_answered_or_told_to_go_elsewhere_and_new_ones_refused(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with (
        serve(quick_books(1.0, contacts=12, invoices=40)) as sandbox,
        running(sandbox, sqlite_url, tmp_path) as one,
        aio.insecure_channel(f"127.0.0.1:{one.process.port}") as channel,
        asyncio.TaskGroup() as group,
    ):
        connection = await one.service.connected()
        slow = sandbox.faults.add(FaultRule(FaultKind.SLOW, "/Organisation", times=1, seconds=3.0))
        asked = CheckConnectionRequest(connection_id=connection.id)
        checking = group.create_task(one.service.client.connections.check(connection.id))
        await until(lambda: slow.times == 0)
        asking = ask_to_end(one)
        status = status_of(await refusal(channel))
        assert detail(status, details.ErrorInfo).reason == "DRAINING"
        assert detail(status, details.RetryInfo).retry_delay.ToTimedelta().total_seconds() <= 1
        assert (await checking).connection.id == asked.connection_id
        await has_ended_in_time(one, asking)


async def refusal(channel: aio.Channel) -> aio.AioRpcError:
    """The refusal of the first call that is refused, which until then are answered."""
    try:
        while True:
            await ConnectionServiceStub(channel).ListConnections(ListConnectionsRequest())
    except aio.AioRpcError as refused:
        return refused


async def test_a_call_that_xero_does_not_answer_is_told_to_go_elsewhere(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        serve(quick_books(1.0, contacts=12, invoices=40)) as sandbox,
        running(sandbox, sqlite_url, tmp_path) as one,
        aio.insecure_channel(f"127.0.0.1:{one.process.port}") as channel,
    ):
        connection = await one.service.connected()
        slow = sandbox.faults.add(FaultRule(FaultKind.SLOW, "/Organisation", times=1, seconds=60.0))
        checking = ConnectionServiceStub(channel).CheckConnection(CheckConnectionRequest(connection_id=connection.id))
        await until(lambda: slow.times == 0)
        await stop(one)
        with pytest.raises(aio.AioRpcError) as cut:
            await checking
        assert detail(status_of(cut.value), details.ErrorInfo).reason == "DRAINING"


async def test_load_balancers_are_given_notice(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        serve(quick_books(1.0, contacts=12, invoices=40)) as sandbox,
        running(sandbox, sqlite_url, tmp_path, TIEOUT_DRAIN_NOTICE="PT2S") as one,
        aio.insecure_channel(f"127.0.0.1:{one.process.port}") as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        http = one.service.browser.http
        ready = f"http://127.0.0.1:{one.process.web_port}/readyz"
        async with http.get(ready) as answer:
            assert answer.status == 200
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        asking = ask_to_end(one)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        async with http.get(ready) as answer:
            assert answer.status == 503
        await ConnectionServiceStub(channel).ListConnections(ListConnectionsRequest())  # still served
        await has_ended_in_time(one, asking)


async def test_a_second_signal_ends_it_at_once(sqlite_url: str, tmp_path: Path, hanging: FaultRule) -> None:
    async with (
        serve(quick_books(1.0, contacts=12, invoices=40)) as sandbox,
        running(sandbox, sqlite_url, tmp_path) as one,
    ):
        sandbox.faults.add(hanging)
        await one.service.connect()
        await until(lambda: hang(hanging) > 0)
        ask_to_end(one)
        await until(lambda: "shutting down" in one.process.log.read_text())
        again = ask_to_end(one)
        assert one.process.process
        assert await one.process.process.wait() == 128 + signal.SIGTERM
        assert asyncio.get_running_loop().time() - again < AT_ONCE


async def test_what_was_being_done_goes_on_at_another_replica_that_need_not_wait_for_it_to_be_missed(
    postgres_url: str, tmp_path: Path, hanging: FaultRule
) -> None:
    (tmp_path / "other").mkdir()
    async with (
        serve(quick_books(1.0, contacts=40, invoices=300, latency_ms=50)) as sandbox,
        running(sandbox, postgres_url, tmp_path) as one,
    ):
        connection = await one.service.connect()
        await until(lambda: sandbox.requests.count(READS) >= A_FEW)
        hanging.times = 1
        sandbox.faults.add(hanging)
        await until(lambda: hanging.times == 0)
        async with running(sandbox, postgres_url, tmp_path / "other") as other:
            await stop(one)
            stopped_at = asyncio.get_running_loop().time()  # by now the other one may have read the rest
            assert (await other.service.first_sync(connection.id))[-1].percent == 100
            taken = timedelta(seconds=asyncio.get_running_loop().time() - stopped_at)
            assert taken < MISSED_AFTER, "it waited for the call that hangs, or until the first one was missed"
