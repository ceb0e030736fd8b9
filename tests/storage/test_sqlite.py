"""SQLite as it is opened here: what a transaction is, how few turns it takes, and what a failure leaves."""

import asyncio
import contextlib
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from tieout_server.storage import sqlite
from tieout_server.storage.database import POOL_SIZE, Database
from tieout_server.storage.sqlite import AT_ONCE, OneTurnConnection

INSERT = text("INSERT INTO counted (number) VALUES (:number)")
COUNT = text("SELECT count(*) FROM counted")
ALL = text("SELECT number FROM counted ORDER BY number")
MANY = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many) SELECT i FROM n")


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    async with contextlib.aclosing(Database(sqlite_url)) as database:
        async with database.write() as tx:
            await tx.execute(text("CREATE TABLE counted (number INTEGER PRIMARY KEY)"))
        yield database


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the driver's threads are asked for from now on."""
    asked: list[str] = []
    execute = OneTurnConnection._execute

    async def counted(self: OneTurnConnection, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as it is
        asked.append(getattr(call, "__name__", ""))
        return await execute(self, call, *arguments, **named)

    monkeypatch.setattr(OneTurnConnection, "_execute", counted)
    return asked


async def count(database: Database) -> int:
    async with database.read() as tx:
        return int((await tx.execute(COUNT)).scalar_one())


async def test_nobody_else_on_the_machine_may_read_its_files(tmp_path: Path) -> None:
    async with contextlib.aclosing(Database(f"sqlite:///{tmp_path}/new.db")) as database, database.write() as tx:
        await tx.execute(text("CREATE TABLE counted (number INTEGER PRIMARY KEY)"))
        assert modes_in(tmp_path) == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}


def modes_in(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_each_statement_that_writes_is_one_turn_and_so_is_the_end(database: Database, turns: list[str]) -> None:
    async with database.write() as tx:
        await tx.execute(INSERT, {"number": 1})
        await tx.execute(INSERT, [{"number": 2}, {"number": 3}])
        assert (await tx.execute(COUNT)).scalar_one() == 3
    assert len(turns) == 4


async def test_what_is_read_within_a_moment_takes_no_turn(database: Database, turns: list[str]) -> None:
    assert await count(database) == 0
    turns.clear()  # those of opening a connection
    assert await count(database) == 0
    assert not turns


@pytest.mark.parametrize("rounds", [0, 1, 2])
async def test_wherever_a_read_is_broken_off_the_thread_does_all_of_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """SQLite counts over all uses of a statement, so that sooner or later it looks up at each instruction of each."""
    monkeypatch.setattr(sqlite, "ROUND", 7)
    monkeypatch.setattr(sqlite, "ROUNDS", rounds)
    for number in range(1, 40):
        async with database.write() as tx:
            await tx.execute(INSERT, {"number": number})
        async with database.read() as tx:
            assert (await tx.execute(ALL)).scalars().all() == list(range(1, number + 1))
            assert (await tx.execute(COUNT)).scalar_one() == number


async def test_what_takes_longer_keeps_nobody_waiting(database: Database, turns: list[str]) -> None:
    last = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many) SELECT max(i) FROM n")
    async with database.read() as tx:
        assert (await tx.execute(last, {"many": 10})).scalar_one() == 10
        turns.clear()
        reading = asyncio.create_task(tx.execute(last, {"many": 300_000}))
        while not turns:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)
        assert not reading.done()
        assert (await reading).scalar_one() == 300_000
        assert len(turns) == 1
        assert (await tx.execute(last, {"many": 10})).scalar_one() == 10  # of the same transaction, which goes on
        assert len(turns) == 1


async def test_a_read_that_is_cancelled_in_its_thread_is_over_before_the_next(database: Database) -> None:
    endless = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500000) SELECT max(i) FROM n")

    async def read() -> None:
        async with database.read() as tx:
            await tx.execute(endless)

    for _ in range(POOL_SIZE):  # every connection has had one
        task = asyncio.create_task(read())
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(POOL_SIZE):
            tx = await stack.enter_async_context(database.read())
            assert (await tx.execute(COUNT)).scalar_one() == 0


async def test_a_transaction_without_a_statement_is_none(database: Database, turns: list[str]) -> None:
    async with database.write():
        pass
    with pytest.raises(ZeroDivisionError):
        async with database.write():
            raise ZeroDivisionError
    assert turns == []


async def test_a_read_sees_one_state(database: Database) -> None:
    async with database.read() as tx:
        assert (await tx.execute(COUNT)).scalar_one() == 0
        async with database.write() as writing:
            await writing.execute(INSERT, {"number": 1})
        assert (await tx.execute(COUNT)).scalar_one() == 0
    assert await count(database) == 1


@pytest.mark.parametrize("many", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
async def test_all_rows_come_however_many(database: Database, many: int) -> None:
    async with database.read() as tx:
        assert (await tx.execute(MANY, {"many": many})).scalars().all() == list(range(1, many + 1))
        streamed = await tx.stream(MANY, {"many": many})
        assert [row[0] async for row in streamed] == list(range(1, many + 1))
        parts = [len(part) async for part in (await tx.stream(MANY, {"many": many})).partitions(700)]
        assert sum(parts) == many
        assert set(parts[:-1]) <= {700}


async def test_rows_that_nobody_reads_keep_nobody_waiting(database: Database) -> None:
    async with database.read() as tx:
        assert (await tx.execute(MANY, {"many": 3 * AT_ONCE})).first() is not None
        streamed = await tx.stream(MANY, {"many": 3 * AT_ONCE})
        async for row in streamed:
            assert row[0] == 1
            break
        await streamed.close()
    async with database.write() as tx:
        await tx.execute(text("DROP TABLE counted"))  # refused while anybody reads


async def test_it_tells_how_many_rows_were_changed(database: Database) -> None:
    many = 2 * AT_ONCE
    async with database.write() as tx:
        assert (await tx.execute(INSERT, [{"number": number} for number in range(many)])).rowcount == many
        assert (await tx.execute(text("UPDATE counted SET number = number + 10000"))).rowcount == many
        returned = await tx.execute(text("DELETE FROM counted RETURNING number"))
        assert len(returned.all()) == many


async def test_a_failure_undoes_what_came_before_it(database: Database) -> None:
    async def write() -> None:
        async with database.write() as tx:
            await tx.execute(INSERT, {"number": 1})
            await tx.execute(INSERT, [{"number": 2}, {"number": 1}])

    with pytest.raises(IntegrityError):
        await write()
    assert await count(database) == 0


async def test_what_cannot_begin_is_never_done_outside_a_transaction(database: Database) -> None:
    async def write(other: sqlite3.Connection) -> None:
        async with database.write() as tx:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OperationalError, match="locked"):
                await tx.execute(INSERT, {"number": 1})
            other.execute("ROLLBACK")
            await tx.execute(INSERT, {"number": 2})
            raise ZeroDivisionError

    async with database.write() as tx:  # over the one connection that writes
        await tx.execute(text("PRAGMA busy_timeout=10"))
    with (
        contextlib.closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as other,
        pytest.raises(ZeroDivisionError),
    ):
        await write(other)
    assert await count(database) == 0


async def test_nothing_is_done_in_a_transaction_that_sqlite_has_ended(database: Database) -> None:
    async def write() -> None:
        async with database.write() as tx:
            await tx.execute(INSERT, {"number": 1})
            await tx.execute(text("ROLLBACK"))  # as a full disk does
            await tx.execute(INSERT, {"number": 2})

    with pytest.raises(OperationalError, match="is over"):
        await write()
    assert await count(database) == 0


async def test_nothing_is_read_in_a_transaction_that_sqlite_has_ended(database: Database) -> None:
    async def read() -> None:
        async with database.read() as tx:
            await tx.execute(COUNT)
            await tx.execute(text("ROLLBACK"))  # as a disk that cannot be read does
            await tx.execute(COUNT)

    with pytest.raises(OperationalError, match="is over"):
        await read()


@pytest.mark.parametrize("turns_before", range(6))
async def test_a_transaction_that_is_cancelled_anywhere_leaves_nothing(database: Database, turns_before: int) -> None:
    async def write() -> None:
        async with database.write() as tx:
            await tx.execute(INSERT, {"number": 1})
            await tx.execute(INSERT, {"number": 2})
            await asyncio.sleep(60)

    task = asyncio.create_task(write())
    for _ in range(turns_before):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), database.write() as tx:
        await tx.execute(INSERT, {"number": 3})
    async with database.read() as tx:
        assert (await tx.execute(ALL)).scalars().all() == [3]
    assert database.connections()[0] == 0
