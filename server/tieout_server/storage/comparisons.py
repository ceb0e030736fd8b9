"""Both balances of a customer over time, and how far the changes of a mirror were compared."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import exists, func, insert, select, union_all

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.money import from_units, to_units
from tieout_server.storage.changes import last_number
from tieout_server.storage.database import Transaction
from tieout_server.storage.reconciliation_tables import compared, comparisons, discrepancies
from tieout_server.storage.tables import (
    change_counters,
    connections,
    contacts,
    credits,  # noqa: A004 - the field's word
    invoices,
)


class Compared(msgspec.Struct, frozen=True):
    """What each side came to in one currency at an instant, and how Xero's was learnt."""

    currency: str
    at: datetime
    ours: Decimal
    xero: Decimal
    source: str


async def note(tx: Transaction, connection_id: str, xero_contact_id: str, found: Collection[Compared]) -> None:
    """Keep what of this is news: a currency whose figures are those that were kept last is left out."""
    known = {one.currency: one for one in await history(tx, connection_id, xero_contact_id)}  # the last one stays
    rows = [
        {
            "connection_id": connection_id,
            "xero_contact_id": xero_contact_id,
            "currency": one.currency,
            "at": to_micros(one.at),
            "ours": to_units(one.ours),
            "xero": to_units(one.xero),
            "source": one.source,
        }
        for one in found
        if (last := known.get(one.currency)) is None or (last.ours, last.xero) != (one.ours, one.xero)
        if last is None or last.at < one.at
    ]
    if rows:
        await tx.execute(insert(comparisons), rows)


async def history(tx: Transaction, connection_id: str, xero_contact_id: str) -> Sequence[Compared]:
    """How both balances of a customer came to be what they are, oldest first."""
    query = select(comparisons).where(
        comparisons.c.connection_id == connection_id, comparisons.c.xero_contact_id == xero_contact_id
    )
    rows = await tx.execute(query.order_by(comparisons.c.at, comparisons.c.currency))
    return [
        Compared(row.currency, from_micros(row.at), from_units(row.ours), from_units(row.xero), row.source)
        for row in rows
    ]


async def compared_before(tx: Transaction, connection_id: str) -> set[str]:
    """The customers of whom anything is kept."""
    query = select(comparisons.c.xero_contact_id).where(comparisons.c.connection_id == connection_id)
    return {row[0] for row in await tx.execute(query.distinct())}


class Cursor(msgspec.Struct, frozen=True):
    """How far the changes of a mirror were compared, and the customers that are still to be compared closely."""

    up_to: int = 0
    suspects: tuple[str, ...] = ()


async def cursor(tx: Transaction, connection_id: str) -> Cursor:
    """How far this connection is compared."""
    row = (await tx.execute(select(compared).where(compared.c.connection_id == connection_id))).one_or_none()
    return Cursor() if row is None else Cursor(row.up_to, msgspec.json.decode(row.suspects, type=tuple[str, ...]))


async def put_cursor(tx: Transaction, connection_id: str, now: Cursor) -> None:
    """Note how far this connection is compared."""
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    values = (connection_id, now.up_to, msgspec.json.encode(now.suspects).decode())
    await tx.exec_driver_sql(_PUT.format(mark), values)


async def behind(tx: Transaction) -> Sequence[str]:
    """The connections whose mirror changed since it was compared, and that can be: one query for all."""
    query = (
        select(change_counters.c.connection_id)
        .join(connections, connections.c.id == change_counters.c.connection_id)
        .outerjoin(compared, compared.c.connection_id == change_counters.c.connection_id)
        .where(connections.c.state == "CONNECTED", change_counters.c.last > func.coalesce(compared.c.up_to, 0))
    )
    return [row[0] for row in await tx.execute(query)]


async def changed_contacts(tx: Transaction, connection_id: str, after: int) -> tuple[Sequence[str], int]:
    """The contacts whose own data or documents changed behind this number, and the number up to which that is all.

    Left out are those of whom no more changed than that they were found to be off balance, or no longer.
    """
    found_then = exists().where(
        discrepancies.c.connection_id == contacts.c.connection_id,
        discrepancies.c.xero_contact_id == contacts.c.xero_contact_id,
        discrepancies.c.updated_at == contacts.c.changed_at,
    )
    changes = union_all(
        *(
            select(table.c.xero_contact_id, table.c.change_number).where(
                table.c.connection_id == connection_id,
                table.c.change_number > after,
                *([~found_then] if table is contacts else []),
            )
            for table in (contacts, invoices, credits)
        )
    ).subquery()
    found = await tx.execute(select(changes.c.xero_contact_id).distinct())
    return sorted(row[0] for row in found), await last_number(tx, connection_id)


_PUT = (
    "INSERT INTO compared (connection_id, up_to, suspects) VALUES ({0}, {0}, {0}) "
    "ON CONFLICT (connection_id) DO UPDATE SET up_to = excluded.up_to, suspects = excluded.suspects"
)
