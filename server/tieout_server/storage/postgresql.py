"""What is particular to PostgreSQL: how it is connected to, and how a connection that has gone is told.

Imported only where PostgreSQL is used: psycopg takes 0.1 s that SQLite does without.
"""

import select
from typing import Any

from psycopg import AsyncServerCursor
from sqlalchemy import Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import InvalidatePoolError

_WORDS: dict[str, Any] = {
    "application_name": "tieout",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""In libpq's words, seconds (the last one milliseconds): a server that vanished is noticed after 25 seconds at most."""


def connect_arguments(url: URL) -> dict[str, Any]:
    """What a connection is made with beside its URL, which goes first."""
    return {word: value for word, value in _WORDS.items() if word not in url.query}


IDLE_AT_MOST = 10_000
"""Milliseconds that a transaction may do nothing. Whoever stands still in the middle of one, stopped or cut off, would
keep its locks, and with them everybody else waiting."""


class CursorOfTransaction(AsyncServerCursor[Any]):
    """A cursor that is gone with its transaction.

    Where a task is cancelled, SQLAlchemy throws its connection away without closing the cursor, and cancelled
    once more its closing is broken off: in both cases PostgreSQL has ended it, and there is nothing to warn of.
    """

    def __del__(self, _warn: object = None, /) -> None:
        """Say nothing."""


def prepare(engine: Engine) -> None:
    """Have connections work behind a pooler, too, and be found broken before they are used, without asking each time.

    SQLAlchemy's own `pool_pre_ping` asks before each transaction, which is a round trip. Here the socket is looked at:
    who closes a connection, or is found dead by TCP's keepalives, leaves something to be read there.
    """

    @event.listens_for(engine, "connect")
    def _on_connect(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's adapter has no type
        connection = dbapi_connection.driver_connection
        connection.server_cursor_factory = CursorOfTransaction
        is_pooled = _is_pooled(dbapi_connection)
        if not is_pooled:  # behind a pooler it would be somebody else's setting; there the role has it
            _ask(dbapi_connection, f"SET idle_in_transaction_session_timeout = {IDLE_AT_MOST}")
        if is_pooled:
            # Statements that were prepared stay behind when a pooler hands the next transaction to another backend.
            connection.prepare_threshold = None

    @event.listens_for(engine, "checkout")
    def _on_checkout(dbapi_connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 - likewise
        if not _has_spoken(dbapi_connection.driver_connection.pgconn.socket):
            return
        try:
            engine.dialect.do_ping(dbapi_connection)
        except engine.dialect.loaded_dbapi.Error as gone:
            raise InvalidatePoolError from gone


def _is_pooled(dbapi_connection: Any) -> bool:  # noqa: ANN401 - the driver's adapter has no type
    """Whether something like PgBouncer stands between: it gives out a process id of its own making."""
    return bool(_ask(dbapi_connection, BACKEND) != dbapi_connection.info.backend_pid)


def _ask(dbapi_connection: Any, statement: str) -> Any:  # noqa: ANN401 - the driver's adapter, and any value
    """Execute this by itself; answers the first value of the first row, if there is one."""
    dbapi_connection.set_autocommit(True)
    cursor = dbapi_connection.cursor()
    cursor.execute(statement)
    row = cursor.fetchone() if cursor.description else None
    cursor.close()
    dbapi_connection.set_autocommit(False)
    return row[0] if row else None


BACKEND = "SELECT pg_backend_pid()"
"""Asks who answers; compared with who was there when the connection was made."""


def _has_spoken(socket: int) -> bool:
    """Whether the other end of a connection at rest has sent anything, which is mostly a goodbye."""
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))
