"""A call has a name, which its caller may give it, and its lines, its count and its errors say so."""

import json
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog
from grpc import aio

from fakes import World, serving
from servers import until
from tieout import Client
from tieout.errors import NotFoundError
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1.connection_service_pb2_grpc import ConnectionServiceStub
from tieout_server import measures
from tieout_server.rpc.access import NEEDS

GET = "tieout.v1.ConnectionService/GetConnection"
WATCH = "tieout.v1.ConnectionService/WatchConnections"


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Every line that is logged, as it would be written."""
    told: list[dict[str, Any]] = []

    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        told.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep], cache_logger_on_first_use=False)
    yield told
    structlog.configure(**before)


async def ended(channel: aio.Channel, connection_id: str, *metadata: tuple[str, str]) -> dict[str, str]:
    """The metadata at the end of a call that finds nothing."""
    connections: Any = ConnectionServiceStub(channel)
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.GetConnection(pb.GetConnectionRequest(connection_id=connection_id), metadata=metadata)
    return dict(refusal.value.trailing_metadata())


def value(name: str, **labels: str) -> float:
    return measures.REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_caller_names_its_call_and_finds_the_name_in_the_answer_and_the_log(
    channel: aio.Channel, lines: list[dict[str, Any]]
) -> None:
    metadata = await ended(channel, "con_1", ("x-request-id", "7f3e-abc"))
    assert metadata["x-request-id"] == "7f3e-abc"
    assert "grpc-status-details-bin" in metadata
    [line] = [line for line in lines if line["event"] == "call"]
    assert (line["request_id"], line["connection_id"], line["status"]) == ("7f3e-abc", "con_1", "NOT_FOUND")


async def test_an_answer_that_is_good_names_the_call_too(channel: aio.Channel) -> None:
    connections: Any = ConnectionServiceStub(channel)
    call = connections.ListConnections(pb.ListConnectionsRequest(), metadata=(("x-request-id", "mine"),))
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "mine"


async def test_the_client_says_how_a_failed_call_is_named(around: World) -> None:
    async with serving(around) as server, Client(f"127.0.0.1:{server.port}") as client:
        with pytest.raises(NotFoundError) as refusal:
            await client.connections.get("con_1")
        assert len(refusal.value.call_id) == 16


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'say "hi"', "one,two"])
async def test_a_name_that_could_do_harm_is_replaced(channel: aio.Channel, given: str) -> None:
    name = (await ended(channel, "con_1", ("x-request-id", given)))["x-request-id"]
    assert name != given
    assert len(name) == 16


async def test_what_is_no_id_does_not_come_into_the_log(channel: aio.Channel, lines: list[dict[str, Any]]) -> None:
    await ended(channel, "con_1 status=OK forged=yes")
    assert "forged" not in json.dumps(lines)


async def test_calls_are_counted_by_method_and_status(channel: aio.Channel) -> None:
    labels = {"method": GET, "status": "NOT_FOUND"}
    before, timed = value("tieout_rpc_total", **labels), value("tieout_rpc_seconds_count", method=GET)
    await ended(channel, "con_1")
    assert value("tieout_rpc_total", **labels) == before + 1
    assert value("tieout_rpc_seconds_count", method=GET) == timed + 1


@pytest.mark.usefixtures("channel")
async def test_faults_are_counted_from_none_so_that_the_first_one_is_an_increase() -> None:
    counted = [
        measures.REGISTRY.get_sample_value("tieout_rpc_total", {"method": it[1:], "status": "INTERNAL"}) for it in NEEDS
    ]
    assert None not in counted


async def test_a_stream_is_open_until_it_ends_and_its_time_is_no_latency(channel: aio.Channel, around: World) -> None:
    connections: Any = ConnectionServiceStub(channel)
    open_before = value("tieout_rpc_streams_open", method=WATCH)
    watch = connections.WatchConnections(pb.WatchConnectionsRequest())
    await watch.read()
    assert value("tieout_rpc_streams_open", method=WATCH) == open_before + 1
    around.subjects.feed.drain()
    await watch.read()  # the last heartbeat
    with pytest.raises(aio.AioRpcError):
        await watch.read()
    await until(lambda: value("tieout_rpc_streams_open", method=WATCH) == open_before)  # the caller hears of it first
    assert value("tieout_rpc_seconds_count", method=WATCH) == 0
