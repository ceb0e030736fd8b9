"""Migrations: the database is brought to this version's tables, by one process at a time.

Alembic takes most of a second to import, so it is imported where it is used.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from tieout_server.errors import OperatorMustActError
from tieout_server.storage.database import Database, Transaction

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).parent / "migrations"
HEAD = "0007"
"""The revision that this version of the program works with: the newest file under migrations/versions."""
_LOCK = 0x7469656F7574  # "tieout": the advisory lock of everyone who migrates this database


class DatabaseNotMigratedError(OperatorMustActError):
    """The database has other tables than this version of the program works with; an operator migrates it."""


class DatabaseTooNewError(OperatorMustActError):
    """The database was migrated by a later version of this program; an operator starts that one."""


def head() -> str:
    """The revision that this version of the program works with."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see the top

    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "there is at least one migration"
    return revision


async def current(database: Database) -> str | None:
    """The revision that the database is at, None when it is empty."""
    async with database.read() as tx:
        return await tx.run_sync(_revision)


async def version_in(tx: Transaction) -> str | None:
    """The revision that the database of this transaction is at, None when it is empty."""
    return await tx.run_sync(_version)


async def check_is_current(database: Database) -> None:
    """Nothing, if the database has the tables of this version of the program.

    Raises:
        DatabaseNotMigratedError: it has not; the sentence says what to do.
    """
    async with database.read() as tx:
        at = await tx.run_sync(_version)
    if at != HEAD:
        raise DatabaseNotMigratedError(
            f"The database is at revision {at or 'none'}, and this version of Tieout needs {HEAD}. "
            "Run: tieout-server migrate"
        )


async def upgrade(database: Database) -> None:
    """Bring the database to `head()` in one transaction. It is safe from several processes at once, and to repeat.

    Raises:
        DatabaseTooNewError: the database is ahead of this program; nothing was changed.
    """
    async with database.read() as tx:
        if await tx.run_sync(_version) == HEAD:
            return
    async with database.write() as tx:  # BEGIN IMMEDIATE on SQLite: whoever comes second waits
        if not database.is_sqlite:
            await tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        await tx.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - see the top
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    revision = _revision(connection)
    if revision is not None and revision not in known:
        raise DatabaseTooNewError(
            f"The database is at revision {revision}, which this version of Tieout (up to {max(known)}) does not know: "
            "it was migrated by a later version. Start that one, or restore the backup made before."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    """What alembic would say, without importing it."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _revision(connection: Connection) -> str | None:
    from alembic.migration import MigrationContext  # noqa: PLC0415 - see the top

    return MigrationContext.configure(connection).get_current_revision()


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - see the top

    config = Config()
    config.set_main_option("script_location", _FOLDER.as_posix().replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
