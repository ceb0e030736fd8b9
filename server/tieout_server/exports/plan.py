"""What a payment, or the taking back of one, becomes in Xero: the writes, in their order."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from tieout_server.exports import markers
from tieout_server.exports.accounts import Ground
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.exports import ExportError, PaymentExport, Reversal, Step, XeroRecord
from tieout_server.ledger.writes import Draft, InvoiceLines, Payable


class PlannedWrite(msgspec.Struct, frozen=True, kw_only=True):
    """One write to Xero, to become a Step."""

    number: int
    """Those with the same number may go together; a higher one goes when all lower ones are done."""
    draft: Draft
    marker: str


def records(draft: Draft, currency: str, numbers: Mapping[str, str], xero_id: str = "") -> tuple[XeroRecord, ...]:
    """What a draft makes in Xero, as callers see it; nothing for a deletion. `numbers` are the invoices' by id."""
    raise NotImplementedError


def filled(step: Step, others: Sequence[Step]) -> Draft:
    """The step's draft with the id of the credit that the step before it made (`xero_credit_id` is empty until then)."""
    raise NotImplementedError


class Undoing(msgspec.Struct, frozen=True, kw_only=True):
    """A reversal, and what its plan depends on."""

    reversal: Reversal
    export: PaymentExport
    steps: tuple[Step, ...]
    """The export's own that are DONE."""
    ground: Ground
    organisation: Organisation
    payables: Mapping[str, Payable]
    """By id: the invoices that were paid."""
    lines: Mapping[str, InvoiceLines] = {}
    """By invoice id; for a REFUND of an invoice's whole total."""
    kept: Collection[str] = ()
    """Ids of payments and batches that Xero does not let anybody delete: they are reconciled, or it said so."""
    now: datetime
    new_marker: Callable[[], str] = markers.fresh


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written to take a payment back; nothing where there are findings."""

    findings: tuple[ExportError, ...] = ()
    plan: tuple[PlannedWrite, ...] = ()


def take_back(undoing: Undoing) -> Undone:
    """How a payment is taken back: deleted, refunded, or owed again in the open period."""
    raise NotImplementedError
