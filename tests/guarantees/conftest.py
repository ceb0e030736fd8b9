"""Fixtures of the guarantees: a sandbox that really listens, and services that several tests share."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from merchants import Market, open_market, open_sandbox
from servers import SMALL
from tieout_sandbox import Sandbox, serve


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox with small books, with Xero's own limits."""
    async with serve(SMALL) as running:
        yield running


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One loop for all examples of a module: Hypothesis calls no coroutines."""
    with asyncio.Runner() as runner:
        yield runner


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _lasting_market(lasting_database_url: str) -> AsyncIterator[Market]:
    """One running service on each kind of database for all tests of a module; each has a merchant of its own there."""
    async with open_sandbox(organisations=40) as sandbox, open_market(sandbox, lasting_database_url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def market(_lasting_market: Market) -> AsyncIterator[Market]:
    """That service; in the end nothing more is done for the merchants of this test while others leap through time."""
    yield _lasting_market
    await _lasting_market.close_down()
