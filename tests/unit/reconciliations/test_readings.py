"""How figures are made is learnt from figures that are read at that moment, and a customer's own is not among them."""

from datetime import timedelta
from decimal import Decimal

from documents import contact, credit
from open_organisation import Around, around
from tieout_server.errors import ScopeMissingError

__all__ = ["around"]


async def compared(around: Around) -> set[str]:
    """Who is off balance once all that changed is compared."""
    around.world.clock.time += timedelta(minutes=4)
    while await around.compare_changed() == around.world.clock.now():
        pass
    return await around.off_balance()


async def with_credits(around: Around, *customers: str) -> None:
    """Have a credit of 20 of each of these come here, as a sync brings it: without their figures."""
    for name in customers:
        made = credit(f"k-{name}", xero_contact_id=name, updated_at=around.world.clock.now())
        around.books.put(made)
        await around.here(made)


def without_reports(call: str) -> None:
    """As of a consent that does not cover reports."""
    if call == "report":
        raise ScopeMissingError("accounting.reports.aged.read was not consented to")


async def test_credits_that_just_came_raise_no_alarm_of_who_had_one_before(around: Around) -> None:
    await with_credits(around, "c0")
    await around.both(contact("c0"))
    await with_credits(around, "c1", "c2")

    assert await compared(around) == set()
    assert "report" not in around.books.calls
    reconciled = await around.service.reconcile_customer(around.connection_id, "c0")
    assert [(one.ours, one.xero) for one in reconciled.balances] == [(Decimal("210.50"), Decimal("210.50"))]


async def test_the_first_credit_of_an_organisation_raises_no_alarm(around: Around) -> None:
    await with_credits(around, "c1")

    assert await compared(around) == set()
    assert (await around.service.reconcile_customer(around.connection_id, "c1")).discrepancies == ()


async def test_where_figures_leave_credits_out_two_calls_tell_that_many_agree(around: Around) -> None:
    await compared(around)
    await with_credits(around, "c0", "c1", "c2")
    around.books.stated |= dict.fromkeys(("c0", "c1", "c2"), Decimal(20))
    around.books.calls.clear()

    assert await compared(around) == set()
    assert around.books.calls == ["contacts by ids"] * 2


async def test_who_is_read_otherwise_than_all_others_is_off_balance(around: Around) -> None:
    await with_credits(around, "c0", "c1", "c2")
    around.books.stated["c1"] = Decimal(20)
    around.books.before_call = without_reports

    assert await compared(around) == {"c1"}


async def test_who_agrees_as_figures_are_usually_made_agrees_whatever_others_tell(around: Around) -> None:
    await with_credits(around, "c0", "c1", "c2")
    around.books.stated |= dict.fromkeys(("c0", "c1"), Decimal(20))

    assert await compared(around) == set()
    found = await around.service.reconcile_customer(around.connection_id, "c2")
    assert (found.discrepancies, found.calls) == ((), 5)
