"""What is off balance of a contact that is merged into another is the other's, for whoever asks or compares."""

from datetime import timedelta
from decimal import Decimal

import pytest

from documents import contact, invoice
from open_organisation import OFF, Around
from tieout_server.errors import ScopeMissingError
from tieout_server.reconciliations.chase import ChaseVerdict
from tieout_server.reconciliations.messages import InvoiceReference
from tieout_server.reconciliations.state import DiscrepancyState
from tieout_server.storage import customers, discrepancies
from tieout_server.storage.customers import CustomerQuery
from tieout_server.storage.discrepancies import Discrepancy
from tieout_server.storage.pages import Span


async def off(around: Around, customer: str = "c1") -> Discrepancy:
    """Have a customer off balance."""
    around.books.stated[customer] = OFF
    (found,) = (await around.service.reconcile_customer(around.connection_id, customer)).discrepancies
    return found


async def merge(around: Around) -> None:
    """Merge c1 into c2, and close the reports to us: they would hide what is compared wrongly."""
    around.world.clock.time += timedelta(minutes=5)
    now = around.world.clock.now()
    await around.both(invoice("i1", xero_contact_id="c2", updated_at=now))
    await around.both(contact("c1", merged_into="c2", status="ARCHIVED", updated_at=now))
    around.books.put(contact("c2"))

    def closed(what: str) -> None:
        if what == "report":
            raise ScopeMissingError("Reports are closed to us.")

    around.books.before_call = closed


async def compare_all_changed(around: Around) -> None:
    """Compare what changed until nothing is left."""
    while await around.compare_changed() == around.world.clock.now():
        pass


async def every_open(around: Around) -> list[Discrepancy]:
    """All that is off balance."""
    async with around.world.database.read() as tx:
        return await discrepancies.some_open(tx, around.connection_id, limit=10)


async def test_what_was_off_balance_is_the_winners_as_soon_as_the_merge_is_here(around: Around) -> None:
    found = await off(around)
    async with around.world.database.read() as tx:
        before = await customers.find(tx, around.connection_id, "c2")

    await merge(around)

    async with around.world.database.read() as tx:
        wanted = CustomerQuery(off_balance_only=True)
        listed, _ = await customers.page(tx, around.connection_id, wanted, Span())
        after = await customers.find(tx, around.connection_id, "c2")
    assert [one.contact.xero_contact_id for one in listed] == ["c2"]
    assert before
    assert after
    assert after.is_off_balance
    assert after.updated_at > before.updated_at
    assert [(one.id, one.xero_contact_id) for one in await every_open(around)] == [(found.id, "c2")]
    checks = around.world.subjects.reconciliation.chase_checks
    (check,) = await checks.check(around.connection_id, [InvoiceReference("i1")])
    assert (check.verdict, check.discrepancy_id) == (ChaseVerdict.OFF_BALANCE, found.id)


@pytest.mark.parametrize("asks", [True, False])
async def test_what_a_merge_settled_is_over_and_nothing_is_invented(around: Around, *, asks: bool) -> None:
    found = await off(around)
    around.books.stated.clear()
    await merge(around)

    if asks:
        run = await around.reconcile()
        assert (run.off_balance, run.left_over) == (0, 0)
        assert [(total.ours, total.xero) for total in run.totals] == [(Decimal("691.50"), Decimal("691.50"))]
    else:
        await compare_all_changed(around)

    assert await around.off_balance() == set()
    service = around.world.subjects.reconciliation.discrepancies
    assert (await service.get(found.id)).state == DiscrepancyState.RESOLVED


async def test_where_both_were_off_the_winners_discrepancy_tells_of_all(around: Around) -> None:
    lost, kept = await off(around), await off(around, "c2")
    await merge(around)

    await compare_all_changed(around)

    (now,) = await every_open(around)
    assert (now.id, now.xero_contact_id, now.difference) == (kept.id, "c2", 2 * -OFF)
    service = around.world.subjects.reconciliation.discrepancies
    assert (await service.get(lost.id)).state == DiscrepancyState.RESOLVED


async def test_a_customer_that_is_merged_while_it_is_compared_is_compared_as_the_winner(around: Around) -> None:
    around.books.stated["c2"] = OFF
    now = around.world.clock.now()
    around.books.put(
        invoice("i1", xero_contact_id="c2", updated_at=now),
        contact("c1", merged_into="c2", status="ARCHIVED", updated_at=now),
    )

    found = await around.service.reconcile_customer(around.connection_id, "c1")

    assert found.xero_contact_id == "c2"
    assert [(one.ours, one.xero) for one in found.balances] == [(Decimal(461), Decimal(461) + OFF)]
    assert await around.off_balance() == {"c2"}
