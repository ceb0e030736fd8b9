"""Each entity's listing at Xero: where it is read, what counts as a receivable, and its rows as ledger documents."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol, TypeVar

import msgspec

from tieout_server.clock import EPOCH
from tieout_server.ledger.books import Page
from tieout_server.ledger.documents import (
    Account,
    Allocation,
    Contact,
    ContactPerson,
    ContactStatus,
    Credit,
    Document,
    Entity,
    Invoice,
    Payment,
    Phone,
)
from tieout_server.xero import wire
from tieout_server.xero.bounds import within_books

SALES_INVOICES = frozenset({"ACCREC"})
SALES_CREDIT_NOTES = frozenset({"ACCRECCREDIT"})
CUSTOMER_OVERPAYMENTS = frozenset({"RECEIVE-OVERPAYMENT", "AROVERPAYMENT"})
CUSTOMER_PREPAYMENTS = frozenset({"RECEIVE-PREPAYMENT", "ARPREPAYMENT"})
CUSTOMER_PAYMENTS = frozenset({"ACCRECPAYMENT", "ARCREDITPAYMENT", "AROVERPAYMENTPAYMENT", "ARPREPAYMENTPAYMENT"})


class _Row(Protocol):
    @property
    def updated(self) -> str: ...


class _KindedRow(_Row, Protocol):
    @property
    def id(self) -> str: ...

    @property
    def kind(self) -> str: ...


_R = TypeVar("_R", bound=_Row)
_K = TypeVar("_K", bound=_KindedRow)
Read = Callable[[bytes], Page]
"""An answer's bytes as a page."""


@dataclass(frozen=True, slots=True)
class Listing:
    """How one entity is listed."""

    path: str
    primary_id: str
    """What `order` calls the entity's id."""
    parameters: tuple[tuple[str, str], ...]
    is_paged: bool
    read: Read
    id_list: tuple[tuple[str, str], ...] | None = None
    """What goes with `IDs`, where there are lists of ids (Xero, Contacts and Invoices); elsewhere each id is a call.
    No filter: a bill is then told from an invoice that is not shown yet."""


def _contact(row: wire.ContactRow, updated_at: datetime) -> Contact:
    """The contact; of one that was erased nothing that names a person, though Xero may have to keep some of it."""
    stated = row.balances.receivable if row.balances else None
    if row.status == ContactStatus.GDPRREQUEST:
        row = msgspec.structs.replace(
            row, name="", first_name="", last_name="", email="", contact_number="", account_number="", phones=None,
            persons=None,
        )  # fmt: skip
    return Contact(
        xero_contact_id=row.contact_id,
        name=row.name or "",
        status=row.status,
        updated_at=updated_at,
        first_name=row.first_name or "",
        last_name=row.last_name or "",
        email=row.email or "",
        contact_number=row.contact_number or "",
        account_number=row.account_number or "",
        is_customer=row.is_customer,
        is_supplier=row.is_supplier,
        default_currency=row.currency or "",
        merged_into=row.merged_into or "",
        phones=tuple(_phone(phone) for phone in row.phones or () if phone.number),
        persons=tuple(_person(person) for person in row.persons or ()),
        stated_outstanding=stated.outstanding if stated else None,
        stated_overdue=stated.overdue if stated else None,
    )


def _phone(row: wire.PhoneRow) -> Phone:
    return Phone(row.kind or "DEFAULT", row.number or "", row.area_code or "", row.country_code or "")


def _person(row: wire.PersonRow) -> ContactPerson:
    return ContactPerson(row.first_name or "", row.last_name or "", row.email or "", row.included_in_emails)


def _day(text: str | None, twin: str | None = None) -> date | None:
    """A date-only field; the twin string says the same in plainer words and goes first."""
    if twin:
        return wire.on_date(twin)
    return wire.on_date(text) if text else None


def _owner(contact: wire.Reference) -> str:
    if not contact.contact_id:
        raise ValueError("a document is nobody's")
    return contact.contact_id


def to_invoice(row: wire.InvoiceRow, updated_at: datetime) -> Invoice:
    """An invoice as the ledger knows it."""
    return Invoice(
        xero_invoice_id=row.invoice_id,
        xero_contact_id=_owner(row.contact),
        status=row.status,
        currency=row.currency,
        rate=row.rate,
        total=row.total,
        due=row.due,
        paid=row.paid,
        credited=row.credited,
        updated_at=updated_at,
        number=row.number or "",
        reference=row.reference or "",
        issued_on=_day(row.issued, row.issued_text),
        due_on=_day(row.due_date, row.due_date_text),
        expected_payment_on=wire.on_date(row.expected) if row.expected else None,
        fully_paid_on=wire.on_date(row.fully_paid) if row.fully_paid else None,
        subtotal=row.subtotal,
        tax=row.tax,
        sent_to_contact=row.sent_to_contact,
    )


def _credit(entity: Entity, row: wire.CreditRow, credit_id: str, updated_at: datetime) -> Credit:
    if not credit_id:
        raise ValueError(f"there is an element of {entity} without its id")
    return Credit(
        entity=entity,
        xero_credit_id=credit_id,
        xero_contact_id=_owner(row.contact),
        status=row.status,
        currency=row.currency,
        rate=row.rate,
        total=row.total,
        remaining=row.remaining,
        updated_at=updated_at,
        number=row.number or row.invoice_number or "",
        reference=row.reference or "",
        issued_on=_day(row.issued, row.issued_text),
        allocations=tuple(_allocation(part) for part in row.allocations or () if not part.is_deleted),
    )


def _allocation(row: wire.AllocationRow) -> Allocation:
    return Allocation(
        xero_invoice_id=row.invoice.invoice_id,
        amount=row.amount,
        allocated_on=wire.on_date(row.allocated) if row.allocated else None,
        xero_allocation_id=row.allocation_id or "",
    )


def _credit_note(row: wire.CreditRow, updated_at: datetime) -> Credit:
    return _credit(Entity.CREDIT_NOTES, row, row.credit_note_id, updated_at)


def _overpayment(row: wire.CreditRow, updated_at: datetime) -> Credit:
    return _credit(Entity.OVERPAYMENTS, row, row.overpayment_id, updated_at)


def _prepayment(row: wire.CreditRow, updated_at: datetime) -> Credit:
    return _credit(Entity.PREPAYMENTS, row, row.prepayment_id, updated_at)


def _payment(row: wire.PaymentRow, updated_at: datetime) -> Payment:
    target = wire.the_one(row.invoice, row.credit_note, row.overpayment, row.prepayment)
    return Payment(
        xero_payment_id=row.payment_id,
        kind=row.kind,
        status=row.status,
        xero_document_id=target.id,
        xero_contact_id=target.contact.contact_id,
        amount=row.amount,
        currency=target.currency,
        rate=row.rate,
        updated_at=updated_at,
        paid_on=wire.on_date(row.paid) if row.paid else None,
        bank_amount=row.bank_amount,
        reference=row.reference or "",
        xero_account_id=row.account.account_id,
        xero_batch_payment_id=row.batch_payment_id or "",
        is_reconciled=row.is_reconciled,
    )


def _account(row: wire.AccountRow, updated_at: datetime) -> Account:
    return Account(
        xero_account_id=row.account_id,
        name=row.name,
        kind=row.kind,
        status=row.status,
        updated_at=updated_at,
        code=row.code or "",
        currency=row.currency or "",
        takes_payments=row.kind == "BANK" or row.enable_payments,  # bank accounts always do, whatever the flag says
    )


def _page(
    envelope: wire.Envelope, documents: list[Document], last: datetime, skipped: Sequence[_KindedRow] = ()
) -> Page:
    count = len(documents) + len(skipped)
    pagination = envelope.pagination or wire.Pagination(item_count=count)
    return Page(
        documents=documents,
        page_count=pagination.page_count,
        item_count=pagination.item_count,
        served_at=wire.anchor(envelope.served),
        last_change_at=within_books(last) if count else None,
        skipped=Counter(row.kind for row in skipped),
        skipped_ids=[row.id for row in skipped],
    )


def _page_of_all(envelope: wire.Envelope, rows: list[_R], to_document: Callable[[_R, datetime], Document]) -> Page:
    last = EPOCH
    documents = []
    for row in rows:
        updated_at = wire.instant(row.updated)
        last = max(last, updated_at)
        documents.append(to_document(row, updated_at))
    return _page(envelope, documents, last)


def _page_of_kinds(
    envelope: wire.Envelope, rows: list[_K], kinds: Collection[str], to_document: Callable[[_K, datetime], Document]
) -> Page:
    last = EPOCH
    documents = []
    skipped: list[_K] = []
    for row in rows:
        updated_at = wire.instant(row.updated)
        last = max(last, updated_at)
        if row.kind in kinds:
            documents.append(to_document(row, updated_at))
        else:
            skipped.append(row)
    return _page(envelope, documents, last, skipped)


_CONTACTS = msgspec.json.Decoder(wire.Contacts)
_INVOICES = msgspec.json.Decoder(wire.Invoices)
_CREDIT_NOTES = msgspec.json.Decoder(wire.CreditNotes)
_OVERPAYMENTS = msgspec.json.Decoder(wire.Overpayments)
_PREPAYMENTS = msgspec.json.Decoder(wire.Prepayments)
_PAYMENTS = msgspec.json.Decoder(wire.Payments)
_ACCOUNTS = msgspec.json.Decoder(wire.Accounts)


def _read_contacts(body: bytes) -> Page:
    envelope = _CONTACTS.decode(body)
    return _page_of_all(envelope, envelope.rows, _contact)


def _read_invoices(body: bytes) -> Page:
    envelope = _INVOICES.decode(body)
    return _page_of_kinds(envelope, envelope.rows, SALES_INVOICES, to_invoice)


def _read_credit_notes(body: bytes) -> Page:
    envelope = _CREDIT_NOTES.decode(body)
    return _page_of_kinds(envelope, envelope.rows, SALES_CREDIT_NOTES, _credit_note)


def _read_overpayments(body: bytes) -> Page:
    envelope = _OVERPAYMENTS.decode(body)
    return _page_of_kinds(envelope, envelope.rows, CUSTOMER_OVERPAYMENTS, _overpayment)


def _read_prepayments(body: bytes) -> Page:
    envelope = _PREPAYMENTS.decode(body)
    return _page_of_kinds(envelope, envelope.rows, CUSTOMER_PREPAYMENTS, _prepayment)


def _read_payments(body: bytes) -> Page:
    envelope = _PAYMENTS.decode(body)
    return _page_of_kinds(envelope, envelope.rows, CUSTOMER_PAYMENTS, _payment)


def _read_accounts(body: bytes) -> Page:
    envelope = _ACCOUNTS.decode(body)
    return _page_of_all(envelope, envelope.rows, _account)


LISTINGS: Mapping[Entity, Listing] = {
    Entity.CONTACTS: Listing(
        "Contacts", "ContactID", (("includeArchived", "true"),), True, _read_contacts, (("includeArchived", "true"),)
    ),
    # summaryOnly leaves out line items, payments and attachments and keeps every amount (Xero, Invoices).
    Entity.INVOICES: Listing(
        "Invoices",
        "InvoiceID",
        (("where", 'Type=="ACCREC"'), ("summaryOnly", "true")),
        True,
        _read_invoices,
        (("summaryOnly", "true"),),
    ),
    Entity.CREDIT_NOTES: Listing(
        "CreditNotes", "CreditNoteID", (("where", 'Type=="ACCRECCREDIT"'),), True, _read_credit_notes
    ),
    # No filter on Type is optimised for these three (Xero, High volume threshold): suppliers' rows are skipped here.
    Entity.OVERPAYMENTS: Listing("Overpayments", "OverpaymentID", (), True, _read_overpayments),
    Entity.PREPAYMENTS: Listing("Prepayments", "PrepaymentID", (), True, _read_prepayments),
    Entity.PAYMENTS: Listing("Payments", "PaymentID", (), True, _read_payments),
    Entity.ACCOUNTS: Listing("Accounts", "AccountID", (), False, _read_accounts),
}
