"""The database: short read and write transactions over SQLite (embedded) or PostgreSQL, and its migrations."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from tieout_server.errors import OperatorMustActError
from tieout_server.storage.sqlite import open_sqlite
from tieout_server.storage.unavailable import told_where_unavailable

Transaction = AsyncConnection
"""An open transaction. Stores take it; whoever opened it commits. It never spans a call to Xero.

Rows are locked in one order, so that no two transactions can wait for each other: the connection, then the work, then
the connection's change counter, then documents, then the sync, then payment exports by their ids; the event counter
last of all."""

POOL_SIZE = 10
"""Connections at most to PostgreSQL, and reading connections to SQLite."""
FREE_WITHIN = 10.0
"""Seconds within which a connection has to come free. Thousands of watchers that come back at once wait for some."""

READERS_CACHE, WRITERS_CACHE = 8_000, 32_000
"""KiB that each connection to SQLite keeps of the file."""


class DatabaseUrlError(OperatorMustActError):
    """A setting names no database that is supported; an operator corrects it."""


def parse_url(url: str | URL, *, setting: str = "TIEOUT_DATABASE_URL") -> URL:
    """The URL of this setting, with the async driver that this project uses.

    Raises:
        DatabaseUrlError: it is no URL, or of neither SQLite nor PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUrlError(f"{setting} is no URL; use sqlite:///path or postgresql://…") from error
    match parsed.get_backend_name():
        case "sqlite":
            return parsed.set(drivername="sqlite+aiosqlite")
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise DatabaseUrlError(f"{setting}: {other!r} is not supported; use sqlite:///path or postgresql://…")


class _Open(msgspec.Struct):
    """A write transaction that has not ended yet."""

    is_durable: bool
    after_commit: list[Callable[[], None]] = []


class Database:
    """Transactions on one database. The same stores run on both kinds; what differs stands here.

    Where it cannot be used at the moment, every transaction raises StorageUnavailableError, wherever it is by then.
    """

    def __init__(self, url: str | URL, *, pool_size: int = POOL_SIZE) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writer = asyncio.Lock()  # SQLite has one writer; waiting here is fair, waiting on its lock is not
        self._open: dict[Transaction, _Open] = {}
        if self.is_sqlite:
            self._engine = open_sqlite(self.url, pool_size=pool_size, free_within=FREE_WITHIN, cache=READERS_CACHE)
            # One connection writes all: its cache stays what the file is.
            self._writing = open_sqlite(self.url, pool_size=1, free_within=FREE_WITHIN, cache=WRITERS_CACHE)
        else:
            self._engine = self._writing = _open_postgresql(self.url, pool_size)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A transaction that sees one state of the database and changes nothing.

        It ends with a commit all the same: after a rollback the driver forgets every statement that it has prepared.
        """
        with told_where_unavailable():
            options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            async with _committing(self._engine, **options) as connection:
                yield connection

    @asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator[Transaction]:
        """A transaction that commits when the block ends and rolls back when it raises.

        With `durable=False` a power cut, or a crash of PostgreSQL, may undo the commit (never half of it): for what is
        read from Xero again anyway. A crash of the process loses nothing either way.
        """
        opened = _Open(durable)
        with told_where_unavailable():
            async with self._begin(opened) as connection:
                self._open[connection] = opened
                try:
                    yield connection
                finally:
                    del self._open[connection]
        for call in opened.after_commit:
            call()

    @asynccontextmanager
    async def _begin(self, opened: _Open) -> AsyncIterator[Transaction]:
        if self.is_sqlite:
            options = {"write": True, "durable": opened.is_durable}
            async with self._writer, _committing(self._writing, **options) as connection:
                yield connection
        else:
            async with _committing(self._engine) as connection:
                yield connection
                if not opened.is_durable:
                    await connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")

    @asynccontextmanager
    async def outside_transactions(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which each statement counts by itself, for what PostgreSQL does in no transaction."""
        with told_where_unavailable():
            async with self._engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    def after_commit(self, tx: Transaction, call: Callable[[], None]) -> None:
        """Call this, on the event loop, once this write transaction has committed; never if it rolls back."""
        self._open[tx].after_commit.append(call)

    def keep(self, tx: Transaction) -> None:
        """Let no crash of PostgreSQL undo this transaction, because others act on it once it has committed.

        On SQLite those are of this process, which a power cut ends as well.
        """
        self._open[tx].is_durable = True

    def connections(self) -> tuple[int, int]:
        """How many connections are in use now, and how many there may be."""
        pools = {engine.pool for engine in (self._engine, self._writing)}
        counted = [pool for pool in pools if isinstance(pool, QueuePool)]
        assert counted, "SQLite in memory, which has another, is not supported"
        return sum(pool.checkedout() for pool in counted), sum(pool.size() for pool in counted)

    async def close(self) -> None:
        """Give all connections back."""
        await self._engine.dispose()
        await self._writing.dispose()

    aclose = close
    """For `contextlib.aclosing`."""


@asynccontextmanager
async def _committing(engine: AsyncEngine, **options: object) -> AsyncIterator[AsyncConnection]:
    """A connection for one transaction, which begins with its first statement and commits when the block ends.

    SQLAlchemy's own blocks take twice as long, most of it for a task in which each connection is given back. Only what
    has to be rolled back first needs one, so that no cancellation breaks that off.
    """
    connection = await engine.connect().start()
    try:
        if options:
            await connection.execution_options(**options)
        yield connection
        await connection.run_sync(_commit_and_close)
    except BaseException:
        await asyncio.shield(asyncio.create_task(connection.close()))
        raise


def _commit_and_close(connection: Connection) -> None:
    connection.commit()
    connection.close()


def _open_postgresql(url: URL, pool_size: int) -> AsyncEngine:
    from tieout_server.storage import postgresql  # noqa: PLC0415 - 0.1 s at each start that SQLite does without

    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=FREE_WITHIN,
        connect_args=postgresql.connect_arguments(url),
    )
    postgresql.prepare(engine.sync_engine)
    return engine
