"""What stands in an organisation's books: the collections, and putting documents in as they are."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, auto
from typing import TypeAlias, TypeVar

from tieout_sandbox.books.banking import BankTransaction, Note, received_as
from tieout_sandbox.books.documents import (
    Account,
    Allocation,
    Batch,
    Contact,
    ContactStatus,
    Credit,
    CreditKind,
    Invoice,
    InvoiceType,
    Payment,
    Status,
)
from tieout_sandbox.books.ids import Ids
from tieout_sandbox.books.rules import NotAllowedError, NotFoundError, count_payment, roles_of
from tieout_sandbox.clock import MILLISECOND
from tieout_sandbox.switches import Switches
from tieout_sandbox.time_zones import date_in

_Document = TypeVar("_Document", bound=Contact | Invoice | Credit | Payment)
_Found = TypeVar("_Found")
Now = Callable[[], datetime]


class Change(Enum):
    """What happened to a document that somebody watching the books is told of."""

    CREATED = auto()
    UPDATED = auto()
    SETTLED = auto()
    """Money or a credit came to it or was taken back; nothing else of it was touched."""


Told: TypeAlias = Contact | Invoice | Credit | Payment
Observer: TypeAlias = Callable[[Told, Change, datetime], None]
"""Told of each change just after it is made, with its instant; it must not change the books."""
_MOST_KEPT = 60_000
"""Documents of about 2 kB each: twice the reference organisation's would take 160 MB, ten times 800 MB."""


class Ledger:
    """Contacts, accounts and documents of one organisation.

    `revision` rises with every change, visible in UpdatedDateUTC or silent. Each stamped change gets a later
    millisecond than the one before, so no two states of a document ever share a timestamp.
    """

    def __init__(self, base_currency: str, rates: dict[str, Decimal], ids: Ids, now: Now, switches: Switches) -> None:
        self.base_currency = base_currency
        self.timezone = "UTC"
        """Xero's name of it; the dates of the books are those there."""
        self.rates = rates
        self.ids = ids
        self.switches = switches
        self.revision = 0
        self.contacts: dict[str, Contact] = {}
        self.accounts: dict[str, Account] = {}
        self.invoices: dict[str, Invoice] = {}
        self.credit_notes: dict[str, Credit] = {}
        self.overpayments: dict[str, Credit] = {}
        self.prepayments: dict[str, Credit] = {}
        self.payments: dict[str, Payment] = {}
        self.batches: dict[str, Batch] = {}
        self.bank_transactions: dict[str, BankTransaction] = {}
        self.history: dict[str, list[Note]] = {}
        self.observers: list[Observer] = []
        self.untold: list[tuple[Told, Change, datetime]] | None = None
        self._now = now
        self._stamped_at = datetime.min.replace(tzinfo=UTC)

    # What is there

    def today(self) -> date:
        """The date where the organisation is: what is overdue, and how documents without a date are dated."""
        return date_in(self.timezone, self._now())

    def credits_of(self, kind: CreditKind) -> dict[str, Credit]:
        """The collection that credits of this kind live in."""
        return {
            CreditKind.CREDIT_NOTE: self.credit_notes,
            CreditKind.OVERPAYMENT: self.overpayments,
            CreditKind.PREPAYMENT: self.prepayments,
        }[kind]

    def credit(self, credit_id: str) -> Credit:
        """A credit of any kind.

        Raises:
            NotFoundError: there is none with this id.
        """
        for collection in (self.credit_notes, self.overpayments, self.prepayments):
            if credit_id in collection:
                return collection[credit_id]
        raise NotFoundError(f"There is no credit {credit_id}.")

    def contact_named(self, wanted: str) -> Contact:
        """The contact with this id, or the active one with this name, in any case.

        Raises:
            NotFoundError: there is none.
        """
        if wanted in self.contacts:
            return self.contacts[wanted]
        for contact in self.contacts.values():
            if contact.status is ContactStatus.ACTIVE and contact.name.casefold() == wanted.casefold():
                return contact
        raise NotFoundError(f"There is no active contact named {wanted}.")

    def check_name_free(self, name: str, but: Contact | None = None) -> None:
        """Refuse a name that another active contact has."""
        others = (c for c in self.contacts.values() if c.status is ContactStatus.ACTIVE and c is not but)
        if any(contact.name == name for contact in others):
            raise NotAllowedError(
                f"The contact name {name} is already assigned to another contact. "
                "The contact name must be unique across all active contacts."
            )

    def bank_account(self, currency: str) -> Account:
        """The account that money in this currency goes to: its own bank account, else the base currency's."""
        banks = {account.currency: account for account in self.accounts.values() if account.type == "BANK"}
        return banks.get(currency) or banks[self.base_currency]

    @property
    def keeps_rendered(self) -> bool:
        """Whether what was written of a document is kept; in large books that would take too much memory."""
        return len(self.invoices) + len(self.payments) <= _MOST_KEPT

    # Putting documents in, as found: no rules, no stamps; for the seed and for loading

    def put_contact(self, contact: Contact) -> Contact:
        """Take in a contact as it is."""
        self.contacts[contact.id] = contact
        self.revision += 1
        self.tell(contact, Change.CREATED, contact.updated_at)
        return contact

    def put_invoice(self, invoice: Invoice) -> Invoice:
        """Take in an invoice as it is."""
        self.invoices[invoice.id] = invoice
        contact = invoice.contact
        contact.documents.append(invoice)
        if invoice.type is InvoiceType.ACCREC:
            contact.is_customer = True  # Xero sets it without moving the contact's UpdatedDateUTC
        else:
            contact.is_supplier = True
        self.revision += 1
        self.tell(invoice, Change.CREATED, invoice.updated_at)
        return invoice

    def put_credit(self, credit: Credit, account: Account | None = None) -> Credit:
        """Take in a credit as it is; an over- or prepayment came to a bank account, as a bank transaction."""
        self.credits_of(credit.kind)[credit.id] = credit
        contact = credit.contact
        contact.documents.append(credit)
        if self.switches.credits_make_customers:
            contact.is_customer, contact.is_supplier = roles_of(contact, self.switches)
        if credit.kind is not CreditKind.CREDIT_NOTE:
            received = received_as(credit, account or self.bank_account(credit.currency))
            self.bank_transactions[received.id] = received
        self.revision += 1
        self.tell(credit, Change.CREATED, credit.updated_at)
        return credit

    def put_payment(self, payment: Payment) -> Payment:
        """Take in a payment as it is and, unless it is deleted, count it on its document."""
        self.payments[payment.id] = payment
        if payment.status is not Status.DELETED:
            payment.target.payments.append(payment)
            count_payment(payment.target, payment.amount)
        self.revision += 1
        self.tell(payment, Change.CREATED, payment.updated_at)
        return payment

    def put_allocation(self, allocation: Allocation) -> Allocation:
        """Take in an allocation as it is and count it on both sides."""
        allocation.credit.allocations.append(allocation)
        allocation.invoice.allocations.append(allocation)
        allocation.credit.amount_allocated += allocation.amount
        allocation.invoice.amount_credited += allocation.amount
        self.revision += 1
        return allocation

    # Telling of changes

    def tell(self, document: Told, change: Change, at: datetime) -> None:
        """Let those who watch know, at once or, while changes may still be taken back, when they stand."""
        if self.untold is not None:
            self.untold.append((document, change, at))
            return
        for observer in self.observers:
            observer(document, change, at)

    def moved(self, document: _Document, change: Change = Change.UPDATED) -> _Document:
        """A change that the document's UpdatedDateUTC tells of, and those who watch."""
        document.updated_at = self.stamp()
        self.silent(document)
        self.tell(document, change, document.updated_at)
        return document

    def silent(self, document: _Document) -> _Document:
        """A change that nobody is told of."""
        if not isinstance(document, Contact):
            document.rendered = None
        self.revision += 1
        return document

    @property
    def stamped_at(self) -> datetime:
        """When something was last changed that UpdatedDateUTC tells of."""
        return self._stamped_at

    def stamp(self) -> datetime:
        """Now, to the millisecond, and later than every stamp before."""
        now_at = self._now()
        now_at = now_at.replace(microsecond=now_at.microsecond // 1000 * 1000)
        self._stamped_at = max(now_at, self._stamped_at + MILLISECOND)
        return self._stamped_at

    @staticmethod
    def find(collection: dict[str, _Found], document_id: str) -> _Found:
        """What a collection has under this id.

        Raises:
            NotFoundError: nothing.
        """
        try:
            return collection[document_id]
        except KeyError:
            raise NotFoundError(f"There is no document {document_id} here.") from None
