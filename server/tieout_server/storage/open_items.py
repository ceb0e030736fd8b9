"""What balances consist of in the mirror: open documents, what they add up to, and what crosses customers."""

from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

import msgspec
from sqlalchemy import BindParameter, Select, Table, and_, bindparam, func, literal, or_, select, union_all

from tieout_server.clock import from_micros
from tieout_server.ledger.documents import IN_LEDGER, Credit, DocumentStatus, Entity, Invoice
from tieout_server.ledger.money import from_units
from tieout_server.storage import documents
from tieout_server.storage.database import Transaction
from tieout_server.storage.pages import Found
from tieout_server.storage.tables import allocations, contacts, credits, invoices, payments  # noqa: A004 - the field's word

AT_ONCE = 500
"""Ids in one statement."""

OpenDocument = Invoice | Credit


class Kept(msgspec.Struct, frozen=True):
    """A document as it is here, and when that came to be."""

    document: OpenDocument
    read_at: datetime


class Crossed(msgspec.Struct, frozen=True):
    """A credit of one contact that is set against an invoice of another."""

    credit: Credit
    invoice_contact_id: str
    amount: Decimal


class Sum(msgspec.Struct, frozen=True):
    """What is open of one contact in one currency at one rate; amounts are in 1/10,000."""

    currency: str
    rate: str
    due: int
    remaining: int
    count: int
    """How many documents that is."""


class Standing(msgspec.Struct, frozen=True):
    """A contact: what Xero states of it (1/10,000; None where it states nothing), and what is open of it here."""

    xero_contact_id: str
    stated: int | None
    is_customer: bool
    sums: tuple[Sum, ...]


async def of_contacts(tx: Transaction, connection_id: str, of: Collection[str]) -> list[Kept]:
    """The documents of these contacts that are open here; credits come without their allocations."""
    return [
        kept
        for table in (invoices, credits)
        for kept in await _kept(
            tx,
            table,
            select(table).where(
                table.c.connection_id == connection_id,
                table.c.xero_contact_id.in_(of),
                table.c.status == DocumentStatus.AUTHORISED,
            ),
        )
    ]


async def with_ids(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[Kept]:
    """The invoices and credits with these ids, whatever their status and contact."""
    found: list[Kept] = []
    for part in _parts(ids):
        for table in (invoices, credits):
            key = table.columns[table.columns.keys()[1]]
            wanted = select(table).where(table.c.connection_id == connection_id, key.in_(part))
            found += await _kept(tx, table, wanted)
    return found


async def open_but_unseen(
    tx: Transaction, connection_id: str, entity: Entity, *, seen_in: int, after: str, limit: int | None
) -> Sequence[str]:
    """The documents of an entity that are open here and that no reading with this ordinal, or a later one, has met.

    By id, those behind `after`.
    """
    table, key = (
        (invoices, invoices.c.xero_invoice_id) if entity is Entity.INVOICES else (credits, credits.c.xero_credit_id)
    )
    query = select(key).where(
        table.c.connection_id == connection_id,
        table.c.status == DocumentStatus.AUTHORISED,
        table.c.seen_in < seen_in,
        key > after,
    )
    if table is credits:
        query = query.where(credits.c.entity == entity)
    return [row[0] for row in await tx.execute(query.order_by(key).limit(limit))]


async def crossings(tx: Transaction, connection_id: str, of: Collection[str]) -> list[Crossed]:
    """The allocations between these contacts and others."""
    same_credit = and_(
        credits.c.connection_id == allocations.c.connection_id, credits.c.xero_credit_id == allocations.c.xero_credit_id
    )
    same_invoice = and_(
        invoices.c.connection_id == allocations.c.connection_id,
        invoices.c.xero_invoice_id == allocations.c.xero_invoice_id,
    )
    query = (
        select(credits, invoices.c.xero_contact_id.label("invoice_contact_id"), allocations.c.amount.label("allocated"))
        .select_from(allocations)
        .join(credits, same_credit)
        .join(invoices, same_invoice)
        .where(
            allocations.c.connection_id == connection_id,
            credits.c.status.in_(IN_LEDGER),
            credits.c.xero_contact_id != invoices.c.xero_contact_id,
            or_(credits.c.xero_contact_id.in_(of), invoices.c.xero_contact_id.in_(of)),
        )
        .order_by(allocations.c.xero_credit_id, allocations.c.position)
    )
    return [
        Crossed(documents.credit(row, ()), row.invoice_contact_id, from_units(row.allocated))
        for row in await tx.execute(query)
    ]


async def telling(tx: Transaction, connection_id: str, base_currency: str, most: int) -> list[Standing]:
    """Contacts from which it can be told how Xero makes its figure: half have credits, half have foreign invoices."""
    credited = select(credits.c.xero_contact_id).where(
        credits.c.connection_id == connection_id,
        credits.c.status == DocumentStatus.AUTHORISED,
        credits.c.remaining != 0,
    )
    foreign = select(invoices.c.xero_contact_id).where(
        invoices.c.connection_id == connection_id,
        invoices.c.status == DocumentStatus.AUTHORISED,
        invoices.c.currency != base_currency,
    )
    tell = {row[0] for query in (credited, foreign) for row in await tx.execute(query.distinct().limit(most // 2))}
    found = await tx.execute(_standings(narrowed=True), {"connection_id": connection_id, "of": list(tell)})
    return list(_grouped(found.all()))


async def standings(tx: Transaction, connection_id: str, of: Collection[str] | None = None) -> AsyncGenerator[Standing]:
    """These contacts, or all, in the order of their ids, in one pass; a few are in memory at a time.

    Whoever does not read on to its end closes it.
    """
    names = {"connection_id": connection_id, **({} if of is None else {"of": list(of)})}
    rest: list[Found] = []
    rows = await tx.stream(_standings(narrowed=of is not None), names)
    try:  # as a context manager it would neither be closed by an exception nor let the generator be closed
        async for part in rows.partitions(AT_ONCE):
            rest += part
            last = rest[-1].xero_contact_id
            for standing in _grouped([row for row in rest if row.xero_contact_id != last]):
                yield standing
            rest = [row for row in rest if row.xero_contact_id == last]
    finally:
        await rows.close()
    for standing in _grouped(rest):
        yield standing


async def named_invoices(
    tx: Transaction, connection_id: str, *, xero_invoice_id: str = "", number: str = ""
) -> list[Invoice]:
    """The invoices with this id or, without one, with this number; those that left the ledger have no number."""
    query = select(invoices).where(invoices.c.connection_id == connection_id)
    if xero_invoice_id:
        query = query.where(invoices.c.xero_invoice_id == xero_invoice_id)
    else:
        query = query.where(invoices.c.number == number, invoices.c.status.in_(IN_LEDGER))
    return [documents.invoice(row) for row in await tx.execute(query)]


async def contact_name(tx: Transaction, connection_id: str, xero_contact_id: str) -> str:
    """What a contact is called; empty if it is not here."""
    query = select(contacts.c.name).where(
        contacts.c.connection_id == connection_id, contacts.c.xero_contact_id == xero_contact_id
    )
    return (await tx.execute(query)).scalar_one_or_none() or ""


async def contact_of_payment(tx: Transaction, connection_id: str, xero_payment_id: str) -> str | None:
    """Whose payment this is; None if it is not here."""
    query = select(payments.c.xero_contact_id).where(
        payments.c.connection_id == connection_id, payments.c.xero_payment_id == xero_payment_id
    )
    return (await tx.execute(query)).scalar_one_or_none()


@cache
def _standings(*, narrowed: bool) -> Select[Any]:
    """Each contact, or each of some, by id, with a row for each currency and rate in which something is open.

    Built once: see `connections`.
    """
    connection_id: BindParameter[str] = bindparam("connection_id")
    of: BindParameter[str] = bindparam("of", expanding=True)
    parts = [
        select(
            invoices.c.xero_contact_id,
            invoices.c.currency,
            invoices.c.rate,
            invoices.c.due,
            literal(0).label("remaining"),
        ).where(invoices.c.connection_id == connection_id, invoices.c.status == DocumentStatus.AUTHORISED),
        select(
            credits.c.xero_contact_id, credits.c.currency, credits.c.rate, literal(0).label("due"), credits.c.remaining
        ).where(credits.c.connection_id == connection_id, credits.c.status == DocumentStatus.AUTHORISED),
    ]
    if narrowed:
        parts = [part.where(part.selected_columns.xero_contact_id.in_(of)) for part in parts]
    lines = union_all(*parts).subquery()
    by = lines.c.xero_contact_id, lines.c.currency, lines.c.rate
    sums = (
        select(
            *by,
            func.sum(lines.c.due).label("due"),
            func.sum(lines.c.remaining).label("remaining"),
            func.count().label("count"),
        )
        .group_by(*by)
        .subquery()
    )
    wanted = [contacts.c.connection_id == connection_id]
    if narrowed:
        wanted.append(contacts.c.xero_contact_id.in_(of))
    return (
        select(
            contacts.c.xero_contact_id,
            contacts.c.stated_outstanding,
            contacts.c.is_customer,
            sums.c.currency,
            sums.c.rate,
            sums.c.due,
            sums.c.remaining,
            sums.c["count"].label("documents"),
        )
        .select_from(contacts)
        .outerjoin(sums, sums.c.xero_contact_id == contacts.c.xero_contact_id)
        .where(*wanted)
        .order_by(contacts.c.xero_contact_id)
    )


def _grouped(rows: Sequence[Found]) -> Iterator[Standing]:
    """One of each contact; rows are taken apart by place, as by name costs several times as much."""
    for xero_contact_id, own in groupby(cast("Sequence[tuple[Any, ...]]", rows), key=itemgetter(0)):
        sums = []
        for _, stated, is_customer, currency, rate, due, remaining, count in own:  # noqa: B007 - the same in each
            if currency is not None:
                sums.append(Sum(currency, rate, int(due), int(remaining), count))
        yield Standing(xero_contact_id, stated, is_customer, tuple(sums))


async def _kept(tx: Transaction, table: Table, wanted: Select[Any]) -> list[Kept]:
    rows = await tx.execute(wanted)
    if table is invoices:
        return [Kept(documents.invoice(row), from_micros(row.changed_at)) for row in rows]
    return [Kept(documents.credit(row, ()), from_micros(row.changed_at)) for row in rows]


def _parts(ids: Collection[str]) -> Iterator[list[str]]:
    listed = sorted(ids)
    for start in range(0, len(listed), AT_ONCE):
        yield listed[start : start + AT_ONCE]
