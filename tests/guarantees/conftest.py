"""Fixtures of the guarantees: databases of both kinds, and a sandbox that really listens."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from databases import (
    database_url,
    empty_database_url,
    fresh_database,
    lasting_database_url,
    migrated_postgres_url,
    postgres_server,
    postgres_url,
    sqlite_template,
    sqlite_url,
)
from merchants import Market, open_market, open_sandbox
from servers import SMALL
from tieout_sandbox import Sandbox, serve

__all__ = [
    "database_url",
    "empty_database_url",
    "fresh_database",
    "lasting_database_url",
    "market",
    "migrated_postgres_url",
    "postgres_server",
    "postgres_url",
    "sandbox",
    "sqlite_template",
    "sqlite_url",
]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox with small books, with Xero's own limits."""
    async with serve(SMALL) as running:
        yield running


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
