"""Xero's JSON around writes as typed rows: answers to them, the records that are looked for, and invoices in full.

What concerns payments is read leniently where Xero's documents leave it open: a member may be missing, an empty list
may stand for nothing (Xero, Payments), numbers and booleans may be written as texts (OpenAPI examples of batches).
"""

from decimal import Decimal

import msgspec
from msgspec import field

from tieout_server.xero.bounds import Id, IdOrNone, check
from tieout_server.xero.wire import NO_TARGET, NOTHING, Envelope, InvoiceRow, Reference, TargetRow, the_one

NO_ID = "00000000-0000-0000-0000-000000000000"
"""The id of what was not made (Xero, Response codes)."""


class CategoryRow(msgspec.Struct, frozen=True, gc=False):
    """An element of a line's Tracking."""

    name: str = field(name="Name", default="")
    option: str = field(name="Option", default="")


class LineRow(msgspec.Struct, frozen=True, gc=False):
    """An element of LineItems. A line may be a description and nothing else."""

    description: str | None = field(name="Description", default=None)
    quantity: Decimal | None = field(name="Quantity", default=None)
    unit_amount: Decimal | None = field(name="UnitAmount", default=None)
    line_amount: Decimal | None = field(name="LineAmount", default=None)
    account_code: str | None = field(name="AccountCode", default=None)
    account_id: str | None = field(name="AccountID", default=None)
    tax_type: str | None = field(name="TaxType", default=None)
    tax_amount: Decimal | None = field(name="TaxAmount", default=None)
    discount_rate: Decimal | None = field(name="DiscountRate", default=None)
    item_code: str | None = field(name="ItemCode", default=None)
    tracking: tuple[CategoryRow, ...] | None = field(name="Tracking", default=None)

    def __post_init__(self) -> None:
        check(self.quantity, self.unit_amount, self.line_amount, self.tax_amount, self.discount_rate)


class NestedPaymentRow(msgspec.Struct, frozen=True, gc=False):
    """A payment inside its invoice. Reference and batch stand there only sometimes (Xero, Invoices; UNSURE)."""

    payment_id: Id = field(name="PaymentID")
    amount: Decimal = field(name="Amount")
    paid: str | None = field(name="Date", default=None)
    reference: str | None = field(name="Reference", default=None)
    batch_payment_id: str | None = field(name="BatchPaymentID", default=None)
    status: str = field(name="Status", default="")

    def __post_init__(self) -> None:
        check(self.amount)


class PayableRow(InvoiceRow, frozen=True, gc=False):
    """An element of Invoices with its payments; deleted ones are not among them (Xero, Invoices)."""

    payments: tuple[NestedPaymentRow, ...] | None = field(name="Payments", default=None)


class Payables(Envelope, frozen=True, kw_only=True):
    """The answer of /Invoices, in full."""

    rows: list[PayableRow] = field(name="Invoices")


class LinedRow(msgspec.Struct, frozen=True, gc=False):
    """An invoice as far as it is its lines."""

    line_amount_types: str = field(name="LineAmountTypes", default="Exclusive")
    lines: tuple[LineRow, ...] | None = field(name="LineItems", default=None)


class LinedInvoices(Envelope, frozen=True, kw_only=True):
    """The answer of /Invoices/{id}."""

    rows: list[LinedRow] = field(name="Invoices")


class PartRow(msgspec.Struct, frozen=True, gc=False):
    """An element of a batch's Payments."""

    payment_id: IdOrNone = field(name="PaymentID", default="")
    amount: Decimal | None = field(name="Amount", default=None)
    invoice: TargetRow = field(name="Invoice", default=NO_TARGET)

    def __post_init__(self) -> None:
        check(self.amount)


class BatchRow(msgspec.Struct, frozen=True, gc=False):
    """An element of BatchPayments; a deleted one has no payments."""

    batch_payment_id: Id = field(name="BatchPaymentID")
    status: str = field(name="Status", default="")
    reference: str | None = field(name="Reference", default=None)
    details: str | None = field(name="Details", default=None)
    payments: tuple[PartRow, ...] | None = field(name="Payments", default=None)


class Batches(Envelope, frozen=True, kw_only=True):
    """The answer of /BatchPayments."""

    rows: list[BatchRow] = field(name="BatchPayments")


class BankTransactionRow(msgspec.Struct, frozen=True, gc=False):
    """An element of BankTransactions; the bank's side of an overpayment names it."""

    bank_transaction_id: Id = field(name="BankTransactionID")
    kind: str = field(name="Type")
    status: str = field(name="Status", default="")
    reference: str | None = field(name="Reference", default=None)
    overpayment_id: str | None = field(name="OverpaymentID", default=None)
    lines: tuple[LineRow, ...] | None = field(name="LineItems", default=None)


class BankTransactions(Envelope, frozen=True, kw_only=True):
    """The answer of /BankTransactions."""

    rows: list[BankTransactionRow] = field(name="BankTransactions")


class WrittenRow(msgspec.Struct, frozen=True, gc=False):
    """One element of the answer to a write, of whichever kind: what tells whether and what was made."""

    state: str = field(name="StatusAttributeString", default="")
    """OK, WARNING or ERROR; only where each element was to be judged by itself."""
    has_validation_errors: bool = field(name="HasValidationErrors", default=False)
    has_errors: bool = field(name="HasErrors", default=False)
    status: str = field(name="Status", default="")
    payment_id: IdOrNone = field(name="PaymentID", default="")
    batch_payment_id: IdOrNone = field(name="BatchPaymentID", default="")
    bank_transaction_id: IdOrNone = field(name="BankTransactionID", default="")
    overpayment_id: IdOrNone = field(name="OverpaymentID", default="")
    credit_note_id: IdOrNone = field(name="CreditNoteID", default="")
    invoice_id: IdOrNone = field(name="InvoiceID", default="")
    reference: str = field(name="Reference", default="")
    amount: Decimal | None = field(name="Amount", default=None)
    total: Decimal | None = field(name="Total", default=None)
    contact: Reference = field(name="Contact", default=NOTHING)
    invoice: TargetRow = field(name="Invoice", default=NO_TARGET)
    credit_note: TargetRow = field(name="CreditNote", default=NO_TARGET)
    overpayment: TargetRow = field(name="Overpayment", default=NO_TARGET)
    prepayment: TargetRow = field(name="Prepayment", default=NO_TARGET)
    payments: tuple[PartRow, ...] = field(name="Payments", default=())
    lines: tuple[LineRow, ...] = field(name="LineItems", default=())

    def __post_init__(self) -> None:
        check(self.amount, self.total)

    def made(self, key: str) -> str:
        """The id under this key, empty where nothing was made."""
        found = {
            "PaymentID": self.payment_id,
            "BatchPaymentID": self.batch_payment_id,
            "BankTransactionID": self.bank_transaction_id,
            "OverpaymentID": self.overpayment_id,
            "CreditNoteID": self.credit_note_id,
            "InvoiceID": self.invoice_id,
        }[key]
        return "" if found == NO_ID else found

    @property
    def target_id(self) -> str:
        """What a payment is for; a refund's credit stands in an invoice's place, perhaps under its own key."""
        return the_one(self.invoice, self.credit_note, self.overpayment, self.prepayment).id
