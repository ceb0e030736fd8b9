"""What was on its way into Xero when its export was erased: as much as it takes to find it there, and nobody's data.

Who was paid for what is not kept, nor any words; only a digest of the payment, by which the same one is known again,
and what the write is looked for and counted by. So the same payment, handed over again, is looked for first.
"""

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import delete, insert, select

from tieout_server.clock import from_micros
from tieout_server.ledger.exports import Step
from tieout_server.ledger.writes import BatchDraft, Draft, OverpaymentDraft, PaymentDraft
from tieout_server.storage.database import Transaction
from tieout_server.storage.export_tables import export_leftovers, export_steps, payment_exports
from tieout_server.storage.tables import connections

_OPEN = ("SENDING", "UNKNOWN")
"""The states (`exports.state`) of a step that may have come to be."""
_draft = msgspec.json.Decoder(Draft).decode


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A step of an export that was erased, to become one of the export that brings the same payment again."""

    export_id: str
    """The new export."""
    marker: str
    number: int
    draft: Draft
    idempotency_key: str
    sent_at: int
    look_from: int

    def step(self, name: str, connection_id: str, state: str) -> Step:
        """It as a step of the new export."""
        return Step(
            id=name,
            connection_id=connection_id,
            export_id=self.export_id,
            number=self.number,
            draft=self.draft,
            marker=self.marker,
            state=state,
            idempotency_key=self.idempotency_key,
            sent_at=from_micros(self.sent_at),
            look_from=from_micros(self.look_from),
        )


async def keep(tx: Transaction, export_ids: Collection[str]) -> None:
    """Keep what is left of these exports, which are held and about to be erased."""
    own, export, link = export_steps.c, payment_exports.c, connections.c
    query = (
        select(export_steps, export.fingerprint, link.xero_tenant_id)
        .join(payment_exports, export.id == own.export_id)
        .join(connections, link.id == own.connection_id)
        .where(own.export_id.in_(export_ids), own.state.in_(_OPEN), own.reversal_id == "")
    )
    rows = [
        {
            "connection_id": row.connection_id,
            "xero_tenant_id": row.xero_tenant_id,
            "fingerprint": row.fingerprint,
            "marker": row.marker,
            "number": row.number,
            "draft": msgspec.json.encode(_nobodys(_draft(row.draft), row.marker)).decode(),
            "idempotency_key": row.idempotency_key,
            "sent_at": row.sent_at,
            "look_from": row.look_from,
        }
        for row in await tx.execute(query)
    ]
    if rows:
        await tx.execute(insert(export_leftovers), rows)


async def of_exports(tx: Transaction, xero_tenant_id: str, export_ids: Collection[str]) -> Mapping[str, list[Leftover]]:
    """What is left of the payments that these exports bring, by export; those without are left out."""
    own, export = export_leftovers.c, payment_exports.c
    any_left = select(own.marker).where(own.xero_tenant_id == xero_tenant_id).limit(1)
    if (await tx.execute(any_left)).first() is None:  # as almost always
        return {}
    query = (
        select(export_leftovers, export.id.label("export_id"))
        .join(payment_exports, export.fingerprint == own.fingerprint)
        .where(own.xero_tenant_id == xero_tenant_id, export.id.in_(export_ids))
    )
    found: dict[str, list[Leftover]] = {}
    for row in await tx.execute(query.order_by(export.id, own.marker)):
        left = Leftover(
            export_id=row.export_id,
            marker=row.marker,
            number=row.number,
            draft=_draft(row.draft),
            idempotency_key=row.idempotency_key,
            sent_at=row.sent_at,
            look_from=row.look_from,
        )
        found.setdefault(row.export_id, []).append(left)
    return found


async def forget(tx: Transaction, xero_tenant_id: str, markers: Collection[str]) -> None:
    """Forget these: they are steps again."""
    own = export_leftovers.c
    await tx.execute(delete(export_leftovers).where(own.xero_tenant_id == xero_tenant_id, own.marker.in_(markers)))


def _nobodys(draft: Draft, marker: str) -> Draft:
    """The draft without whom it is about, and without words."""
    replace = msgspec.structs.replace
    match draft:
        case PaymentDraft():
            return replace(draft, reference=marker)
        case BatchDraft():
            return replace(draft, parts=tuple(replace(part, reference="") for part in draft.parts))
        case OverpaymentDraft():
            return replace(draft, xero_contact_id="", text=marker)
        case _:
            return draft
