"""What the read side answers with: documents as the mirror has them, put together for a reader."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from tieout_server.ledger.documents import Account, Contact, Credit, Entity, Invoice, Payment, Phone
from tieout_server.ledger.money import Money
from tieout_server.storage.pages import Span
from tieout_server.storage.receivables import Credited

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list. `following` is the span of the next one, None on the last."""

    items: Sequence[T]
    following: Span | None = None


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """A contact that buys, and how it stands; currencies with nothing are left out of each list."""

    connection_id: str
    contact: Contact
    archived_with_balance: bool
    """Put away in Xero, and here because it still owes or is owed."""
    outstanding: tuple[Money, ...]
    """Amounts due of AUTHORISED invoices, less all that is unapplied."""
    overdue: tuple[Money, ...]
    """The part of the amounts due whose due date has passed, by the organisation's calendar."""
    unapplied: tuple[Money, ...]
    """Credit that is not applied to an invoice, as positive amounts."""
    off_balance: bool = False
    """Whether our balance differs from what Xero states, in any currency."""
    off_balance_sentence: str = ""
    updated_at: datetime
    """When it, an invoice or a credit of it last changed here."""

    @property
    def customer_id(self) -> str:
        """What names it here, over merges too."""
        return self.contact.xero_contact_id

    @property
    def mobile_phone(self) -> str:
        """The phone of type MOBILE as it is dialled, empty if there is none: no other one is taken for it."""
        numbers = (dialled(phone) for phone in self.contact.phones if phone.kind == "MOBILE")
        return next((number for number in numbers if number), "")


class InvoiceView(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice, whose it is, and (from `get_invoice` only) what settled it, oldest first."""

    connection_id: str
    customer_id: str
    invoice: Invoice
    updated_at: datetime
    payments: tuple["PaymentView", ...] = ()
    allocations: tuple["AllocationView", ...] = ()


class AllocationView(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a credit that settled an invoice."""

    kind: Entity
    xero_credit_id: str
    credit_number: str
    xero_invoice_id: str
    amount: Money
    allocated_on: str
    """ISO 8601 date, empty where Xero has none."""

    @classmethod
    def of(cls, part: Credited) -> "AllocationView":
        """The view of what the mirror found."""
        allocated_on = part.allocation.allocated_on
        return cls(
            kind=part.entity,
            xero_credit_id=part.xero_credit_id,
            credit_number=part.credit_number,
            xero_invoice_id=part.allocation.xero_invoice_id,
            amount=Money(part.currency, part.allocation.amount),
            allocated_on="" if allocated_on is None else allocated_on.isoformat(),
        )


class CreditView(msgspec.Struct, frozen=True, kw_only=True):
    """A credit note, overpayment or prepayment with its allocations, and whose it is."""

    connection_id: str
    customer_id: str
    credit: Credit
    updated_at: datetime


class PaymentView(msgspec.Struct, frozen=True, kw_only=True):
    """A payment, whose it is, and the number of the invoice that it pays (empty for refunds)."""

    connection_id: str
    customer_id: str
    payment: Payment
    invoice_number: str
    updated_at: datetime


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account of the chart of accounts, whatever its status."""

    connection_id: str
    account: Account
    updated_at: datetime


Record = Customer | InvoiceView | CreditView | PaymentView | AccountView
"""What can change."""


class ChangeKind(StrEnum):
    """What happened to a record."""

    UPSERTED = "UPSERTED"
    """It is here, new or changed."""
    REMOVED = "REMOVED"
    """It left; the record is the last that was known of it."""
    MERGED = "MERGED"
    """A customer was merged into another one, which is the record."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One record, and what happened to it."""

    entity: Entity
    id: str
    kind: ChangeKind
    record: Record
    committed_at: datetime
    sync_id: str = ""
    """The sync that brought it; empty where something else did, and in a snapshot."""


def dialled(phone: Phone) -> str:
    """The number as it is dialled: country code with its plus, area code and number; empty without a number."""
    if not phone.number:
        return ""
    country = phone.country_code.strip()
    if country.isdigit() and not country.startswith("00"):
        country = f"+{country}"
    return " ".join(part for part in (country, phone.area_code.strip(), phone.number.strip()) if part)
