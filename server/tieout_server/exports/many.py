"""Many invoices as they are now, by two listings of what changed instead of a call for each 40 of them.

What is here is complete up to the watermarks; with what changed since it is complete up to now. Where the two do not
add up for an invoice, as Xero may not tell of a deleted payment (UNSURE register, U5), that one is read by its id.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tieout_server.exports.turn import Turn
from tieout_server.ledger.books import Order, Purpose, Query
from tieout_server.ledger.documents import Document, Entity, Invoice, Payment
from tieout_server.ledger.writes import Payable, PaymentSeen
from tieout_server.storage import mirror, receivables, watermarks
from tieout_server.storage.database import Transaction
from tieout_server.syncs.followers import follow
from tieout_server.syncs.plan import OVERLAP

MANY = 80
"""More invoices than this are worth two listings; fewer are read by their ids, 40 in a call."""
MOST_PAGES = 5
"""Of 1,000 documents. Where more changed, the copy here is far behind, and invoices are read by their ids."""


class Changed(msgspec.Struct, frozen=True):
    """What changed of one entity since its watermark."""

    documents: Sequence[Invoice | Payment]
    as_of: datetime
    """By Xero's clock."""


async def read_many(turn: Turn, ids: Sequence[str], numbers: Sequence[str]) -> Sequence[Payable] | None:
    """These invoices with their payments, as far as they are known without asking for them by name.

    None where the copy here is not complete: a first sync goes on. What was read of these invoices goes into the copy.
    Raises what `WritableBooks` does.
    """
    async with turn.means.database.read() as tx:
        marks = await watermarks.every(tx, turn.link.id)
    if Entity.INVOICES not in marks or Entity.PAYMENTS not in marks:
        return None
    invoices = await changed_since(turn, Entity.INVOICES, marks[Entity.INVOICES].watermark_at - OVERLAP)
    payments = await changed_since(turn, Entity.PAYMENTS, marks[Entity.PAYMENTS].watermark_at - OVERLAP)
    if invoices is None or payments is None:
        return None
    as_of = min(invoices.as_of, payments.as_of)
    async with turn.save() as tx:
        await turn.means.wake_news(tx, turn.link.id)
        new: list[Document] = [one for one in invoices.documents if _is_meant(one, ids, numbers)]
        changed = await _save(tx, turn, new)
        meant = await receivables.invoices_meant(tx, turn.link.id, ids, numbers)
        names = {one.xero_invoice_id for one in meant}
        theirs = [one for one in payments.documents if isinstance(one, Payment) and one.xero_document_id in names]
        changed += await _save(tx, turn, theirs)
        paid = await receivables.payments_of(tx, turn.link.id, names)
        if changed:
            await follow(tx, turn.link.id, [*new, *theirs], turn.now())
            await turn.means.feed.tell_of_changes(tx, turn.link.id)
    known = [_payable(one, [found.payment for found in paid.get(one.xero_invoice_id, ())], as_of) for one in meant]
    odd = {one.invoice.number for one in known if not _adds_up(one)}  # of a number all are read by it, or none
    return [one for one in known if _adds_up(one) and one.invoice.number not in odd]


async def changed_since(turn: Turn, entity: Entity, since: datetime) -> Changed | None:
    """All of this entity that changed since then; None where that is too much.

    Each page begins where the last one ended in time, not in number: what changes meanwhile moves to the end, and what
    comes behind it would slip through between two numbers.
    """
    found: dict[str, Invoice | Payment] = {}
    as_of: datetime | None = None
    for _ in range(MOST_PAGES):
        query = Query(entity=entity, order=Order.BY_CHANGE, since=since)
        page = await turn.books.read(query, Purpose.PAYMENT_EXPORT)
        as_of = as_of or page.served_at
        found |= {_id(one): one for one in page.documents if isinstance(one, Invoice | Payment)}
        if page.page_count <= 1:
            return Changed(list(found.values()), as_of)
        if page.page_count > MOST_PAGES or page.last_change_at is None:
            return None
        since = page.last_change_at
    return None


def _id(document: Invoice | Payment) -> str:
    return document.xero_invoice_id if isinstance(document, Invoice) else document.xero_payment_id


async def _save(tx: Transaction, turn: Turn, documents: Sequence[Document]) -> int:
    """Take these into the copy; answers how many of them were news."""
    return (await mirror.save(tx, turn.link.id, documents, seen_in=0, at=turn.now())).changed


def _is_meant(document: Document, ids: Collection[str], numbers: Collection[str]) -> bool:
    return isinstance(document, Invoice) and (document.xero_invoice_id in ids or document.number in numbers)


def _payable(invoice: Invoice, payments: Sequence[Payment], as_of: datetime) -> Payable:
    seen = [
        PaymentSeen(
            xero_payment_id=one.xero_payment_id,
            amount=one.amount,
            paid_on=one.paid_on,
            reference=one.reference,
            xero_batch_payment_id=one.xero_batch_payment_id,
        )
        for one in payments
    ]
    return Payable(invoice=invoice, payments=tuple(seen), as_of=as_of)


def _adds_up(payable: Payable) -> bool:
    """Whether the payments are all that was paid."""
    return sum((one.amount for one in payable.payments), Decimal(0)) == payable.invoice.paid
