"""The order in which a mirror changed: numbers per connection, whose order is that of the commits.

A number is given out under the lock of the connection's counter, which is held to the commit. So whoever sees a
number sees every smaller one too, and a reader that goes on behind the last number it saw skips nothing. Rows keep
their number for as long as they are there, so a reader may come back after any time. Numbers are set by
`storage.mirror`, and by the triggers `…_leave_a_contact` of migration 0001 on the contact that a document left.
"""

from collections.abc import Sequence

from sqlalchemy import func, select

from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import change_counters, change_runs

_NEXT = (
    "INSERT INTO change_counters (connection_id, last, sync_id, since) VALUES ({0}, 1, {0}, 1) "
    "ON CONFLICT (connection_id) DO UPDATE SET last = change_counters.last + 1, sync_id = excluded.sync_id, "
    "since = CASE WHEN change_counters.sync_id = excluded.sync_id THEN change_counters.since "
    "ELSE change_counters.last + 1 END RETURNING last, since"
)


async def next_number(tx: Transaction, connection_id: str, sync_id: str) -> int:
    """The number of the change that this transaction makes for a sync, or for none.

    Other writers of this mirror wait for its end. A number under which nothing changes in the end is no harm.
    """
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    counter = (await tx.exec_driver_sql(_NEXT.format(place), (connection_id, sync_id))).one()
    if counter.last == counter.since:
        run = change_runs.insert().values(connection_id=connection_id, since=counter.since, sync_id=sync_id)
        await tx.execute(run)
    return int(counter.last)


async def last_number(tx: Transaction, connection_id: str) -> int:
    """The last number given out, 0 before the first."""
    query = select(change_counters.c.last).where(change_counters.c.connection_id == connection_id)
    return (await tx.execute(query)).scalar_one_or_none() or 0


async def is_lost(tx: Transaction, connection_id: str, number: int) -> bool:
    """Whether this number was given out only in a future that was lost: what was told there never happened."""
    counter = change_counters.c
    within = (counter.gap_behind < number) & (counter.gap_up_to > number)
    query = select(counter.last).where(counter.connection_id == connection_id, within)
    return (await tx.execute(query)).first() is not None


async def runs(tx: Transaction, connection_id: str, first: int, last: int) -> Sequence[tuple[int, str]]:
    """What brought the changes with these numbers: from which number on, and the sync or nothing; in order."""
    of = change_runs.c.connection_id == connection_id
    begun = select(func.max(change_runs.c.since)).where(of, change_runs.c.since <= first).scalar_subquery()
    query = select(change_runs.c.since, change_runs.c.sync_id).where(
        of, change_runs.c.since >= func.coalesce(begun, 0), change_runs.c.since <= last
    )
    return [(row[0], row[1]) for row in await tx.execute(query.order_by(change_runs.c.since))]
