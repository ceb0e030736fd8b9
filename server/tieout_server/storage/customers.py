"""Reading the mirror: who is a customer, what contacts became by merges, and what each owes and is owed."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    CompoundSelect,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.documents import IN_LEDGER, Contact, ContactStatus, DocumentStatus
from tieout_server.storage import documents
from tieout_server.storage.columns import NOTHING
from tieout_server.storage.database import Transaction
from tieout_server.storage.discrepancies import OVER
from tieout_server.storage.pages import Found, IdSpan, Span, paged
from tieout_server.storage.reconciliation_tables import discrepancies
from tieout_server.storage.rows import name_key
from tieout_server.storage.tables import contacts, credits, invoices  # noqa: A004 - the field's word


class CustomerOrder(StrEnum):
    """How customers are listed."""

    BY_NAME = "by_name"
    """By name without case, then by id."""
    BY_CHANGE = "by_change"
    """By the latest change of the customer or its documents, oldest first, then by id."""


class CustomerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customers: those that meet every condition that is set."""

    search: str = ""
    """Occurs in the name, the email address or the account number, compared without case."""
    updated_after: datetime | None = None
    off_balance_only: bool = False
    order: CustomerOrder = CustomerOrder.BY_NAME


class FoundCustomer(msgspec.Struct, frozen=True):
    """A contact that is a customer, and when it, an invoice or a credit of it last changed here."""

    contact: Contact
    updated_at: datetime
    is_off_balance: bool
    has_merged: bool
    """Whether others were merged into it."""


class Listed(msgspec.Struct, frozen=True):
    """A contact whether it is a customer or not, and whether it was one here: by itself or by its documents."""

    contact: Contact
    updated_at: datetime
    was_here: bool


class BalanceUnits(msgspec.Struct, frozen=True):
    """What one contact owes and is owed in one currency, in 1/10,000."""

    xero_contact_id: str
    currency: str
    due: int
    """Σ amount due of AUTHORISED invoices."""
    overdue: int
    """The part of it whose due date has passed."""
    unapplied: int
    """Σ remaining credit of AUTHORISED credit notes, overpayments and prepayments."""


async def balances(
    tx: Transaction, connection_id: str, *, today: date, of: Collection[str] | None = None
) -> list[BalanceUnits]:
    """The balances of these contacts, or of the whole organisation, per currency, in one pass."""
    values: dict[str, object] = {"connection_id": connection_id, "today": today.isoformat()}
    if of is not None:
        values["of"] = list(of)
    found = await tx.execute(_balances(narrowed=of is not None), values)
    return [BalanceUnits(row[0], row[1], *(int(units) for units in row[2:])) for row in found]


@cache
def _balances(*, narrowed: bool) -> Select[Any]:
    """The query for balances, built once: see `_find`."""
    parts = [_owed(), _held()]
    if narrowed:
        of: BindParameter[str] = bindparam("of", expanding=True)
        parts = [part.where(part.selected_columns.xero_contact_id.in_(of)) for part in parts]
    lines = union_all(*parts).subquery()
    by = lines.c.xero_contact_id, lines.c.currency
    sums = (func.sum(lines.c.due), func.sum(lines.c.overdue), func.sum(lines.c.unapplied))
    return select(*by, *sums).group_by(*by).order_by(*by)


def _owed() -> Select[Any]:
    overdue = case((invoices.c.due_on < bindparam("today"), invoices.c.due), else_=0)
    amounts = invoices.c.due, overdue.label("overdue"), literal(0).label("unapplied")
    return select(invoices.c.xero_contact_id, invoices.c.currency, *amounts).where(
        invoices.c.connection_id == bindparam("connection_id"), invoices.c.status == DocumentStatus.AUTHORISED
    )


def _held() -> Select[Any]:
    amounts = literal(0).label("due"), literal(0).label("overdue"), credits.c.remaining.label("unapplied")
    return select(credits.c.xero_contact_id, credits.c.currency, *amounts).where(
        credits.c.connection_id == bindparam("connection_id"), credits.c.status == DocumentStatus.AUTHORISED
    )


async def merges(tx: Transaction, connection_id: str, losers: Collection[str]) -> Mapping[str, str]:
    """Of these contacts those that were merged away, each with the one that it is now, over any number of merges."""
    into: dict[str, str] = {}
    asked = set(losers)
    while asked:
        step = await _merged(tx, connection_id, contacts.c.xero_contact_id, asked)
        into |= step
        asked = set(step.values()) - into.keys()
    return {loser: _end_of(into, loser) for loser in losers if loser in into}


async def all_merges(tx: Transaction, connection_id: str) -> Mapping[str, str]:
    """Every contact that was merged away, each with the one that it is now, over any number of merges."""
    query = select(contacts.c.xero_contact_id, contacts.c.merged_into).where(
        contacts.c.connection_id == connection_id, contacts.c.merged_into != NOTHING
    )
    into: dict[str, str] = {row[0]: row[1] for row in await tx.execute(query)}
    return {loser: _end_of(into, loser) for loser in into}


async def families(tx: Transaction, connection_id: str, winners: Collection[str]) -> Mapping[str, str]:
    """These contacts and all that were merged into them, each with the one that it is now."""
    family = {winner: winner for winner in winners}
    asked = set(winners)
    while asked:
        found = await _merged(tx, connection_id, contacts.c.merged_into, asked)
        step = {loser: family[winner] for loser, winner in found.items() if loser not in family}
        family |= step
        asked = set(step)
    return family


async def _merged(tx: Transaction, connection_id: str, by: Column[str], asked: Collection[str]) -> Mapping[str, str]:
    """The contacts that were merged away, found by one of their two ids, each with the one it was merged into."""
    found = await tx.execute(_merged_by(by), {"connection_id": connection_id, "asked": list(asked)})
    return {row[0]: row[1] for row in found}


@cache
def _merged_by(column: Column[str]) -> Select[Any]:
    """Built once: see `_find`."""
    return select(contacts.c.xero_contact_id, contacts.c.merged_into).where(
        contacts.c.connection_id == bindparam("connection_id"),
        contacts.c.merged_into != NOTHING,
        column.in_(bindparam("asked", expanding=True)),
    )


def _end_of(into: Mapping[str, str], start: str) -> str:
    """The last of a chain of merges; a ring, which Xero should never state, ends where it would begin again."""
    passed = {start}
    here = into[start]
    while here in into and here not in passed:
        passed.add(here)
        here = into[here]
    return here


async def find(tx: Transaction, connection_id: str, xero_contact_id: str) -> FoundCustomer | None:
    """The customer that this contact is; None if it is none, or is merged into another."""
    names = {"connection_id": connection_id, "xero_contact_id": xero_contact_id}
    row = (await tx.execute(_find(tx.dialect.name), names)).one_or_none()
    return None if row is None else _found(row)


@cache
def _find(dialect: str) -> Select[Any]:
    """The query for one customer, built once: it is the most frequent one, and building costs as much as running.

    No list is compared with in it: lists are written into the text of a query each time it is asked.
    """
    return _customers(dialect, bindparam("connection_id")).where(
        contacts.c.xero_contact_id == bindparam("xero_contact_id")
    )


async def page(
    tx: Transaction, connection_id: str, query: CustomerQuery, span: Span
) -> tuple[list[FoundCustomer], Span | None]:
    """A page of customers, and the span of the next one."""
    wanted = _customers(tx.dialect.name, connection_id)
    touched_at = _touched_at(tx.dialect.name)
    if query.search:
        wanted = wanted.where(_contains(query.search))
    if query.updated_after is not None:
        wanted = wanted.where(contacts.c.xero_contact_id.in_(_touched_after(connection_id, query.updated_after)))
    if query.off_balance_only:
        wanted = wanted.where(_is_off_balance())
    by = contacts.c.name_key if query.order is CustomerOrder.BY_NAME else touched_at
    rows, following = await paged(tx, wanted, (by, contacts.c.xero_contact_id), span)
    return [_found(row) for row in rows], following


async def customers_named(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[FoundCustomer]:
    """Those of these contacts that are customers."""
    query = _customers(tx.dialect.name, connection_id).where(contacts.c.xero_contact_id.in_(ids))
    return [_found(row) for row in await tx.execute(query)]


async def contacts_named(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[Listed]:
    """These contacts, customers or not."""
    has_counted = (exists().where(_belongs(table), table.c.was_here) for table in (invoices, credits))
    was_here = or_(contacts.c.was_here, *has_counted).label("was_customer")
    query = select(contacts, _touched_at(tx.dialect.name).label("touched_at"), was_here).where(
        contacts.c.connection_id == connection_id, contacts.c.xero_contact_id.in_(ids)
    )
    return [
        Listed(documents.contact(row), from_micros(row.touched_at), bool(row.was_customer))
        for row in await tx.execute(query)
    ]


class ContactField(StrEnum):
    """What a contact can be found by."""

    ID = "xero_contact_id"
    NAME = "name"
    NUMBER = "contact_number"
    EMAIL = "email"


async def contacts_with(
    tx: Transaction, connection_id: str, field: ContactField, value: str, *, limit: int
) -> list[Listed]:
    """The contacts, customers or not, that have this id, name, number or email address, so many at most.

    Names and email addresses are compared without case.
    """
    conditions = {
        ContactField.ID: contacts.c.xero_contact_id == value,
        ContactField.NAME: contacts.c.name_key == name_key(value),
        ContactField.NUMBER: contacts.c.contact_number == value,
        ContactField.EMAIL: func.lower(contacts.c.email) == value.lower(),
    }
    query = select(contacts.c.xero_contact_id).where(contacts.c.connection_id == connection_id, conditions[field])
    ids = (await tx.execute(query.order_by(contacts.c.xero_contact_id).limit(limit))).scalars().all()
    return await contacts_named(tx, connection_id, ids)


async def customer_ids(tx: Transaction, connection_id: str, unchanged_since: int, span: IdSpan) -> Sequence[str]:
    """The ids of customers whose own data did not change behind this number."""
    name = contacts.c.xero_contact_id
    query = select(name).where(
        contacts.c.connection_id == connection_id,
        name > span.after,
        contacts.c.change_number <= unchanged_since,
        _is_customer(),
    )
    return (await tx.execute(query.order_by(name).limit(span.limit))).scalars().all()


def _found(row: Found) -> FoundCustomer:
    return FoundCustomer(
        documents.contact(row), from_micros(row.touched_at), bool(row.is_off_balance), bool(row.has_merged)
    )


def _contains(search: str) -> ColumnElement[bool]:
    key = name_key(search)
    others = (contacts.c.email, contacts.c.account_number)
    return or_(
        contacts.c.name_key.contains(key, autoescape=True),
        *(func.lower(column).contains(key, autoescape=True) for column in others),
    )


def _customers(dialect: str, connection_id: str | BindParameter[str]) -> Select[Any]:
    return select(
        contacts,
        _touched_at(dialect).label("touched_at"),
        _is_off_balance().label("is_off_balance"),
        _has_merged().label("has_merged"),
    ).where(contacts.c.connection_id == connection_id, _is_customer())


def _has_merged() -> ColumnElement[bool]:
    """Whether contacts were merged into this one."""
    loser = contacts.alias()
    return exists().where(
        loser.c.connection_id == contacts.c.connection_id,
        loser.c.merged_into == contacts.c.xero_contact_id,
        loser.c.merged_into != NOTHING,
    )


def _is_off_balance() -> ColumnElement[bool]:
    """Whether a discrepancy of the contact is not over."""
    return exists().where(
        discrepancies.c.connection_id == contacts.c.connection_id,
        discrepancies.c.xero_contact_id == contacts.c.xero_contact_id,
        *(discrepancies.c.state != over for over in OVER),
    )


def _touched_at(dialect: str) -> ColumnElement[int]:
    """The latest change here of a contact, its invoices and its credits."""
    latest = func.max if dialect == "sqlite" else func.greatest
    of_documents = [
        select(func.coalesce(func.max(table.c.changed_at), 0)).where(_belongs(table)).scalar_subquery()
        for table in (invoices, credits)
    ]
    found: ColumnElement[int] = latest(contacts.c.changed_at, *of_documents, type_=BigInteger)
    return found


def _touched_after(connection_id: str, after: datetime) -> CompoundSelect[Any]:
    """The contacts whose `touched_at` is later: one pass over each table, not one look per contact."""
    return union_all(
        *(
            select(table.c.xero_contact_id).where(
                table.c.connection_id == connection_id, table.c.changed_at > to_micros(after)
            )
            for table in (contacts, invoices, credits)
        )
    )


def _is_customer() -> ColumnElement[bool]:
    """The rules of import: what Xero calls a customer or what has a document in the ledger, and is not put away.

    An archived one stays while it owes or is owed. Erased and merged ones are none.
    """
    has_document = or_(
        contacts.c.is_customer,
        *(exists().where(_belongs(t), or_(*(t.c.status == s for s in IN_LEDGER))) for t in (invoices, credits)),
    )
    has_balance = or_(
        exists().where(_belongs(invoices), invoices.c.status == DocumentStatus.AUTHORISED, invoices.c.due != 0),
        exists().where(_belongs(credits), credits.c.status == DocumentStatus.AUTHORISED, credits.c.remaining != 0),
    )
    return and_(
        contacts.c.merged_into == NOTHING,
        or_(
            and_(contacts.c.status == ContactStatus.ACTIVE, has_document),
            and_(contacts.c.status == ContactStatus.ARCHIVED, has_balance),
        ),
    )


def _belongs(table: Any) -> ColumnElement[bool]:  # noqa: ANN401 - `invoices` or `credits`
    return and_(
        table.c.connection_id == contacts.c.connection_id, table.c.xero_contact_id == contacts.c.xero_contact_id
    )
