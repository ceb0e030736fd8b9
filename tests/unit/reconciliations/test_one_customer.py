"""One customer compared: what was stale is repaired, what stays is explained, what merely moves is no difference."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from databases import add_connection
from documents import contact, credit, invoice, payment
from fakes import SettableClock
from open_books import OpenBooks, engine_with_news
from tieout_server.errors import ScopeMissingError
from tieout_server.events.feed import DISCREPANCY, Feed
from tieout_server.ledger.books import AgedItem
from tieout_server.ledger.documents import CREDITS, Allocation, Document, Entity, Organisation
from tieout_server.ledger.links import Link
from tieout_server.receivables.assembly import customers_of
from tieout_server.reconciliations.compare import Cause
from tieout_server.reconciliations.messages import BalanceSource, Reconciled
from tieout_server.reconciliations.one_customer import BooksMovingError, OneCustomer
from tieout_server.reconciliations.state import DiscrepancyState as State
from tieout_server.storage import (
    changes,
    comparisons,
    customers,
    discrepancies,
    events,
    mirror,
    receivables,
    watermarks,
    webhooks,
    work,
)
from tieout_server.storage.database import Database
from tieout_server.storage.discrepancies import Change, Discrepancy
from tieout_server.storage.touched import Window, touched
from tieout_server.storage.watermarks import Watermark
from tieout_server.syncs.means import NEWS, Means

LONG_AGO = datetime(2026, 11, 1, tzinfo=UTC)
READ_UP_TO = datetime(2026, 11, 22, 11, tzinfo=UTC)
NZD = Organisation(xero_tenant_id="t", name="Southern Hops Ltd", base_currency="NZD", short_code="!abc")
LINK = Link(
    id="con1", merchant_id="m", state="CONNECTED", organisation=NZD, created_at=LONG_AGO, updated_at=LONG_AGO
)  # fmt: skip
ACME = contact("acme", name="ACME Ltd")
HUNDRED = {"xero_contact_id": "acme", "number": "INV-1", "total": Decimal(100), "due": Decimal(100)}
PAID = {"status": "PAID", "due": Decimal(0), "paid": Decimal(100)}


class Around:
    """A connection whose mirror and whose books hold the same, until a test changes one of them."""

    def __init__(self, database: Database, clock: SettableClock) -> None:
        self.database = database
        self.clock = clock
        self.books = OpenBooks(clock)
        self.feed = Feed(database, clock)
        self.means = Means(database, self.feed, clock, engine_with_news(database, clock))
        self.calls = 0
        self.link = LINK

    async def here(self, *documents: Document, at: datetime = READ_UP_TO) -> None:
        """Have these in the mirror."""
        async with self.database.write() as tx:
            for document in documents:
                await mirror.save(tx, "con1", [document], seen_in=1, at=at)

    async def both(self, *documents: Document) -> None:
        """Have these in the mirror and in the books."""
        self.books.put(*documents)
        await self.here(*documents)

    async def compare(self, customer: str = "acme") -> Reconciled:
        """Compare a customer."""
        return await OneCustomer(self.means, self.link, self.books).compare(customer)

    async def told(self) -> list[Change]:
        """What was told of discrepancies."""
        async with self.database.read() as tx:
            found = await events.after(tx, 0, limit=1000)
        return [msgspec.json.decode(e.payload, type=Change) for e in found if e.topic == DISCREPANCY]

    async def all(self) -> list[Discrepancy]:
        """Every discrepancy of ACME, over or not."""
        async with self.database.read() as tx:
            return await discrepancies.of_customer(tx, "con1", ["acme"])


@pytest.fixture
async def around(database: Database) -> Around:
    made = Around(database, SettableClock())
    await add_connection(database, "con1")
    await made.both(ACME)
    async with database.write() as tx:
        for entity in Entity:
            await watermarks.put(tx, "con1", entity, Watermark(READ_UP_TO, READ_UP_TO))
    return made


def in_time_zone(name: str) -> Link:
    """The connection, its organisation being there."""
    return msgspec.structs.replace(LINK, organisation=msgspec.structs.replace(NZD, time_zone=name))


def states(found: Discrepancy) -> list[str]:
    """The states that it went through."""
    return [one.state for one in found.history]


HEALED = [State.OPENED, State.CAUSE_FOUND, State.SELF_HEALED]
LEFT = [State.OPENED, State.CAUSE_FOUND, State.NEEDS_ATTENTION]


async def test_two_sides_that_agree_take_five_calls_and_leave_nothing(around: Around) -> None:
    await around.both(invoice("i1", **HUNDRED), credit("k1", xero_contact_id="acme"))

    found = await around.compare()

    (balance,) = found.balances
    assert (balance.currency, balance.ours, balance.xero) == ("NZD", Decimal(80), Decimal(80))
    assert balance.source is BalanceSource.CONTACT
    assert (found.repairs, found.discrepancies, found.calls) == ((), (), 5)
    assert len(around.books.calls) == 5
    assert await around.all() == []


@pytest.mark.parametrize(
    ("here", "there", "cause", "share"),
    [
        ([], [invoice("i1", **HUNDRED)], Cause.MISSING_DOCUMENT, "-100"),
        ([invoice("i1", **HUNDRED)], [invoice("i1", **HUNDRED | PAID)], Cause.STALE_DOCUMENT, "100"),
        (
            [invoice("i1", **HUNDRED)],
            [invoice("i1", **HUNDRED | {"status": "VOIDED", "due": Decimal(0)})],
            Cause.MISSED_DELETION,
            "100",
        ),
        ([invoice("i1", **HUNDRED)], [], Cause.MISSED_DELETION, "100"),
        (
            [invoice("i1", **HUNDRED | {"due": Decimal(60), "paid": Decimal(40)})],
            [invoice("i1", **HUNDRED)],
            Cause.PAYMENT_REMOVED_IN_XERO,
            "-40",
        ),
        (
            [credit("k1", xero_contact_id="acme")],
            [credit("k1", xero_contact_id="acme", remaining=Decimal(0), status="PAID")],
            Cause.UNALLOCATED_CREDIT,
            "-20",
        ),
    ],
)
async def test_what_was_missed_is_named_repaired_and_heals(
    around: Around, here: list[Document], there: list[Document], cause: Cause, share: str
) -> None:
    await around.here(*here)
    around.books.put(*there)

    found = await around.compare()

    assert found.discrepancies == ()
    (repair,) = found.repairs
    assert repair.cause == cause
    (healed,) = await around.all()
    assert (healed.cause, healed.difference, states(healed)) == (cause, Decimal(share), HEALED)
    assert "Xero's side is here what its documents add up to." in healed.history[0].sentence
    assert [one.difference for one in healed.documents] == [Decimal(share)]
    assert [change.event.state for change in await around.told()] == HEALED
    (balance,) = found.balances
    assert balance.ours == balance.xero == around.books.figure("acme")
    assert (await around.compare()).repairs == ()
    assert len(await around.all()) == 1


async def test_what_is_merely_in_flight_is_repaired_without_a_discrepancy(around: Around) -> None:
    await around.here(invoice("i1", **HUNDRED))
    around.books.put(invoice("i1", **HUNDRED | PAID, updated_at=READ_UP_TO + timedelta(minutes=1)))

    found = await around.compare()

    assert [repair.cause for repair in found.repairs] == [Cause.STALE_DOCUMENT]
    assert await around.all() == []
    assert await around.told() == []


async def test_a_version_that_is_newer_here_is_kept(around: Around) -> None:
    """Xero's reads lag behind its webhooks: the older version that a listing shows replaces nothing."""
    later = READ_UP_TO + timedelta(minutes=2)
    around.books.put(invoice("i1", **HUNDRED))
    await around.here(invoice("i1", **HUNDRED | PAID, updated_at=later))

    with pytest.raises(BooksMovingError):
        await around.compare()

    async with around.database.read() as tx:
        kept = await receivables.find_invoice(tx, "con1", "i1")
    assert kept
    assert kept.invoice.status == "PAID"
    assert await around.all() == []


async def test_books_that_change_while_they_are_read_make_no_discrepancy(around: Around) -> None:
    """The credit is allocated between the reads of invoices and of credits: the sum is wrong, once."""
    await around.both(invoice("i1", **HUNDRED), credit("k1", xero_contact_id="acme"))
    now = around.clock.now()

    def allocate(call: str) -> None:
        if call == "credit_notes":
            around.books.put(
                invoice("i1", **HUNDRED | {"due": Decimal(80), "credited": Decimal(20)}, updated_at=now),
                credit("k1", xero_contact_id="acme", remaining=Decimal(0), status="PAID", updated_at=now),
            )

    around.books.before_call = allocate
    found = await around.compare()

    assert [(balance.ours, balance.xero) for balance in found.balances] == [(Decimal(80), Decimal(80))]
    assert await around.all() == []


DRAFT = invoice("draft", **HUNDRED | {"status": "DRAFT", "total": Decimal("17.50"), "due": Decimal("17.50")})
LATER = invoice("later", **HUNDRED, issued_on=date(2027, 1, 5))
LEFT_OVER = credit("k1", xero_contact_id="acme")
MOVED = credit(
    "k2",
    xero_contact_id="acme",
    remaining=Decimal(0),
    status="PAID",
    allocations=(Allocation(xero_invoice_id="b1", amount=Decimal(50)),),
)
OF_BOLT = invoice("b1", xero_contact_id="bolt", credited=Decimal(50), due=Decimal("180.50"))


@pytest.mark.parametrize(
    ("stated", "cause", "document"),
    [
        ("17.50", Cause.DRAFT_COUNTED, "draft"),
        ("-100", Cause.FUTURE_DATED, "later"),
        ("20", Cause.UNALLOCATED_CREDIT, "k1"),
        ("-50", Cause.ALLOCATION_ON_OTHER_CONTACT, "k2"),
        ("0.07", Cause.ROUNDING, None),
        ("1234.56", Cause.UNEXPLAINED, None),
    ],
)
async def test_what_xero_states_otherwise_is_explained_and_left_to_a_person(
    around: Around, stated: str, cause: Cause, document: str | None
) -> None:
    """BOLT has a credit too, and its figure nets it: so this organisation's figures do."""
    await around.both(contact("bolt"), invoice("i1", **HUNDRED), DRAFT, LATER, LEFT_OVER, MOVED, OF_BOLT)
    await around.both(credit("k9", xero_contact_id="bolt"))
    await around.here(around.books.shown(contact("bolt")))
    around.books.stated["acme"] = Decimal(stated)
    around.books.hidden["acme"] = [AgedItem("", "journal", Decimal("0.01"))]

    (found,) = (await around.compare()).discrepancies

    assert (found.cause, found.difference, states(found)) == (cause, -Decimal(stated), LEFT)
    assert (found.ours, found.xero) == (Decimal(180), around.books.figure("acme"))
    assert [one.xero_id for one in found.documents] == ([document] if document else [])
    assert sum(share.amount for share in found.causes) == found.difference
    assert found.sentence
    assert found.owner in ("MERCHANT", "NOBODY")
    assert bool(found.ruled_out) is (cause is Cause.UNEXPLAINED)
    told = await around.told()
    await around.compare()
    assert await around.told() == told, "the same is not told twice"


@pytest.mark.parametrize(
    ("time_zone", "cause"),
    [("Pacific/Auckland", Cause.UNEXPLAINED), ("Europe/London", Cause.FUTURE_DATED), ("", Cause.FUTURE_DATED)],
)
async def test_what_is_dated_ahead_is_so_by_the_calendar_of_the_organisation(
    around: Around, time_zone: str, cause: Cause
) -> None:
    around.clock.time = datetime(2026, 11, 22, 11, tzinfo=UTC)  # midnight in Auckland
    around.link = in_time_zone(time_zone)
    await around.both(invoice("i1", **HUNDRED), invoice("i2", **HUNDRED, issued_on=date(2026, 11, 23)))
    around.books.stated["acme"] = Decimal(-100)
    around.books.hidden["acme"] = [AgedItem("", "journal", Decimal("0.01"))]

    (found,) = (await around.compare()).discrepancies

    assert found.cause == cause


@pytest.mark.parametrize(("time_zone", "day"), [("Pacific/Auckland", 23), ("Europe/London", 22)])
async def test_the_report_is_asked_for_today_where_the_organisation_is(
    around: Around, time_zone: str, day: int
) -> None:
    around.clock.time = datetime(2026, 11, 22, 11, tzinfo=UTC)
    around.link = in_time_zone(time_zone)
    await around.both(invoice("i1", **HUNDRED))
    around.books.stated["acme"] = Decimal("1234.56")

    await around.compare()

    assert around.books.reported_on == [date(2026, 11, day)]


async def test_a_figure_that_the_report_contradicts_is_no_discrepancy(around: Around) -> None:
    await around.both(invoice("i1", **HUNDRED))
    around.books.stated["acme"] = Decimal("1234.56")

    found = await around.compare()

    assert found.discrepancies == ()
    assert [(one.source, one.ours, one.difference) for one in found.balances] == [
        (BalanceSource.AGED_RECEIVABLES, Decimal(100), Decimal(0))
    ]
    assert around.books.calls.count("report") == 1


async def test_what_only_the_report_shows_is_a_missing_document(around: Around) -> None:
    await around.both(invoice("i1", **HUNDRED))
    around.books.hidden["acme"] = [AgedItem("ghost", "INV-9", Decimal(33))]
    around.books.stated["acme"] = Decimal(33)

    (found,) = (await around.compare()).discrepancies

    assert (found.cause, found.difference) == (Cause.MISSING_DOCUMENT, Decimal(-33))
    assert [(one.xero_id, one.ours) for one in found.documents] == [("ghost", None)]


async def test_where_reports_are_closed_to_us_it_stays_unexplained(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:  # noqa: ANN401 - whatever is asked
        raise ScopeMissingError("accounting.reports.aged.read was not consented to")

    monkeypatch.setattr(around.books, "aged_receivables", refuse)
    around.books.stated["acme"] = Decimal("1234.56")

    (found,) = (await around.compare()).discrepancies

    assert found.cause == Cause.UNEXPLAINED


async def test_it_resolves_when_the_cause_goes_and_reopens_under_its_id_when_it_returns(around: Around) -> None:
    await around.both(invoice("i1", **HUNDRED), DRAFT)
    around.books.stated["acme"] = Decimal("17.50")
    (first,) = (await around.compare()).discrepancies

    around.books.stated.clear()
    assert (await around.compare()).discrepancies == ()
    (over,) = await around.all()
    assert over.state == State.RESOLVED
    assert over.resolved_at == around.clock.now()

    around.books.stated["acme"] = Decimal("17.50")
    (again,) = (await around.compare()).discrepancies
    assert (again.id, again.resolved_at) == (first.id, None)
    assert states(again) == [*LEFT, State.RESOLVED, *LEFT]


async def test_a_missed_document_and_a_counted_draft_are_both_named(around: Around) -> None:
    await around.both(DRAFT)
    around.books.put(invoice("i1", **HUNDRED))
    around.books.stated["acme"] = Decimal("17.50")

    found = await around.compare()

    assert [repair.cause for repair in found.repairs] == [Cause.MISSING_DOCUMENT]
    (left,) = found.discrepancies
    assert left.cause == Cause.DRAFT_COUNTED
    assert states(left) == [State.OPENED, State.CAUSE_FOUND, State.NEEDS_ATTENTION]
    told = [share.cause for change in await around.told() for share in change.discrepancy.causes]
    assert {Cause.MISSING_DOCUMENT, Cause.DRAFT_COUNTED} <= set(told)


async def test_documents_of_a_merged_contact_are_its_winners(around: Around) -> None:
    loser = contact("loser", status="ARCHIVED", merged_into="acme")
    around.books.put(loser, invoice("i1", **HUNDRED))
    await around.here(loser, invoice("i1", **HUNDRED | {"xero_contact_id": "loser"}))

    found = await around.compare()

    assert (found.repairs, found.discrepancies) == ((), ())
    assert [one.ours for one in found.balances] == [Decimal(100)]


@pytest.mark.parametrize("in_base", [True, False])
async def test_either_reading_of_foreign_balances_raises_no_alarm(around: Around, *, in_base: bool) -> None:
    euros = {"currency": "EUR", "rate": Decimal("0.3"), "total": Decimal(10), "due": Decimal(10)}
    for name in ("acme", "bolt", "cold"):
        await around.both(contact(name), *(invoice(f"{name}{n}", xero_contact_id=name, **euros) for n in range(3)))
        if not in_base:
            around.books.stated[name] = Decimal(30) - around.books.figure(name)
    figures = [around.books.shown(contact(name)) for name in ("acme", "bolt", "cold")]
    await around.here(*figures)

    found = await around.compare()

    assert found.discrepancies == ()
    assert [(one.currency, one.ours, one.difference) for one in found.balances] == [("EUR", Decimal(30), Decimal(0))]


async def test_the_history_of_both_balances_has_a_line_for_each_change(around: Around) -> None:
    await around.both(invoice("i1", **HUNDRED))
    for due in (100, 100, 70):
        around.books.put(invoice("i1", **HUNDRED | {"due": Decimal(due), "paid": Decimal(100 - due)}))
        await around.compare()
        await around.clock.sleep(60)

    async with around.database.read() as tx:
        lines = await comparisons.history(tx, "con1", "acme")
    assert [(line.ours, line.xero) for line in lines] == [(Decimal(100), Decimal(100)), (Decimal(70), Decimal(70))]


async def test_a_customer_whose_documents_span_pages_is_read_to_the_end(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tieout_server.reconciliations.afresh.PAGE_SIZE", 2)
    await around.both(*(invoice(f"i{n}", **HUNDRED) for n in range(5)))

    found = await around.compare()

    assert [one.xero for one in found.balances] == [Decimal(500)]
    assert found.calls == len(around.books.calls) == 7


async def test_a_removed_payment_is_left_to_the_news_with_the_invoice_that_shows_it_no_more(around: Around) -> None:
    paid = payment("p1", xero_document_id="i1", xero_contact_id="acme", amount=Decimal(40))
    await around.here(invoice("i1", **HUNDRED | {"due": Decimal(60), "paid": Decimal(40)}), paid)
    around.books.put(invoice("i1", **HUNDRED), msgspec.structs.replace(paid, status="DELETED"))

    found = await around.compare()

    assert found.calls == len(around.books.calls) == 5
    async with around.database.read() as tx:
        left = await webhooks.due(tx, "con1", around.clock.now(), 10)
        assert [due.task.kind for due in await work.due(tx, around.clock.now(), 10)] == [NEWS]
    assert (Entity.PAYMENTS, "p1") in [(one.entity, one.xero_id) for one in left]


async def test_a_figure_in_the_base_currency_is_compared_with_our_documents_in_it_alone(around: Around) -> None:
    euros = {"currency": "EUR", "rate": Decimal("0.5"), "total": Decimal(80), "due": Decimal(80)}
    await around.both(invoice("i1", **HUNDRED), invoice("i2", **HUNDRED | euros))
    around.books.stated["acme"] = Decimal("0.07")

    found = await around.compare()

    assert [(one.currency, one.ours, one.xero) for one in found.balances] == [
        ("EUR", Decimal(80), Decimal(80)),
        ("NZD", Decimal(100), Decimal("100.07")),
    ]
    (one,) = found.discrepancies
    assert (one.currency, one.ours, one.xero) == ("NZD", Decimal(100), Decimal("100.07"))
    assert one.sentence.startswith(
        "100.00 NZD here, 100.07 NZD in Xero: 0.07 NZD less here than in Xero. "
        "With the contact Xero states 260.07 NZD, other currencies converted."
    )
    assert (await around.compare()).calls == 6, "one of them to learn how figures are made"


async def test_who_comes_to_be_off_balance_and_who_no_longer_is_has_changed(around: Around) -> None:
    await around.both(invoice("i1", **HUNDRED))
    await around.compare()
    changed = []
    for figure in ("0.07", "0.07", "0"):
        around.books.stated["acme"] = Decimal(figure)
        await around.here(around.books.shown(ACME))
        async with around.database.read() as tx:
            before = await changes.last_number(tx, "con1")
        await around.compare()
        async with around.database.read() as tx:
            window = Window("con1", before + 1, await changes.last_number(tx, "con1"))
            changed.append([one.id for one in await touched(tx, window, {Entity.CONTACTS})])
            listed = await customers_of(tx, "con1", await customers.customers_named(tx, "con1", ["acme"]), READ_UP_TO)
        assert [(one.off_balance, bool(one.off_balance_sentence)) for one in listed] == [(figure == "0.07",) * 2]
    assert changed == [["acme"], [], ["acme"]]


async def test_an_invoice_that_contradicts_itself_is_named_for_the_rounding_it_makes(around: Around) -> None:
    await around.both(invoice("i1", **HUNDRED | {"due": Decimal("99.50"), "paid": Decimal("0.75")}))
    around.books.stated["acme"] = Decimal("-0.25")

    (found,) = (await around.compare()).discrepancies

    assert (found.cause, found.difference) == (Cause.ROUNDING, Decimal("0.25"))
    assert [one.xero_id for one in found.documents] == ["i1"]


async def test_what_was_explained_before_costs_five_calls(around: Around) -> None:
    await around.both(invoice("i1", **HUNDRED))
    around.books.stated["acme"] = Decimal("0.07")

    assert (await around.compare()).calls == 12
    again = await around.compare()

    assert again.calls == 5
    assert [one.cause for one in again.discrepancies] == [Cause.ROUNDING]
    assert [one.xero for one in again.balances] == [Decimal("100.07")]


async def test_credits_are_looked_up_one_by_one_and_counted(around: Around) -> None:
    await around.here(*(credit(f"k{n}", xero_contact_id="acme", entity=CREDITS[n % 3]) for n in range(4)))

    found = await around.compare()

    assert [repair.cause for repair in found.repairs] == [Cause.MISSED_DELETION] * 4
    assert found.calls == len(around.books.calls) == 9


async def credited(around: Around, *names: str, netted: bool) -> None:
    """Have these customers owe 100 and have a credit of 20, with figures that are made so, old and new alike."""
    for name in names:
        around.books.stated[name] = Decimal(0 if netted else 20)
        own = invoice(f"i-{name}", **HUNDRED | {"xero_contact_id": name}), credit(f"k-{name}", xero_contact_id=name)
        await around.both(contact(name), *own)
        await around.here(around.books.shown(contact(name)))


async def test_a_first_credit_raises_no_alarm_however_figures_are_made(around: Around) -> None:
    """Nobody else tells; and what the mirror has of the customer itself is older than the credit."""
    await around.both(invoice("i1", **HUNDRED))
    around.books.put(credit("k1", xero_contact_id="acme", updated_at=READ_UP_TO + timedelta(minutes=1)))
    for net in (True, False):
        around.books.stated["acme"] = Decimal(0 if net else 20)
        assert (await around.compare()).discrepancies == ()
    assert await around.all() == []


async def test_figures_that_are_older_than_credits_do_not_tell_how_they_are_made(around: Around) -> None:
    """BOLT's and COLD's credits just came: in the mirror their figures look as if credits were left out."""
    await credited(around, "acme", "bolt", "cold", netted=True)
    for name in ("bolt", "cold"):
        await around.here(contact(name, stated_outstanding=Decimal(100)))
    assert (await around.compare()).calls == 5

    around.books.stated["acme"] = Decimal(20)
    (found,) = (await around.compare()).discrepancies

    assert (found.cause, found.ours, found.xero) == (Cause.UNALLOCATED_CREDIT, Decimal(80), Decimal(100))
    assert "Xero states" not in found.sentence, "100.00 is what it states"


async def test_the_report_is_read_as_it_is_made_however_figures_are(around: Around) -> None:
    await credited(around, "acme", "bolt", "cold", netted=False)
    around.books.stated["acme"] += Decimal(5)
    around.books.hidden["acme"] = [AgedItem("", "journal", Decimal(5))]
    (found,) = (await around.compare()).discrepancies
    assert (found.cause, found.ours, found.xero) == (Cause.MISSING_DOCUMENT, Decimal(80), Decimal(85))
    assert "With the contact Xero states 105.00 NZD, credits left out." in found.sentence

    around.books.hidden.clear()
    around.books.stated["acme"] += Decimal(1)
    found_now = await around.compare()

    assert found_now.discrepancies == ()
    assert [one.source for one in found_now.balances] == [BalanceSource.AGED_RECEIVABLES]


async def test_what_only_the_report_shows_is_found_by_the_report_where_figures_are_made_otherwise(
    around: Around,
) -> None:
    """A credit that no listing shows: the figure leaves it out, and differs for a reason of its own."""
    await credited(around, "acme", "bolt", "cold", netted=False)
    around.books.stated["acme"] += Decimal(5)
    around.books.hidden["acme"] = [AgedItem("ghost", "CN-9", Decimal(-33))]

    found = await around.compare()

    (one,) = found.discrepancies
    assert (one.cause, one.ours, one.xero) == (Cause.MISSING_DOCUMENT, Decimal(80), Decimal(47))
    assert [balance.source for balance in found.balances] == [BalanceSource.AGED_RECEIVABLES]


async def test_a_cent_for_each_foreign_document_is_a_difference(around: Around) -> None:
    euros = {"currency": "EUR", "rate": Decimal("0.5")}
    await around.both(*(invoice(f"e{n}", **HUNDRED | euros) for n in range(30)))
    around.books.stated["acme"] = Decimal("0.30")
    around.books.hidden["acme"] = [AgedItem("e1", "rounded", Decimal("0.30"))]

    (found,) = (await around.compare()).discrepancies

    assert (found.cause, found.difference) == (Cause.UNEXPLAINED, Decimal("-0.30"))


async def test_a_draft_credit_note_in_another_currency_is_named(around: Around) -> None:
    euros = {"currency": "EUR", "rate": Decimal("0.5"), "status": "DRAFT"}
    await around.both(invoice("i1", **HUNDRED), credit("k1", xero_contact_id="acme", **euros))
    around.books.stated["acme"] = Decimal(-100)

    (found,) = (await around.compare()).discrepancies

    assert (found.cause, found.difference) == (Cause.DRAFT_COUNTED, Decimal(100))
    assert [one.xero_id for one in found.documents] == ["k1"]
