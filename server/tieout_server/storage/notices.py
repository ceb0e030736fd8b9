"""What processes on one PostgreSQL tell each other at a commit, so that nobody has to ask all the time.

A notice wakes; what happened is in the tables. It may be lost, doubled or late: whoever listens looks by itself, too,
if seldom. One connection per process listens. On SQLite there is one process, and nobody to tell.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.engine import URL

from tieout_server import log
from tieout_server.storage.database import Database, DatabaseUrlError, Transaction, parse_url

if TYPE_CHECKING:
    from psycopg import AsyncConnection

logger = log.get("storage")

Callback = Callable[[str | None], None]
"""Hears what was told; None means that anything may have happened, because for a while nothing could be heard."""

SETTING = "TIEOUT_DATABASE_LISTEN_URL"
SELDOM = 3.0
"""How many times as seldom a table is looked at while notices are heard: then only a lost one is to be made up for."""
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds before the database is tried again while it is away."""


def telling(channel: str, payload: ColumnElement[str] | str = "") -> ColumnElement[None]:
    """What tells this when it is part of a statement on PostgreSQL, for example of its RETURNING."""
    return func.pg_notify(channel, payload)


async def notify(tx: Transaction, channel: str, payload: str = "") -> None:
    """Tell every process when this transaction has committed; told twice, it is heard once. Nothing on SQLite."""
    if tx.dialect.name == "postgresql":
        await tx.execute(select(telling(channel, payload)))


class Notices:
    """What this process hears. Say who listens, then run it once per process."""

    def __init__(self, database: Database, listen_url: str = "") -> None:
        """`listen_url` leads to the same database without a pooler, where the database's own URL goes through one.

        Raises:
            DatabaseUrlError: it is no URL of PostgreSQL, or the database is SQLite.
        """
        self._url = _listen_url(database, listen_url)
        self._callbacks: dict[str, list[Callback]] = {}
        self.is_heard = False
        """Whether notices come in at this moment, so that looking seldom is enough."""

    def patience(self, seconds: float) -> float:
        """How long to wait until a table is looked at that is looked at this often where no notices are heard."""
        return seconds * SELDOM if self.is_heard else seconds

    def listen(self, channel: str, callback: Callback) -> None:
        """Have this called, on the event loop, with what is told on this channel; before `run`."""
        self._callbacks.setdefault(channel, []).append(callback)

    async def run(self) -> None:
        """Listen until cancelled, whatever becomes of the database meanwhile."""
        if self._url is None:
            await _for_ever()
            return
        from psycopg import Error  # noqa: PLC0415 - 0.1 s at each start that SQLite does without

        failures = 0
        while True:
            try:
                async with self._connection(self._url) as connection:
                    if failures:
                        logger.info("notices are heard again")
                    failures = 0
                    await self._hear(connection)
            except _PooledError as pooled:
                logger.warning("no notices: the tables are looked at each second", why=str(pooled), setting=SETTING)
                await _for_ever()
            except Error as trouble:
                if not failures:
                    logger.warning("no notices for now: the database is away", why=_words(trouble))
                failures += 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 10))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come back at once

    @asynccontextmanager
    async def _connection(self, url: URL) -> "AsyncIterator[AsyncConnection[Any]]":
        """A connection that listens to every channel.

        Raises:
            _PooledError: it would not: notices go to the backend that listens, and that one would change.
        """
        from psycopg import AsyncConnection, sql  # noqa: PLC0415 - see `run`

        from tieout_server.storage.postgresql import BACKEND, connect_arguments  # noqa: PLC0415 - likewise

        _, where = url.get_dialect()().create_connect_args(url)
        opening = AsyncConnection.connect(autocommit=True, **where, **connect_arguments(url))
        async with await opening as connection:
            (backend,) = await (await connection.execute(BACKEND)).fetchone() or (None,)
            if backend != connection.info.backend_pid:
                raise _PooledError("a pooler stands between; give a URL that leads to PostgreSQL itself")
            for channel in self._callbacks:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            try:
                self.is_heard = True
                yield connection
            finally:
                self.is_heard = False

    async def _hear(self, connection: "AsyncConnection[Any]") -> None:
        for callbacks in self._callbacks.values():
            for callback in callbacks:
                callback(None)
        async for notice in connection.notifies():
            for callback in self._callbacks.get(notice.channel, ()):
                callback(notice.payload)


class _PooledError(Exception):
    """A pooler answers in the name of PostgreSQL."""


def _listen_url(database: Database, listen_url: str) -> URL | None:
    if not listen_url:
        return None if database.is_sqlite else database.url
    url = parse_url(listen_url, setting=SETTING)
    if database.is_sqlite or url.get_backend_name() != "postgresql":
        raise DatabaseUrlError(f"{SETTING} leads to the PostgreSQL of TIEOUT_DATABASE_URL, without a pooler between.")
    return url


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def _words(trouble: Exception) -> str:
    return str(trouble).strip().partition("\n")[0]
