"""When the database cannot be used at the moment, whichever it is, and nothing is wrong with what was asked of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InvalidRequestError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFreeError

from tieout_server import measures
from tieout_server.errors import StorageUnavailableError

_SENTENCE = (
    "The database of this service cannot be used at the moment. "
    "Repeat the call in a few seconds, with the same request_id where it has one."
)

_CLASSES = ("08", "53", "57P", "58")
"""Beginnings of SQLSTATEs: the connection, resources, the server going or coming, its machine (PostgreSQL, Errors)."""
_STATES = ("40001", "40P01", "55P03", "25006", "25P03")
"""Another transaction was in the way, the server is a standby now, or this process stood still for too long. The
whole transaction was rolled back. It is the caller who repeats it, from its first read on: what was read in it no
longer holds."""
_BROKE_AGAIN = "This connection is closed"
"""What SQLAlchemy says, as of something asked wrongly, where those that it opened instead broke at once, too."""
_SQLITE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)


@contextmanager
def told_where_unavailable() -> Iterator[None]:
    """Tell a database that cannot be used from a fault of ours; everything else passes as it is.

    Raises:
        StorageUnavailableError: it cannot be used. Where that shows in a commit, it may be done all the same.
    """
    try:
        yield
    except SQLAlchemyError as error:
        if why := _why(error):
            measures.DATABASE_TROUBLE.inc()
            raise StorageUnavailableError(_SENTENCE, why) from error
        raise


def _why(error: SQLAlchemyError) -> str:
    """Why the database cannot be used; empty where that is not what the error says."""
    if isinstance(error, NoConnectionFreeError):
        return "no connection to it came free in time"
    if isinstance(error, PendingRollbackError) or (
        isinstance(error, InvalidRequestError) and str(error) == _BROKE_AGAIN
    ):
        return "the connection to it broke"
    if isinstance(error, DBAPIError) and error.orig is not None and _is_unavailable(error, error.orig):
        return str(error.orig).strip().partition("\n")[0]
    return ""


def _is_unavailable(error: DBAPIError, orig: BaseException) -> bool:
    code: int | None = getattr(orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE
    state: str | None = getattr(orig, "sqlstate", None)
    if state is not None:
        return state.startswith(_CLASSES) or state in _STATES
    # Without a state it is the driver that speaks. Without a statement it was connecting, beginning or committing.
    return error.connection_invalidated or error.statement is None
