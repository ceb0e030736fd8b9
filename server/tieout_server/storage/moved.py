"""What else must have changed in Xero: documents of the mirror that contradict those beside them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, Table, and_, func, literal, or_, select, union, union_all

from tieout_server.clock import from_micros
from tieout_server.ledger.documents import CREDITS, IN_LEDGER, DocumentStatus, Entity
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import allocations, contacts, credits, invoices, payments  # noqa: A004 - the field's word

_IN_LEDGER = [status.value for status in IN_LEDGER]


async def versions(tx: Transaction, connection_id: str, entity: Entity, ids: Collection[str]) -> Mapping[str, datetime]:
    """When, by Xero's clock, the versions changed that are here of these documents, by id."""
    table, key = _of(entity)
    query = select(key, table.c.xero_updated_at).where(table.c.connection_id == connection_id, key.in_(ids))
    return {name: from_micros(version) for name, version in await tx.execute(query)}


async def unpaid(tx: Transaction, connection_id: str, ids: Collection[str]) -> Mapping[str, int]:
    """The invoices and credits among these whose payments are not all here, by id, with what is missing of them.

    What is below zero is too much: a payment was deleted. Units are 1/10,000 of the document's currency.
    """
    paid = invoices.c.paid - _sum_of(payments, invoices, payments.c.xero_document_id == invoices.c.xero_invoice_id)
    used = _sum_of(allocations, credits, allocations.c.xero_credit_id == credits.c.xero_credit_id)
    refunds = _sum_of(payments, credits, payments.c.xero_document_id == credits.c.xero_credit_id)
    refunded = credits.c.total - credits.c.remaining - used - refunds
    missing = await _missing(tx, _odd(invoices, invoices.c.xero_invoice_id, paid, connection_id, ids))
    return missing | await _missing(tx, _odd(credits, credits.c.xero_credit_id, refunded, connection_id, ids))


async def uncredited(tx: Transaction, connection_id: str, ids: Collection[str]) -> Mapping[str, int]:
    """The invoices among these whose allocations are not all here, by id; likewise."""
    used = _sum_of(allocations, invoices, allocations.c.xero_invoice_id == invoices.c.xero_invoice_id)
    odd = _odd(invoices, invoices.c.xero_invoice_id, invoices.c.credited - used, connection_id, ids)
    return await _missing(tx, odd)


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
    return [row[0] for row in await tx.execute(union(named, credited))]


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
    table, key = _of(entity)
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
    return [row[0] for row in await tx.execute(query.distinct())]


async def merged_into(tx: Transaction, connection_id: str, ids: Collection[str]) -> Sequence[str]:
    """The contacts that took over the documents of these ones, by id."""
    query = select(contacts.c.merged_into).where(
        contacts.c.connection_id == connection_id, contacts.c.xero_contact_id.in_(ids), contacts.c.merged_into != ""
    )
    return [row[0] for row in await tx.execute(query.distinct())]


def _sum_of(table: Table, of: Table, belongs: ColumnElement[bool]) -> ScalarSelect[Any]:
    """What these rows come to for the row that they belong to; payments that were deleted do not count."""
    query = select(func.coalesce(func.sum(table.c.amount), 0)).where(
        table.c.connection_id == of.c.connection_id, belongs
    )
    if table is payments:
        query = query.where(payments.c.status == DocumentStatus.AUTHORISED.value)
    return query.correlate(of).scalar_subquery()


def _odd(
    table: Table, key: ColumnElement[str], missing: ColumnElement[Any], connection_id: str, ids: Collection[str]
) -> Select[tuple[str, Any]]:
    return select(key, missing).where(
        table.c.connection_id == connection_id, key.in_(ids), table.c.status.in_(_IN_LEDGER), missing != 0
    )


async def _missing(tx: Transaction, odd: Select[tuple[str, Any]]) -> dict[str, int]:
    return {name: int(missing) for name, missing in await tx.execute(odd)}


def _of(entity: Entity) -> tuple[Table, ColumnElement[str]]:
    """Where documents of this entity are, and what their key is called."""
    if entity in CREDITS:
        return credits, credits.c.xero_credit_id
    table = {Entity.CONTACTS: contacts, Entity.INVOICES: invoices, Entity.PAYMENTS: payments}[entity]
    return table, table.columns[table.columns.keys()[1]]
