"""The single writes to Xero that exports and reversals consist of, and what they made or are linked to there."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Row, exists, func, insert, select, update

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.exports import Step
from tieout_server.ledger.writes import Draft
from tieout_server.storage import tables
from tieout_server.storage.database import Transaction
from tieout_server.storage.export_tables import export_links, export_reversals, export_steps, payment_exports

IN_XERO = ("EXPORTED", "VERIFIED", "ALREADY_RECORDED")
"""The statuses (`exports.state`) in which Xero shows the payment."""
_BEGUN = ("SENDING", "UNKNOWN", "DONE")
"""The states of a step (`exports.state`) that Xero has done or may have done."""
_MOST = 1_000
"""Steps given up that are watched for: the last ones."""
_UNDONE = ("CHARGEBACK", "LATE_FAILURE")
"""The reversals that delete payments."""

_OF_OURS = (
    select(export_steps.c.export_id)
    .join(export_reversals, export_reversals.c.id == export_steps.c.reversal_id)
    .where(export_steps.c.state.in_(_BEGUN), export_reversals.c.kind.in_(_UNDONE))
)
"""The exports that a reversal of ours has begun to delete."""

_draft = msgspec.json.Decoder(Draft).decode
_parts = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


async def add(tx: Transaction, steps: Sequence[Step]) -> None:
    """Keep these new steps."""
    if steps:
        await tx.execute(insert(export_steps), [{"id": step.id, **_columns(step)} for step in steps])


async def put(tx: Transaction, step: Step) -> None:
    """Keep this step as it is now. What an export's own step made in Xero is linked to the export from then on."""
    await tx.execute(update(export_steps).where(export_steps.c.id == step.id).values(**_columns(step)))
    if step.xero_id and not step.reversal_id:
        made = [step.xero_id, *(payment for _, payment in step.parts if payment)]
        await link(tx, step.connection_id, step.export_id, dict.fromkeys(made, step.state == "GONE"))


async def of_exports(tx: Transaction, export_ids: Collection[str]) -> Mapping[str, Sequence[Step]]:
    """The steps of each of these exports in their order, those of its reversals too."""
    query = select(export_steps).where(export_steps.c.export_id.in_(export_ids))
    found: dict[str, list[Step]] = {export_id: [] for export_id in export_ids}
    for row in await tx.execute(query.order_by(export_steps.c.export_id, export_steps.c.number, export_steps.c.id)):
        step = _step(row)
        found[step.export_id].append(step)
    return found


async def in_state(tx: Transaction, connection_id: str, states: Collection[str], limit: int) -> Sequence[Step]:
    """The steps of a connection in one of these states, those sent first first, so many at most."""
    query = select(export_steps).where(export_steps.c.connection_id == connection_id, export_steps.c.state.in_(states))
    rows = await tx.execute(query.order_by(export_steps.c.sent_at, export_steps.c.id).limit(limit))
    return [_step(row) for row in rows]


async def with_marker(tx: Transaction, connection_id: str, markers: Collection[str]) -> Sequence[Step]:
    """The steps of a connection with one of these markers, whatever became of them."""
    query = select(export_steps).where(
        export_steps.c.connection_id == connection_id, export_steps.c.marker.in_(markers)
    )
    return [_step(row) for row in await tx.execute(query.order_by(export_steps.c.id))]


async def link(tx: Transaction, connection_id: str, export_id: str, records: Mapping[str, bool]) -> None:
    """Remember that these records in Xero belong to an export, and whether each is gone there."""
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    rows = [(export_id, xero_id, connection_id, is_gone) for xero_id, is_gone in records.items()]
    if rows:
        await tx.exec_driver_sql(_LINK.format(place), rows)


_LINK = (
    "INSERT INTO export_links (export_id, xero_id, connection_id, is_gone) VALUES ({0}, {0}, {0}, {0}) "
    "ON CONFLICT (export_id, xero_id) DO UPDATE SET is_gone = excluded.is_gone"
)


async def linked(tx: Transaction, connection_id: str, xero_ids: Collection[str]) -> set[str]:
    """Those of these records in Xero that any export of the connection made or is linked to, parts of batches too."""
    query = select(export_links.c.xero_id).where(
        export_links.c.connection_id == connection_id, export_links.c.xero_id.in_(xero_ids)
    )
    return set((await tx.execute(query)).scalars())


async def removed_in_mirror(tx: Transaction, connection_id: str, limit: int) -> Sequence[tuple[str, str]]:
    """The payments of exports in Xero that the mirror shows as deleted there: export and Xero's id, in order of both.

    What a reversal of ours deletes is left out. So much at most; what was told is not told again once the export is
    no longer in Xero.
    """
    payment, own = tables.payments, export_links.c
    query = (
        select(own.export_id, own.xero_id)
        .join(payment_exports, payment_exports.c.id == own.export_id)
        .join(
            payment,
            (payment.c.connection_id == own.connection_id) & (payment.c.xero_payment_id == own.xero_id),
        )
        .where(
            payment_exports.c.connection_id == connection_id,
            payment_exports.c.xero_status.in_(IN_XERO),
            own.is_gone.is_(False),
            payment.c.status == "DELETED",
            ~exists(_OF_OURS.where(export_steps.c.export_id == payment_exports.c.id)),
        )
    )
    rows = await tx.execute(query.order_by(own.export_id, own.xero_id).limit(limit))
    return [(row[0], row[1]) for row in rows]


async def dropped_in_mirror(tx: Transaction, connection_id: str, since: datetime) -> Mapping[str, Step]:
    """The payments in the mirror that bear the marker of a step given up, with that step; of those sent since then.

    What is linked to an export already is left out. One look at all payments, and none where nothing was given up.
    """
    own, payment = export_steps.c, tables.payments.c
    query = select(export_steps).where(
        own.connection_id == connection_id, own.state == "DROPPED", own.sent_at >= to_micros(since)
    )
    dropped = {
        step.marker: step for step in map(_step, await tx.execute(query.order_by(own.sent_at.desc()).limit(_MOST)))
    }
    if not dropped:
        return {}
    begins = func.substr(payment.reference, 1, len(next(iter(dropped))))
    is_known = select(export_links.c.xero_id).where(
        export_links.c.connection_id == connection_id, export_links.c.xero_id == payment.xero_payment_id
    )
    bearing = select(payment.xero_payment_id, begins).where(
        payment.connection_id == connection_id,
        payment.status != "DELETED",
        begins.in_(dropped),
        ~exists(is_known),
    )
    return {row[0]: dropped[row[1]] for row in await tx.execute(bearing.order_by(payment.xero_payment_id))}


async def being_deleted(tx: Transaction, export_ids: Collection[str]) -> set[str]:
    """Those of these exports of which a reversal of ours deletes what they made, or did: nobody else removed that."""
    return set((await tx.execute(_OF_OURS.where(export_steps.c.export_id.in_(export_ids)))).scalars())


def _columns(step: Step) -> dict[str, object]:
    return {
        "connection_id": step.connection_id,
        "export_id": step.export_id,
        "reversal_id": step.reversal_id,
        "number": step.number,
        "draft": msgspec.json.encode(step.draft).decode(),
        "marker": step.marker,
        "state": step.state,
        "idempotency_key": step.idempotency_key,
        "sent_at": None if step.sent_at is None else to_micros(step.sent_at),
        "look_from": None if step.look_from is None else to_micros(step.look_from),
        "xero_id": step.xero_id,
        "parts": msgspec.json.encode(step.parts).decode(),
    }


def _step(row: Row[tuple[object, ...]]) -> Step:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Step(
        id=r["id"],
        connection_id=r["connection_id"],
        export_id=r["export_id"],
        reversal_id=r["reversal_id"],
        number=r["number"],
        draft=_draft(r["draft"]),
        marker=r["marker"],
        state=r["state"],
        idempotency_key=r["idempotency_key"],
        sent_at=None if r["sent_at"] is None else from_micros(r["sent_at"]),
        look_from=None if r["look_from"] is None else from_micros(r["look_from"]),
        xero_id=r["xero_id"],
        parts=_parts(r["parts"]),
    )
