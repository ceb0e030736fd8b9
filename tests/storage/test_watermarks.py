"""A watermark says how far an entity was read, and never goes back."""

from datetime import timedelta

from databases import add_connection
from documents import AT
from tieout_server.ledger.documents import Entity
from tieout_server.storage import watermarks
from tieout_server.storage.database import Database
from tieout_server.storage.watermarks import Watermark

HOUR = timedelta(hours=1)


async def test_there_is_none_until_one_is_put(database: Database) -> None:
    await add_connection(database, "con1")
    async with database.write() as tx:
        assert await watermarks.get(tx, "con1", Entity.INVOICES) is None
        await watermarks.put(tx, "con1", Entity.INVOICES, Watermark(AT, AT + HOUR, 7))
    async with database.read() as tx:
        assert await watermarks.every(tx, "con1") == {Entity.INVOICES: Watermark(AT, AT + HOUR, 7)}


async def test_xeros_part_never_goes_back(database: Database) -> None:
    await add_connection(database, "con1")
    async with database.write() as tx:
        await watermarks.put(tx, "con1", Entity.PAYMENTS, Watermark(AT + HOUR, AT, 1))
        await watermarks.put(tx, "con1", Entity.PAYMENTS, Watermark(AT, AT + HOUR, 2))
        assert await watermarks.get(tx, "con1", Entity.PAYMENTS) == Watermark(AT + HOUR, AT + HOUR, 2)


async def test_the_next_read_is_planned_and_put_off_but_never_brought_forward(database: Database) -> None:
    await add_connection(database, "con1")
    async with database.write() as tx:
        for entity in (Entity.INVOICES, Entity.PAYMENTS):
            await watermarks.put(tx, "con1", entity, Watermark(AT, AT, next_read_at=AT + HOUR))
        await watermarks.put(tx, "con1", Entity.ACCOUNTS, Watermark(AT, AT))
        await watermarks.postpone(tx, "con1", AT + 2 * HOUR, Entity.INVOICES)
        planned = await watermarks.every(tx, "con1")
        assert planned[Entity.INVOICES].next_read_at == AT + 2 * HOUR
        assert planned[Entity.PAYMENTS].next_read_at == AT + HOUR
        await watermarks.postpone(tx, "con1", AT + HOUR + HOUR / 2)
        planned = await watermarks.every(tx, "con1")
        assert planned[Entity.INVOICES].next_read_at == AT + 2 * HOUR
        assert planned[Entity.PAYMENTS].next_read_at == AT + HOUR + HOUR / 2
        assert planned[Entity.ACCOUNTS].next_read_at is None


async def test_a_read_that_brought_nothing_new_leaves_when_one_last_did(database: Database) -> None:
    await add_connection(database, "con1")
    async with database.write() as tx:
        await watermarks.put(tx, "con1", Entity.INVOICES, Watermark(AT, AT, moved_at=AT))
        await watermarks.put(tx, "con1", Entity.INVOICES, Watermark(AT, AT + HOUR))
        kept = await watermarks.get(tx, "con1", Entity.INVOICES)
    assert kept
    assert (kept.last_read_at, kept.moved_at) == (AT + HOUR, AT)
