"""Where a database comes from: found out at each start, so that one that was restored does not pass for the one lost.

What happened after a backup was made is a future that was lost with the database, but not with those who were told of
it: watchers hold resume tokens from it, and Xero holds payments. So a restored database numbers its log and its changes
from where no lost future can have come to, and remembers the gap: who resumes from within is sent back to a snapshot.
Numbers go on at the microseconds of the clock: no log ever grew by a million events a second.

A PostgreSQL that was restored from a dump has another identity than the one it was dumped from; a SQLite file is
marked when it is copied (`storage.backup`); of any other kind of copy an operator says so (`tieout-server restored`).
On SQLite each start makes such a gap, as a power cut may undo commits that were told already.
"""

from datetime import datetime

import msgspec
from sqlalchemy import func, select, text, update

from tieout_server.clock import from_micros, to_micros
from tieout_server.errors import OperatorMustActError
from tieout_server.storage import tokens
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.lineage_tables import log_gaps, origin
from tieout_server.storage.replicas import forget_all, others_alive
from tieout_server.storage.tables import change_counters, event_counter, events

COPY = "copy"
"""The identity of what is known to be a copy: nobody's."""
_MAY_ASK = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"
_CLUSTER = "SELECT system_identifier FROM pg_control_system()"
_DATABASE = "SELECT oid FROM pg_database WHERE datname = current_database()"
_FIRST = "INSERT INTO origin (id, identity) VALUES (1, {0}) ON CONFLICT (id) DO NOTHING"
_IS = "INSERT INTO origin (id, identity) VALUES (1, {0}) ON CONFLICT (id) DO UPDATE SET identity = excluded.identity"


class StillServedError(OperatorMustActError):
    """Servers work with the database: none of them may, while it is said to be another one."""


class Restored(msgspec.Struct, frozen=True):
    """A restore: when it was found out, and when the last thing happened that the backup knew."""

    at: datetime
    known_until: datetime


async def take_up(database: Database, now: datetime) -> Restored | None:
    """Go on with this database, or begin anew where it was restored; answers when that was last, if ever."""
    async with database.write() as tx:
        identity = await _identity(tx)
        await tx.exec_driver_sql(_FIRST.format(_place(tx)), (identity,))
        known = (await tx.execute(select(origin).with_for_update())).one()
        if known.identity != identity:
            await _leave_gap(tx, now)
            await _leave_gaps_of_changes(tx, now)
            await tokens.release_of(tx, await forget_all(tx))  # they work with the database that was lost
            last = (await tx.execute(select(func.max(events.c.at)))).scalar_one() or 0
            await tx.execute(update(origin).values(identity=identity, restored_at=to_micros(now), known_until=last))
            return Restored(now, from_micros(last))
        if database.is_sqlite:
            await _leave_gap(tx, now)
        if known.restored_at is None:
            return None
        return Restored(from_micros(known.restored_at), from_micros(known.known_until))


async def declare_copy(database: Database) -> None:
    """Have the next start know that this database was restored.

    Raises:
        StillServedError: a server works with it.
    """
    async with database.write() as tx:
        if not database.is_sqlite and await others_alive(tx):
            raise StillServedError(
                "Servers still work with this database. Stop all of them first, and wait 20 seconds."
            )
        await tx.exec_driver_sql(_IS.format(_place(tx)), (COPY,))


async def _identity(tx: Transaction) -> str:
    """Which database this is, by the server's own word; all SQLite files are alike."""
    if tx.dialect.name == "sqlite":
        return "sqlite"
    may_ask = (await tx.execute(text(_MAY_ASK))).scalar_one()
    cluster = (await tx.execute(text(_CLUSTER))).scalar_one() if may_ask else ""
    return f"postgresql:{cluster}:{(await tx.execute(text(_DATABASE))).scalar_one()}"


async def _leave_gap(tx: Transaction, now: datetime) -> None:
    """Let the log go on behind every position that can ever have been given out."""
    last = (await tx.execute(select(event_counter.c.last).with_for_update())).scalar_one_or_none()
    if last is None:  # nothing was ever told
        return
    up_to = max(last + 1, to_micros(now))
    await tx.execute(log_gaps.insert().values(behind=last, up_to=up_to))
    await tx.execute(update(event_counter).values(last=up_to))


async def _leave_gaps_of_changes(tx: Transaction, now: datetime) -> None:
    """The same for the changes of every mirror."""
    own = change_counters.c
    highest = (await tx.execute(select(func.max(own.last)))).scalar_one() or 0
    up_to = max(highest + 1, to_micros(now))
    await tx.execute(update(change_counters).values(gap_behind=own.last, gap_up_to=up_to, last=up_to))


def _place(tx: Transaction) -> str:
    return "?" if tx.dialect.name == "sqlite" else "%s"
