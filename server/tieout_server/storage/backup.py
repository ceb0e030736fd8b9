"""A copy of a SQLite database while it is in use: whole, of one instant, and marked as a copy."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from tieout_server.errors import OperatorMustActError
from tieout_server.storage.database import Database
from tieout_server.storage.lineage import COPY

ARRIVALS = "-arrivals"
"""What the file beside a database is called, in which webhooks are that have just come (`storage.arrivals`)."""
BUSY = 60.0
"""Seconds to wait for a writer to let go."""


class BackupError(OperatorMustActError):
    """No copy was made; an operator does otherwise."""


async def copy(database: Database, path: Path) -> None:
    """Copy to this path, which must be free. Others go on reading and writing; killed in between, no copy is there.

    What is in the file beside is copied first: so what moves from there meanwhile is in both, and not in neither.

    Raises:
        BackupError: it is no SQLite file, or the copy cannot be written.
    """
    if not database.is_sqlite:
        raise BackupError(
            "Only SQLite is copied by this command. For PostgreSQL: pg_dump --format=custom --file=tieout.dump DATABASE"
        )
    source, beside = Path(str(database.url.database)), path.with_name(path.name + ARRIVALS)
    try:
        await asyncio.to_thread(_copy, source.with_name(source.name + ARRIVALS), beside, is_marked=False)
        await asyncio.to_thread(_copy, source, path, is_marked=True)
    except FileExistsError as taken:
        raise BackupError(f"{path} is there already. Name another file: no copy is overwritten.") from taken
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{source} cannot be copied to {path}: {error}.") from error


def _copy(source: Path, path: Path, *, is_marked: bool) -> None:
    if path.exists():
        raise FileExistsError
    if not source.exists() and not is_marked:  # nothing has ever arrived
        return
    draft = path.with_name(path.name + ".partial")
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=BUSY, isolation_level=None)) as connection:
        connection.execute("VACUUM INTO ?", (str(draft),))  # one reading transaction: writers go on
    draft.chmod(0o600)
    with closing(sqlite3.connect(draft)) as copied:
        if is_marked:
            copied.execute("INSERT OR REPLACE INTO origin (id, identity) VALUES (1, ?)", (COPY,))
            copied.commit()
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.rename(path)
