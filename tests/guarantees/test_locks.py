"""Whatever happens to a connection at the same moment: nobody waits in a circle, and everybody gets one answer.

One side is stopped right after it has locked the connection, the other is let run into that lock: what would be a
rare coincidence in a server happens here every time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from sqlalchemy import Table, func, select, text

import databases
import fakes
from documents import account
from fakes import BooksOf, World, arrivals_of
from tieout_server.connections.diagnosis import Sightings
from tieout_server.connections.messages import Choose, Connect, Disconnect, Reconnect, Return, Started
from tieout_server.errors import (
    AccessRevokedError,
    ConnectionNotUsableError,
    ConsentStateError,
    NotPermittedNowError,
    OrganisationAlreadyConnectedError,
    RequestIdReusedError,
)
from tieout_server.ledger.books import Page, Purpose, Query
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.links import Link
from tieout_server.ledger.notices import Notice
from tieout_server.storage import arrivals, connections, events, syncs, tables, webhooks, work
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.syncs import SyncRecord
from tieout_server.storage.work import Lease, Task
from tieout_server.syncs.means import NEWS, SYNCING
from tieout_server.syncs.progress import Progress
from tieout_server.syncs.service import StartSync
from tieout_server.syncs.state import SyncMode
from tieout_server.work.engine import Job

Act = Callable[[World, str], Awaitable[Any]]


@pytest.fixture
async def around(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world on each kind of database in turn; its Xero has one account in its books."""

    async def opened(_path: Path) -> Database:
        return Database(database_url)

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:  # noqa: ARG001 - a fake need not look
        documents = (account(),) if query.entity is Entity.ACCOUNTS else ()
        return Page(documents=documents, page_count=1, item_count=len(documents), served_at=books.xero.clock.now())

    monkeypatch.setattr(fakes, "_database", opened)
    monkeypatch.setattr(BooksOf, "read", read)
    async with fakes.world(tmp_path) as made:
        yield made


@pytest.fixture
async def link(around: World) -> Link:
    """A connection whose first sync has begun and read nothing yet."""
    link = await consented(around, "acme")
    await begin(around, link.id)
    return link


async def consented(around: World, merchant_id: str) -> Link:
    return await come_back(around, await around.connections.connect(Connect(merchant_id)))


async def come_back(around: World, started: Started) -> Link:
    state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
    return (await around.connections.complete(Return(state, "code"))).link


async def take(around: World, kind: str, connection_id: str) -> Lease | None:
    return await databases.take(around.database, Task(kind, connection_id, "read"), now=around.clock.now())


async def latest(around: World, connection_id: str) -> SyncRecord:
    async with around.database.read() as tx:
        sync = await syncs.latest(tx, connection_id)
    assert sync
    return sync


# What can happen to a connection


async def begin(around: World, connection_id: str) -> None:
    """The work that a consent wakes, if it is due."""
    if lease := await take(around, "after_consent", connection_id):
        await around.subjects.syncs.begin(Job(lease))
        async with around.database.write() as tx:
            await work.finish(tx, lease, again_at=None)


async def start(around: World, connection_id: str) -> None:
    await around.subjects.syncs.start(StartSync(connection_id))


async def cancel(around: World, connection_id: str) -> None:
    await around.subjects.syncs.cancel((await latest(around, connection_id)).id)


async def consent_again(around: World, connection_id: str) -> None:
    await come_back(around, await around.connections.reconnect(Reconnect(connection_id)))


async def sync_to_the_end(around: World, connection_id: str) -> None:
    """Take up the sync, commit its pages, finish it, and note the connection's health; if it is due."""
    if lease := await take(around, SYNCING, connection_id):
        again_at = await around.subjects.syncs.perform(Job(lease))
        async with around.database.write() as tx:
            await work.finish(tx, lease, again_at=again_at)


async def lose_access(around: World, connection_id: str) -> None:
    """A check that has seen the organisation refuse us, wherever the others are by then."""
    link = await around.connections.get(connection_id)
    refused = Sightings(memberships=(), organisation=AccessRevokedError("The organisation disconnected us."))
    await around.connections._access._note(link, refused, None)


async def disconnect(around: World, connection_id: str) -> None:
    await around.connections.disconnect(Disconnect(connection_id))


class Stop:
    """Stops one task where it has locked a row of this store, until it may go on."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - one of the stores
        self.go = asyncio.Event()
        self._reached = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._left = 1
        real = store.get

        async def get(tx: Transaction, key: str, *, lock: bool = False) -> Any:  # noqa: ANN401 - what the store keeps
            found = await real(tx, key, lock=lock)
            if lock and asyncio.current_task() is self._task:
                self._left -= 1
                if not self._left:
                    self._reached.set()
                    await self.go.wait()
            return found

        monkeypatch.setattr(store, "get", get)

    async def stopped(self, act: Awaitable[Any], *, at: int = 1) -> asyncio.Task[Any]:
        """This act as a task that holds the lock it takes as its first, or as its second, now."""
        self._left = at
        self._task = asyncio.ensure_future(act)
        async with asyncio.timeout(5):
            await self._reached.wait()
        return self._task


async def somebody_waits(around: World) -> bool:
    """Whether a transaction waits for another's lock."""
    if around.database.is_sqlite:
        return bool(around.database._writer._waiters)
    async with around.database.read() as tx:
        return bool((await tx.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))).scalar_one())


async def blocked_or_done(around: World, is_done: Callable[[], bool]) -> None:
    """Wait until somebody waits for a lock of the database, or this is done."""
    while not is_done() and not await somebody_waits(around):  # noqa: ASYNC110 - a lock sets no event
        await asyncio.sleep(0.002)


REFUSALS = (ConnectionNotUsableError, ConsentStateError, NotPermittedNowError)
ACTS: Sequence[Act] = (start, consent_again, sync_to_the_end, begin, lose_access, cancel, disconnect)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)  # SQLite has one writer: nobody to wait for
@pytest.mark.parametrize(
    ("first", "other"),
    [
        (start, start),
        (start, begin),
        (start, sync_to_the_end),
        (consent_again, begin),
        (consent_again, lose_access),
        (consent_again, sync_to_the_end),
        (begin, sync_to_the_end),
        (lose_access, sync_to_the_end),
        (disconnect, sync_to_the_end),
        (disconnect, consent_again),
        (sync_to_the_end, disconnect),
    ],
    ids=lambda act: act.__name__,
)
async def test_whoever_has_locked_the_connection_is_never_waited_for_in_a_circle(
    around: World, link: Link, first: Act, other: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    await consent_again(around, link.id)  # so that there is something to begin
    stop = Stop(connections, monkeypatch)
    at = 2 if first is consent_again else 1  # where its second transaction settles the connection
    holding = await stop.stopped(first(around, link.id), at=at)
    running = asyncio.ensure_future(other(around, link.id))
    await blocked_or_done(around, running.done)
    stop.go.set()
    check_only_refusals(await asyncio.gather(holding, running, return_exceptions=True))


def check_only_refusals(outcomes: Sequence[object]) -> None:
    """Whoever comes second may be refused what the first has ended, in our words; the database refuses nothing."""
    wrong = [o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, REFUSALS)]
    assert not wrong


async def test_a_storm_of_everything_at_once_ends_well(around: World, link: Link) -> None:
    for _ in range(8):
        await consent_again(around, link.id)
        check_only_refusals(await asyncio.gather(*(act(around, link.id) for act in ACTS), return_exceptions=True))
        around.clock.time += databases.MISSED_AFTER + timedelta(seconds=1)
    await consent_again(around, link.id)
    await begin(around, link.id)
    await sync_to_the_end(around, link.id)
    assert (await around.connections.get(link.id)).last_synced_at == around.clock.now()


# One answer for everybody


async def count(around: World, table: Table) -> int:
    async with around.database.read() as tx:
        rows: int = (await tx.execute(select(func.count()).select_from(table))).scalar_one()
    return rows


async def test_equal_requests_to_connect_at_once_make_one_connection(around: World) -> None:
    asked = Connect("acme", "", "request-1")
    answers = await asyncio.gather(*(around.connections.connect(asked) for _ in range(6)))
    assert all(answer == answers[0] for answer in answers)
    assert await count(around, tables.connections) == await count(around, tables.authorisations) == 1


async def test_equal_requests_to_start_a_sync_at_once_get_one_answer(around: World, link: Link) -> None:
    await sync_to_the_end(around, link.id)
    asked = StartSync(link.id, request_id="request-1")
    answers = await asyncio.gather(*(around.subjects.syncs.start(asked) for _ in range(6)))
    assert all(answer == answers[0] for answer in answers)
    assert not answers[0].joined
    assert await count(around, tables.syncs) == 2


async def test_requests_to_start_a_sync_at_once_never_make_two(around: World, link: Link) -> None:
    await sync_to_the_end(around, link.id)
    answers = await asyncio.gather(*(around.subjects.syncs.start(StartSync(link.id)) for _ in range(6)))
    assert len({answer.sync.id for answer in answers}) == 1
    assert [answer.joined for answer in answers].count(False) == 1


async def test_equal_requests_to_cancel_a_sync_at_once_get_one_answer(around: World, link: Link) -> None:
    sync = await latest(around, link.id)
    answers = await asyncio.gather(*(around.subjects.syncs.cancel(sync.id, "request-1") for _ in range(6)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].state == "CANCELLED"


async def test_equal_choices_at_once_get_one_answer(around: World) -> None:
    around.xero.organisations = ["One", "Two"]
    chosen = Choose((await consented(around, "acme")).id, "tenant-code/One", "request-1")
    answers = await asyncio.gather(*(around.connections.choose(chosen) for _ in range(4)), return_exceptions=True)
    settled = await around.connections.get(chosen.connection_id)
    assert all(answer == settled for answer in answers), answers


async def test_of_different_requests_with_one_request_id_at_once_all_but_one_are_refused(around: World) -> None:
    asked = [Connect(f"merchant-{number}", "", "request-1") for number in range(4)]
    answers = await asyncio.gather(*map(around.connections.connect, asked), return_exceptions=True)
    assert [type(answer) for answer in answers].count(RequestIdReusedError) == 3
    assert await count(around, tables.connections) == 1


async def test_a_request_id_is_good_once_for_each_method(around: World, link: Link) -> None:
    sync = await latest(around, link.id)
    await around.subjects.syncs.cancel(sync.id, "request-1")
    asked = StartSync(link.id, request_id="request-1")
    assert (await around.subjects.syncs.start(asked)).sync.ordinal == 2
    with pytest.raises(RequestIdReusedError):
        await around.subjects.syncs.start(msgspec.structs.replace(asked, mode=SyncMode.FULL))
    with pytest.raises(RequestIdReusedError):
        await around.subjects.syncs.cancel("another", "request-1")


# One connection for each organisation


async def test_of_two_merchants_who_connect_one_organisation_at_once_one_succeeds_and_the_other_is_told_of_it(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [await around.connections.connect(Connect(name)) for name in ("acme", "rival")]
    real, looks = connections.holder_of, []

    async def holder_of(tx: Transaction, xero_tenant_id: str) -> str:
        """Both look before either writes, unless one lets the other not look."""
        holder = await real(tx, xero_tenant_id)
        looks.append(holder)
        await blocked_or_done(around, lambda: len(looks) >= 2)
        return holder

    monkeypatch.setattr(connections, "holder_of", holder_of)
    outcomes = await asyncio.gather(*(come_back(around, started) for started in both), return_exceptions=True)
    (settled,) = [outcome for outcome in outcomes if isinstance(outcome, Link)]
    (refused,) = [outcome for outcome in outcomes if not isinstance(outcome, Link)]
    assert isinstance(refused, OrganisationAlreadyConnectedError), repr(refused)
    assert refused.facts["connection_id"] == settled.id


# A delivery of webhooks waits for nobody


def notice(link: Link, around: World) -> Notice:
    return Notice(
        xero_tenant_id=link.xero_tenant_id,
        entity=Entity.INVOICES,
        xero_id="i1",
        kind="UPDATE",
        at=around.clock.now(),
    )


async def named(around: World, link: Link) -> list[str]:
    """What the inbox names."""
    async with around.database.read() as tx:
        return [one.xero_id for one in await webhooks.due(tx, link.id, around.clock.now(), 10)]


async def test_a_delivery_is_kept_while_a_fetch_commits_and_read_after_it(around: World, link: Link) -> None:
    async with arrivals_of(around) as arrived:
        await arrived.receive([notice(link, around)])
        assert await arrived.sort()
        lease = await take(around, NEWS, link.id)
        assert lease
        async with around.database.write() as tx:  # it has looked at the inbox for the last time
            assert await work.hold(tx, lease)
            await webhooks.forget(tx, link.id)
            async with asyncio.timeout(5):
                await arrived.receive([notice(link, around)])
            sorting = asyncio.ensure_future(arrived.sort())
            await blocked_or_done(around, sorting.done)
            assert not sorting.done()
            await work.finish(tx, lease, again_at=None)
        assert await sorting
    assert await named(around, link) == ["i1"]
    assert await take(around, NEWS, link.id)


async def test_a_delivery_that_was_kept_is_read_by_the_next_process(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with arrivals_of(around) as killed:
        await killed.receive([notice(link, around)])
    for take_out in (killed_before, arrivals.take_out):
        monkeypatch.setattr(arrivals, "take_out", take_out)
        async with arrivals_of(around) as following:
            with contextlib.suppress(KilledError):
                assert await following.sort()
        assert await named(around, link) == ["i1"]
    async with arrivals_of(around) as following:
        assert not await following.sort()


class KilledError(Exception):
    """The process ends here."""


async def killed_before(_tx: Transaction, _arrivals: Sequence[arrivals.Arrival]) -> None:
    raise KilledError


# Cancelling while pages come in


async def test_cancelling_while_pages_are_committed_never_takes_progress_back(
    around: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = await latest(around, link.id)
    stop = Stop(syncs, monkeypatch)
    cancelling = await stop.stopped(around.subjects.syncs.cancel(sync.id))
    running = asyncio.ensure_future(sync_to_the_end(around, link.id))
    await blocked_or_done(around, running.done)
    stop.go.set()
    await asyncio.gather(cancelling, running)
    story = await told(around, sync.id)
    assert (await latest(around, link.id)) == story[-1]
    assert story[-1].state == "CANCELLED"
    assert [s.calls for s in story] == sorted(s.calls for s in story)
    assert [s.percent for s in story] == sorted(s.percent for s in story)
    milestones = [len(s.milestones) for s in story]
    assert milestones == sorted(milestones)


async def told(around: World, sync_id: str) -> list[SyncRecord]:
    async with around.database.read() as tx:
        about = await events.about(tx, sync_id, topic="sync", after=0, limit=1000)
    return [msgspec.json.decode(event.payload, type=Progress).sync for event in about]
