"""Syncs at their edges: what ends them, what parks them, what they count as whole, and what their watchers hear."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from sqlalchemy import delete, select

import databases
from documents import invoice, payment
from fakes import BooksOf, World
from tieout_server.clock import from_micros, to_micros
from tieout_server.connections.messages import Connect, Disconnect, Reconnect, Return
from tieout_server.connections.tokens import TokensOf
from tieout_server.errors import (
    AccessRevokedError,
    AppRejectedError,
    CallLimitError,
    InvalidRequestError,
    NotPermittedNowError,
    PersonMustActError,
    RequestIdReusedError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.events import feed, token
from tieout_server.ledger.books import Books, Page, Purpose, Query
from tieout_server.ledger.documents import CREDITS, Entity
from tieout_server.ledger.links import Link, Owner, ReasonCode
from tieout_server.reconciliations.known import known_up_to
from tieout_server.storage import mirror, tables, watermarks, work
from tieout_server.storage import syncs as stored
from tieout_server.storage.connections import Scope
from tieout_server.storage.syncs import Resolution, SyncFault, SyncRecord
from tieout_server.storage.vault import Vault
from tieout_server.storage.work import Lease, Task
from tieout_server.syncs import plan, run, skips, watch
from tieout_server.syncs.means import COMPARE, SWEEP, SYNCING
from tieout_server.syncs.run import Run
from tieout_server.syncs.service import ResolveHeldSync, StartSync
from tieout_server.syncs.state import AT_WORK, Decision, Milestone, SyncMode
from tieout_server.syncs.watch import Seen
from tieout_server.work.engine import Job, LostLeaseError, Priority
from tieout_server.xero.books import XeroBooks
from tieout_server.xero.transport import Access, Fetched, Request, Transport

pytestmark = pytest.mark.timeout(60)

Answer = Callable[[BooksOf, Query], Any]


@pytest.fixture
async def link(around: World) -> Link:
    """A connection whose first sync has begun and read nothing yet."""
    return await connected(around)


async def consent(around: World, started: Any) -> Link:  # noqa: ANN401 - what Connect or Reconnect gave
    state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
    link = (await around.connections.complete(Return(state, "code"))).link
    lease = await take(around, link.id, "after_consent")
    assert lease
    await around.subjects.syncs.begin(Job(lease))
    await give_back(around, lease)
    return link


async def connected(around: World) -> Link:
    return await consent(around, await around.connections.connect(Connect("acme")))


async def take(around: World, connection_id: str, kind: str = SYNCING) -> Lease | None:
    return await databases.take(around.database, Task(kind, connection_id, "read"), now=around.clock.now())


async def give_back(around: World, lease: Lease, again_at: datetime | None = None) -> None:
    async with around.database.write() as tx:
        await work.finish(tx, lease, again_at=again_at)


async def do_slice(around: World, connection_id: str) -> datetime | None:
    """One slice of the connection's sync, as the engine does it; answers when to go on."""
    lease = await take(around, connection_id)
    assert lease, "nothing is due"
    again_at = await around.subjects.syncs.perform(Job(lease))
    await give_back(around, lease, again_at)
    return again_at


async def newest(around: World, connection_id: str) -> SyncRecord:
    async with around.database.read() as tx:
        sync = await stored.latest(tx, connection_id)
    assert sync
    return sync


async def marks(around: World) -> dict[str, datetime]:
    async with around.database.read() as tx:
        rows = await tx.execute(select(tables.watermarks.c.entity, tables.watermarks.c.watermark_at))
        return {row.entity: from_micros(row.watermark_at) for row in rows}


def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[Entity, Answer]) -> None:
    """Listings of these entities answer this, whatever the others do."""
    real = BooksOf.read

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
        if query.entity not in answers:
            return await real(books, query, purpose)
        answer = answers[query.entity](books, query)
        return answer if isinstance(answer, Page) else await answer

    monkeypatch.setattr(BooksOf, "read", read)


def failing(monkeypatch: pytest.MonkeyPatch, trouble: TieoutError) -> None:
    async def read(_books: BooksOf, _query: Query, _purpose: Purpose) -> Page:
        raise trouble

    monkeypatch.setattr(BooksOf, "read", read)


def empty_page(books: BooksOf, **stated: Any) -> Page:  # noqa: ANN401 - any field of a page
    empty: dict[str, Any] = {"documents": (), "page_count": 1, "item_count": 0}
    return Page(**(empty | {"served_at": books.xero.clock.now()} | stated))


# An operator's trouble


def reject_the_app(_around: World, patch: pytest.MonkeyPatch) -> None:
    failing(patch, AppRejectedError("Xero does not accept this app.", error="invalid_client"))


def change_the_vault_key(around: World, patch: pytest.MonkeyPatch) -> None:
    """Reading needs a token, as it does behind the real books, and the token does not open."""
    tokens = around.connections._means.tokens
    patch.setattr(tokens, "_vault", Vault({"test": bytes(31) + b"!"}))
    tokens._forget("user-1")
    real = BooksOf.read

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
        await TokensOf(tokens, "user-1").access_token()
        return await real(books, query, purpose)

    patch.setattr(BooksOf, "read", read)


@pytest.mark.parametrize("misconfigure", [reject_the_app, change_the_vault_key])
async def test_what_only_an_operator_can_put_right_parks_the_sync_asks_no_merchant_and_goes_on_by_itself(
    around: World, link: Link, misconfigure: Callable[[World, pytest.MonkeyPatch], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        misconfigure(around, patch)
        for _ in range(2):
            again_at = await do_slice(around, link.id)
            assert again_at is not None
            assert again_at > around.clock.now()
            sync, now = await newest(around, link.id), await around.connections.get(link.id)
            assert (sync.state, sync.waiting_by, sync.fault) == ("WAITING", "OPERATOR", None)
            assert (now.state, now.health) == ("CONNECTED", "DEGRADED")
            assert now.reason
            assert (now.reason.code, now.reason.owner) == (ReasonCode.SERVICE_MISCONFIGURED, Owner.OPERATOR)
            around.clock.time = again_at
    await do_slice(around, link.id)
    sync, now = await newest(around, link.id), await around.connections.get(link.id)
    assert (sync.state, sync.waiting_by) == ("SUCCEEDED", "")
    assert (now.state, now.health, now.reason) == ("CONNECTED", "OK", None)


# A person's trouble


def disconnect_in_xero(around: World) -> AccessRevokedError:
    """Somebody removes the app in Xero; this is what every call says from now on."""
    around.xero.is_linked = False
    around.xero.refusal = refusal = AccessRevokedError("The organisation disconnected us.")
    return refusal


def link_again(around: World) -> None:
    around.xero.is_linked, around.xero.refusal = True, None


class Killed(BaseException):
    """The process ends here."""


async def test_killed_between_the_connections_end_and_the_syncs_the_next_slice_fails_the_sync(
    around: World, link: Link
) -> None:
    async def killed(*_: object) -> None:
        raise Killed

    lease = await take(around, link.id)
    assert lease
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, disconnect_in_xero(around))
        patch.setattr(Run, "end_with_connection", killed)
        with pytest.raises(Killed):
            await around.subjects.syncs.perform(Job(lease))
    assert (await around.connections.get(link.id)).state == "RECONNECT_REQUIRED"
    assert (await newest(around, link.id)).state == "QUEUED"
    around.clock.time += databases.MISSED_AFTER + timedelta(seconds=1)
    assert await do_slice(around, link.id) is None
    sync = await newest(around, link.id)
    assert sync.fault
    assert (sync.state, sync.fault.reason, sync.fault.owner) == ("FAILED", "RECONNECT_REQUIRED", "MERCHANT")
    broken = await around.connections.get(link.id)
    assert broken.reason
    assert broken.reason.code is ReasonCode.DISCONNECTED_IN_XERO, "the first reason stays"


async def test_who_has_consented_by_the_time_that_a_refused_sync_would_end_has_it_go_on(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Run.end_with_connection

    async def late(run: Run, refusal: PersonMustActError) -> datetime | None:
        link_again(around)
        await consent(around, await around.connections.reconnect(Reconnect(link.id)))
        joined = await around.subjects.syncs.start(StartSync(link.id))
        assert (joined.joined, joined.sync.id) == (True, run.sync.id)
        return await real(run, refusal)

    with monkeypatch.context() as patch:
        failing(patch, disconnect_in_xero(around))
        patch.setattr(Run, "end_with_connection", late)
        assert await do_slice(around, link.id) == around.clock.now()
    await do_slice(around, link.id)
    assert (await newest(around, link.id)).state == "SUCCEEDED"


def killed_after_its_run(patch: pytest.MonkeyPatch) -> None:
    """Let the process end as soon as a sync has committed how far it has come in its slice."""
    real = Run.go_on

    async def killed(run: Run, books: Books) -> datetime | None:
        await real(run, books)
        raise Killed

    patch.setattr(Run, "go_on", killed)


async def test_killed_right_after_a_sync_was_parked_its_connection_says_why(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, CallLimitError("The day is used up.", "day", around.clock.now() + timedelta(hours=9)))
    killed_after_its_run(monkeypatch)
    with pytest.raises(Killed):
        await do_slice(around, link.id)
    sync, now = await newest(around, link.id), await around.connections.get(link.id)
    assert (sync.state, sync.waiting_by) == ("WAITING", "DAY_LIMIT")
    assert now.reason
    assert (now.health, now.reason.code) == ("DEGRADED", ReasonCode.DAY_LIMIT_REACHED)


async def test_killed_right_after_a_sync_has_ended_nothing_of_what_follows_from_it_is_missing(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = XeroUnavailableError("It is down.")
    with monkeypatch.context() as patch:
        failing(patch, down)
        around.clock.time = await do_slice(around, link.id) or around.clock.time
    assert (await around.connections.get(link.id)).health == "DEGRADED"
    async with around.database.write() as tx:
        for kind in (SWEEP, COMPARE):
            await tx.execute(delete(tables.work).where(tables.work.c.kind == kind))
    killed_after_its_run(monkeypatch)
    with pytest.raises(Killed):
        await do_slice(around, link.id)
    assert (await newest(around, link.id)).state == "SUCCEEDED"
    now = await around.connections.get(link.id)
    assert (now.health, now.reason, now.last_synced_at) == ("OK", None, around.clock.now())
    async with around.database.read() as tx:
        due = select(tables.work.c.kind).where(tables.work.c.due_at <= to_micros(around.clock.now()))
        assert {SWEEP, COMPARE} <= set((await tx.execute(due)).scalars())


async def test_what_was_read_before_a_sync_stood_still_is_as_old_as_it_is(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    while await do_slice(around, link.id):
        pass
    around.clock.time += timedelta(hours=1)
    began_at = around.clock.now()
    await around.subjects.syncs.start(StartSync(link.id))
    monkeypatch.setattr(run, "AT_ONCE", 1)  # one after the other, payments last
    with monkeypatch.context() as patch:
        down = XeroUnavailableError("It is down.")

        async def is_down(*_: object) -> Page:
            raise down

        answering(patch, {Entity.PAYMENTS: is_down})
        await do_slice(around, link.id)
    around.clock.time += timedelta(hours=3)
    await do_slice(around, link.id)
    assert (await newest(around, link.id)).state == "SUCCEEDED"
    async with around.database.read() as tx:
        read = await watermarks.every(tx, link.id)
        assert await known_up_to(tx, link.id) == began_at
    assert read[Entity.PAYMENTS].last_read_at == around.clock.now()
    assert {read[one].last_read_at for one in (Entity.INVOICES, *CREDITS)} == {began_at}


async def test_after_a_reconnect_what_was_missed_is_read(around: World, link: Link) -> None:
    await do_slice(around, link.id)
    await around.connections.access_lost(link.id, disconnect_in_xero(around))
    link_again(around)
    await consent(around, await around.connections.reconnect(Reconnect(link.id)))
    assert await do_slice(around, link.id) is None
    sync = await newest(around, link.id)
    assert (sync.ordinal, sync.state, sync.mode, sync.requested_by) == (2, "SUCCEEDED", "INCREMENTAL", "reconnect")


async def test_a_connection_that_was_disconnected_right_after_its_consent_is_not_synced(around: World) -> None:
    started = await around.connections.connect(Connect("acme"))
    state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
    link = (await around.connections.complete(Return(state, "code"))).link
    await around.connections.disconnect(Disconnect(link.id, purge_data=True))
    lease = await take(around, link.id, "after_consent")
    assert lease
    assert await around.subjects.syncs.begin(Job(lease)) is None
    assert await all_syncs(around, link.id) == []


async def test_a_sync_of_one_entity_that_was_first_after_a_break_does_not_keep_the_rest_from_being_read(
    around: World, link: Link
) -> None:
    while await do_slice(around, link.id):
        pass
    await around.connections.access_lost(link.id, disconnect_in_xero(around))
    link_again(around)
    assert (await around.connections.check(link.id)).link.gap_from_at
    await around.subjects.syncs.start(StartSync(link.id, entities=(Entity.CONTACTS,)))
    lease = await take(around, link.id, "after_consent")
    assert lease
    again_at = await around.subjects.syncs.begin(Job(lease))
    assert again_at
    assert again_at > around.clock.now()
    while await do_slice(around, link.id):
        pass
    assert await around.subjects.syncs.begin(Job(lease)) is None
    while await do_slice(around, link.id):
        pass
    assert (await around.connections.get(link.id)).gap_from_at is None


async def test_what_was_voided_during_a_break_is_counted_among_what_was_caught_up(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [invoice(updated_at=around.clock.now())]

    def listed(books: BooksOf, query: Query) -> Page:
        found = tuple(it for it in here if it.status == "AUTHORISED" or not query.open_only)
        return empty_page(books, documents=found, item_count=len(found))

    answering(monkeypatch, {Entity.INVOICES: listed})
    link = await connected(around)
    while await do_slice(around, link.id):
        pass
    await around.connections.access_lost(link.id, disconnect_in_xero(around))
    around.clock.time += timedelta(days=1)
    here[0] = msgspec.structs.replace(here[0], status="VOIDED", updated_at=around.clock.now())
    link_again(around)
    await around.connections.check(link.id)
    lease = await take(around, link.id, "after_consent")
    assert lease
    await around.subjects.syncs.begin(Job(lease))
    while await do_slice(around, link.id):
        pass
    gap = (await around.connections.history(link.id, before=None, limit=1))[0].gap
    assert gap
    assert gap.changes == 1


async def test_a_consent_that_comes_while_a_slice_still_finds_the_connection_broken_is_not_undone(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    await around.connections.access_lost(link.id, disconnect_in_xero(around))
    real = around.connections.access_lost

    async def access_lost(connection_id: str, error: PersonMustActError) -> Link:
        link_again(around)
        await consent(around, await around.connections.reconnect(Reconnect(link.id)))
        return await real(connection_id, error)

    monkeypatch.setattr(around.connections, "access_lost", access_lost)
    await do_slice(around, link.id)
    assert (await around.connections.get(link.id)).state == "CONNECTED"


@pytest.mark.parametrize(
    "trouble",
    [
        XeroUnavailableError("Xero cannot be reached."),
        AccessRevokedError("The organisation disconnected us."),
        UnexpectedAnswerError("Xero answered what nobody documented."),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
async def test_a_sync_that_is_cancelled_just_as_trouble_comes_simply_ends(
    around: World, link: Link, trouble: TieoutError, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = await newest(around, link.id)

    async def read(_books: BooksOf, _query: Query, _purpose: Purpose) -> Page:
        await around.subjects.syncs.cancel(sync.id)
        raise trouble

    monkeypatch.setattr(BooksOf, "read", read)
    assert await do_slice(around, link.id) is None
    assert (await newest(around, link.id)).state == "CANCELLED"


# What counts as whole


async def test_a_listing_whose_payables_would_have_to_be_counted_twice_is_not_complete(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Xero counts 900 and serves 600 payables: 300 are missing, and two walks do not make 1,200 of 600."""
    page = {"skipped": {skips.NOT_RECEIVABLE: 600}, "item_count": 900}
    answering(monkeypatch, {Entity.CREDIT_NOTES: lambda books, _: empty_page(books, **page)})
    assert await do_slice(around, link.id) is None
    sync = await newest(around, link.id)
    assert sync.fault
    assert (sync.state, sync.fault.owner) == ("FAILED", "OPERATOR")
    assert Milestone.HISTORY_COMPLETE not in sync.milestones


async def test_a_listing_that_holds_payables_adds_up_with_them(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = {"skipped": {skips.NOT_RECEIVABLE: 600}, "item_count": 600}
    answering(monkeypatch, {Entity.CREDIT_NOTES: lambda books, _: empty_page(books, **page)})
    await do_slice(around, link.id)
    assert (await newest(around, link.id)).state == "SUCCEEDED"


async def test_rows_that_xero_lists_no_more_once_they_are_deleted_do_not_fail_the_sync(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Xero may leave deleted payments out of its lists (UNSURE register, U5): one goes between the pages of a walk."""
    monkeypatch.setattr(plan, "PAGE_SIZE", 10)
    monkeypatch.setattr(plan, "SEAMS", (1, 2, 5, 10))
    listed = [payment(f"p{number:02}") for number in range(11)]

    async def page(books: BooksOf, query: Query) -> Page:
        first, count = (query.page - 1) * query.page_size, len(listed)
        shown = listed[first : first + query.page_size]
        del listed[10:]
        return empty_page(books, documents=shown, page_count=-(-count // query.page_size), item_count=count)

    answering(monkeypatch, {Entity.PAYMENTS: page})
    assert await do_slice(around, link.id) is None
    sync = await newest(around, link.id)
    assert (sync.state, sync.fault) == ("SUCCEEDED", None)
    async with around.database.read() as tx:
        assert (await mirror.count_rows(tx, link.id))[Entity.PAYMENTS] == 10


def test_a_walk_that_begins_again_has_counted_no_payables() -> None:
    line = plan.first_lines((Entity.CREDIT_NOTES,))[0]
    request = next(line.requests(frozenset()))
    page = Page(
        documents=(), page_count=1, item_count=3, served_at=datetime(2026, 11, 22, tzinfo=UTC), skipped={"PAYABLE": 3}
    )
    line.take(request, page)
    assert line.payables == {1: 3}
    line.begin_again()
    assert line.payables == {}
    line.take(request, page)
    assert line.payables == {}, "what was asked for before counts for the walk before"


async def test_the_first_sync_covers_everything_whatever_was_asked(around: World, link: Link) -> None:
    begun = await newest(around, link.id)
    await around.subjects.syncs.cancel(begun.id)
    asked = StartSync(link.id, SyncMode.INCREMENTAL, (Entity.PAYMENTS,))
    first = (await around.subjects.syncs.start(asked)).sync
    assert (first.mode, set(first.entities)) == ("FULL", set(Entity))
    await do_slice(around, link.id)
    assert set((await newest(around, link.id)).milestones) == set(Milestone)
    assert set(await marks(around)) == set(Entity)


@pytest.mark.parametrize(
    ("mode", "entities", "reached"),
    [
        (SyncMode.FULL, (), set(Milestone)),
        (SyncMode.FULL, (Entity.PAYMENTS,), set()),
        (SyncMode.FULL, (Entity.CONTACTS, Entity.INVOICES), set()),
        (SyncMode.INCREMENTAL, (), set()),
    ],
)
async def test_only_a_full_sync_of_everything_reaches_milestones(
    around: World, link: Link, mode: SyncMode, entities: tuple[Entity, ...], reached: set[Milestone]
) -> None:
    await do_slice(around, link.id)
    await around.subjects.syncs.start(StartSync(link.id, mode, entities))
    await do_slice(around, link.id)
    sync = await newest(around, link.id)
    assert (sync.ordinal, sync.state, sync.mode) == (2, "SUCCEEDED", mode)
    assert set(sync.milestones) == reached


class NothingChanged(Transport):
    """Xero answers 304 to everything."""

    def __init__(self) -> None: ...

    async def fetch(self, access: Access, request: Request, decode: Callable[[bytes], Any]) -> Fetched[Any]:  # noqa: ARG002 - nothing to look at
        return Fetched(decode(b""), 0)


async def test_an_answer_that_nothing_changed_does_not_move_a_watermark_by_our_clock(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    await do_slice(around, link.id)
    before = await marks(around)
    around.clock.time += timedelta(hours=2)  # ours may be that far ahead of Xero's
    theirs = XeroBooks(
        NothingChanged(), Access("tenant", TokensOf(around.connections._means.tokens, "-")), around.clock
    )
    monkeypatch.setattr(BooksOf, "read", lambda _, query, purpose: theirs.read(query, purpose))
    await around.subjects.syncs.start(StartSync(link.id))
    await do_slice(around, link.id)
    assert (await newest(around, link.id)).state == "SUCCEEDED"
    assert await marks(around) == before


# Staying the owner, and letting go


class HangingReads:
    """Reads that wait, as they do behind a limit, until the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_asked, self.go = asyncio.Event(), asyncio.Event()
        real = BooksOf.read

        async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
            self.is_asked.set()
            await self.go.wait()
            return await real(books, query, purpose)

        monkeypatch.setattr(BooksOf, "read", read)


async def test_nobody_else_gets_the_work_while_calls_wait(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = HangingReads(monkeypatch)
    slice_ = asyncio.create_task(do_slice(around, link.id))
    await reads.is_asked.wait()
    for _ in range(4):
        around.clock.time += databases.MISSED_AFTER - timedelta(seconds=1)
        async with around.database.write() as tx:
            await databases.show_life(tx, "the test", around.clock.now())
        assert await take(around, link.id) is None
    reads.go.set()
    while (again_at := await slice_) is not None:  # the slice was over long ago
        slice_ = asyncio.create_task(do_slice(around, link.id))
        assert again_at <= around.clock.now()
    assert (await newest(around, link.id)).state == "SUCCEEDED"


async def test_what_was_read_after_the_work_was_taken_over_is_not_committed(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = HangingReads(monkeypatch)
    slice_ = asyncio.create_task(do_slice(around, link.id))
    await reads.is_asked.wait()
    around.clock.time += databases.MISSED_AFTER + timedelta(seconds=1)
    task = Task(SYNCING, link.id, "read")
    assert await databases.take(around.database, task, now=around.clock.now(), owner="another one")
    before = await marks(around), await newest(around, link.id)
    reads.go.set()
    with pytest.raises(LostLeaseError):
        await slice_
    assert (await marks(around), await newest(around, link.id)) == before


async def test_a_stopped_engine_frees_its_work_at_once(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = HangingReads(monkeypatch)
    running = asyncio.create_task(around.connections._means.engine.run())
    await reads.is_asked.wait()
    assert (await work_row(around, link.id)).owner != ""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    row = await work_row(around, link.id)
    assert (row.owner, row.due_at) == ("", around.clock.now())
    reads.go.set()
    assert await do_slice(around, link.id) is None
    assert (await newest(around, link.id)).state == "SUCCEEDED"


class WorkRow(msgspec.Struct):
    """Who does the work, and when it is due."""

    owner: str
    due_at: datetime | None


async def work_row(around: World, connection_id: str) -> WorkRow:
    columns = tables.work.c.owner, tables.work.c.due_at
    query = select(*columns).where(tables.work.c.connection_id == connection_id, tables.work.c.kind == SYNCING)
    async with around.database.read() as tx:
        owner, due_at = (await tx.execute(query)).one()
    return WorkRow(owner, None if due_at is None else from_micros(due_at))


async def test_a_sync_that_was_cancelled_is_not_begun_again_by_the_work_it_leaves(around: World, link: Link) -> None:
    await around.subjects.syncs.cancel((await newest(around, link.id)).id)
    async with around.database.write() as tx:
        await around.connections._means.engine.wake(tx, SYNCING, link.id, priority=Priority.ASKED)
    assert await do_slice(around, link.id) is None
    assert [(s.ordinal, s.state) for s in await all_syncs(around, link.id)] == [(1, "CANCELLED")]


async def all_syncs(around: World, connection_id: str) -> Sequence[SyncRecord]:
    return await around.subjects.syncs.page(connection_id, states=(), before=None, limit=10)


# Watching what has ended


async def told(around: World, sync_id: str, after: str = "") -> list[Any]:
    return [seen.progress for seen in await watched(around, sync_id, after)]


async def watched(around: World, sync_id: str, after: str = "") -> list[Seen]:
    return [seen async for seen in around.subjects.sync_watch.of_sync(sync_id, after)]


async def test_a_watch_of_an_ended_sync_replays_by_pages_what_came_after_any_token_and_ends_with_its_last_state(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_at = (await around.connections.snapshot(Scope(), empty=True)).position
    await do_slice(around, link.id)
    await around.connections.reconnect(Reconnect(link.id))  # the log goes on behind the sync's end
    sync = await newest(around, link.id)
    monkeypatch.setattr(watch, "PAGE", 3)
    story = await watched(around, sync.id, token.encode(begun_at))
    assert len(story) > 2 * watch.PAGE
    assert all(one.position < other.position for one, other in pairwise(story))
    last = (await around.connections.snapshot(Scope(), empty=True)).position
    for position in range(begun_at, last + 1):
        seen = await watched(around, sync.id, token.encode(position))
        missed = [one for one in story if one.position > position]
        assert seen[: len(missed)] == missed
        assert len(seen) == max(1, len(missed))
        assert seen[-1].progress
        assert seen[-1].progress.sync == sync
    (only,) = await watched(around, sync.id)
    assert only.progress
    assert only.progress.sync == sync


async def test_a_watch_of_an_ended_sync_refuses_a_token_that_was_never_given_out(around: World, link: Link) -> None:
    await do_slice(around, link.id)
    with pytest.raises(InvalidRequestError):
        await watched(around, (await newest(around, link.id)).id, token.encode(10**9))


async def test_a_watch_tells_all_until_the_sync_ends_and_ends_with_it(around: World, link: Link) -> None:
    watching = around.subjects.sync_watch.of_sync((await newest(around, link.id)).id, "")
    seen = [await anext(watching)]
    await do_slice(around, link.id)
    seen += [one async for one in watching]
    told_of = [one.progress.sync for one in seen if one.progress]
    assert (told_of[0].state, told_of[-1].state) == ("QUEUED", "SUCCEEDED")
    percents = [sync.percent for sync in told_of]
    assert percents == sorted(percents)


@pytest.mark.parametrize("of", ["sync", "connection"])
async def test_whoever_resumes_at_the_end_of_the_log_is_not_told_again_what_they_know(
    around: World, link: Link, of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT", 0.01)
    watches = around.subjects.sync_watch
    watch_it = partial(watches.of_connection, link.id)
    if of == "sync":
        watch_it = partial(watches.of_sync, (await newest(around, link.id)).id)
    async with aclosing(watch_it("")) as told:
        first = await anext(told)
    async with aclosing(watch_it(token.encode(first.position))) as told:
        resumed = await anext(told)
    assert first.progress
    assert resumed == Seen(first.position)


# A sync that is held


async def hold(around: World, connection_id: str) -> SyncRecord:
    sync = await newest(around, connection_id)
    held = msgspec.structs.replace(sync, state="HELD", fault=SyncFault("TOO_MANY_REMOVED", "Too many.", "OPERATOR"))
    async with around.database.write() as tx:
        assert await stored.save(tx, held, while_in=AT_WORK)
    return held


async def test_a_decision_that_is_repeated_gets_its_first_answer_and_another_one_is_refused(
    around: World, link: Link
) -> None:
    held, service = await hold(around, link.id), around.subjects.syncs
    assert await do_slice(around, link.id) is None, "a sync that is held does nothing"
    asked = ResolveHeldSync(held.id, Decision.DISCARD, "a mishap", "r1")
    first = await service.resolve(asked)
    assert (first.state, first.fault, first.ended_at) == ("CANCELLED", held.fault, around.clock.now())
    assert first.resolution == Resolution("DISCARD", "a mishap", around.clock.now())
    assert await service.resolve(asked) == first
    assert await service.resolve(ResolveHeldSync(held.id, Decision.DISCARD)) == first
    assert (await told(around, held.id))[-1].sync == first
    with pytest.raises(RequestIdReusedError):
        await service.resolve(ResolveHeldSync(held.id, Decision.CONFIRM, "a mishap", "r1"))
    with pytest.raises(NotPermittedNowError):
        await service.resolve(ResolveHeldSync(held.id, Decision.CONFIRM))


async def test_a_sync_that_is_confirmed_goes_on_where_it_stood(around: World, link: Link) -> None:
    held = await hold(around, link.id)
    confirmed = await around.subjects.syncs.resolve(ResolveHeldSync(held.id, Decision.CONFIRM))
    assert (confirmed.state, confirmed.fault) == ("RUNNING", None)
    await do_slice(around, link.id)
    assert (await newest(around, link.id)).state == "SUCCEEDED"
