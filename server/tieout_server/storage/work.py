"""What is to be done, by kind and connection: when it is due, who does it, and the fence against lost owners."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import and_, case, func, or_, select, tuple_, update
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import from_micros, to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import work

_WAKE = (
    "INSERT INTO work (kind, connection_id, lane, priority, due_at, owner, leased_until, fence) "
    "VALUES ({0}, {0}, {0}, {0}, {0}, '', NULL, 0) ON CONFLICT (kind, connection_id) DO UPDATE SET "
    "due_at = CASE WHEN work.due_at IS NULL OR work.due_at > excluded.due_at "
    "THEN excluded.due_at ELSE work.due_at END, "
    "priority = excluded.priority"
)


class Task(msgspec.Struct, frozen=True):
    """Something that is due: its kind, whose, and in which lane it runs."""

    kind: str
    connection_id: str
    lane: str


class Lease(msgspec.Struct, frozen=True):
    """The right to do one thing, good while its fence is the row's fence."""

    kind: str
    connection_id: str
    fence: int


async def wake(tx: Transaction, task: Task, *, priority: int, due_at: datetime) -> None:
    """Have this done at this instant, or earlier if it was due earlier. Lower priorities go first."""
    placeholder = "?" if tx.dialect.name == "sqlite" else "%s"
    values = (task.kind, task.connection_id, task.lane, priority, to_micros(due_at))
    await tx.exec_driver_sql(_WAKE.format(placeholder), values)


async def due(tx: Transaction, now: datetime, limit: int, *, lanes: Collection[str] = ()) -> Sequence[Task]:
    """What is due and in nobody's hands, most urgent first, so much of each lane at most.

    Of a connection that is at work in a lane nothing of that lane is due. Without `lanes` all of them are looked at.
    """
    at_work = select(work.c.connection_id, work.c.lane).where(work.c.owner != "", work.c.leased_until >= to_micros(now))
    urgency = (work.c.priority, work.c.due_at)
    rank = func.row_number().over(partition_by=work.c.lane, order_by=urgency).label("rank")
    startable = tuple_(work.c.connection_id, work.c.lane).not_in(at_work)
    wanted = select(work.c.kind, work.c.connection_id, work.c.lane, *urgency, rank).where(_is_due(now), startable)
    found = (wanted.where(work.c.lane.in_(lanes)) if lanes else wanted).subquery()
    query = select(found.c.kind, found.c.connection_id, found.c.lane).where(found.c.rank <= limit)
    return [Task(*row) for row in await tx.execute(query.order_by(found.c.priority, found.c.due_at))]


async def is_wanted(tx: Transaction, kind: str, connection_id: str) -> bool:
    """Whether this is due some time, or in hand."""
    wanted = or_(work.c.due_at.is_not(None), work.c.owner != "")
    query = select(work.c.kind).where(work.c.kind == kind, work.c.connection_id == connection_id, wanted)
    return (await tx.execute(query)).first() is not None


async def next_due_at(tx: Transaction) -> datetime | None:
    """When the next thing is due or the next lease runs out; None if there is nothing."""
    query = select(func.min(case((work.c.owner == "", work.c.due_at), else_=work.c.leased_until)))
    micros: int | None = (await tx.execute(query)).scalar_one()
    return None if micros is None else from_micros(micros)


async def take(tx: Transaction, task: Task, *, owner: str, now: datetime, lease: timedelta) -> Lease | None:
    """Take this if it is still due and free; what others wake from now on comes after it."""
    row = await tx.execute(
        update(work)
        .where(work.c.kind == task.kind, work.c.connection_id == task.connection_id, _is_due(now))
        .values(owner=owner, leased_until=to_micros(now + lease), due_at=None, fence=work.c.fence + 1)
        .returning(work.c.fence)
    )
    fence: int | None = row.scalar_one_or_none()
    return None if fence is None else Lease(task.kind, task.connection_id, fence)


async def hold(tx: Transaction, held: Lease, *, until: datetime) -> bool:
    """Renew this lease and lock its row until the commit; False if it was lost, and then nothing may be committed."""
    done = await tx.execute(update(work).where(_is_held(held)).values(leased_until=to_micros(until)))
    return done.rowcount == 1


async def finish(tx: Transaction, held: Lease, *, again_at: datetime | None) -> bool:
    """Give this back, to be done again at `again_at` or when it is woken; False if it was lost meanwhile."""
    values: dict[str, object] = {"owner": "", "leased_until": None}
    if again_at is not None:
        again = to_micros(again_at)
        values["due_at"] = case((work.c.due_at < again, work.c.due_at), else_=again)
    done = await tx.execute(update(work).where(_is_held(held)).values(**values))
    return done.rowcount == 1


async def free_all(tx: Transaction, now: datetime) -> int:
    """Free what a process that is gone held, due at once. Only for a database that one process owns."""
    done = await tx.execute(
        update(work).where(work.c.owner != "").values(owner="", leased_until=None, due_at=to_micros(now))
    )
    return done.rowcount


async def free(tx: Transaction, owner: str, now: datetime) -> int:
    """Free what this owner holds, due at once; answers how much that was."""
    done = await tx.execute(
        update(work).where(work.c.owner == owner).values(owner="", leased_until=None, due_at=to_micros(now))
    )
    return done.rowcount


def _is_due(now: datetime) -> ColumnElement[bool]:
    micros = to_micros(now)
    return or_(
        and_(work.c.owner == "", work.c.due_at <= micros), and_(work.c.owner != "", work.c.leased_until < micros)
    )


def _is_held(held: Lease) -> ColumnElement[bool]:
    return and_(work.c.kind == held.kind, work.c.connection_id == held.connection_id, work.c.fence == held.fence)
