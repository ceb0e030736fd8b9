"""The values that books consist of; every amount is a Decimal with two places in the document's currency."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

ZERO = Decimal("0.00")
CENT = Decimal("0.01")


class Status(StrEnum):
    """Where an invoice or credit stands (Xero, accounting types)."""

    DRAFT = "DRAFT"
    SUBMITTED = "SUBMITTED"
    AUTHORISED = "AUTHORISED"
    PAID = "PAID"
    VOIDED = "VOIDED"
    DELETED = "DELETED"


GONE = frozenset({Status.VOIDED, Status.DELETED})


class Misreading(StrEnum):
    """How a contact's figure in Xero may count a document otherwise than it ought to; `causes` brings it about."""

    AS_DRAFT = "AS_DRAFT"
    """It counts already while it is a draft or waits for approval."""
    NOT_BEFORE_ITS_DATE = "NOT_BEFORE_ITS_DATE"
    """It does not count while its date lies ahead."""
    LEFT_OUT = "LEFT_OUT"
    """It does not count at all."""
    OTHER_CURRENCY = "OTHER_CURRENCY"
    """It is not converted to the base currency where all others are, or the other way round."""


class InvoiceType(StrEnum):
    """A sales invoice or a bill."""

    ACCREC = "ACCREC"
    ACCPAY = "ACCPAY"


class CreditKind(StrEnum):
    """What a credit came from; the value is the Type of a customer's on the wire."""

    CREDIT_NOTE = "ACCRECCREDIT"
    OVERPAYMENT = "RECEIVE-OVERPAYMENT"
    PREPAYMENT = "RECEIVE-PREPAYMENT"


_TYPES = {
    (CreditKind.CREDIT_NOTE, False): ("ACCRECCREDIT", "ACCRECCREDIT", "ARCREDITPAYMENT"),
    (CreditKind.CREDIT_NOTE, True): ("ACCPAYCREDIT", "ACCPAYCREDIT", "APCREDITPAYMENT"),
    (CreditKind.OVERPAYMENT, False): ("RECEIVE-OVERPAYMENT", "AROVERPAYMENT", "AROVERPAYMENTPAYMENT"),
    (CreditKind.OVERPAYMENT, True): ("SPEND-OVERPAYMENT", "APOVERPAYMENT", "APOVERPAYMENTPAYMENT"),
    (CreditKind.PREPAYMENT, False): ("RECEIVE-PREPAYMENT", "ARPREPAYMENT", "ARPREPAYMENTPAYMENT"),
    (CreditKind.PREPAYMENT, True): ("SPEND-PREPAYMENT", "APPREPAYMENT", "APPREPAYMENTPAYMENT"),
}
"""By kind and whether it is a supplier's: the Type of the credit, of the same inside a payment, and of its payments."""


class LineAmounts(StrEnum):
    """Whether the amounts of lines are without tax, with it, or know none (Xero, LineAmountTypes)."""

    EXCLUSIVE = "Exclusive"
    INCLUSIVE = "Inclusive"
    NO_TAX = "NoTax"


class ContactStatus(StrEnum):
    """Whether a contact is in use."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"
    GDPRREQUEST = "GDPRREQUEST"


class Role(StrEnum):
    """What a user may do in an organisation (Xero, OrganisationRole)."""

    READONLY = "READONLY"
    INVOICEONLY = "INVOICEONLY"
    STANDARD = "STANDARD"
    FINANCIALADVISER = "FINANCIALADVISER"
    REMOVED = "REMOVED"


@dataclass(frozen=True, slots=True)
class Phone:
    """One of a contact's numbers; a kind that is not filled in has an empty number."""

    kind: str
    number: str = ""
    area: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who works for a contact."""

    first_name: str
    last_name: str
    email: str
    include_in_emails: bool


@dataclass(frozen=True, slots=True)
class Address:
    """Where a contact is, or gets its post."""

    kind: str
    lines: tuple[str, ...] = ()
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = ""
    attention_to: str = ""


@dataclass(slots=True, eq=False)
class Contact:
    """A customer, a supplier, both or neither."""

    id: str
    name: str
    updated_at: datetime
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    contact_number: str | None = None
    account_number: str | None = None
    status: ContactStatus = ContactStatus.ACTIVE
    is_customer: bool = False
    is_supplier: bool = False
    merged_to_id: str | None = None
    currency: str | None = None
    city: str = ""
    phones: tuple[Phone, ...] = ()
    persons: tuple[Person, ...] = ()
    addresses: tuple[Address, ...] = ()
    """As entered; empty for a contact of whom only the city is known."""
    documents: list["Invoice | Credit"] = field(default_factory=list)
    stated_otherwise_by: Decimal = ZERO
    """By how much its figure is above what its documents make, as after a journal or a conversion balance."""
    stub: str | None = None
    """Its rendering inside a document's list entry; None until somebody asks."""

    def redact(self) -> None:
        """Forget whom it is about."""
        self.name, self.email, self.first_name, self.last_name = "GDPR request", "", "", ""
        self.contact_number = self.account_number = None
        self.city, self.phones, self.persons, self.addresses = "", (), (), ()


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line of a document; whether its amount contains the tax is for the document to say."""

    description: str
    quantity: int | Decimal
    unit_amount: Decimal
    line_amount: Decimal
    tax_amount: Decimal
    account_code: str = "200"
    tax_type: str = ""
    """Empty: what the tax amount suggests."""
    discount_rate: Decimal = Decimal(0)
    """Percent off quantity times unit amount."""


@dataclass(slots=True, eq=False)
class Account:
    """An account of the chart of accounts."""

    id: str
    code: str | None
    name: str
    type: str
    class_: str
    tax_type: str
    updated_at: datetime
    currency: str | None = None
    bank_account_number: str | None = None
    system_account: str = ""
    status: str = "ACTIVE"
    takes_payments: bool = False

    @property
    def is_payable(self) -> bool:
        """Whether a payment may be booked to it: bank accounts always may (Xero, Payments)."""
        return self.status == "ACTIVE" and self.is_for_payments

    @property
    def is_for_payments(self) -> bool:
        """Whether payments may stand on it, be it archived since."""
        return self.type == "BANK" or self.takes_payments


@dataclass(slots=True, eq=False)
class Invoice:
    """A sales invoice or a bill, with all that has been paid and credited on it."""

    id: str
    type: InvoiceType
    number: str
    contact: Contact
    on: date
    due_on: date
    currency: str
    rate: Decimal
    lines: tuple[Line, ...]
    sub_total: Decimal
    total_tax: Decimal
    total: Decimal
    updated_at: datetime
    status: Status = Status.AUTHORISED
    reference: str = ""
    expected_payment_on: date | None = None
    fully_paid_on: date | None = None
    amount_paid: Decimal = ZERO
    amount_credited: Decimal = ZERO
    sent: bool = False
    created_by: str | None = None
    """The client_id of the app that made it; None for people."""
    line_amounts: LineAmounts = LineAmounts.EXCLUSIVE
    payments: list["Payment"] = field(default_factory=list)
    allocations: list["Allocation"] = field(default_factory=list)
    misread: Misreading | None = None
    rendered: bytes | None = None

    @property
    def of_supplier(self) -> bool:
        """Whether it is a bill: ours to pay."""
        return self.type is InvoiceType.ACCPAY

    @property
    def amount_due(self) -> Decimal:
        """What is still owed; nothing on a voided or deleted one."""
        return ZERO if self.status in GONE else self.total - self.amount_paid - self.amount_credited


@dataclass(slots=True, eq=False)
class Credit:
    """A credit note, an overpayment or a prepayment: of a customer, or ours with a supplier."""

    id: str
    kind: CreditKind
    number: str
    contact: Contact
    on: date
    currency: str
    rate: Decimal
    lines: tuple[Line, ...]
    sub_total: Decimal
    total_tax: Decimal
    total: Decimal
    updated_at: datetime
    status: Status = Status.AUTHORISED
    reference: str = ""
    fully_paid_on: date | None = None
    amount_allocated: Decimal = ZERO
    amount_refunded: Decimal = ZERO
    line_amounts: LineAmounts = LineAmounts.EXCLUSIVE
    payments: list["Payment"] = field(default_factory=list)
    allocations: list["Allocation"] = field(default_factory=list)
    of_supplier: bool = False
    misread: Misreading | None = None
    rendered: bytes | None = None

    @property
    def type(self) -> str:
        """The Type on the wire."""
        return _TYPES[self.kind, self.of_supplier][0]

    @property
    def type_in_payments(self) -> str:
        """The Type of the document that a payment is made on."""
        return _TYPES[self.kind, self.of_supplier][1]

    @property
    def remaining_credit(self) -> Decimal:
        """What can still be allocated or refunded; nothing on a voided one."""
        return ZERO if self.status in GONE else self.total - self.amount_allocated - self.amount_refunded


Target: TypeAlias = Invoice | Credit


@dataclass(slots=True, eq=False)
class Payment:
    """Money received for an invoice, paid for a bill, or given back on a credit; a deleted one stays in the books."""

    id: str
    target: Target
    account: Account
    on: date
    amount: Decimal
    bank_amount: Decimal
    updated_at: datetime
    reference: str = ""
    status: Status = Status.AUTHORISED
    is_reconciled: bool = False
    own_rate: Decimal | None = None
    """The rate of the day of payment, where it was given; else the document's counts."""
    bank_amount_given: Decimal | None = None
    """What the payer said that the bank saw; only where BankAmount may be written (fact sheet U14)."""
    batch: "Batch | None" = None
    rendered: bytes | None = None

    @property
    def rate(self) -> Decimal:
        """Units of the document's currency for one of the base currency."""
        return self.target.rate if self.own_rate is None else self.own_rate

    @property
    def type(self) -> str:
        """ACCRECPAYMENT for money received, ACCPAYPAYMENT for money paid, and a kind of its own for each refund."""
        target = self.target
        return f"{target.type}PAYMENT" if isinstance(target, Invoice) else _TYPES[target.kind, target.of_supplier][2]


@dataclass(slots=True, eq=False)
class Batch:
    """Payments that reach the bank as one sum; they are deleted together."""

    id: str
    account: Account
    on: date
    payments: list[Payment]
    total: Decimal
    updated_at: datetime
    reference: str = ""
    particulars: str = ""
    code: str = ""
    details: str = ""
    narrative: str = ""
    status: Status = Status.AUTHORISED
    is_reconciled: bool = False

    @property
    def type(self) -> str:
        """RECBATCH for sales, PAYBATCH for bills; the two never mix."""
        return "PAYBATCH" if self.payments[0].target.of_supplier else "RECBATCH"


@dataclass(slots=True, eq=False)
class Allocation:
    """A part of a credit that was set against an invoice."""

    id: str
    credit: Credit
    invoice: Invoice
    amount: Decimal
    on: date
    crosses_contacts: bool = False
    """Its invoice moved to another contact since; the figures of both then still count without it."""


Document: TypeAlias = Contact | Account | Invoice | Credit | Payment
