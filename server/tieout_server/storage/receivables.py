"""Reading the mirror: invoices, credits and payments."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Select, Table, and_, bindparam, func, select

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.documents import (
    CREDITS,
    IN_LEDGER,
    Account,
    Allocation,
    Credit,
    DocumentStatus,
    Entity,
    Invoice,
    Payment,
)
from tieout_server.storage import documents
from tieout_server.storage.database import Transaction
from tieout_server.storage.pages import Found, IdSpan, Span, paged
from tieout_server.storage.tables import (
    accounts,
    allocations,
    credits,  # noqa: A004 - the field's word
    invoices,
    payments,
)

T = TypeVar("T")

_ONE_INVOICE = select(invoices).where(
    invoices.c.connection_id == bindparam("connection_id"), invoices.c.xero_invoice_id == bindparam("xero_invoice_id")
)
_PAID = (
    select(payments)
    .where(
        payments.c.connection_id == bindparam("connection_id"),
        payments.c.status == DocumentStatus.AUTHORISED,
        payments.c.xero_document_id.in_(bindparam("of", expanding=True)),
    )
    .order_by(payments.c.paid_on, payments.c.xero_payment_id)
)
_CREDITED = (
    select(allocations, credits.c.entity, credits.c.number, credits.c.currency)
    .join(
        credits,
        and_(
            credits.c.connection_id == allocations.c.connection_id,
            credits.c.xero_credit_id == allocations.c.xero_credit_id,
        ),
    )
    .where(
        allocations.c.connection_id == bindparam("connection_id"),
        allocations.c.xero_invoice_id.in_(bindparam("of", expanding=True)),
        credits.c.status.in_(IN_LEDGER),
    )
    .order_by(allocations.c.allocated_on, allocations.c.xero_credit_id, allocations.c.position)
)
"""Built once: see `connections`."""

Contacts = Collection[str]
"""The contacts that one customer is: its own and those merged into it."""


class InvoiceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which invoices: those that meet every condition that is set."""

    customer_id: str = ""
    statuses: tuple[DocumentStatus, ...] = IN_LEDGER
    """Others than AUTHORISED and PAID come only when they are asked for."""
    due_before: date | None = None
    number: str = ""
    currency: str = ""
    updated_after: datetime | None = None


class CreditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which credits: those that meet every condition that is set."""

    customer_id: str = ""
    entities: tuple[Entity, ...] = CREDITS
    statuses: tuple[DocumentStatus, ...] = IN_LEDGER
    unapplied_only: bool = False
    """Only AUTHORISED ones with credit remaining."""
    updated_after: datetime | None = None


class PaymentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which payments: those that meet every condition that is set."""

    customer_id: str = ""
    xero_document_id: str = ""
    """The invoice paid, or the credit refunded."""
    statuses: tuple[DocumentStatus, ...] = (DocumentStatus.AUTHORISED,)
    """DELETED ones come only when they are asked for."""
    paid_from: date | None = None
    updated_after: datetime | None = None


class FoundInvoice(msgspec.Struct, frozen=True):
    """An invoice, when it last changed here, and whether any version that was here counted."""

    invoice: Invoice
    updated_at: datetime
    was_here: bool


class FoundCredit(msgspec.Struct, frozen=True):
    """A credit with its allocations, when it last changed here, and whether any version that was here counted."""

    credit: Credit
    updated_at: datetime
    was_here: bool


class FoundPayment(msgspec.Struct, frozen=True):
    """A payment, the number of the invoice that it pays (empty for refunds), and the same of it."""

    payment: Payment
    invoice_number: str
    updated_at: datetime
    was_here: bool


class FoundAccount(msgspec.Struct, frozen=True):
    """An account, and when it last changed here."""

    account: Account
    updated_at: datetime


class Credited(msgspec.Struct, frozen=True):
    """The part of a credit that settled an invoice, and the credit it came from."""

    entity: Entity
    xero_credit_id: str
    credit_number: str
    currency: str
    allocation: Allocation


async def find_invoice(tx: Transaction, connection_id: str, xero_invoice_id: str) -> FoundInvoice | None:
    """The invoice with this id, whatever its status."""
    names = {"connection_id": connection_id, "xero_invoice_id": xero_invoice_id}
    row = (await tx.execute(_ONE_INVOICE, names)).one_or_none()
    return None if row is None else _invoice(row)


async def invoices_meant(
    tx: Transaction, connection_id: str, ids: Collection[str], numbers: Collection[str]
) -> list[Invoice]:
    """The invoices with one of these ids or numbers, whatever their status, each once, by id."""
    found: dict[str, Invoice] = {}
    for column, values in ((invoices.c.xero_invoice_id, ids), (invoices.c.number, numbers)):
        if values:
            query = select(invoices).where(invoices.c.connection_id == connection_id, column.in_(values))
            found |= {row.xero_invoice_id: documents.invoice(row) for row in await tx.execute(query)}
    return [found[name] for name in sorted(found)]


async def page_of_invoices(
    tx: Transaction, connection_id: str, query: InvoiceQuery, of: Contacts | None, span: Span
) -> tuple[list[FoundInvoice], Span | None]:
    """Invoices by due date, then by id; those without a due date come last."""
    wanted = _changed(_narrowed(invoices, connection_id, query.statuses, of), invoices, query.updated_after)
    if query.due_before is not None:
        wanted = wanted.where(invoices.c.due_on < query.due_before.isoformat())
    if query.number:
        wanted = wanted.where(invoices.c.number == query.number)
    if query.currency:
        wanted = wanted.where(invoices.c.currency == query.currency)
    rows, following = await paged(tx, wanted, (invoices.c.due_on, invoices.c.xero_invoice_id), span)
    return [_invoice(row) for row in rows], following


async def page_of_credits(
    tx: Transaction, connection_id: str, query: CreditQuery, of: Contacts | None, span: Span
) -> tuple[list[FoundCredit], Span | None]:
    """Credits with their allocations, newest first, then by id."""
    statuses = (DocumentStatus.AUTHORISED,) if query.unapplied_only else query.statuses
    wanted = _changed(_narrowed(credits, connection_id, statuses, of), credits, query.updated_after)
    wanted = wanted.where(credits.c.entity.in_(query.entities))
    if query.unapplied_only:
        wanted = wanted.where(credits.c.remaining != 0)
    order = func.coalesce(credits.c.issued_on, ""), credits.c.xero_credit_id
    rows, following = await paged(tx, wanted, order, span, newest_first=True)
    return await _credits(tx, connection_id, rows), following


async def page_of_payments(
    tx: Transaction, connection_id: str, query: PaymentQuery, of: Contacts | None, span: Span
) -> tuple[list[FoundPayment], Span | None]:
    """Payments, newest first, then by id."""
    wanted = _changed(_narrowed(payments, connection_id, query.statuses, of), payments, query.updated_after)
    if query.xero_document_id:
        wanted = wanted.where(payments.c.xero_document_id == query.xero_document_id)
    if query.paid_from is not None:
        wanted = wanted.where(payments.c.paid_on >= query.paid_from.isoformat())
    order = func.coalesce(payments.c.paid_on, ""), payments.c.xero_payment_id
    rows, following = await paged(tx, wanted, order, span, newest_first=True)
    return await _payments(tx, connection_id, rows), following


async def payments_of(
    tx: Transaction, connection_id: str, invoice_ids: Collection[str]
) -> Mapping[str, list[FoundPayment]]:
    """The payments that count for each of these invoices, oldest first; an invoice without any is left out."""
    rows = await tx.execute(_PAID, {"connection_id": connection_id, "of": list(invoice_ids)})
    found = await _payments(tx, connection_id, rows.all())
    return _grouped((payment.payment.xero_document_id, payment) for payment in found)


async def credited_to(
    tx: Transaction, connection_id: str, invoice_ids: Collection[str]
) -> Mapping[str, list[Credited]]:
    """What credits in the ledger settled of each of these invoices, oldest first; one without any is left out."""
    rows = await tx.execute(_CREDITED, {"connection_id": connection_id, "of": list(invoice_ids)})
    found = [
        Credited(Entity(row.entity), row.xero_credit_id, row.number, row.currency, documents.allocation(row))
        for row in rows
    ]
    return _grouped((part.allocation.xero_invoice_id, part) for part in found)


async def invoices_named(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[FoundInvoice]:
    """The invoices with these ids, whatever their status."""
    return [_invoice(row) for row in await tx.execute(_named(invoices, connection_id, ids))]


async def credits_named(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[FoundCredit]:
    """The credits with these ids, whatever their status."""
    return await _credits(tx, connection_id, (await tx.execute(_named(credits, connection_id, ids))).all())


async def payments_named(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[FoundPayment]:
    """The payments with these ids, whatever their status."""
    return await _payments(tx, connection_id, (await tx.execute(_named(payments, connection_id, ids))).all())


async def accounts_named(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[FoundAccount]:
    """The accounts with these ids."""
    return [
        FoundAccount(documents.account(row), from_micros(row.changed_at))
        for row in await tx.execute(_named(accounts, connection_id, ids))
    ]


async def ids_that_count(
    tx: Transaction, connection_id: str, entity: Entity, unchanged_since: int, span: IdSpan
) -> Sequence[str]:
    """The ids of the documents that count and did not change behind this number: of accounts all, of contacts none."""
    table = _COUNTED[entity]
    name = table.columns[table.columns.keys()[1]]
    query = select(name).where(
        table.c.connection_id == connection_id, name > span.after, table.c.change_number <= unchanged_since
    )
    if table is not accounts:
        query = query.where(table.c.status.in_(IN_LEDGER))
    if table is credits:
        query = query.where(credits.c.entity == entity)
    return (await tx.execute(query.order_by(name).limit(span.limit))).scalars().all()


_COUNTED: Mapping[Entity, Table] = {
    Entity.INVOICES: invoices,
    **dict.fromkeys(CREDITS, credits),
    Entity.PAYMENTS: payments,
    Entity.ACCOUNTS: accounts,
}


def _named(table: Table, connection_id: str, ids: Collection[str]) -> Select[Any]:
    name = table.columns[table.columns.keys()[1]]
    return select(table).where(table.c.connection_id == connection_id, name.in_(ids))


async def _credits(tx: Transaction, connection_id: str, rows: Sequence[Found]) -> list[FoundCredit]:
    parts = await _allocations_of(tx, connection_id, [row.xero_credit_id for row in rows])
    return [
        FoundCredit(documents.credit(row, parts.get(row.xero_credit_id, [])), from_micros(row.changed_at), row.was_here)
        for row in rows
    ]


def _grouped(found: Iterable[tuple[str, T]]) -> Mapping[str, list[T]]:
    """What was found by the id that it belongs to, in its order."""
    groups: dict[str, list[T]] = {}
    for name, item in found:
        groups.setdefault(name, []).append(item)
    return groups


def _narrowed(
    table: Table, connection_id: str, statuses: Collection[DocumentStatus], of: Contacts | None
) -> Select[Any]:
    wanted = select(table).where(table.c.connection_id == connection_id, table.c.status.in_(statuses))
    return wanted if of is None else wanted.where(table.c.xero_contact_id.in_(of))


def _changed(wanted: Select[Any], table: Table, after: datetime | None) -> Select[Any]:
    return wanted if after is None else wanted.where(table.c.changed_at > to_micros(after))


async def _payments(tx: Transaction, connection_id: str, rows: Sequence[Found]) -> list[FoundPayment]:
    """These payments with their invoices' numbers: looked up for the page, not joined to all that is sorted for it."""
    query = select(invoices.c.xero_invoice_id, invoices.c.number).where(
        invoices.c.connection_id == connection_id,
        invoices.c.xero_invoice_id.in_({row.xero_document_id for row in rows}),
    )
    numbers: dict[str, str] = {row[0]: row[1] for row in await tx.execute(query)} if rows else {}
    return [
        FoundPayment(
            documents.payment(row), numbers.get(row.xero_document_id, ""), from_micros(row.changed_at), row.was_here
        )
        for row in rows
    ]


async def _allocations_of(
    tx: Transaction, connection_id: str, xero_credit_ids: Collection[str]
) -> Mapping[str, list[Allocation]]:
    """The allocations of these credits, in Xero's order, by credit."""
    query = (
        select(allocations)
        .where(allocations.c.connection_id == connection_id, allocations.c.xero_credit_id.in_(xero_credit_ids))
        .order_by(allocations.c.xero_credit_id, allocations.c.position)
    )
    found = (await tx.execute(query)).all()
    return {
        name: [documents.allocation(row) for row in lines]
        for name, lines in groupby(found, key=lambda row: str(row.xero_credit_id))
    }


def _invoice(row: Found) -> FoundInvoice:
    return FoundInvoice(documents.invoice(row), from_micros(row.changed_at), row.was_here)
