"""Who is off balance, as lists of customers and three-sided comparisons ask for it, on both databases."""

from decimal import Decimal

from databases import add_connection
from documents import AT, contact, invoice
from tieout_server.storage import customers, discrepancies, mirror, receivables
from tieout_server.storage.customers import CustomerQuery
from tieout_server.storage.database import Database
from tieout_server.storage.discrepancies import Discrepancy
from tieout_server.storage.pages import Span


def discrepancy(customer: str, currency: str, state: str, ours: str = "5.0001") -> Discrepancy:
    """Xero states 7 of this customer."""
    return Discrepancy(
        id=f"dis_{customer}_{currency}",
        connection_id="con_1",
        xero_contact_id=customer,
        customer_name=customer,
        currency=currency,
        ours=Decimal(ours),
        xero=Decimal(7),
        state=state,
        opened_at=AT,
        updated_at=AT,
    )


async def kept(database: Database) -> None:
    """Three customers: one is off balance in two currencies, one was, one never."""
    await add_connection(database, "con_1")
    async with database.write() as tx:
        people = [contact(name) for name in ("c1", "c2", "c3")]
        await mirror.save(tx, "con_1", people, seen_in=1, at=AT)
        bills = [invoice("i1", number="A"), invoice("i2", number="B"), invoice("i3", number="B", status="VOIDED")]
        await mirror.save(tx, "con_1", bills, seen_in=1, at=AT)
        for one in (
            discrepancy("c1", "NZD", "NEEDS_ATTENTION"),
            discrepancy("c1", "EUR", "ACKNOWLEDGED", "9"),
            discrepancy("c1", "USD", "RESOLVED"),
            discrepancy("c2", "NZD", "SELF_HEALED"),
        ):
            await discrepancies.put(tx, one)


async def test_only_customers_with_a_difference_that_is_not_over_are_off_balance(database: Database) -> None:
    await kept(database)
    async with database.read() as tx:
        everybody, _ = await customers.page(tx, "con_1", CustomerQuery(), Span())
        off, _ = await customers.page(tx, "con_1", CustomerQuery(off_balance_only=True), Span())
        one = await customers.find(tx, "con_1", "c1")
    assert [(it.contact.name, it.is_off_balance) for it in everybody] == [("c1", True), ("c2", False), ("c3", False)]
    assert [it.contact.name for it in off] == ["c1"]
    assert one is not None
    assert one.is_off_balance


async def test_differences_are_told_by_customer_and_currency_exactly(database: Database) -> None:
    await kept(database)
    async with database.read() as tx:
        found = await discrepancies.open_differences(tx, "con_1")
    assert found == {("c1", "NZD"): Decimal("-1.9999"), ("c1", "EUR"): Decimal(2)}


async def test_merges_are_followed_to_the_contact_that_is_now(database: Database) -> None:
    await add_connection(database, "con_1")
    async with database.write() as tx:
        chain = [contact("c1", merged_into="c2"), contact("c2", merged_into="c3"), contact("c3")]
        await mirror.save(tx, "con_1", chain, seen_in=1, at=AT)
    async with database.read() as tx:
        assert await customers.all_merges(tx, "con_1") == {"c1": "c3", "c2": "c3"}


async def test_invoices_are_found_by_id_and_by_number_each_once(database: Database) -> None:
    await kept(database)
    async with database.read() as tx:
        found = await receivables.invoices_meant(tx, "con_1", ["i1", "none"], ["A", "B"])
        nothing = await receivables.invoices_meant(tx, "con_1", [], [])
    assert [one.xero_invoice_id for one in found] == ["i1", "i2", "i3"]
    assert nothing == []
