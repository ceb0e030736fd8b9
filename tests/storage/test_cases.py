"""Cases as they are kept: whole, and gone with their connection."""

from datetime import UTC, datetime

import msgspec
from sqlalchemy import delete

from databases import add_connection
from tieout_server.storage import cases
from tieout_server.storage.cases import Case
from tieout_server.storage.database import Database
from tieout_server.storage.tables import connections

CASE = Case(
    id="cas_1",
    connection_id="con1",
    description='They say "we paid twice"; ŌTĀKOU',
    customer_ids=("c1", "c2"),
    discrepancy_ids=("dis_1",),
    sentence="2 customers were read afresh from Xero; 1 of them is off balance.",
    created_at=datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC),
)


async def test_a_case_comes_back_as_it_was_and_goes_with_its_connection(database: Database) -> None:
    await add_connection(database, "con1")
    async with database.write() as tx:
        assert await cases.get(tx, CASE.id) is None
        await cases.insert(tx, CASE)
    async with database.read() as tx:
        assert await cases.get(tx, CASE.id) == CASE
    found = msgspec.structs.replace(CASE, discrepancy_ids=(), sentence="Both sides agree.")
    async with database.write() as tx:
        await cases.update_found(tx, found)
        await cases.update_found(tx, msgspec.structs.replace(found, id="cas_2"))
    async with database.read() as tx:
        assert await cases.get(tx, CASE.id) == found
        assert await cases.get(tx, "cas_2") is None
    async with database.write() as tx:
        await tx.execute(delete(connections).where(connections.c.id == "con1"))
        assert await cases.get(tx, CASE.id) is None
