"""SQL that is compiled once in a test process, where thousands of databases are opened one after the other.

SQLAlchemy compiles each statement anew for each engine: a fifth of what the tests would spend. A service opens one.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import LRUCache

from tieout_server.storage import database, sqlite

KEPT = 5_000
"""Statements, far more than there are."""


def share() -> None:
    """Have all databases that are opened from now on share what was compiled for another one of their kind."""
    for dialect in (SQLiteDialect_aiosqlite, PGDialectAsync_psycopg):
        setattr(dialect, "__eq__", lambda one, other: type(one) is type(other))  # noqa: B010 - they are part of the key
        setattr(dialect, "__hash__", lambda one: hash(type(one)))  # noqa: B010 - likewise
    kept: LRUCache[Any, Any] = LRUCache(KEPT)
    open_one: Callable[..., AsyncEngine] = create_async_engine

    def opened(*arguments: Any, **named: Any) -> AsyncEngine:  # noqa: ANN401 - whatever an engine is made of
        engine = open_one(*arguments, **named)
        engine.sync_engine._compiled_cache = kept
        return engine

    for module in (database, sqlite):
        setattr(module, "create_async_engine", opened)  # noqa: B010 - mypy rightly forbids it; here it is the point
