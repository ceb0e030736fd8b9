"""What operators see of the database is counted right on both."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from databases import add_connection
from tieout_server.clock import to_micros
from tieout_server.storage import tallies
from tieout_server.storage.database import Database
from tieout_server.storage.export_tables import payment_exports
from tieout_server.storage.tables import connections, watermarks, webhook_arrivals, webhook_events, work, xero_users
from tieout_server.storage.tallies import Tallies, Tally

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REASON = '{"code":"CREDENTIALS_EXPIRED","sentence":"…"}'


def ago(minutes: float) -> int:
    return to_micros(NOW - minutes * MINUTE)


async def fill(database: Database, table: Any, *rows: dict[str, Any]) -> None:  # noqa: ANN401 - a table
    async with database.write() as tx:
        for row in rows:
            await tx.execute(table.insert().values(**row))


async def counted(database: Database) -> Tallies:
    async with database.read() as tx:
        return await tallies.count(tx, NOW)


def by_name(found: Sequence[Tally]) -> dict[tuple[str, ...], tuple[int, float]]:
    return {tally.of: (tally.count, tally.seconds) for tally in found}


async def test_an_empty_database_is_counted(database: Database) -> None:
    found = await counted(database)
    assert (found.connections, found.exports, found.due, found.lapsing) == ([], [], [], 0)
    assert found.unread == Tally(("inbox",), 0)


async def test_connections_are_counted_by_state_health_and_the_code_of_their_reason(database: Database) -> None:
    await fill(
        database,
        connections,
        {"id": "1", "state": "CONNECTED", "health": "OK", "reason": "", "xero_tenant_id": "t-1"},
        {"id": "2", "state": "CONNECTED", "health": "OK", "reason": "", "xero_tenant_id": "t-2"},
        {"id": "3", "state": "BROKEN", "health": "DEGRADED", "reason": REASON},
    )
    assert by_name((await counted(database)).connections) == {
        ("CONNECTED", "OK", ""): (2, 0.0),
        ("BROKEN", "DEGRADED", "CREDENTIALS_EXPIRED"): (1, 0.0),
    }


async def test_reads_count_of_what_is_connected_and_was_read_before(database: Database) -> None:
    await fill(database, connections, {"id": "on", "state": "CONNECTED"}, {"id": "off", "state": "DISCONNECTED"})
    await fill(
        database,
        watermarks,
        {"connection_id": "on", "entity": "invoices", "last_read_at": ago(30), "next_read_at": ago(11)},
        {"connection_id": "on", "entity": "contacts", "last_read_at": ago(2), "next_read_at": ago(9)},
        {"connection_id": "on", "entity": "accounts", "last_read_at": 0, "next_read_at": None},
        {"connection_id": "off", "entity": "contacts", "last_read_at": ago(500), "next_read_at": ago(400)},
    )
    assert by_name((await counted(database)).reads) == {("invoices",): (1, 1800.0), ("contacts",): (0, 120.0)}


async def test_exports_are_counted_with_the_age_of_the_oldest(database: Database) -> None:
    await add_connection(database, "con")
    rows = [("a", "QUEUED", 5), ("b", "QUEUED", 1), ("c", "VERIFIED", 60)]
    await fill(
        database,
        payment_exports,
        *(
            {"id": id_, "connection_id": "con", "payment_id": id_, "xero_status": status, "created_at": ago(minutes)}
            for id_, status, minutes in rows
        ),
    )
    assert by_name((await counted(database)).exports) == {("QUEUED",): (2, 300.0), ("VERIFIED",): (1, 3600.0)}


async def test_only_work_that_is_due_and_free_is_in_the_queue(database: Database) -> None:
    for id_ in ("a", "b", "c", "d"):
        await add_connection(database, id_)
    await fill(
        database,
        work,
        {"kind": "poll", "connection_id": "a", "due_at": ago(3)},
        {"kind": "poll", "connection_id": "b", "due_at": ago(1)},
        {"kind": "poll", "connection_id": "c", "due_at": ago(-5)},
        {"kind": "poll", "connection_id": "d", "due_at": None},
        {"kind": "sync", "connection_id": "a", "due_at": ago(9), "owner": "somebody"},
    )
    assert by_name((await counted(database)).due) == {("poll",): (2, 180.0)}


async def test_webhooks_wait_in_two_places(database: Database) -> None:
    await add_connection(database, "con")
    event = {"connection_id": "con", "entity": "invoices", "follows": 0}
    await fill(
        database,
        webhook_events,
        {**event, "xero_id": "1", "received_at": ago(2)},
        {**event, "xero_id": "2", "received_at": ago(1)},
    )
    await fill(database, webhook_arrivals, {"notices": b"[]", "arrived_at": ago(4)})
    assert (await counted(database)).unread == Tally(("inbox",), 2, 120.0)
    async with database.read() as tx:
        assert await tallies.arrivals(tx, NOW) == Tally(("arrivals",), 1, 240.0)


@pytest.mark.parametrize(
    ("days", "state", "lapsing"),
    [(13, "CONNECTED", 1), (-1, "CONNECTED", 1), (15, "CONNECTED", 0), (13, "RECONNECT_REQUIRED", 0)],
)
async def test_tokens_that_something_stands_on_lapse_within_a_fortnight(
    database: Database, days: int, state: str, lapsing: int
) -> None:
    """Nobody refreshes those of a broken connection, and its merchant is asked to connect anew already."""
    await fill(database, connections, {"id": "con", "state": state, "xero_user_id": "u"})
    sealed = {"access_token": b"", "refresh_token": b""}
    lapse_at = to_micros(NOW + timedelta(days=days))
    await fill(database, xero_users, {"xero_user_id": "u", "refresh_expires_at": lapse_at, **sealed})
    assert (await counted(database)).lapsing == lapsing
