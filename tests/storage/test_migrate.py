"""Migrations bring any database to the tables that the code works with."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from databases import METADATA
from tieout_server.storage import migrate
from tieout_server.storage.database import Database


@pytest_asyncio.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Database]:
    opened = Database(empty_database_url)
    yield opened
    await opened.close()


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, METADATA))


async def test_migrations_and_tables_agree(database: Database) -> None:
    async with database.read() as tx:
        assert await tx.run_sync(_differences) == []


async def test_keys_and_cascades_are_those_of_the_tables(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("compare_metadata sees them on PostgreSQL")
    async with database.read() as tx:
        made = {row[0]: row[1] for row in await tx.execute(text("SELECT name, sql FROM sqlite_master"))}
    for table in METADATA.sorted_tables:
        assert ("WITHOUT ROWID" in made[table.name]) is (table.dialect_options["sqlite"]["with_rowid"] is False)
        keys = ", ".join(column.name for column in table.primary_key.columns)
        assert f"PRIMARY KEY ({keys})" in made[table.name]
        assert sorted(re.findall(r"ON DELETE (CASCADE|SET NULL)", made[table.name])) == sorted(
            str(key.ondelete) for key in table.foreign_key_constraints
        )


async def test_an_empty_database_has_no_revision_and_gets_the_newest(empty: Database) -> None:
    assert await migrate.current(empty) is None
    await migrate.upgrade(empty)
    assert await migrate.current(empty) == migrate.head()


async def test_a_second_upgrade_changes_nothing(database: Database) -> None:
    await migrate.upgrade(database)
    assert await migrate.current(database) == migrate.head()


async def test_two_processes_that_start_together_migrate_once(empty: Database, empty_database_url: str) -> None:
    other = Database(empty_database_url)
    try:
        await asyncio.gather(migrate.upgrade(empty), migrate.upgrade(other))
    finally:
        await other.close()
    assert await migrate.current(empty) == migrate.head()


async def test_a_database_of_a_later_version_is_refused_and_left_alone(empty: Database) -> None:
    await migrate.upgrade(empty)
    async with empty.write() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await tx.execute(text("UPDATE compatibility SET oldest = '9998'"))
    with pytest.raises(migrate.DatabaseTooNewError, match=re.escape("revision 9999")):
        await migrate.upgrade(empty)
    with pytest.raises(migrate.DatabaseTooNewError, match="knows revision 9998"):
        await migrate.check_fits(empty)
    assert await migrate.current(empty) == "9999"


async def test_sqlite_finds_the_documents_of_a_contact_by_their_index(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    async with database.read() as tx:
        query = "SELECT due FROM invoices WHERE connection_id = 'x' AND xero_contact_id = 'y'"
        (plan,) = await tx.execute(text(f"EXPLAIN QUERY PLAN {query}"))
    await database.close()
    assert "ix_invoices_connection_id_xero_contact_id (connection_id=? AND xero_contact_id=?)" in plan.detail


def test_the_revision_that_the_program_needs_is_the_newest_migration() -> None:
    assert migrate.head() == migrate.HEAD


async def test_a_database_that_was_not_migrated_is_refused_with_what_to_do(empty: Database) -> None:
    with pytest.raises(migrate.DatabaseNotMigratedError, match="tieout-server migrate"):
        await migrate.check_fits(empty)
    await migrate.upgrade(empty)
    await migrate.check_fits(empty)


async def test_a_database_that_is_ahead_by_what_only_adds_is_worked_with(empty: Database) -> None:
    await migrate.upgrade(empty)
    async with empty.write() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await migrate.check_fits(empty)
    assert await migrate.upgrade(empty) == []
    assert await migrate.current(empty) == "9999"
