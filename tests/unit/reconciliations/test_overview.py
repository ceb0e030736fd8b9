"""Everybody compared in one pass: who disagrees is found under the reading that holds, and nobody else."""

from collections.abc import AsyncGenerator
from decimal import Decimal

import pytest

from databases import add_connection
from documents import AT, contact, credit, invoice
from tieout_server.ledger.documents import Document
from tieout_server.reconciliations.convention import ALL, Convention
from tieout_server.reconciliations.items import Item, of_credit, of_invoice
from tieout_server.reconciliations.overview import Overview
from tieout_server.storage import customers, mirror, open_items
from tieout_server.storage.database import Database
from tieout_server.storage.open_items import Standing, Sum

EURO = {"currency": "EUR", "rate": Decimal("0.3"), "total": Decimal(10), "due": Decimal(10)}
OWING: list[Document] = [invoice("i1"), invoice("i2", due=Decimal("10.07"))]
CREDITED: list[Document] = [invoice("i3", xero_contact_id="c2"), credit("k3", xero_contact_id="c2")]
FOREIGN: list[Document] = [invoice(f"e{n}", xero_contact_id="c3", **EURO) for n in range(3)]
BOTH: list[Document] = [
    invoice("b1", xero_contact_id="c4", **EURO),
    credit("b2", xero_contact_id="c4", currency="EUR", rate=Decimal("0.3")),
]
OF: dict[str, list[Document]] = {"c1": OWING, "c2": CREDITED, "c3": FOREIGN, "c4": BOTH}


def items(documents: list[Document]) -> list[Item]:
    """What these documents do to a balance."""
    return [of_credit(d) if hasattr(d, "remaining") else of_invoice(d) for d in documents]  # type: ignore[arg-type] # told apart by it


async def keep(database: Database, *documents: Document) -> None:
    async with database.write() as tx:
        for document in documents:
            await mirror.save(tx, "con1", [document], seen_in=1, at=AT)


async def compared(database: Database) -> Overview:
    async with database.read() as tx:
        overview = Overview(await customers.all_merges(tx, "con1"))
        await overview.take(open_items.standings(tx, "con1"))
    return overview


@pytest.fixture(autouse=True)
async def _connection(database: Database) -> None:
    await add_connection(database, "con1")


@pytest.mark.parametrize("reading", ALL, ids=str)
async def test_whoever_agrees_under_the_reading_that_holds_is_no_suspect(
    database: Database, reading: Convention
) -> None:
    for name, documents in OF.items():
        off = Decimal("0.01") if name == "c1" else Decimal(0)
        stated = reading.expected(items(documents)) + off
        await keep(database, contact(name, stated_outstanding=stated), *documents)

    overview = await compared(database)

    assert overview.suspects() == ["c1"]
    assert overview.customers == 4
    assert overview.totals == {"NZD": 240_57_00 + 210_50_00, "EUR": 30_00_00 + 10_00_00 - 20_00_00}


async def test_a_contact_that_was_merged_counts_with_its_winner(database: Database) -> None:
    await keep(
        database,
        contact("winner", stated_outstanding=Decimal("230.50")),
        contact("loser", merged_into="winner", status="ARCHIVED"),
        contact("older", merged_into="loser", status="ARCHIVED"),
        invoice("i1", xero_contact_id="older"),
    )

    overview = await compared(database)

    assert (overview.suspects(), overview.customers) == ([], 1)


async def test_a_ring_of_merges_comes_to_an_end(database: Database) -> None:
    await keep(database, contact("one", merged_into="other"), contact("other", merged_into="one"))

    assert (await compared(database)).suspects() == []


async def test_who_owes_nothing_and_is_stated_to_is_a_suspect(database: Database) -> None:
    await keep(database, contact("c1", stated_outstanding=Decimal(5), is_customer=False))

    assert (await compared(database)).suspects() == ["c1"]


async def test_of_whom_xero_states_nothing_there_is_nothing_to_disagree_with(database: Database) -> None:
    await keep(database, contact("c1"), invoice("i1"), contact("c2", is_customer=False))

    overview = await compared(database)

    assert (overview.suspects(), overview.customers) == ([], 1)


async def test_many_contacts_stream_through_without_one_being_cut_in_two(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_items, "AT_ONCE", 2)
    for n in range(5):
        name = f"c{n}"
        owed = [invoice(f"{name}{c}", xero_contact_id=name, currency=c) for c in ("NZD", "EUR", "USD")]
        await keep(database, contact(name, stated_outstanding=Decimal("691.50")), *owed)

    async with database.read() as tx:
        found = [one async for one in open_items.standings(tx, "con1")]
        few = [one async for one in open_items.standings(tx, "con1", ["c3", "c1"])]

    assert [(one.xero_contact_id, len(one.sums)) for one in found] == [(f"c{n}", 3) for n in range(5)]
    assert [one.xero_contact_id for one in few] == ["c1", "c3"]


async def test_rounding_conversions_of_many_documents_is_no_difference() -> None:
    async def one() -> AsyncGenerator[Standing]:
        yield Standing("c1", 99_99_0000 // 100, is_customer=True, sums=(Sum("EUR", "0.3", 30_0000, 0, 3),))

    overview = Overview({})
    await overview.take(one())

    assert list(overview.doubted) == []
