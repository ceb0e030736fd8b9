"""What is kept for a while only, and forgetting it: a bounded number of rows at a time, so that nobody waits for long.

What is kept for ever: connections and their history, payment exports with all that happened to them, open and resolved
discrepancies, and of calls to Xero what each month came to.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, RowMapping, Table, and_, delete, exists, func, select, tuple_

from tieout_server.clock import to_micros
from tieout_server.ledger.books import Purpose
from tieout_server.storage.caller_tables import audit_events
from tieout_server.storage.calls import Usage, add
from tieout_server.storage.database import Transaction
from tieout_server.storage.reconciliation_tables import comparisons, discrepancy_events, reconciliations
from tieout_server.storage.tables import calls, change_runs, connections, syncs

BATCH = 1_000
"""Rows that one transaction forgets."""


class Kind(StrEnum):
    """What is forgotten after a time that an operator sets."""

    SYNCS = "syncs"
    """Syncs that are over, but for each connection's last."""
    CHANGE_RUNS = "change_runs"
    """Which change came with which sync, up to the last of which that sync is no longer kept, whenever that was."""
    RECONCILIATIONS = "reconciliations"
    """Reconciliations that are over, but for each connection's last."""
    COMPARISONS = "comparisons"
    """How the balances of a customer came to be what they are, but for the last figures."""
    DISCREPANCY_EVENTS = "discrepancy_events"
    """The steps of a discrepancy's history, but for its last."""
    CALLS = "calls"
    """How many calls each day took; each month's sum stays."""
    AUDIT_EVENTS = "audit_events"
    """Who did what."""


async def count(tx: Transaction, kind: Kind, before: datetime) -> int:
    """How many rows of this kind are older than this instant and would be forgotten."""
    of, is_old = _old(kind, before)
    return (await tx.execute(select(func.count()).select_from(of).where(is_old))).scalar_one()


async def forget_some(tx: Transaction, kind: Kind, before: datetime) -> int:
    """Forget some of what is older than this instant; says how many rows. 0: nothing is left that nobody else is at."""
    of, is_old = _old(kind, before)
    query = select(of).where(is_old).limit(BATCH).with_for_update(skip_locked=True)
    some = (await tx.execute(query)).mappings().all()
    if some:
        key = [*of.primary_key]
        await tx.execute(delete(of).where(tuple_(*key).in_([tuple(row[it] for it in key) for row in some])))
    if kind is Kind.CALLS:
        await add(tx, [_under_month(row) for row in some])
    return len(some)


def _old(kind: Kind, before: datetime) -> tuple[Table, ColumnElement[bool]]:
    """The table, and which of its rows are old; the newest of each thing never is."""
    of = _TABLES[kind]
    return of, and_(*_CONDITIONS[kind](before))


def _syncs(before: datetime) -> list[ColumnElement[bool]]:
    newest = select(connections.c.sync_ordinal).where(connections.c.id == syncs.c.connection_id)
    return [syncs.c.ended_at < to_micros(before), syncs.c.ordinal < newest.scalar_subquery()]


def _change_runs(_before: datetime) -> list[ColumnElement[bool]]:
    own, gone = change_runs.c, change_runs.alias().c
    is_kept = exists().where(syncs.c.id == gone.sync_id)
    return [
        exists().where(gone.connection_id == own.connection_id, gone.since >= own.since, gone.sync_id != "", ~is_kept)
    ]


def _reconciliations(before: datetime) -> list[ColumnElement[bool]]:
    own, later = reconciliations.c, reconciliations.alias().c
    has_later = exists().where(later.connection_id == own.connection_id, later.ordinal > own.ordinal)
    return [own.ended_at < to_micros(before), has_later]


def _comparisons(before: datetime) -> list[ColumnElement[bool]]:
    own, later = comparisons.c, comparisons.alias().c
    same = [later[name] == own[name] for name in ("connection_id", "xero_contact_id", "currency")]
    return [own.at < to_micros(before), exists().where(*same, later.at > own.at)]


def _discrepancy_events(before: datetime) -> list[ColumnElement[bool]]:
    own, later = discrepancy_events.c, discrepancy_events.alias().c
    has_later = exists().where(later.discrepancy_id == own.discrepancy_id, later.number > own.number)
    return [own.at < to_micros(before), has_later]


def _calls(before: datetime) -> list[ColumnElement[bool]]:
    return [calls.c.day < _month(before), func.substr(calls.c.day, 9, 2) != "01"]


def _audit_events(before: datetime) -> list[ColumnElement[bool]]:
    return [audit_events.c.at < to_micros(before)]


_TABLES: Mapping[Kind, Table] = {
    Kind.SYNCS: syncs,
    Kind.CHANGE_RUNS: change_runs,
    Kind.RECONCILIATIONS: reconciliations,
    Kind.COMPARISONS: comparisons,
    Kind.DISCREPANCY_EVENTS: discrepancy_events,
    Kind.CALLS: calls,
    Kind.AUDIT_EVENTS: audit_events,
}
_CONDITIONS: Mapping[Kind, Callable[[datetime], list[ColumnElement[bool]]]] = {
    Kind.SYNCS: _syncs,
    Kind.CHANGE_RUNS: _change_runs,
    Kind.RECONCILIATIONS: _reconciliations,
    Kind.COMPARISONS: _comparisons,
    Kind.DISCREPANCY_EVENTS: _discrepancy_events,
    Kind.CALLS: _calls,
    Kind.AUDIT_EVENTS: _audit_events,
}


def _month(before: datetime) -> str:
    """The first day of the month of this instant: of months before it nothing is added any more."""
    return f"{before:%Y-%m}-01"


def _under_month(row: RowMapping) -> Usage:
    """The calls of a day, as they are added to what the first day of its month has."""
    counted = {name: row[name] for name in ("call_count", "bytes_wire", "bytes_body")}
    first = date.fromisoformat(row["day"]).replace(day=1)
    return Usage(xero_tenant_id=row["xero_tenant_id"], used_on=first, purpose=Purpose(row["purpose"]), **counted)
