"""What is swept is kept item by item."""

from datetime import timedelta

from databases import add_connection
from documents import AT
from tieout_server.storage import sweeps
from tieout_server.storage.database import Database
from tieout_server.storage.sweeps import Sweep


async def test_each_item_keeps_when_it_is_due_and_its_page(database: Database) -> None:
    await add_connection(database, "con1")
    async with database.write() as tx:
        assert await sweeps.every(tx, "con1") == {}
        await sweeps.put(tx, "con1", "contacts", Sweep(AT))
        await sweeps.put(tx, "con1", "invoices", Sweep(AT, 7))
        await sweeps.put(tx, "con1", "contacts", Sweep(AT + timedelta(days=1)))
        assert await sweeps.every(tx, "con1") == {
            "contacts": Sweep(AT + timedelta(days=1)),
            "invoices": Sweep(AT, 7),
        }
        assert await sweeps.every(tx, "con2") == {}
