"""An invoice is safe to be chased only as of an instant at which all of its customer is known."""

from datetime import timedelta
from decimal import Decimal

import pytest

from documents import contact, credit, invoice
from open_organisation import AT, OFF, Around
from tieout_server.errors import CallLimitError
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import CREDITS, Entity
from tieout_server.reconciliations.chase import ChaseCheck, ChaseVerdict
from tieout_server.reconciliations.chase_checks import ChaseChecks
from tieout_server.reconciliations.messages import InvoiceReference
from tieout_server.storage import watermarks
from tieout_server.storage.watermarks import Watermark


async def check(around: Around, *names: str, calls: int = 60) -> list[ChaseCheck]:
    """The answer for these invoices, with so many calls left."""

    async def left(_: str) -> Allowance:
        return Allowance(used_this_minute=0, left_this_minute=calls, left_today=None)

    checks = ChaseChecks(around.means, around.world.connections, left)
    return await checks.check(around.connection_id, [InvoiceReference(name) for name in names])


async def fresh(around: Around) -> None:
    """Have everything known up to now; else it is an hour old."""
    async with around.world.database.write() as tx:
        for entity in Entity:
            await watermarks.put(tx, around.connection_id, entity, Watermark(AT, around.world.clock.now()))


async def test_what_is_fresh_and_agrees_is_safe_without_a_call(around: Around) -> None:
    await fresh(around)
    (found,) = await check(around, "i1")
    assert (found.verdict, around.books.calls) == (ChaseVerdict.SAFE, [])


async def test_a_customer_of_whom_xero_states_another_balance_is_not_chased_before_that_is_examined(
    around: Around,
) -> None:
    around.books.stated["c1"] = Decimal(-230)  # 0.50 is what Xero says the customer owes
    await around.both(contact("c1"))
    await fresh(around)
    around.refuse(CallLimitError("The day is used up.", "day", AT + timedelta(days=1)))
    await around.compare_changed()

    (off, sound) = await check(around, "i1", "i2")

    assert (off.verdict, off.discrepancy_id) == (ChaseVerdict.OFF_BALANCE, "")
    assert "another balance" in off.sentence
    assert sound.verdict is ChaseVerdict.SAFE


async def test_a_balance_that_is_older_than_the_documents_is_read_with_the_invoice(around: Around) -> None:
    await around.both(invoice("i9", xero_contact_id="c1"))  # the sync brought it; no date of the contact moved
    await fresh(around)

    (found,) = await check(around, "i1")

    assert (found.verdict, found.as_of) == (ChaseVerdict.SAFE, around.world.clock.now())
    assert around.books.calls == ["contacts by ids", "invoices by ids"]


async def test_an_old_copy_is_as_good_as_new_where_the_balance_of_now_is_what_its_documents_make(
    around: Around,
) -> None:
    (found,) = await check(around, "i1")
    assert (found.verdict, found.as_of) == (ChaseVerdict.SAFE, around.world.clock.now())


@pytest.mark.parametrize("entity", [Entity.OVERPAYMENTS, Entity.CREDIT_NOTES])
async def test_money_that_an_old_copy_does_not_show_keeps_an_invoice_from_being_chased(
    around: Around, entity: Entity
) -> None:
    amount = Decimal("230.50")
    around.books.put(credit("o1", xero_contact_id="c1", entity=entity, total=amount, remaining=amount))

    (found,) = await check(around, "i1")

    assert (found.verdict, found.as_of) == (ChaseVerdict.STALE, AT)
    assert "another balance" in found.sentence


@pytest.mark.parametrize("entity", CREDITS)
async def test_an_invoice_that_what_its_customer_paid_ahead_would_settle_is_not_chased(
    around: Around, entity: Entity
) -> None:
    amount = Decimal("230.50")
    await around.both(invoice("i9", xero_contact_id="c1", due=Decimal(300)), contact("c2"))
    await around.both(credit("o1", xero_contact_id="c1", entity=entity, total=amount, remaining=amount))
    await around.both(credit("o2", xero_contact_id="c2", entity=entity, currency="EUR", total=amount, remaining=amount))
    await around.both(contact("c1"), contact("c2"))
    await fresh(around)

    covered, larger, abroad = await check(around, "i1", "i9", "i2")

    assert covered.verdict is ChaseVerdict.UNAPPLIED_CREDIT
    assert (
        covered.sentence
        == "Its customer has 230.50 NZD unapplied in Xero, which may be meant for it: apply or refund it there."
    )
    assert (larger.verdict, larger.sentence) == (
        ChaseVerdict.SAFE,
        "It is open, and both sides agree. Its customer has 230.50 NZD unapplied.",
    )
    assert (abroad.verdict, abroad.sentence) == (ChaseVerdict.SAFE, "It is open, and both sides agree.")


async def test_a_balance_that_leaves_credits_out_does_not_make_an_old_copy_new(around: Around) -> None:
    await around.both(credit("k1", xero_contact_id="c1"))
    around.books.stated["c1"] = Decimal(20)

    (found,) = await check(around, "i1")

    assert (found.verdict, found.as_of) == (ChaseVerdict.STALE, AT)


async def test_all_contacts_of_a_merged_customer_are_read(around: Around) -> None:
    await around.both(contact("gone", merged_into="c1", status="ARCHIVED"))
    around.books.stated["gone"] = OFF

    (found,) = await check(around, "i1")

    assert found.verdict is ChaseVerdict.STALE


async def test_an_invoice_is_not_read_without_its_customer(around: Around) -> None:
    for n in range(50):
        await around.both(invoice(f"j{n}", xero_contact_id="c0"))
    names = [f"j{n}" for n in range(50)]

    assert {one.verdict for one in await check(around, *names, "i1", calls=1)} == {ChaseVerdict.STALE}
    assert around.books.calls == []
    found = await check(around, *names, "i1", calls=2)
    assert [one.verdict for one in found].count(ChaseVerdict.SAFE) == 40
    assert around.books.calls == ["contacts by ids", "invoices by ids"]
