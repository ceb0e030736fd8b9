"""Changes of the mirror are told in the order of their commits, each record once, as it is now."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from databases import add_connection
from documents import AT, account, contact, credit, invoice, payment
from tieout_server.clock import SystemClock
from tieout_server.ledger.documents import Allocation, Document, Entity
from tieout_server.ledger.money import Money
from tieout_server.receivables import changes as following
from tieout_server.receivables.changes import Reading
from tieout_server.receivables.place import Place
from tieout_server.receivables.views import Change, Customer, InvoiceView
from tieout_server.storage import changes, mirror, tables
from tieout_server.storage.database import Database

HERE = datetime(2026, 11, 20, tzinfo=UTC)
SECOND = timedelta(seconds=1)
START = Place.end_of(0)


async def save(database: Database, *documents: Document, sync_id: str = "", at: datetime = HERE) -> None:
    async with database.write() as tx:
        await mirror.save(tx, "con1", documents, seen_in=1, at=at, sync_id=sync_id)


class Reader:
    """Reads all that there is to read now, and goes on from there the next time."""

    def __init__(self, database: Database, *entities: Entity) -> None:
        self.reading = Reading(database, SystemClock(), "con1", frozenset(entities or Entity))
        self.here = START

    async def read(self, *, most: int = 10_000) -> list[Change]:
        """What is told until there is nothing more, or so much of it."""
        found: list[Change] = []
        async with aclosing(self.reading.changes(self.here)) as messages:
            async for seen in messages:
                assert seen.bookmark.place > self.here, "told out of order"
                self.here = seen.bookmark.place
                if seen.change:
                    found.append(seen.change)
                    if len(found) == most:
                        break
        return found

    async def told(self) -> list[str]:
        """What is told, in words."""
        return [f"{change.kind} {change.id}" for change in await self.read()]

    async def snapshot(self) -> list[Change]:
        """All that is here, and from there on what changes."""
        self.here = Place.end_of(await last_number(self.reading.database))
        stream = self.reading.snapshot(Place(self.here.number, 0))
        return [seen.change async for seen in stream if seen.change]


async def last_number(database: Database) -> int:
    async with database.read() as tx:
        return await changes.last_number(tx, "con1")


@pytest.fixture(autouse=True)
async def _connection(database: Database) -> None:
    await add_connection(database, "con1")


@pytest.fixture
async def reader(database: Database) -> Reader:
    return Reader(database)


async def test_numbers_are_given_out_in_the_order_of_commits(database: Database) -> None:
    await save(database, invoice("i1"))
    with pytest.raises(ZeroDivisionError):
        await _save_and_fail(database)
    await asyncio.gather(*(save(database, invoice(f"j{n}")) for n in range(5)))
    async with database.read() as tx:
        numbers = (await tx.execute(select(tables.invoices.c.change_number))).scalars().all()
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]


async def _save_and_fail(database: Database) -> None:
    async with database.write() as tx:
        await mirror.save(tx, "con1", [invoice("i2")], seen_in=1, at=HERE)
        raise ZeroDivisionError


async def test_a_writer_waits_for_the_one_before_it_to_commit(database: Database) -> None:
    async with database.write() as tx:
        await mirror.save(tx, "con1", [invoice("i1")], seen_in=1, at=HERE)
        second = asyncio.create_task(save(database, invoice("i2")))
        done, _ = await asyncio.wait([second], timeout=0.1)
        assert not done
    await second
    assert await last_number(database) == 2


async def test_what_says_the_same_again_is_no_change(database: Database, reader: Reader) -> None:
    await save(database, contact("c1"))
    assert await reader.told() == ["UPSERTED c1"]
    await save(database, contact("c1"), at=HERE + SECOND)
    assert await reader.told() == []


async def test_every_kind_of_record_is_told_with_all_that_is_known_of_it(database: Database, reader: Reader) -> None:
    await save(database, account("a1", code="090"))
    await save(database, contact("c1", name="ACME"))
    await save(database, invoice("i1", expected_payment_on=date(2026, 12, 1)))
    await save(database, payment("p1"))
    await save(database, credit("k1", allocations=(Allocation(xero_invoice_id="i1", amount=Decimal(30)),)))
    await save(database, credit("k2", entity=Entity.OVERPAYMENTS))
    found = {change.id: change for change in await reader.read()}
    assert {name: change.entity for name, change in found.items()} == {
        "a1": Entity.ACCOUNTS,
        "c1": Entity.CONTACTS,
        "i1": Entity.INVOICES,
        "p1": Entity.PAYMENTS,
        "k1": Entity.CREDIT_NOTES,
        "k2": Entity.OVERPAYMENTS,
    }
    customer, billed = found["c1"].record, found["i1"].record
    assert isinstance(customer, Customer)
    assert customer.outstanding == (Money("NZD", Decimal("190.5")),)
    assert isinstance(billed, InvoiceView)
    assert [paid.payment.xero_payment_id for paid in billed.payments] == ["p1"]
    assert [part.xero_credit_id for part in billed.allocations] == ["k1"]


async def test_a_customer_comes_again_before_the_document_that_changed_its_balance(
    database: Database, reader: Reader
) -> None:
    await save(database, contact("c1"), contact("c2"))
    await save(database, invoice("i1"))
    await reader.read()
    await save(database, invoice("i1", status="PAID", due=Decimal(0), updated_at=AT + SECOND))
    assert await reader.told() == ["UPSERTED c1", "UPSERTED i1"]
    await save(database, credit("k1", xero_contact_id="c2"))
    assert await reader.told() == ["UPSERTED c2", "UPSERTED k1"]


async def test_an_invoice_comes_again_with_its_payments_and_credits(database: Database, reader: Reader) -> None:
    await save(database, invoice("i1"))
    await reader.read()
    await save(database, payment("p1"))
    assert await reader.told() == ["UPSERTED i1", "UPSERTED p1"]
    allocated = credit("k1", allocations=(Allocation(xero_invoice_id="i1", amount=Decimal(30)),))
    await save(database, allocated)
    assert await reader.told() == ["UPSERTED i1", "UPSERTED k1"]
    await save(database, credit("k1"))  # taken back, without a new version
    (again, _) = await reader.read()
    assert isinstance(again.record, InvoiceView)
    assert (again.id, again.record.allocations) == ("i1", ())


async def test_a_document_that_moves_to_another_contact_changes_both_customers(
    database: Database, reader: Reader
) -> None:
    await save(database, contact("c1"), contact("c2"))
    await save(database, invoice("i1"))
    await reader.read()
    await save(database, invoice("i1", xero_contact_id="c2", updated_at=AT + SECOND))
    found = {change.id: change.record for change in await reader.read()}
    assert found.keys() == {"c1", "c2", "i1"}
    assert isinstance(found["c1"], Customer)
    assert found["c1"].outstanding == ()


async def test_what_counts_no_more_is_removed_and_what_never_counted_is_not_told(
    database: Database, reader: Reader
) -> None:
    await save(database, contact("c1"), contact("s1", is_customer=False, is_supplier=True))
    await save(database, invoice("i1"), invoice("draft", status="DRAFT"), invoice("old", status="VOIDED"))
    await save(database, payment("p1"), payment("p2", status="DELETED"))
    assert set(await reader.told()) == {"UPSERTED c1", "UPSERTED i1", "UPSERTED p1"}
    later = {"updated_at": AT + SECOND}
    await save(database, invoice("i1", status="VOIDED", **later), invoice("draft", status="DELETED", **later))
    await save(database, payment("p1", status="DELETED", **later))
    await save(database, contact("c1", status="ARCHIVED", **later))
    assert set(await reader.told()) == {"REMOVED c1", "REMOVED i1", "REMOVED p1"}


async def test_an_archived_customer_leaves_when_its_balance_is_settled(database: Database, reader: Reader) -> None:
    await save(database, contact("c1", status="ARCHIVED"))
    await save(database, invoice("i1"))
    assert await reader.told() == ["UPSERTED c1", "UPSERTED i1"]
    await save(database, invoice("i1", status="PAID", due=Decimal(0), updated_at=AT + SECOND))
    assert await reader.told() == ["REMOVED c1", "UPSERTED i1"]
    await save(database, contact("c1", status="GDPRREQUEST", name="erased", updated_at=AT + SECOND))
    assert await reader.told() == ["REMOVED c1"]


async def test_a_merge_names_the_customer_that_took_over_and_tells_it_again(database: Database, reader: Reader) -> None:
    await save(database, contact("c1"), contact("c2"), contact("c3"))
    await save(database, invoice("i1"))
    await reader.read()
    await save(database, contact("c1", status="ARCHIVED", merged_into="c2", updated_at=AT + SECOND))
    merged, winner = await reader.read()
    assert (merged.kind, merged.id, winner.kind, winner.id) == ("MERGED", "c1", "UPSERTED", "c2")
    assert isinstance(merged.record, Customer)
    assert (merged.record.customer_id, merged.record.outstanding) == ("c2", (Money("NZD", Decimal("230.5")),))
    await save(database, contact("c2", status="ARCHIVED", merged_into="c3", updated_at=AT + SECOND))
    assert await reader.told() == ["MERGED c2", "UPSERTED c3"]
    await save(database, invoice("i1", number="x", updated_at=AT + SECOND))  # still the first one's
    assert await reader.told() == ["UPSERTED c3", "UPSERTED i1"]


async def test_a_merge_into_a_contact_that_is_not_here_yet_names_it_all_the_same(
    database: Database, reader: Reader
) -> None:
    await save(database, contact("c1", status="ARCHIVED", merged_into="c9"))
    (merged,) = await reader.read()
    assert isinstance(merged.record, Customer)
    assert (merged.kind, merged.id, merged.record.customer_id) == ("MERGED", "c1", "c9")


async def test_a_reader_that_is_behind_gets_each_record_once_as_it_is_now(database: Database, reader: Reader) -> None:
    await save(database, contact("c1"))
    for number in range(5):
        await save(database, invoice("i1", number=str(number), updated_at=AT + number * SECOND))
    found = await reader.read()
    assert [change.id for change in found] == ["c1", "i1"]
    assert isinstance(found[1].record, InvoiceView)
    assert found[1].record.invoice.number == "4"


async def test_each_change_names_the_sync_that_brought_it_and_when(database: Database, reader: Reader) -> None:
    await save(database, invoice("i1"), sync_id="syn_1")
    await save(database, invoice("i2"), sync_id="syn_1")
    await save(database, invoice("i3"), at=HERE + SECOND)
    await save(database, invoice("i4"), sync_id="syn_2")
    assert [(change.id, change.sync_id, change.committed_at) for change in await reader.read()] == [
        ("i1", "syn_1", HERE),
        ("i2", "syn_1", HERE),
        ("i3", "", HERE + SECOND),
        ("i4", "syn_2", HERE),
    ]


async def test_only_the_entities_asked_for_are_told(database: Database) -> None:
    await save(database, contact("c1"))
    await save(database, invoice("i1"))
    reader = Reader(database, Entity.INVOICES)
    assert await reader.told() == ["UPSERTED i1"]
    assert reader.here == Place.end_of(2)


async def test_a_change_of_many_rows_is_told_whole_however_small_the_portions(
    database: Database, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "ROWS", 2)
    monkeypatch.setattr(following, "AT_ONCE", 3)
    await save(database, *(invoice(f"i{n}") for n in range(10)))
    await save(database, *(invoice(f"j{n}") for n in range(3)))
    found: list[str] = []
    while part := await reader.read(most=1):  # a new stream for each
        found += [change.id for change in part]
    assert found == [f"i{n}" for n in range(10)] + [f"j{n}" for n in range(3)]


async def test_a_snapshot_goes_on_where_it_was_cut_off(
    database: Database, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "AT_ONCE", 2)
    await save(database, *(contact(f"c{n}") for n in range(5)))
    await save(database, *(invoice(f"i{n}") for n in range(3)), invoice("draft", status="DRAFT"))
    found: list[str] = []
    begin = Place(2, 0)
    for _ in range(8):
        async with aclosing(reader.reading.snapshot(begin)) as messages:
            seen = await anext(messages)
        assert seen.change
        assert seen.bookmark.in_snapshot
        found.append(seen.change.id)
        begin = seen.bookmark.place
    assert found == [f"c{n}" for n in range(5)] + [f"i{n}" for n in range(3)]
    assert [seen async for seen in reader.reading.snapshot(begin)] == []


IDS = ("1", "2", "3")
KINDS = ("contact", "invoice", "credit", "payment")
WRITES = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(IDS),
    st.sampled_from(("ACTIVE", "ARCHIVED", "MERGED", "GDPRREQUEST")),
    st.sampled_from(("DRAFT", "AUTHORISED", "PAID", "VOIDED")),
    st.sampled_from(IDS),
    st.integers(0, 3),  # how much the reader reads afterwards
)


@given(writes=st.lists(WRITES, max_size=15))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whoever_follows_has_in_the_end_what_a_snapshot_has(database_url: str, writes: list[Any]) -> None:
    asyncio.run(_check_followed(database_url, writes))


async def _check_followed(url: str, writes: list[Any]) -> None:
    database = Database(url)
    for table in (tables.change_runs, tables.change_counters):
        async with database.write() as tx:
            await tx.execute(delete(table))
    await add_connection(database, "con1")
    reader = Reader(database)
    copy: dict[Any, Any] = {}
    for turn, write in enumerate(writes):
        await save(database, _written(turn, write), at=HERE + turn * SECOND)
        _apply(copy, await reader.read(most=write[-1]) if write[-1] else [])
    _apply(copy, await reader.read())
    snapshot: dict[Any, Any] = {}
    _apply(snapshot, await Reader(database).snapshot())
    await database.close()
    assert copy == snapshot


def _written(turn: int, write: Any) -> Document:  # noqa: ANN401 - see WRITES
    kind, name, contact_status, status, other, _ = write
    later = {"updated_at": AT + turn * SECOND}
    if kind == "contact":
        merged = other if contact_status == "MERGED" and other > name else ""
        state = "ARCHIVED" if contact_status == "MERGED" else contact_status
        return contact(name, status=state, merged_into=merged, is_customer=status != "DRAFT", **later)
    if kind == "payment":
        deleted = "DELETED" if status == "VOIDED" else "AUTHORISED"
        return payment(name, xero_document_id=name, xero_contact_id="", status=deleted, **later)  # it pays one for good
    due = Decimal(turn + 1) if status == "AUTHORISED" else Decimal(0)
    if kind == "invoice":
        return invoice(name, xero_contact_id=other, status=status, due=due, **later)
    set_against = (Allocation(xero_invoice_id=other, amount=Decimal(turn)),) if turn % 2 else ()
    return credit(name, xero_contact_id=other, status=status, remaining=due, allocations=set_against, **later)


def _apply(copy: dict[Any, Any], several: Sequence[Change]) -> None:
    """Keep a copy as a subscriber would, without what is documented not to be told again."""
    for change in several:
        if change.kind == "UPSERTED":
            copy[change.entity, change.id] = _without_names_of_others(change)
        else:
            copy.pop((change.entity, change.id), None)


def _without_names_of_others(change: Change) -> Any:  # noqa: ANN401 - what the record says
    record = change.record
    if isinstance(record, Customer):
        return record.contact, record.outstanding, record.overdue, record.unapplied, record.archived_with_balance
    if isinstance(record, InvoiceView):
        return record.invoice, [paid.payment for paid in record.payments], record.allocations
    return getattr(record, "credit", None) or getattr(record, "payment", None)
