"""Xero's JSON as typed rows: exactly the fields that are needed, read from bytes in one pass.

Facts are Xero's (Accounting API, Requests and responses; OpenAPI 16.1.0): JSON numbers are money and become `Decimal`
digit by digit, never through float, and strings are taken for numbers too; absent values are omitted; unknown fields
appear without notice and are ignored; enumerations are open.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache

import msgspec
from msgspec import field

from tieout_server.xero.bounds import Count, Currency, Id, IdOrNone, Name, check, check_rate, within_books

ONE = Decimal(1)
ZERO = Decimal(0)


def instant(text: str) -> datetime:
    r"""The instant of `/Date(1551985168000+0000)/`: milliseconds since 1970 in UTC, whatever offset is written after.

    Milliseconds divided by 1,000 are within half a microsecond of the float nearest to them, and `fromtimestamp`
    rounds to the microsecond: exact, and the fastest way there is (it runs once for every row).

    Raises:
        ValueError: the text is no such date.
    """
    try:
        return datetime.fromtimestamp(int(_milliseconds(text)) / 1000, UTC)
    except (OverflowError, OSError) as error:  # what C's own conversions say of a number that is too large
        raise ValueError("a date is out of range") from error


def anchor(text: str) -> datetime:
    """An instant that others are reckoned from.

    Raises:
        ValueError: it is none, or out of range.
    """
    return within_books(instant(text))


@lru_cache(maxsize=8192)
def on_date(text: str) -> date:
    """The calendar date of `2019-03-07T00:00:00` or `/Date(1551916800000+0000)/`, as the organisation means it.

    Both forms are midnight of that date, so no time zone is ever applied. Few dates fill a page: they are remembered.

    Raises:
        ValueError: the text is no such date.
    """
    if text.startswith("/Date("):
        return instant(text).date()
    return date.fromisoformat(text[:10])


def _milliseconds(text: str) -> str:
    if text[-7:-6] == "+":  # nearly all of them
        return text[6:-7]
    digits, sign, _ = text[6:-2].rpartition("-")
    return digits if sign and digits else text[6:-2]


class Pagination(msgspec.Struct, frozen=True, gc=False):
    """Where a page stands in its listing."""

    page_count: Count = field(name="pageCount", default=0)
    item_count: Count = field(name="itemCount", default=0)

    def check(self, rows: int, *, page: int, page_size: int) -> None:
        """Check that this can be of a page that was asked for as that one, and has so many rows.

        Raises:
            ValueError: it contradicts itself: who believes it would pass rows over, or never come to an end.
        """
        if rows >= page_size and not self.page_count:
            raise ValueError("a full page does not say how many there are")
        if rows >= page_size and page >= self.page_count and self.item_count > page * page_size:
            raise ValueError(f"page {page} of {self.page_count} is not the last one: there are {self.item_count} rows")
        if not rows and page <= self.page_count and self.item_count > (page - 1) * page_size:
            raise ValueError(f"page {page} of {self.page_count} is empty, though there are {self.item_count} rows")


NO_PAGINATION = Pagination()


class Reference(msgspec.Struct, frozen=True, gc=False):
    """A contact or account that is named inside a document: only its id counts."""

    contact_id: IdOrNone = field(name="ContactID", default="")
    account_id: IdOrNone = field(name="AccountID", default="")


NOTHING = Reference()


class PhoneRow(msgspec.Struct, frozen=True, gc=False):
    """An element of Contact.Phones; Xero lists every kind, filled in or not."""

    kind: str | None = field(name="PhoneType", default=None)
    number: str | None = field(name="PhoneNumber", default=None)
    area_code: str | None = field(name="PhoneAreaCode", default=None)
    country_code: str | None = field(name="PhoneCountryCode", default=None)


class PersonRow(msgspec.Struct, frozen=True, gc=False):
    """An element of Contact.ContactPersons."""

    first_name: str | None = field(name="FirstName", default=None)
    last_name: str | None = field(name="LastName", default=None)
    email: str | None = field(name="EmailAddress", default=None)
    included_in_emails: bool = field(name="IncludeInEmails", default=False)


class BalanceRow(msgspec.Struct, frozen=True, gc=False):
    """What Xero states of one side of a contact's account."""

    outstanding: Decimal | None = field(name="Outstanding", default=None)
    overdue: Decimal | None = field(name="Overdue", default=None)

    def __post_init__(self) -> None:
        check(self.outstanding, self.overdue)


class BalancesRow(msgspec.Struct, frozen=True, gc=False):
    """Contact.Balances, absent until the contact has documents."""

    receivable: BalanceRow | None = field(name="AccountsReceivable", default=None)


class ContactRow(msgspec.Struct, frozen=True, gc=False):
    """An element of Contacts."""

    contact_id: Id = field(name="ContactID")
    updated: str = field(name="UpdatedDateUTC")
    status: str = field(name="ContactStatus", default="ACTIVE")
    name: Name | None = field(name="Name", default=None)
    first_name: str | None = field(name="FirstName", default=None)
    last_name: str | None = field(name="LastName", default=None)
    email: str | None = field(name="EmailAddress", default=None)
    contact_number: str | None = field(name="ContactNumber", default=None)
    account_number: str | None = field(name="AccountNumber", default=None)
    is_customer: bool = field(name="IsCustomer", default=False)
    is_supplier: bool = field(name="IsSupplier", default=False)
    currency: str | None = field(name="DefaultCurrency", default=None)
    merged_into: IdOrNone | None = field(name="MergedToContactID", default=None)
    phones: tuple[PhoneRow, ...] | None = field(name="Phones", default=None)
    persons: tuple[PersonRow, ...] | None = field(name="ContactPersons", default=None)
    balances: BalancesRow | None = field(name="Balances", default=None)


class InvoiceRow(msgspec.Struct, frozen=True, gc=False):
    """An element of Invoices, as `summaryOnly` leaves it."""

    kind: str = field(name="Type")
    invoice_id: Id = field(name="InvoiceID")
    status: str = field(name="Status")
    contact: Reference = field(name="Contact")
    currency: Currency = field(name="CurrencyCode")
    total: Decimal = field(name="Total")
    due: Decimal = field(name="AmountDue")
    updated: str = field(name="UpdatedDateUTC")
    paid: Decimal = field(name="AmountPaid", default=ZERO)
    credited: Decimal = field(name="AmountCredited", default=ZERO)
    subtotal: Decimal = field(name="SubTotal", default=ZERO)
    tax: Decimal = field(name="TotalTax", default=ZERO)
    rate: Decimal = field(name="CurrencyRate", default=ONE)
    number: str | None = field(name="InvoiceNumber", default=None)
    reference: str | None = field(name="Reference", default=None)
    issued: str | None = field(name="Date", default=None)
    issued_text: str | None = field(name="DateString", default=None)
    due_date: str | None = field(name="DueDate", default=None)
    due_date_text: str | None = field(name="DueDateString", default=None)
    expected: str | None = field(name="ExpectedPaymentDate", default=None)
    fully_paid: str | None = field(name="FullyPaidOnDate", default=None)
    sent_to_contact: bool = field(name="SentToContact", default=False)

    def __post_init__(self) -> None:
        check(self.total, self.due, self.paid, self.credited, self.subtotal, self.tax)
        check_rate(self.rate)

    @property
    def id(self) -> str:
        """What names it among its kind."""
        return self.invoice_id


class TargetRow(msgspec.Struct, frozen=True, gc=False):
    """The document that a payment or an allocation is for: an invoice, or a credit, perhaps in an invoice's place."""

    invoice_id: IdOrNone = field(name="InvoiceID", default="")
    credit_note_id: IdOrNone = field(name="CreditNoteID", default="")
    overpayment_id: IdOrNone = field(name="OverpaymentID", default="")
    prepayment_id: IdOrNone = field(name="PrepaymentID", default="")
    contact: Reference = field(name="Contact", default=NOTHING)
    currency: str = field(name="CurrencyCode", default="")

    @property
    def id(self) -> str:
        """What names it among its kind; empty for none."""
        return self.invoice_id or self.credit_note_id or self.overpayment_id or self.prepayment_id


NO_TARGET = TargetRow()


def the_one(*named: TargetRow | tuple[()]) -> TargetRow:
    """The document among these that is one: an empty list stands for nothing (Xero, Payments)."""
    return next((one for one in named if one and one.id), NO_TARGET)


class AllocationRow(msgspec.Struct, frozen=True, gc=False):
    """An element of a credit's Allocations."""

    amount: Decimal = field(name="Amount")
    invoice: TargetRow = field(name="Invoice")
    allocation_id: str | None = field(name="AllocationID", default=None)
    allocated: str | None = field(name="Date", default=None)
    is_deleted: bool = field(name="IsDeleted", default=False)

    def __post_init__(self) -> None:
        check(self.amount)


class CreditRow(msgspec.Struct, frozen=True, gc=False):
    """An element of CreditNotes, Overpayments or Prepayments: they differ in the name of their id only."""

    kind: str = field(name="Type")
    status: str = field(name="Status")
    contact: Reference = field(name="Contact")
    currency: Currency = field(name="CurrencyCode")
    total: Decimal = field(name="Total")
    remaining: Decimal = field(name="RemainingCredit")
    updated: str = field(name="UpdatedDateUTC")
    credit_note_id: IdOrNone = field(name="CreditNoteID", default="")
    overpayment_id: IdOrNone = field(name="OverpaymentID", default="")
    prepayment_id: IdOrNone = field(name="PrepaymentID", default="")
    rate: Decimal = field(name="CurrencyRate", default=ONE)
    number: str | None = field(name="CreditNoteNumber", default=None)
    invoice_number: str | None = field(name="InvoiceNumber", default=None)
    reference: str | None = field(name="Reference", default=None)
    issued: str | None = field(name="Date", default=None)
    issued_text: str | None = field(name="DateString", default=None)
    allocations: tuple[AllocationRow, ...] | None = field(name="Allocations", default=None)

    def __post_init__(self) -> None:
        check(self.total, self.remaining)
        check_rate(self.rate)

    @property
    def id(self) -> str:
        """What names it among its kind."""
        return self.credit_note_id or self.overpayment_id or self.prepayment_id


class PaymentRow(msgspec.Struct, frozen=True, gc=False):
    """An element of Payments.

    A refund names its credit in `Invoice` (calcinai/xero-php #889), perhaps under the credit's own key (OpenAPI).
    """

    kind: str = field(name="PaymentType")
    payment_id: Id = field(name="PaymentID")
    status: str = field(name="Status")
    amount: Decimal = field(name="Amount")
    updated: str = field(name="UpdatedDateUTC")
    paid: str | None = field(name="Date", default=None)
    bank_amount: Decimal | None = field(name="BankAmount", default=None)
    rate: Decimal = field(name="CurrencyRate", default=ONE)
    reference: str | None = field(name="Reference", default=None)
    invoice: TargetRow | tuple[()] = field(name="Invoice", default=())
    credit_note: TargetRow | tuple[()] = field(name="CreditNote", default=())
    overpayment: TargetRow | tuple[()] = field(name="Overpayment", default=())
    prepayment: TargetRow | tuple[()] = field(name="Prepayment", default=())
    account: Reference = field(name="Account", default=NOTHING)
    batch_payment_id: str | None = field(name="BatchPaymentID", default=None)
    is_reconciled: bool = field(name="IsReconciled", default=False)

    def __post_init__(self) -> None:
        check(self.amount, self.bank_amount)
        check_rate(self.rate)

    @property
    def id(self) -> str:
        """What names it among its kind."""
        return self.payment_id


class AccountRow(msgspec.Struct, frozen=True, gc=False):
    """An element of Accounts."""

    account_id: Id = field(name="AccountID")
    kind: str = field(name="Type")
    updated: str = field(name="UpdatedDateUTC", default="/Date(0+0000)/")  # some have none (OpenAPI, example)
    name: str = field(name="Name", default="")
    status: str = field(name="Status", default="ACTIVE")
    code: str | None = field(name="Code", default=None)
    currency: str | None = field(name="CurrencyCode", default=None)
    enable_payments: bool = field(name="EnablePaymentsToAccount", default=False)


class OrganisationRow(msgspec.Struct, frozen=True, gc=False):
    """The element of Organisations."""

    organisation_id: Id = field(name="OrganisationID")
    name: str = field(name="Name")
    base_currency: Currency = field(name="BaseCurrency")
    country_code: str | None = field(name="CountryCode", default=None)
    short_code: str | None = field(name="ShortCode", default=None)
    period_lock: str | None = field(name="PeriodLockDate", default=None)
    end_of_year_lock: str | None = field(name="EndOfYearLockDate", default=None)
    status: str | None = field(name="OrganisationStatus", default=None)
    is_demo: bool = field(name="IsDemoCompany", default=False)
    time_zone: str | None = field(name="Timezone", default=None)


class UserRow(msgspec.Struct, frozen=True, gc=False):
    """An element of Users."""

    user_id: Id = field(name="UserID")
    email: str | None = field(name="EmailAddress", default=None)
    first_name: str | None = field(name="FirstName", default=None)
    last_name: str | None = field(name="LastName", default=None)
    role: str = field(name="OrganisationRole", default="UNKNOWN")


class ActionRow(msgspec.Struct, frozen=True, gc=False):
    """An element of Actions: what the authorising user may do, ALLOWED or NOT-ALLOWED."""

    name: str = field(name="Name")
    status: str = field(name="Status")


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds every collection; the collection's key differs, so each has a subclass with its rows."""

    served: str = field(name="DateTimeUTC")
    pagination: Pagination | None = None


class Contacts(Envelope, frozen=True, kw_only=True):
    """The answer of /Contacts."""

    rows: list[ContactRow] = field(name="Contacts")


class Invoices(Envelope, frozen=True, kw_only=True):
    """The answer of /Invoices."""

    rows: list[InvoiceRow] = field(name="Invoices")


class CreditNotes(Envelope, frozen=True, kw_only=True):
    """The answer of /CreditNotes."""

    rows: list[CreditRow] = field(name="CreditNotes")


class Overpayments(Envelope, frozen=True, kw_only=True):
    """The answer of /Overpayments."""

    rows: list[CreditRow] = field(name="Overpayments")


class Prepayments(Envelope, frozen=True, kw_only=True):
    """The answer of /Prepayments."""

    rows: list[CreditRow] = field(name="Prepayments")


class Payments(Envelope, frozen=True, kw_only=True):
    """The answer of /Payments."""

    rows: list[PaymentRow] = field(name="Payments")


class Accounts(Envelope, frozen=True, kw_only=True):
    """The answer of /Accounts."""

    rows: list[AccountRow] = field(name="Accounts")


class Organisations(Envelope, frozen=True, kw_only=True):
    """The answer of /Organisation."""

    rows: list[OrganisationRow] = field(name="Organisations")


class Users(Envelope, frozen=True, kw_only=True):
    """The answer of /Users."""

    rows: list[UserRow] = field(name="Users")


class Actions(Envelope, frozen=True, kw_only=True):
    """The answer of /Organisation/Actions."""

    rows: list[ActionRow] = field(name="Actions")
