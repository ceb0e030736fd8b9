"""Polling at its edges: when it reads, when it stands back, what trouble parks it, and what a bug may not hold up."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select

import fakes
from documents import invoice
from fakes import BooksOf, World
from tieout_server.connections.messages import Connect, Return
from tieout_server.errors import (
    AccessRevokedError,
    CallLimitError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.events.feed import CHANGES
from tieout_server.ledger.books import Page, Purpose, Query
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.links import Link, ReasonCode
from tieout_server.storage import calls, live, tables, watermarks, webhooks, work
from tieout_server.storage.watermarks import Watermark
from tieout_server.storage.work import Task
from tieout_server.syncs import schedule
from tieout_server.syncs.plan import OVERLAP
from tieout_server.syncs.reading import AGAIN_AFTER, STAND_BACK
from tieout_server.syncs.service import POLL, SWEEP, WORK, StartSync
from tieout_server.work.engine import LEASE, Job

pytestmark = pytest.mark.timeout(20)
Asked = list[tuple[Query, Purpose]]


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[World]:
    async with fakes.world(tmp_path) as made:
        yield made


@pytest.fixture
async def link(around: World) -> Link:
    """A connection whose first sync has succeeded."""
    started = await around.connections.connect(Connect("acme"))
    state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
    link = (await around.connections.complete(Return(state, "code"))).link
    await do(around, link, "after_consent", around.subjects.syncs.begin)
    await do(around, link, WORK, around.subjects.syncs.perform)
    return await around.connections.get(link.id)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the books are asked for."""
    noted: Asked = []
    real = BooksOf.read

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
        noted.append((query, purpose))
        return await real(books, query, purpose)

    monkeypatch.setattr(BooksOf, "read", read)
    return noted


async def do(around: World, link: Link, kind: str, perform: Callable[[Job], object]) -> datetime | None:
    """One slice of this work, as the engine does it; answers when to go on."""
    async with around.database.write() as tx:
        lease = await work.take(tx, Task(kind, link.id, "read"), owner="us", now=around.clock.now(), lease=LEASE)
    assert lease, f"no {kind} is due"
    again_at: datetime | None = await perform(Job(lease, around.clock))  # type: ignore[misc] # each of them is a coroutine function
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
            raise trouble
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
        assert await calls.day_limit(tx, link.xero_tenant_id) == 5_000
    freshness = await around.subjects.freshness.connection(link.id)
    assert freshness.allowance.day_limit == 5_000
    assert all(one.next_read_at for one in freshness.entities)


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


async def test_an_answer_that_nobody_documented_keeps_the_other_entities_from_nothing(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, UnexpectedAnswerError("What is this?"), Entity.INVOICES)
    await poll(around, link)
    planned, now = await marks(around, link), around.clock.now()
    assert planned[Entity.PAYMENTS].last_read_at == now
    assert planned[Entity.INVOICES].last_read_at < now
    assert planned[Entity.INVOICES].next_read_at == now + timedelta(hours=1)


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
