"""Documents as rows of the mirror's tables: one function per kind, one tuple in the order of the table's columns.

Flags are given as integers: sqlite3 takes as long for a bool as for all the rest of a short row.
"""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Table

from tieout_server.clock import to_micros
from tieout_server.ledger.documents import (
    IN_LEDGER,
    Account,
    Contact,
    ContactPerson,
    ContactStatus,
    Credit,
    Document,
    Invoice,
    Payment,
    Phone,
)
from tieout_server.ledger.money import to_units
from tieout_server.storage import tables

Row = tuple[Any, ...]

NEVER = "9999-12-31"
"""The stored due date of an invoice that has none: it comes last and is never overdue."""


TAIL = ("seen_in", "changed_at", "change_number", "was_here")
"""The last columns of every table: what is kept of a document beside what Xero states, which ends with the version."""


_COUNTS = frozenset(status.value for status in IN_LEDGER)


class Stamp(msgspec.Struct, frozen=True):
    """What a page of rows has in common: whose books, which sync met them, when (microseconds), as which change."""

    connection_id: str
    seen_in: int
    changed_at: int
    change_number: int


_VERSION = -1 - len(TAIL)
"""Where `xero_updated_at` stands in a row."""


class Kind(msgspec.Struct, frozen=True):
    """Where documents of one kind are kept, and how one becomes a row."""

    table: Table
    row: Callable[[Any, Stamp], Row]

    def rows(self, documents: Sequence[Document], stamp: Stamp) -> list[Row]:
        """The documents as rows in the order of their ids, of each id only the newest version.

        Raises:
            InexactAmountError: an amount has more than four decimal places.
        """
        newest: dict[str, Row] = {}
        for row in [self.row(document, stamp) for document in documents]:
            known = newest.get(row[1])
            if known is None or known[_VERSION] <= row[_VERSION]:
                newest[row[1]] = row
        return [newest[key] for key in sorted(newest)]  # neighbours in the tree are written together


class ContactDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parts of a contact that nothing is ever searched or sorted by."""

    first_name: str = ""
    last_name: str = ""
    phones: tuple[Phone, ...] = ()
    persons: tuple[ContactPerson, ...] = ()


def name_key(text: str) -> str:
    """The form in which names are ordered and searched: case does not count."""
    return text.casefold()


def allocation_rows(credit: Credit, connection_id: str) -> list[Row]:
    """The allocations of one credit as rows, in Xero's order."""
    return [
        (
            connection_id,
            credit.xero_credit_id,
            position,
            allocation.xero_allocation_id,
            allocation.xero_invoice_id,
            to_units(allocation.amount),
            _day(allocation.allocated_on),
        )
        for position, allocation in enumerate(credit.allocations)
    ]


_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=4096)  # eleven years; the same days come again and again
def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _units(amount: Decimal) -> int:
    """`to_units`, quick for nothing: half of all amounts, such as what is due of a paid invoice."""
    return to_units(amount) if amount else 0


def _is_listed(contact: Contact) -> bool:
    """Whether a contact is a customer by itself, without a look at its documents."""
    return contact.is_customer and contact.status == ContactStatus.ACTIVE and not contact.merged_into


def _contact(contact: Contact, stamp: Stamp) -> Row:
    stated = contact.stated_outstanding, contact.stated_overdue
    details = ContactDetails(contact.first_name, contact.last_name, contact.phones, contact.persons)
    return (
        stamp.connection_id,
        contact.xero_contact_id,
        contact.name,
        name_key(contact.name),
        contact.status,
        contact.email,
        contact.contact_number,
        contact.account_number,
        int(contact.is_customer),
        int(contact.is_supplier),
        contact.default_currency,
        contact.merged_into,
        _encode(details).decode(),
        *(None if amount is None else _units(amount) for amount in stated),
        to_micros(contact.updated_at),
        stamp.seen_in,
        stamp.changed_at,
        stamp.change_number,
        int(_is_listed(contact)),
    )


def _invoice(invoice: Invoice, stamp: Stamp) -> Row:
    return (
        stamp.connection_id,
        invoice.xero_invoice_id,
        invoice.xero_contact_id,
        invoice.number,
        invoice.reference,
        invoice.status,
        _day(invoice.issued_on),
        _day(invoice.due_on) or NEVER,
        _day(invoice.expected_payment_on),
        _day(invoice.fully_paid_on),
        invoice.currency,
        str(invoice.rate),
        _units(invoice.subtotal),
        _units(invoice.tax),
        _units(invoice.total),
        _units(invoice.due),
        _units(invoice.paid),
        _units(invoice.credited),
        int(invoice.sent_to_contact),
        to_micros(invoice.updated_at),
        stamp.seen_in,
        stamp.changed_at,
        stamp.change_number,
        int(invoice.status in _COUNTS),
    )


def _credit(credit: Credit, stamp: Stamp) -> Row:
    return (
        stamp.connection_id,
        credit.xero_credit_id,
        credit.entity.value,
        credit.xero_contact_id,
        credit.number,
        credit.reference,
        credit.status,
        _day(credit.issued_on),
        credit.currency,
        str(credit.rate),
        _units(credit.total),
        _units(credit.remaining),
        to_micros(credit.updated_at),
        stamp.seen_in,
        stamp.changed_at,
        stamp.change_number,
        int(credit.status in _COUNTS),
    )


def _payment(payment: Payment, stamp: Stamp) -> Row:
    return (
        stamp.connection_id,
        payment.xero_payment_id,
        payment.kind,
        payment.status,
        payment.xero_document_id,
        payment.xero_contact_id,
        _day(payment.paid_on),
        _units(payment.amount),
        None if payment.bank_amount is None else _units(payment.bank_amount),
        payment.currency,
        str(payment.rate),
        payment.reference,
        payment.xero_account_id,
        payment.xero_batch_payment_id,
        int(payment.is_reconciled),
        to_micros(payment.updated_at),
        stamp.seen_in,
        stamp.changed_at,
        stamp.change_number,
        int(payment.status in _COUNTS),
    )


def _account(account: Account, stamp: Stamp) -> Row:
    return (
        stamp.connection_id,
        account.xero_account_id,
        account.code,
        account.name,
        account.kind,
        account.status,
        account.currency,
        int(account.takes_payments),
        to_micros(account.updated_at),
        stamp.seen_in,
        stamp.changed_at,
        stamp.change_number,
        1,  # an account that is put away is still told of, with that status
    )


KINDS: dict[type[Document], Kind] = {
    Contact: Kind(tables.contacts, _contact),
    Invoice: Kind(tables.invoices, _invoice),
    Credit: Kind(tables.credits, _credit),
    Payment: Kind(tables.payments, _payment),
    Account: Kind(tables.accounts, _account),
}
"""Every kind of document that is mirrored."""
