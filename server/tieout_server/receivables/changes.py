"""Following what changes in the mirror: a snapshot if asked for, what was missed, then every change.

Nothing is queued for anybody. A reader has a place in the order of changes and reads on from there, so one that is far
behind gets each record once, as it is now. The feed only wakes it.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing

import msgspec

from tieout_server.clock import Clock
from tieout_server.errors import DrainingError, NotFoundError, ResumeTokenTooOldError
from tieout_server.events import feed
from tieout_server.events.feed import LOST, Feed
from tieout_server.ledger.documents import Entity
from tieout_server.receivables import place
from tieout_server.receivables.place import Bookmark, Place
from tieout_server.receivables.records import Reader
from tieout_server.receivables.views import Change
from tieout_server.storage import changes, connections, events
from tieout_server.storage.database import Database
from tieout_server.storage.events import Event
from tieout_server.storage.pages import IdSpan
from tieout_server.storage.touched import Touched, touched, window

ROWS = 500
"""Changed rows of each table that are looked through at a time; one change is never divided."""
AT_ONCE = 100
"""Records that are read at a time, and so what a slow reader holds in memory."""


class Seen(msgspec.Struct, frozen=True):
    """What a reader is told: a change, or nothing but how far everything has been told."""

    bookmark: Bookmark
    change: Change | None = None


class Reading(msgspec.Struct, frozen=True):
    """One reader's way through the changes of one mirror; it keeps nothing but where it stands."""

    database: Database
    clock: Clock
    connection_id: str
    entities: frozenset[Entity]

    async def snapshot(self, begin: Place) -> AsyncGenerator[Seen, None]:
        """All records that are here, behind this place of a snapshot; what changes meanwhile is told as changed."""
        for rank in range(begin.rank, len(place.ORDER)):
            entity, after = place.ORDER[rank], begin.id if rank == begin.rank else ""
            while entity in self.entities:
                async with self.database.read() as tx:
                    reader = Reader(tx, self.connection_id, self.clock.now())
                    ids = await reader.ids(entity, begin.number, IdSpan(AT_ONCE, after))
                    told = await reader.read(entity, ids)
                for name in ids:
                    it = told[name]
                    change = Change(
                        entity=entity, id=name, kind=it.kind, record=it.record, committed_at=it.record.updated_at
                    )
                    yield Seen(Bookmark(Place(begin.number, rank, name), in_snapshot=True), change)
                if len(ids) < AT_ONCE:
                    break
                after = ids[-1]

    async def changes(self, here: Place) -> AsyncGenerator[Seen, None]:
        """All changes behind this place, and how far that was all, from time to time and at the end."""
        while True:
            async with self.database.read() as tx:
                last = await changes.last_number(tx, self.connection_id)
                first = here.number + 1 if here.is_end else here.number
                if first > last:
                    return
                within = await window(tx, self.connection_id, first, last, rows=ROWS)
                found = await touched(tx, within, self.entities)
                brought = await changes.runs(tx, self.connection_id, within.first, within.last)
            behind = sorted((_place(record), record) for record in found if _place(record) > here)
            async for seen in self._told([record for _, record in behind], brought):
                yield seen
            here = Place.end_of(within.last)
            yield Seen(Bookmark(here))

    async def _told(self, records: Sequence[Touched], brought: Sequence[tuple[int, str]]) -> AsyncGenerator[Seen, None]:
        """These records as they are now, a few at a time."""
        for start in range(0, len(records), AT_ONCE):
            some = records[start : start + AT_ONCE]
            async with self.database.read() as tx:
                reader = Reader(tx, self.connection_id, self.clock.now())
                ids = {entity: [record.id for record in some if record.entity is entity] for entity in self.entities}
                told = {entity: await reader.read(entity, names) for entity, names in ids.items() if names}
            for record in some:
                if it := told[record.entity].get(record.id):
                    change = Change(
                        entity=record.entity,
                        id=record.id,
                        kind=it.kind,
                        record=it.record,
                        committed_at=record.at,
                        sync_id=_sync_of(record.number, brought),
                    )
                    yield Seen(Bookmark(_place(record)), change)


class Changes:
    """The changes of all mirrors, to be followed."""

    def __init__(self, database: Database, news: Feed, clock: Clock) -> None:
        self._database = database
        self._feed = news
        self._clock = clock

    async def follow(
        self, connection_id: str, entities: Collection[Entity], *, after: str = "", from_start: bool = False
    ) -> AsyncGenerator[Seen, None]:
        """Every change behind the token, or of now on, or a snapshot first; no entities means all.

        Raises:
            NotFoundError: there is no such connection.
            InvalidRequestError: the token cannot be resumed from.
            ResumeTokenTooOldError: it is of a future that was lost when the database was restored.
            DrainingError: this process shuts down.
        """
        async with self._database.read() as tx:
            if await connections.get(tx, connection_id) is None:
                raise NotFoundError("connection", connection_id)
            last = await changes.last_number(tx, connection_id)
            position = (await events.bounds(tx)).last
            here = place.decode(connection_id, after, last=last) if after else Bookmark(Place.end_of(last))
            if after and await changes.is_lost(tx, connection_id, here.place.number):
                raise ResumeTokenTooOldError(LOST)
        reading = Reading(self._database, self._clock, connection_id, frozenset(entities or Entity))
        is_beginning = not after or here.in_snapshot
        if from_start or here.in_snapshot:
            begin = here.place if here.in_snapshot else Place(last, 0)
            async for seen in self._open(reading.snapshot(begin)):
                yield seen
            here = Bookmark(Place.end_of(begin.number))
        if is_beginning:
            yield Seen(here)
        async with aclosing(self._changes(reading, here.place, position)) as told:
            async for seen in told:
                yield seen

    async def _changes(self, reading: Reading, here: Place, position: int) -> AsyncGenerator[Seen, None]:
        """What is behind this place, and then what comes, until this process shuts down: then how far that was."""
        try:
            async with aclosing(self._news(reading, here, position)) as told:
                async for seen in told:
                    here = seen.bookmark.place
                    yield seen
        except DrainingError:
            yield Seen(Bookmark(here))
            raise feed.draining(place.encode(reading.connection_id, Bookmark(here))) from None

    async def _news(self, reading: Reading, here: Place, position: int) -> AsyncGenerator[Seen, None]:
        """What is behind this place, and then what comes, with a heartbeat when nothing was told for a while."""
        told_at, is_quiet = _loop_time(), False
        wakes = self._feed.follow(position, lambda event: _concerns(event, reading.connection_id))
        async with aclosing(wakes) as woken:
            while True:
                async for seen in self._open(reading.changes(here)):
                    here = seen.bookmark.place
                    if seen.change or _loop_time() - told_at >= feed.HEARTBEAT:
                        yield seen
                        told_at = _loop_time()
                if (
                    is_quiet or _loop_time() - told_at >= feed.HEARTBEAT / 3
                ):  # woken for nothing: the feed was not quiet
                    yield Seen(Bookmark(here))
                    told_at = _loop_time()
                is_quiet = isinstance(await anext(woken), int)

    async def _open(self, several: AsyncGenerator[Seen, None]) -> AsyncGenerator[Seen, None]:
        """The same, while this process is not shutting down."""
        async with aclosing(several) as messages:
            async for seen in messages:
                self._feed.check_is_open()
                yield seen


def _place(record: Touched) -> Place:
    return Place.of(record.number, record.entity, record.id)


def _sync_of(number: int, brought: Sequence[tuple[int, str]]) -> str:
    """What brought the change with this number, of runs that each go on until the next one begins."""
    index = bisect_right(brought, number, key=lambda run: run[0])
    return brought[index - 1][1] if index else ""


def _concerns(event: Event, connection_id: str) -> bool:
    return event.connection_id == connection_id and event.topic in (feed.SYNC, feed.CHANGES, feed.DISCREPANCY)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
