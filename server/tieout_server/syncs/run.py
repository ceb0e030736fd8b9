"""One slice of a sync: pages are read several at once, and each is committed with the progress it makes.

A page, its rows, the line it belongs to and the event that tells of it are one transaction, which counts only while
the sync is still ours (the fence) and still wanted (its state). Killed at any instruction, the next owner goes on
from what was committed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import BugError, DrainingError, PersonMustActError, TryAgainError, UnexpectedAnswerError
from tieout_server.events.feed import SYNC
from tieout_server.ledger.books import Books, HeldUp, Page
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.links import Gap, Link, Owner
from tieout_server.storage import connections, mirror, sweeps, syncs, watermarks
from tieout_server.storage.database import Transaction
from tieout_server.storage.events import Event
from tieout_server.storage.sweeps import Sweep
from tieout_server.storage.syncs import SyncFault, SyncRecord
from tieout_server.storage.watermarks import Watermark
from tieout_server.syncs import progress, schedule
from tieout_server.syncs.gates import Doubt
from tieout_server.syncs.intake import DoubtedError, Origin, take_in
from tieout_server.syncs.means import COMPARE, SWEEP, Means
from tieout_server.syncs.plan import Line, Plan, Request
from tieout_server.syncs.schedule import SUMS
from tieout_server.syncs.state import AT_WORK, Happening, Milestone, SyncMode, SyncPhase, SyncState, move
from tieout_server.syncs.trouble import PASSING, Trouble, may_pass, reason, waiting_for
from tieout_server.work.engine import Job, Priority

logger = log.get("syncs")

AT_ONCE = 5
"""Reads in flight: what Xero allows at once per organisation (OAuth 2.0 limits)."""
SLICE = timedelta(seconds=10)
"""How long a slice goes on reading before others of its lane may have their turn."""
ROUNDS = 3
"""Catch-up rounds after a first sync, at most; what changes later is the next sync's business."""
TRIES = 2
"""How often a listing is walked before a sync whose rows do not add up is given up."""
PATIENCE = 1.0
"""Seconds without an answer after which it is asked what holds the calls up."""
FIRST_RETRY = timedelta(seconds=2)
LAST_RETRY = timedelta(minutes=5)
LAST_RETRY_OF_ODD = timedelta(hours=1)
"""Between tries to read what is not understood: it may stay so for long, and each costs of the day's calls."""


class StoppedError(Exception):
    """The sync is not to go on: it was cancelled."""


class Run:
    """A sync in hand, with the plan that its committed lines make."""

    def __init__(
        self, means: Means, links: Connections, job: Job, sync: SyncRecord, lines: Sequence[Line], *, is_awaited: bool
    ) -> None:
        """Where it `is_awaited`, nothing else makes up for it: an answer that is not understood is asked for again."""
        self._means = means
        self._links = links
        self._job = job
        self._sync = sync
        self._plan = Plan(lines)
        self._slice_began_at = means.clock.now()
        self._rows = 0
        self._is_awaited = is_awaited
        self._odd: dict[str, BugError] = {}
        """The lines that are left alone for the rest of the slice, and what of their answers was not understood."""
        self._in_flight: dict[asyncio.Task[Page], Request] = {}

    @property
    def sync(self) -> SyncRecord:
        """The sync as it was last kept."""
        return self._sync

    async def go_on(self, books: Books) -> datetime | None:
        """Read on for one slice; answers when to go on, or None when the sync has ended or is held.

        Raises:
            StoppedError: the sync was ended meanwhile.
            PersonMustActError: Xero refuses us; the connection has to learn of it first, then the sync fails.
            LostLeaseError: another owner has the sync now; nothing of ours was committed since.
        """
        try:
            while not await self._settle():
                self._start_reads(books)
                if self._in_flight:
                    await self._commit_what_arrived(books)
                elif self._is_slice_over():
                    return self._means.clock.now()
                else:  # nothing is left to read but what is odd
                    return await self.wait_for(next(iter(self._odd.values())))
        except DoubtedError as doubted:
            await self._hold(doubted.doubt)
        except PASSING as trouble:
            return await self.wait_for(trouble)
        except BugError as bug:
            logger.exception("sync failed", sync_id=self._sync.id)
            await self.fail(SyncFault(bug.reason, bug.sentence, "OPERATOR"))
        finally:
            await self._abandon_reads()
        return None

    async def fail(self, fault: SyncFault) -> None:
        """End the sync with this fault."""
        async with self._means.database.write() as tx:
            await self._job.hold(tx)
            await self._fail(tx, fault)

    async def end_with_connection(self, refusal: PersonMustActError) -> datetime | None:
        """End the sync after its connection; where somebody has consented since, it goes on at once instead."""
        async with self._means.database.write() as tx:
            link = await connections.get(tx, self._sync.connection_id, lock=True)  # before the work: see Transaction
            await self._job.hold(tx)
            if link and link.state == ConnectionState.CONNECTED:
                return self._means.clock.now()
            owner = link.reason.owner if link and link.reason else Owner.MERCHANT
            await self._fail(tx, SyncFault("RECONNECT_REQUIRED", refusal.sentence, owner))
        return None

    async def _fail(self, tx: Transaction, fault: SyncFault) -> None:
        await self._keep(tx, Happening.BROKEN, fault=fault, waiting_by="", waiting_until=None, eta_at=None)

    def _is_slice_over(self) -> bool:
        return self._job.is_leaving or self._means.clock.now() - self._slice_began_at >= SLICE

    def _start_reads(self, books: Books) -> None:
        """Fill up what may be in flight with the most wanted reads."""
        while len(self._in_flight) < AT_ONCE and not self._is_slice_over():
            wanted = self._plan.requests(list(self._in_flight.values()))
            request = next((request for request in wanted if request.line not in self._odd), None)
            if request is None:
                return
            read = asyncio.create_task(books.read(request.query, request.purpose))
            self._in_flight[read] = request

    async def _commit_what_arrived(self, books: Books) -> None:
        """Wait for an answer and commit it; if none comes, say what it is waiting for."""
        arrived, _ = await asyncio.wait(self._in_flight, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not arrived:
            await self._say_why(books.held_up())
        for read in arrived:
            request = self._in_flight.pop(read)
            try:
                await self._commit(request, read.result())
            except DrainingError:  # not asked; whoever goes on asks for it
                continue
            except BugError as bug:
                if not (self._is_awaited and may_pass(bug)):
                    raise
                self._odd[request.line] = bug

    async def _commit(self, request: Request, page: Page) -> None:
        """Keep a page with all that follows from it."""
        line = self._plan.line(request.line)
        origin = Origin(self._sync.connection_id, self._sync.ordinal, self._means.clock.now(), self._sync.id)
        async with self._means.database.write(durable=False) as tx:
            await self._job.hold(tx)
            try:
                await take_in(tx, origin, line, page, is_first=line.begins_with_all)
            except DoubtedError:
                line.held = True
                raise
            line.take(request, page)
            line.here_at = line.here_at or origin.at
            self._rows += len(page.documents)
            await self._keep(
                tx,
                Happening.PROGRESS,
                line,
                calls=self._sync.calls + 1,
                bytes_wire=self._sync.bytes_wire + page.bytes_wire,
                failures=0,
                waiting_by="",
                waiting_until=None,
            )

    async def _hold(self, doubt: Doubt) -> None:
        """Stand still until somebody has decided about what is doubted."""
        fault = SyncFault(doubt.gate, doubt.sentence, Owner.OPERATOR)
        held = [line for line in self._plan.lines if line.held]
        async with self._means.database.write() as tx:
            await self._job.hold(tx)
            await self._keep(tx, Happening.DOUBTED, *held, fault=fault, waiting_by="", waiting_until=None, eta_at=None)
        logger.warning("sync is held", sync_id=self._sync.id, gate=doubt.gate)

    async def _settle(self) -> bool:
        """Once all lines are done: plan what has to be read again, or end the sync. Answers whether it has ended."""
        if not self._plan.is_done or self._in_flight:
            return False
        more = self._plan.catch_up(ROUNDS)
        async with self._means.database.write() as tx:
            link = await connections.get(tx, self._sync.connection_id, lock=True)  # before the work: see Transaction
            await self._job.hold(tx)
            if more:
                self._plan.lines.extend(more)
                await self._keep(tx, Happening.PROGRESS, *more)
            elif short := await self._short_lines(tx):
                await self._keep(tx, Happening.PROGRESS, *short)
            else:
                await self._finish(tx, link)
        return self._sync.state == SyncState.SUCCEEDED

    async def _short_lines(self, tx: Transaction) -> list[Line]:
        """The listings of which fewer rows are here than Xero counted: they are walked once more."""
        short = []
        for line in self._plan.lines:
            if line.is_listing and line.expected:
                seen = await mirror.count_seen(tx, self._sync.connection_id, line.entity, self._sync.ordinal)
                if seen + sum(line.payables.values()) < line.expected:
                    short.append(line)
        for line in short:
            logger.warning("listing does not add up", sync_id=self._sync.id, line=line.name, tries=line.tries)
            if line.tries >= TRIES:
                raise BugError(f"Xero counts more {line.entity} than it serves; the sync was given up.")
            line.begin_again()
        return short

    async def _finish(self, tx: Transaction, link: Link | None) -> None:
        for follows in (SWEEP, COMPARE):  # what was found may not add up yet, or not with what Xero states
            await self._means.engine.wake(tx, follows, self._sync.connection_id, priority=Priority.POLL)
        now = self._means.clock.now()
        moved = {line.entity for line in self._plan.lines if line.upserted}
        read_up_to = _read_up_to(self._plan.lines)
        here_at = {line.entity: line.here_at for line in self._plan.lines}  # it may have stood still since, for hours
        for entity, read_at in read_up_to.items():
            next_at = now + (schedule.DAY if entity is Entity.ACCOUNTS else schedule.OFTEN)
            moved_at = now if entity in moved else None
            mark = Watermark(read_at, here_at[entity] or now, next_read_at=next_at, moved_at=moved_at)
            await watermarks.put(tx, self._sync.connection_id, entity, mark)
        await sweeps.put(tx, self._sync.connection_id, SUMS, Sweep(now))
        await self._keep(tx, Happening.FINISHED, percent=100.0, ended_at=now, eta_at=None)
        if link:
            await self._links.synced(tx, link, self._gap_closed(link, read_up_to))
        logger.info("sync succeeded", sync_id=self._sync.id, calls=self._sync.calls)

    def _gap_closed(self, link: Link, read_up_to: Mapping[Entity, datetime]) -> Gap | None:
        """The break of the connection that this sync has made up for, if there was one and it has."""
        if link.gap_from_at is None or set(read_up_to) != set(Entity):
            return None
        changes = sum(line.upserted + line.removed for line in self._plan.lines)
        return Gap(from_at=link.gap_from_at, to_at=min(read_up_to.values()), changes=changes)

    async def wait_for(self, trouble: Trouble, *, is_told: bool = False) -> datetime:
        """Park the sync until the trouble has passed; no worker sleeps meanwhile.

        Its connection says why, unless it does already (`is_told`).
        """
        failures = self._sync.failures + 1
        is_odd = isinstance(trouble, BugError)
        pause = min(FIRST_RETRY * 2 ** min(failures, 11), LAST_RETRY_OF_ODD if is_odd else LAST_RETRY)
        by = waiting_for(trouble)
        fault = SyncFault(UnexpectedAnswerError.reason, trouble.sentence, Owner.XERO) if is_odd else None
        known = trouble.retry_at if isinstance(trouble, TryAgainError) else None
        again_at = known or self._means.clock.now() + pause
        async with self._means.database.write() as tx:
            link = await connections.get(tx, self._sync.connection_id, lock=True)  # before the work: see Transaction
            await self._job.hold(tx)
            await self._keep(
                tx, Happening.HELD_UP, waiting_by=by, waiting_until=again_at, failures=failures, fault=fault
            )
            if link and not is_told:
                why = reason(link, HeldUp(by, again_at), trouble, self._sync.updated_at)
                await self._links.note(tx, link, why)
        logger.warning("sync waits", sync_id=self._sync.id, by=by, until=again_at, trouble=trouble.sentence)
        return again_at

    async def _say_why(self, held: HeldUp | None) -> None:
        """Say once what the calls in flight wait for."""
        if held is None or self._sync.waiting_by == held.by:
            return
        async with self._means.database.write(durable=False) as tx:
            await self._job.hold(tx)
            await self._keep(tx, Happening.HELD_UP, waiting_by=held.by, waiting_until=held.until)

    async def _keep(self, tx: Transaction, happening: Happening, *lines: Line, **changes: object) -> None:
        """Keep the sync with these changes and lines, and tell its watchers.

        Raises:
            StoppedError: the sync was ended meanwhile; nothing of this transaction may count.
        """
        now = self._means.clock.now()
        reached = self._newly_reached(happening)
        changed = {
            "phase": self._phase(happening),
            "percent": progress.percent(self._plan, self._sync.percent),
            "eta_at": self._eta(now),
            "started_at": self._sync.started_at or now,
            "milestones": dict(self._sync.milestones) | {milestone.value: now for milestone in reached},
            "fault": None,
            **changes,
        }
        if happening is Happening.HELD_UP:
            changed["eta_at"] = None
        state = move(SyncState(self._sync.state), happening)
        if happening is Happening.BROKEN:
            changed["ended_at"] = now
        sync = msgspec.structs.replace(self._sync, state=state, updated_at=now, **changed)
        if not await syncs.save(tx, sync, while_in=AT_WORK):
            raise StoppedError
        ranks = {line.name: rank for rank, line in enumerate(self._plan.lines)}
        await syncs.put_lines(tx, sync.id, [progress.dump_line(ranks[line.name], line) for line in lines])
        for milestone in [milestone.value for milestone in reached] or [""]:
            await self._tell(tx, sync, milestone)
        self._sync = sync

    async def _tell(self, tx: Transaction, sync: SyncRecord, milestone: str) -> None:
        payload = msgspec.json.encode(progress.of(sync, self._plan, milestone))
        event = Event(0, sync.connection_id, SYNC, sync.id, sync.updated_at, payload)
        await self._means.feed.append(tx, event)

    def _newly_reached(self, happening: Happening) -> list[Milestone]:
        if self._sync.mode != SyncMode.FULL or set(self._sync.entities) != set(Entity):
            return []
        reached = []
        if self._plan.is_collectible and self._plan.lines:
            reached.append(Milestone.COLLECTIBLE_READY)
        if happening is Happening.FINISHED:
            reached.append(Milestone.HISTORY_COMPLETE)
        return [milestone for milestone in reached if milestone not in self._sync.milestones]

    def _phase(self, happening: Happening) -> str:
        """What is being read; a plan that is done but may have to catch up is not settled yet."""
        if self._plan.phase is SyncPhase.SETTLED and happening is not Happening.FINISHED:
            return self._sync.phase
        return self._plan.phase

    def _eta(self, now: datetime) -> datetime | None:
        seconds = (now - self._slice_began_at).total_seconds()
        return progress.eta(self._plan, self._rows / seconds, now) if seconds > 0 else None

    async def _abandon_reads(self) -> None:
        for read in self._in_flight:
            read.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)


def _read_up_to(lines: Sequence[Line]) -> dict[Entity, datetime]:
    """Per entity, Xero's instant up to which every change is here: when its last walk began."""
    return {line.entity: line.began_at for line in lines if line.began_at and not line.open_only}
