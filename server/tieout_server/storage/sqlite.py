"""SQLite as this project opens it: transactional as SQL says, and with as little to and fro between threads as can be.

Left to themselves, aiosqlite and SQLAlchemy hand each statement to a thread four times (a cursor, the statement, its
rows, the cursor's end), BEGIN three times more, and a rollback after each commit. Each time two threads wake up, which
costs more than most statements. Here a statement with its rows is one turn of the thread, which begins the transaction,
too; and a read that is over within a millisecond, as most are, is done at once, on the event loop.
"""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite
import msgspec
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_PRAGMAS = (
    "PRAGMA busy_timeout=10000",  # another process (a backup, the migrate command) may hold the file for a moment
    "PRAGMA page_size=8192",  # for a new file: a tenth less CPU in a first sync than 4,096
    "PRAGMA journal_mode=WAL",  # readers never wait for the writer
    "PRAGMA foreign_keys=ON",
    "PRAGMA wal_autocheckpoint=4000",  # 32 MB: a page that changes often is copied to the file less often
    "PRAGMA temp_store=MEMORY",
)
T = TypeVar("T")
_Executes = Callable[[sqlite3.Connection], T]

AT_ONCE = 1_000
"""Rows at most that come with their statement; of most there are fewer, and nothing is left to be fetched."""
ROUND, ROUNDS = 1_000, 10
"""Instructions of SQLite's machine, less than a millisecond in all: what can be read with so many is read at once.
SQLite looks up after each round, counted over all that a prepared statement ever did: the first may be a short one."""


class _Beginning(msgspec.Struct):
    """How a transaction begins. Whoever executes its first statement does it, and knows whether it is done."""

    statements: tuple[str, ...]
    is_of_a_read: bool
    is_done: bool = False


class OneTurnConnection(aiosqlite.Connection):
    """A connection that begins a transaction together with its first statement, and reads a little at once."""

    _beginning: _Beginning | None = None
    _is_used = False
    """Whether there may be a transaction to end: asking the driver would be too early while a statement runs."""
    _asked = _answered = 0
    """Turns that the thread was asked for, and that are over. Each is counted by one thread only."""

    def begin_with(self, *statements: str, is_read: bool) -> None:
        """Execute these before the next statement. Should one fail, so does that one, and whatever comes next, too."""
        self._beginning = _Beginning(statements, is_read)

    async def execute_by(self, call: _Executes[T]) -> T:
        """Execute by this within the transaction that was asked for.

        A statement whose caller is cancelled is executed all the same: within its own transaction, which is rolled
        back after it, whatever this connection is asked for meanwhile.
        """
        self._is_used = True
        if self._reads_alone():
            await asyncio.sleep(0)  # whoever reads much lets others have their turns
            self._begin(self._beginning)  # not to be broken off: nobody would know whether it has begun
            try:
                return self._briefly(call)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise
        return await self._turn(self._within, self._beginning, call)

    async def fetch_by(self, call: Callable[[], T]) -> T:
        """Have the thread call this."""
        return await self._turn(call)

    def cursor(self) -> "OneTurnCursor":  # type: ignore[override] # SQLAlchemy enters it; nobody awaits it
        """For one statement."""
        return OneTurnCursor(self)

    async def commit(self) -> None:
        """End the transaction; without a statement it has never begun."""
        await self._end(sqlite3.Connection.commit)

    async def rollback(self) -> None:
        """Likewise; SQLAlchemy asks for it after each commit, too."""
        await self._end(sqlite3.Connection.rollback)

    async def _end(self, how: Callable[[sqlite3.Connection], None]) -> None:
        is_at_once, self._beginning = self._reads_alone(), None
        if not self._is_used:
            return
        if is_at_once:
            how(self._conn)
        else:
            await self._turn(how, self._conn)
        self._is_used = False

    def _reads_alone(self) -> bool:
        """Whether this is a read, and nothing goes on in the thread, as something does that was cancelled."""
        is_read = self._beginning is not None and self._beginning.is_of_a_read
        return is_read and self._asked == self._answered

    def _briefly(self, call: _Executes[T]) -> T:
        """Raises SQLITE_INTERRUPT where it takes longer; of a read that ends nothing but the statement."""
        rounds = itertools.count(1)
        self._conn.set_progress_handler(lambda: next(rounds) > ROUNDS, ROUND)
        try:
            return call(self._conn)
        finally:
            self._conn.set_progress_handler(None, 0)

    def _within(self, beginning: _Beginning | None, call: _Executes[T]) -> T:
        self._begin(beginning)
        return call(self._conn)

    def _begin(self, beginning: _Beginning | None) -> None:
        if beginning is not None and not beginning.is_done:
            for statement in beginning.statements:
                self._conn.execute(statement)
            beginning.is_done = True
        elif beginning is not None and not self._conn.in_transaction:  # a full disk ends it by itself (SQLite)
            raise sqlite3.OperationalError("the transaction is over: something before this has failed")

    async def _turn(self, call: Callable[..., T], *arguments: object) -> T:
        done: T = await self._execute(call, *arguments)
        return done

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as aiosqlite's
        def counted() -> Any:  # noqa: ANN401 - likewise
            try:
                return fn(*args, **kwargs)
            finally:
                self._answered += 1

        self._asked += 1
        return await super()._execute(counted)  # type: ignore[no-untyped-call] # aiosqlite's own


class OneTurnCursor:
    """A statement and its rows, the first of which come with it. To SQLAlchemy it is a cursor of aiosqlite."""

    description: Any = None
    rowcount, lastrowid = -1, None

    def __init__(self, connection: OneTurnConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self._rest: sqlite3.Cursor | None = None

    async def __aenter__(self) -> Self:
        """Nothing is opened before there is a statement."""
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Execute it, and fetch its first rows."""
        await self._connection.execute_by(partial(self._execute, statement, parameters))

    async def executemany(self, statement: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Execute it with each of these."""
        await self._connection.execute_by(partial(self._execute_many, statement, parameters))

    async def fetchall(self) -> list[Any]:
        """All rows that were not fetched yet."""
        rows, self._rows = self._rows, []
        if self._rest is not None:
            rows += await self._connection.fetch_by(partial(self._fetch_rest, self._rest))
        return rows

    async def fetchmany(self, size: int) -> list[Any]:
        """So many rows, or as many as there are."""
        if self._rest is not None and len(self._rows) < size:
            self._rows += await self._connection.fetch_by(partial(self._rest.fetchmany, max(size, AT_ONCE)))
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def close(self) -> None:
        """Let go of rows that nobody fetched."""
        rest, self._rest = self._rest, None
        if rest is not None:
            await self._connection.fetch_by(rest.close)

    # In the driver's thread

    def _execute(self, statement: str, parameters: Sequence[Any], connection: sqlite3.Connection) -> None:
        cursor = connection.execute(statement, parameters)
        self._rows = cursor.fetchmany(AT_ONCE)
        self._note(cursor)
        if len(self._rows) == AT_ONCE:
            self._rest = cursor
        else:
            cursor.close()

    def _execute_many(
        self, statement: str, parameters: Sequence[Sequence[Any]], connection: sqlite3.Connection
    ) -> None:
        cursor = connection.executemany(statement, parameters)
        self._note(cursor)
        cursor.close()

    def _fetch_rest(self, cursor: sqlite3.Cursor) -> list[Any]:
        rows = cursor.fetchall()
        self._note(cursor)
        self._rest = None
        cursor.close()
        return rows

    def _note(self, cursor: sqlite3.Cursor) -> None:
        self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid


def open_sqlite(url: URL, *, pool_size: int, free_within: float, cache: int) -> AsyncEngine:
    """An engine on this file; each of its connections keeps so many KiB of it."""
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=free_within,
        connect_args={"async_creator_fn": _connect, "isolation_level": None, "check_same_thread": False},
    )
    _prepare(engine.sync_engine, cache)
    return engine


def _connect(file: str, **options: Any) -> OneTurnConnection:  # noqa: ANN401 - whatever sqlite3 takes
    def connect() -> sqlite3.Connection:
        with contextlib.suppress(OSError):  # SQLite says it better
            Path(file).touch(mode=0o600)  # names and balances are nobody else's to read; -wal and -shm are as it is
        opened: sqlite3.Connection = sqlite3.connect(file, **options)
        return opened

    connection = OneTurnConnection(connect, AT_ONCE)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does with those that it opens itself
    return connection


def _prepare(engine: Engine, cache: int) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's adapter has no type
        cursor = dbapi_connection.cursor()
        for pragma in (*_PRAGMAS, f"PRAGMA cache_size=-{cache}"):
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        # A statement whose task was cancelled runs to its end in the driver's thread, and a rollback comes after it.
        # Thrown away instead, as SQLAlchemy would, the connection kept its write lock until it was garbage.
        if isinstance(context.original_exception, asyncio.CancelledError):
            context.is_disconnect = False

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        options, driver = connection.get_execution_options(), connection.connection.driver_connection
        assert isinstance(driver, OneTurnConnection)
        if options.get("write"):
            level = "FULL" if options.get("durable", True) else "NORMAL"
            driver.begin_with(f"PRAGMA synchronous={level}", "BEGIN IMMEDIATE", is_read=False)
        else:
            driver.begin_with("BEGIN", is_read=True)
