"""Questions to the mirror about what counts in it: which rows do, which are open, and which do not add up.

A row is live while it counts: a customer that is active, a document that is in the ledger, an account in use.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Select, Table, func, or_, select, union_all
from sqlalchemy.sql import ColumnElement

from tieout_server.ledger.documents import CREDITS, IN_LEDGER, ContactStatus, DocumentStatus, Entity
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import accounts, allocations, contacts, credits, invoices, payments  # noqa: A004 - the field's word

_AT_ONCE = 500
"""Ids in one statement."""


async def count(tx: Transaction, connection_id: str, entity: Entity, *, open_only: bool = False) -> int:
    """How many rows of this entity are live; with `open_only`, how many of them are AUTHORISED."""
    table, _ = _of(entity)
    wanted = select(func.count()).where(table.c.connection_id == connection_id, *_is_live(entity))
    if open_only:
        wanted = wanted.where(table.c.status == DocumentStatus.AUTHORISED.value)
    counted: int = (await tx.execute(wanted)).scalar_one()
    return counted


async def among(tx: Transaction, connection_id: str, entity: Entity, ids: Sequence[str]) -> set[str]:
    """Which of the documents with these ids are live here."""
    table, key = _of(entity)
    found: set[str] = set()
    for start in range(0, len(ids), _AT_ONCE):
        wanted = select(key).where(
            table.c.connection_id == connection_id, key.in_(ids[start : start + _AT_ONCE]), *_is_live(entity)
        )
        found.update(await _ids(tx, wanted))
    return found


async def open_invoices(tx: Transaction, connection_id: str) -> set[str]:
    """The ids of the invoices that are AUTHORISED here."""
    return set(
        await _ids(
            tx,
            select(invoices.c.xero_invoice_id).where(
                invoices.c.connection_id == connection_id, invoices.c.status == DocumentStatus.AUTHORISED.value
            ),
        )
    )


async def unsettled(tx: Transaction, connection_id: str, entity: Entity, limit: int, *, skip: int = 0) -> Sequence[str]:
    """The invoices or credits of this entity that contradict the payments and allocations beside them, by id.

    `skip` so many of them: there may be some that Xero itself states so.
    """
    table, key = _of(entity)
    odd = _of_credit() != 0
    if entity is Entity.INVOICES:
        odd = or_(_of_invoice() != 0, invoices.c.credited != _sum(allocations, invoices, allocations.c.xero_invoice_id))
    wanted = select(key).where(table.c.connection_id == connection_id, *_is_live(entity), odd)
    return await _ids(tx, wanted.order_by(key).limit(limit).offset(skip))


async def excess_payments(
    tx: Transaction, connection_id: str, limit: int, of: Collection[str] = (), *, skip: int = 0
) -> Sequence[str]:
    """Payments that are here on documents of which Xero states that less was paid, by id; `of` only these documents.

    At least one of a document's payments was deleted, or the document is older here than its payments. `skip` likewise.
    """
    wanted = []
    for table, missing in ((invoices, _of_invoice()), (credits, _of_credit())):
        key = table.columns[table.columns.keys()[1]]
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
    table, key = _of(entity)
    merged = select(contacts.c.xero_contact_id).where(
        contacts.c.connection_id == connection_id, contacts.c.merged_into != ""
    )
    wanted = select(key).where(
        table.c.connection_id == connection_id, table.c.xero_contact_id.in_(merged), *_is_entity(entity)
    )
    return await _ids(tx, wanted.order_by(key).limit(limit).offset(skip))


def _of_invoice() -> ColumnElement[int]:
    """What Xero says was paid of an invoice, less the payments that are here."""
    return invoices.c.paid - _sum(payments, invoices, payments.c.xero_document_id)


def _of_credit() -> ColumnElement[int]:
    """What neither remains of a credit nor was allocated, hence was refunded, less the refunds that are here."""
    allocated = _sum(allocations, credits, allocations.c.xero_credit_id)
    return credits.c.total - credits.c.remaining - allocated - _sum(payments, credits, payments.c.xero_document_id)


def _sum(parts: Table, document: Table, of: ColumnElement[str]) -> ColumnElement[int]:
    """What the allocations or the payments in force of a document come to."""
    key = document.columns[document.columns.keys()[1]]
    wanted = select(func.coalesce(func.sum(parts.c.amount), 0)).where(
        parts.c.connection_id == document.c.connection_id, of == key
    )
    if parts is payments:
        wanted = wanted.where(payments.c.status == DocumentStatus.AUTHORISED.value)
    return wanted.correlate(document).scalar_subquery()


def _of(entity: Entity) -> tuple[Table, ColumnElement[str]]:
    """Where rows of this entity are, and what their key is called."""
    if entity in CREDITS:
        return credits, credits.c.xero_credit_id
    match entity:
        case Entity.CONTACTS:
            return contacts, contacts.c.xero_contact_id
        case Entity.INVOICES:
            return invoices, invoices.c.xero_invoice_id
        case Entity.PAYMENTS:
            return payments, payments.c.xero_payment_id
        case _:
            return accounts, accounts.c.xero_account_id


def _is_entity(entity: Entity) -> list[ColumnElement[bool]]:
    return [credits.c.entity == entity.value] if entity in CREDITS else []


def _is_live(entity: Entity) -> list[ColumnElement[bool]]:
    table, _ = _of(entity)
    if entity is Entity.CONTACTS:
        return [table.c.status == ContactStatus.ACTIVE.value, contacts.c.is_customer, contacts.c.merged_into == ""]
    if entity is Entity.ACCOUNTS:
        return [table.c.status == "ACTIVE"]
    return [table.c.status.in_([status.value for status in IN_LEDGER]), *_is_entity(entity)]


async def _ids(tx: Transaction, wanted: Select[Any]) -> Sequence[str]:
    return [row[0] for row in await tx.execute(wanted)]
