"""Erasing what was read through a connection, a bounded number of rows at a time."""

from collections.abc import Collection, Mapping

from sqlalchemy import Column, Table, delete, func, select, tuple_

from tieout_server.storage import export_leftovers, export_tables, reconciliation_tables, tables
from tieout_server.storage.database import Transaction

BATCH = 1_000
"""Rows that one transaction erases, so that nobody waits for long."""

_COMPARED = (
    reconciliation_tables.discrepancies,  # with their history
    reconciliation_tables.comparisons,
    reconciliation_tables.compared,
    reconciliation_tables.platform_balances,
    reconciliation_tables.cases,
    export_tables.export_settings,
)
_exports = export_tables.payment_exports
_DOCUMENTS = (tables.payments, tables.invoices, tables.credits, tables.contacts, tables.accounts)


async def erase_some(tx: Transaction, connection_id: str, up_to: int) -> int:
    """Erase some of what syncs up to this ordinal read, and those syncs; says how many rows. 0: nothing is left.

    What a later sync has met again is that one's, and stays: who writes to the mirror waits from here to the commit.
    What was compared goes first, and all of it: it is found again by whoever compares again. So do the settings
    of payment exports; of these go those that were accepted up to then, sent or not, with all that hangs on them. Of
    what is on its way just then it is kept by what it would be found in Xero, without anybody's data.
    """
    for table in _COMPARED:
        if count := await _erase_all(tx, table, connection_id):
            return count
    if count := await _erase_accepted(tx, connection_id, up_to):
        return count
    counter = tables.change_counters.c
    await tx.execute(select(counter.last).where(counter.connection_id == connection_id).with_for_update())
    for table in _DOCUMENTS:
        if count := await _erase(tx, table, table.c[_key(table)], connection_id, up_to):
            return count
    return await _erase_runs(tx, reconciliation_tables.reconciliations, connection_id, up_to) or await _erase_runs(
        tx, tables.syncs, connection_id, up_to
    )


_COUNTED: Mapping[str, Table] = {
    "customers": tables.contacts,
    "invoices": tables.invoices,
    "credits": tables.credits,
    "payments": tables.payments,
    "accounts": tables.accounts,
    "syncs": tables.syncs,
    "reconciliations": reconciliation_tables.reconciliations,
    "discrepancies": reconciliation_tables.discrepancies,
    "comparisons": reconciliation_tables.comparisons,
    "platform_balances": reconciliation_tables.platform_balances,
    "cases": reconciliation_tables.cases,
    "payment_exports": _exports,
    "export_settings": export_tables.export_settings,
}


async def count(tx: Transaction, connection_ids: Collection[str]) -> dict[str, int]:
    """How much there is to erase of these connections, by kind; what hangs on a row is not counted."""
    found = {}
    for kind, table in _COUNTED.items():
        query = select(func.count()).select_from(table).where(table.c.connection_id.in_(connection_ids))
        found[kind] = int((await tx.execute(query)).scalar_one())
    return found


async def forget_watermarks(tx: Transaction, connection_id: str) -> None:
    """Forget how far each entity was read, and what was to be read next: the next sync is a first one."""
    for table in (tables.watermarks, tables.sweeps, tables.webhook_events):
        await tx.execute(delete(table).where(table.c.connection_id == connection_id))


async def _erase(tx: Transaction, table: Table, key: Column[str], connection_id: str, up_to: int) -> int:
    is_old = (table.c.connection_id == connection_id) & (table.c.seen_in <= up_to)
    keys = (await tx.execute(select(key).where(is_old).limit(BATCH))).scalars().all()
    if table is tables.credits and keys:
        parts = tables.allocations
        of_these = (parts.c.connection_id == connection_id) & parts.c.xero_credit_id.in_(keys)
        await tx.execute(delete(parts).where(of_these))
    if keys:
        await tx.execute(delete(table).where(is_old, key.in_(keys)))
    return len(keys)


async def _erase_all(tx: Transaction, table: Table, connection_id: str) -> int:
    key = tuple_(*table.primary_key)
    some = select(*table.primary_key).where(table.c.connection_id == connection_id).limit(BATCH)
    return (await tx.execute(delete(table).where(key.in_(some)))).rowcount


async def _erase_accepted(tx: Transaction, connection_id: str, up_to: int) -> int:
    is_old = (_exports.c.connection_id == connection_id) & (_exports.c.accepted_in <= up_to)
    some = select(_exports.c.id).where(is_old).order_by(_exports.c.id).limit(BATCH)
    keys = (await tx.execute(some.with_for_update())).scalars().all()  # nothing of them begins to be sent from now on
    if keys:
        await export_leftovers.keep(tx, keys)
        await tx.execute(delete(_exports).where(_exports.c.id.in_(keys)))
    return len(keys)


async def _erase_runs(tx: Transaction, table: Table, connection_id: str, up_to: int) -> int:
    is_old = (table.c.connection_id == connection_id) & (table.c.ordinal <= up_to)
    keys = (await tx.execute(select(table.c.id).where(is_old).limit(BATCH))).scalars().all()
    if keys:
        await tx.execute(delete(table).where(table.c.id.in_(keys)))
    return len(keys)


def _key(table: Table) -> str:
    return next(column.name for column in table.primary_key if column.name != "connection_id")
