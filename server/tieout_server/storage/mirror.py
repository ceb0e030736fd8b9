"""The mirror: documents as Xero stated them, written a page at a time.

Of two versions of a document the newer one stays, in whatever order they arrive. A row is rewritten only when
something that Xero states about it is new, so `changed_at` is a true instant of change and a page that was seen
before costs no writing beyond `seen_in`. What changes bears the number of its change (`storage.changes`). A document
that moves to another contact marks the former one as changed, too: a trigger of the database does
(`…_leave_a_contact` in migration 0001), as only it sees the row before and after.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import itemgetter

import msgspec
from sqlalchemy import Table, delete, func, select, update

from tieout_server.clock import to_micros
from tieout_server.ledger.documents import CREDITS, Contact, ContactStatus, Credit, Document, Entity
from tieout_server.storage import changes, customers, discrepancies, rows, tables
from tieout_server.storage.database import Transaction
from tieout_server.storage.rows import Kind, Row, Stamp

SMALL_PAGE = 100
"""Documents that are turned into rows on the event loop (about 2 ms); more of them go to a thread."""

_SEEN_IN = -len(rows.TAIL)

SLICE = 1_000
"""Documents in one statement: Xero's largest page."""

_INVOICE = tables.allocations.columns.keys().index("xero_invoice_id")
_ALLOCATION_ID = tables.allocations.columns.keys().index("xero_allocation_id")

_encode = msgspec.json.Encoder().encode

_TABLES: Mapping[Entity, Table] = {
    Entity.CONTACTS: tables.contacts,
    Entity.INVOICES: tables.invoices,
    Entity.CREDIT_NOTES: tables.credits,
    Entity.OVERPAYMENTS: tables.credits,
    Entity.PREPAYMENTS: tables.credits,
    Entity.PAYMENTS: tables.payments,
    Entity.ACCOUNTS: tables.accounts,
}


class Saved(msgspec.Struct, frozen=True):
    """What became of a page: how many documents it had, and how many of them were new here or newer than ours."""

    received: int = 0
    changed: int = 0


async def save(
    tx: Transaction, connection_id: str, documents: Sequence[Document], *, seen_in: int, at: datetime, sync_id: str = ""
) -> Saved:
    """Write documents of one kind; repeating it changes nothing. A credit's allocations are replaced with it.

    What is off balance of a contact that was merged away is its winner's from then on.

    `seen_in` is the ordinal of the sync that met them (it only rises), `at` is when they arrived here, `sync_id` names
    the sync that brought them, if one did. Writers of one connection take turns from here to their commit. Whoever
    changes something must append an event of the connection in the same transaction: a sync tells its progress,
    anything else calls `Feed.tell_of_changes`.

    Raises:
        InexactAmountError: an amount has more than four decimal places; nothing of the page is written.
    """
    if not documents:
        return Saved()
    kind = rows.KINDS[type(documents[0])]
    stamp = Stamp(connection_id, seen_in, to_micros(at), await changes.next_number(tx, connection_id, sync_id))
    page = await _off_loop(kind, documents, stamp)
    changed = 0
    for start in range(0, len(page), SLICE):
        changed += await _upsert(tx, kind.table, page[start : start + SLICE])
    if kind.table is tables.credits:
        changed += await _save_allocations(tx, [d for d in documents if isinstance(d, Credit)], stamp)
    if losers := [d.xero_contact_id for d in documents if isinstance(d, Contact) and d.merged_into]:
        winners = await discrepancies.take_over(tx, connection_id, await customers.merges(tx, connection_id, losers))
        await _mark_changed(tx, stamp, tables.contacts, winners)
    return Saved(len(documents), changed)


async def mark_contact(tx: Transaction, connection_id: str, xero_contact_id: str, at: datetime) -> None:
    """Note that what is told of a contact changed, though not what Xero states; the same holds as for `save`."""
    stamp = Stamp(connection_id, 0, to_micros(at), await changes.next_number(tx, connection_id, ""))
    await _mark_changed(tx, stamp, tables.contacts, [xero_contact_id])


async def count_seen(tx: Transaction, connection_id: str, entity: Entity, seen_in: int) -> int:
    """How many documents of this entity the sync with this ordinal, or a later one, has met."""
    table = _TABLES[entity]
    query = select(func.count()).where(table.c.connection_id == connection_id, table.c.seen_in >= seen_in)
    if table is tables.credits:
        query = query.where(tables.credits.c.entity == entity)
    count: int = (await tx.execute(query)).scalar_one()
    return count


async def count_rows(tx: Transaction, connection_id: str) -> Mapping[Entity, int]:
    """How many documents of each entity are here, whatever their status."""
    counts = dict.fromkeys(Entity, 0)
    for entity in set(Entity) - set(CREDITS):
        table = _TABLES[entity]
        query = select(func.count()).where(table.c.connection_id == connection_id)
        counts[entity] = (await tx.execute(query)).scalar_one()
    by_entity = select(tables.credits.c.entity, func.count()).group_by(tables.credits.c.entity)
    for entity, count in await tx.execute(by_entity.where(tables.credits.c.connection_id == connection_id)):
        counts[Entity(entity)] = count
    return counts


async def _off_loop(kind: Kind, documents: Sequence[Document], stamp: Stamp) -> list[Row]:
    if len(documents) <= SMALL_PAGE:
        return kind.rows(documents, stamp)
    return await asyncio.to_thread(kind.rows, documents, stamp)


async def _upsert(tx: Transaction, table: Table, page: list[Row]) -> int:
    """Insert what is new, rewrite what is newer, and answer how many rows that were."""
    sql = _upsert_sql(table, tx.dialect.name)
    values = page if tx.dialect.name == "sqlite" else (_as_json(table, page),)
    changed = (await tx.exec_driver_sql(sql, values)).rowcount
    if changed < len(page):  # the others were met all the same
        await _touch(tx, table, page)
    return changed


async def _touch(tx: Transaction, table: Table, page: list[Row]) -> None:
    """Raise `seen_in` of these rows, without changing anything else."""
    connection_id, seen_in = page[0][0], page[0][_SEEN_IN]
    key = table.columns.keys()[1]
    rest = f"UPDATE {table.name} SET seen_in = {{0}} WHERE connection_id = {{0}} AND seen_in < {{0}} AND {key} = "  # noqa: S608 - names of ours
    if tx.dialect.name == "sqlite":
        each = [(seen_in, connection_id, seen_in, row[1]) for row in page]
        await tx.exec_driver_sql(rest.format("?") + "?", each)
    else:
        names = [row[1] for row in page]
        await tx.exec_driver_sql(rest.format("%s") + "ANY(%s)", (seen_in, connection_id, seen_in, names))


@cache
def _upsert_sql(table: Table, dialect: str) -> str:
    """INSERT … ON CONFLICT that rewrites a row only for a version that is not older and says something else.

    The version itself counts as content: otherwise a version in between could follow later and win. SQLite takes the
    rows one by one (`executemany`), PostgreSQL the page as one JSON text, which costs this process a third of that.
    """
    columns = table.columns.keys()
    stated = columns[2 : -len(rows.TAIL)]
    is_other = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
    settings = ", ".join(f"{column} = excluded.{column}" for column in [*stated, "changed_at", "change_number"])
    was_here = f"{table.name}.was_here OR excluded.was_here"
    raised = f"CASE WHEN excluded.seen_in > {table.name}.seen_in THEN excluded.seen_in ELSE {table.name}.seen_in END"
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) {_source(table, dialect)} "
        f"ON CONFLICT ({', '.join(columns[:2])}) DO UPDATE SET {settings}, seen_in = {raised}, was_here = {was_here} "
        f"WHERE excluded.xero_updated_at >= {table.name}.xero_updated_at {_stays_erased(table)}"
        f"AND ({', '.join(f'{table.name}.{column}' for column in stated)}) {is_other} "
        f"({', '.join(f'excluded.{column}' for column in stated)})"
    )


def _stays_erased(table: Table) -> str:
    """Of a contact that is erased no version that came before brings anything back (`storage.erasure`).

    It can never be used again in Xero (Xero, GDPR and the Contact API); what is newer all the same is believed.
    """
    if table is not tables.contacts:
        return ""
    erased = ContactStatus.GDPRREQUEST.value
    return (
        f"AND (contacts.status <> '{erased}' OR excluded.status = '{erased}' "
        "OR excluded.xero_updated_at > contacts.xero_updated_at) "
    )


def _source(table: Table, dialect: str) -> str:
    """Where the rows of an INSERT come from."""
    if dialect == "sqlite":
        return f"VALUES ({', '.join('?' * len(table.columns))})"
    return f"SELECT {', '.join(table.columns.keys())} FROM json_populate_recordset(NULL::{table.name}, %s::json)"  # noqa: S608 - names of ours


def _as_json(table: Table, page: list[Row]) -> str:
    columns = table.columns.keys()
    return _encode([dict(zip(columns, row, strict=True)) for row in page]).decode()


async def _save_allocations(tx: Transaction, page: Sequence[Credit], stamp: Stamp) -> int:
    """Make the allocations of these credits those of the version that is kept.

    Answers how many credits changed in their allocations alone, which Xero may do without a new version
    (deleting an allocation: the UNSURE register). Invoices that lost one are marked as changed too: nothing would lead
    from the credit to them afterwards.
    """
    changed = 0
    for start in range(0, len(page), SLICE):
        part = page[start : start + SLICE]
        kept = await _kept_credits(tx, stamp.connection_id, part)
        known = await _known_allocations(tx, stamp.connection_id, kept)
        stated = {name: rows.allocation_rows(credit, stamp.connection_id) for name, credit in kept.items()}
        other = [name for name, lines in stated.items() if _unnamed(lines) != _unnamed(known.get(name, []))]
        await _replace_allocations(tx, stamp.connection_id, other, [line for name in other for line in stated[name]])
        changed += await _mark_changed(tx, stamp, tables.credits, other)
        lost = {line[_INVOICE] for name in other for line in known.get(name, [])}
        await _mark_changed(tx, stamp, tables.invoices, lost)
    return changed


def _unnamed(lines: Sequence[Row]) -> list[Row]:
    """Allocations without their ids: a credit that is read alone states them, one in a list does not (Xero)."""
    return [line[:_ALLOCATION_ID] + line[_ALLOCATION_ID + 1 :] for line in lines]


async def _kept_credits(tx: Transaction, connection_id: str, page: Iterable[Credit]) -> dict[str, Credit]:
    """Of these credits, by id, those whose version is the one that the mirror holds."""
    stored = tables.credits
    offered = {(credit.xero_credit_id, to_micros(credit.updated_at)): credit for credit in page}
    query = select(stored.c.xero_credit_id, stored.c.xero_updated_at).where(
        stored.c.connection_id == connection_id, stored.c.xero_credit_id.in_({name for name, _ in offered})
    )
    found = [(row[0], row[1]) for row in await tx.execute(query)]
    return {name: offered[name, version] for name, version in found if (name, version) in offered}


async def _known_allocations(tx: Transaction, connection_id: str, names: Iterable[str]) -> dict[str, list[Row]]:
    allocations = tables.allocations
    query = (
        select(allocations)
        .where(allocations.c.connection_id == connection_id, allocations.c.xero_credit_id.in_(names))
        .order_by(allocations.c.xero_credit_id, allocations.c.position)
    )
    found = [tuple(row) for row in await tx.execute(query)]
    return {name: list(lines) for name, lines in groupby(found, key=itemgetter(1))}


async def _replace_allocations(tx: Transaction, connection_id: str, names: list[str], lines: list[Row]) -> None:
    allocations = tables.allocations
    if names:
        await tx.execute(
            delete(allocations).where(
                allocations.c.connection_id == connection_id, allocations.c.xero_credit_id.in_(names)
            )
        )
    if lines:
        await tx.execute(
            allocations.insert(), [dict(zip(allocations.columns.keys(), line, strict=True)) for line in lines]
        )


async def _mark_changed(tx: Transaction, stamp: Stamp, table: Table, names: Collection[str]) -> int:
    """Note the change of these documents, and answer how many of them had not been noted by this page already."""
    if not names:
        return 0
    marked = await tx.execute(
        update(table)
        .where(
            table.c.connection_id == stamp.connection_id,
            table.columns[table.columns.keys()[1]].in_(names),
            table.c.change_number != stamp.change_number,
        )
        .values(changed_at=stamp.changed_at, change_number=stamp.change_number)
    )
    return marked.rowcount
