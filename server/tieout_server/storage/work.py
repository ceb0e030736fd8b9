"""What is to be done, by kind and connection: when it is due, who does it, and the fence against lost owners.

What a process holds that is no longer among the `replicas` is due: nothing has to be freed for it.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    BindParameter,
    Boolean,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import from_micros, to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.replica_tables import homes, replicas
from tieout_server.storage.tables import connections, work

_WAKE = (
    "INSERT INTO work (kind, connection_id, lane, priority, due_at, owner, fence) "
    "VALUES ({0}, {0}, {0}, {0}, {0}, '', 0) ON CONFLICT (kind, connection_id) DO UPDATE SET "
    "due_at = CASE WHEN work.due_at IS NULL OR work.due_at > excluded.due_at "
    "THEN excluded.due_at ELSE work.due_at END, "
    "priority = excluded.priority"
)

CHANNEL = "tieout_work"
"""Notices that something is due."""
_TELL = f" RETURNING pg_notify('{CHANNEL}', '')"
_ALIVE = select(replicas.c.id)
_IS_FREE = literal_column("work.owner = '' AND work.due_at IS NOT NULL", Boolean)  # as the index says it
_IS_OWNED = literal_column("work.owner <> ''", Boolean)


class Task(msgspec.Struct, frozen=True):
    """Something that is due: its kind, whose, and in which lane it runs."""

    kind: str
    connection_id: str
    lane: str


class Due(msgspec.Struct, frozen=True):
    """A task that can be taken, with the organisation whose home takes it; none before the connection has one."""

    task: Task
    xero_tenant_id: str
    has_home: bool


class Lease(msgspec.Struct, frozen=True):
    """The right to do one thing, good while its fence is the row's fence."""

    kind: str
    connection_id: str
    fence: int


async def wake(tx: Transaction, task: Task, *, priority: int, due_at: datetime, tell: bool = False) -> None:
    """Have this done at this instant, or earlier if it was due earlier. Lower priorities go first.

    With `tell` the other processes hear of it once this has committed.
    """
    values = (task.kind, task.connection_id, task.lane, priority, to_micros(due_at))
    if tx.dialect.name == "sqlite":
        await tx.exec_driver_sql(_WAKE.format("?"), values)
    else:
        await tx.exec_driver_sql(_WAKE.format("%s") + (_TELL if tell else ""), values)


async def due(
    tx: Transaction, now: datetime, limit: int, *, replica_id: str = "", lanes: Collection[str] = ()
) -> Sequence[Due]:
    """What is due and in nobody's hands, most urgent first, so much of each lane at most.

    Of a connection that is at work in a lane nothing of that lane is due, and nothing of an organisation that is at
    home in another process than this one. Without `lanes` all of them are looked at.
    """
    named = {"now": to_micros(now), "replica_id": replica_id, "most": limit, **({"lanes": lanes} if lanes else {})}
    return [
        Due(Task(row.kind, row.connection_id, row.lane), row.xero_tenant_id, row.replica_id is not None)
        for row in await tx.execute(_due(in_lanes=bool(lanes)), named)
    ]


@cache
def _due(*, in_lanes: bool) -> Select[Any]:
    """The query behind `due`, made once: making it takes longer than answering it."""
    at_work = select(work.c.connection_id, work.c.lane).where(_IS_OWNED, work.c.owner.in_(_ALIVE))
    urgency = (work.c.priority, work.c.due_at)
    rank = func.row_number().over(partition_by=work.c.lane, order_by=urgency).label("rank")
    startable = tuple_(work.c.connection_id, work.c.lane).not_in(at_work)
    can_be_ours = or_(homes.c.replica_id.is_(None), homes.c.replica_id == bindparam("replica_id"))
    wanted = (
        select(
            work.c.kind,
            work.c.connection_id,
            work.c.lane,
            *urgency,
            connections.c.xero_tenant_id,
            homes.c.replica_id,
            rank,
        )
        .join(connections, connections.c.id == work.c.connection_id)
        .outerjoin(homes, homes.c.xero_tenant_id == connections.c.xero_tenant_id)
        .where(_is_due(bindparam("now")), startable, can_be_ours)
    )
    if in_lanes:
        wanted = wanted.where(work.c.lane.in_(bindparam("lanes", expanding=True)))
    found = wanted.subquery()
    return select(found).where(found.c.rank <= bindparam("most")).order_by(found.c.priority, found.c.due_at)


async def is_wanted(tx: Transaction, kind: str, connection_id: str) -> bool:
    """Whether this is due some time, or in hand."""
    wanted = or_(work.c.due_at.is_not(None), work.c.owner != "")
    query = select(work.c.kind).where(work.c.kind == kind, work.c.connection_id == connection_id, wanted)
    return (await tx.execute(query)).first() is not None


async def next_due_at(tx: Transaction, after: datetime) -> datetime | None:
    """When the next thing will be due, after this instant, that nobody holds; None if there is nothing.

    What is due before may be another process's to do, and says nothing about what comes next.
    """
    micros: int | None = (await tx.execute(_NEXT, {"after": to_micros(after)})).scalar_one()
    return None if micros is None else from_micros(micros)


async def take(tx: Transaction, task: Task, *, owner: str, now: datetime) -> Lease | None:
    """Take this if it is still due and free; what others wake from now on comes after it."""
    names = {"its_kind": task.kind, "of": task.connection_id, "now": to_micros(now), "taker": owner}
    fence: int | None = (await tx.execute(_TAKE, names)).scalar_one_or_none()
    return None if fence is None else Lease(task.kind, task.connection_id, fence)


async def hold(tx: Transaction, held: Lease) -> bool:
    """Keep others from taking this until the commit; False if it was taken, and then nothing may be committed."""
    return (await tx.execute(_HOLD, _names(held))).first() is not None


async def finish(tx: Transaction, held: Lease, *, again_at: datetime | None) -> bool:
    """Give this back, to be done again at `again_at` or when it is woken; False if it was lost meanwhile."""
    if again_at is None:
        done = await tx.execute(_FINISH, _names(held))
    else:
        done = await tx.execute(_FINISH_FOR_NOW, {**_names(held), "again": to_micros(again_at)})
    return done.rowcount == 1


async def free(tx: Transaction, owner: str, now: datetime, *, besides: Sequence[tuple[str, str]] = ()) -> int:
    """Free what this owner holds, due at once, besides the lanes of these connections; answers how much that was."""
    held = [work.c.owner == owner, *([tuple_(work.c.connection_id, work.c.lane).not_in(besides)] if besides else [])]
    done = await tx.execute(update(work).where(*held).values(owner="", due_at=to_micros(now)))
    return done.rowcount


def _is_due(now: int | BindParameter[int]) -> ColumnElement[bool]:
    return or_(and_(_IS_FREE, work.c.due_at <= now), and_(_IS_OWNED, work.c.owner.not_in(_ALIVE)))


def _names(held: Lease) -> dict[str, object]:
    return {"its_kind": held.kind, "of": held.connection_id, "its_fence": held.fence}


_IT = and_(work.c.kind == bindparam("its_kind"), work.c.connection_id == bindparam("of"))
_HELD = and_(_IT, work.c.fence == bindparam("its_fence"))
_AGAIN: BindParameter[int] = bindparam("again")
# Made once, like the query of `due`: each piece of work needs all of them.
_NEXT = select(func.min(work.c.due_at)).where(_IS_FREE, work.c.due_at > bindparam("after"))
_TAKE = (
    update(work)
    .where(_IT, _is_due(bindparam("now")))
    .values(owner=bindparam("taker"), due_at=None, fence=work.c.fence + 1)
    .returning(work.c.fence)
)
_HOLD = select(work.c.fence).where(_HELD).with_for_update()
_FINISH = update(work).where(_HELD).values(owner="")
_FINISH_FOR_NOW = (
    update(work).where(_HELD).values(owner="", due_at=case((work.c.due_at < _AGAIN, work.c.due_at), else_=_AGAIN))
)
