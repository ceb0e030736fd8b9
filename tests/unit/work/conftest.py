"""Fixtures of shared work: two processes on one PostgreSQL."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from places import Place, StillClock, place


@pytest.fixture
def still() -> StillClock:
    """The time of all processes of a test."""
    return StillClock()


@pytest_asyncio.fixture
async def one(postgres_url: str, still: StillClock) -> AsyncIterator[Place]:
    """A process."""
    async with place(postgres_url, still) as running:
        yield running


@pytest_asyncio.fixture
async def two(postgres_url: str, still: StillClock) -> AsyncIterator[Place]:
    """Another one."""
    async with place(postgres_url, still) as running:
        yield running
