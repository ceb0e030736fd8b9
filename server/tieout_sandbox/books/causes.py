"""Every cause of a difference between Xero's balance of a customer and somebody else's, brought about on purpose.

Some are changes that nobody is told of: no UpdatedDateUTC moves, no webhook is sent (Xero, Requests and responses: not
every edit of a part-paid document moves it). A copy that was right before is wrong afterwards, until it reads the
document by its id. The others leave the documents right and let Xero's figure for the contact read them otherwise.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from tieout_sandbox.books.balances import in_base
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import (
    CENT,
    ZERO,
    Allocation,
    Contact,
    ContactStatus,
    Credit,
    CreditKind,
    Invoice,
    InvoiceType,
    Line,
    Misreading,
    Payment,
    Status,
    Target,
)
from tieout_sandbox.books.ledger import Change
from tieout_sandbox.books.rules import NotAllowedError, conclude, count_payment, roles_of

LATE_FEE = Decimal("25.40")
OVERRIDE = Decimal("0.07")
"""Xero lets the total of a document be overridden by up to 0.10."""
UNSEEN = Decimal("1046.83")
DRAFT, AHEAD, LATE = Decimal("413.37"), Decimal("287.91"), Decimal("196.53")
CROSSED_INVOICE, CROSSED_CREDIT, CROSSED = Decimal("350.00"), Decimal("120.00"), Decimal("58.43")
FOREIGN = Decimal("940.00")
_Found = TypeVar("_Found", Invoice, Credit)


class Cause(StrEnum):
    """What can be brought about; the last one is a second way to what UNALLOCATED_CREDIT names."""

    MISSING_DOCUMENT = "MISSING_DOCUMENT"
    STALE_DOCUMENT = "STALE_DOCUMENT"
    MISSED_DELETION = "MISSED_DELETION"
    UNALLOCATED_CREDIT = "UNALLOCATED_CREDIT"
    ALLOCATION_ON_OTHER_CONTACT = "ALLOCATION_ON_OTHER_CONTACT"
    ROUNDING = "ROUNDING"
    FOREIGN_CURRENCY_MIX = "FOREIGN_CURRENCY_MIX"
    FUTURE_DATED = "FUTURE_DATED"
    DRAFT_COUNTED = "DRAFT_COUNTED"
    PAYMENT_REMOVED_IN_XERO = "PAYMENT_REMOVED_IN_XERO"
    UNEXPLAINED = "UNEXPLAINED"
    CREDIT_NOT_NETTED = "CREDIT_NOT_NETTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What was done to bring a cause about."""

    cause: Cause
    contact: Contact
    documents: tuple[Target, ...]
    said: str


def bring_about(books: Books, cause: Cause, contact_id: str | None = None) -> Deed:
    """Bring a cause about on this contact, or on the first active customer whose documents allow it.

    Raises:
        NotFoundError: there is no such contact.
        NotAllowedError: no document allows it; nothing was changed.
    """
    if contact_id is not None:
        contact = books.find(books.contacts, contact_id)
        if contact.status is not ContactStatus.ACTIVE:
            raise NotAllowedError(f"{contact.name} is archived.")
        return _DEEDS[cause][1](books, contact)
    for contact in list(books.contacts.values()):
        if contact.is_customer and contact.status is ContactStatus.ACTIVE:
            try:
                return _DEEDS[cause][1](books, contact)
            except NotAllowedError:
                continue
    raise NotAllowedError(f"No customer has the documents for {cause}.")


def meanings() -> Iterator[tuple[Cause, str]]:
    """Every cause with what bringing it about does, for people."""
    for cause, (meaning, _) in _DEEDS.items():
        yield cause, meaning


def put_right(books: Books) -> int:
    """Let every figure follow its documents again, and answer how many were put right; what was silent stays done."""
    found = 0
    for contact in books.contacts.values():
        found += bool(contact.stated_otherwise_by)
        contact.stated_otherwise_by = ZERO
        for document in contact.documents:
            crossing = [made for made in document.allocations if made.crosses_contacts]
            found += (document.misread is not None) + len(crossing)
            document.misread = None
            for made in crossing:
                books.remove_allocation(made)
    books.revision += 1
    return found


# Changes that nobody is told of


def _missing(books: Books, contact: Contact) -> Deed:
    late_at = books.stamp() - timedelta(days=2)
    with _unheard(books):
        invoice = books.create_invoice(contact.id, LATE, on=late_at.date(), currency=books.base_currency)
    invoice.updated_at = late_at
    return _deed(Cause.MISSING_DOCUMENT, f"Invoice {invoice.number} is there as if it had been for two days.", invoice)


def _stale(books: Books, contact: Contact) -> Deed:
    invoice = _oldest(_open_invoices(books, contact))
    invoice.lines = (*invoice.lines, Line("Late fee", 1, LATE_FEE, LATE_FEE, ZERO))
    invoice.sub_total += LATE_FEE
    invoice.total += LATE_FEE
    books.silent(invoice)
    return _deed(Cause.STALE_DOCUMENT, f"Invoice {invoice.number} is {LATE_FEE} more; no date tells of it.", invoice)


def _voided(books: Books, contact: Contact) -> Deed:
    untouched = (one for one in _open_invoices(books, contact) if not one.payments and not one.allocations)
    invoice = _oldest(untouched)
    invoice.status = Status.VOIDED
    books.silent(invoice)
    return _deed(Cause.MISSED_DELETION, f"Invoice {invoice.number} was voided; no date tells of it.", invoice)


def _credit_applied(books: Books, contact: Contact) -> Deed:
    credit, invoice = _oldest(_credits(books, contact)), _oldest(_open_invoices(books, contact))
    amount = (min(credit.remaining_credit, invoice.amount_due) / 2).quantize(CENT)
    if not amount:
        raise NotAllowedError("Less than a cent would be allocated.")
    books.put_allocation(Allocation(books.ids.new(), credit, invoice, amount, max(credit.on, invoice.on)))
    books.silent(credit)
    books.moved(invoice, Change.SETTLED)
    said = f"{amount} of a credit was set against {invoice.number}; the credit's date does not tell of it."
    return _deed(Cause.UNALLOCATED_CREDIT, said, credit, invoice)


def _payment_removed(books: Books, contact: Contact) -> Deed:
    payment = _removable(contact)
    invoice = payment.target
    books.switches.deleted_payments_in_delta = False
    invoice.payments.remove(payment)
    count_payment(invoice, -payment.amount)
    payment.status = Status.DELETED
    conclude(invoice)
    for changed in (invoice, payment):
        books.silent(changed)
    said = (
        f"{payment.amount} paid on {invoice.number} were removed; lists of changes show no deleted payments any more."
    )
    return _deed(Cause.PAYMENT_REMOVED_IN_XERO, said, invoice)


# Figures that do not follow the documents


def _crossed(books: Books, contact: Contact) -> Deed:
    other = _another_customer(books, contact)
    invoice = books.create_invoice(contact.id, CROSSED_INVOICE, currency=books.base_currency)
    credit = books.create_credit(CreditKind.CREDIT_NOTE, contact.id, CROSSED_CREDIT, currency=books.base_currency)
    made = books.allocate(credit.id, invoice.id, CROSSED)
    made.crosses_contacts = True
    contact.documents.remove(invoice)
    contact.is_customer, _ = roles_of(contact, books.switches)
    invoice.contact, other.is_customer = other, True
    other.documents.append(invoice)
    books.moved(invoice)
    said = f"Invoice {invoice.number} moved to {other.name}; the figures of both count without the {CROSSED} credited."
    return _deed(Cause.ALLOCATION_ON_OTHER_CONTACT, said, credit, invoice)


def _overridden(books: Books, contact: Contact) -> Deed:
    invoice = _oldest(_open_invoices(books, contact))
    contact.stated_otherwise_by += OVERRIDE
    books.revision += 1
    return _deed(Cause.ROUNDING, f"The figure counts {invoice.number} with {OVERRIDE} more than its total.", invoice)


def _unseen(books: Books, contact: Contact) -> Deed:
    if not contact.documents:
        raise NotAllowedError(f"Xero states no figure for {contact.name}: there are no documents.")
    contact.stated_otherwise_by += UNSEEN
    books.revision += 1
    said = f"A conversion balance of {UNSEEN} is in the figure; no document shows it."
    return Deed(cause=Cause.UNEXPLAINED, contact=contact, documents=(), said=said)


def _mixed(books: Books, contact: Contact) -> Deed:
    foreign = [one for one in _sales(contact) if one.status is Status.AUTHORISED and one.rate != 1]
    currency = next(code for code in sorted(books.rates) if code != books.base_currency)
    invoice = _oldest(foreign) if foreign else books.create_invoice(contact.id, FOREIGN, currency=currency)
    invoice.misread = Misreading.OTHER_CURRENCY
    books.revision += 1
    base = in_base(invoice.amount_due, invoice.rate)
    said = f"{invoice.number} over {invoice.amount_due} {invoice.currency} ({base} {books.base_currency}) is mixed up."
    return _deed(Cause.FOREIGN_CURRENCY_MIX, said, invoice)


def _ahead(books: Books, contact: Contact) -> Deed:
    on = books.today() + timedelta(days=30)
    invoice = books.create_invoice(contact.id, AHEAD, on=on, currency=books.base_currency)
    invoice.misread = Misreading.NOT_BEFORE_ITS_DATE
    return _deed(Cause.FUTURE_DATED, f"Invoice {invoice.number}, dated {on}, does not count before that day.", invoice)


def _draft(books: Books, contact: Contact) -> Deed:
    invoice = books.create_invoice(contact.id, DRAFT, status=Status.DRAFT, currency=books.base_currency)
    invoice.misread = Misreading.AS_DRAFT
    return _deed(Cause.DRAFT_COUNTED, f"Invoice {invoice.number}, which is a draft, counts already.", invoice)


def _not_netted(books: Books, contact: Contact) -> Deed:
    if not books.switches.balances_net_credits:
        raise NotAllowedError("No figure nets credits now (switch balances_net_credits).")
    credit = _oldest(one for one in _credits(books, contact) if one.misread is None)
    credit.misread = Misreading.LEFT_OUT
    books.revision += 1
    said = f"The credit {credit.number or credit.id} with {credit.remaining_credit} left is not netted."
    return _deed(Cause.CREDIT_NOT_NETTED, said, credit)


_DEEDS: dict[Cause, tuple[str, Callable[[Books, Contact], Deed]]] = {
    Cause.MISSING_DOCUMENT: (
        "An invoice that has been there for two days, and that no list of changes shows",
        _missing,
    ),
    Cause.STALE_DOCUMENT: ("An invoice gets a late fee; its UpdatedDateUTC stays", _stale),
    Cause.MISSED_DELETION: ("An invoice is voided; its UpdatedDateUTC stays", _voided),
    Cause.UNALLOCATED_CREDIT: (
        "A credit is set against an invoice; the credit's UpdatedDateUTC stays",
        _credit_applied,
    ),
    Cause.PAYMENT_REMOVED_IN_XERO: (
        "A payment is removed, and lists of changes show no deleted ones",
        _payment_removed,
    ),
    Cause.ALLOCATION_ON_OTHER_CONTACT: ("An invoice with a credit on it moves to another contact", _crossed),
    Cause.CREDIT_NOT_NETTED: ("The figure leaves a credit out", _not_netted),
    Cause.ROUNDING: (f"The figure counts a total that was overridden by {OVERRIDE}", _overridden),
    Cause.FOREIGN_CURRENCY_MIX: ("The figure counts a foreign invoice in the wrong currency", _mixed),
    Cause.FUTURE_DATED: ("The figure leaves out what is dated ahead", _ahead),
    Cause.DRAFT_COUNTED: ("The figure counts a draft", _draft),
    Cause.UNEXPLAINED: ("The figure has a conversion balance or journal in it that no document shows", _unseen),
}


@contextmanager
def _unheard(books: Books) -> Iterator[None]:
    """Whatever happens in the block, those who watch the books are never told of it."""
    before, books.untold = books.untold, []
    try:
        yield
    finally:
        books.untold = before


def _deed(cause: Cause, said: str, *documents: Target) -> Deed:
    return Deed(cause=cause, contact=documents[0].contact, documents=documents, said=said)


def _is_sale(document: Target) -> bool:
    return isinstance(document, Invoice) and document.type is InvoiceType.ACCREC


def _sales(contact: Contact) -> list[Invoice]:
    return [one for one in contact.documents if isinstance(one, Invoice) and _is_sale(one)]


def _open_invoices(books: Books, contact: Contact) -> Iterator[Invoice]:
    """In the base currency, and read by the figure as by everybody."""
    for one in _sales(contact):
        if one.status is Status.AUTHORISED and one.misread is None and one.currency == books.base_currency:
            yield one


def _credits(books: Books, contact: Contact) -> Iterator[Credit]:
    held = (one for one in contact.documents if isinstance(one, Credit) and not one.of_supplier)
    for one in held:
        if one.status is Status.AUTHORISED and one.currency == books.base_currency:
            yield one


def _removable(contact: Contact) -> Payment:
    """A payment that stands alone: rather of a part-paid invoice than of a paid one."""
    paid = [one for one in _sales(contact) if one.status in {Status.AUTHORISED, Status.PAID}]
    for invoice in sorted(paid, key=lambda one: (one.status is Status.PAID, one.updated_at)):
        for payment in invoice.payments:
            if payment.batch is None and not payment.is_reconciled:
                return payment
    raise NotAllowedError(f"{contact.name} has paid nothing that could be removed.")


def _another_customer(books: Books, contact: Contact) -> Contact:
    for other in books.contacts.values():
        if other is not contact and other.is_customer and other.status is ContactStatus.ACTIVE:
            return other
    raise NotAllowedError("There is no other customer.")


def _oldest(documents: Iterable[_Found]) -> _Found:
    """The one that was changed longest ago: whoever follows changes must have read it by now."""
    found = min(documents, key=lambda one: (one.updated_at, one.id), default=None)
    if found is None:
        raise NotAllowedError("There is no document that it could happen to.")
    return found
