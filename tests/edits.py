"""Whatever can be done in Xero's books, by a name and a number: for tests that do anything in any order."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeVar

from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import (
    Contact,
    ContactStatus,
    Credit,
    CreditKind,
    Invoice,
    InvoiceType,
    Phone,
    Status,
)
from tieout_sandbox.books.rules import NotAllowedError

_Found = TypeVar("_Found")
_FROM_ON = date(2026, 12, 1)


def edit(books: Books, name: str, number: int) -> None:
    """Do this, as far as Xero allows it; the number says with what.

    Raises:
        NotAllowedError: in Xero's words.
    """
    EDITS[name](books, number)


def _one(found: Sequence[_Found], number: int) -> _Found:
    """One of these.

    Raises:
        NotAllowedError: there is none.
    """
    if not found:
        raise NotAllowedError("There is none.")
    return found[number % len(found)]


def _contact(books: Books, number: int, *statuses: ContactStatus) -> Contact:
    wanted = statuses or (ContactStatus.ACTIVE,)
    return _one([c for c in books.contacts.values() if c.status in wanted and not c.merged_to_id], number)


def _invoice(books: Books, number: int, *statuses: Status) -> Invoice:
    wanted = statuses or (Status.AUTHORISED,)
    return _one([i for i in books.invoices.values() if i.type is InvoiceType.ACCREC and i.status in wanted], number)


def _part_paid(books: Books, number: int) -> Invoice:
    used = [i for i in books.invoices.values() if i.payments or i.allocations]
    return _one([i for i in used if i.type is InvoiceType.ACCREC and i.status is Status.AUTHORISED], number)


def _credit(books: Books, number: int) -> Credit:
    kinds = (books.credit_notes, books.overpayments, books.prepayments)
    every = [credit for kind in kinds for credit in kind.values()]
    return _one([credit for credit in every if credit.status is Status.AUTHORISED], number)


def _amount(number: int) -> Decimal:
    return Decimal(number % 900 + 1) / 4


def _enter(books: Books, number: int) -> None:
    kind = InvoiceType.ACCREC if number % 5 else InvoiceType.ACCPAY
    books.create_invoice(_contact(books, number).id, _amount(number), type_=kind)


def _draft(books: Books, number: int) -> None:
    status = (Status.DRAFT, Status.SUBMITTED)[number % 2]
    books.create_invoice(_contact(books, number).id, _amount(number), status=status)


def _authorise(books: Books, number: int) -> None:
    books.authorise(_invoice(books, number, Status.DRAFT, Status.SUBMITTED).id)


def _drop(books: Books, number: int) -> None:
    books.delete_invoice(_invoice(books, number, Status.DRAFT, Status.SUBMITTED).id)


def _refer(books: Books, number: int) -> None:
    books.edit_invoice(_invoice(books, number, Status.AUTHORISED, Status.PAID).id, reference=f"edited {number}")


def _put_off(books: Books, number: int) -> None:
    """A new due date, which may be silent."""
    books.edit_invoice(_invoice(books, number).id, due_on=_FROM_ON + timedelta(days=number % 90))


def _put_off_the_rest(books: Books, number: int) -> None:
    """A new due date on a part-paid invoice, which is silent."""
    books.edit_invoice(_part_paid(books, number).id, due_on=_FROM_ON + timedelta(days=number % 90))


def _expect(books: Books, number: int) -> None:
    books.edit_invoice(_invoice(books, number).id, expected_payment_on=_FROM_ON + timedelta(days=number % 30))


def _void(books: Books, number: int) -> None:
    books.void(_invoice(books, number).id)


def _pay(books: Books, number: int) -> None:
    invoice = _invoice(books, number)
    books.pay(invoice.id, None if number % 2 else (invoice.amount_due / 2).quantize(Decimal("0.01")))


def _unpay(books: Books, number: int) -> None:
    standing = [p for p in books.payments.values() if p.status is not Status.DELETED and p.batch is None]
    books.delete_payment(_one(standing, number).id)


def _unpay_a_batch(books: Books, number: int) -> None:
    books.delete_batch(_one([b for b in books.batches.values() if b.status is not Status.DELETED], number).id)


def _give_credit(books: Books, number: int) -> None:
    kind = list(CreditKind)[number % 3]
    books.create_credit(kind, _invoice(books, number).contact.id, _amount(number))


def _apply(books: Books, number: int) -> None:
    """Set a credit against an invoice of its contact."""
    invoices = [i for i in books.invoices.values() if i.type is InvoiceType.ACCREC and i.status is Status.AUTHORISED]
    owing = {(i.contact.id, i.currency): i for i in invoices}
    kinds = (books.credit_notes, books.overpayments, books.prepayments)
    every = [credit for kind in kinds for credit in kind.values() if credit.remaining_credit]
    credit = _one([c for c in every if (c.contact.id, c.currency) in owing], number)
    invoice = owing[credit.contact.id, credit.currency]
    most = min(credit.remaining_credit, invoice.amount_due)
    books.allocate(credit.id, invoice.id, most if number % 2 else min(most, Decimal("1.00")))


def _take_back(books: Books, number: int) -> None:
    """Remove an allocation."""
    books.remove_allocation(_one([a for i in books.invoices.values() for a in i.allocations], number))


def _set_elsewhere(books: Books, number: int) -> None:
    """Set what was set against one invoice against another: of the credit nothing but its allocations may change."""
    every = [a for i in books.invoices.values() for a in i.allocations]
    allocation = _one([a for a in every if a.credit.contact.status is ContactStatus.ACTIVE], number)
    credit = allocation.credit
    invoice = books.create_invoice(credit.contact.id, allocation.amount, currency=credit.currency)
    books.remove_allocation(allocation)
    books.allocate(credit.id, invoice.id, allocation.amount)


def _refund(books: Books, number: int) -> None:
    credit = _credit(books, number)
    books.refund(credit.id, None if number % 2 else min(Decimal("1.00"), credit.remaining_credit))


def _void_credit(books: Books, number: int) -> None:
    books.void_credit(_credit(books, number).id)


def _meet(books: Books, number: int) -> None:
    books.create_contact(f"Newcomer {number}", email=f"{number}@example.com")


def _rename(books: Books, number: int) -> None:
    books.rename_contact(_contact(books, number).id, f"Renamed {number}")


def _change_number(books: Books, number: int) -> None:
    """Give a contact another mobile phone."""
    contact = _contact(books, number)
    others = tuple(phone for phone in contact.phones if phone.kind != "MOBILE")
    contact.phones = (*others, Phone("MOBILE", f"{number:07}", "021", "64"))
    books.moved(contact)


def _archive(books: Books, number: int) -> None:
    books.archive_contact(_contact(books, number).id)


def _restore(books: Books, number: int) -> None:
    books.restore_contact(_contact(books, number, ContactStatus.ARCHIVED).id)


def _merge(books: Books, number: int) -> None:
    losing = _contact(books, number // 7, ContactStatus.ACTIVE, ContactStatus.ARCHIVED)
    books.merge_contact(losing.id, _contact(books, number).id)


def _erase(books: Books, number: int) -> None:
    """Somebody asked to be forgotten; no UpdatedDateUTC moves."""
    contact = _one([c for c in books.contacts.values() if not c.documents and not c.merged_to_id], number)
    contact.status = ContactStatus.GDPRREQUEST
    books.silent(contact)


def _close_account(books: Books, number: int) -> None:
    account = _one([a for a in books.accounts.values() if not a.system_account and a.type != "BANK"], number)
    books.edit_account(account.id, status="ACTIVE" if account.status == "ARCHIVED" else "ARCHIVED")


EDITS: Mapping[str, Callable[[Books, int], None]] = {
    "enter": _enter,
    "draft": _draft,
    "authorise": _authorise,
    "drop": _drop,
    "refer": _refer,
    "put off": _put_off,
    "put off the rest": _put_off_the_rest,
    "expect": _expect,
    "void": _void,
    "pay": _pay,
    "unpay": _unpay,
    "unpay a batch": _unpay_a_batch,
    "give credit": _give_credit,
    "apply": _apply,
    "take back": _take_back,
    "set elsewhere": _set_elsewhere,
    "refund": _refund,
    "void credit": _void_credit,
    "meet": _meet,
    "rename": _rename,
    "change number": _change_number,
    "archive": _archive,
    "restore": _restore,
    "merge": _merge,
    "erase": _erase,
    "close account": _close_account,
}
"""What can be done, by name."""
