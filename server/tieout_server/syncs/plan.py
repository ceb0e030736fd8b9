"""What a sync reads, in which order, and from where it goes on: pure, so that every interleaving can be tested.

Two ways of walking a listing, each safe while people edit the books
(server/decisions/0003-complete-under-churn.md):

- *Pages*, several at once, of a listing that only grows: ordered by primary id and filtered by nothing that a row
  could leave. Rows move between pages only when a row is created before them, and then `item_count`, which only
  grows, tells: where page k was served with a higher count than page k+1, some rows may have moved from k to k+1 in
  between, and exactly the first rows of page k+1 are read again.
- *Seek*, one page after the other, of a listing that rows do leave (open invoices): ordered by last change, each page
  asked for from a second before the last change of the one before, so that rows that leave shift nothing, and whether
  or not Xero lists what changed in the very second that it is asked from (UNSURE register, U6).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from tieout_server.ledger.books import Order, Page, Purpose, Query
from tieout_server.ledger.documents import Entity
from tieout_server.syncs.state import SyncPhase

PAGE_SIZE = 1000
"""Xero's largest page (Requests and responses, Paging)."""
SEAMS = (100, 200, 500, 1000)
"""Sizes of the small reads at the seam between two pages; each divides PAGE_SIZE."""
SECOND = timedelta(seconds=1)
"""What If-Modified-Since is exact to."""
OVERLAP = timedelta(minutes=5)
"""How far behind a watermark reading begins: Xero's own lists may lag behind its writes."""


class Walk(StrEnum):
    """How a listing is walked."""

    PAGES = "pages"
    SEEK = "seek"


class Request(msgspec.Struct, frozen=True):
    """One read that is due: for which line, and what."""

    line: str
    query: Query
    purpose: Purpose
    seam: int = 0
    """Not 0: the rows behind page number `seam` are read again."""
    tries: int = 1
    """The walk of the line that it belongs to; what arrives after the line began again does not count for it."""


class Line(msgspec.Struct, kw_only=True):
    """The reading of one listing: what is asked for, and how far it has come. Kept with each page it commits."""

    name: str
    entity: Entity
    phase: SyncPhase
    purpose: Purpose
    walk: Walk = Walk.PAGES
    open_only: bool = False
    since: datetime | None = None
    counts: dict[int, int] = {}
    """Pages served so far, with the item_count of each."""
    payables: dict[int, int] = {}
    """Rows of those pages that are not even kept."""
    mended: set[int] = set()
    """The pages behind which rows may have slipped through and were read again."""
    seam_sizes: dict[int, int] = {}
    """How long a read at a seam has to be, where a shorter one was not enough."""
    round: int = 0
    """0 for what a sync begins with; catch-up lines follow in rounds."""
    one_by_one: bool = False
    """Read page after page, in order: then nothing can be missed at a seam. For the second try."""
    seek_at: datetime | None = None
    seek_page: int = 1
    plateau: bool = False
    """More rows than a page changed within two seconds, so that seeking had to count pages."""
    began_at: datetime | None = None
    """Xero's clock when it served the first page."""
    here_at: datetime | None = None
    """Ours when that was committed."""
    fetched: int = 0
    walked: int = 0
    expected: int | None = None
    upserted: int = 0
    removed: int = 0
    skipped: dict[str, int] = {}
    pages_read: int = 0
    pages_expected: int | None = None
    tries: int = 1
    held: bool = False
    """A page of it is too strange to be committed unasked (`syncs.gates`)."""
    confirmed: bool = False
    """Somebody said that what was doubted is true: no gate closes for it any more."""
    done: bool = False

    def requests(self, in_flight: frozenset[tuple[int, int]]) -> Iterator[Request]:
        """The reads that could be made now, beside those in flight (page, seam), most wanted first."""
        if self.done:
            return
        if self.walk is Walk.SEEK:
            if not in_flight:
                yield self._request(self.seek_page, PAGE_SIZE, self.seek_at)
            return
        if self.one_by_one and in_flight:
            return
        for page in range(1, (self.pages_expected or 1) + 1):
            if page not in self.counts and (page, 0) not in in_flight:
                yield self._request(page, PAGE_SIZE, self.since)
                if self.one_by_one:
                    return
        for seam, size in self._torn_seams():
            if not any(seam == other for _, other in in_flight):
                page = seam * PAGE_SIZE // size + 1
                yield self._request(page, size, self.since, seam)

    def take(self, request: Request, page: Page) -> None:
        """Note that this page was read; it counts once it is committed."""
        self.began_at = self.began_at or page.served_at
        self.pages_read += 1
        if request.tries != self.tries:
            return
        if self.walk is Walk.SEEK:
            self._take_seek(page)
        elif request.seam:
            self._take_seam(request, page)
        else:
            self._take_page(request.query.page, page)

    def begin_again(self) -> None:
        """Walk the listing once more, page after page: its rows did not add up to what Xero counts."""
        self.counts, self.payables, self.mended, self.seam_sizes, self.walked = {}, {}, set(), {}, 0
        self.expected = self.pages_expected = None  # rows that Xero lists no more would be missed for good
        self.one_by_one, self.done = True, False
        self.tries += 1

    @property
    def is_listing(self) -> bool:
        """Whether it reads everything there is of its entity."""
        return self.walk is Walk.PAGES and self.since is None

    @property
    def begins_with_all(self) -> bool:
        """Whether its next page is the first one of all that there is: of its entity, or of the open ones."""
        return not self.pages_read and self.since is None and self.seek_at is None

    @property
    def may_have_moved(self) -> bool:
        """Whether something may have changed between its answers, or something was found to have."""
        if self.walk is Walk.SEEK:
            return False  # what moves there is met again in the listing itself
        return self.upserted > 0 if self.round else len(self.counts) > 1

    def _request(self, page: int, size: int, since: datetime | None, seam: int = 0) -> Request:
        order = Order.BY_CHANGE if self.walk is Walk.SEEK else Order.BY_ID
        query = Query(entity=self.entity, page=page, page_size=size, order=order, since=since, open_only=self.open_only)
        return Request(self.name, query, self.purpose, seam, self.tries)

    def _torn_seams(self) -> Iterator[tuple[int, int]]:
        """The pages behind which rows may have slipped through, each with the size of the read that mends it."""
        for page, count in self.counts.items():
            slipped = count - self.counts.get(page + 1, count)
            if slipped > 0 and page not in self.mended:
                needed = max(2 * slipped, self.seam_sizes.get(page, 0))  # twice: more may be created meanwhile
                yield page, next((size for size in SEAMS if size >= needed), SEAMS[-1])

    def _take_page(self, number: int, page: Page) -> None:
        self.counts[number] = page.item_count
        self.payables[number] = sum(page.skipped.values())
        self._expect(page.item_count, max(page.page_count, 1))
        self.walked += len(page.documents) + sum(page.skipped.values())
        self.fetched = max(self.fetched, self.walked)
        self._settle()

    def _take_seam(self, request: Request, page: Page) -> None:
        """The seam is mended if the read reached as far as rows can have slipped by now."""
        slipped = page.item_count - self.counts[request.seam + 1]
        self._expect(page.item_count, -(-page.item_count // PAGE_SIZE))
        if slipped <= request.query.page_size:
            self.mended.add(request.seam)
            self._settle()
        elif slipped <= SEAMS[-1]:
            self.seam_sizes[request.seam] = slipped
        else:
            self.begin_again()  # more than a page was created meanwhile: no read at a seam is long enough

    def _settle(self) -> None:
        pages = range(1, (self.pages_expected or 1) + 1)
        self.done = all(page in self.counts for page in pages) and not any(self._torn_seams())

    def _take_seek(self, page: Page) -> None:
        rows = len(page.documents) + sum(page.skipped.values())
        if self.expected is None:
            self._expect(page.item_count, max(page.page_count, 1))
        left = page.item_count - (self.seek_page - 1) * PAGE_SIZE - rows
        self.fetched = max(self.fetched, (self.expected or 0) - left)
        self.expected = max(self.expected or 0, self.fetched)
        if left <= 0 or page.last_change_at is None:
            self.done = True
            return
        seek_at = page.last_change_at.replace(microsecond=0) - SECOND
        if self.seek_at and seek_at <= self.seek_at:
            self.seek_page += 1
            self.plateau = True
        else:
            self.seek_at, self.seek_page = seek_at, 1

    def _expect(self, items: int, pages: int) -> None:
        self.expected = max(self.expected or 0, items)
        self.pages_expected = max(self.pages_expected or 0, pages)


class Plan:
    """All lines of one sync, in the order in which they are wanted."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = list(lines)

    def line(self, name: str) -> Line:
        """The line with this name."""
        return next(line for line in self.lines if line.name == name)

    def requests(self, in_flight: Sequence[Request]) -> Iterator[Request]:
        """The reads that could be made now, most wanted first."""
        for line in self.lines:
            mine = frozenset((r.query.page if not r.seam else 0, r.seam) for r in in_flight if r.line == line.name)
            yield from line.requests(mine)

    @property
    def phase(self) -> SyncPhase:
        """What is being read: the phase of the first line that is not done."""
        return next((line.phase for line in self.lines if not line.done), SyncPhase.SETTLED)

    @property
    def is_done(self) -> bool:
        """Whether every line is."""
        return all(line.done for line in self.lines)

    @property
    def is_collectible(self) -> bool:
        """Whether every open receivable is in."""
        ahead = [line for line in self.lines if line.phase is SyncPhase.OPEN_RECEIVABLES]
        if any(line.plateau for line in ahead):
            ahead = [line for line in self.lines if line.phase is not SyncPhase.CATCH_UP]
        return all(line.done for line in ahead)

    def catch_up(self, rounds: int) -> list[Line]:
        """The lines that read what changed while the others did; none when nothing can have.

        After the first round only what found changes is looked at again, and in so many rounds at most.
        """
        last = max((line.round for line in self.lines), default=0)
        if not self.is_done or last >= rounds:
            return []
        moved = [line for line in self.lines if line.round == last and line.may_have_moved and line.began_at]
        return [_catch_up(line) for line in moved]


def first_lines(entities: Collection[Entity]) -> list[Line]:
    """What a sync of everything begins with: what can be chased first, then the history."""
    ahead, history = SyncPhase.OPEN_RECEIVABLES, SyncPhase.HISTORY
    settings, first = Purpose.SETTINGS, Purpose.FIRST_SYNC
    lines = [
        Line(name="accounts", entity=Entity.ACCOUNTS, phase=ahead, purpose=settings),
        Line(name="contacts", entity=Entity.CONTACTS, phase=ahead, purpose=first),
        Line(name="open_invoices", entity=Entity.INVOICES, phase=ahead, purpose=first, walk=Walk.SEEK, open_only=True),
        Line(name="credit_notes", entity=Entity.CREDIT_NOTES, phase=ahead, purpose=first),
        Line(name="overpayments", entity=Entity.OVERPAYMENTS, phase=ahead, purpose=first),
        Line(name="prepayments", entity=Entity.PREPAYMENTS, phase=ahead, purpose=first),
        Line(name="invoices", entity=Entity.INVOICES, phase=history, purpose=first),
        Line(name="payments", entity=Entity.PAYMENTS, phase=history, purpose=first),
    ]
    return [line for line in lines if line.entity in entities]


def incremental_lines(entities: Collection[Entity], watermarks: Mapping[Entity, datetime]) -> list[Line]:
    """What a sync of changes reads; an entity that was never read to its end is read whole."""
    known = [entity for entity in Entity if entity in entities and entity in watermarks]
    changes = [
        Line(
            name=f"changed_{entity}",
            entity=entity,
            phase=SyncPhase.CATCH_UP,
            purpose=Purpose.POLL,
            since=watermarks[entity] - OVERLAP,
        )
        for entity in known
    ]
    return [*first_lines([entity for entity in entities if entity not in watermarks]), *changes]


def _catch_up(line: Line) -> Line:
    assert line.began_at is not None
    return Line(
        name=f"{line.entity}_again_{line.round + 1}",
        entity=line.entity,
        phase=SyncPhase.CATCH_UP,
        purpose=Purpose.CATCH_UP,
        since=line.began_at - OVERLAP,
        round=line.round + 1,
    )
