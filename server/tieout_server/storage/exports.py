"""Payment exports: one row per payment of a connection, and everything that happened to it."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, Select, bindparam, func, or_, select, update

from tieout_server.clock import from_micros, from_micros_if_any, to_micros, to_micros_if_any
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.exports import ExportError, ExportEvent, PaymentExport, PlatformPayment, XeroRecord
from tieout_server.storage import export_steps, reversals
from tieout_server.storage.database import Transaction
from tieout_server.storage.export_tables import export_events, export_lines, payment_exports
from tieout_server.storage.pages import Span, paged
from tieout_server.storage.tables import connections, invoices

KEEP: Final = msgspec.UNSET
"""Leaves as it is when an export is to be looked for in Xero."""
_WAITING = ("QUEUED", "CHECKED")
"""The statuses (`exports.state`) in which an export waits for its turn."""
UNSEEN = (*_WAITING, "SENDING", "OUTCOME_UNKNOWN", "EXPORTED", "ERROR", "REMOVED_IN_XERO")
"""The statuses in which a payment that was collected is not seen in Xero: under way, or waiting for somebody."""

_NUMBERS = select(invoices.c.number, invoices.c.xero_invoice_id).where(
    invoices.c.connection_id == bindparam("connection_id"),
    invoices.c.xero_invoice_id.in_(bindparam("ids", expanding=True)),
    invoices.c.number != "",
)
_UNDER_WAY = (
    select(export_lines.c.xero_invoice_id, export_lines.c.invoice_number, payment_exports.c.id)
    .join(payment_exports, payment_exports.c.id == export_lines.c.export_id)
    .where(
        export_lines.c.connection_id == bindparam("connection_id"),
        or_(
            export_lines.c.xero_invoice_id.in_(bindparam("ids", expanding=True)),
            export_lines.c.invoice_number.in_(bindparam("numbers", expanding=True)),
        ),
        payment_exports.c.xero_status.in_(UNSEEN),
    )
    .order_by(payment_exports.c.id)
)
"""Built once: see `connections`."""

_payment = msgspec.json.Decoder(PlatformPayment).decode
_error = msgspec.json.Decoder(ExportError).decode
_records = msgspec.json.Decoder(tuple[XeroRecord, ...]).decode
_organisation = msgspec.json.Decoder(Organisation).decode


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which exports: those that meet every condition that is set."""

    statuses: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


async def insert(tx: Transaction, export: PaymentExport, fingerprint: str, accepted_in: int = 0) -> bool:
    """Keep a new export; False if its payment is there already, and then nothing is kept.

    A purge of what syncs up to an ordinal read takes exports accepted up to it, too.
    """
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    first = {"id": export.id, "fingerprint": fingerprint, "accepted_in": accepted_in, "verify_at": None}
    columns = first | _columns(export)
    statement = (
        f"INSERT INTO payment_exports ({', '.join(columns)}) VALUES ({', '.join([place] * len(columns))}) "  # noqa: S608 - names of columns, no values
        "ON CONFLICT (connection_id, payment_id) DO NOTHING"
    )
    if not (await tx.exec_driver_sql(statement, tuple(columns.values()))).rowcount:
        return False
    lines = [
        {
            "export_id": export.id,
            "position": position,
            "connection_id": export.connection_id,
            "xero_invoice_id": line.xero_invoice_id,
            "invoice_number": line.invoice_number.casefold(),
        }
        for position, line in enumerate(export.payment.lines)
    ]
    await tx.execute(export_lines.insert(), lines)
    return True


async def put(tx: Transaction, export: PaymentExport, *, verify_at: datetime | msgspec.UnsetType | None = KEEP) -> None:
    """Keep this export as it is now, without its history and its reversals.

    Its records are linked to it from then on. `verify_at` says when it is to be looked for in Xero, None not at all.
    """
    values = _columns(export)
    if verify_at is not msgspec.UNSET:
        values["verify_at"] = None if verify_at is None else to_micros(verify_at)
    await tx.execute(update(payment_exports).where(payment_exports.c.id == export.id).values(**values))
    records = {record.xero_id: record.removed for record in export.records if record.xero_id}
    await export_steps.link(tx, export.connection_id, export.id, records)


async def add_events(tx: Transaction, happened: Mapping[str, ExportEvent]) -> Mapping[str, tuple[ExportEvent, ...]]:
    """Add to the histories of these exports, which are held; answers all of each, oldest first."""
    known = await _histories(tx, happened)
    rows = [
        {
            "export_id": export_id,
            "number": len(known[export_id]) + 1,  # nothing is ever taken out of a history
            "xero_status": one.xero_status,
            "sentence": one.sentence,
            "actor": one.actor,
            "error": "" if one.error is None else msgspec.json.encode(one.error).decode(),
            "at": to_micros(one.occurred_at),
        }
        for export_id, one in happened.items()
    ]
    if rows:
        await tx.execute(export_events.insert(), rows)
    return {export_id: (*known[export_id], one) for export_id, one in happened.items()}


async def get(tx: Transaction, export_id: str, *, lock: bool = False, history: bool = False) -> PaymentExport | None:
    """The export with this id; with `lock`, nobody else changes it until the commit; its history where asked for."""
    if lock:  # by itself: a join would lock the connection, too
        await tx.execute(select(payment_exports.c.id).where(payment_exports.c.id == export_id).with_for_update())
    found = await _read(tx, _query().where(payment_exports.c.id == export_id))
    if not found:
        return None
    if not history:
        return found[0]
    return msgspec.structs.replace(found[0], history=(await _histories(tx, [export_id]))[export_id])


async def lock_all(tx: Transaction, export_ids: Collection[str]) -> Mapping[str, PaymentExport]:
    """These exports by id; nobody else changes them until the commit. They are locked in the order of their ids."""
    query = select(payment_exports.c.id).where(payment_exports.c.id.in_(export_ids)).order_by(payment_exports.c.id)
    await tx.execute(query.with_for_update())
    found = await _read(tx, _query().where(payment_exports.c.id.in_(export_ids)).order_by(payment_exports.c.id))
    return {export.id: export for export in found}


async def of_payment(tx: Transaction, connection_id: str, payment_id: str) -> tuple[PaymentExport, str] | None:
    """The export of the payment with this id of the caller's, and its fingerprint."""
    query = _query().where(payment_exports.c.connection_id == connection_id, payment_exports.c.payment_id == payment_id)
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        return None
    (export,) = await _with_reversals(tx, [_export(row)])
    return export, row.fingerprint


async def _histories(tx: Transaction, export_ids: Collection[str]) -> dict[str, tuple[ExportEvent, ...]]:
    """What happened to each of these exports, oldest first."""
    query = select(export_events).where(export_events.c.export_id.in_(export_ids))
    found: dict[str, list[ExportEvent]] = {export_id: [] for export_id in export_ids}
    for row in await tx.execute(query.order_by(export_events.c.export_id, export_events.c.number)):
        found[row.export_id].append(_event(row))
    return {export_id: tuple(own) for export_id, own in found.items()}


async def page(
    tx: Transaction, connection_id: str, wanted: ExportQuery, span: Span
) -> tuple[list[PaymentExport], Span | None]:
    """Exports of a connection, newest first, without history; and the span of the next page."""
    query = _query().where(payment_exports.c.connection_id == connection_id)
    if wanted.statuses:
        query = query.where(payment_exports.c.xero_status.in_(wanted.statuses))
    if wanted.reasons:
        query = query.where(payment_exports.c.reason.in_(wanted.reasons))
    order = (payment_exports.c.created_at, payment_exports.c.id)
    rows, following = await paged(tx, query, order, span, newest_first=True)
    return await _with_reversals(tx, [_export(row) for row in rows]), following


async def due(tx: Transaction, connection_id: str, now: datetime, limit: int) -> list[PaymentExport]:
    """The exports of a connection that wait and are due, the one due first first, so many at most; none is locked."""
    query = _query().where(
        payment_exports.c.connection_id == connection_id,
        payment_exports.c.due_at <= to_micros(now),
        payment_exports.c.xero_status.in_(_WAITING),
    )
    order = (payment_exports.c.due_at, payment_exports.c.created_at, payment_exports.c.id)
    return await _read(tx, query.order_by(*order).limit(limit))


async def next_due_at(tx: Transaction, connection_id: str) -> datetime | None:
    """When the next export or reversal of a connection is due, whatever its status; None if none is.

    One whose outcome is unknown is due when it is to be looked for.
    """
    found = (
        await _earliest(tx, connection_id, payment_exports.c.due_at),
        await reversals.next_due_at(tx, connection_id),
    )
    return min((at for at in found if at is not None), default=None)


async def next_verify_at(tx: Transaction, connection_id: str) -> datetime | None:
    """When the next export of a connection is to be looked for in Xero; None if none is."""
    return await _earliest(tx, connection_id, payment_exports.c.verify_at)


async def to_verify(tx: Transaction, connection_id: str, now: datetime, limit: int) -> list[PaymentExport]:
    """The exports of a connection that are to be looked for in Xero by now, longest waiting first."""
    query = _query().where(
        payment_exports.c.connection_id == connection_id, payment_exports.c.verify_at <= to_micros(now)
    )
    return await _read(tx, query.order_by(payment_exports.c.verify_at, payment_exports.c.id).limit(limit))


async def with_status(
    tx: Transaction,
    connection_id: str,
    statuses: Collection[str],
    reasons: Collection[str] = (),
    *,
    limit: int,
    after: str = "",
    updated_before: datetime | None = None,
) -> list[PaymentExport]:
    """The exports of a connection in one of these statuses, by id, so many at most; of these reasons where named.

    Only those behind the id `after`, and where an instant is named, only those that did not change since.
    """
    query = _query().where(
        payment_exports.c.connection_id == connection_id, payment_exports.c.xero_status.in_(statuses)
    )
    if reasons:
        query = query.where(payment_exports.c.reason.in_(reasons))
    if updated_before is not None:
        query = query.where(payment_exports.c.updated_at < to_micros(updated_before))
    return await _read(tx, query.where(payment_exports.c.id > after).order_by(payment_exports.c.id).limit(limit))


async def make_due(tx: Transaction, connection_id: str, reasons: Collection[str], now: datetime) -> None:
    """Have the exports of a connection that wait for one of these reasons tried now."""
    waits = (
        (payment_exports.c.connection_id == connection_id)
        & payment_exports.c.xero_status.in_(_WAITING)
        & payment_exports.c.reason.in_(reasons)
    )
    await tx.execute(update(payment_exports).where(waits).values(due_at=to_micros(now)))


async def has_any(tx: Transaction, connection_id: str) -> bool:
    """Whether any payment of this connection was ever accepted."""
    query = select(payment_exports.c.id).where(payment_exports.c.connection_id == connection_id)
    return (await tx.execute(query.limit(1))).first() is not None


async def pending_of(tx: Transaction, connection_id: str, xero_invoice_ids: Collection[str]) -> Mapping[str, str]:
    """Those of these invoices that are paid, which Xero does not show yet, with the export's id.

    A line that names its invoice by number is about the invoice with that number in the mirror, in capitals or not.
    """
    asked: dict[str, object] = {"connection_id": connection_id, "ids": list(xero_invoice_ids)}
    numbers: dict[str, list[str]] = {}
    for row in await tx.execute(_NUMBERS, asked):
        numbers.setdefault(row.number.casefold(), []).append(row.xero_invoice_id)
    ids, found = set(xero_invoice_ids), dict[str, str]()
    for line in await tx.execute(_UNDER_WAY, {**asked, "numbers": list(numbers)}):
        meant = {line.xero_invoice_id, *numbers.get(line.invoice_number, ())} & ids
        found |= dict.fromkeys(meant, line.id)
    return found


async def _earliest(tx: Transaction, connection_id: str, column: Any) -> datetime | None:  # noqa: ANN401 - SQLAlchemy's column of whatever nullability
    query = select(func.min(column)).where(payment_exports.c.connection_id == connection_id)
    micros: int | None = (await tx.execute(query)).scalar_one()
    return None if micros is None else from_micros(micros)


def _query() -> Select[Any]:
    organisation = connections.c.organisation.label("organisation")
    return select(payment_exports, organisation).join(connections, connections.c.id == payment_exports.c.connection_id)


async def _read(tx: Transaction, query: Select[Any]) -> list[PaymentExport]:
    return await _with_reversals(tx, [_export(row) for row in await tx.execute(query)])


async def _with_reversals(tx: Transaction, found: list[PaymentExport]) -> list[PaymentExport]:
    if not found:
        return found
    own = await reversals.of_exports(tx, [export.id for export in found])
    return [msgspec.structs.replace(export, reversals=own.get(export.id, ())) for export in found]


def _columns(one: PaymentExport) -> dict[str, object]:
    return {
        "connection_id": one.connection_id,
        "payment_id": one.payment.payment_id,
        "body": msgspec.json.encode(one.payment).decode(),
        "currency": one.payment.currency,
        "xero_status": str(one.xero_status),
        "reason": "" if one.error is None else str(one.error.reason),
        "error": "" if one.error is None else msgspec.json.encode(one.error).decode(),
        "records": msgspec.json.encode(one.records).decode(),
        "attempts": one.attempts,
        "due_at": to_micros_if_any(one.due_at),
        "created_at": to_micros(one.created_at),
        "updated_at": to_micros(one.updated_at),
        "exported_at": to_micros_if_any(one.exported_at),
        "verified_at": to_micros_if_any(one.verified_at),
        "dismissal_note": one.dismissal_note,
        "dismissed_by": one.dismissed_by,
    }


def _export(row: Row[Any]) -> PaymentExport:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return PaymentExport(
        id=r["id"],
        connection_id=r["connection_id"],
        payment=_payment(r["body"]),
        xero_status=r["xero_status"],
        error=_error(r["error"]) if r["error"] else None,
        records=_records(r["records"]),
        attempts=r["attempts"],
        due_at=from_micros_if_any(r["due_at"]),
        created_at=from_micros(r["created_at"]),
        updated_at=from_micros(r["updated_at"]),
        exported_at=from_micros_if_any(r["exported_at"]),
        verified_at=from_micros_if_any(r["verified_at"]),
        dismissal_note=r["dismissal_note"],
        dismissed_by=r["dismissed_by"],
        short_code=_organisation(r["organisation"]).short_code if r["organisation"] else "",
    )


def _event(row: Row[Any]) -> ExportEvent:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return ExportEvent(
        xero_status=r["xero_status"],
        sentence=r["sentence"],
        actor=r["actor"],
        occurred_at=from_micros(r["at"]),
        error=_error(r["error"]) if r["error"] else None,
    )
