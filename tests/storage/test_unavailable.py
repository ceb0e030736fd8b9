"""What says that the database cannot be used now, and what is still a fault of a statement."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from databases import add_connection
from tieout_server.errors import NotFoundError, StorageUnavailableError
from tieout_server.storage import database as databases
from tieout_server.storage import postgresql
from tieout_server.storage.database import Database, Transaction

pytestmark = pytest.mark.timeout(60)

BREAK = text("SELECT pg_terminate_backend(pg_backend_pid())")
OTHERS = text(
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Database]:
    opened = Database(postgres_url)
    yield opened
    await opened.close()


async def test_nothing_listens_at_its_address() -> None:
    nowhere = Database("postgresql://127.0.0.1:1/nowhere")
    for open_it in (nowhere.read, nowhere.write):
        with pytest.raises(StorageUnavailableError) as refused:
            async with open_it():
                pass
        assert "127.0.0.1" in refused.value.why
        assert "127.0.0.1" not in refused.value.sentence
    await nowhere.close()


async def test_the_connection_breaks_in_the_middle_and_the_next_one_is_good(postgres: Database) -> None:
    with pytest.raises(StorageUnavailableError):
        async with postgres.write() as tx:
            await tx.execute(BREAK)
    async with postgres.read() as tx:
        assert (await tx.execute(text("SELECT 1"))).scalar_one() == 1


async def test_connections_that_were_ended_at_rest_are_replaced_before_anybody_notices(postgres: Database) -> None:
    async with postgres.read(), postgres.read(), postgres.read():
        pass
    other = Database(postgres.url)
    async with other.write() as tx:
        await tx.execute(OTHERS)  # and wait until they are gone
    await other.close()
    await asyncio.gather(*(_look(postgres) for _ in range(6)))


async def _look(database: Database) -> None:
    async with database.read() as tx:
        await tx.execute(text("SELECT 1"))


async def test_a_connection_at_rest_is_not_asked_whether_it_lives(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    await _look(postgres)
    monkeypatch.setattr(postgres._engine.dialect, "do_ping", asked.append)
    await _look(postgres)
    assert asked == []


async def test_connections_break_one_after_the_other_as_soon_as_they_are_opened(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_connection: object) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as broken:
        broken.setattr(postgresql, "_has_spoken", lambda _socket: True)
        broken.setattr(postgres._engine.dialect, "do_ping", breaks)
        with pytest.raises(StorageUnavailableError, match="cannot be used"):
            await _look(postgres)
    await _look(postgres)


async def test_no_connection_comes_free_in_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "FREE_WITHIN", 0.05)
    narrow = Database(database.url, pool_size=1)
    async with narrow.read():
        with pytest.raises(StorageUnavailableError, match="cannot be used"):
            async with narrow.read():
                pass
    async with narrow.read():
        pass
    await narrow.close()


async def test_of_two_transactions_that_wait_for_each_other_one_is_told_to_come_again(postgres: Database) -> None:
    for name in ("con_1", "con_2"):
        await add_connection(postgres, name)
    both = asyncio.Barrier(2)

    async def lock(tx: Transaction, name: str) -> None:
        await tx.execute(text("SELECT 1 FROM connections WHERE id = :name FOR UPDATE"), {"name": name})

    async def cross(first: str, second: str) -> bool:
        with contextlib.suppress(StorageUnavailableError):
            async with postgres.write() as tx:
                await lock(tx, first)
                async with asyncio.timeout(10):
                    await both.wait()
                await lock(tx, second)
            return True
        return False

    done = await asyncio.gather(cross("con_1", "con_2"), cross("con_2", "con_1"))
    assert sorted(done) == [False, True]


@pytest.mark.parametrize(
    "state", ["08006", "53100", "53300", "57P01", "57P02", "57P03", "58030", "40001", "55P03", "25006"]
)
async def test_postgresql_says_that_it_cannot_now(postgres: Database, state: str) -> None:
    with pytest.raises(StorageUnavailableError):
        async with postgres.write() as tx:
            await tx.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"))


async def test_sqlite_is_locked_by_somebody_else_for_too_long(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    async with database.write() as tx:  # over the one connection that writes
        await tx.execute(text("PRAGMA busy_timeout=10"))
    with contextlib.closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailableError) as refused:
            async with database.write() as tx:
                await tx.execute(text("SELECT 1"))
    assert "locked" in refused.value.why
    async with database.write() as tx:
        await tx.execute(text("SELECT 1"))
    await database.close()


async def test_sqlites_disk_is_full(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    async with database.write() as tx:  # the limit is one of the connection that writes
        pages = (await tx.execute(text("PRAGMA page_count"))).scalar_one()
        await tx.execute(text(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(StorageUnavailableError, match="cannot be used") as refused:
        async with database.write() as tx:
            await tx.execute(text("CREATE TABLE large AS SELECT randomblob(1000000) AS filler"))
    assert "full" in refused.value.why
    await database.close()


async def test_what_is_wrong_with_a_statement_stays_a_fault(database: Database) -> None:
    await add_connection(database, "con_1")
    with pytest.raises(IntegrityError):
        async with database.write() as tx:
            await tx.execute(text("INSERT INTO connections SELECT * FROM connections"))
    with pytest.raises(DBAPIError):
        async with database.read() as tx:
            await tx.execute(text("SELECT nothing FROM nowhere"))


async def test_what_the_caller_raises_passes_as_it_is(database: Database) -> None:
    with pytest.raises(NotFoundError):
        async with database.write():
            raise NotFoundError("connection", "con_0")
