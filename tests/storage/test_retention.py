"""What is too old is forgotten, in bounded steps; what is newest of each thing, and each month's sum, stays."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select, update

from databases import add_connection
from fakes import SettableClock
from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.books import Purpose
from tieout_server.retention import Retention
from tieout_server.settings import Settings
from tieout_server.storage import audit, calls, retention, tables
from tieout_server.storage.audit import AuditEvent
from tieout_server.storage.caller_tables import audit_events
from tieout_server.storage.calls import Usage
from tieout_server.storage.database import Database
from tieout_server.storage.reconciliation_tables import (
    comparisons,
    discrepancies,
    discrepancy_events,
    reconciliations,
)
from tieout_server.storage.retention import Kind

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
BEFORE = NOW - timedelta(days=90)
OLD, NEW = to_micros(BEFORE - timedelta(days=1)), to_micros(BEFORE + timedelta(days=1))


@pytest.fixture
async def filled(database: Database) -> Database:
    """Three of each kind: two old ones, and one that is not; of another connection only old ones."""
    await add_connection(database, "c1")
    await add_connection(database, "c2")
    async with database.write() as tx:
        await tx.execute(update(tables.connections).where(tables.connections.c.id == "c1").values(sync_ordinal=3))
        await tx.execute(update(tables.connections).where(tables.connections.c.id == "c2").values(sync_ordinal=1))
        runs = [("c1", 1, OLD), ("c1", 2, OLD), ("c1", 3, NEW), ("c2", 1, OLD)]
        for table in (tables.syncs, reconciliations):
            rows = [{"id": f"{of}-{n}", "connection_id": of, "ordinal": n, "ended_at": at} for of, n, at in runs]
            await tx.execute(table.insert(), rows)
        changes = [("c1", 1, "c1-1"), ("c1", 5, ""), ("c1", 7, "c1-2"), ("c1", 9, ""), ("c2", 1, "c2-1")]
        keys = ("connection_id", "since", "sync_id")
        await tx.execute(tables.change_runs.insert(), [dict(zip(keys, row, strict=True)) for row in changes])
        figures = [("c1", "k1", OLD - 1), ("c1", "k1", OLD), ("c1", "k1", NEW), ("c2", "k2", OLD)]
        rows = [{"connection_id": of, "xero_contact_id": who, "currency": "NZD", "at": at} for of, who, at in figures]
        await tx.execute(comparisons.insert(), rows)
        await tx.execute(
            discrepancies.insert(), [{"id": "d1", "connection_id": "c1"}, {"id": "d2", "connection_id": "c2"}]
        )
        steps = [("d1", 1, OLD), ("d1", 2, OLD), ("d1", 3, NEW), ("d2", 1, OLD)]
        await tx.execute(
            discrepancy_events.insert(), [{"discrepancy_id": of, "number": n, "at": at} for of, n, at in steps]
        )
    return database


LEFT = {
    Kind.SYNCS: (tables.syncs.c.id, ["c1-3", "c2-1"]),
    Kind.RECONCILIATIONS: (reconciliations.c.id, ["c1-3", "c2-1"]),
    Kind.COMPARISONS: (comparisons.c.at, [OLD, NEW]),
    Kind.DISCREPANCY_EVENTS: (discrepancy_events.c.number, [1, 3]),
}


@pytest.mark.parametrize("kind", LEFT)
async def test_what_is_old_goes_and_the_newest_of_each_stays(filled: Database, kind: Kind) -> None:
    async with filled.read() as tx:
        assert await retention.count(tx, kind, BEFORE) == 2
    async with filled.write() as tx:
        assert await retention.forget_some(tx, kind, BEFORE) == 2
        assert await retention.forget_some(tx, kind, BEFORE) == 0
    column, left = LEFT[kind]
    async with filled.read() as tx:
        assert (await tx.execute(select(column).order_by(column))).scalars().all() == left


async def test_a_change_is_said_to_have_come_with_no_other_sync_than_it_did(filled: Database) -> None:
    async with filled.write() as tx:
        await retention.forget_some(tx, Kind.SYNCS, BEFORE)
        assert await retention.forget_some(tx, Kind.CHANGE_RUNS, BEFORE) == 3
    async with filled.read() as tx:
        rows = await tx.execute(select(tables.change_runs.c.connection_id, tables.change_runs.c.since))
        assert sorted(map(tuple, rows)) == [("c1", 9), ("c2", 1)]


async def test_no_transaction_forgets_more_than_a_batch(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    async with filled.write() as tx:
        assert [await retention.forget_some(tx, Kind.SYNCS, BEFORE) for _ in range(3)] == [1, 1, 0]


async def test_of_calls_each_months_sum_stays(database: Database) -> None:
    days = [date(2026, 6, 1), date(2026, 6, 2), date(2026, 6, 30), date(2026, 7, 5), date(2026, 8, 20)]
    async with database.write() as tx:
        for used_on in days:
            await calls.add(
                tx,
                [
                    Usage(xero_tenant_id=of, used_on=used_on, purpose=Purpose.POLL, call_count=10, bytes_wire=7)
                    for of in ("t1", "t2")
                ],
            )
    async with database.read() as tx:
        assert await retention.count(tx, Kind.CALLS, BEFORE) == 6  # of June and July; the first of June is one already
    async with database.write() as tx:
        while await retention.forget_some(tx, Kind.CALLS, BEFORE):
            pass
    async with database.read() as tx:
        left = await calls.usage(tx, "t1", date(2026, 1, 1))
    assert [(row.used_on, row.call_count, row.bytes_wire) for row in left] == [
        (date(2026, 6, 1), 30, 21),
        (date(2026, 7, 1), 10, 7),
        (date(2026, 8, 20), 10, 7),
    ]


async def test_the_audit_log_is_forgotten(database: Database) -> None:
    async with database.write() as tx:
        assert await retention.forget_some(tx, Kind.AUDIT_EVENTS, BEFORE) == 0
        for name, at in (("old", OLD), ("new", NEW)):
            by = {"caller": "console", "authenticated_by": "key", "method": "S.M"}
            await audit.insert(tx, [AuditEvent(id=name, at=from_micros(at), **by)])
        assert await retention.count(tx, Kind.AUDIT_EVENTS, BEFORE) == 1
        assert await retention.forget_some(tx, Kind.AUDIT_EVENTS, BEFORE) == 1
        assert (await tx.execute(select(audit_events.c.id))).scalars().all() == ["new"]


async def test_everything_is_forgotten_by_what_was_set_and_counted_before(filled: Database) -> None:
    clock = SettableClock()
    clock.time = NOW
    keeping = Retention(filled, Settings(keep_comparisons=timedelta(days=36_000)), clock)
    would = await keeping.count()
    assert (would[Kind.SYNCS], would[Kind.RECONCILIATIONS], would[Kind.COMPARISONS]) == (2, 2, 0)
    done = await keeping.forget()
    assert (done[Kind.SYNCS], done[Kind.CHANGE_RUNS], done[Kind.COMPARISONS]) == (2, 3, 0)
    assert not any((await keeping.count()).values())


async def test_two_at_once_forget_and_count_each_row_once(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    months = [date(2026, month, day) for month in (5, 6) for day in range(1, 29)]
    async with filled.write() as tx:
        used = [Usage(xero_tenant_id="t1", used_on=on, purpose=Purpose.POLL, call_count=1) for on in months]
        await calls.add(tx, used)
    clock = SettableClock()
    clock.time = NOW
    keeping = Retention(filled, Settings(), clock)
    would = {**await keeping.count(), Kind.CHANGE_RUNS: 3}  # which go with their syncs
    one, two = await asyncio.gather(keeping.forget(), keeping.forget())
    assert {kind: one[kind] + two[kind] for kind in Kind} == would
    assert not any((await keeping.count()).values())
    async with filled.read() as tx:
        left = await calls.usage(tx, "t1", date(2026, 1, 1))
    assert [(row.used_on, row.call_count) for row in left] == [(date(2026, 5, 1), 28), (date(2026, 6, 1), 28)]
