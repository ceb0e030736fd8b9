"""What does not add up in the mirror: documents that contradict those beside them, so that Xero must have moved on.

Some of these questions are asked about a few documents that have just changed, others about all there are (the sweep).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Select, Table, and_, func, literal, or_, select, union, union_all

from tieout_server.ledger.documents import IN_LEDGER, DocumentStatus, Entity
from tieout_server.storage.columns import NOTHING
from tieout_server.storage.database import Transaction
from tieout_server.storage.live import is_entity, is_live, table_of
from tieout_server.storage.tables import allocations, contacts, credits, invoices, payments  # noqa: A004 - the field's word

_IN_LEDGER = [status.value for status in IN_LEDGER]


async def unpaid(tx: Transaction, connection_id: str, ids: Collection[str]) -> Mapping[str, int]:
    """The invoices and credits among these whose payments are not all here, by id, with what is missing of them.

    What is below zero is too much: a payment was deleted. Units are 1/10,000 of the document's currency.
    """
    missing = await _missing(tx, invoices, _unpaid_of_invoice(), connection_id, ids)
    return missing | await _missing(tx, credits, _unpaid_of_credit(), connection_id, ids)


async def uncredited(tx: Transaction, connection_id: str, ids: Collection[str]) -> Mapping[str, int]:
    """The invoices among these whose allocations are not all here, by id; likewise."""
    return await _missing(tx, invoices, _uncredited(), connection_id, ids)


async def credited_by(tx: Transaction, connection_id: str, invoice_ids: Collection[str]) -> Mapping[str, Entity]:
    """The credits that are set against these invoices here, by id."""
    query = (
        select(credits.c.xero_credit_id, credits.c.entity)
        .join(
            allocations,
            and_(
                allocations.c.connection_id == credits.c.connection_id,
                allocations.c.xero_credit_id == credits.c.xero_credit_id,
            ),
        )
        .where(credits.c.connection_id == connection_id, allocations.c.xero_invoice_id.in_(invoice_ids))
    )
    return {name: Entity(entity) for name, entity in await tx.execute(query)}


async def credited_of(tx: Transaction, connection_id: str, credit_ids: Collection[str]) -> Sequence[str]:
    """The invoices that these credits are or may have been set against, by id.

    That is those which they name, and all of their contacts that anything is credited on: a credit does not say from
    which invoice it was taken back.
    """
    of_these = select(credits.c.xero_contact_id).where(
        credits.c.connection_id == connection_id, credits.c.xero_credit_id.in_(credit_ids)
    )
    named = select(allocations.c.xero_invoice_id).where(
        allocations.c.connection_id == connection_id, allocations.c.xero_credit_id.in_(credit_ids)
    )
    credited = select(invoices.c.xero_invoice_id).where(
        invoices.c.connection_id == connection_id, invoices.c.xero_contact_id.in_(of_these), invoices.c.credited > 0
    )
    return await _ids(tx, union(named, credited))


async def entities_of(tx: Transaction, connection_id: str, ids: Collection[str]) -> Mapping[str, Entity]:
    """Which of these ids name an invoice or a credit that is here, and of which entity."""
    invoiced = select(invoices.c.xero_invoice_id, literal(Entity.INVOICES.value)).where(
        invoices.c.connection_id == connection_id, invoices.c.xero_invoice_id.in_(ids)
    )
    credited = select(credits.c.xero_credit_id, credits.c.entity).where(
        credits.c.connection_id == connection_id, credits.c.xero_credit_id.in_(ids)
    )
    found = await tx.execute(union_all(invoiced, credited))
    return {name: Entity(entity) for name, entity in found}


async def strangers(tx: Transaction, connection_id: str, entity: Entity, ids: Collection[str]) -> Sequence[str]:
    """The contacts of these invoices or credits that are not here, or that an invoice has just made customers.

    Xero calls a contact a customer from its first sales invoice on, without moving UpdatedDateUTC (Xero, Contacts).
    """
    table, key = table_of(entity)
    is_strange: ColumnElement[bool] = contacts.c.xero_contact_id.is_(None)
    if entity is Entity.INVOICES:
        is_strange = or_(is_strange, contacts.c.is_customer.is_(False))
    same = and_(
        contacts.c.connection_id == table.c.connection_id, contacts.c.xero_contact_id == table.c.xero_contact_id
    )
    query = (
        select(table.c.xero_contact_id)
        .outerjoin(contacts, same)
        .where(table.c.connection_id == connection_id, key.in_(ids), is_strange)
    )
    return await _ids(tx, query.distinct())


async def merged_into(tx: Transaction, connection_id: str, ids: Collection[str]) -> Sequence[str]:
    """The contacts that took over the documents of these ones, by id."""
    query = select(contacts.c.merged_into).where(
        contacts.c.connection_id == connection_id,
        contacts.c.xero_contact_id.in_(ids),
        contacts.c.merged_into != NOTHING,
    )
    return await _ids(tx, query.distinct())


async def unsettled(tx: Transaction, connection_id: str, entity: Entity, limit: int, *, skip: int = 0) -> Sequence[str]:
    """The invoices or credits of this entity that contradict the payments and allocations beside them, by id.

    `skip` so many of them: there may be some that Xero itself states so.
    """
    table, key = table_of(entity)
    odd = _unpaid_of_credit() != 0
    if entity is Entity.INVOICES:
        odd = or_(_unpaid_of_invoice() != 0, _uncredited() != 0)
    wanted = select(key).where(table.c.connection_id == connection_id, *is_live(entity), odd)
    return await _ids(tx, wanted.order_by(key).limit(limit).offset(skip))


async def excess_payments(
    tx: Transaction, connection_id: str, limit: int, of: Collection[str] = (), *, skip: int = 0
) -> Sequence[str]:
    """Payments that are here on documents of which Xero states that less was paid, by id; `of` only these documents.

    At least one of a document's payments was deleted, or the document is older here than its payments. `skip` likewise.
    """
    wanted = []
    for table, missing in ((invoices, _unpaid_of_invoice()), (credits, _unpaid_of_credit())):
        key = _key(table)
        documents = select(key).where(table.c.connection_id == connection_id, missing < 0)
        wanted.append(documents.where(key.in_(of)) if of else documents)
    excess = select(payments.c.xero_payment_id).where(
        payments.c.connection_id == connection_id,
        payments.c.status == DocumentStatus.AUTHORISED.value,
        payments.c.xero_document_id.in_(union_all(*wanted)),
    )
    return await _ids(tx, excess.order_by(payments.c.xero_payment_id).limit(limit).offset(skip))


async def paid_documents(tx: Transaction, connection_id: str, payment_ids: Sequence[str]) -> Sequence[str]:
    """The documents on which these payments are, by id."""
    wanted = select(payments.c.xero_document_id).where(
        payments.c.connection_id == connection_id, payments.c.xero_payment_id.in_(payment_ids)
    )
    return await _ids(tx, wanted.distinct())


async def of_merged_contacts(
    tx: Transaction, connection_id: str, entity: Entity, limit: int, *, skip: int = 0
) -> Sequence[str]:
    """The documents here that still name a contact which was merged into another one, by id. `skip` likewise."""
    table, key = table_of(entity)
    merged = select(contacts.c.xero_contact_id).where(
        contacts.c.connection_id == connection_id, contacts.c.merged_into != NOTHING
    )
    wanted = select(key).where(
        table.c.connection_id == connection_id, table.c.xero_contact_id.in_(merged), *is_entity(entity)
    )
    return await _ids(tx, wanted.order_by(key).limit(limit).offset(skip))


def _unpaid_of_invoice() -> ColumnElement[int]:
    """What Xero says was paid of an invoice, less the payments that are here."""
    return invoices.c.paid - _sum(payments, invoices, payments.c.xero_document_id)


def _unpaid_of_credit() -> ColumnElement[int]:
    """What neither remains of a credit nor was allocated, hence was refunded, less the refunds that are here."""
    allocated = _sum(allocations, credits, allocations.c.xero_credit_id)
    return credits.c.total - credits.c.remaining - allocated - _sum(payments, credits, payments.c.xero_document_id)


def _uncredited() -> ColumnElement[int]:
    """What Xero says was credited on an invoice, less the allocations that are here."""
    return invoices.c.credited - _sum(allocations, invoices, allocations.c.xero_invoice_id)


def _sum(parts: Table, document: Table, of: ColumnElement[str]) -> ColumnElement[int]:
    """What the allocations or the payments in force of a document come to."""
    wanted = select(func.coalesce(func.sum(parts.c.amount), 0)).where(
        parts.c.connection_id == document.c.connection_id, of == _key(document)
    )
    if parts is payments:
        wanted = wanted.where(payments.c.status == DocumentStatus.AUTHORISED.value)
    return wanted.correlate(document).scalar_subquery()


async def _missing(
    tx: Transaction, table: Table, missing: ColumnElement[int], connection_id: str, ids: Collection[str]
) -> dict[str, int]:
    key = _key(table)
    query = select(key, missing).where(
        table.c.connection_id == connection_id, key.in_(ids), table.c.status.in_(_IN_LEDGER), missing != 0
    )
    return {name: int(units) for name, units in await tx.execute(query)}


def _key(table: Table) -> ColumnElement[str]:
    return table.columns[table.columns.keys()[1]]


async def _ids(tx: Transaction, wanted: Select[Any] | CompoundSelect[Any]) -> Sequence[str]:
    return [row[0] for row in await tx.execute(wanted)]
