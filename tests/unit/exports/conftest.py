"""What callers hand over is kept alike on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator

import pytest_asyncio

from databases import (
    database,
    database_url,
    migrated_postgres_url,
    postgres_server,
    postgres_url,
    sqlite_template,
    sqlite_url,
)
from handing_over import Desk
from tieout_server.storage.database import Database

__all__ = [
    "database",
    "database_url",
    "migrated_postgres_url",
    "postgres_server",
    "postgres_url",
    "sqlite_template",
    "sqlite_url",
]


@pytest_asyncio.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """Where payments are handed over for a connected organisation; nothing is sent."""
    async with Desk.open(database) as opened:
        yield opened
