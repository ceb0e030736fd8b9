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
