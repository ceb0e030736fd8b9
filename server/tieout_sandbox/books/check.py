"""The proof that books add up: every figure is worked out again from the documents that it comes from."""

from collections.abc import Iterator
from decimal import Decimal

from tieout_sandbox.books.documents import (
    ZERO,
    ContactStatus,
    Credit,
    Invoice,
    LineAmounts,
    Payment,
    Status,
    Target,
)
from tieout_sandbox.books.ledger import Ledger
from tieout_sandbox.books.rules import bank_amount, line_amount, open_amount, roles_of

_IN_USE = frozenset({Status.AUTHORISED, Status.PAID})


def faults_in(books: Ledger) -> list[str]:
    """A sentence for everything that does not add up; empty when the books are right."""
    faults = [
        *_contact_faults(books),
        *_payment_faults(books),
        *_batch_faults(books),
        *_bank_faults(books),
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
    tax = sum((line.tax_amount for line in document.lines), ZERO)
    net = sum((line.line_amount for line in document.lines), ZERO)
    if document.line_amounts is LineAmounts.INCLUSIVE:
        net -= tax
    if (net, tax, net + tax) != (document.sub_total, document.total_tax, document.total):
        yield f"{document.id}: its lines come to {net} + {tax}, not to {document.total}"
    if any(line_amount(line) != line.line_amount for line in document.lines):
        yield f"{document.id}: a line is not quantity times unit amount"
    if document.total < 0 or open_amount(document) < 0:
        yield f"{document.id}: {open_amount(document)} open of {document.total}"
    if document not in document.contact.documents:
        yield f"{document.id}: its contact does not know it"


def _status_faults(document: Target) -> Iterator[str]:
    used = bool(document.payments or document.allocations)
    if (document.status is Status.PAID) != (open_amount(document) == 0 and document.status in _IN_USE):
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
        crosses = other.contact is not document.contact
        if crosses is not allocation.crosses_contacts or other.currency != document.currency:
            yield f"{document.id}: allocation {allocation.id} crosses contacts or currencies"


def _settled(document: Target) -> tuple[Decimal, Decimal]:
    if isinstance(document, Credit):
        return document.amount_refunded, document.amount_allocated
    return document.amount_paid, document.amount_credited


def _payment_faults(books: Ledger) -> Iterator[str]:
    for payment in books.payments.values():
        if (payment in payment.target.payments) == (payment.status is Status.DELETED):
            yield f"{payment.id}: {payment.status} does not agree with its document"
        expected = bank_amount(payment.amount, payment.target, payment.account, payment.rate)
        if payment.bank_amount not in {expected, payment.bank_amount_given} or payment.amount <= 0:
            yield f"{payment.id}: {payment.amount} is not {payment.bank_amount} in the bank"
        currency = payment.account.currency or books.base_currency
        if not payment.account.is_for_payments or currency not in _bank_currencies(payment, books):
            yield f"{payment.id}: booked to an account that cannot take it"


def _batch_faults(books: Ledger) -> Iterator[str]:
    batched = {payment for payment in books.payments.values() if payment.batch is not None}
    listed = [payment for batch in books.batches.values() for payment in batch.payments]
    if len(listed) != len(batched) or set(listed) != batched:
        yield f"{len(batched)} payments say that they are part of a batch, the batches list {len(listed)}"
    for batch in books.batches.values():
        if sum((payment.bank_amount for payment in batch.payments), ZERO) != batch.total:
            yield f"{batch.id}: its payments do not come to {batch.total}"
        if any(payment.status is not batch.status or payment.batch is not batch for payment in batch.payments):
            yield f"{batch.id}: {batch.status}, its payments are not"
        if any(payment.account is not batch.account or payment.on != batch.on for payment in batch.payments):
            yield f"{batch.id}: its payments are of another day or account"


def _bank_faults(books: Ledger) -> Iterator[str]:
    known = {found.credit for found in books.bank_transactions.values() if found.credit}
    if known != {*books.overpayments.values(), *books.prepayments.values()}:
        yield "not every over- or prepayment is a bank transaction"
    for found in books.bank_transactions.values():
        tax = sum((line.tax_amount for line in found.lines), ZERO)
        net = sum((line.line_amount for line in found.lines), ZERO)
        if (net if found.line_amounts is LineAmounts.INCLUSIVE else net + tax) != found.total or found.total <= 0:
            yield f"{found.id}: its lines do not come to {found.total}"
        if found.credit and (found.total, found.currency) != (found.credit.total, found.credit.currency):
            yield f"{found.id}: differs from its credit"
        if found.account.type != "BANK":
            yield f"{found.id}: not on a bank account"


def _bank_currencies(payment: Payment, books: Ledger) -> set[str]:
    return {payment.target.currency, books.base_currency}


def _contact_faults(books: Ledger) -> Iterator[str]:
    known = sum(1 for _ in _documents(books))
    listed = sum(len(contact.documents) for contact in books.contacts.values())
    if known != listed:
        yield f"{known} documents, but the contacts list {listed}"
    for contact in books.contacts.values():
        if (contact.is_customer, contact.is_supplier) != roles_of(contact, books.switches):
            types = sorted(document.type for document in contact.documents)
            yield f"{contact.id}: customer {contact.is_customer}, supplier {contact.is_supplier}, documents {types}"
        if contact.merged_to_id and (contact.documents or contact.status is not ContactStatus.ARCHIVED):
            yield f"{contact.id}: merged, yet in use"
        if contact.merged_to_id and contact.merged_to_id not in books.contacts:
            yield f"{contact.id}: merged into a contact that is not there"
