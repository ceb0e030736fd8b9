"""Notes that are still to be added to the history of invoices in Xero: one per export and invoice."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import from_micros, to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.export_tables import export_notes


class ExportNote(msgspec.Struct, frozen=True, kw_only=True):
    """A note for the history of one invoice."""

    connection_id: str
    export_id: str
    xero_invoice_id: str
    text: str
    idempotency_key: str
    due_at: datetime
    first_tried_at: datetime | None = None


async def add(tx: Transaction, notes: Sequence[ExportNote]) -> None:
    """Keep these notes; one that is there for the same export and invoice stays as it is."""
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    rows = [
        (one.export_id, one.xero_invoice_id, one.connection_id, one.text, one.idempotency_key, to_micros(one.due_at))
        for one in notes
    ]
    if rows:
        await tx.exec_driver_sql(_ADD.format(place), rows)


_ADD = (
    "INSERT INTO export_notes (export_id, xero_invoice_id, connection_id, text, idempotency_key, due_at) "
    "VALUES ({0}, {0}, {0}, {0}, {0}, {0}) ON CONFLICT (export_id, xero_invoice_id) DO NOTHING"
)


async def due(tx: Transaction, connection_id: str, now: datetime, limit: int) -> Sequence[ExportNote]:
    """The notes of a connection that are due, the one due first first, so many at most."""
    query = select(export_notes).where(
        export_notes.c.connection_id == connection_id, export_notes.c.due_at <= to_micros(now)
    )
    order = (export_notes.c.due_at, export_notes.c.export_id, export_notes.c.xero_invoice_id)
    return [_note(row) for row in await tx.execute(query.order_by(*order).limit(limit))]


async def next_due_at(tx: Transaction, connection_id: str) -> datetime | None:
    """When the next note of a connection is due; None if there is none."""
    query = select(func.min(export_notes.c.due_at)).where(export_notes.c.connection_id == connection_id)
    micros: int | None = (await tx.execute(query)).scalar_one()
    return None if micros is None else from_micros(micros)


async def put(tx: Transaction, note: ExportNote) -> None:
    """Keep when this note is to be tried next, and since when it is tried."""
    first = None if note.first_tried_at is None else to_micros(note.first_tried_at)
    values = {"due_at": to_micros(note.due_at), "first_tried_at": first}
    await tx.execute(update(export_notes).where(*_is(note)).values(**values))


async def done(tx: Transaction, note: ExportNote) -> None:
    """Forget this note: it is added, or given up."""
    await tx.execute(delete(export_notes).where(*_is(note)))


def _is(note: ExportNote) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (export_notes.c.export_id == note.export_id, export_notes.c.xero_invoice_id == note.xero_invoice_id)


def _note(row: Row[tuple[object, ...]]) -> ExportNote:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return ExportNote(
        connection_id=r["connection_id"],
        export_id=r["export_id"],
        xero_invoice_id=r["xero_invoice_id"],
        text=r["text"],
        idempotency_key=r["idempotency_key"],
        due_at=from_micros(r["due_at"]),
        first_tried_at=None if r["first_tried_at"] is None else from_micros(r["first_tried_at"]),
    )
