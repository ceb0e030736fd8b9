"""Reading the documents that webhooks named: each page is committed with what it settles and what has to follow."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.errors import BugError, XeroUnavailableError
from tieout_server.ledger.books import IDS_AT_ONCE, Books, Page, Purpose
from tieout_server.ledger.documents import Entity
from tieout_server.storage import connections, live, watermarks, webhooks
from tieout_server.storage.database import Transaction
from tieout_server.storage.webhooks import ANY, Named
from tieout_server.syncs.followers import followers
from tieout_server.syncs.intake import DoubtedError, Origin, id_of, take_in
from tieout_server.syncs.means import Means
from tieout_server.syncs.plan import OVERLAP, Line, Walk
from tieout_server.syncs.schedule import OFTEN
from tieout_server.syncs.state import SyncPhase
from tieout_server.work.engine import Job

logger = log.get("news")

FEW = 3
"""Documents that are read one by one where Xero has no lists of ids; for more of them the changes are listed."""
LISTED = (Entity.CONTACTS, Entity.INVOICES)
"""Entities with lists of ids."""
RETRIES = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 5, 10))
"""Pauses before a document is read again that is older than its event: Xero's reads lag behind its webhooks."""
UNANSWERED, DOUBLINGS = timedelta(seconds=30), 6
"""Pause before asking again for what Xero does not answer for, and how often it is doubled: up to half an hour."""
NEAR = timedelta(seconds=1)
"""An event may bear an instant a little after the change: a version so near to it is read again once only."""
COUNTED_FOR = timedelta(hours=1)
"""How long what left by webhooks is counted together: a mishap that voids everything is told of a page at a time."""
SLACK = timedelta(seconds=5)
"""How far before the oldest event changes are listed."""


class Intake:
    """What news took in within the hour, by connection and entity: gates count over many small pages.

    A new process knows of no earlier ones.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lines: dict[tuple[str, Entity], tuple[datetime, Line]] = {}

    def line(self, connection_id: str, entity: Entity) -> Line:
        """The line that counts what is taken in now."""
        oldest = self._clock.now() - COUNTED_FOR
        self._lines = {key: kept for key, kept in self._lines.items() if kept[0] > oldest}
        return self._lines.setdefault((connection_id, entity), (self._clock.now(), _line(entity)))[1]


class Fetch:
    """One slice of reading one connection's news. Every method raises what `Books` does, and `LostLeaseError`.

    What nobody documented, and what a gate doubts, is left to polling, which has somebody decide; it is no reason to
    keep anything else waiting. Nor is what Xero does not answer for, which is asked for again ever less often.
    """

    def __init__(self, means: Means, job: Job, books: Books, intake: Intake) -> None:
        self._means = means
        self._job = job
        self._books = books
        self._intake = intake
        self._connection_id = job.connection_id
        self._is_unanswered = False

    async def read(self, entity: Entity, named: Sequence[Named]) -> None:
        """Read these documents of one entity, as far as they are not here already."""
        missing = await self._missing(entity, named)
        events = [one for one in missing if not one.follows]
        if entity in LISTED or len(events) <= FEW:
            await self._read_by_ids(entity, [one for one in missing if one.xero_id != ANY])
        else:
            await self._read_by_ids(entity, [one for one in missing if one.follows and one.xero_id != ANY])
            await self._read_since(entity, min(one.event_at for one in events) - SLACK, events)
        if whatever := [one for one in missing if one.xero_id == ANY]:
            await self._read_whatever(entity, whatever)

    @asynccontextmanager
    async def _or_left_to_polling(self, entity: Entity, named: Sequence[Named]) -> AsyncIterator[None]:
        """Take these out unread if they cannot be taken in, and have their entity polled soon.

        Those that Xero does not answer for are put off.

        Raises:
            XeroUnavailableError: it does not answer for others either.
        """
        try:
            yield
        except XeroUnavailableError as trouble:
            if self._is_unanswered:
                raise
            self._is_unanswered = True
            logger.warning("asked for again", entity=entity, documents=len(named), trouble=trouble.sentence)
            await self._ask_again(named)
            return
        except BugError:
            logger.exception("left to polling", entity=entity, documents=len(named))
        except DoubtedError as doubted:
            logger.warning("left to polling", entity=entity, documents=len(named), gate=doubted.doubt.gate)
        else:
            return
        async with self._means.database.write() as tx:
            await self._job.hold(tx)
            await self._leave_to_polling(tx, entity)
            await webhooks.take_out(tx, self._connection_id, named)

    async def _ask_again(self, named: Sequence[Named]) -> None:
        now = self._means.clock.now()
        async with self._means.database.write() as tx:
            await self._job.hold(tx)
            for tries in {one.tries for one in named}:
                again = [one for one in named if one.tries == tries]
                pause = UNANSWERED * 2 ** min(tries, DOUBLINGS)
                await webhooks.put_off(tx, self._connection_id, again, now + pause)

    async def _leave_to_polling(self, tx: Transaction, entity: Entity) -> None:
        await watermarks.hasten(tx, self._connection_id, entity, self._means.clock.now() + OFTEN)

    async def _missing(self, entity: Entity, named: Sequence[Named]) -> list[Named]:
        """Those of which no version is here that is new enough; the others are settled."""
        events = {one.xero_id: one for one in named if not one.follows}
        async with self._means.database.read() as tx:
            here = await live.versions(tx, self._connection_id, entity, events)
        settled = [one for one in events.values() if one.xero_id in here and here[one.xero_id] >= one.event_at]
        if settled:
            async with self._means.database.write(durable=False) as tx:
                await self._job.hold(tx)
                await self._settle(tx, entity, settled)
        return [one for one in named if one not in settled]

    async def _read_by_ids(self, entity: Entity, named: Sequence[Named]) -> None:
        for start in range(0, len(named), IDS_AT_ONCE):
            some = named[start : start + IDS_AT_ONCE]
            ids = list(dict.fromkeys(one.xero_id for one in some))  # an event and what follows may name the same one
            async with self._or_left_to_polling(entity, some):
                await self._commit(entity, await self._books.by_ids(entity, ids, Purpose.WEBHOOK), some)

    async def _read_whatever(self, entity: Entity, named: Sequence[Named]) -> None:
        """Read what changed since polling was here last; an entity that was never read to its end will be anyway."""
        async with self._means.database.read() as tx:
            mark = await watermarks.get(tx, self._connection_id, entity)
        if mark is None:
            await self._take_out(named)
        else:
            await self._read_since(entity, mark.watermark_at - OVERLAP, named)

    async def _take_out(self, named: Sequence[Named]) -> None:
        async with self._means.database.write() as tx:
            await self._job.hold(tx)
            await webhooks.take_out(tx, self._connection_id, named)

    async def _read_since(self, entity: Entity, since: datetime, named: Sequence[Named]) -> None:
        """Read what changed since then; what is not met by the end is taken as not shown yet."""
        line = _line(entity, since)
        left, is_over = list(named), False
        async with self._or_left_to_polling(entity, named):
            while not is_over:
                request = next(line.requests(frozenset()))
                page = await self._books.read(request.query, request.purpose)
                line.take(request, page)
                is_over = line.done
                met = left if is_over else [one for one in left if one.xero_id in _names(page)]
                await self._commit(entity, page, met)
                left = [one for one in left if one not in met]

    async def _commit(self, entity: Entity, page: Page, named: Sequence[Named]) -> None:
        """Keep a page; of what it was read for, settle what it answers and have the rest read again."""
        versions = {id_of(document): document.updated_at for document in page.documents}
        done = [one for one in named if one.xero_id in page.skipped_ids or _answers(versions.get(one.xero_id), one)]
        late = [one for one in named if one not in done]
        async with self._means.database.write(durable=False) as tx:  # both are read again, or none
            await self._job.hold(tx)
            ordinal = await connections.sync_ordinal(tx, self._connection_id)
            origin = Origin(self._connection_id, ordinal, self._means.clock.now())
            changed = await take_in(tx, origin, self._intake.line(self._connection_id, entity), page)
            await self._put_off(tx, entity, late)
            await self._settle(tx, entity, done)
            if changed:
                await self._means.feed.tell_of_changes(tx, self._connection_id)

    async def _put_off(self, tx: Transaction, entity: Entity, late: Sequence[Named]) -> None:
        """Have these read again; after the last try what is here will have to do."""
        now = self._means.clock.now()
        for tries, pause in enumerate(RETRIES):
            again = [one for one in late if one.tries == tries]
            await webhooks.put_off(tx, self._connection_id, again, now + pause)
        if given_up := [one for one in late if one.tries >= len(RETRIES)]:
            logger.info("older than its event", entity=entity, documents=len(given_up))
            await self._leave_to_polling(tx, entity)
            await self._settle(tx, entity, given_up)

    async def _settle(self, tx: Transaction, entity: Entity, named: Sequence[Named]) -> None:
        """Take these out, and put in what moved with those that an event named."""
        await webhooks.take_out(tx, self._connection_id, named)
        events = [one.xero_id for one in named if not one.follows]
        if events:
            following = await followers(tx, self._connection_id, entity, events)
            await webhooks.put(tx, self._connection_id, following, self._means.clock.now())


def _line(entity: Entity, since: datetime | None = None) -> Line:
    return Line(
        name="news",
        entity=entity,
        phase=SyncPhase.CATCH_UP,
        purpose=Purpose.WEBHOOK,
        walk=Walk.SEEK,
        seek_at=since,
    )


def _answers(version: datetime | None, wanted: Named) -> bool:
    """Whether this version is the one that was wanted."""
    if wanted.xero_id == ANY:
        return True
    if version is None:
        return False
    near = wanted.tries > 0 and wanted.event_at - version <= NEAR
    return wanted.follows or near or version >= wanted.event_at


def _names(page: Page) -> set[str]:
    return {id_of(document) for document in page.documents} | set(page.skipped_ids)
