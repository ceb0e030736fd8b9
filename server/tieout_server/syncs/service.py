"""What callers do with syncs: ask for one, look at it, end it; and the work that carries it out."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.connections.means import AFTER_CONSENT
from tieout_server.connections.service import Connections
from tieout_server.connections.state import ConnectionState, check_can_read
from tieout_server.errors import NotFoundError, NotPermittedNowError, PersonMustActError, XeroUnavailableError
from tieout_server.events.feed import SYNC, Feed
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.links import Link
from tieout_server.storage import connections, syncs, watermarks
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.events import Event
from tieout_server.storage.syncs import Resolution, SyncRecord
from tieout_server.syncs import progress, schedule, trouble
from tieout_server.syncs.means import POLL, SWEEP, SYNCING, Means
from tieout_server.syncs.plan import Line, Plan, first_lines, incremental_lines
from tieout_server.syncs.progress import Progress
from tieout_server.syncs.run import Run, StoppedError
from tieout_server.syncs.state import ACTIVE, Decision, Happening, SyncMode, SyncState, move
from tieout_server.work.engine import Job, Lane, Priority
from tieout_server.work.requests import Requests

logger = log.get("syncs")

AFTER_ANOTHER = timedelta(seconds=30)
"""Between looks whether the sync has ended after which what was missed is to be read."""


class StartSync(msgspec.Struct, frozen=True):
    """A request to sync a connection. No entities means all."""

    connection_id: str
    mode: SyncMode = SyncMode.INCREMENTAL
    entities: tuple[Entity, ...] = ()
    requested_by: str = ""
    request_id: str = ""


class ResolveHeldSync(msgspec.Struct, frozen=True):
    """A decision about a sync that is held, and why it was made."""

    sync_id: str
    decision: Decision
    note: str = ""
    request_id: str = ""


class Asked(msgspec.Struct, frozen=True):
    """The sync that answers a request; `joined` if it was under way before."""

    sync: SyncRecord
    joined: bool


class Syncs:
    """The syncs of all connections."""

    def __init__(self, means: Means, links: Connections, requests: Requests) -> None:
        self._database: Database = means.database
        self._feed: Feed = means.feed
        self._clock: Clock = means.clock
        self._means = means
        self._links = links
        self._requests = requests
        means.engine.register(AFTER_CONSENT, Lane.READ, self.begin)
        means.engine.register(SYNCING, Lane.READ, self.perform)
        links.at_end(self._end)

    async def start(self, asked: StartSync) -> Asked:
        """Have a connection synced. While a sync is under way that one is the answer; there is never a second.

        Raises:
            NotFoundError: there is no such connection.
            ConnectionNotUsableError: somebody has to act first.
            RequestIdReusedError: the request_id came before with other content.
        """
        async with self._database.write() as tx:
            link = await connections.get(tx, asked.connection_id, lock=True)
            if link is None:
                raise NotFoundError("connection", asked.connection_id)
            if earlier := await self._requests.earlier(tx, "StartSync", asked.request_id, asked, Asked):
                return earlier
            check_can_read(link)
            current = await self._under_way(tx, link.id)
            sync = current or await self._create(tx, link, asked)
            await self._wake(tx, link)
            answer = Asked(sync, joined=current is not None)
            await self._requests.keep(tx, "StartSync", asked.request_id, asked, answer)
            if not answer.joined:
                await self._tell(tx, sync)
        return answer

    async def get(self, sync_id: str) -> SyncRecord:
        """The sync with this id.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.read() as tx:
            return await self._get(tx, sync_id)

    async def page(
        self, connection_id: str, *, states: Sequence[SyncState], before: int | None, limit: int
    ) -> Sequence[SyncRecord]:
        """The syncs of a connection, newest first.

        Raises:
            NotFoundError: there is no such connection.
        """
        async with self._database.read() as tx:
            if await connections.get(tx, connection_id) is None:
                raise NotFoundError("connection", connection_id)
            return await syncs.page(tx, connection_id, states=states, before=before, limit=limit)

    async def cancel(self, sync_id: str, request_id: str = "") -> SyncRecord:
        """End a sync before its time; what was read stays. One that has ended is answered as it is.

        Raises:
            NotFoundError: there is no such sync.
            RequestIdReusedError: the request_id came before with other content.
        """
        async with self._database.write() as tx:
            if earlier := await self._requests.earlier(tx, "CancelSync", request_id, sync_id, SyncRecord):
                return earlier
            sync = await self._get(tx, sync_id, lock=True)
            if sync.state not in ACTIVE:
                return sync
            ended = await self._cancelled(tx, sync)
            await self._requests.keep(tx, "CancelSync", request_id, sync_id, ended)
            await self._tell(tx, ended)
        return ended

    async def resolve(self, asked: ResolveHeldSync) -> SyncRecord:
        """Decide about a sync that is held: it goes on, or ends with nothing changed; a repeat answers as it is.

        Raises:
            NotFoundError: there is no such sync.
            NotPermittedNowError: it is not held, and this is not what was decided about it.
            RequestIdReusedError: the request_id came before with other content.
        """
        method = "ResolveHeldSync"
        async with self._database.write() as tx:
            if earlier := await self._requests.earlier(tx, method, asked.request_id, asked, SyncRecord):
                return earlier
            sync = await self._get(tx, asked.sync_id)
            # The work is locked before the sync.
            await self._means.engine.wake(tx, SYNCING, sync.connection_id, priority=Priority.ASKED)
            sync = await self._get(tx, asked.sync_id, lock=True)
            if sync.state == SyncState.HELD:
                sync = await self._resolved(tx, sync, asked)
            elif sync.resolution is None or sync.resolution.decision != asked.decision:
                raise NotPermittedNowError(f"The sync is not held: it is {sync.state}.", state=sync.state)
            await self._requests.keep(tx, method, asked.request_id, asked, sync)
        return sync

    async def _cancelled(self, tx: Transaction, sync: SyncRecord) -> SyncRecord:
        now = self._clock.now()
        state = move(SyncState(sync.state), Happening.CANCELLED)
        ended = msgspec.structs.replace(
            sync, state=state, ended_at=now, updated_at=now, eta_at=None, waiting_by="", waiting_until=None
        )
        await syncs.save(tx, ended, while_in=ACTIVE)
        return ended

    async def _end(self, tx: Transaction, connection_id: str) -> None:
        """Cancel what is under way, as the connection ends."""
        if current := await self._under_way(tx, connection_id):
            locked = await self._get(tx, current.id, lock=True)
            if locked.state in ACTIVE:
                await self._tell(tx, await self._cancelled(tx, locked))

    async def progress(self, tx: Transaction, sync: SyncRecord) -> Progress:
        """How far this sync has come, as this transaction sees it."""
        return progress.of(sync, Plan(await _lines(tx, sync)))

    async def begin(self, job: Job) -> datetime | None:
        """Begin the sync that follows a consent: of everything the first time, later of what was missed.

        While a sync is under way that does not close the gap, it is waited for; one that is held is cancelled, as
        nobody knows when it would be decided about. What is still doubted will be held again.
        """
        async with self._database.write() as tx:
            link = await connections.get(tx, job.connection_id, lock=True)
            await job.hold(tx)
            if link is None or link.state != ConnectionState.CONNECTED:  # it was disconnected right after the consent
                return None
            await self._wake(tx, link)
            current = await self._under_way(tx, link.id)
            if current and current.state == SyncState.HELD and link.gap_from_at:
                await self._end(tx, link.id)
                current = await self._under_way(tx, link.id)
            if current is None:
                asked_by = "reconnect" if link.last_synced_at else "connect"
                await self._tell(tx, await self._create(tx, link, StartSync(link.id, requested_by=asked_by)))
        is_partial = current is not None and set(current.entities) != set(Entity)
        return self._clock.now() + AFTER_ANOTHER if is_partial and link.gap_from_at else None

    async def perform(self, job: Job) -> datetime | None:
        """Do one slice of the connection's sync."""
        found = await self._take_up(job)
        if found is None:
            return None
        link, sync, lines = found
        run = Run(self._means, self._links, job, sync, lines, is_awaited=_is_awaited(link, sync))
        try:
            return await self._go_on(run, link)
        except StoppedError:
            logger.info("sync was cancelled", sync_id=sync.id)
            return None

    async def _go_on(self, run: Run, link: Link) -> datetime | None:
        try:
            again_at = await run.go_on(self._links.books(link))
        except PersonMustActError as refusal:
            # The connection first: killed in between, the next slice finds it unusable and fails the sync.
            link = await self._links.access_lost(link.id, refusal)
            if link.state == ConnectionState.CONNECTED:  # by a new consent, or nothing was proven: it is tried again
                again_at = trouble.after_refusal(link, self._clock.now())
                return await run.wait_for(XeroUnavailableError(refusal.sentence, again_at), is_told=True)
            return await run.end_with_connection(refusal)
        if run.sync.state not in (SyncState.SUCCEEDED, SyncState.WAITING):  # those are told with their connection
            await self._links.health(link.id, None)
        return again_at

    async def _take_up(self, job: Job) -> tuple[Link, SyncRecord, list[Line]] | None:
        """The connection's sync under way with its lines; None if there is nothing to do."""
        async with self._database.write() as tx:
            await job.hold(tx)
            link = await connections.get(tx, job.connection_id)
            sync = await self._under_way(tx, job.connection_id)
            if link is None or sync is None or sync.state == SyncState.HELD:
                return None
            return link, sync, await _lines(tx, sync)

    async def _create(self, tx: Transaction, link: Link, asked: StartSync) -> SyncRecord:
        now = self._clock.now()
        entities = asked.entities if asked.entities and link.last_synced_at else tuple(Entity)  # the first is whole
        marks = {entity: mark.watermark_at for entity, mark in (await watermarks.every(tx, link.id)).items()}
        mode = asked.mode if link.last_synced_at else SyncMode.FULL
        lines = first_lines(entities) if mode is SyncMode.FULL else incremental_lines(entities, marks)
        sync = SyncRecord(
            id=f"syn_{secrets.token_hex(10)}",
            connection_id=link.id,
            ordinal=await connections.next_sync_ordinal(tx, link.id),
            mode=mode,
            state=SyncState.QUEUED,
            entities=tuple(entities),
            requested_by=asked.requested_by,
            created_at=now,
            updated_at=now,
        )
        await syncs.insert(tx, sync)
        await syncs.put_lines(tx, sync.id, [progress.dump_line(rank, line) for rank, line in enumerate(lines)])
        return sync

    async def _resolved(self, tx: Transaction, held: SyncRecord, asked: ResolveHeldSync) -> SyncRecord:
        """The sync after the decision; one that was discarded keeps saying what it was held for."""
        now = self._clock.now()
        resolution = Resolution(asked.decision, asked.note, now)
        sync = msgspec.structs.replace(held, updated_at=now, resolution=resolution)
        if asked.decision is Decision.DISCARD:
            state = move(SyncState(held.state), Happening.CANCELLED)
            sync = msgspec.structs.replace(sync, state=state, ended_at=now)
        else:
            state = move(SyncState(held.state), Happening.CONFIRMED)
            sync = msgspec.structs.replace(sync, state=state, fault=None)
            await _confirm_lines(tx, held)
        await syncs.save(tx, sync, while_in=(SyncState.HELD,))
        await self._tell(tx, sync)
        logger.info("held sync was resolved", sync_id=sync.id, decision=asked.decision, note=asked.note)
        return sync

    async def _wake(self, tx: Transaction, link: Link) -> None:
        """Have the connection's sync carried out, and what follows without being asked for."""
        await self._means.engine.wake(tx, SYNCING, link.id, priority=Priority.ASKED)
        soon = self._clock.now() + schedule.OFTEN
        for kind in (POLL, SWEEP):
            await self._means.engine.wake(tx, kind, link.id, priority=Priority.POLL, at=soon)

    async def _under_way(self, tx: Transaction, connection_id: str) -> SyncRecord | None:
        newest = await syncs.latest(tx, connection_id)
        return newest if newest and newest.state in ACTIVE else None

    async def _get(self, tx: Transaction, sync_id: str, *, lock: bool = False) -> SyncRecord:
        sync = await syncs.get(tx, sync_id, lock=lock)
        if sync is None:
            raise NotFoundError("sync", sync_id)
        return sync

    async def _tell(self, tx: Transaction, sync: SyncRecord) -> None:
        payload = msgspec.json.encode(await self.progress(tx, sync))
        await self._feed.append(tx, Event(0, sync.connection_id, SYNC, sync.id, sync.updated_at, payload))


def _is_awaited(link: Link, sync: SyncRecord) -> bool:
    """Whether nothing is here before this sync has ended, or nothing says what a break of the connection left out."""
    return link.last_synced_at is None or (link.gap_from_at is not None and set(sync.entities) == set(Entity))


async def _confirm_lines(tx: Transaction, sync: SyncRecord) -> None:
    """Let no gate close again for what was doubted."""
    changed = []
    for rank, line in enumerate(await _lines(tx, sync)):
        if line.held:
            line.held, line.confirmed = False, True
            changed.append(progress.dump_line(rank, line))
    await syncs.put_lines(tx, sync.id, changed)


async def _lines(tx: Transaction, sync: SyncRecord) -> list[Line]:
    return [progress.load_line(stored) for stored in await syncs.lines(tx, sync.id)]
