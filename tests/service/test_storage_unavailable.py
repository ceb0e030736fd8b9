"""PostgreSQL goes and comes back: calls say so and when to repeat, streams and work go on, nothing is lost."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2 as details
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

import tieout
from databases import empty
from deliveries import KEY, body_of, event, post, signature, until_equal
from fakes import SettableClock
from servers import ROOMY, Service, service, small_pages, until
from stoppable_postgres import StoppablePostgres, stoppable_postgres
from tieout.errors import StorageUnavailableError
from tieout.v1 import (
    connection_service_pb2,
    payment_export_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    sync_service_pb2,
)
from tieout.v1.sync_service_pb2 import SYNC_STATE_SUCCEEDED
from tieout_sandbox import Sandbox
from tieout_server import app, readiness
from tieout_server.events import feed as feeds
from tieout_server.events import token
from tieout_server.events.feed import Feed
from tieout_server.storage import events, notices
from tieout_server.storage.database import Database
from tieout_server.storage.events import Event

pytestmark = pytest.mark.timeout(60)

SERVICES = (
    connection_service_pb2,
    sync_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    payment_export_service_pb2,
)
QUICK = 60.0
"""How many times as fast as ours the time of these servers passes: an owner's lease is over in a moment."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[StoppablePostgres]:
    with stoppable_postgres() as made:
        yield made


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(app, "RESTART_AFTER", 0.1)


@contextlib.asynccontextmanager
async def away(postgres: StoppablePostgres) -> AsyncIterator[None]:
    """PostgreSQL is down during the block, and back afterwards."""
    await asyncio.to_thread(postgres.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(postgres.start)


@pytest.fixture
async def running(sandbox: Sandbox, postgres: StoppablePostgres) -> AsyncIterator[Service]:
    empty(postgres.url)
    sandbox.limits.quota, sandbox.clock.speed = ROOMY, QUICK
    with small_pages(20):
        async with service(sandbox, postgres.url, clock_speed=QUICK, xero_webhook_key=KEY) as made:
            yield made


def filled(kind: type[Message]) -> Message:
    """A request with something in each text of it."""
    request = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and not field.containing_oneof:
            setattr(request, field.name, _said(field.name))
    return request


def _said(name: str) -> str:
    if name in {"after", "page_token", "return_url"}:
        return ""
    return "con_0123456789abcdef0123456789abcdef" if name.endswith("_id") else "x"


def calls_of(channel: grpc.aio.Channel) -> Iterator[tuple[str, Any]]:
    """Every call that the API has, under way with some request."""
    for file in SERVICES:
        for offered in file.DESCRIPTOR.services_by_name.values():
            for method in offered.methods:
                asked, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
                make: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
                call = make(
                    f"/{offered.full_name}/{method.name}",
                    request_serializer=asked.SerializeToString,
                    response_deserializer=answer.FromString,
                )(filled(asked), timeout=15)
                yield method.name, call


async def refusal_of(call: Any) -> grpc.aio.AioRpcError:  # noqa: ANN401 - calls of every kind
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call.read() if hasattr(call, "read") else call)
    return refused.value


def told_by(refused: grpc.aio.AioRpcError) -> tuple[str, float]:
    """The reason, and in how many seconds to come back."""
    status = rpc_status.from_call(refused)  # type: ignore[arg-type] # it has what a call has of this
    assert status is not None
    info, retry = details.ErrorInfo(), details.RetryInfo()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(retry)
    return info.reason, retry.retry_delay.ToTimedelta().total_seconds()


async def test_while_postgresql_is_away_every_call_says_so_and_when_to_come_back(
    running: Service, postgres: StoppablePostgres
) -> None:
    """A request that breaks the rules of its call is refused for that, as always."""
    seen: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(running.target) as channel, away(postgres):
        for name, call in calls_of(channel):
            refused = await refusal_of(call)
            seen[refused.code().name] += 1
            if refused.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                assert refused.code() is grpc.StatusCode.UNAVAILABLE, (name, refused.details())
                assert told_by(refused) == ("STORAGE_UNAVAILABLE", 3.0), name
    assert seen["UNAVAILABLE"] > 25, seen
    assert [one async for one in running.client.connections.list()] == []


async def test_connections_that_break_in_the_middle_of_calls_are_no_faults(
    running: Service, postgres: StoppablePostgres
) -> None:
    """They break less and less often, so that on any machine calls get through in the end."""
    outcomes: Counter[str] = Counter()

    async def call(number: int) -> None:
        for turn in count():
            try:
                await running.client.connections.connect(f"merchant-{number}-{turn}", request_id=f"{number}-{turn}")
            except tieout.TieoutError as error:
                outcomes[error.reason] += 1
            else:
                outcomes["OK"] += 1
                if turn >= 5:
                    return

    calling, pause = asyncio.gather(*(call(number) for number in range(8))), 0.03
    while not calling.done():
        await asyncio.to_thread(postgres.break_connections)
        await asyncio.sleep(pause)
        pause *= 1.1
    await calling
    await call(8)  # while nothing breaks any more: a busy machine may not have got through a call before
    assert set(outcomes) <= {"OK", "STORAGE_UNAVAILABLE"}, outcomes


async def test_a_stream_stays_open_and_goes_on_and_its_heartbeats_promise_nothing_meanwhile(
    running: Service, postgres: StoppablePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "HEARTBEAT", 0.05)
    patience = tieout.Patience(attempts=1)
    connection = await running.connect()
    tokens: list[str] = []
    async with tieout.Client(running.target, patience=patience) as client:

        async def follow() -> None:
            async for message in client.connections.watch(connection_ids=[connection.id]):
                tokens.append(message.resume_token)  # noqa: PERF401 - each as it comes

        following = asyncio.create_task(follow())
        await until(lambda: len(tokens) > 1)
        async with away(postgres):
            told = len(tokens)
            await until(lambda: len(tokens) > told + 5)
            quiet = {position_of(one) for one in tokens[told + 1 :]}
        ((last,),) = postgres.execute("SELECT last FROM event_counter")
        assert max(quiet) <= last
        await again(lambda: running.client.connections.reconnect(connection.id))
        await until(lambda: position_of(tokens[-1]) > last)
        assert not following.done()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    positions = [position_of(one) for one in tokens]
    assert positions == sorted(positions)


def position_of(resume_token: str) -> int:
    return token.decode(resume_token, last=2**63)


async def again(act: Callable[[], Awaitable[object]]) -> None:
    """Act until the service says no more that its database is away."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(StorageUnavailableError):
                await act()
                return
            await asyncio.sleep(0.05)


async def test_a_first_sync_goes_on_when_postgresql_is_back_and_nothing_is_lost(
    running: Service, sandbox: Sandbox, postgres: StoppablePostgres
) -> None:
    connection = await running.connect()
    progressing = running.client.syncs.watch_connection(connection.id)
    outages = 0
    async for message in progressing:
        if message.HasField("progress"):
            if message.progress.sync.state == SYNC_STATE_SUCCEEDED:
                break
            if outages < 2:
                async with away(postgres):
                    outages += 1
                    await asyncio.sleep(0.3)
    await progressing.aclose()
    assert outages == 2
    await until_equal(sandbox, postgres.url, connection.id)


async def test_a_person_is_asked_to_reload_and_then_gets_through(
    running: Service, sandbox: Sandbox, postgres: StoppablePostgres
) -> None:
    started = await running.client.connections.connect("acme")
    back = await running.browser.consent(started.authorization_url)
    address = f"http://127.0.0.1:{running.web_port}/xero/callback?{back.partition('?')[2]}"
    async with away(postgres), running.browser.http.get(address) as answer:
        assert answer.status == 503
        assert "Reload this page" in await answer.text()
    await again(lambda: running.client.connections.get(started.connection.id))
    async with running.browser.http.get(address) as answer:
        assert answer.status == 200, await answer.text()
    assert sandbox.organisations


async def test_probes_and_webhooks_are_answered_at_once_so_that_they_come_again(
    running: Service, postgres: StoppablePostgres
) -> None:
    async def probe(path: str) -> int:
        async with running.browser.http.get(f"http://127.0.0.1:{running.web_port}{path}") as answer:
            return answer.status

    body = body_of(event())
    assert await probe("/readyz") == 200
    async with away(postgres):
        async with asyncio.timeout(5):  # Xero waits so long
            assert await post(running, body, signature(body)) == (503, b"")
            assert await probe("/readyz") == 503
        assert await probe("/healthz") == 200
    assert await post(running, body, signature(body)) == (200, b"")
    assert await probe("/readyz") == 200


async def test_health_says_so_until_the_database_is_back(
    sandbox: Sandbox, postgres: StoppablePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty(postgres.url)
    monkeypatch.setattr(readiness, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(readiness, "LOOK_AGAIN", 0.1)
    async with service(sandbox, postgres.url) as running, aio.insecure_channel(running.target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        of_syncs = stub.Watch(health_pb2.HealthCheckRequest(service="tieout.v1.SyncService"))
        of_all = stub.Watch(health_pb2.HealthCheckRequest())
        for watch in (of_syncs, of_all):
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        async with away(postgres):
            for watch in (of_syncs, of_all):
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for watch in (of_syncs, of_all):
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING


async def test_an_outage_is_told_once_by_each_who_waits_for_its_end(
    running: Service, postgres: StoppablePostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    async with away(postgres):
        await asyncio.sleep(1.5)
    await again(lambda: running.client.connections.connect("later"))
    said = capsys.readouterr().out
    assert "Traceback" not in said
    waiting = [line for line in said.splitlines() if "waits for the database" in line]
    assert waiting
    assert max(Counter(line.partition("work=")[2].split()[0] for line in waiting).values()) == 1
    assert said.count("no notices for now") == 1


async def test_a_position_that_was_told_is_not_given_out_again_after_a_crash(postgres: StoppablePostgres) -> None:
    """Even of a transaction that need not be durable: who was told of its event goes on from behind it."""
    postgres.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    postgres.execute("SELECT pg_reload_conf()")
    database = Database(postgres.url)
    feed = Feed(database, SettableClock())
    await feed.start()
    try:
        async with database.write(durable=False) as tx:
            told = await feed.append(tx, Event(0, "c", feeds.SYNC, "s", SettableClock().now(), b"{}"))
        postgres.crash()
        postgres.start()
        async with database.read() as tx:
            assert (await events.bounds(tx)).last == told
    finally:
        await database.close()
