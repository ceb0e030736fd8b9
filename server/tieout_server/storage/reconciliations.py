"""Reconciliations of whole organisations, and what comparing has found of each customer over time."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import Row, insert, select, update

from tieout_server.clock import from_micros, from_micros_if_any, to_micros, to_micros_if_any
from tieout_server.storage.database import Transaction
from tieout_server.storage.reconciliation_tables import reconciliations


class Total(msgspec.Struct, frozen=True):
    """What both sides add up to in one currency, over all customers compared."""

    currency: str
    ours: Decimal
    xero: Decimal


class ReconciliationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One reconciliation of a whole organisation, as it stands."""

    id: str
    connection_id: str
    ordinal: int
    """What marks the documents that it met, in one row with the connection's syncs."""
    state: str
    """reconciliations.state.ReconciliationState"""
    max_calls: int = 0
    """0: as many as it takes."""
    calls: int = 0
    customers: int = 0
    compared: int = 0
    agreeing: int = 0
    off_balance: int = 0
    self_healed: int = 0
    left_over: int = 0
    percent: float = 0.0
    error_sentence: str = ""
    totals: tuple[Total, ...] = ()
    failures: int = 0
    """In a row, for the back-off."""
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime


async def insert_new(tx: Transaction, run: ReconciliationRecord) -> None:
    """Keep a new reconciliation."""
    await tx.execute(insert(reconciliations).values(id=run.id, connection_id=run.connection_id, **_columns(run)))


async def save(
    tx: Transaction, run: ReconciliationRecord, work: bytes | None = None, *, while_in: Collection[str]
) -> bool:
    """Keep this reconciliation as it is now, and what is left to do of it where that changed. Calls only `book` counts.

    False, and nothing is kept, if its state here is none of these any more.
    """
    values = _columns(run) | ({} if work is None else {"work": work})
    del values["call_count"]
    is_it = (reconciliations.c.id == run.id) & reconciliations.c.state.in_(while_in)
    return (await tx.execute(update(reconciliations).where(is_it).values(**values))).rowcount == 1


async def book(tx: Transaction, reconciliation_id: str, calls: int) -> bool:
    """Count so many calls; says whether they are permitted, or nothing is counted."""
    t = reconciliations.c
    booked = await tx.execute(
        update(reconciliations)
        .where(t.id == reconciliation_id, (t.max_calls == 0) | (t.call_count + calls <= t.max_calls))
        .values(call_count=t.call_count + calls)
    )
    return bool(booked.rowcount)


async def get(tx: Transaction, reconciliation_id: str) -> ReconciliationRecord | None:
    """The reconciliation with this id."""
    row = (await tx.execute(select(reconciliations).where(reconciliations.c.id == reconciliation_id))).one_or_none()
    return None if row is None else _record(row)


async def latest(tx: Transaction, connection_id: str) -> ReconciliationRecord | None:
    """The newest reconciliation of a connection: the one under way, if any is."""
    query = select(reconciliations).where(reconciliations.c.connection_id == connection_id)
    row = (await tx.execute(query.order_by(reconciliations.c.ordinal.desc()).limit(1))).one_or_none()
    return None if row is None else _record(row)


async def ended(tx: Transaction, connection_id: str, since: datetime) -> Sequence[ReconciliationRecord]:
    """The reconciliations of a connection that ended since then, oldest first."""
    query = select(reconciliations).where(
        reconciliations.c.connection_id == connection_id, reconciliations.c.ended_at >= to_micros(since)
    )
    return [_record(row) for row in await tx.execute(query.order_by(reconciliations.c.ordinal))]


async def work_of(tx: Transaction, reconciliation_id: str) -> bytes:
    """What is left to do of a reconciliation, as it was last kept; empty before the first time."""
    query = select(reconciliations.c.work).where(reconciliations.c.id == reconciliation_id)
    return bytes((await tx.execute(query)).scalar_one())


def _columns(run: ReconciliationRecord) -> dict[str, object]:
    return {
        "ordinal": run.ordinal,
        "state": run.state,
        "max_calls": run.max_calls,
        "call_count": run.calls,
        "customers": run.customers,
        "compared": run.compared,
        "agreeing": run.agreeing,
        "off_balance": run.off_balance,
        "self_healed": run.self_healed,
        "left_over": run.left_over,
        "percent": round(run.percent * 100),
        "error_sentence": run.error_sentence,
        "totals": msgspec.json.encode(run.totals).decode(),
        "failures": run.failures,
        "created_at": to_micros(run.created_at),
        "started_at": to_micros_if_any(run.started_at),
        "ended_at": to_micros_if_any(run.ended_at),
        "updated_at": to_micros(run.updated_at),
    }


def _record(row: Row[tuple[object, ...]]) -> ReconciliationRecord:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return ReconciliationRecord(
        id=r["id"],
        connection_id=r["connection_id"],
        ordinal=r["ordinal"],
        state=r["state"],
        max_calls=r["max_calls"],
        calls=r["call_count"],
        customers=r["customers"],
        compared=r["compared"],
        agreeing=r["agreeing"],
        off_balance=r["off_balance"],
        self_healed=r["self_healed"],
        left_over=r["left_over"],
        percent=r["percent"] / 100,
        error_sentence=r["error_sentence"],
        totals=msgspec.json.decode(r["totals"], type=tuple[Total, ...]),
        failures=r["failures"],
        created_at=from_micros(r["created_at"]),
        started_at=from_micros_if_any(r["started_at"]),
        ended_at=from_micros_if_any(r["ended_at"]),
        updated_at=from_micros(r["updated_at"]),
    )
