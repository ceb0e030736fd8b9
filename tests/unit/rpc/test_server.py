"""The server as a whole: who may call, what reflection and health say, how faults look, and how it stops."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from google.rpc import error_details_pb2 as details
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from fakes import World, serving
from servers import until
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1 import sync_service_pb2
from tieout.v1.connection_service_pb2_grpc import ConnectionServiceStub
from tieout.v1.sync_service_pb2_grpc import SyncServiceStub
from tieout_server.callers.caller import Role
from tieout_server.callers.registering import Registration, Wanted
from tieout_server.connections.messages import Connect, Return
from tieout_server.errors import ListenError
from tieout_server.rpc.address import is_address, is_loopback
from tieout_server.rpc.probe import is_serving
from tieout_server.rpc.server import SERVICES, RpcServer
from tieout_server.settings import Settings


def reason_of(error: aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # it takes the error of a call as well
    assert status is not None
    info = details.ErrorInfo()
    assert any(part.Unpack(info) for part in status.details)
    return str(info.reason)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_five_services_and_describes_them(channel: aio.Channel, version: str) -> None:
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest
    names = (
        *SERVICES,
        f"grpc.reflection.{version}.ServerReflection",
        "tieout.v1.SyncService.StartSync",
        "tieout.v1.Sync",
        "tieout.v1.SyncService.Nothing",
    )
    symbols = [request(file_containing_symbol=name) for name in names]
    answers = [answer async for answer in call(iter([request(list_services=""), *symbols]))]
    assert {service.name for service in answers[0].list_services_response.service} >= set(SERVICES)
    assert all(answer.HasField("file_descriptor_response") for answer in answers[1:-1])
    method, message = answers[-3], answers[-2]
    assert method.file_descriptor_response == message.file_descriptor_response
    assert answers[-1].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_health_says_serving_of_every_service(channel: aio.Channel, service: str) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_is_watched_until_the_server_stops(around: World) -> None:
    async with serving(around) as server, aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        await stopping


async def test_a_status_that_a_service_set_itself_is_left_as_it_is(channel: aio.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(aio.AioRpcError) as refusal:
        await stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_method_that_is_in_no_service_is_unimplemented(channel: aio.Channel) -> None:
    improve: Any = channel.unary_unary("/tieout.v1.ConnectionService/Improve")
    with pytest.raises(aio.AioRpcError) as refusal:
        await improve(b"")
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_bug_is_internal_and_its_words_stay_here(
    channel: aio.Channel, around: World, capsys: pytest.CaptureFixture[str]
) -> None:
    connections: Any = ConnectionServiceStub(channel)
    async with around.database.write() as tx:
        await tx.exec_driver_sql("ALTER TABLE connections RENAME TO gone")
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.GetConnection(pb.GetConnectionRequest(connection_id="con_secret"))
    assert refusal.value.code() is grpc.StatusCode.INTERNAL
    assert reason_of(refusal.value) == "INTERNAL"
    assert "no such table" not in str(refusal.value.details())
    request_id = str(refusal.value.details()).rstrip(".").rpartition(" ")[2]
    assert request_id in "".join(capsys.readouterr())


async def test_the_log_names_method_status_and_connection_and_nothing_else_of_the_request(
    channel: aio.Channel, capsys: pytest.CaptureFixture[str]
) -> None:
    connections: Any = ConnectionServiceStub(channel)
    with pytest.raises(aio.AioRpcError):
        await connections.Disconnect(pb.DisconnectRequest(connection_id="con_unknown", request_id="told-to-nobody"))
    said: list[str] = []

    def is_logged() -> bool:
        said.extend(capsys.readouterr())
        return "/tieout.v1.ConnectionService/Disconnect" in "".join(said)

    await until(is_logged)  # a moment after the answer
    log = "".join(said)
    assert "NOT_FOUND" in log
    assert "elapsed_ms" in log
    assert "con_unknown" in log
    assert "told-to-nobody" not in log


async def test_a_token_is_asked_for_and_compared(around: World) -> None:
    async with serving(around, token="right") as server, aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        connections: Any = ConnectionServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        request = pb.ListConnectionsRequest()
        await connections.ListConnections(request, metadata=(("authorization", "Bearer right"),))
        await health.Check(health_pb2.HealthCheckRequest())
        for metadata in ((), (("authorization", "Bearer wrong"),), (("authorization", "right"),)):
            with pytest.raises(aio.AioRpcError) as refusal:
                await connections.ListConnections(request, metadata=metadata)
            assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert reason_of(refusal.value) == "CALLER_UNAUTHENTICATED"
        with pytest.raises(aio.AioRpcError) as refusal:
            await connections.WatchConnections(pb.WatchConnectionsRequest()).read()
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_nobody_listens_beyond_this_machine_without_telling_callers_apart(around: World) -> None:
    server = RpcServer(around.subjects, Settings(listen="0.0.0.0:0"))
    with pytest.raises(ListenError, match="TIEOUT_TOKEN"):
        await server.start()
    await server.stop()  # what did not start can be stopped all the same


async def test_everybody_is_let_in_beyond_this_machine_where_that_is_said_and_it_is_logged(
    around: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        serving(around, listen="0.0.0.0:0", allow_anonymous=True) as server,
        aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        connections: Any = ConnectionServiceStub(channel)
        await connections.ListConnections(pb.ListConnectionsRequest())
    warned = [line for line in "".join(capsys.readouterr()).splitlines() if "warning" in line]
    assert any("TIEOUT_ALLOW_ANONYMOUS" in line for line in warned)


async def test_once_a_caller_is_registered_nobody_is_let_in_without_saying_who_it_is(around: World) -> None:
    await Registration(around.database, around.clock).add(Wanted(name="console", roles=frozenset({Role.READER})))
    for settings in ({}, {"listen": "0.0.0.0:0"}, {"listen": "0.0.0.0:0", "allow_anonymous": True}):
        async with (
            serving(around, **settings) as server,
            aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            connections: Any = ConnectionServiceStub(channel)
            with pytest.raises(aio.AioRpcError) as refusal:
                await connections.ListConnections(pb.ListConnectionsRequest())
            assert reason_of(refusal.value) == "CALLER_UNAUTHENTICATED"


async def test_a_port_that_is_taken_is_named(around: World) -> None:
    async with serving(around) as server:
        second = RpcServer(around.subjects, Settings(listen=f"127.0.0.1:{server.port}"))
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            await second.start()


@pytest.mark.parametrize("listen", ["abc", "7440", "127.0.0.1:", "127.0.0.1:grpc", "127.0.0.1:65536"])
async def test_what_is_no_address_is_refused_with_the_form_of_one(around: World, listen: str) -> None:
    server = RpcServer(around.subjects, Settings(listen=listen))
    with pytest.raises(ListenError, match=f"TIEOUT_LISTEN: '{listen}' is not of the form host:port"):
        await server.start()
    await server.stop()


@pytest.mark.parametrize(
    ("address", "only_here"),
    [
        ("127.0.0.1:7440", True),
        ("127.8.0.1:1", True),
        ("localhost:7440", True),
        ("[::1]:7440", True),
        ("unix:/run/tieout.sock", True),
        ("0.0.0.0:7440", False),
        ("[::]:7440", False),
        (":7440", False),
        ("10.0.0.4:7440", False),
        ("localhost.example:7440", False),
    ],
)
def test_what_other_machines_can_reach_is_known(address: str, only_here: bool) -> None:  # noqa: FBT001 - a table
    assert is_address(address)
    assert is_loopback(address) is only_here


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begins_at = datetime.now(UTC) - timedelta(hours=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins_at)
        .not_valid_after(begins_at + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


async def test_tls_asks_callers_for_a_certificate_where_it_is_told_to(
    around: World, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    tls = {"tls_cert_file": cert, "tls_key_file": key, "tls_client_ca_file": cert}
    ours = grpc.ssl_channel_credentials(cert.read_bytes(), key.read_bytes(), cert.read_bytes())
    without = grpc.ssl_channel_credentials(cert.read_bytes())
    registration = Registration(around.database, around.clock)
    async with (
        serving(around, **tls, token="right") as server,
        aio.secure_channel(f"localhost:{server.port}", ours) as channel,
    ):
        known: Any = ConnectionServiceStub(channel)
        with pytest.raises(aio.AioRpcError, match="Nobody is registered for this certificate"):
            await known.ListConnections(pb.ListConnectionsRequest())
        bearer = (("authorization", "Bearer right"),)
        await known.ListConnections(pb.ListConnectionsRequest(), metadata=bearer)
    await registration.add(Wanted(name="console", roles=frozenset({Role.READER}), certificate="localhost"))
    around.forget_callers()
    async with serving(around, **tls) as server:
        async with aio.secure_channel(f"localhost:{server.port}", ours) as channel:
            known = ConnectionServiceStub(channel)
            await known.ListConnections(pb.ListConnectionsRequest())
            with pytest.raises(aio.AioRpcError, match="console may not do this"):
                await known.Connect(pb.ConnectRequest(merchant_id="m-1"))
        async with aio.secure_channel(f"localhost:{server.port}", without) as channel:
            unknown: Any = ConnectionServiceStub(channel)
            with pytest.raises(aio.AioRpcError) as refusal:
                await unknown.ListConnections(pb.ListConnectionsRequest())
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("asks_callers", [False, True])
async def test_a_probe_hears_through_tls_that_the_server_serves(
    around: World, certificate: tuple[Path, Path], *, asks_callers: bool
) -> None:
    cert, key = certificate
    tls: dict[str, Any] = {
        "tls_cert_file": cert,
        "tls_key_file": key,
        "tls_client_ca_file": cert if asks_callers else None,
    }
    token = {} if asks_callers else {"token": "a-secret-token-for-callers"}
    async with serving(around, **tls, **token) as server:
        assert await is_serving(Settings(listen=f"127.0.0.1:{server.port}", **tls))
        assert not await is_serving(Settings(listen=f"127.0.0.1:{server.port}")), "it speaks TLS only"


async def test_a_probe_hears_that_a_server_has_stopped(around: World) -> None:
    async with serving(around) as server:
        asked = Settings(listen=f"0.0.0.0:{server.port}")
        assert await is_serving(asked)
    assert not await is_serving(asked)


async def test_half_of_what_tls_needs_is_refused(around: World, certificate: tuple[Path, Path]) -> None:
    server = RpcServer(around.subjects, Settings(listen="127.0.0.1:0", tls_cert_file=certificate[0]))
    with pytest.raises(ListenError, match="TIEOUT_TLS_KEY_FILE"):
        await server.start()


async def test_a_server_that_stops_sends_watchers_away_at_once(around: World) -> None:
    async with serving(around) as server, aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        connections: Any = ConnectionServiceStub(channel)
        watch = connections.WatchConnections(pb.WatchConnectionsRequest())
        await watch.read()
        await asyncio.wait_for(server.stop(), 5)
        assert (await watch.read()).HasField("heartbeat")
        with pytest.raises(aio.AioRpcError) as refusal:
            await watch.read()
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(refusal.value) == "DRAINING"


async def test_a_sync_is_started_once_and_watched_from_its_state_now(channel: aio.Channel, around: World) -> None:
    started = await around.connections.connect(Connect("m-1"))
    state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
    link = (await around.connections.complete(Return(state, "code"))).link
    syncs: Any = SyncServiceStub(channel)
    first = await syncs.StartSync(sync_service_pb2.StartSyncRequest(connection_id=link.id))
    again = await syncs.StartSync(sync_service_pb2.StartSyncRequest(connection_id=link.id))
    assert (first.joined, again.joined) == (False, True)
    assert first.sync.mode == sync_service_pb2.SYNC_MODE_FULL
    assert first.sync.state == sync_service_pb2.SYNC_STATE_QUEUED
    watch = syncs.WatchSync(sync_service_pb2.WatchSyncRequest(sync_id=first.sync.id))
    now = (await watch.read()).progress
    assert now.sync == first.sync
    assert {line.state for line in now.entities} == {sync_service_pb2.ENTITY_STATE_PENDING}
    ended = await syncs.CancelSync(sync_service_pb2.CancelSyncRequest(sync_id=first.sync.id))
    assert (await watch.read()).progress.sync == ended.sync
    assert await watch.read() is aio.EOF
    listed = await syncs.ListSyncs(sync_service_pb2.ListSyncsRequest(connection_id=link.id))
    assert list(listed.syncs) == [ended.sync]


async def test_freshness_tells_of_every_entity(channel: aio.Channel, around: World) -> None:
    started = await around.connections.connect(Connect("m-1"))
    syncs: Any = SyncServiceStub(channel)
    found = await syncs.GetFreshness(sync_service_pb2.GetFreshnessRequest(connection_id=started.link.id))
    assert len(found.entities) == 7
    assert found.calls.left_this_minute == 60
    assert not found.calls.HasField("left_today")
