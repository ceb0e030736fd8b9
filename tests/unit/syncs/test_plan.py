"""The plan of a sync against a model of Xero's listings that people edit while it reads."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tieout_server.ledger.books import Order, Page, Purpose
from tieout_server.ledger.documents import Account, Entity
from tieout_server.syncs import plan
from tieout_server.syncs.plan import Line, Plan, Request, Walk, first_lines, incremental_lines
from tieout_server.syncs.state import SyncPhase

BEGAN_AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _small_pages() -> Iterator[None]:
    with patch.object(plan, "PAGE_SIZE", 10), patch.object(plan, "SEAMS", (1, 2, 5, 10)):
        yield


class Listing:
    """A listing at Xero: rows by id, each with the instant of its last change, and whether it is open."""

    def __init__(self, size: int) -> None:
        self.now = BEGAN_AT
        self.rows: dict[float, tuple[datetime, bool]] = {float(i): (BEGAN_AT, True) for i in range(size)}
        for i in self.rows:
            self.rows[i] = (BEGAN_AT - timedelta(days=1000 - i), True)

    def serve(self, request: Request) -> Page:
        query = request.query
        rows = [(i, at) for i, (at, is_open) in self.rows.items() if is_open or not query.open_only]
        if query.since is not None:
            rows = [row for row in rows if row[1] >= query.since.replace(microsecond=0)]
        rows.sort(key=lambda row: (row[1], row[0]) if query.order is Order.BY_CHANGE else row[0])
        first = (query.page - 1) * query.page_size
        served = rows[first : first + query.page_size]
        return Page(
            documents=[Account(xero_account_id=str(i), name="", kind="", status="", updated_at=at) for i, at in served],
            page_count=-(-len(rows) // query.page_size),
            item_count=len(rows),
            served_at=self.now,
            last_change_at=max((at for _, at in served), default=None),
        )

    def create(self, at: float) -> None:
        self._tick()
        self.rows[at] = (self.now, True)

    def edit(self, index: int) -> None:
        self._tick()
        name = sorted(self.rows)[index % len(self.rows)]
        self.rows[name] = (self.now, self.rows[name][1])

    def close(self, index: int) -> None:
        self._tick()
        name = sorted(self.rows)[index % len(self.rows)]
        self.rows[name] = (self.now, False)

    def _tick(self) -> None:
        self.now += timedelta(seconds=1)


def seen_in(pages: list[Page]) -> set[float]:
    return {float(d.xero_account_id) for page in pages for d in page.documents if isinstance(d, Account)}


def listing_line(**changes: object) -> Line:
    line = Line(name="x", entity=Entity.INVOICES, phase=SyncPhase.HISTORY, purpose=Purpose.FIRST_SYNC)
    for name, value in changes.items():
        setattr(line, name, value)
    return line


def reborn(line: Line) -> Line:
    """The line as the next owner finds it."""
    return msgspec.json.decode(msgspec.json.encode(line), type=Line)


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(0, 75), haste=st.integers(0, 4))
def test_no_row_is_missed_whatever_is_created_or_edited_and_in_whatever_order_pages_are_served(
    seed: int, size: int, haste: int
) -> None:
    chance = random.Random(seed)
    listing, the_plan = Listing(size), Plan([listing_line()])
    there_from_the_start = set(listing.rows)
    pages: list[Page] = []
    in_flight: list[Request] = []
    for step in range(1000):
        if the_plan.is_done:
            break
        while len(in_flight) < 5 and (request := next(the_plan.requests(in_flight), None)):
            in_flight.append(request)
        served = in_flight.pop(chance.randrange(len(in_flight)))
        page = listing.serve(served)
        for _ in range(chance.randint(0, haste) if step < 40 else 0):
            listing.create(chance.uniform(-1, size + 1))
        if chance.random() < 0.5 and listing.rows:
            listing.edit(chance.randrange(1000))
        if chance.random() < 0.1:  # killed before the commit: the page is asked for again
            the_plan, in_flight = Plan([reborn(line) for line in the_plan.lines]), []
            continue
        pages.append(page)
        the_plan.line(served.line).take(served, page)
    assert the_plan.is_done
    assert there_from_the_start <= seen_in(pages)


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(0, 75))
def test_every_open_row_is_met_by_seeking_while_others_are_closed_and_edited(seed: int, size: int) -> None:
    chance = random.Random(seed)
    listing, line = Listing(size), listing_line(walk=Walk.SEEK, open_only=True)
    pages: list[Page] = []
    changes = 0
    while not line.done:
        request = next(line.requests(frozenset()))
        page = listing.serve(request)
        pages.append(page)
        line.take(request, page)
        for _ in range(chance.randint(0, 3) if changes < 60 and listing.rows else 0):
            changes += 1
            chance.choice([listing.edit, listing.close])(chance.randrange(1000))
        line = reborn(line)
    still_open = {i for i, (at, is_open) in listing.rows.items() if is_open and at < BEGAN_AT}
    assert still_open <= seen_in(pages)


def test_a_quiet_listing_costs_exactly_its_pages() -> None:
    listing, line = Listing(42), listing_line()
    asked = 0
    while not line.done:
        request = next(line.requests(frozenset()))
        line.take(request, listing.serve(request))
        asked += 1
    assert (asked, line.fetched, line.expected, line.pages_read) == (5, 42, 42, 5)


def test_an_empty_listing_is_done_after_one_call() -> None:
    listing, line = Listing(0), listing_line()
    request = next(line.requests(frozenset()))
    line.take(request, listing.serve(request))
    assert line.done
    assert (line.fetched, line.expected) == (0, 0)


def test_open_receivables_are_asked_for_before_the_history() -> None:
    the_plan = Plan(first_lines(tuple(Entity)))
    in_flight: list[Request] = []
    for _ in range(5):
        in_flight.append(next(the_plan.requests(in_flight)))
    assert [request.line for request in in_flight] == [
        "accounts",
        "contacts",
        "open_invoices",
        "credit_notes",
        "overpayments",
    ]


def test_rows_that_do_not_add_up_are_read_again_one_page_after_the_other() -> None:
    listing, line = Listing(42), listing_line()
    while not line.done:
        request = next(line.requests(frozenset()))
        line.take(request, listing.serve(request))
    line.begin_again()
    first = next(line.requests(frozenset()))
    assert first.query.page == 1
    assert not list(line.requests(frozenset({(1, 0)}))), "never two at once"
    assert line.fetched == 42, "progress never runs backwards"


def test_only_listings_of_several_pages_are_looked_at_again() -> None:
    listing, the_plan = Listing(15), Plan(first_lines((Entity.ACCOUNTS, Entity.PAYMENTS)))
    small = Listing(3)
    while request := next(the_plan.requests([]), None):
        the_plan.line(request.line).take(request, (small if request.line == "accounts" else listing).serve(request))
    more = the_plan.catch_up(3)
    assert [line.entity for line in more] == [Entity.PAYMENTS]
    assert more[0].since == BEGAN_AT - plan.OVERLAP


def test_catching_up_ends_once_nothing_was_found_changed() -> None:
    done = listing_line(counts={1: 5}, done=True, began_at=BEGAN_AT, round=1, upserted=0)
    assert Plan([done]).catch_up(3) == []
    done.upserted = 2
    assert [line.round for line in Plan([done]).catch_up(3)] == [2]
    done.round = 3
    assert Plan([done]).catch_up(3) == []


def test_changes_are_read_from_the_watermark_and_new_entities_whole() -> None:
    lines = incremental_lines((Entity.CONTACTS, Entity.PAYMENTS), {Entity.CONTACTS: BEGAN_AT})
    assert {line.name: line.since for line in lines} == {"payments": None, "changed_contacts": BEGAN_AT - plan.OVERLAP}


def test_a_seam_that_was_outrun_is_read_longer_and_then_the_whole_listing_again() -> None:
    line = listing_line(counts={1: 25, 2: 23, 3: 25}, pages_expected=3, expected=25)
    listing = Listing(23)
    request = next(line.requests(frozenset()))
    assert (request.seam, request.query.page_size) == (1, 5)
    for i in range(6):
        listing.create(0.05 + i / 10)
    line.take(request, listing.serve(request))
    request = next(line.requests(frozenset()))
    assert (request.seam, request.query.page_size) == (1, 10), "six rows may have moved: a longer read"
    for i in range(20):
        listing.create(1.005 + i / 100)
    line.take(request, listing.serve(request))
    assert line.one_by_one
