"""What a payment becomes in Xero: the writes, in their order, and the records that they make."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import msgspec

from tieout_server.errors import BugError
from tieout_server.exports import markers, sentences
from tieout_server.exports.accounts import BANK
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import StepState
from tieout_server.ledger.documents import Account, Invoice, Organisation
from tieout_server.ledger.exports import ExportError, PlatformPayment, Step, XeroRecord
from tieout_server.ledger.writes import (
    BatchDraft,
    BatchPart,
    CreditNoteDraft,
    Deletion,
    Draft,
    DraftLine,
    InvoiceDraft,
    OverpaymentDraft,
    PaymentDraft,
    RefundDraft,
    SpentMoneyDraft,
    kind_of,
)

BATCH_PARTS = 200
"""Payments of one batch at most; of more, each goes by itself."""


class PlannedWrite(msgspec.Struct, frozen=True, kw_only=True):
    """One write to Xero, to become a Step."""

    number: int
    """Those with the same number may go together; a higher one goes when all lower ones are done."""
    draft: Draft
    marker: str


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be paid of one invoice: not more than is due."""

    invoice: Invoice
    amount: Decimal


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How a payment is spread: over invoices, and what is left over."""

    payment: PlatformPayment
    shares: tuple[Share, ...]
    rest: Decimal
    contact: str
    """Whose the rest is."""
    account: Account
    base_currency: str


def of_payment(spread: Spread, new_marker: Callable[[], str]) -> tuple[PlannedWrite, ...]:
    """The writes: a batch where Xero takes one, or single payments, and after them an overpayment of the rest."""
    drafts = [_batch(spread, new_marker())] if _goes_as_batch(spread) else _singles(spread, new_marker)
    writes = [PlannedWrite(number=1, draft=draft, marker=marker) for draft, marker in drafts]
    if spread.rest > 0:
        marker = new_marker()
        writes.append(PlannedWrite(number=2, draft=_overpayment(spread, marker), marker=marker))
    return tuple(writes)


def locked_up_to(organisation: Organisation) -> date | None:
    """The last day that is locked; None where none is."""
    return max(filter(None, (organisation.period_lock_on, organisation.end_of_year_lock_on)), default=None)


def period_locked(organisation: Organisation, on: date, case: Case) -> ExportError | None:
    """Why nothing is written for that day; None where it is open."""
    locked = locked_up_to(organisation)
    if locked is None or on > locked:
        return None
    ended = organisation.end_of_year_lock_on
    return sentences.period_locked(case, on, locked, is_open_to_advisers=ended is None or on > ended)


def _goes_as_batch(spread: Spread) -> bool:
    """Batches are of the base currency, and on bank accounts (Xero, Batch Payments)."""
    return (
        1 < len(spread.shares) <= BATCH_PARTS
        and spread.payment.currency == spread.base_currency
        and spread.account.kind == BANK
    )


def _batch(spread: Spread, marker: str) -> tuple[Draft, str]:
    reference = markers.marked(marker, spread.payment.reference)
    parts = tuple(
        BatchPart(xero_invoice_id=share.invoice.xero_invoice_id, amount=share.amount, reference=reference)
        for share in spread.shares
    )
    draft = BatchDraft(
        xero_account_id=spread.account.xero_account_id, paid_on=spread.payment.paid_on, reference=marker, parts=parts
    )
    return draft, marker


def _singles(spread: Spread, new_marker: Callable[[], str]) -> Sequence[tuple[Draft, str]]:
    return [(_single(spread, share, marker := new_marker()), marker) for share in spread.shares]


def _single(spread: Spread, share: Share, marker: str) -> PaymentDraft:
    return PaymentDraft(
        xero_invoice_id=share.invoice.xero_invoice_id,
        xero_account_id=spread.account.xero_account_id,
        paid_on=spread.payment.paid_on,
        amount=share.amount,
        reference=markers.marked(marker, spread.payment.reference),
    )


def _overpayment(spread: Spread, marker: str) -> OverpaymentDraft:
    payment = spread.payment
    return OverpaymentDraft(
        xero_contact_id=spread.contact,
        xero_account_id=spread.account.xero_account_id,
        paid_on=payment.paid_on,
        amount=spread.rest,
        currency=payment.currency,
        text=markers.marked(marker, f"Overpayment {payment.reference or payment.payment_id}", markers.LONG_REFERENCE),
    )


# What writes make


def records(draft: Draft, currency: str, numbers: Mapping[str, str], xero_id: str = "") -> tuple[XeroRecord, ...]:
    """What a draft makes in Xero, as callers see it; nothing for a deletion. `numbers` are the invoices' by id."""
    if isinstance(draft, Deletion):
        return ()
    invoice_id = draft.xero_invoice_id if isinstance(draft, PaymentDraft) else ""
    return (
        XeroRecord(
            kind=kind_of(draft),
            xero_id=xero_id,
            xero_invoice_id=invoice_id,
            invoice_number=numbers.get(invoice_id, ""),
            amount=total(draft),
            currency=currency,
            xero_account_id="" if isinstance(draft, CreditNoteDraft | InvoiceDraft) else draft.xero_account_id,
        ),
    )


def total(draft: Draft) -> Decimal:
    """What a draft comes to, tax included."""
    match draft:
        case BatchDraft():
            return sum((part.amount for part in draft.parts), Decimal(0))
        case CreditNoteDraft(line_amount_types="Exclusive"):
            return sum((_line_total(line) + (line.tax_amount or 0) for line in draft.lines), Decimal(0))
        case CreditNoteDraft() | InvoiceDraft() | SpentMoneyDraft():
            return sum((_line_total(line) for line in draft.lines), Decimal(0))
        case Deletion():
            return Decimal(0)
        case _:
            return draft.amount


def _line_total(line: DraftLine) -> Decimal:
    """What Xero makes of a line, before tax where that is added (Xero, Invoices: to two decimals)."""
    exact = line.quantity * line.unit_amount * (1 - (line.discount_rate or Decimal(0)) / 100)
    return exact.quantize(Decimal("0.01"), ROUND_HALF_UP)


def filled(step: Step, others: Sequence[Step]) -> Draft:
    """The step's draft, ready to be sent: a refund of a credit note names the one that the step before it made.

    Raises:
        BugError: that step is not DONE; it is to be sent first.
    """
    if not isinstance(step.draft, RefundDraft) or step.draft.xero_credit_id:
        return step.draft
    made = [
        other
        for other in others
        if other.state == StepState.DONE
        and (other.number, other.reversal_id) == (step.number - 1, step.reversal_id)
        and isinstance(other.draft, CreditNoteDraft)
    ]
    if len(made) != 1:
        raise BugError(f"Step {step.id} refunds a credit note, of which {len(made)} are made.")
    return msgspec.structs.replace(step.draft, xero_credit_id=made[0].xero_id)
