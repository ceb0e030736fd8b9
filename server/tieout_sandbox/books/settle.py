"""Moves of money that say more than the bookkeeper's simple ones: rates of the day, batches, bank transactions."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from tieout_sandbox.books.banking import Note
from tieout_sandbox.books.documents import Account, Batch, Invoice, Payment, Status, Target
from tieout_sandbox.books.ledger import Change, Ledger
from tieout_sandbox.books.rules import bank_amount, conclude

NOT_THE_SAME_KIND = "Batch payments cannot contain both sales and purchase documents"


@dataclass(frozen=True, slots=True)
class Terms:
    """How a payment is made.

    Args:
        account: where the money goes to or comes from.
        on: the day; it may lie ahead.
        amount: in the document's currency.
        reference: free text.
        rate: of the day, where it is not the document's.
        bank_amount: what the bank saw, where that is said and not worked out.
        is_reconciled: whether a bank statement already shows it.
    """

    account: Account
    on: date
    amount: Decimal
    reference: str = ""
    rate: Decimal | None = None
    bank_amount: Decimal | None = None
    is_reconciled: bool = False


def settle(books: Ledger, target: Target, terms: Terms, batch: Batch | None = None) -> Payment:
    """Book a payment or refund that was found to be right; it and its document get the same UpdatedDateUTC."""
    worked_out = bank_amount(terms.amount, target, terms.account, terms.rate)
    payment = Payment(
        id=books.ids.new(),
        target=target,
        account=terms.account,
        on=terms.on,
        amount=terms.amount,
        bank_amount=worked_out if terms.bank_amount is None else terms.bank_amount,
        updated_at=books.stamp(),
        reference=terms.reference,
        is_reconciled=terms.is_reconciled,
        own_rate=terms.rate,
        bank_amount_given=terms.bank_amount,
        batch=batch,
    )
    books.put_payment(payment)
    conclude(target)
    target.updated_at = payment.updated_at
    books.silent(target)
    books.tell(target, Change.SETTLED, target.updated_at)
    return payment


def settle_together(books: Ledger, batch: Batch, parts: list[tuple[Invoice, Decimal, str]]) -> Batch:
    """Book payments that reach the bank as one sum; `batch` comes without its payments, total and date of update."""
    assert len({invoice.type for invoice, _, _ in parts}) == 1, NOT_THE_SAME_KIND
    books.batches[batch.id] = batch
    for invoice, amount, reference in parts:
        terms = Terms(batch.account, batch.on, amount, reference)
        batch.payments.append(settle(books, invoice, terms, batch))
        batch.total += batch.payments[-1].bank_amount
    batch.updated_at = books.stamp()
    for payment in batch.payments:
        payment.rendered = None  # it shows the batch, which is complete only now
    books.revision += 1
    return batch


def note(books: Ledger, document_id: str, changes: str, details: str, user: str = "System Generated") -> Note:
    """Add a record to a document's history; nothing ever changes or removes it."""
    made = Note(changes, books.stamp(), user, details)
    books.history.setdefault(document_id, []).append(made)
    return made


def is_open(target: Target) -> bool:
    """Whether money can be booked on it."""
    return target.status is Status.AUTHORISED
