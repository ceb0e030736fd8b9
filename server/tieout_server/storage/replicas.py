"""The processes that share the work: who is alive, by the clock of the database, and which organisations are whose.

A process that is gone is found by its silence. Its row is removed, and with the row everything that it held becomes
free (`storage.work`, `homes`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import bindparam, delete, func, literal_column, or_, select, update
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import from_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.migrate import HEAD
from tieout_server.storage.replica_tables import homes, replicas

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""Microseconds since 1970 by the clock of PostgreSQL, which all processes have in common. SQLite has one process."""

_IS_SILENT = replicas.c.alive_until < literal_column(_NOW)
_IS_STAYING = replicas.c.is_leaving.is_(False)
_NEW_HOME = "INSERT INTO homes (xero_tenant_id, replica_id, windows) VALUES ({0}, {0}, {0}) ON CONFLICT DO NOTHING"


class Peers(msgspec.Struct, frozen=True):
    """The processes that are alive and stay, and the organisations that they share."""

    replicas: int
    organisations: int = 0
    at_home: int = 0
    """Of them, those that have a home now."""
    silent: int = 0
    """Of the processes, those that have not been heard of for too long."""


class Home(msgspec.Struct, frozen=True):
    """The process that makes all calls to an organisation, and what it kept of the organisation's limits."""

    replica_id: str
    windows: bytes


async def join(tx: Transaction, replica_id: str, life: timedelta | None, *, alone: bool, name: str = "") -> None:
    """Be one of those that share the work; for so long unless it is said again, or for good.

    With `alone` there are no others: what is left of an earlier process is removed.
    """
    if alone:
        await tx.execute(delete(replicas))
    await tx.execute(
        replicas.insert().values(
            id=replica_id, name=name, alive_until=None if life is None else _after(life), revision=HEAD
        )
    )


async def beat(tx: Transaction, replica_id: str, life: timedelta) -> datetime | None:
    """Be alive for so long from now, by the database's clock, which is answered; None if taken for dead meanwhile."""
    still = update(replicas).where(replicas.c.id == replica_id).values(alive_until=_after(life))
    now: int | None = (await tx.execute(still.returning(literal_column(_NOW)))).scalar_one_or_none()
    return None if now is None else from_micros(now)


async def bury(tx: Transaction) -> Sequence[str]:
    """Remove who has not been heard of for too long; what they held is free with this commit."""
    silent = select(replicas.c.id).where(_IS_SILENT)
    unlocked = silent.with_for_update(skip_locked=True)  # whoever is just giving a sign of life is not silent
    buried = delete(replicas).where(replicas.c.id.in_(unlocked)).returning(replicas.c.id)
    return [row[0] for row in await tx.execute(buried)]


async def retire(tx: Transaction, replica_id: str) -> None:
    """Share the work no longer, but hold what is in hand: the others may have all the rest."""
    await tx.execute(update(replicas).where(replicas.c.id == replica_id).values(is_leaving=True))


async def forget_all(tx: Transaction) -> Sequence[str]:
    """Remove every process, for none can be alive; answers who that was. Whatever they held is free."""
    return [row[0] for row in await tx.execute(delete(replicas).returning(replicas.c.id))]


async def leave(tx: Transaction, replica_id: str) -> None:
    """Be gone; whatever is still held is free with this commit."""
    await tx.execute(delete(replicas).where(replicas.c.id == replica_id))


async def peers(tx: Transaction) -> Peers:
    """How many share the work, and how many organisations are shared out."""
    organisations = select(func.count()).select_from(homes).scalar_subquery()
    at_home = select(func.count(homes.c.replica_id)).scalar_subquery()
    silent = func.count().filter(_IS_SILENT) if tx.dialect.name == "postgresql" else literal_column("0")
    staying = select(func.count().filter(_IS_STAYING), organisations, at_home, silent).select_from(replicas)
    row = (await tx.execute(staying)).one()
    return Peers(*row)


async def others_alive(tx: Transaction) -> bool:
    """Whether any process shows signs of life, by the clock of PostgreSQL."""
    living = select(replicas.c.id).where(replicas.c.alive_until >= literal_column(_NOW)).limit(1)
    return (await tx.execute(living)).first() is not None


async def settle(tx: Transaction, xero_tenant_id: str, replica_id: str) -> bytes | None:
    """Make this process the organisation's home if it has none; what is known of its limits, or None if it has one."""
    known = await tx.execute(
        update(homes)
        .where(
            homes.c.xero_tenant_id == xero_tenant_id,
            or_(homes.c.replica_id.is_(None), homes.c.replica_id == replica_id),
        )
        .values(replica_id=replica_id)
        .returning(homes.c.windows)
    )
    found: bytes | None = known.scalar_one_or_none()
    if found is not None:
        return found
    placeholder = "?" if tx.dialect.name == "sqlite" else "%s"
    new = await tx.exec_driver_sql(_NEW_HOME.format(placeholder), (xero_tenant_id, replica_id, b""))
    return b"" if new.rowcount == 1 else None


async def home(tx: Transaction, xero_tenant_id: str) -> Home | None:
    """Where the organisation is at home; None while it is nowhere."""
    query = select(homes.c.replica_id, homes.c.windows).where(
        homes.c.xero_tenant_id == xero_tenant_id, homes.c.replica_id.is_not(None)
    )
    row = (await tx.execute(query)).first()
    return None if row is None else Home(row.replica_id, row.windows)


async def windows(tx: Transaction, xero_tenant_id: str) -> bytes:
    """What was last known of the limits of an organisation, wherever it is or was at home."""
    query = select(homes.c.windows).where(homes.c.xero_tenant_id == xero_tenant_id)
    return (await tx.execute(query)).scalar_one_or_none() or b""


async def keep_windows(tx: Transaction, xero_tenant_id: str, replica_id: str, windows: bytes) -> bool:
    """Keep what is known of an organisation's limits for who comes next; False if this is its home no longer."""
    here = homes.c.xero_tenant_id == xero_tenant_id, homes.c.replica_id == replica_id
    done = await tx.execute(update(homes).where(*here).values(windows=windows))
    return done.rowcount == 1


async def move_out(tx: Transaction, replica_id: str, windows: Mapping[str, bytes]) -> None:
    """Be the home of these organisations no longer, and leave behind what is known of their limits."""
    here = homes.c.xero_tenant_id == bindparam("organisation"), homes.c.replica_id == replica_id
    moved = update(homes).where(*here).values(windows=bindparam("known"), replica_id=None)
    if windows:
        await tx.execute(moved, [{"organisation": one, "known": known} for one, known in windows.items()])


def _after(life: timedelta) -> ColumnElement[int]:
    return literal_column(f"{_NOW} + {life // timedelta(microseconds=1)}")
