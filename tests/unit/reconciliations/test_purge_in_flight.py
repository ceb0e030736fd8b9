"""What is in flight when a connection is ended and its data erased brings nothing of it back."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from sqlalchemy import func, select

from open_organisation import OFF, Around
from tieout_server.connections.messages import Disconnect
from tieout_server.errors import ConnectionNotUsableError
from tieout_server.ledger.books import Page, Purpose, Query
from tieout_server.ledger.documents import Entity
from tieout_server.reconciliations.chase import ChaseVerdict
from tieout_server.reconciliations.messages import InvoiceReference, Report
from tieout_server.reconciliations.platform_balances import Submission
from tieout_server.storage import connections, purge, reconciliation_tables, tables
from tieout_server.storage.platform_balances import PlatformBalance

KEPT = (
    tables.contacts,
    tables.invoices,
    tables.credits,
    reconciliation_tables.discrepancies,
    reconciliation_tables.comparisons,
    reconciliation_tables.platform_balances,
    reconciliation_tables.cases,
)


@pytest.fixture
async def around(around: Around) -> Around:
    """The organisation after a few syncs."""
    async with around.world.database.write() as tx:
        for _ in range(4):
            await connections.next_sync_ordinal(tx, around.connection_id)
    return around


async def end(around: Around) -> None:
    """End the connection, and erase its data."""
    await around.world.connections.disconnect(Disconnect(around.connection_id, purge_data=True))
    async with around.world.database.write() as tx:
        while await purge.erase_some(tx, around.connection_id, await connections.purge_up_to(tx, around.connection_id)):
            pass


async def rows(around: Around) -> int:
    """How many rows there are that tell of customers."""
    async with around.world.database.read() as tx:
        return sum([(await tx.execute(select(func.count()).select_from(table))).scalar_one() for table in KEPT])


async def compare(around: Around) -> object:
    return await around.service.reconcile_customer(around.connection_id, "c1")


async def report(around: Around) -> object:
    asked = Report(connection_id=around.connection_id, customer_ids=("c1",), description="Ruth Ngata says")
    return await around.service.report(asked)


@pytest.mark.parametrize("ask", [compare, report])
async def test_comparing_that_is_in_flight_keeps_nothing(
    around: Around, ask: Callable[[Around], Awaitable[object]]
) -> None:
    around.books.stated["c1"] = OFF
    read = around.books.read

    async def ends_meanwhile(query: Query, purpose: Purpose) -> Page:
        page = await read(query, purpose)
        if query.entity is Entity.PREPAYMENTS:
            await end(around)
        return page

    around.books.read = ends_meanwhile  # type: ignore[method-assign] # Xero, for once

    with pytest.raises(ConnectionNotUsableError):
        await ask(around)
    assert await rows(around) == 0


async def test_a_chase_check_that_is_in_flight_keeps_nothing(around: Around) -> None:
    by_ids = around.books.by_ids

    async def ends_meanwhile(entity: Entity, ids: Sequence[str], purpose: Purpose) -> Page:
        page = await by_ids(entity, ids, purpose)
        await end(around)
        return page

    around.books.by_ids = ends_meanwhile  # type: ignore[method-assign] # Xero, for once

    chase = around.world.subjects.reconciliation.chase_checks
    (answer,) = await chase.check(around.connection_id, [InvoiceReference("i1")])
    assert answer.verdict is ChaseVerdict.STALE
    assert await rows(around) == 0


async def test_what_is_connected_anew_meanwhile_has_to_be_asked_again(around: Around) -> None:
    around.books.stated["c1"] = OFF
    before = await rows(around)

    link = await around.world.connections.get(around.connection_id)
    read = around.books.read

    async def consented_anew(query: Query, purpose: Purpose) -> Page:
        async with around.world.database.write() as tx:
            later = around.world.clock.now() + timedelta(minutes=1)
            await connections.save(tx, msgspec.structs.replace(link, consented_at=later))
        return await read(query, purpose)

    around.books.read = consented_anew  # type: ignore[method-assign] # Xero, for once

    with pytest.raises(ConnectionNotUsableError, match="ask again"):
        await compare(around)
    assert await rows(around) == before


async def test_an_ended_connection_takes_neither_balances_nor_cases(around: Around) -> None:
    balances = around.world.subjects.reconciliation.platform_balances
    submission = Submission(around.connection_id, around.world.clock.now())
    submission.add([PlatformBalance("c1", "NZD", Decimal(5))])
    await around.world.connections.disconnect(Disconnect(around.connection_id))

    for asked in (balances.check_known(around.connection_id), balances.submit(submission), report(around)):
        with pytest.raises(ConnectionNotUsableError):
            await asked


async def test_what_comparing_brings_outlives_a_purge_of_what_was_read_before(around: Around) -> None:
    async with around.world.database.write() as tx:
        await connections.next_sync_ordinal(tx, around.connection_id)
    await compare(around)

    async with around.world.database.write() as tx:
        while await purge.erase_some(tx, around.connection_id, 4):
            pass
    async with around.world.database.read() as tx:
        kept = (await tx.execute(select(tables.contacts.c.xero_contact_id))).scalars().all()
    assert kept == ["c1"]
