"""What is here of the mirror's documents: which rows are live, which are open, in which versions.

A row is live while it counts: a customer that is active, a document that is in the ledger, an account in use.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Table, func, select
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import from_micros
from tieout_server.ledger.documents import CREDITS, IN_LEDGER, ContactStatus, DocumentStatus, Entity
from tieout_server.storage.columns import NOTHING
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import accounts, contacts, credits, invoices, payments  # noqa: A004 - the field's word

_AT_ONCE = 500
"""Ids in one statement."""


async def count(tx: Transaction, connection_id: str, entity: Entity, *, open_only: bool = False) -> int:
    """How many rows of this entity are live; with `open_only`, how many of them are AUTHORISED."""
    table, _ = table_of(entity)
    wanted = select(func.count()).where(table.c.connection_id == connection_id, *is_live(entity))
    if open_only:
        wanted = wanted.where(table.c.status == DocumentStatus.AUTHORISED.value)
    counted: int = (await tx.execute(wanted)).scalar_one()
    return counted


async def among(tx: Transaction, connection_id: str, entity: Entity, ids: Sequence[str]) -> set[str]:
    """Which of the documents with these ids are live here."""
    table, key = table_of(entity)
    found: set[str] = set()
    for start in range(0, len(ids), _AT_ONCE):
        wanted = select(key).where(
            table.c.connection_id == connection_id, key.in_(ids[start : start + _AT_ONCE]), *is_live(entity)
        )
        found.update((await tx.execute(wanted)).scalars())
    return found


async def open_invoices(tx: Transaction, connection_id: str) -> set[str]:
    """The ids of the invoices that are AUTHORISED here."""
    query = select(invoices.c.xero_invoice_id).where(
        invoices.c.connection_id == connection_id, invoices.c.status == DocumentStatus.AUTHORISED.value
    )
    return {row[0] for row in await tx.execute(query)}


async def versions(tx: Transaction, connection_id: str, entity: Entity, ids: Collection[str]) -> Mapping[str, datetime]:
    """When, by Xero's clock, the versions changed that are here of these documents, by id."""
    table, key = table_of(entity)
    query = select(key, table.c.xero_updated_at).where(table.c.connection_id == connection_id, key.in_(ids))
    return {name: from_micros(version) for name, version in await tx.execute(query)}


def table_of(entity: Entity) -> tuple[Table, ColumnElement[str]]:
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


def is_entity(entity: Entity) -> list[ColumnElement[bool]]:
    """The condition that a row of the table is of this entity, where several share it."""
    return [credits.c.entity == entity.value] if entity in CREDITS else []


def is_live(entity: Entity) -> list[ColumnElement[bool]]:
    """The condition that a row of this entity counts."""
    table, _ = table_of(entity)
    if entity is Entity.CONTACTS:
        return [table.c.status == ContactStatus.ACTIVE.value, contacts.c.is_customer, contacts.c.merged_into == NOTHING]
    if entity is Entity.ACCOUNTS:
        return [table.c.status == "ACTIVE"]
    return [table.c.status.in_([status.value for status in IN_LEDGER]), *is_entity(entity)]
