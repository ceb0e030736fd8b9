"""The proof that books add up: every figure is worked out again from the documents that it comes from."""

from collections.abc import Iterator
from decimal import Decimal

from tieout_sandbox.books.documents import (
    GONE,
    ZERO,
    ContactStatus,
    Credit,
    Invoice,
    InvoiceType,
    Payment,
    Status,
    Target,
)
from tieout_sandbox.books.ledger import Ledger
from tieout_sandbox.books.rules import bank_amount, open_amount


def faults_in(books: Ledger) -> list[str]:
    """A sentence for everything that does not add up; empty when the books are right."""
    faults = [
        *_contact_faults(books),
        *_payment_faults(books),
    ]
    for document in _documents(books):
        faults.extend(_document_faults(document))
        faults.extend(_status_faults(document))
        faults.extend(_settlement_faults(document, books))
    return faults


def _documents(books: Ledger) -> Iterator[Target]:
    yield from books.invoices.values()
    for collection in (books.credit_notes, books.overpayments, books.prepayments):
        yield from collection.values()


def _document_faults(document: Target) -> Iterator[str]:
    net = sum((line.line_amount for line in document.lines), ZERO)
    tax = sum((line.tax_amount for line in document.lines), ZERO)
    if (net, tax, net + tax) != (document.sub_total, document.total_tax, document.total):
        yield f"{document.id}: its lines come to {net} + {tax}, not to {document.total}"
    if any(line.quantity * line.unit_amount != line.line_amount for line in document.lines):
        yield f"{document.id}: a line is not quantity times unit amount"
    if document.total <= 0 or open_amount(document) < 0:
        yield f"{document.id}: {open_amount(document)} open of {document.total}"
    if document not in document.contact.documents:
        yield f"{document.id}: its contact does not know it"


def _status_faults(document: Target) -> Iterator[str]:
    used = bool(document.payments or document.allocations)
    if (document.status is Status.PAID) != (open_amount(document) == 0 and document.status not in GONE):
        yield f"{document.id}: {document.status} with {open_amount(document)} open"
    if (document.status is Status.PAID) != (document.fully_paid_on is not None):
        yield f"{document.id}: {document.status}, fully paid on {document.fully_paid_on}"
    if used and document.status not in {Status.AUTHORISED, Status.PAID}:
        yield f"{document.id}: {document.status} although something was paid or allocated"


def _settlement_faults(document: Target, books: Ledger) -> Iterator[str]:
    paid = sum((payment.amount for payment in document.payments), ZERO)
    allocated = sum((allocation.amount for allocation in document.allocations), ZERO)
    if (paid, allocated) != _settled(document):
        yield f"{document.id}: {paid} paid and {allocated} allocated, but it says {_settled(document)}"
    for payment in document.payments:
        if payment.target is not document or books.payments.get(payment.id) is not payment:
            yield f"{document.id}: payment {payment.id} is not a payment of it"
        if payment.status is Status.DELETED:
            yield f"{document.id}: still counts the deleted payment {payment.id}"
    for allocation in document.allocations:
        other = allocation.credit if isinstance(document, Invoice) else allocation.invoice
        if allocation not in other.allocations:
            yield f"{document.id}: allocation {allocation.id} is missing on the other side"
        if other.contact is not document.contact or other.currency != document.currency:
            yield f"{document.id}: allocation {allocation.id} crosses contacts or currencies"


def _settled(document: Target) -> tuple[Decimal, Decimal]:
    if isinstance(document, Credit):
        return document.amount_refunded, document.amount_allocated
    return document.amount_paid, document.amount_credited


def _payment_faults(books: Ledger) -> Iterator[str]:
    for payment in books.payments.values():
        if (payment in payment.target.payments) == (payment.status is Status.DELETED):
            yield f"{payment.id}: {payment.status} does not agree with its document"
        if payment.bank_amount != bank_amount(payment.amount, payment.target, payment.account) or payment.amount <= 0:
            yield f"{payment.id}: {payment.amount} is not {payment.bank_amount} in the bank"
        if not payment.account.is_payable or payment.account.currency not in _bank_currencies(payment, books):
            yield f"{payment.id}: booked to an account that cannot take it"


def _bank_currencies(payment: Payment, books: Ledger) -> set[str]:
    return {payment.target.currency, books.base_currency}


def _contact_faults(books: Ledger) -> Iterator[str]:
    known = sum(1 for _ in _documents(books))
    listed = sum(len(contact.documents) for contact in books.contacts.values())
    if known != listed:
        yield f"{known} documents, but the contacts list {listed}"
    for contact in books.contacts.values():
        types = {document.type for document in contact.documents if isinstance(document, Invoice)}
        if contact.is_customer != (InvoiceType.ACCREC in types) or contact.is_supplier != (InvoiceType.ACCPAY in types):
            parts = f"customer {contact.is_customer}, supplier {contact.is_supplier}"
            yield f"{contact.id}: {parts}, documents {sorted(types)}"
        if contact.merged_to_id and (contact.documents or contact.status is not ContactStatus.ARCHIVED):
            yield f"{contact.id}: merged, yet in use"
        if contact.merged_to_id and contact.merged_to_id not in books.contacts:
            yield f"{contact.id}: merged into a contact that is not there"
