"""The documents of a receivables ledger, as the accounting system states them.

Every document carries `updated_at`, the accounting system's own instant of its last change: the older of two
versions never replaces the newer one.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

import msgspec


class Entity(StrEnum):
    """The kinds of record that are imported."""

    CONTACTS = "contacts"
    INVOICES = "invoices"
    CREDIT_NOTES = "credit_notes"
    OVERPAYMENTS = "overpayments"
    PREPAYMENTS = "prepayments"
    PAYMENTS = "payments"
    ACCOUNTS = "accounts"


CREDITS = (Entity.CREDIT_NOTES, Entity.OVERPAYMENTS, Entity.PREPAYMENTS)
"""The entities whose documents lower what a customer owes."""


class ContactStatus(StrEnum):
    """Where a contact stands in the books."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"
    GDPRREQUEST = "GDPRREQUEST"


class DocumentStatus(StrEnum):
    """Where an invoice, a credit or a payment stands. Only AUTHORISED and PAID are in the ledger."""

    DRAFT = "DRAFT"
    SUBMITTED = "SUBMITTED"
    AUTHORISED = "AUTHORISED"
    PAID = "PAID"
    VOIDED = "VOIDED"
    DELETED = "DELETED"


IN_LEDGER = (DocumentStatus.AUTHORISED, DocumentStatus.PAID)
"""The statuses that count: drafts are not in the ledger yet, voided and deleted documents have left it."""


class Phone(msgspec.Struct, frozen=True, omit_defaults=True):
    """One phone number of a contact. `kind` is Xero's: DEFAULT, DDI, MOBILE, FAX."""

    kind: str
    number: str
    area_code: str = ""
    country_code: str = ""


class ContactPerson(msgspec.Struct, frozen=True, omit_defaults=True):
    """A further person at a contact; Xero keeps up to five."""

    first_name: str = ""
    last_name: str = ""
    email: str = ""
    included_in_emails: bool = False


class Contact(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A customer, a supplier, both, or neither yet."""

    xero_contact_id: str
    name: str
    status: str
    updated_at: datetime
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    contact_number: str = ""
    account_number: str = ""
    is_customer: bool = False
    is_supplier: bool = False
    default_currency: str = ""
    merged_into: str = ""
    """The contact that took over this one's documents when they were merged."""
    phones: tuple[Phone, ...] = ()
    persons: tuple[ContactPerson, ...] = ()
    stated_outstanding: Decimal | None = None
    """What Xero says is outstanding from this contact, absent until it has documents; in base or raw currency
    (Xero's own texts disagree: the UNSURE register, U8)."""
    stated_overdue: Decimal | None = None


class Invoice(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A sales invoice."""

    xero_invoice_id: str
    xero_contact_id: str
    status: str
    currency: str
    rate: Decimal
    """Foreign units for one unit of the organisation's base currency; 1 for the base currency itself."""
    total: Decimal
    due: Decimal
    paid: Decimal
    credited: Decimal
    updated_at: datetime
    number: str = ""
    reference: str = ""
    issued_on: date | None = None
    due_on: date | None = None
    expected_payment_on: date | None = None
    fully_paid_on: date | None = None
    subtotal: Decimal = Decimal(0)
    tax: Decimal = Decimal(0)
    sent_to_contact: bool = False


class Allocation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The part of a credit that was set against one invoice."""

    xero_invoice_id: str
    amount: Decimal
    allocated_on: date | None = None
    xero_allocation_id: str = ""


class Credit(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A credit note, an overpayment or a prepayment: what lowers a customer's balance until it is used up."""

    entity: Entity
    xero_credit_id: str
    xero_contact_id: str
    status: str
    currency: str
    rate: Decimal
    total: Decimal
    remaining: Decimal
    updated_at: datetime
    number: str = ""
    reference: str = ""
    issued_on: date | None = None
    allocations: tuple[Allocation, ...] = ()


class Payment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Money received for an invoice, or paid back for a credit. Immutable but for its deletion (Xero, Payments)."""

    xero_payment_id: str
    kind: str
    """Xero's PaymentType: ACCRECPAYMENT for money received, ARCREDITPAYMENT and its like for refunds."""
    status: str
    xero_document_id: str
    """The invoice paid, or the credit refunded."""
    xero_contact_id: str
    amount: Decimal
    """In the document's currency."""
    currency: str
    rate: Decimal
    updated_at: datetime
    paid_on: date | None = None
    bank_amount: Decimal | None = None
    reference: str = ""
    xero_account_id: str = ""
    xero_batch_payment_id: str = ""
    is_reconciled: bool = False


class Account(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An account of the chart of accounts."""

    xero_account_id: str
    name: str
    kind: str
    """Xero's account type: BANK, REVENUE, CURRENT and so on."""
    status: str
    updated_at: datetime
    code: str = ""
    currency: str = ""
    takes_payments: bool = False
    """Whether Xero lets payments go there: a bank account, or one with EnablePaymentsToAccount."""


Document = Contact | Invoice | Credit | Payment | Account


class Organisation(msgspec.Struct, frozen=True, kw_only=True):
    """One set of books."""

    xero_tenant_id: str
    name: str
    base_currency: str
    country_code: str = ""
    short_code: str = ""
    """Xero's code for deep links into these books."""
    period_lock_on: date | None = None
    end_of_year_lock_on: date | None = None
    status: str = ""
    """Xero's OrganisationStatus: ACTIVE while the books can be used; empty where it was not stated."""
    is_demo: bool = False
    """A demo company: Xero resets it every 28 days, under a new id (Xero, Demo company)."""
    time_zone: str = ""
    """IANA's name of the zone whose dates its books go by; empty while not known, or not known to us."""


class OrganisationUser(msgspec.Struct, frozen=True, kw_only=True):
    """A person with access to an organisation, and the role they hold there."""

    xero_user_id: str
    email: str
    name: str
    role: str
    """Xero's OrganisationRole: STANDARD, FINANCIALADVISER, READONLY, INVOICEONLY, REMOVED and others to come."""
