"""A whole organisation compared: who agrees costs a page, who does not is looked at, and a kill loses nothing."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from sqlalchemy import delete, select, update

from databases import add_connection, take
from documents import contact, credit, invoice
from fakes import SettableClock
from open_books import OpenBooks, engine_with_news
from servers import until
from tieout_server.errors import NotFoundError, UnexpectedAnswerError, XeroUnavailableError
from tieout_server.events import feed, token
from tieout_server.events.feed import RECONCILIATION, Feed
from tieout_server.ledger.books import Page, Purpose, Query
from tieout_server.ledger.documents import Document, Entity, Organisation
from tieout_server.ledger.links import Link
from tieout_server.reconciliations.plan import first_plan
from tieout_server.reconciliations.run import Run
from tieout_server.reconciliations.state import DiscrepancyState, ReconciliationState
from tieout_server.reconciliations.watch import ReconciliationWatch, Seen
from tieout_server.storage import (
    discrepancies,
    events,
    live,
    mirror,
    reconciliation_tables,
    reconciliations,
    tables,
    watermarks,
    work,
)
from tieout_server.storage.database import Database
from tieout_server.storage.reconciliations import ReconciliationRecord, Total
from tieout_server.storage.watermarks import Watermark
from tieout_server.storage.work import Task
from tieout_server.syncs.intake import DoubtedError
from tieout_server.syncs.means import Means
from tieout_server.work.engine import Job

AT = datetime(2026, 11, 22, 11, tzinfo=UTC)
NZD = Organisation(xero_tenant_id="t", name="Southern Hops Ltd", base_currency="NZD")
LINK = Link(id="con1", merchant_id="m", state="CONNECTED", organisation=NZD, created_at=AT, updated_at=AT)
TEN = {"total": Decimal(10), "due": Decimal(10)}


class Around:
    """An organisation of ten customers who owe 10 each, here and there, and a reconciliation that begins."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = SettableClock()
        self.books = OpenBooks(self.clock)
        self.feed = Feed(database, self.clock)
        self.means = Means(database, self.feed, self.clock, engine_with_news(database, self.clock))

    async def here(self, *documents: Document) -> None:
        """Have these in the mirror."""
        async with self.database.write() as tx:
            for document in documents:
                await mirror.save(tx, "con1", [document], seen_in=1, at=AT)

    async def begin(self, max_calls: int = 0) -> None:
        """Have a reconciliation to do."""
        now = self.clock.now()
        run = ReconciliationRecord(
            id="rec1",
            connection_id="con1",
            ordinal=7,
            state="QUEUED",
            max_calls=max_calls,
            created_at=now,
            updated_at=now,
        )
        async with self.database.write() as tx:
            await reconciliations.insert_new(tx, run)

    async def go_on(self) -> datetime | None:
        """Do one slice, from what was committed."""
        task = Task("reconcile", "con1", "read")
        now = self.clock.now()
        async with self.database.write() as tx:
            await work.wake(tx, task, priority=1, due_at=now)
            await work.free(tx, "the test", now)
            run = await reconciliations.latest(tx, "con1")
            assert run
            body = await reconciliations.work_of(tx, run.id)
        lease = await take(self.database, task, now=now)
        assert lease
        plan = msgspec.json.decode(body, type=type(first_plan())) if body else first_plan()
        return await Run(self.means, Job(lease), LINK, run, plan).go_on(self.books)

    async def ended(self) -> ReconciliationRecord:
        """The reconciliation once it has been done."""
        while await self.go_on() is not None:
            pass
        async with self.database.read() as tx:
            run = await reconciliations.get(tx, "rec1")
        assert run
        return run

    async def told(self) -> list[ReconciliationRecord]:
        """What was told of it."""
        async with self.database.read() as tx:
            found = await events.about(tx, "rec1", topic=RECONCILIATION, after=0, limit=1000)
        return [msgspec.json.decode(event.payload, type=ReconciliationRecord) for event in found]


@pytest.fixture
async def around(database: Database) -> Around:
    made = Around(database)
    await add_connection(database, "con1")
    for n in range(10):
        ours = invoice(f"i{n}", xero_contact_id=f"c{n}", **TEN)
        made.books.put(contact(f"c{n}"), ours)
        await made.here(made.books.shown(contact(f"c{n}")), ours)
    async with database.write() as tx:
        for entity in Entity:
            await watermarks.put(tx, "con1", entity, Watermark(AT, AT))
    return made


async def test_an_organisation_that_agrees_costs_its_pages(around: Around) -> None:
    await around.begin()

    run = await around.ended()

    assert run.state == ReconciliationState.SUCCEEDED
    assert (run.customers, run.compared, run.agreeing, run.off_balance, run.left_over) == (10, 10, 10, 0, 0)
    assert run.totals == (Total("NZD", Decimal(100), Decimal(100)),)
    assert run.calls == len(around.books.calls) == 5
    assert run.ended_at


async def test_what_was_missed_anywhere_heals(around: Around) -> None:
    around.books.put(
        invoice("i0", xero_contact_id="c0", **TEN | {"status": "PAID", "due": Decimal(0)}, paid=Decimal(10)),
        invoice("new", xero_contact_id="c1", **TEN),
        credit("k2", xero_contact_id="c2"),
    )
    around.books.drop("i3")
    await around.begin()

    run = await around.ended()

    assert (run.compared, run.agreeing, run.off_balance, run.self_healed) == (10, 10, 0, 4)
    assert run.totals == (Total("NZD", Decimal(70), Decimal(70)),)
    async with around.database.read() as tx:
        found = await discrepancies.of_customer(tx, "con1", [f"c{n}" for n in range(4)])
    assert [one.state for one in found] == [DiscrepancyState.SELF_HEALED] * 4
    assert [one.cause for one in found] == [
        "STALE_DOCUMENT", "MISSING_DOCUMENT", "MISSING_DOCUMENT", "MISSED_DELETION"
    ]  # fmt: skip


async def test_what_xero_states_otherwise_is_off_balance_and_in_the_totals(around: Around) -> None:
    around.books.stated["c4"] = Decimal("0.07")
    await around.begin()

    run = await around.ended()

    assert (run.compared, run.agreeing, run.off_balance, run.self_healed) == (10, 9, 1, 0)
    assert run.totals == (Total("NZD", Decimal(100), Decimal("100.07")),)


async def test_calls_are_kept_to_and_what_is_left_is_counted(around: Around) -> None:
    for n in range(6):
        around.books.stated[f"c{n}"] = Decimal(1)
    await around.begin(max_calls=20)

    run = await around.ended()

    assert (run.state, run.compared + run.left_over) == (ReconciliationState.SUCCEEDED, 10)
    assert run.left_over == 5
    assert run.calls == len(around.books.calls) == 20


async def test_totals_are_of_those_who_were_compared(around: Around) -> None:
    for n in range(6):
        around.books.stated[f"c{n}"] = Decimal("0.07")
    await around.begin(max_calls=20)

    run = await around.ended()

    assert (run.compared, run.off_balance, run.left_over) == (5, 1, 5)
    assert run.totals == (Total("NZD", Decimal(50), Decimal("50.07")),)
    assert [told.totals for told in (await around.told())[:-1]] == [()] * (len(await around.told()) - 1)


async def test_totals_are_what_repairs_left(around: Around) -> None:
    """An invoice that comes while everybody is compared, beside one that is off."""
    around.books.stated["c0"] = Decimal("0.07")
    await around.begin()

    def grow(call: str) -> None:
        if call == "contacts by ids":
            around.books.put(invoice("new", xero_contact_id="c0", **TEN))

    around.books.before_call = grow
    run = await around.ended()

    assert run.totals == (Total("NZD", Decimal(110), Decimal("110.07")),)


async def test_who_was_off_balance_before_is_not_counted_where_nobody_was_compared(around: Around) -> None:
    around.books.stated["c4"] = Decimal("0.07")
    await around.begin()
    assert (await around.ended()).off_balance == 1
    async with around.database.write() as tx:
        await tx.execute(delete(reconciliation_tables.reconciliations))
    await around.begin(max_calls=2)

    run = await around.ended()

    assert (run.compared, run.off_balance, run.left_over, run.totals) == (0, 0, 10, ())


async def test_calls_that_do_not_suffice_for_reading_leave_everybody_over(around: Around) -> None:
    await around.begin(max_calls=2)

    run = await around.ended()

    assert (run.state, run.customers, run.compared, run.left_over) == (ReconciliationState.SUCCEEDED, 10, 0, 10)
    assert run.calls == len(around.books.calls) == 2


async def test_calls_of_attempts_that_failed_count_too(around: Around) -> None:
    around.books.stated["c0"] = Decimal(77)
    await around.begin(max_calls=12)

    def fail(what: str) -> None:
        if what == "report":
            raise XeroUnavailableError("504")

    around.books.before_call = fail
    attempts = 0
    while not await is_over(around, XeroUnavailableError):
        attempts += 1
        assert attempts < 10

    run = (await around.told())[-1]
    assert (run.state, run.left_over) == (ReconciliationState.SUCCEEDED, 1)
    assert run.calls == len(around.books.calls) == 12


async def test_credits_are_looked_up_within_the_calls_that_are_left(around: Around) -> None:
    for n in range(40):
        await around.here(credit(f"k{n}", xero_contact_id="c0", remaining=Decimal(1)))
        around.books.put(credit(f"k{n}", xero_contact_id="c0", remaining=Decimal(0), status="PAID"))
    await around.begin(max_calls=9)

    run = await around.ended()

    assert (run.state, run.left_over) == (ReconciliationState.SUCCEEDED, 10)
    assert run.calls == len(around.books.calls) == 9


async def test_nothing_is_taken_in_where_too_much_is_gone_and_a_person_is_told(around: Around) -> None:
    for n in range(60):
        await around.here(invoice(f"z{n}", xero_contact_id="c0", **TEN))
    await around.begin()

    with pytest.raises(DoubtedError, match="Xero shows 60 of 70 invoices as voided, deleted or gone"):
        await around.ended()

    async with around.database.read() as tx:
        assert await live.count(tx, "con1", Entity.INVOICES, open_only=True) == 70


async def test_what_leaves_with_one_customer_after_the_other_is_doubted_together(around: Around) -> None:
    for n in range(30):
        await around.here(contact(f"d{n}"), invoice(f"z{n}", xero_contact_id=f"d{n}", **TEN))
        around.books.put(contact(f"d{n}"), invoice(f"z{n}", xero_contact_id=f"d{n}", status="VOIDED", due=Decimal(0)))
    await around.begin()
    async with around.database.write() as tx:  # met by the listing just before they were voided
        unmet = select(tables.invoices.c.xero_invoice_id).where(tables.invoices.c.xero_invoice_id.startswith("z"))
        await tx.execute(update(tables.invoices).where(tables.invoices.c.xero_invoice_id.in_(unmet)).values(seen_in=7))

    with pytest.raises(DoubtedError, match="21 of 40 invoices"):
        await around.ended()


async def test_one_customer_with_an_odd_answer_is_left_over_and_the_others_are_compared(around: Around) -> None:
    around.books.stated |= {"c0": Decimal(77), "c1": Decimal("0.07")}
    await around.begin()
    read = around.books.read

    async def odd(query: Query, purpose: Purpose) -> Page:
        if query.of == ("c0",):
            raise UnexpectedAnswerError("A poem.")
        return await read(query, purpose)

    around.books.read = odd  # type: ignore[method-assign] # Xero, for once

    run = await around.ended()

    assert (run.state, run.compared, run.left_over) == (ReconciliationState.SUCCEEDED, 9, 1)
    async with around.database.read() as tx:
        assert await discrepancies.off_balance(tx, "con1") == {"c1"}


async def is_over(around: Around, trouble: type[Exception]) -> bool:
    """Do a slice; says whether it was the last. This trouble ends it."""
    try:
        return await around.go_on() is None
    except trouble:
        return False


async def test_percent_never_falls_and_every_step_is_told(around: Around) -> None:
    around.books.stated["c4"] = Decimal("0.07")
    await around.begin()
    await around.ended()

    told = await around.told()

    percents = [run.percent for run in told]
    assert percents == sorted(percents)
    assert [run.state for run in told[:-1]] == [ReconciliationState.RUNNING] * (len(told) - 1)
    assert (told[-1].state, told[-1].percent) == (ReconciliationState.SUCCEEDED, 100.0)


async def test_killed_at_any_call_it_goes_on_from_what_was_committed(around: Around) -> None:
    around.books.stated["c4"] = Decimal("0.07")
    around.books.drop("i3")
    await around.begin()

    class KilledError(BaseException):
        pass

    killed: set[int] = set()

    def kill(_: str) -> None:
        if len(around.books.calls) not in killed and len(killed) < 12:
            killed.add(len(around.books.calls))
            raise KilledError

    around.books.before_call = kill
    is_over = False
    while not is_over:
        try:
            is_over = await around.go_on() is None
        except KilledError:
            continue
    async with around.database.read() as tx:
        run = await reconciliations.get(tx, "rec1")
    assert run
    assert (run.compared, run.agreeing, run.off_balance, run.self_healed, run.left_over) == (10, 9, 1, 1, 0)


async def test_a_slice_ends_in_time_for_others(around: Around) -> None:
    await around.begin()

    def slow(_: str) -> None:
        around.clock.time += timedelta(seconds=6)

    around.books.before_call = slow

    assert await around.go_on() == around.clock.now()
    assert len(around.books.calls) == 2


async def test_a_watch_tells_the_state_now_and_ends_with_it(around: Around) -> None:
    await around.begin()
    await around.feed.start()
    watch = ReconciliationWatch(around.database, around.feed)
    running = asyncio.create_task(around.feed.run())
    seen: list[Seen] = []

    async def follow() -> None:
        async for one in watch.follow("rec1", ""):
            seen.append(one)  # noqa: PERF401 - each as it comes

    following = asyncio.create_task(follow())
    await until(lambda: bool(seen))
    await around.ended()
    await following
    running.cancel()

    assert [one.reconciliation.state for one in seen if one.reconciliation][:: len(seen) - 1] == ["QUEUED", "SUCCEEDED"]
    resumed = [one async for one in watch.follow("rec1", token.encode(seen[1].position))]
    assert resumed == seen[2:]
    assert [one.reconciliation.state async for one in watch.follow("rec1", "") if one.reconciliation] == ["SUCCEEDED"]
    with pytest.raises(NotFoundError):
        await anext(watch.follow("rec2", ""))


async def test_whoever_resumes_a_watch_is_not_told_again_what_they_know(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT", 0.01)
    await around.begin()
    await around.feed.start()
    watch = ReconciliationWatch(around.database, around.feed)
    async with aclosing(watch.follow("rec1", "")) as told:
        first = await anext(told)
    async with aclosing(watch.follow("rec1", token.encode(first.position))) as told:
        resumed = await anext(told)
    assert first.reconciliation
    assert resumed == Seen(first.position)
