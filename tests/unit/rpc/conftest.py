"""A real server on a port of its own, and a channel to it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from grpc import aio

from fakes import World, serving
from tieout.v1.connection_service_pb2_grpc import ConnectionServiceStub


@pytest_asyncio.fixture
async def channel(around: World) -> AsyncIterator[aio.Channel]:
    async with serving(around) as server, aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened


@pytest_asyncio.fixture
async def connections(channel: aio.Channel) -> Any:  # noqa: ANN401 - the asyncio stub is a type of its stubs only
    return ConnectionServiceStub(channel)
