"""`desk` is where callers hand over payments, on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator

import pytest_asyncio

from handing_over import Desk
from tieout_server.storage.database import Database


@pytest_asyncio.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """Where payments are handed over for a connected organisation; nothing is sent."""
    async with Desk.open(database) as opened:
        yield opened
