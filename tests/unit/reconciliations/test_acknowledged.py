"""What a person acknowledged stays acknowledged, whatever is compared at the same time or repaired beside it."""

import asyncio
from decimal import Decimal

from databases import add_connection
from documents import contact, invoice
from fakes import SettableClock
from open_books import OpenBooks, engine_with_news
from open_organisation import OFF, Around
from tieout_server.events.feed import Feed
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.links import Link
from tieout_server.reconciliations.discrepancies import Discrepancies
from tieout_server.reconciliations.messages import Acknowledge
from tieout_server.reconciliations.one_customer import OneCustomer
from tieout_server.reconciliations.record import Finding, Record, Whose
from tieout_server.reconciliations.state import DiscrepancyState as State
from tieout_server.storage import connections
from tieout_server.storage.database import Database
from tieout_server.storage.discrepancies import Discrepancy
from tieout_server.storage.vault import Vault
from tieout_server.syncs.means import Means
from tieout_server.work.requests import Requests


async def test_an_acknowledgement_waits_for_who_is_comparing_and_is_kept(database: Database) -> None:
    await add_connection(database, "con1")
    clock = SettableClock()
    nzd = Organisation(xero_tenant_id="t", name="Southern Hops Ltd", base_currency="NZD")
    link = Link(
        id="con1", merchant_id="m", state="CONNECTED", organisation=nzd, created_at=clock.now(), updated_at=clock.now()
    )
    books, feed = OpenBooks(clock), Feed(database, clock)
    books.put(contact("c1"), invoice("i1", xero_contact_id="c1"))
    books.stated["c1"] = OFF
    means = Means(database, feed, clock, engine_with_news(database, clock))
    (off,) = (await OneCustomer(means, link, books).compare("c1")).discrepancies
    service = Discrepancies(database, feed, clock, Requests(Vault({"t": bytes(32)}), clock))

    async with database.write() as tx:
        await connections.get(tx, link.id, lock=True)
        record = await Record.of(tx, Whose(link, "c1", "Acme", {"c1"}), clock.now())
        acknowledging = asyncio.create_task(service.acknowledge(Acknowledge(off.id, "We know")))
        await asyncio.wait({acknowledging}, timeout=0.3)  # as long as it would take, if it did not wait
        more = Finding(currency="NZD", ours=off.ours + 10, xero=off.xero + 10, causes=off.causes)
        await record.settled({"NZD": more})
        await record.tell(feed)
    answered = await acknowledging

    assert await service.get(off.id) == answered
    assert (answered.state, answered.note, answered.ours) == (State.ACKNOWLEDGED, "We know", off.ours + 10)


async def acknowledged(around: Around) -> Discrepancy:
    """A customer that is off balance, of which a person knows."""
    around.books.stated["c1"] = OFF
    (off,) = (await around.service.reconcile_customer(around.connection_id, "c1")).discrepancies
    return await around.world.subjects.reconciliation.discrepancies.acknowledge(Acknowledge(off.id, "We know"))


async def pay(around: Around, paid: Decimal) -> None:
    """Have c1's invoice paid in part, which nobody tells."""
    owed = Decimal("230.50") - paid
    around.books.put(invoice("i1", xero_contact_id="c1", due=owed, paid=paid))


async def test_what_was_acknowledged_stays_so_when_a_document_is_repaired_beside_it(around: Around) -> None:
    known = await acknowledged(around)
    await pay(around, Decimal("130.50"))

    found = await around.service.reconcile_customer(around.connection_id, "c1")

    assert len(found.repairs) == 1
    (now,) = found.discrepancies
    assert (now.state, now.note, now.difference) == (State.ACKNOWLEDGED, "We know", known.difference)
    assert [one.state for one in now.history[-3:]] == [State.OPENED, State.CAUSE_FOUND, State.ACKNOWLEDGED]


async def test_another_difference_than_the_acknowledged_one_needs_somebody_again(around: Around) -> None:
    await acknowledged(around)
    await pay(around, Decimal("130.50"))
    around.books.stated["c1"] = Decimal("0.05")

    (now,) = (await around.service.reconcile_customer(around.connection_id, "c1")).discrepancies

    assert (now.state, now.difference) == (State.NEEDS_ATTENTION, Decimal("-0.05"))
