"""The mirror keeps the newest version of every document, exactly."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, select

from databases import add_connection
from documents import AT, account, contact, credit, invoice, payment
from tieout_server.clock import to_micros
from tieout_server.ledger.documents import Allocation, Credit, Entity, Phone
from tieout_server.ledger.money import InexactAmountError, from_units
from tieout_server.storage import mirror, tables
from tieout_server.storage.database import Database
from tieout_server.storage.mirror import Saved

HERE = datetime(2026, 11, 20, tzinfo=UTC)
LATER = HERE + timedelta(minutes=1)
SECOND = timedelta(seconds=1)


async def _save(database: Database, *documents: Any, seen_in: int = 1, at: datetime = HERE) -> Saved:  # noqa: ANN401 - a page of any one kind
    async with database.write() as tx:
        return await mirror.save(tx, "con1", documents, seen_in=seen_in, at=at)


async def _rows(database: Database, table: Table) -> list[Any]:
    async with database.read() as tx:
        return list(await tx.execute(select(table).order_by(*table.primary_key.columns)))


@pytest.fixture(autouse=True)
async def _connection(database: Database) -> None:
    await add_connection(database, "con1")


@pytest.mark.parametrize(
    ("document", "table"),
    [
        (contact(phones=(Phone("MOBILE", "5551234"),)), tables.contacts),
        (invoice(due_on=date(2026, 10, 1)), tables.invoices),
        (credit(), tables.credits),
        (payment(), tables.payments),
        (account(), tables.accounts),
    ],
)
async def test_every_kind_is_kept_and_a_repeat_changes_nothing(database: Database, document: Any, table: Table) -> None:  # noqa: ANN401 - any kind
    assert await _save(database, document) == Saved(received=1, changed=1)
    first = await _rows(database, table)
    assert await _save(database, document, at=LATER) == Saved(received=1, changed=0)
    assert await _rows(database, table) == first


async def test_an_empty_page_is_nothing(database: Database) -> None:
    assert await _save(database) == Saved(received=0, changed=0)


async def test_a_large_page_is_kept_whole(database: Database) -> None:
    page = [invoice(f"i{number:05}", number=str(number)) for number in range(2_500)]
    assert await _save(database, *page) == Saved(received=2_500, changed=2_500)
    assert await _save(database, *page, seen_in=2) == Saved(received=2_500, changed=0)
    async with database.read() as tx:
        assert await mirror.count_seen(tx, "con1", Entity.INVOICES, 2) == 2_500


async def test_an_older_version_never_replaces_a_newer_one_but_counts_as_seen(database: Database) -> None:
    await _save(database, invoice(number="new", updated_at=AT + SECOND))
    assert await _save(database, invoice(number="old"), seen_in=2, at=LATER) == Saved(received=1, changed=0)
    (row,) = await _rows(database, tables.invoices)
    assert (row.number, row.seen_in, row.changed_at) == ("new", 2, to_micros(HERE))


async def test_what_changes_without_a_new_version_is_taken(database: Database) -> None:
    await _save(database, contact(is_customer=False))
    assert await _save(database, contact(is_customer=True), at=LATER) == Saved(received=1, changed=1)
    (row,) = await _rows(database, tables.contacts)
    assert (row.is_customer, row.changed_at) == (True, to_micros(LATER))


async def test_a_version_in_between_does_not_win_over_a_later_one_that_said_the_same(database: Database) -> None:
    await _save(database, invoice(number="a"))
    await _save(database, invoice(number="a", updated_at=AT + 2 * SECOND))
    await _save(database, invoice(number="b", updated_at=AT + SECOND))
    (row,) = await _rows(database, tables.invoices)
    assert row.number == "a"


async def test_an_earlier_sync_does_not_lower_what_a_later_one_has_seen(database: Database) -> None:
    await _save(database, invoice(), seen_in=5)
    await _save(database, invoice(), seen_in=4)
    await _save(database, invoice(number="x", updated_at=AT + SECOND), seen_in=3)
    (row,) = await _rows(database, tables.invoices)
    assert (row.number, row.seen_in) == ("x", 5)


@given(order=st.permutations(range(4)), pages=st.lists(st.booleans(), min_size=4, max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_versions_ends_with_the_newest(database_url: str, order: list[int], pages: list[bool]) -> None:
    versions = [
        credit(
            number=str(n),
            updated_at=AT + n * SECOND,
            allocations=tuple(Allocation(xero_invoice_id=f"i{n}", amount=Decimal(n)) for _ in range(n)),
        )
        for n in range(4)
    ]
    asyncio.run(_check_order(database_url, [versions[n] for n in order], pages))


async def _check_order(url: str, versions: list[Credit], pages: list[bool]) -> None:
    database = Database(url)
    await add_connection(database, "con1")
    page: list[Credit] = []
    for version, ends_page in zip(versions, [*pages[:-1], True], strict=True):
        page.append(version)
        if ends_page:
            await _save(database, *page)
            page = []
    (row,) = await _rows(database, tables.credits)
    kept = await _rows(database, tables.allocations)
    await database.close()
    assert row.number == "3"
    assert [line.xero_invoice_id for line in kept] == ["i3", "i3", "i3"]


async def test_of_two_versions_on_one_page_the_newer_one_stays(database: Database) -> None:
    page = [invoice(number="new", updated_at=AT + SECOND), invoice(number="old")]
    assert await _save(database, *page) == Saved(received=2, changed=1)
    (row,) = await _rows(database, tables.invoices)
    assert row.number == "new"


@pytest.mark.parametrize(
    "amount",
    [
        Decimal("922337203685477.5807"),
        Decimal("-922337203685477.5808"),
        Decimal("0.0001"),
        Decimal("-0.01"),
        Decimal(0),
    ],
)
async def test_money_is_exact_at_its_extremes(database: Database, amount: Decimal) -> None:
    await _save(database, invoice(total=amount))
    (row,) = await _rows(database, tables.invoices)
    assert from_units(row.total) == amount


async def test_an_amount_that_cannot_be_exact_is_refused_and_nothing_is_written(database: Database) -> None:
    with pytest.raises(InexactAmountError):
        await _save(database, invoice("i1"), invoice("i2", total=Decimal("0.00001")))
    assert await _rows(database, tables.invoices) == []


async def test_allocations_follow_their_credit(database: Database) -> None:
    set_against = Allocation(xero_invoice_id="i1", amount=Decimal(30), allocated_on=date(2026, 10, 1))
    await _save(database, credit(allocations=(set_against,)), credit("k2", allocations=(set_against, set_against)))
    assert [(r.xero_credit_id, r.position) for r in await _rows(database, tables.allocations)] == [
        ("k1", 0),
        ("k2", 0),
        ("k2", 1),
    ]
    await _save(database, credit("k2", updated_at=AT + SECOND))
    (row,) = await _rows(database, tables.allocations)
    assert (row.xero_credit_id, from_units(row.amount), row.allocated_on) == ("k1", Decimal(30), "2026-10-01")


async def test_an_allocation_that_moves_without_a_new_version_is_a_change_of_its_credit(database: Database) -> None:
    await _save(database, credit(allocations=(Allocation(xero_invoice_id="i1", amount=Decimal(30)),)))
    moved = credit(allocations=(Allocation(xero_invoice_id="i2", amount=Decimal(30)),))
    assert await _save(database, moved, at=LATER) == Saved(received=1, changed=1)
    (row,) = await _rows(database, tables.credits)
    assert row.changed_at == to_micros(LATER)


async def test_an_allocation_whose_id_only_one_of_two_reads_states_has_not_changed(database: Database) -> None:
    named = Allocation(xero_invoice_id="i1", amount=Decimal(30), xero_allocation_id="a1")
    unnamed = Allocation(xero_invoice_id="i1", amount=Decimal(30))
    await _save(database, credit(allocations=(named,)))
    assert (await _save(database, credit(allocations=(unnamed,)), at=LATER)).changed == 0
    assert (await _save(database, credit(allocations=(named,)), at=LATER)).changed == 0
    assert [row.changed_at for row in await _rows(database, tables.credits)] == [to_micros(HERE)]


async def test_an_older_credit_does_not_bring_its_allocations_back(database: Database) -> None:
    await _save(database, credit(updated_at=AT + SECOND))
    await _save(database, credit(allocations=(Allocation(xero_invoice_id="i1", amount=Decimal(30)),)))
    assert await _rows(database, tables.allocations) == []


async def test_text_that_needs_escaping_arrives_as_it_was(database: Database) -> None:
    name = "O'Neill \\ \"Söhne\" 🏦 ' -- %s ? {x}\n\t"
    await _save(database, contact("c1", name=name))
    (row,) = await _rows(database, tables.contacts)
    assert row.name == name


async def test_rows_are_counted_by_entity(database: Database) -> None:
    await _save(database, credit("k1"), credit("k2", entity=Entity.PREPAYMENTS))
    await _save(database, invoice(), seen_in=2)
    async with database.read() as tx:
        counts = await mirror.count_rows(tx, "con1")
        assert {entity: count for entity, count in counts.items() if count} == {
            Entity.CREDIT_NOTES: 1,
            Entity.PREPAYMENTS: 1,
            Entity.INVOICES: 1,
        }
        assert await mirror.count_seen(tx, "con1", Entity.PREPAYMENTS, 1) == 1
        assert await mirror.count_seen(tx, "con1", Entity.INVOICES, 3) == 0


async def test_connections_do_not_see_each_other(database: Database) -> None:
    await add_connection(database, "con2")
    await _save(database, invoice())
    async with database.write() as tx:
        await mirror.save(tx, "con2", [invoice(number="theirs")], seen_in=1, at=HERE)
    assert [row.number for row in await _rows(database, tables.invoices)] == ["", "theirs"]


@pytest.mark.parametrize(("version", "comes_back"), [(-SECOND, False), (timedelta(), False), (SECOND, True)])
async def test_of_who_is_erased_only_a_newer_version_brings_anything_back(
    database: Database, version: timedelta, *, comes_back: bool
) -> None:
    await _save(database, contact("c1", name="", status="GDPRREQUEST"))
    await _save(database, contact("c1", name="Ann Onymous", updated_at=AT + version))
    async with database.read() as tx:
        row = (await tx.execute(select(tables.contacts))).one()
    assert (row.name, row.status) == (("Ann Onymous", "ACTIVE") if comes_back else ("", "GDPRREQUEST"))
