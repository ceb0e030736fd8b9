"""A merchant is forgotten as a whole, over all of their connections, and nobody else with them."""

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import select

from databases import METADATA
from servers import ROOMY, Service, service
from tieout import errors
from tieout_sandbox import Sandbox, SandboxSettings, serve
from tieout_sandbox.organisations import Organisation
from tieout_server.storage.database import Database

pytestmark = pytest.mark.timeout(60)

ACME, OTHER = "acme", "kauri"


async def everything(database_url: str) -> str:
    """All that stands in any table, as text; what is sealed is no text."""
    database = Database(database_url)
    async with database.read() as tx:
        rows = [(table.name, *row) for table in METADATA.sorted_tables for row in await tx.execute(select(table))]
    await database.close()
    return "\n".join(str(row) for row in rows)


def owing(organisation: Organisation) -> str:
    """The name of a new customer whom no other organisation has, and who owes it something."""
    contact = organisation.books.create_contact(f"Only at {organisation.name}")
    organisation.books.create_invoice(contact.id, Decimal("123.45"))
    return contact.name


async def purged(running: Service, merchant_id: str) -> None:
    """Wait until nothing of the merchant is left to erase."""
    async with asyncio.timeout(30):
        while True:
            left = (await running.client.connections.purge_merchant(merchant_id)).counts
            if not any(it.rows for it in left):
                return
            await asyncio.sleep(0.2)


async def test_all_of_a_merchant_is_erased_and_nothing_of_another(database_url: str) -> None:
    async with serve(SandboxSettings(contacts=12, invoices=40, organisations=3)) as sandbox:
        sandbox.limits.quota = ROOMY
        first, second, third = sandbox.organisations
        names = {one.id: owing(one) for one in sandbox.organisations}
        async with service(sandbox, database_url) as running:
            for merchant, organisation in ((ACME, first), (ACME, second), (OTHER, third)):
                await running.connected(merchant, organisations=[organisation.name])
            calls = running.client.connections
            with pytest.raises(errors.NotPermittedNowError):
                await calls.purge_merchant(ACME)
            before = await everything(database_url)
            answer = await calls.purge_merchant(ACME, disconnect=True, request_id="r1")
            rows = {it.kind: it.rows for it in answer.counts}
            assert len(answer.connection_ids) == 2
            assert rows["customers"] > 20
            assert rows["invoices"] > 40
            await purged(running, ACME)
            assert await calls.purge_merchant(ACME, disconnect=True, request_id="r1") == answer
            with pytest.raises(errors.RequestIdReusedError):
                await calls.purge_merchant(OTHER, disconnect=True, request_id="r1")
            after = await everything(database_url)
        assert all(name in before for name in names.values())
        assert [name in after for name in names.values()] == [False, False, True]


async def test_a_merchant_that_nobody_knows_is_not_found(sandbox: Sandbox, sqlite_url: str) -> None:
    async with service(sandbox, sqlite_url) as running:
        with pytest.raises(errors.NotFoundError):
            await running.client.connections.purge_merchant("nobody")
        with pytest.raises(errors.InvalidRequestError):
            await running.client.connections.purge_merchant("")
