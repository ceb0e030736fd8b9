"""A process is ready where the database answers and has the tables of its version, and it is not being stopped."""

from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text

from tieout_server import readiness
from tieout_server.readiness import Readiness
from tieout_server.storage.database import POOL_SIZE, Database
from tieout_server.storage.migrate import HEAD


async def set_revision(database: Database, revision: str) -> None:
    async with database.write() as tx:
        await tx.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")  # noqa: S608 - ours


async def test_a_database_that_was_not_migrated_is_named_with_the_remedy(database: Database) -> None:
    asked = Readiness(database, lambda: False)
    assert await asked.why_not() == ""
    await set_revision(database, "0001")
    try:
        why = await asked.why_not()
    finally:
        await set_revision(database, HEAD)
    assert "0001" in why
    assert "tieout-server migrate" in why


async def test_a_server_that_is_being_stopped_is_not_ready(database: Database) -> None:
    assert "being stopped" in await Readiness(database, lambda: True).why_not()


async def test_a_database_that_hangs_is_not_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "READY_WITHIN", 0.1)
    async with AsyncExitStack() as stack:
        for _ in range(POOL_SIZE):
            await (await stack.enter_async_context(database.read())).execute(text("SELECT 1"))
        assert "in time" in await Readiness(database, lambda: False).why_not()
