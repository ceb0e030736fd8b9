"""A customer's accounts as they are proven: its open documents, what differs of them, and both balances over time."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from tieout_server.ledger import deep_links
from tieout_server.ledger.documents import Invoice
from tieout_server.ledger.links import Link
from tieout_server.reconciliations.afresh import item_of
from tieout_server.reconciliations.convention import ALL, Convention
from tieout_server.reconciliations.items import Item
from tieout_server.reconciliations.messages import BalanceSource
from tieout_server.reconciliations.proof import Account, Compared, Paid, Point
from tieout_server.storage import comparisons, customers, open_items, receivables
from tieout_server.storage.comparisons import Compared as Noted
from tieout_server.storage.database import Transaction
from tieout_server.storage.discrepancies import Discrepancy, Involved, Values
from tieout_server.storage.open_items import Kept
from tieout_server.storage.pages import Span
from tieout_server.storage.receivables import PaymentQuery

PAGE = Span(1_000)

_Reading = Callable[[Item], Decimal | None]
"""What a document adds to a balance; None where it is no part of it."""


class _Here(msgspec.Struct, frozen=True):
    """An open document as it is here."""

    item: Item
    values: Values
    due_on: date | None
    payments: tuple[Paid, ...]


async def accounts_of(
    tx: Transaction, link: Link, customer: str, found: Collection[Discrepancy], *, only: str = ""
) -> list[Account]:
    """The customer's accounts, by currency: those with documents, comparisons or discrepancies, or `only` one.

    Of several discrepancies `found` in one currency the last one counts.
    """
    family = await customers.families(tx, link.id, [customer])
    who = await customers.find(tx, link.id, customer)
    here = await _here(tx, link.id, family)
    noted = await comparisons.history(tx, link.id, customer)
    off = {one.currency: one for one in found}
    currencies = {only} if only else {*off, *(one.item.currency for one in here), *(one.currency for one in noted)}
    name = who.contact.name if who else next((one.customer_name for one in found), customer)
    code = link.organisation.short_code if link.organisation else ""
    return [
        _account(
            Account(
                xero_contact_id=customer,
                customer=name,
                currency=currency,
                ours=Decimal(0),
                xero=Decimal(0),
                as_of=link.updated_at,
                discrepancy=off.get(currency),
                xero_url=deep_links.customer(code, customer),
            ),
            here,
            [one for one in noted if one.currency == currency],
            code,
        )
        for currency in sorted(currencies)
    ]


def _account(account: Account, here: Sequence[_Here], noted: Sequence[Noted], short_code: str) -> Account:
    """The account with its documents, and with both balances as they were last compared."""
    found = account.discrepancy
    reading = _reading(account, here)
    documents = _documents(account, here, reading, short_code)
    ours = xero = sum((reading(one.item) or Decimal(0) for one in here), Decimal(0))
    as_of, source = account.as_of, ""
    if noted:  # both sides of one instant: what changed here since then is a line of its own (`arithmetic`)
        last = noted[-1]
        ours, xero, as_of, source = last.ours, last.xero, last.at, last.source
    if found is not None and not found.is_over:
        ours, xero, as_of = found.ours, found.xero, max(found.updated_at, as_of)
        source = source or BalanceSource.CONTACT.value
    points = [Point(at=one.at, ours=one.ours, xero=one.xero) for one in noted]
    if found is not None and found.is_over:  # a difference that was repaired at once is in no comparison
        points.append(Point(at=found.opened_at, ours=found.ours, xero=found.xero))
    return msgspec.structs.replace(
        account,
        ours=ours,
        xero=xero,
        as_of=as_of,
        source=source,
        documents=tuple(sorted(documents, key=_by_day)),
        over_time=tuple(sorted(points, key=lambda point: (point.at, point.ours == point.xero))),
    )


def _reading(account: Account, here: Sequence[_Here]) -> _Reading:
    """How our balance was made: of one currency, or of all where Xero's figure is of all (`convention`, U8)."""

    def of_currency(item: Item) -> Decimal | None:
        return item.open if item.currency == account.currency else None

    def of_figure(convention: Convention) -> _Reading:
        return lambda item: convention.expected([item])

    found = account.discrepancy
    if found is not None and not found.is_over:
        for reading in (of_currency, *map(of_figure, ALL)):
            if sum((reading(one.item) or Decimal(0) for one in here), Decimal(0)) == found.ours:
                return reading
    return of_currency


def _documents(account: Account, here: Sequence[_Here], reading: _Reading, short_code: str) -> Iterator[Compared]:
    """The documents as both sides have them: as they are here, but for those that a discrepancy is about."""
    found = account.discrepancy
    parts = {one.xero_id: one for one in found.documents} if found else {}
    for one in here:
        counts = reading(one.item)
        if counts is None and one.item.xero_id not in parts:
            continue
        same = _same(one, counts or Decimal(0), short_code)
        part = parts.pop(one.item.xero_id, None)
        yield _differing(same, part, is_over=found.is_over) if part and found else same
    for part in parts.values():  # not open here, or not here at all
        nothing = Compared(
            entity=part.entity,
            xero_id=part.xero_id,
            number=part.number,
            currency=part.currency,
            ours=part.ours,
            xero=part.xero,
            ours_counts=Decimal(0),
            xero_counts=Decimal(0),
            xero_url=deep_links.document(short_code, part.entity, part.xero_id),
        )
        yield _differing(nothing, part, is_over=found is not None and found.is_over)


def _same(here: _Here, counts: Decimal, short_code: str) -> Compared:
    item = here.item
    return Compared(
        entity=item.entity,
        xero_id=item.xero_id,
        number=item.number,
        currency=item.currency,
        due_on=here.due_on,
        ours=here.values,
        xero=here.values,
        ours_counts=counts,
        xero_counts=counts,
        payments=here.payments,
        xero_url=deep_links.document(short_code, item.entity, item.xero_id),
    )


def _differing(same: Compared, part: Involved, *, is_over: bool) -> Compared:
    """The document as part of a difference; of one that is over it tells what was, and counts as it does now."""
    return msgspec.structs.replace(
        same,
        cause=part.cause,
        ours=part.ours,
        xero=part.xero,
        part=part.difference,
        xero_counts=same.xero_counts if is_over else same.ours_counts - part.difference,
    )


async def _here(tx: Transaction, connection_id: str, family: Collection[str]) -> list[_Here]:
    kept = await open_items.of_contacts(tx, connection_id, family)
    paid = await _payments(tx, connection_id, family) if kept else {}
    return [_open(one, paid) for one in kept]


def _open(kept: Kept, paid: Mapping[str, list[Paid]]) -> _Here:
    item = item_of(kept.document)
    values = Values(
        status=item.status,
        issued_on=item.issued_on,
        total=item.total,
        due=item.due,
        paid=item.paid,
        credited=item.credited,
        xero_contact_id=item.xero_contact_id,
        xero_updated_at=item.updated_at,
        read_at=kept.read_at,
    )
    due_on = kept.document.due_on if isinstance(kept.document, Invoice) else None
    return _Here(item, values, due_on, tuple(paid.get(item.xero_id, ())))


async def _payments(tx: Transaction, connection_id: str, family: Collection[str]) -> Mapping[str, list[Paid]]:
    """The customer's payments by the document that they are of."""
    found: dict[str, list[Paid]] = {}
    span: Span | None = PAGE
    while span is not None:
        rows, span = await receivables.page_of_payments(tx, connection_id, PaymentQuery(), family, span)
        for one in rows:
            paid = one.payment
            known = Paid(
                xero_id=paid.xero_payment_id, amount=paid.amount, paid_on=paid.paid_on, reference=paid.reference
            )
            found.setdefault(paid.xero_document_id, []).append(known)
    return found


def _by_day(document: Compared) -> tuple[str, str, str]:
    values = document.xero or document.ours
    return (str(values.issued_on) if values and values.issued_on else "", document.number, document.xero_id)
