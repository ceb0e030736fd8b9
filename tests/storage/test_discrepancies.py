"""Discrepancies are kept with their history, listed by currency and size, and found by customer."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from databases import add_connection
from tieout_server.ledger.documents import Entity
from tieout_server.storage import comparisons, discrepancies
from tieout_server.storage.comparisons import Compared, Cursor
from tieout_server.storage.database import Database
from tieout_server.storage.discrepancies import Discrepancy, DiscrepancyQuery, Happened, Involved, Share, Values
from tieout_server.storage.pages import Span

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
VALUES = Values(
    status="AUTHORISED",
    issued_on=date(2026, 11, 1),
    total=Decimal("100.00"),
    due=Decimal("99.93"),
    xero_contact_id="acme",
    xero_updated_at=AT,
    read_at=AT,
)
WHOLE = Discrepancy(
    id="d1",
    connection_id="con1",
    xero_contact_id="acme",
    customer_name="ACME Ltd",
    currency="NZD",
    ours=Decimal("100.00"),
    xero=Decimal("99.93"),
    causes=(Share(cause="ROUNDING", amount=Decimal("0.07"), sentence="Rounded."),),
    documents=(
        Involved(
            entity=Entity.INVOICES,
            xero_id="i1",
            number="INV-1",
            cause="ROUNDING",
            currency="NZD",
            ours=VALUES,
            difference=Decimal("0.07"),
        ),
    ),
    ruled_out=("DRAFT_COUNTED",),
    state="NEEDS_ATTENTION",
    sentence="It differs.",
    owner="MERCHANT",
    note="known",
    opened_at=AT,
    updated_at=AT,
    short_code="!abc",
)


def other(name: str, **changes: Any) -> Discrepancy:  # noqa: ANN401 - any field
    return msgspec.structs.replace(WHOLE, id=name, xero_contact_id=name, **changes)


def happened(state: str) -> Happened:
    return Happened(state=state, sentence=f"{state}.", actor="tieout", at=AT, difference=Decimal("0.07"))


@pytest.fixture(autouse=True)
async def _connection(database: Database) -> None:
    await add_connection(database, "con1")


async def keep(database: Database, *found: Discrepancy) -> None:
    async with database.write() as tx:
        for one in found:
            await discrepancies.put(tx, one)


async def test_what_is_kept_comes_back_whole_with_its_history_in_order(database: Database) -> None:
    await keep(database, msgspec.structs.replace(WHOLE, state="OPENED", causes=()))
    async with database.write() as tx:
        await discrepancies.add(tx, "d1", [happened("OPENED"), happened("CAUSE_FOUND")])
        await discrepancies.put(tx, WHOLE)
        await discrepancies.add(tx, "d1", [happened("NEEDS_ATTENTION")])

    async with database.write() as tx:
        found = await discrepancies.get(tx, "d1", lock=True)
        assert await discrepancies.get(tx, "d2") is None

    assert found
    assert [one.state for one in found.history] == ["OPENED", "CAUSE_FOUND", "NEEDS_ATTENTION"]
    assert msgspec.structs.replace(found, history=()) == WHOLE
    assert (found.cause, found.difference, found.is_over) == ("ROUNDING", Decimal("0.07"), False)


async def test_they_are_listed_by_currency_and_the_largest_first(database: Database) -> None:
    sizes = {"a": "-5", "b": "0.01", "c": "700.5", "d": "-12000"}
    await keep(
        database,
        *(other(name, ours=Decimal(size), xero=Decimal(0)) for name, size in sizes.items()),
        other("e", currency="AUD"),
        other("f", state="RESOLVED"),
    )

    listed: list[str] = []
    span: Span | None = Span(limit=2)
    while span:
        async with database.read() as tx:
            page, span = await discrepancies.page(tx, "con1", DiscrepancyQuery(), span)
        listed += [one.id for one in page]

    assert listed == ["e", "d", "c", "a", "b"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (DiscrepancyQuery(), ["d1", "x"]),
        (DiscrepancyQuery(states=("RESOLVED", "SELF_HEALED")), ["y", "z"]),
        (DiscrepancyQuery(causes=("UNEXPLAINED",)), ["x"]),
        (DiscrepancyQuery(xero_contact_id="acme"), ["d1"]),
    ],
)
async def test_a_list_is_narrowed(database: Database, query: DiscrepancyQuery, expected: list[str]) -> None:
    unexplained = (Share(cause="UNEXPLAINED", amount=Decimal("0.07"), sentence="Nobody knows."),)
    await keep(
        database,
        WHOLE,
        other("x", causes=unexplained),
        other("y", state="RESOLVED", resolved_at=AT),
        other("z", state="SELF_HEALED"),
    )

    async with database.read() as tx:
        page, _ = await discrepancies.page(tx, "con1", query, Span())

    assert sorted(one.id for one in page) == expected


async def test_what_is_not_over_is_found_by_customer(database: Database) -> None:
    await keep(database, WHOLE, other("y", state="RESOLVED"), other("z", xero=Decimal(0)))

    async with database.read() as tx:
        found = await discrepancies.open_of(tx, "con1", ["acme", "y", "nobody"])
        assert await discrepancies.off_balance(tx, "con1") == {"acme", "z"}
        assert [one.id for one in await discrepancies.some_open(tx, "con1", limit=5)] == ["d1", "z"]

    assert {name: [one.id for one in own] for name, own in found.items()} == {"acme": ["d1"]}


def figures(ours: str, minutes: int) -> list[Compared]:
    at = AT + timedelta(minutes=minutes)
    return [Compared("NZD", at, Decimal(ours), Decimal(100), "CONTACT")]


async def test_balances_have_a_line_for_each_change_of_a_figure(database: Database) -> None:
    for minutes, ours in enumerate(("100", "100", "93", "93", "100")):
        async with database.write() as tx:
            await comparisons.note(tx, "con1", "acme", figures(ours, minutes))

    async with database.read() as tx:
        lines = await comparisons.history(tx, "con1", "acme")

    assert [(line.ours, line.at.minute) for line in lines] == [(Decimal(100), 0), (Decimal(93), 2), (Decimal(100), 4)]


async def test_how_far_changes_were_compared_is_remembered(database: Database) -> None:
    async with database.write() as tx:
        assert await comparisons.cursor(tx, "con1") == Cursor()
        await comparisons.put_cursor(tx, "con1", Cursor(5, ("acme",)))
        await comparisons.put_cursor(tx, "con1", Cursor(7))
        assert await comparisons.cursor(tx, "con1") == Cursor(7)
