"""Fixtures of the guarantees: databases of both kinds, and a sandbox that really listens."""

from collections.abc import AsyncIterator

import pytest

from databases import (
    database_url,
    fresh_database,
    migrated_postgres_url,
    postgres_server,
    postgres_url,
    sqlite_template,
    sqlite_url,
)
from servers import SMALL
from tieout_sandbox import Sandbox, serve

__all__ = [
    "database_url",
    "fresh_database",
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
