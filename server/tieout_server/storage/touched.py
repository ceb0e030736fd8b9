"""Which records of a mirror changed, in order: each once, at the place of its latest change.

A record is what a reader is told of: a document, or more than its own row. A customer also changes with its invoices
and credits, and with the contacts merged into it; an invoice also changes with its payments and what was credited to
it. So each record's number is the highest among its rows. A customer that a document left has no such row any more: a
trigger numbers its contact (`…_leave_a_contact` in migration 0001).
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, Table, and_, func, select, union_all
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import from_micros
from tieout_server.ledger.documents import CREDITS, Entity
from tieout_server.storage import customers
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import (
    accounts,
    allocations,
    contacts,
    credits,  # noqa: A004 - the field's word
    invoices,
    payments,
)

_TABLES = (contacts, invoices, credits, payments, accounts)

Latest = dict[str, tuple[int, int]]
"""By id, the number and the instant (microseconds) of the latest change."""


class Window(msgspec.Struct, frozen=True):
    """Changes of one connection, from one number to another, both included."""

    connection_id: str
    first: int
    last: int

    def covers(self, table: Table) -> ColumnElement[bool]:
        """Whether a row changed last within it."""
        number = table.c.change_number
        return and_(table.c.connection_id == self.connection_id, number >= self.first, number <= self.last)


class Touched(msgspec.Struct, frozen=True):
    """A record that changed: as which number, what it is, and when that was committed."""

    number: int
    entity: Entity
    id: str
    at: datetime


async def window(tx: Transaction, connection_id: str, first: int, last: int, *, rows: int) -> Window:
    """The changes from `first` on, so many rows of each table or one whole number, but not beyond `last`."""
    beyond = [
        select(table.c.change_number)
        .where(table.c.connection_id == connection_id, table.c.change_number >= first)
        .order_by(table.c.change_number)
        .offset(rows)
        .limit(1)
        .scalar_subquery()
        for table in _TABLES
    ]
    found = (await tx.execute(select(*beyond))).one()
    cut = min((number for number in found if number is not None), default=last + 1)
    return Window(connection_id, first, min(max(cut - 1, first), last))


async def touched(tx: Transaction, within: Window, entities: Collection[Entity]) -> list[Touched]:
    """The records of these entities whose latest change lies in this window, in no order."""
    found: list[Touched] = []
    if Entity.CONTACTS in entities:
        found += _records(within, Entity.CONTACTS, await _customers(tx, within))
    if Entity.INVOICES in entities:
        found += _records(within, Entity.INVOICES, await _invoices(tx, within))
    for entity in set(CREDITS) & set(entities):
        found += _records(within, entity, await _own(tx, within, credits, credits.c.entity == entity))
    for entity, table in ((Entity.PAYMENTS, payments), (Entity.ACCOUNTS, accounts)):
        if entity in entities:
            found += _records(within, entity, await _own(tx, within, table))
    return found


def _records(within: Window, entity: Entity, latest: Mapping[str, tuple[int, int]]) -> Iterable[Touched]:
    for name, (number, at) in latest.items():
        if number <= within.last:  # one that changed again later is told there
            yield Touched(number, entity, name, from_micros(at))


async def _own(tx: Transaction, within: Window, table: Table, *narrowed: ColumnElement[bool]) -> Latest:
    """The rows of this table that changed in the window."""
    name = table.columns[table.columns.keys()[1]]
    query = select(name, table.c.change_number, table.c.changed_at).where(within.covers(table), *narrowed)
    return {row[0]: (row[1], row[2]) for row in await tx.execute(query)}


async def _customers(tx: Transaction, within: Window) -> Latest:
    """The contacts whose own data, balances or merges changed, each that was merged away at its own change."""
    own = await _own(tx, within, contacts)
    owing = union_all(*(select(table.c.xero_contact_id).where(within.covers(table)) for table in (invoices, credits)))
    concerned = own.keys() | {row[0] for row in await tx.execute(owing)}
    merged = await customers.merges(tx, within.connection_id, concerned)
    family = await customers.families(tx, within.connection_id, {merged.get(name, name) for name in concerned})
    latest: Latest = {loser: own[loser] for loser in merged if loser in own}
    parts = (_latest_by(table.c.xero_contact_id, table, within, family) for table in (contacts, invoices, credits))
    for member, change in (await _latest(tx, *parts)).items():
        owner = family[member]
        latest[owner] = max(latest.get(owner, change), change)
    return latest


async def _invoices(tx: Transaction, within: Window) -> Latest:
    """The invoices whose own data, payments or credits changed."""
    concerned = set(await _own(tx, within, invoices))
    paid = select(payments.c.xero_document_id).where(within.covers(payments))
    credited = select(allocations.c.xero_invoice_id).join(credits, _of_its_credit()).where(within.covers(credits))
    concerned |= {row[0] for row in await tx.execute(union_all(paid, credited))}
    own = await _latest(tx, _latest_by(invoices.c.xero_invoice_id, invoices, within, concerned))
    parts = await _latest(
        tx,
        _latest_by(payments.c.xero_document_id, payments, within, own),
        _latest_by(allocations.c.xero_invoice_id, credits, within, own).join(allocations, _of_its_credit()),
    )
    return {name: max(change, parts.get(name, change)) for name, change in own.items()}


def _latest_by(by: ColumnElement[str], table: Table, within: Window, names: Collection[str]) -> Select[str, Any, Any]:
    """The latest change in this table of whatever `by` names, in the window or behind it."""
    return (
        select(by, func.max(table.c.change_number), func.max(table.c.changed_at))
        .select_from(table)
        .where(table.c.connection_id == within.connection_id, by.in_(names))
        .group_by(by)
    )


async def _latest(tx: Transaction, *queries: Select[str, Any, Any]) -> Latest:
    """The latest over several queries of id, number and instant."""
    latest: Latest = {}
    for query in queries:
        for name, number, at in await tx.execute(query):
            known = latest.get(name, (0, 0))
            latest[name] = max(known, (number, at))
    return latest


def _of_its_credit() -> ColumnElement[bool]:
    return and_(
        credits.c.connection_id == allocations.c.connection_id, credits.c.xero_credit_id == allocations.c.xero_credit_id
    )
