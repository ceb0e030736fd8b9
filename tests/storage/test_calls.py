"""Every call and byte is booked once, by organisation, day and purpose."""

from datetime import date, timedelta

from documents import AT
from tieout_server.ledger.books import Purpose
from tieout_server.storage import calls
from tieout_server.storage.calls import Usage
from tieout_server.storage.database import Database

TODAY, YESTERDAY = date(2026, 11, 22), date(2026, 11, 21)


def _used(purpose: Purpose, used_on: date = TODAY, *, count: int = 1, tenant: str = "t1") -> Usage:
    return Usage(
        xero_tenant_id=tenant,
        used_on=used_on,
        purpose=purpose,
        call_count=count,
        bytes_wire=10 * count,
        bytes_body=2**40 * count,
    )


async def test_what_is_added_adds_up(database: Database) -> None:
    async with database.write() as tx:
        await calls.add(tx, [_used(Purpose.POLL), _used(Purpose.CONNECT), _used(Purpose.POLL)])
        await calls.add(tx, [_used(Purpose.POLL, count=3), _used(Purpose.POLL, tenant="t2")])
    async with database.read() as tx:
        assert await calls.usage(tx, "t1", TODAY) == [_used(Purpose.CONNECT), _used(Purpose.POLL, count=5)]


async def test_days_before_are_left_out(database: Database) -> None:
    async with database.write() as tx:
        await calls.add(tx, [_used(Purpose.POLL, YESTERDAY), _used(Purpose.POLL)])
        assert await calls.usage(tx, "t1", TODAY) == [_used(Purpose.POLL)]
        assert len(await calls.usage(tx, "t1", YESTERDAY)) == 2


async def test_adding_nothing_is_fine(database: Database) -> None:
    async with database.write() as tx:
        await calls.add(tx, [])
        assert await calls.usage(tx, "t1", YESTERDAY) == []


async def test_the_days_limit_is_remembered_by_organisation(database: Database) -> None:
    async with database.write() as tx:
        assert await calls.day_limit(tx, "t1", AT) is None
        await calls.learn_day_limit(tx, "t1", 1_000, AT)
        await calls.learn_day_limit(tx, "t1", 5_000, AT + timedelta(hours=1))
        assert await calls.day_limit(tx, "t1", AT + timedelta(hours=1)) == 5_000
        assert await calls.day_limit(tx, "t2", AT) is None


async def test_a_days_limit_that_was_not_seen_for_long_is_not_believed(database: Database) -> None:
    async with database.write() as tx:
        await calls.learn_day_limit(tx, "t1", 5_000, AT)
        assert await calls.day_limit(tx, "t1", AT + timedelta(seconds=1)) is None
