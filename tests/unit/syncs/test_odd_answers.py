"""Answers that nobody understands: a sync that nothing makes up for asks again, and reads all else meanwhile."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

import databases
import fakes
from documents import payment
from fakes import BooksOf, World
from tieout_server.connections.messages import Connect, Return
from tieout_server.errors import RejectedError, TieoutError, UnexpectedAnswerError, XeroUnavailableError
from tieout_server.ledger.books import Page, Purpose, Query
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.links import Link, Owner, ReasonCode
from tieout_server.storage import connections, work
from tieout_server.storage import syncs as stored
from tieout_server.storage.syncs import SyncFault, SyncRecord
from tieout_server.storage.work import Task
from tieout_server.syncs.means import SYNCING
from tieout_server.syncs.service import StartSync
from tieout_server.syncs.state import SyncMode
from tieout_server.work.engine import Job

pytestmark = pytest.mark.timeout(60)

ODD = UnexpectedAnswerError("Xero's answer has another shape than documented: Expected `array`, got `str`.")


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[World]:
    async with fakes.world(tmp_path) as made:
        yield made


@pytest.fixture
async def link(around: World) -> Link:
    """A connection whose first sync has begun and read nothing yet."""
    started = await around.connections.connect(Connect("acme"))
    state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
    link = (await around.connections.complete(Return(state, "code"))).link
    await slice_of(around, link, "after_consent")
    return link


async def slice_of(around: World, link: Link, kind: str = SYNCING) -> datetime | None:
    """One slice of this work, as the engine does it; answers when to go on."""
    syncs = around.subjects.syncs
    lease = await databases.take(around.database, Task(kind, link.id, "read"), now=around.clock.now())
    assert lease, "nothing is due"
    again_at = await (syncs.perform if kind == SYNCING else syncs.begin)(Job(lease))
    async with around.database.write() as tx:
        await work.finish(tx, lease, again_at=again_at)
    return again_at


async def newest(around: World, link: Link) -> SyncRecord:
    async with around.database.read() as tx:
        sync = await stored.latest(tx, link.id)
    assert sync
    return sync


def answering(patch: pytest.MonkeyPatch, entity: Entity, trouble: TieoutError) -> Counter[Entity]:
    """Have each reading of this entity end so; answers how often each is asked for, counted as it goes on."""
    asked: Counter[Entity] = Counter()
    real = BooksOf.read

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:
        asked[query.entity] += 1
        if query.entity is entity:
            raise trouble
        return await real(books, query, purpose)

    patch.setattr(BooksOf, "read", read)
    return asked


async def test_all_else_is_read_and_the_sync_waits_and_says_for_what(around: World, link: Link) -> None:
    with pytest.MonkeyPatch.context() as patch:
        asked = answering(patch, Entity.CONTACTS, ODD)
        again_at = await slice_of(around, link)
        assert set(asked) == set(Entity)
    sync, now = await newest(around, link), await around.connections.get(link.id)
    assert (sync.state, sync.waiting_by, sync.waiting_until) == ("WAITING", "XERO_UNAVAILABLE", again_at)
    assert sync.fault == SyncFault("UNEXPECTED_ANSWER", ODD.sentence, Owner.XERO)
    assert (now.state, now.health) == ("CONNECTED", "DEGRADED")
    assert now.reason
    assert (now.reason.code, now.reason.owner) == (ReasonCode.XERO_UNAVAILABLE, Owner.XERO)
    assert ODD.sentence in now.reason.evidence[0].finding


async def test_once_the_answer_is_good_the_sync_ends_by_itself_and_nothing_is_read_twice(
    around: World, link: Link
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        first = answering(patch, Entity.CONTACTS, ODD)
        around.clock.time = await slice_of(around, link) or around.clock.time
    with pytest.MonkeyPatch.context() as patch:
        then = answering(patch, Entity.CONTACTS, ODD)
        around.clock.time = await slice_of(around, link) or around.clock.time
        assert then == {Entity.CONTACTS: 1}
    around.xero.asked.clear()
    assert await slice_of(around, link) is None
    assert around.xero.asked == [(Entity.CONTACTS, ())]
    assert first[Entity.CONTACTS] == 1
    sync, now = await newest(around, link), await around.connections.get(link.id)
    assert (sync.state, sync.fault, sync.waiting_by) == ("SUCCEEDED", None, "")
    assert (now.health, now.reason) == ("OK", None)
    assert now.last_synced_at


async def test_what_stays_odd_for_a_day_costs_a_few_dozen_calls_and_looking_does_not_hide_it(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, Entity.PAYMENTS, ODD)
    begun_at, pauses = around.clock.time, []
    while around.clock.time < begun_at + timedelta(days=1):
        again_at = await slice_of(around, link)
        assert again_at
        pauses.append(again_at - around.clock.time)
        around.clock.time = again_at
    assert pauses == sorted(pauses)
    assert pauses[-1] == timedelta(hours=1)
    assert asked[Entity.PAYMENTS] < 40
    assert asked[Entity.CONTACTS] == 1
    checked = await around.connections.check(link.id)
    assert checked.link.health == "DEGRADED"


async def test_an_outage_meanwhile_is_told_of_as_an_outage(around: World, link: Link) -> None:
    for trouble, fault in ((ODD, True), (XeroUnavailableError("Xero cannot be reached."), False), (ODD, True)):
        with pytest.MonkeyPatch.context() as patch:
            answering(patch, Entity.CONTACTS, trouble)
            around.clock.time = await slice_of(around, link) or around.clock.time
        sync = await newest(around, link)
        assert (sync.state, sync.fault is not None) == ("WAITING", fault)


async def test_an_amount_that_cannot_be_stored_exactly_is_waited_for_as_well(around: World, link: Link) -> None:
    inexact = payment(amount=Decimal("1.00001"), updated_at=around.clock.now())
    around.xero.documents[Entity.PAYMENTS, inexact.xero_payment_id] = inexact
    around.clock.time = await slice_of(around, link) or around.clock.time
    sync = await newest(around, link)
    assert sync.fault
    assert (sync.state, sync.fault.owner) == ("WAITING", Owner.XERO)
    assert "1.00001 has more than four decimal places" in sync.fault.sentence
    around.xero.documents.clear()
    assert await slice_of(around, link) is None
    assert (await newest(around, link)).state == "SUCCEEDED"


async def test_what_xero_refuses_as_it_is_fails_the_sync(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, Entity.CONTACTS, RejectedError("Xero answered 400: no.", ("no",)))
    assert await slice_of(around, link) is None
    sync = await newest(around, link)
    assert sync.fault
    assert (sync.state, sync.ended_at, sync.fault.owner) == ("FAILED", around.clock.now(), "OPERATOR")
    assert (await around.connections.get(link.id)).last_synced_at is None


async def test_a_sync_that_closes_a_gap_waits_as_a_first_one_does(around: World, link: Link) -> None:
    assert await slice_of(around, link) is None
    async with around.database.write() as tx:
        lost = await connections.get(tx, link.id, lock=True)
        assert lost
        await connections.save(tx, msgspec.structs.replace(lost, gap_from_at=around.clock.now()))
    await around.subjects.syncs.start(StartSync(link.id))
    with pytest.MonkeyPatch.context() as patch:
        asked = answering(patch, Entity.CONTACTS, ODD)
        again_at = await slice_of(around, link)
        assert again_at
        assert set(asked) == set(Entity)
    assert (await newest(around, link)).state == "WAITING"
    around.clock.time = again_at
    assert await slice_of(around, link) is None
    assert (await newest(around, link)).state == "SUCCEEDED"
    assert (await around.connections.get(link.id)).gap_from_at is None


async def test_a_later_sync_fails_so_that_polling_goes_on(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await slice_of(around, link) is None
    await around.subjects.syncs.start(StartSync(link.id, SyncMode.FULL))
    answering(monkeypatch, Entity.CONTACTS, ODD)
    assert await slice_of(around, link) is None
    sync = await newest(around, link)
    assert sync.fault
    assert (sync.ordinal, sync.state, sync.fault.reason) == (2, "FAILED", "UNEXPECTED_ANSWER")
