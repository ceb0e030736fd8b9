"""Balances over time go on while both sides agree, for whoever differed once, and cost no call."""

from datetime import timedelta
from decimal import Decimal

import pytest

from documents import contact, invoice
from open_organisation import OFF, Around
from tieout_server.storage import comparisons
from tieout_server.storage.comparisons import Compared


async def history(around: Around, customer: str) -> list[Compared]:
    """Both balances of a customer over time."""
    async with around.world.database.read() as tx:
        return list(await comparisons.history(tx, around.connection_id, customer))


@pytest.mark.parametrize("is_figure_old", [False, True])
async def test_a_customer_that_differed_once_has_its_later_balances_too(around: Around, *, is_figure_old: bool) -> None:
    around.books.stated["c1"] = OFF
    await around.service.reconcile_customer(around.connection_id, "c1")
    around.books.stated.clear()
    around.world.clock.time += timedelta(hours=1)
    await around.service.reconcile_customer(around.connection_id, "c1")
    await around.compare_changed()
    around.world.clock.time += timedelta(days=5)
    for name in ("c1", "c2"):
        await around.both(invoice(f"n{name}", xero_contact_id=name, total=Decimal(500), due=Decimal(500)))
        if not is_figure_old:
            await around.both(contact(name))

    await around.compare_changed()

    last = (await history(around, "c1"))[-1]
    assert (last.ours, last.xero, last.at) == (Decimal("730.50"), Decimal("730.50"), around.world.clock.now())
    assert await history(around, "c2") == [], "it never differed"
