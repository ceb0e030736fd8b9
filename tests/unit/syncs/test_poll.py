"""Polling at its edges: when it reads, when it stands back, what trouble parks it, and what a bug may not hold up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from sqlalchemy import select

from databases import take
from documents import contact, credit, invoice, payment
from fakes import BooksOf, World
from tieout_server.connections.messages import Connect, Reconnect, Return
from tieout_server.errors import (
    AccessRevokedError,
    CallLimitError,
    PersonMustActError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.events.feed import CHANGES
from tieout_server.ledger.books import Page, Purpose, Query
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import Document, Entity, Invoice
from tieout_server.ledger.links import Link, ReasonCode
from tieout_server.storage import calls, live, mirror, sweeps, syncs, tables, watermarks, webhooks, work
from tieout_server.storage.calls import DAY_LIMIT_HOLDS
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.sweeps import Sweep
from tieout_server.storage.syncs import SyncRecord
from tieout_server.storage.watermarks import Watermark
from tieout_server.storage.work import Task
from tieout_server.syncs import schedule
from tieout_server.syncs.means import POLL, SWEEP, SYNCING
from tieout_server.syncs.plan import OVERLAP
from tieout_server.syncs.reading import STAND_BACK
from tieout_server.syncs.service import ResolveHeldSync, StartSync
from tieout_server.syncs.state import ACTIVE, Decision, SyncMode, SyncState
from tieout_server.syncs.sweep import Item
from tieout_server.syncs.trouble import AGAIN_AFTER
from tieout_server.work.engine import Job

pytestmark = pytest.mark.timeout(60)
Asked = list[tuple[Query, Purpose]]


@pytest.fixture
async def link(around: World) -> Link:
    """A connection whose first sync has succeeded."""
    started = await around.connections.connect(Connect("acme"))
    state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
    link = (await around.connections.complete(Return(state, "code"))).link
    await do(around, link, "after_consent", around.subjects.syncs.begin)
    await do(around, link, SYNCING, around.subjects.syncs.perform)
    return await around.connections.get(link.id)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the books are asked for."""
    noted: Asked = []
    count(monkeypatch, noted)
    return noted


async def do(around: World, link: Link, kind: str, perform: Callable[[Job], object]) -> datetime | None:
    """One slice of this work, as the engine does it; answers when to go on."""
    lease = await take(around.database, Task(kind, link.id, "read"), now=around.clock.now())
    assert lease, f"no {kind} is due"
    again_at: datetime | None = await perform(Job(lease))  # type: ignore[misc] # each of them is a coroutine function
    async with around.database.write() as tx:
        await work.finish(tx, lease, again_at=again_at)
    return again_at


async def poll(around: World, link: Link, *, after: timedelta = schedule.OFTEN) -> datetime | None:
    around.clock.time += after
    return await do(around, link, POLL, around.polls.perform)


async def marks(around: World, link: Link) -> dict[Entity, Watermark]:
    async with around.database.read() as tx:
        return dict(await watermarks.every(tx, link.id))


def refuse(monkeypatch: pytest.MonkeyPatch, trouble: TieoutError, entity: Entity | None = None) -> None:
    real = BooksOf.read

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
        if entity in (None, query.entity):
            raise trouble.with_traceback(None)  # the same one each time: what it drags along must not grow
        return await real(books, query, purpose)

    monkeypatch.setattr(BooksOf, "read", read)


async def test_everything_but_the_accounts_is_asked_what_changed_since_its_watermark(
    around: World, link: Link, asked: Asked
) -> None:
    before = await marks(around, link)
    again_at = await poll(around, link)
    assert [query.entity for query, _ in asked] == [
        Entity.CONTACTS, Entity.INVOICES, Entity.CREDIT_NOTES, Entity.OVERPAYMENTS, Entity.PREPAYMENTS, Entity.PAYMENTS,
    ]  # fmt: skip
    assert {purpose for _, purpose in asked} == {Purpose.POLL}
    assert all(query.since == before[query.entity].watermark_at - OVERLAP for query, _ in asked)
    now = around.clock.now()
    after = await marks(around, link)
    assert again_at == after[Entity.PAYMENTS].next_read_at == now + schedule.OFTEN
    assert after[Entity.PAYMENTS].watermark_at == after[Entity.PAYMENTS].last_read_at == now
    assert after[Entity.ACCOUNTS] == before[Entity.ACCOUNTS]


async def test_what_was_read_in_part_is_not_said_to_be_read(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await marks(around, link)
    around.clock.time += schedule.OFTEN
    now = around.clock.now()
    real = BooksOf.read
    first = Page(documents=(), page_count=2, item_count=1_001, served_at=now, last_change_at=now)

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
        if query.entity is not Entity.INVOICES:
            return await real(books, query, purpose)
        if query.since != before[Entity.INVOICES].watermark_at - OVERLAP:
            raise CallLimitError("The day is used up.", "day", now + timedelta(hours=6))
        return first

    monkeypatch.setattr(BooksOf, "read", read)
    await poll(around, link, after=timedelta())
    after = await marks(around, link)
    assert after[Entity.INVOICES].watermark_at > before[Entity.INVOICES].watermark_at
    assert after[Entity.INVOICES].last_read_at == before[Entity.INVOICES].last_read_at


async def test_what_is_not_due_is_not_read(around: World, link: Link, asked: Asked) -> None:
    await poll(around, link)
    asked.clear()
    await poll(around, link)
    assert [query.entity for query, _ in asked] == [Entity.PAYMENTS]  # the day's limit is not known: a small one


async def test_behind_webhooks_the_others_are_a_backstop(around: World, link: Link) -> None:
    async with around.database.write() as tx:
        await webhooks.heard(tx, around.clock.now())
    await poll(around, link)
    planned = await marks(around, link)
    assert planned[Entity.INVOICES].next_read_at == around.clock.now() + schedule.QUIET_BACKSTOP


async def test_the_days_limit_is_remembered_for_the_next_process(around: World, link: Link) -> None:
    around.xero.allowance = Allowance(0, 60, 4_900, day_limit=5_000)
    await poll(around, link)
    around.xero.allowance = Allowance(0, 60, 900, day_limit=1_000)  # a new process, late in the day
    await poll(around, link)
    async with around.database.read() as tx:
        assert await calls.day_limit(tx, link.xero_tenant_id, around.clock.now() - DAY_LIMIT_HOLDS) == 5_000
    freshness = await around.subjects.freshness.connection(link.id)
    assert freshness.allowance.day_limit == 5_000
    assert all(one.next_read_at for one in freshness.entities)


async def test_a_days_limit_that_was_seen_no_more_is_believed_no_longer(around: World, link: Link) -> None:
    around.xero.allowance = Allowance(0, 60, 4_900, day_limit=5_000)
    await poll(around, link)
    await poll(around, link, after=timedelta(hours=2))
    around.xero.allowance = Allowance(0, 60, 999, day_limit=1_000)  # the merchant has gone to the smallest tier
    await poll(around, link, after=DAY_LIMIT_HOLDS)
    assert (await around.subjects.freshness.connection(link.id)).allowance.day_limit == 5_000
    await poll(around, link, after=timedelta(hours=1))
    assert (await around.subjects.freshness.connection(link.id)).allowance.day_limit == 1_000


async def test_what_changed_is_kept_told_of_and_makes_its_entity_an_active_one(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = around.clock.now()
    page = Page(documents=[invoice(updated_at=now)], page_count=1, item_count=1, served_at=now, last_change_at=now)
    real = BooksOf.read

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
        return page if query.entity is Entity.INVOICES else await real(books, query, purpose)

    monkeypatch.setattr(BooksOf, "read", read)
    await poll(around, link)
    async with around.database.read() as tx:
        told = (await tx.execute(select(tables.events.c.connection_id).where(tables.events.c.topic == CHANGES))).all()
    assert told == [(link.id,)]
    moved = {entity for entity, mark in (await marks(around, link)).items() if mark.moved_at}
    assert moved == {Entity.INVOICES}
    async with around.database.read() as tx:
        assert await live.count(tx, link.id, Entity.INVOICES) == 1
        named = await webhooks.due(tx, link.id, around.clock.now(), 10)
    assert [(one.entity, one.xero_id) for one in named] == [(Entity.CONTACTS, "c1")]  # whom nobody has told of yet


async def test_it_stands_back_while_a_sync_is_at_work(around: World, link: Link, asked: Asked) -> None:
    await around.subjects.syncs.start(StartSync(link.id))
    again_at = await poll(around, link)
    assert again_at == around.clock.now() + STAND_BACK
    assert asked == []


async def test_it_does_not_stand_back_for_ever_for_a_sync_that_is_stuck(around: World, link: Link) -> None:
    began_at = around.clock.now()
    await around.subjects.syncs.start(StartSync(link.id, SyncMode.FULL))
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, XeroUnavailableError("Xero did not answer properly.", status="500"), Entity.CREDIT_NOTES)
        while around.clock.now() < began_at + timedelta(hours=1):
            around.clock.time = await do(around, link, SYNCING, around.subjects.syncs.perform) or around.clock.time
        assert (await newest(around, link)).state == SyncState.WAITING
        await poll(around, link)
        assert (await marks(around, link))[Entity.PAYMENTS].last_read_at == around.clock.now()
        told = await around.connections.get(link.id)
        assert told.health == "DEGRADED", "the sync tells of its trouble, and polling does not say that it has passed"
    around.clock.time += timedelta(minutes=5)
    assert await do(around, link, SYNCING, around.subjects.syncs.perform) is None
    assert (await newest(around, link)).state == SyncState.SUCCEEDED
    assert (await around.connections.get(link.id)).health == "OK"


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (XeroUnavailableError("Xero does not answer."), ReasonCode.XERO_UNAVAILABLE),
        (CallLimitError("The day is over.", "day"), ReasonCode.DAY_LIMIT_REACHED),
    ],
)
async def test_trouble_parks_it_degrades_the_connection_and_passes(
    around: World, link: Link, trouble: TieoutError, code: ReasonCode
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, trouble)
        again_at = await poll(around, link)
        assert again_at == around.clock.now() + AGAIN_AFTER
        now = await around.connections.get(link.id)
        assert now.state == "CONNECTED"
        assert now.reason
        assert now.reason.code == code
        assert min(m.next_read_at for m in (await marks(around, link)).values() if m.next_read_at) == again_at
    await poll(around, link, after=AGAIN_AFTER)
    assert (await around.connections.get(link.id)).health == "OK"


async def test_a_refusal_ends_it_and_the_connection_says_why(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    around.xero.refusal, around.xero.is_linked = AccessRevokedError("Xero refuses these books."), False
    refuse(monkeypatch, around.xero.refusal)
    assert await poll(around, link) is None
    assert (await around.connections.get(link.id)).state == "RECONNECT_REQUIRED"
    freshness = await around.subjects.freshness.connection(link.id)
    assert all(one.next_read_at is None for one in freshness.entities)


async def go_on_polling(around: World, link: Link, *, hours: int) -> int:
    """Poll whenever that is due, for so long; answers how often the connection was looked into."""
    service, looks = around.connections, 0
    real = service.access_lost

    async def counted(connection_id: str, refusal: PersonMustActError) -> Link:
        nonlocal looks
        looks += 1
        return await real(connection_id, refusal)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "access_lost", counted)
        until, again_at = around.clock.now() + timedelta(hours=hours), await poll(around, link)
        while again_at is not None and again_at < until:
            around.clock.time = again_at
            again_at = await do(around, link, POLL, around.polls.perform)
    return looks


async def test_a_refusal_of_one_listing_is_told_of_asked_about_ever_less_often_and_keeps_the_others_from_nothing(
    around: World, link: Link
) -> None:
    began_at = around.clock.now()
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, AccessRevokedError("Xero refuses."), Entity.CONTACTS)
        assert await go_on_polling(around, link, hours=8) <= 15
        planned, now = await marks(around, link), around.clock.now()
        assert planned[Entity.CONTACTS].last_read_at == began_at
        assert all(now - planned[one].last_read_at <= timedelta(hours=1) for one in schedule.OTHERS[2:])
        assert now - planned[Entity.PAYMENTS].last_read_at <= schedule.OFTEN
        told = await around.connections.get(link.id)
        assert told.state == "CONNECTED"
        assert told.reason
        assert told.reason.code is ReasonCode.XERO_UNAVAILABLE
        assert told.reason.observed_at == began_at + schedule.OFTEN
    await go_on_polling(around, link, hours=2)
    assert (await around.connections.get(link.id)).reason is None


def count(patch: pytest.MonkeyPatch, asked: Asked) -> None:
    """Note there what the books are asked for."""
    real = BooksOf.read

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
        asked.append((query, purpose))
        return await real(books, query, purpose)

    patch.setattr(BooksOf, "read", read)


@pytest.mark.parametrize("entity", [Entity.CONTACTS, Entity.PAYMENTS])
async def test_a_listing_that_xero_does_not_answer_for_keeps_no_other_waiting_and_is_asked_for_ever_less_often(
    around: World, link: Link, entity: Entity
) -> None:
    began_at = around.clock.now()
    with pytest.MonkeyPatch.context() as patch:
        asked: Asked = []
        refuse(patch, XeroUnavailableError("Xero did not answer properly.", status="500"), entity)
        count(patch, asked)
        await go_on_polling(around, link, hours=2)
        assert len([query for query, _ in asked if query.entity is entity]) <= 15
        planned, now = await marks(around, link), around.clock.now()
        assert planned[entity].last_read_at == began_at
        bounds = dict.fromkeys(schedule.OTHERS, timedelta(hours=1)) | {Entity.PAYMENTS: schedule.OFTEN}
        assert all(now - planned[one].last_read_at <= bound for one, bound in bounds.items() if one is not entity)
        told = await around.connections.get(link.id)
        assert (told.state, told.health) == ("CONNECTED", "DEGRADED")
        assert told.reason
        assert told.reason.code is ReasonCode.XERO_UNAVAILABLE
    await poll(around, link, after=timedelta(hours=1))
    assert (await around.connections.get(link.id)).health == "OK"
    assert (await marks(around, link))[entity].last_read_at == around.clock.now()


class Killed(BaseException):
    """The process ends here."""


async def test_killed_right_after_reading_was_put_off_the_connection_says_why(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = around.clock.now() + timedelta(hours=9)
    refuse(monkeypatch, CallLimitError("The day is used up.", "day", until))
    real_postpone, real_write, is_put_off = watermarks.postpone, Database.write, asyncio.Event()

    async def postpone(*asked: Any) -> None:  # noqa: ANN401 - as it was given
        await real_postpone(*asked)
        is_put_off.set()

    @contextlib.asynccontextmanager
    async def write(database: Database, *, durable: bool = True) -> AsyncIterator[Transaction]:
        async with real_write(database, durable=durable) as tx:
            yield tx
        if is_put_off.is_set():
            raise Killed

    monkeypatch.setattr(watermarks, "postpone", postpone)
    monkeypatch.setattr(Database, "write", write)
    with pytest.raises(Killed):
        await poll(around, link)
    monkeypatch.undo()
    assert (await marks(around, link))[Entity.PAYMENTS].next_read_at == until
    told = await around.connections.get(link.id)
    assert told.reason
    assert (told.health, told.reason.code) == ("DEGRADED", ReasonCode.DAY_LIMIT_REACHED)


async def test_an_outage_is_asked_about_ever_less_often_but_not_less_often_than_payments_are_read(
    around: World, link: Link
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        asked: Asked = []
        refuse(patch, XeroUnavailableError("Xero cannot be reached."))
        count(patch, asked)
        await go_on_polling(around, link, hours=1)
        assert len(asked) <= 2 * 18, "two listings each time, to tell an outage"
    await poll(around, link, after=schedule.OFTEN)
    assert (await around.connections.get(link.id)).health == "OK"


async def test_an_item_of_the_sweep_that_xero_does_not_answer_for_keeps_no_other_waiting_nor_is_it_asked_for_at_once(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Asked = []
    refuse(monkeypatch, XeroUnavailableError("Xero did not answer properly.", status="500"), Entity.CONTACTS)
    count(monkeypatch, asked)
    began_at = around.clock.now()
    while around.clock.now() < began_at + 1.1 * schedule.DAY:
        again_at = await do(around, link, SWEEP, around.sweeps.perform)
        assert again_at
        around.clock.time = max(again_at, around.clock.now())
    assert {query.entity for query, _ in asked} == set(Entity) - {Entity.ACCOUNTS}
    assert len([query for query, _ in asked if query.entity is Entity.CONTACTS]) <= 24
    assert (await around.connections.get(link.id)).state == "CONNECTED"


async def test_a_refusal_in_the_sweep_waits_for_the_next_sweep(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, AccessRevokedError("Xero refuses."))
    began_at = around.clock.now()
    slices = 0
    while around.clock.now() < began_at + 2 * schedule.DAY:
        again_at = await do(around, link, SWEEP, around.sweeps.perform)
        assert again_at
        slices += 1
        around.clock.time = max(again_at, around.clock.now())
    assert slices <= 2 * len(Item) + 2


async def test_what_does_not_add_up_is_read_again_by_a_few_calls_and_in_turn(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{n:02}" for n in range(60)]
    await keep(around, link, [contact("c1"), contact("c2", merged_into="c1", status="ARCHIVED")])
    await keep(around, link, [invoice(f"i{n}", paid=Decimal(0)) for n in names])
    await keep(around, link, [credit(f"k{n}", xero_contact_id="c2") for n in names[:5]])
    await keep(around, link, [payment(f"p{n}", xero_document_id=f"i{n}") for n in names[:5]])
    asked: list[tuple[Entity, Sequence[str], Purpose]] = []

    async def by_ids(_books: BooksOf, entity: Entity, ids: Sequence[str], purpose: Purpose) -> Page:
        asked.append((entity, ids, purpose))
        return Page(documents=(), page_count=1, item_count=0, served_at=around.clock.now())

    monkeypatch.setattr(BooksOf, "by_ids", by_ids)
    met: list[list[str]] = []
    for _ in range(3):
        asked.clear()
        around.clock.time += schedule.DAY
        async with around.database.write() as tx:
            page = (await sweeps.every(tx, link.id))[Item.SUMS].page
            await sweeps.put(tx, link.id, Item.SUMS, Sweep(link.created_at, page))  # before all others
        await do(around, link, SWEEP, around.sweeps.perform)
        assert {purpose for _, _, purpose in asked} <= {Purpose.POLL}
        assert sum(len(ids) if entity is not Entity.INVOICES else 1 for entity, ids, _ in asked) <= 16
        met.append([name for _, ids, _ in asked for name in ids])
    assert met == [
        ["i00", "i01", "i02", "i03", "i04", "k00", "k01", "p00", "p01"],
        ["k02", "k03", "p02", "p03"],
        ["k04", "p04"],
    ]


async def test_until_when_the_day_is_over_is_kept_up_to_date(around: World, link: Link) -> None:
    began_at = around.clock.now() + schedule.OFTEN
    for hours in (1, 2, 3):
        with pytest.MonkeyPatch.context() as patch:
            refuse(patch, CallLimitError("The day is over.", "day", began_at + timedelta(hours=hours)))
            await poll(around, link)
            around.clock.time = began_at + timedelta(hours=hours)
        reason = (await around.connections.get(link.id)).reason
        assert reason
        assert (reason.retry_at, reason.observed_at) == (began_at + timedelta(hours=hours), began_at)


async def lose_and_reconnect(around: World, link: Link) -> Link:
    around.xero.refusal, around.xero.is_linked = AccessRevokedError("Xero refuses these books."), False
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, around.xero.refusal)
        await poll(around, link)
    around.xero.refusal, around.xero.is_linked = None, True
    started = await around.connections.reconnect(Reconnect(link.id))
    state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
    return (await around.connections.complete(Return(state, "code"))).link


async def test_a_gap_begins_where_polling_was_and_not_where_the_accounts_were_read_a_day_ago(
    around: World, link: Link
) -> None:
    await go_on_polling(around, link, hours=4)
    polled_at = min(mark.watermark_at for entity, mark in (await marks(around, link)).items() if entity != "accounts")
    assert (await lose_and_reconnect(around, link)).gap_from_at == polled_at


def mishap(patch: pytest.MonkeyPatch, documents: Sequence[Document]) -> None:
    """Have a listing tell that these are out of use."""
    real, entity = BooksOf.read, Entity.INVOICES if isinstance(documents[0], Invoice) else Entity.CONTACTS

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
        if query.entity is not entity:
            return await real(books, query, purpose)
        at = documents[0].updated_at
        return Page(documents=documents, page_count=1, item_count=len(documents), served_at=at, last_change_at=at)

    patch.setattr(BooksOf, "read", read)


async def keep(around: World, link: Link, documents: Sequence[Document]) -> None:
    async with around.database.write() as tx:
        await mirror.save(tx, link.id, documents, seen_in=1, at=around.clock.now())


async def newest(around: World, link: Link) -> SyncRecord:
    async with around.database.read() as tx:
        sync = await syncs.latest(tx, link.id)
    assert sync
    return sync


async def test_what_was_discarded_of_one_entity_keeps_no_gate_of_another_from_asking(around: World, link: Link) -> None:
    now = around.clock.now()
    invoices = [invoice(f"i{n}", updated_at=now) for n in range(60)]
    contacts = [contact(f"c{n}", updated_at=now) for n in range(60)]
    await keep(around, link, invoices)
    await keep(around, link, contacts)
    later = now + timedelta(minutes=1)
    voided = [msgspec.structs.replace(one, status="VOIDED", updated_at=later) for one in invoices[:40]]
    archived = [msgspec.structs.replace(one, status="ARCHIVED", updated_at=later) for one in contacts[:40]]
    asked_about = []
    with pytest.MonkeyPatch.context() as patch:
        mishap(patch, voided)
        for documents in (voided, archived, archived):
            mishap(patch, documents)
            await poll(around, link)
            sync = await newest(around, link)
            if sync.state not in ACTIVE:
                break
            await do(around, link, SYNCING, around.subjects.syncs.perform)
            asked_about.append(sync.entities)
            await around.subjects.syncs.resolve(ResolveHeldSync(sync.id, Decision.DISCARD))
            around.clock.time += timedelta(hours=1)
    assert asked_about == [(Entity.INVOICES,), (Entity.CONTACTS,)]
    invoices_at = (await marks(around, link))[Entity.INVOICES].next_read_at
    assert invoices_at
    assert invoices_at > around.clock.now() + timedelta(hours=20)


async def test_a_sync_that_is_held_makes_way_for_the_one_that_closes_the_gap(around: World, link: Link) -> None:
    now = around.clock.now()
    invoices = [invoice(f"i{n}", updated_at=now) for n in range(60)]
    await keep(around, link, invoices)
    later = now + timedelta(minutes=1)
    with pytest.MonkeyPatch.context() as patch:
        mishap(patch, [msgspec.structs.replace(one, status="VOIDED", updated_at=later) for one in invoices[:40]])
        await poll(around, link)
        await do(around, link, SYNCING, around.subjects.syncs.perform)
    held = await newest(around, link)
    assert held.state == SyncState.HELD
    assert (await lose_and_reconnect(around, link)).gap_from_at
    await do(around, link, "after_consent", around.subjects.syncs.begin)
    assert (await around.subjects.syncs.get(held.id)).state == "CANCELLED"
    while await do(around, link, SYNCING, around.subjects.syncs.perform):
        pass
    assert (await newest(around, link)).state == "SUCCEEDED"
    assert (await around.connections.get(link.id)).gap_from_at is None


async def test_an_answer_that_nobody_documented_keeps_the_other_entities_from_nothing(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, UnexpectedAnswerError("What is this?"), Entity.INVOICES)
    await poll(around, link)
    planned, now = await marks(around, link), around.clock.now()
    assert planned[Entity.PAYMENTS].last_read_at == now
    assert planned[Entity.INVOICES].last_read_at < now
    assert planned[Entity.INVOICES].next_read_at == now + timedelta(hours=1)
    told = await around.connections.get(link.id)
    assert told.reason
    assert "a way that nobody documented" in told.reason.sentence


async def test_the_sweep_spreads_its_items_over_the_day_and_comes_again_the_next(
    around: World, link: Link, asked: Asked
) -> None:
    began_at = around.clock.now()
    instants = []
    while around.clock.now() < began_at + 2 * schedule.DAY:
        again_at = await do(around, link, SWEEP, around.sweeps.perform)
        assert again_at
        instants.append(around.clock.now())
        around.clock.time = max(again_at, around.clock.now())
    assert {query.entity for query, _ in asked} == set(Entity) - {Entity.ACCOUNTS}
    assert len([query for query, _ in asked if query.open_only]) == 2
    assert len(asked) <= 2 * 8
    assert len(set(instants)) >= 14
