"""Migrations: the database is brought to this version's tables, step by step, by one process at a time.

Other processes may be at work meanwhile, of this version or the one before (`steps.py`). No step waits long for a lock
with everybody queueing up behind it: it gives up and comes again.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, TextClause, inspect, text

from tieout_server import log
from tieout_server.errors import OperatorMustActError, StorageUnavailableError
from tieout_server.storage import steps
from tieout_server.storage.compatibility import note_oldest, older_replicas, oldest
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.steps import Phase, Step

logger = log.get("migrate")

HEAD = "0008"
"""The newest revision that this version of the program knows."""
NEEDED = "0008"
"""The revision that it needs: the newest step that adds something."""
LOCK_WITHIN = "2s"
"""How long a step waits for a table that a transaction holds; whoever comes behind it waits for so long, too."""
PAUSES = (0.2, 0.5, 1.0, 2.0, *itertools.repeat(5.0, 60))
"""Seconds between attempts: five minutes in all."""
_LOCK = 0x7469656F7574  # "tieout": the advisory lock of everyone who migrates this database
_IN_THE_WAY = ("55P03", "40P01")
"""SQLSTATEs: a lock was not to be had in time, or two waited for each other."""


class DatabaseNotMigratedError(OperatorMustActError):
    """The database lacks tables that this version of the program works with; an operator migrates it."""


class DatabaseTooNewError(OperatorMustActError):
    """A later version took away what this version of the program works with; an operator starts that one."""


class OlderReplicasError(OperatorMustActError):
    """A step takes away what replicas that are alive still use; an operator upgrades those first."""


class HeldUpError(OperatorMustActError):
    """Something was in the way of a step for minutes; nothing of that step was done."""


def head() -> str:
    """The newest step under migrations/versions."""
    return steps.all_steps()[-1].revision


async def current(database: Database) -> str | None:
    """The revision that the database is at, None when it is empty."""
    async with database.read() as tx:
        return await tx.run_sync(_version)


async def version_in(tx: Transaction) -> str | None:
    """The revision that the database of this transaction is at, None when it is empty."""
    return await tx.run_sync(_version)


async def check_fits(database: Database) -> None:
    """Check that this version of the program works with the database, which may be ahead of it.

    Raises:
        DatabaseNotMigratedError: it lacks something; the sentence says what to do.
        DatabaseTooNewError: something was taken away; likewise.
    """
    at = await _checked(database)
    if at is None or at < NEEDED:
        raise DatabaseNotMigratedError(
            f"The database is at revision {at or 'none'}, and this version of Tieout needs {NEEDED}. "
            "Run: tieout-server migrate"
        )


async def upgrade(database: Database, *, contract: bool = False) -> Sequence[str]:
    """Take the steps that this version needs. It is safe from several processes at once, and to repeat.

    With `contract` also those that only take away. A new database gets all of them. Answers what is left to be taken.

    Raises:
        DatabaseTooNewError: a later version took away what this one needs; nothing was changed.
        OlderReplicasError: a step has to wait until replicas are upgraded; what came before it is done.
        HeldUpError: something is in the way of a step; likewise.
    """
    at = await _checked(database)
    if at is not None and at >= HEAD:
        return []
    known, contract = steps.all_steps(), contract or at is None
    while step := steps.next_step(known, at, contract=contract):
        await _take(database, known, step)
        at = step.revision
    return [step.revision for step in known if at is None or step.revision > at]


async def _checked(database: Database) -> str | None:
    """The revision of a database that is not beyond this program."""
    async with database.read() as tx:
        at = await tx.run_sync(_version)
        needs = await tx.run_sync(oldest) if at is not None and at > HEAD else None
    if at is not None and at > HEAD and (needs is None or needs > HEAD):
        raise DatabaseTooNewError(
            f"The database is at revision {at}, which only a version of Tieout that knows revision {needs or at} can "
            f"work with; this one knows {HEAD}. Start a later version, or restore the backup made before the upgrade."
        )
    return at


async def _take(database: Database, known: Sequence[Step], step: Step) -> None:
    """Take one step, as often as it has to be tried."""
    for seconds in PAUSES:
        try:
            if database.is_sqlite or await _build_beside(database, step.indexes):
                async with database.write() as tx:  # BEGIN IMMEDIATE on SQLite: whoever comes second waits
                    if await _is_our_turn(tx):
                        await tx.run_sync(_take_in, known, step)
                        return
        except StorageUnavailableError as away:
            if _state_of(away) not in _IN_THE_WAY:
                raise
            logger.info("something is in the way of a step; it is tried again", step=step.revision, why=away.why)
        await asyncio.sleep(seconds)
    raise HeldUpError(
        f"Step {step.revision} was held up for minutes: another process migrates, or a transaction holds a table. "
        "Run it again; pg_stat_activity shows who it is."
    )


def _take_in(connection: Connection, known: Sequence[Step], step: Step) -> None:
    """Take a step in this transaction, unless somebody else has taken it."""
    at = _version(connection)
    if at is not None and at >= step.revision:
        return
    if step.phase is Phase.CONTRACT and (older := older_replicas(connection, step.revision)):
        raise OlderReplicasError(
            f"Step {step.revision} takes away what replicas of an earlier version use: {', '.join(older)}. "
            "Upgrade or stop them, then run this again."
        )
    if connection.dialect.name == "sqlite":
        for name, (of, columns) in step.indexes.items():
            connection.execute(_index("", name, of, columns))
    steps.take(connection, step)
    note_oldest(connection, steps.oldest_after(known, step.revision))


async def _is_our_turn(tx: Transaction) -> bool:
    """Whether nobody else takes a step at this moment.

    Nobody waits for that within a statement: an index that is built beside would wait for that transaction in turn.
    """
    if tx.dialect.name == "sqlite":
        return True
    await tx.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WITHIN}'"))
    return bool((await tx.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK})).scalar_one())


async def _build_beside(database: Database, indexes: Mapping[str, tuple[str, Sequence[str]]]) -> bool:
    """Build these while everybody reads and writes; False if it is not our turn.

    What an attempt that broke off left behind is removed first (PostgreSQL, CREATE INDEX, CONCURRENTLY).
    """
    if not indexes:
        return True
    async with database.outside_transactions() as connection:
        turn = await connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK})
        if not turn.scalar_one():
            return False
        try:
            for name, (of, columns) in indexes.items():
                broken = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid"
                if (await connection.execute(text(broken), {"name": name})).first():
                    await connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
                await connection.execute(_index("CONCURRENTLY", name, of, columns))
        finally:
            await connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
    return True


def _index(how: str, name: str, of: str, columns: Sequence[str]) -> TextClause:
    """The statement that makes this index; the names are those of a step, and nobody else's."""
    return text(f"CREATE INDEX {how} IF NOT EXISTS {name} ON {of} ({', '.join(columns)})")


def _state_of(away: StorageUnavailableError) -> str:
    orig = getattr(away.__cause__, "orig", None)
    return getattr(orig, "sqlstate", None) or ""


def _version(connection: Connection) -> str | None:
    """What alembic would say, without importing it."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
