"""What webhooks name: read together, once, until it is new enough; trouble neither loses it nor floods Xero."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from sqlalchemy import func, select

import documents
from databases import take
from fakes import World
from places import alone
from servers import until
from tieout_server.clock import from_micros
from tieout_server.connections.messages import Connect, Return
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import (
    AccessRevokedError,
    AppRejectedError,
    CallLimitError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import Page
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import Document, Entity
from tieout_server.ledger.links import Link
from tieout_server.ledger.notices import Notice
from tieout_server.storage import connections, events, live, mirror, purge, tables, watermarks, webhooks, work
from tieout_server.storage.watermarks import Watermark
from tieout_server.storage.webhooks import following
from tieout_server.storage.work import Task
from tieout_server.syncs import fetch, news
from tieout_server.syncs.means import NEWS, Means
from tieout_server.syncs.news import News
from tieout_server.syncs.schedule import OFTEN
from tieout_server.work.engine import Job, LostLeaseError, Priority

SECOND = timedelta(seconds=1)
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def told(around: World) -> News:
    means = Means(around.database, around.subjects.feed, around.clock, alone(around.database, around.clock))
    return News(means, around.connections, lambda _: Allowance(0, 60, None))


@pytest.fixture
async def link(around: World) -> Link:
    """A connection that was read to its end a minute ago."""
    started = await around.connections.connect(Connect("m-1"))
    state = started.consent.authorization_url.partition("state=")[2].partition("&")[0]
    made = (await around.connections.complete(Return(state, "code-1"))).link
    async with around.database.write() as tx:
        for entity in Entity:
            before = around.clock.now() - timedelta(minutes=1)
            later = around.clock.now() + timedelta(hours=1)
            await watermarks.put(tx, made.id, entity, Watermark(before, before, next_read_at=later))
        await mirror.save(tx, made.id, [documents.contact()], seen_in=1, at=around.clock.now())
    return made


def notice(link: Link, at: datetime, xero_id: str = "i1", entity: Entity = Entity.INVOICES) -> Notice:
    return Notice(xero_tenant_id=link.xero_tenant_id, entity=entity, xero_id=xero_id, kind="UPDATE", at=at)


async def deliver(around: World, told: News, notices: Sequence[Notice]) -> None:
    """Put what a delivery says into the inbox."""
    async with around.database.write() as tx:
        await told.put(tx, notices)


def show(around: World, *some: Document) -> None:
    """Have Xero show these invoices, payments or contacts."""
    for document in some:
        name = documents_id(document)
        around.xero.documents[name] = document


def documents_id(document: Document) -> tuple[Entity, str]:
    for entity, attribute in (
        (Entity.INVOICES, "xero_invoice_id"),
        (Entity.PAYMENTS, "xero_payment_id"),
        (Entity.CREDIT_NOTES, "xero_credit_id"),
    ):
        if hasattr(document, attribute):
            return entity, getattr(document, attribute)
    return Entity.CONTACTS, getattr(document, "xero_contact_id")  # noqa: B009 - any document


async def do_slice(around: World, told: News, link: Link) -> datetime | None:
    """One slice, as the engine does it; answers when to go on."""
    lease = await take(around.database, Task(NEWS, link.id, "news"), now=around.clock.now())
    assert lease, "nothing is due"
    again_at = await told.perform(Job(lease))
    async with around.database.write() as tx:
        await work.finish(tx, lease, again_at=again_at)
    return again_at


async def waiting(around: World) -> int:
    async with around.database.read() as tx:
        return int((await tx.execute(select(func.count()).select_from(tables.webhook_events))).scalar_one())


async def position(around: World) -> int:
    """How many events were ever told."""
    async with around.database.read() as tx:
        return (await events.bounds(tx)).last


async def next_read_of_invoices(around: World, link: Link) -> datetime | None:
    async with around.database.read() as tx:
        mark = await watermarks.get(tx, link.id, Entity.INVOICES)
    assert mark
    return mark.next_read_at


async def references(around: World) -> dict[str, str]:
    async with around.database.read() as tx:
        rows = await tx.execute(select(tables.invoices.c.xero_invoice_id, tables.invoices.c.reference))
    return {row[0]: row[1] for row in rows}


async def test_what_is_named_many_times_is_read_once_and_told_of(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    show(around, documents.invoice("i1", updated_at=now), documents.invoice("i2", updated_at=now))
    heard_before = await position(around)
    for at in (now, now - SECOND, now):
        await deliver(around, told, [notice(link, at), notice(link, now, "i2")])
    assert await do_slice(around, told, link) is None
    assert around.xero.asked == [(Entity.INVOICES, ("i1", "i2"))]
    assert await waiting(around) == 0
    assert await position(around) == heard_before + 1


async def test_what_is_here_already_is_not_read_at_all(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    async with around.database.write() as tx:
        await mirror.save(tx, link.id, [documents.invoice(updated_at=now)], seen_in=1, at=now)
    await deliver(around, told, [notice(link, now)])
    assert await do_slice(around, told, link) is None
    assert (around.xero.asked, await waiting(around)) == ([], 0)


async def test_a_document_older_than_its_event_is_read_again_ever_more_patiently_and_then_left(
    around: World, told: News, link: Link
) -> None:
    now = around.clock.now()
    show(around, documents.invoice(updated_at=now - timedelta(hours=1)))
    await deliver(around, told, [notice(link, now)])
    pauses = []
    while (again_at := await do_slice(around, told, link)) is not None:
        pauses.append(again_at - around.clock.now())
        around.clock.time = again_at
    assert tuple(pauses) == fetch.RETRIES == tuple(SECOND * pause for pause in (1, 2, 5, 10))
    assert len(around.xero.asked) == 5
    assert await waiting(around) == 0
    assert await next_read_of_invoices(around, link) == around.clock.now() + OFTEN


async def test_a_document_that_is_not_shown_yet_is_read_again(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    await deliver(around, told, [notice(link, now)])
    again_at = await do_slice(around, told, link)
    assert again_at == now + SECOND
    around.clock.time = again_at
    show(around, documents.invoice(updated_at=now, reference="shown"))
    assert await do_slice(around, told, link) is None
    assert await references(around) == {"i1": "shown"}


async def test_a_version_a_moment_before_its_event_is_looked_at_once_more_only(
    around: World, told: News, link: Link
) -> None:
    now = around.clock.now()
    show(around, documents.invoice(updated_at=now - SECOND / 2))
    await deliver(around, told, [notice(link, now)])
    around.clock.time = await do_slice(around, told, link) or now
    assert await do_slice(around, told, link) is None
    assert len(around.xero.asked) == 2


async def test_an_event_that_comes_while_the_document_is_read_is_read_after_it(
    around: World, told: News, link: Link
) -> None:
    now = around.clock.now()
    show(around, documents.invoice(updated_at=now))
    await deliver(around, told, [notice(link, now)])
    around.xero.answers.clear()
    reading = asyncio.create_task(do_slice(around, told, link))
    await until(lambda: bool(around.xero.asked))
    await deliver(around, told, [notice(link, now + SECOND)])
    show(around, documents.invoice(updated_at=now + SECOND, reference="later"))
    around.xero.answers.set()
    await reading
    assert await references(around) == {"i1": "later"}
    assert len(around.xero.asked) == 2


async def test_what_moved_with_an_invoice_is_read_right_after_it(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    paid = documents.invoice(updated_at=now, xero_contact_id="c2", paid=Decimal(100), due=Decimal("130.50"))
    show(around, paid, documents.payment(updated_at=now), documents.contact("c2", updated_at=now))
    await deliver(around, told, [notice(link, now)])
    assert await do_slice(around, told, link) is None
    assert around.xero.asked == [(Entity.INVOICES, ("i1",)), (Entity.CONTACTS, ("c2",)), (Entity.PAYMENTS, ())]
    assert await waiting(around) == 0


async def test_a_payment_that_is_gone_is_asked_for_by_its_id(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    await has(around, link, [documents.payment()])
    show(around, documents.invoice(updated_at=now), documents.payment(updated_at=now, status="DELETED"))
    await deliver(around, told, [notice(link, now)])
    assert await do_slice(around, told, link) is None
    assert around.xero.asked[1:] == [(Entity.PAYMENTS, ("p1",))]


async def test_few_are_read_one_by_one_and_many_by_what_changed(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    for count, asked in ((fetch.FEW, ("k0", "k1", "k2")), (fetch.FEW + 1, ())):
        around.xero.asked.clear()
        around.clock.time += timedelta(minutes=1)
        at = around.clock.now()
        for number in range(count):
            show(around, documents.credit(f"k{number}", updated_at=at, total=Decimal(20)))
        await deliver(around, told, [notice(link, at, f"k{number}", Entity.CREDIT_NOTES) for number in range(count)])
        assert await do_slice(around, told, link) is None
        assert around.xero.asked == [(Entity.CREDIT_NOTES, asked)]
    assert now < around.clock.now()


async def test_a_hundred_invoices_cost_three_calls(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    show(around, *(documents.invoice(f"i{number}", updated_at=now) for number in range(100)))
    await deliver(around, told, [notice(link, now, f"i{number}") for number in range(100)])
    assert await do_slice(around, told, link) is None
    assert [len(ids) for _, ids in around.xero.asked] == [40, 40, 20]


async def test_a_flood_is_read_once_a_second(around: World, told: News, link: Link) -> None:
    begun = around.clock.now()
    slices = 0
    while around.clock.now() < begun + timedelta(seconds=30):
        show(around, documents.invoice(updated_at=around.clock.now()))
        await deliver(around, told, [notice(link, around.clock.now())])
        async with around.database.read() as tx:
            is_due = any(due.task.kind == NEWS for due in await work.due(tx, around.clock.now(), 10))
        if is_due:
            before = len(around.xero.asked)
            await do_slice(around, told, link)
            slices += len(around.xero.asked) > before
        around.clock.time += SECOND / 10
    assert 35 <= slices <= 41


async def test_trouble_is_waited_out_and_nothing_is_lost(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    tomorrow = now + timedelta(hours=9)
    show(around, documents.invoice(updated_at=now))
    for refusal, again in (
        (CallLimitError("The day is used up.", "day", tomorrow), tomorrow),
        (AppRejectedError("The secret is wrong."), now + news.LATER),
    ):
        around.xero.read_trouble = refusal
        await deliver(around, told, [notice(link, now)])
        assert await do_slice(around, told, link) == again
        assert await waiting(around) == 1
        async with around.database.write() as tx:
            await tx.execute(tables.work.update().values(due_at=0))
    assert await do_slice(around, told, link) is None
    assert await references(around) == {"i1": ""}


async def test_books_that_are_closed_to_us_are_said_to_be_and_what_was_named_is_forgotten(
    around: World, told: News, link: Link
) -> None:
    refusal = AccessRevokedError("Xero refuses us these books.")
    around.xero.read_trouble, around.xero.refusal, around.xero.is_linked = refusal, refusal, False
    await deliver(around, told, [notice(link, around.clock.now())])
    assert await do_slice(around, told, link) is None
    assert (await around.connections.get(link.id)).state == ConnectionState.RECONNECT_REQUIRED
    assert await waiting(around) == 0
    await deliver(around, told, [notice(link, around.clock.now())])
    assert await waiting(around) == 0


async def test_a_refusal_that_proves_nothing_loses_nothing(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    around.xero.read_trouble = AccessRevokedError("Xero refuses us these books.")  # once: everything else is well
    await deliver(around, told, [notice(link, now)])
    again_at = await do_slice(around, told, link)
    assert (await around.connections.get(link.id)).state == ConnectionState.CONNECTED
    assert await waiting(around) == 1
    assert again_at is not None
    around.clock.time = again_at
    show(around, documents.invoice(updated_at=now))
    assert await do_slice(around, told, link) is None
    assert await references(around) == {"i1": ""}


async def test_what_nobody_documented_keeps_nothing_else_waiting(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    show(around, documents.invoice(updated_at=now))
    around.xero.read_trouble = UnexpectedAnswerError("Xero answered 418.", status="418")
    await deliver(around, told, [notice(link, now, "c9", Entity.CONTACTS), notice(link, now)])
    assert await do_slice(around, told, link) is None
    assert await references(around) == {"i1": ""}
    assert await waiting(around) == 0


async def test_what_xero_does_not_answer_for_keeps_nothing_else_waiting_and_is_asked_for_ever_less_often(
    around: World, told: News, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_at, asked, well = around.clock.now(), Counter[Entity](), around.xero.shown

    async def shown(entity: Entity, ids: tuple[str, ...] = ()) -> Page:
        asked[entity] += 1
        if entity is Entity.CONTACTS:
            raise XeroUnavailableError("Xero did not answer properly.", status="500")
        return await well(entity, ids)

    await deliver(around, told, [notice(link, began_at, "c9", Entity.CONTACTS), notice(link, began_at)])
    with monkeypatch.context() as patch:
        patch.setattr(around.xero, "shown", shown)
        show(around, documents.invoice(updated_at=began_at), documents.contact("c9", updated_at=began_at))
        again_at = await do_slice(around, told, link)
        assert await references(around) == {"i1": ""}
        while around.clock.now() < began_at + timedelta(hours=2):
            assert again_at
            around.clock.time = again_at
            again_at = await do_slice(around, told, link)
        assert asked[Entity.CONTACTS] <= 10
        assert await waiting(around) == 1, "it is not given up"
    around.clock.time += timedelta(hours=1)
    assert await do_slice(around, told, link) is None
    assert await waiting(around) == 0


async def test_an_outage_is_looked_for_again_soon_and_loses_nothing(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    show(around, documents.invoice(updated_at=now), documents.contact("c9", updated_at=now))
    await deliver(around, told, [notice(link, now, "c9", Entity.CONTACTS), notice(link, now)])
    with pytest.MonkeyPatch.context() as patch:

        async def away(*_: object) -> Page:
            raise XeroUnavailableError("Xero cannot be reached.")

        patch.setattr(around.xero, "shown", away)
        assert await do_slice(around, told, link) == now + news.LATER
        assert await waiting(around) == 2
    around.clock.time = now + news.LATER
    assert await do_slice(around, told, link) is None
    assert await waiting(around) == 0
    assert await references(around) == {"i1": ""}


async def test_an_owner_that_lost_the_work_commits_nothing(around: World, told: News, link: Link) -> None:
    now = around.clock.now()
    show(around, documents.invoice(updated_at=now))
    await deliver(around, told, [notice(link, now)])
    lease = await take(around.database, Task(NEWS, link.id, "news"), now=now, owner="slow")
    async with around.database.write() as tx:
        await tx.execute(tables.work.update().values(fence=tables.work.c.fence + 1))
    assert lease
    with pytest.raises(LostLeaseError):
        await told.perform(Job(lease))
    assert (await references(around), await waiting(around)) == ({}, 1)


async def has(around: World, link: Link, some: Sequence[Document]) -> None:
    """Have these documents here before."""
    async with around.database.write() as tx:
        await mirror.save(tx, link.id, some, seen_in=1, at=around.clock.now())


async def test_what_one_bad_document_breaks_is_the_call_that_meets_it(
    around: World, told: News, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, well = around.clock.now(), around.xero.shown
    show(around, *(documents.invoice(f"i{number}", updated_at=now) for number in range(90)))

    async def shown(entity: Entity, ids: tuple[str, ...] = ()) -> Page:
        if "i50" in ids:
            raise UnexpectedAnswerError("Xero answered 418.", status="418")
        return await well(entity, ids)

    monkeypatch.setattr(around.xero, "shown", shown)
    await deliver(around, told, [notice(link, now, f"i{number}") for number in range(90)])
    assert await do_slice(around, told, link) is None
    assert len(await references(around)) == 50
    assert await waiting(around) == 0
    assert await next_read_of_invoices(around, link) == now + OFTEN


async def test_what_follows_is_read_though_the_event_about_it_is_satisfied(
    around: World, told: News, link: Link
) -> None:
    now = around.clock.now()
    await has(around, link, [documents.contact("c2", updated_at=now, is_customer=False)])
    show(around, documents.contact("c2", updated_at=now, is_customer=True))
    await deliver(around, told, [notice(link, now, "c2", Entity.CONTACTS)])
    async with around.database.write() as tx:
        await webhooks.put(tx, link.id, [following(Entity.CONTACTS, "c2")], now)
    assert await do_slice(around, told, link) is None
    assert around.xero.asked == [(Entity.CONTACTS, ("c2",))]
    assert await waiting(around) == 0


async def test_a_wake_for_nothing_does_not_slow_the_next_event(around: World, link: Link) -> None:
    engine = alone(around.database, around.clock)
    means = Means(around.database, around.subjects.feed, around.clock, engine)
    told = News(means, around.connections, lambda _: Allowance(0, 60, 100))
    async with around.database.write() as tx:
        await engine.wake(tx, NEWS, link.id, priority=Priority.NEWS)
    assert await do_slice(around, told, link) is None
    show(around, documents.invoice(updated_at=around.clock.now()))
    await deliver(around, told, [notice(link, around.clock.now())])
    assert await do_slice(around, told, link) is None
    assert await references(around) == {"i1": ""}


async def test_a_mishap_that_voids_everything_is_not_believed_because_webhooks_tell_of_it(
    around: World, told: News, link: Link
) -> None:
    now = around.clock.now()
    live_ones = [documents.invoice(f"i{number}", updated_at=now - SECOND) for number in range(200)]
    await has(around, link, live_ones)
    for start in range(0, 200, 10):  # a few at a time
        some = [msgspec.structs.replace(one, status="VOIDED", updated_at=now) for one in live_ones[start : start + 10]]
        show(around, *some)
        await deliver(around, told, [notice(link, now, one.xero_invoice_id) for one in some])
        around.clock.time = max(around.clock.now(), await due_at(around))
        assert await do_slice(around, told, link) is None
    async with around.database.read() as tx:
        assert await live.count(tx, link.id, Entity.INVOICES) == 150
    assert await waiting(around) == 0
    next_read_at = await next_read_of_invoices(around, link)
    assert next_read_at
    assert next_read_at - around.clock.now() <= OFTEN


async def test_what_news_bring_after_a_reconnect_is_not_erased_with_what_was_there_before(
    around: World, told: News, link: Link
) -> None:
    now = around.clock.now()
    async with around.database.write() as tx:
        before = await connections.next_sync_ordinal(tx, link.id)
        await connections.next_sync_ordinal(tx, link.id)
    show(around, documents.invoice(updated_at=now))
    await deliver(around, told, [notice(link, now)])
    assert await do_slice(around, told, link) is None
    async with around.database.write() as tx:
        while await purge.erase_some(tx, link.id, before):
            pass
        assert await live.count(tx, link.id, Entity.CONTACTS) == 0
    assert await references(around) == {"i1": ""}


async def due_at(around: World) -> datetime:
    """When the news are read."""
    async with around.database.read() as tx:
        query = select(tables.work.c.due_at).where(tables.work.c.kind == NEWS)
        return from_micros((await tx.execute(query)).scalar_one())
