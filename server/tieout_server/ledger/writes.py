"""What is written into an accounting system: drafts of what is to be made or deleted, and what became of them.

A draft carries a marker of ours where the record can bear one, so that it can be found again when an answer was lost.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import msgspec

from tieout_server.ledger.documents import Entity, Invoice

WRITES_AT_ONCE = 50
"""Drafts of one call (Xero, OAuth 2.0 limits: about 50 elements and 3.5 MB a call are recommended)."""
SENT_WITHIN = timedelta(minutes=1)
"""A write that could not be sent within this time of being asked for is not sent at all: whoever takes over from a
process that stood still can tell when nothing of it can arrive any more."""


class RecordKind(StrEnum):
    """The kinds of records that exports and reversals make."""

    PAYMENT = "PAYMENT"
    BATCH_PAYMENT = "BATCH_PAYMENT"
    OVERPAYMENT = "OVERPAYMENT"
    CREDIT_NOTE = "CREDIT_NOTE"
    REFUND = "REFUND"
    """Money paid back for a credit note or an overpayment: a payment of that credit."""
    INVOICE = "INVOICE"
    """Owed again, where a payment could not be taken back in its own period."""
    SPENT_MONEY = "SPENT_MONEY"
    """Money that left the bank account."""


class PaymentDraft(msgspec.Struct, frozen=True, kw_only=True, tag="PAYMENT"):
    """A payment of one invoice."""

    xero_invoice_id: str
    xero_account_id: str
    paid_on: date
    amount: Decimal
    """In the invoice's currency."""
    reference: str
    """Begins with the marker; 50 characters at most (UNSURE register, U13)."""


class BatchPart(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch pays of one invoice."""

    xero_invoice_id: str
    amount: Decimal
    reference: str


class BatchDraft(msgspec.Struct, frozen=True, kw_only=True, tag="BATCH_PAYMENT"):
    """Payments of several invoices in the base currency, one line on the bank statement (Xero, Batch Payments)."""

    xero_account_id: str
    paid_on: date
    reference: str
    """The marker alone: 12 characters are what every country's form takes, under whichever name it keeps them."""
    parts: tuple[BatchPart, ...]


class OverpaymentDraft(msgspec.Struct, frozen=True, kw_only=True, tag="OVERPAYMENT"):
    """Money of a customer that pays nothing yet: a bank transaction RECEIVE-OVERPAYMENT with one line."""

    xero_contact_id: str
    xero_account_id: str
    paid_on: date
    amount: Decimal
    currency: str
    text: str
    """The line's description; begins with the marker."""


class DraftLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a credit note, an invoice or spent money."""

    description: str
    quantity: Decimal = Decimal(1)
    unit_amount: Decimal
    account_code: str = ""
    xero_account_id: str = ""
    """Names the account where it has no code."""
    tax_type: str = ""
    """Empty: the account's own."""
    tax_amount: Decimal | None = None
    discount_rate: Decimal | None = None
    item_code: str = ""
    tracking: tuple[tuple[str, str], ...] = ()
    """Category and option, by name."""


class CreditNoteDraft(msgspec.Struct, frozen=True, kw_only=True, tag="CREDIT_NOTE"):
    """A credit note for a refund, approved."""

    xero_contact_id: str
    currency: str
    rate: Decimal | None = None
    issued_on: date
    reference: str
    """Begins with the marker."""
    line_amount_types: str
    """Xero's words: Exclusive, Inclusive, NoTax."""
    lines: tuple[DraftLine, ...]


class RefundDraft(msgspec.Struct, frozen=True, kw_only=True, tag="REFUND"):
    """Money paid back for a credit: a payment whose target is a credit note or an overpayment."""

    entity: Entity
    xero_credit_id: str
    xero_account_id: str
    paid_on: date
    amount: Decimal
    reference: str


class InvoiceDraft(msgspec.Struct, frozen=True, kw_only=True, tag="INVOICE"):
    """An approved sales invoice: what is owed again after a chargeback that could not undo its payment."""

    xero_contact_id: str
    currency: str
    rate: Decimal | None = None
    issued_on: date
    due_on: date
    reference: str
    lines: tuple[DraftLine, ...]


class SpentMoneyDraft(msgspec.Struct, frozen=True, kw_only=True, tag="SPENT_MONEY"):
    """Money that left a bank account: a bank transaction SPEND without tax."""

    xero_contact_id: str
    xero_account_id: str
    paid_on: date
    currency: str
    reference: str
    lines: tuple[DraftLine, ...]


class Deletion(msgspec.Struct, frozen=True, kw_only=True, tag="DELETION"):
    """A payment or a whole batch undone: its invoices are due again."""

    record: RecordKind
    """PAYMENT, REFUND or BATCH_PAYMENT."""
    xero_id: str


Draft = (
    PaymentDraft
    | BatchDraft
    | OverpaymentDraft
    | CreditNoteDraft
    | RefundDraft
    | InvoiceDraft
    | SpentMoneyDraft
    | Deletion
)
_KINDS: Mapping[type, RecordKind] = {
    PaymentDraft: RecordKind.PAYMENT,
    BatchDraft: RecordKind.BATCH_PAYMENT,
    OverpaymentDraft: RecordKind.OVERPAYMENT,
    CreditNoteDraft: RecordKind.CREDIT_NOTE,
    RefundDraft: RecordKind.REFUND,
    InvoiceDraft: RecordKind.INVOICE,
    SpentMoneyDraft: RecordKind.SPENT_MONEY,
}


def kind_of(draft: Draft) -> RecordKind:
    """What a draft makes in Xero, or what it deletes."""
    return draft.record if isinstance(draft, Deletion) else _KINDS[type(draft)]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one draft. Exactly one of `xero_id` and `messages` says something."""

    xero_id: str = ""
    """What was made, or what was deleted."""
    messages: tuple[str, ...] = ()
    """Why it was refused, in Xero's words."""
    parts: tuple[tuple[str, str], ...] = ()
    """Of a batch: each invoice's id with the id of its payment."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it stands in the books, looked for by the marker in one of its texts."""

    kind: RecordKind
    xero_id: str
    status: str
    """Xero's: AUTHORISED, PAID, DELETED, VOIDED."""
    texts: tuple[str, ...]
    parts: tuple[tuple[str, str], ...] = ()
    """Of a batch: each invoice's id with the id of its payment."""
    is_sure: bool = True
    """False: it is there, but not yet shown as what it is, by the id that it will be known by."""

    @property
    def is_there(self) -> bool:
        """Whether nobody has removed it."""
        return self.status not in ("DELETED", "VOIDED")


class PaymentSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as an invoice shows it."""

    xero_payment_id: str
    amount: Decimal
    paid_on: date | None
    reference: str = ""
    xero_batch_payment_id: str = ""


class InvoiceLines(msgspec.Struct, frozen=True, kw_only=True):
    """What an invoice consists of, as a credit note repeats it."""

    line_amount_types: str
    lines: tuple[DraftLine, ...]


class Payable(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice with the payments that count on it, at one moment."""

    invoice: Invoice
    payments: tuple[PaymentSeen, ...]
    as_of: datetime
