"""Reading without being asked: what polling and sweeping have in common.

It stands back while a sync is at work, writes no progress, and tells of what changed only. What contradicts what it
found is put where webhooks are kept, and read next. Trouble is told of as a sync tells of it: by the connection.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from tieout_server import log
from tieout_server.connections import reasons
from tieout_server.connections.means import AFTER_CONSENT
from tieout_server.connections.service import Connections
from tieout_server.connections.state import ConnectionHealth, ConnectionState
from tieout_server.errors import BugError, OperatorMustActError, PersonMustActError, TryAgainError, XeroUnavailableError
from tieout_server.ledger.books import IDS_AT_ONCE, Books, HeldUp, Page, Purpose
from tieout_server.ledger.documents import Document, Entity
from tieout_server.ledger.links import Link
from tieout_server.storage import connections, syncs, watermarks, work
from tieout_server.storage.database import Transaction
from tieout_server.syncs import schedule
from tieout_server.syncs import trouble as troubles
from tieout_server.syncs.doubts import DISCARDED_FOR, DOUBTED_FOR, discarded
from tieout_server.syncs.followers import follow
from tieout_server.syncs.gates import Doubt
from tieout_server.syncs.intake import Origin, id_of, take_in
from tieout_server.syncs.means import Means
from tieout_server.syncs.plan import Line, Request
from tieout_server.syncs.service import StartSync, Syncs
from tieout_server.syncs.state import AT_WORK, SyncMode, SyncState
from tieout_server.work.engine import Job

logger = log.get("syncs")

STAND_BACK = timedelta(minutes=5)
"""How long to leave a connection alone whose sync is at work."""
STUCK = 10
"""Failures in a row after which nobody stands back for a sync any more: some 20 minutes of an outage, or an hour of an
answer that is not understood. What it is stuck at may be one page."""
SCHEDULE = "schedule"
"""Who asks for a sync that a closed gate calls for."""

Mark = Callable[[Transaction, int], Awaitable[None]]
"""Notes, in the transaction of a page, that it was read and how many of its rows were new or changed."""


class Reading:
    """One connection's books, in hand for one slice of work."""

    def __init__(self, means: Means, job: Job, link: Link, books: Books) -> None:
        self._means = means
        self._books = books
        self.job = job
        self.link = link
        self.refused_until: datetime | None = None
        """Until when to leave alone what was refused, though the connection is in order; None if nothing was."""

    async def walk(self, line: Line, mark: Mark | None = None) -> set[str]:
        """Read a listing to its end, page by page; answers the ids that were met.

        Raises:
            DoubtedError: a gate closed; what came before that page is committed.
        """
        met: set[str] = set()
        while (request := next(line.requests(frozenset()), None)) is not None:
            page = await self.read(request)
            await self.keep(line, page, request, mark)
            met.update(id_of(document) for document in page.documents)
        return met

    async def read(self, request: Request) -> Page:
        """One page, however long its call has to wait: the job stays ours meanwhile."""
        return await self._books.read(request.query, request.purpose)

    async def read_again(self, line: Line, ids: Sequence[str]) -> None:
        """Read these documents of the line's entity by their ids, and commit them together: doubted, none of them is.

        Raises:
            DoubtedError: a gate closed.
        """
        documents: list[Document] = []
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            documents += (await self._books.by_ids(line.entity, some, Purpose.POLL)).documents
        now, count = self._means.clock.now(), len(documents)
        await self.keep(line, Page(documents=documents, page_count=1, item_count=count, served_at=now))

    async def keep(self, line: Line, page: Page, request: Request | None = None, mark: Mark | None = None) -> None:
        """Commit a page, tell of what changed, and have read what that contradicts."""
        now = self._means.clock.now()
        async with self._means.database.write(durable=False) as tx:
            await self.job.hold(tx)
            origin = Origin(self.link.id, await connections.sync_ordinal(tx, self.link.id), now)
            if page.documents:  # before the documents: see Transaction
                await self._means.wake_news(tx, self.link.id)
            changed = await take_in(tx, origin, line, page, is_first=line.begins_with_all and request is not None)
            if request is not None:
                line.take(request, page)
            if mark is not None:
                await mark(tx, changed)
            if changed:
                await follow(tx, self.link.id, page.documents, now)
                await self._means.feed.tell_of_changes(tx, self.link.id)


class Readings:
    """How reading without being asked begins, and what becomes of its trouble."""

    def __init__(self, means: Means, links: Connections, service: Syncs) -> None:
        self._means = means
        self._links = links
        self._service = service

    async def begin(self, job: Job) -> Reading | datetime | None:
        """The connection's books; when to come back while a sync is at work; None if it is not connected.

        Raises:
            PersonMustActError: its books do not open.
        """
        async with self._means.database.read() as tx:
            link = await connections.get(tx, job.connection_id)
            sync = await syncs.latest(tx, job.connection_id)
            # What closes the gap of a break goes first, or what is read here would be missing from what it tells.
            is_coming = await work.is_wanted(tx, AFTER_CONSENT, job.connection_id)
        if link is None or link.state != ConnectionState.CONNECTED:
            return None
        is_syncing = sync is not None and sync.state in AT_WORK and sync.failures < STUCK
        if link.last_synced_at is None or is_coming or is_syncing:
            return self._means.clock.now() + STAND_BACK
        return Reading(self._means, job, link, self._links.books(link))

    async def carry_out(self, job: Job, errand: Callable[[Reading], Awaitable[datetime | None]]) -> datetime | None:
        """Do an errand with the connection's books; answers when to come back, or None if it is not connected.

        Raises:
            BugError: Xero answered what nobody documented, or what cannot be stored.
            LostLeaseError: another owner has the work now.
        """
        try:
            reading = await self.begin(job)
            if not isinstance(reading, Reading):
                return reading
            again_at = await errand(reading)
        except (OperatorMustActError, TryAgainError) as trouble:
            return await self._wait_for(job, trouble)
        except PersonMustActError as refusal:
            link = await self._links.access_lost(job.connection_id, refusal)
            still = link.state == ConnectionState.CONNECTED
            return troubles.after_refusal(link, self._means.clock.now()) if still else None
        if reading.link.health != ConnectionHealth.OK and not await self._is_refused_still(reading):
            await self._links.health(reading.link.id, None)
        return again_at

    async def refused(self, reading: Reading, refusal: PersonMustActError) -> datetime | None:
        """When to ask again for what was refused, so that the rest is read meanwhile; None if the connection is lost.

        Why is looked into once in an errand: that costs up to five calls.
        """
        if reading.refused_until is None:
            link = await self._links.access_lost(reading.link.id, refusal)
            if link.state != ConnectionState.CONNECTED:
                return None
            reading.refused_until = troubles.after_refusal(link, self._means.clock.now())
        return reading.refused_until

    async def unanswered(self, reading: Reading, trouble: XeroUnavailableError, read_at: datetime) -> datetime:
        """When to ask again for what was read then and is not answered for now, while the rest is."""
        await self.say_unread(reading, trouble)
        return troubles.after_refusal(await self._links.get(reading.link.id), self._means.clock.now(), read_at=read_at)

    async def say_unread(self, reading: Reading, trouble: BugError | XeroUnavailableError) -> None:
        """Have the connection say, until all is read again, that a part of its books cannot be."""
        said = troubles.of_a_part(reading.link, trouble, self._means.clock.now())
        await self._links.health(reading.link.id, said)

    async def doubted(self, reading: Reading, entity: Entity, mode: SyncMode, doubt: Doubt) -> datetime:
        """Have a sync meet the gate that closed, so that somebody decides; answers when to look again.

        What was discarded within a day is not asked again, and what is doubted while another sync is held not yet.
        """
        now = self._means.clock.now()
        async with self._means.database.read() as tx:
            latest = await syncs.latest(tx, reading.link.id)
            discarded_at = (await discarded(tx, reading.link.id)).get(entity)
        if latest and latest.state == SyncState.HELD:
            return now + DOUBTED_FOR
        if discarded_at and now < discarded_at + DISCARDED_FOR:
            return discarded_at + DISCARDED_FOR
        logger.warning("gate closed", connection_id=reading.link.id, gate=doubt.gate, entity=entity)
        await self._service.start(StartSync(reading.link.id, mode, (entity,), SCHEDULE))
        return now + DOUBTED_FOR

    async def _is_refused_still(self, reading: Reading) -> bool:
        """Whether something that was refused has not been read since, or a sync is stuck, which tells of it itself.

        The accounts are due once a day only.
        """
        reason = reading.link.reason
        async with self._means.database.read() as tx:
            latest = await syncs.latest(tx, reading.link.id)
            marks = await watermarks.every(tx, reading.link.id)
        if reading.refused_until is not None or (latest and latest.state in AT_WORK):
            return True
        if reason is None or not reasons.only_reading_tells(reason):
            return False
        due_by = dict.fromkeys(marks, reason.observed_at)
        due_by[Entity.ACCOUNTS] = min(reason.observed_at, self._means.clock.now() - schedule.DAY)
        return any(mark.last_read_at <= due_by[entity] for entity, mark in marks.items())

    async def _wait_for(self, job: Job, trouble: OperatorMustActError | TryAgainError) -> datetime:
        """Park the connection's reading until the trouble has passed, and say so."""
        now = self._means.clock.now()
        async with self._means.database.write() as tx:
            link = await connections.get(tx, job.connection_id, lock=True)  # before the work: see Transaction
            assert link is not None, "its books were open"
            await job.hold(tx)
            known = trouble.retry_at if isinstance(trouble, TryAgainError) else None
            until = known or troubles.after_outage(link, now)
            await watermarks.postpone(tx, job.connection_id, until)
            held = HeldUp(troubles.waiting_for(trouble), until)
            await self._links.note(tx, link, troubles.reason(link, held, trouble, now))
        logger.warning("reading waits", connection_id=job.connection_id, until=until, trouble=trouble.sentence)
        return until
