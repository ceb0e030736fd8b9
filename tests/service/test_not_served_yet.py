"""Calls whose version has not come yet say so in a sentence, as a typed error of the client."""

from collections.abc import AsyncIterator

import pytest

from servers import Service, service
from tieout import errors
from tieout.v1.payment_export_service_pb2 import DESCRIPTOR as EXPORTS
from tieout_sandbox import Sandbox

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def running(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Service]:
    async with service(sandbox, sqlite_url) as made:
        yield made


async def test_every_method_of_the_services_to_come_says_so(running: Service) -> None:
    channel = running.client._channel
    for service_ in EXPORTS.services_by_name.values():
        for method in service_.methods:
            with pytest.raises(errors.NotServedYetError) as refusal:
                await _call(channel, f"/{service_.full_name}/{method.name}")
            assert refusal.value.code == "UNIMPLEMENTED"
            assert refusal.value.metadata["method"] == method.name
            assert "later" in refusal.value.sentence


async def _call(channel: object, path: str) -> None:
    """An empty request to any method; whatever the answer's arity is, a refusal comes the same way."""
    from grpc.aio import AioRpcError  # noqa: PLC0415 - the client hides it from everybody else

    from tieout.wire import typed  # noqa: PLC0415 - likewise

    try:
        await channel.unary_unary(path)(b"")  # type: ignore[attr-defined] # a channel of grpc's
    except AioRpcError as error:
        raise typed(error) from error
