"""Reversals: what was taken back of exports, or is on the way back."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime

import msgspec
from sqlalchemy import Row, func, select, update

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.exports import ExportError, Reversal, XeroRecord
from tieout_server.ledger.money import from_units, to_units
from tieout_server.storage.database import Transaction
from tieout_server.storage.export_tables import export_reversals

_WAITING = ("QUEUED", "CHECKED")
"""The statuses (`exports.state`) in which a reversal waits for its turn."""
GOES_ON = (*_WAITING, "SENDING")
"""Those in which it does, perhaps between two steps."""

_error = msgspec.json.Decoder(ExportError).decode
_records = msgspec.json.Decoder(tuple[XeroRecord, ...]).decode


async def insert(tx: Transaction, reversal: Reversal, fingerprint: str) -> None:
    """Keep a new reversal; whoever does holds its export."""
    await tx.execute(export_reversals.insert().values(id=reversal.id, fingerprint=fingerprint, **_columns(reversal)))


async def put(tx: Transaction, reversal: Reversal) -> None:
    """Keep this reversal as it is now."""
    await tx.execute(update(export_reversals).where(export_reversals.c.id == reversal.id).values(**_columns(reversal)))


async def get(tx: Transaction, reversal_id: str) -> Reversal | None:
    """The reversal with this id of ours."""
    row = (await tx.execute(select(export_reversals).where(export_reversals.c.id == reversal_id))).one_or_none()
    return None if row is None else _reversal(row)


async def of_caller_id(tx: Transaction, connection_id: str, reversal_id: str) -> tuple[Reversal, str] | None:
    """The reversal that the caller gave this id, and its fingerprint."""
    query = select(export_reversals).where(
        export_reversals.c.connection_id == connection_id, export_reversals.c.reversal_id == reversal_id
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else (_reversal(row), row.fingerprint)


async def of_exports(tx: Transaction, export_ids: Collection[str]) -> Mapping[str, tuple[Reversal, ...]]:
    """The reversals of each of these exports that has some, oldest first."""
    query = select(export_reversals).where(export_reversals.c.export_id.in_(export_ids))
    found: dict[str, tuple[Reversal, ...]] = {}
    for row in await tx.execute(query.order_by(export_reversals.c.created_at, export_reversals.c.id)):
        reversal = _reversal(row)
        found[reversal.export_id] = (*found.get(reversal.export_id, ()), reversal)
    return found


async def due(
    tx: Transaction, connection_id: str, now: datetime, limit: int, statuses: Collection[str] = _WAITING
) -> Sequence[Reversal]:
    """The reversals of a connection in one of these statuses that are due, the one due first first, so many at most."""
    query = select(export_reversals).where(
        export_reversals.c.connection_id == connection_id,
        export_reversals.c.due_at <= to_micros(now),
        export_reversals.c.xero_status.in_(statuses),
    )
    rows = await tx.execute(query.order_by(export_reversals.c.due_at, export_reversals.c.id).limit(limit))
    return [_reversal(row) for row in rows]


async def with_status(tx: Transaction, connection_id: str, statuses: Collection[str]) -> Sequence[Reversal]:
    """The reversals of a connection in one of these statuses, by their export."""
    query = select(export_reversals).where(
        export_reversals.c.connection_id == connection_id, export_reversals.c.xero_status.in_(statuses)
    )
    rows = await tx.execute(query.order_by(export_reversals.c.export_id, export_reversals.c.created_at))
    return [_reversal(row) for row in rows]


async def make_due(tx: Transaction, connection_id: str, now: datetime) -> None:
    """Have the reversals of a connection that wait tried now."""
    goes_on = (
        (export_reversals.c.connection_id == connection_id)
        & export_reversals.c.xero_status.in_(GOES_ON)
        & export_reversals.c.due_at.is_not(None)
    )
    await tx.execute(update(export_reversals).where(goes_on).values(due_at=to_micros(now)))


async def next_due_at(tx: Transaction, connection_id: str) -> datetime | None:
    """When the next reversal of a connection is due, whatever its status; None if none is."""
    query = select(func.min(export_reversals.c.due_at)).where(export_reversals.c.connection_id == connection_id)
    micros: int | None = (await tx.execute(query)).scalar_one()
    return None if micros is None else from_micros(micros)


def _columns(one: Reversal) -> dict[str, object]:
    return {
        "connection_id": one.connection_id,
        "export_id": one.export_id,
        "reversal_id": one.reversal_id,
        "kind": one.kind,
        "amount": to_units(one.amount),
        "currency": one.currency,
        "reason": one.reason,
        "reversed_on": one.reversed_on.isoformat(),
        "xero_status": one.xero_status,
        "error": "" if one.error is None else msgspec.json.encode(one.error).decode(),
        "records": msgspec.json.encode(one.records).decode(),
        "due_at": None if one.due_at is None else to_micros(one.due_at),
        "created_at": to_micros(one.created_at),
        "completed_at": None if one.completed_at is None else to_micros(one.completed_at),
        "updated_at": to_micros(one.updated_at),
    }


def _reversal(row: Row[tuple[object, ...]]) -> Reversal:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Reversal(
        id=r["id"],
        export_id=r["export_id"],
        connection_id=r["connection_id"],
        reversal_id=r["reversal_id"],
        kind=r["kind"],
        amount=from_units(r["amount"]),
        currency=r["currency"],
        reason=r["reason"],
        reversed_on=date.fromisoformat(r["reversed_on"]),
        xero_status=r["xero_status"],
        error=_error(r["error"]) if r["error"] else None,
        records=_records(r["records"]),
        due_at=None if r["due_at"] is None else from_micros(r["due_at"]),
        created_at=from_micros(r["created_at"]),
        completed_at=None if r["completed_at"] is None else from_micros(r["completed_at"]),
        updated_at=from_micros(r["updated_at"]),
    )
