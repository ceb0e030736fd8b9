"""What operators and grpcurl ask of a running server: health, readiness, and which services there are."""

from collections.abc import AsyncIterator

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from servers import Service, service
from tieout import Client, errors
from tieout_sandbox import Sandbox

pytestmark = pytest.mark.timeout(60)

SERVICES = {
    f"tieout.v1.{name}Service" for name in ("Connection", "Sync", "Receivables", "Reconciliation", "PaymentExport")
}


@pytest.fixture
async def running(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Service]:
    async with service(sandbox, sqlite_url) as made:
        yield made


async def health(channel: aio.Channel, asked: str) -> int:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer: health_pb2.HealthCheckResponse = await check(health_pb2.HealthCheckRequest(service=asked))
    return answer.status


@pytest.mark.parametrize("asked", ["", *sorted(SERVICES)])
async def test_health_says_that_every_service_serves(running: Service, asked: str) -> None:
    async with aio.insecure_channel(running.target) as channel:
        assert await health(channel, asked) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_five_services(running: Service, version: str) -> None:
    async with aio.insecure_channel(running.target) as channel:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        answers = [each async for each in ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))]
    assert {each.name for each in answers[0].list_services_response.service} >= SERVICES


async def test_the_web_server_says_that_it_is_alive_and_ready(running: Service) -> None:
    for path in ("healthz", "readyz"):
        async with running.browser.http.get(f"http://127.0.0.1:{running.web_port}/{path}") as answer:
            assert answer.status == 200


async def test_a_token_is_asked_of_callers_but_not_of_probes(sandbox: Sandbox, sqlite_url: str) -> None:
    async with service(sandbox, sqlite_url, token="a-secret-token-for-callers") as running:
        assert await running.client.connections.list().first(0) == []
        for token in ("", "wrong"):
            async with Client(running.target, token=token) as stranger:
                with pytest.raises(errors.CallerUnauthenticatedError):
                    await stranger.connections.list().first(0)
        async with aio.insecure_channel(running.target) as channel:
            assert await health(channel, "") == health_pb2.HealthCheckResponse.SERVING
