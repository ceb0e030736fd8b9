"""Watching syncs: the state now, then every change, from wherever a watcher left off."""

from collections.abc import AsyncGenerator, Callable

import msgspec

from tieout_server.errors import NotFoundError
from tieout_server.events.feed import SYNC, Feed
from tieout_server.storage import connections, events, syncs
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.events import Event
from tieout_server.storage.syncs import SyncRecord
from tieout_server.syncs.progress import Progress
from tieout_server.syncs.service import Syncs
from tieout_server.syncs.state import ACTIVE

PAGE = 500
"""Events that are read at a time."""


class Seen(msgspec.Struct, frozen=True):
    """What a watcher is told: progress, or nothing but how far it has been told everything."""

    position: int
    progress: Progress | None = None


class SyncWatch:
    """The watches of syncs."""

    def __init__(self, database: Database, feed: Feed, service: Syncs) -> None:
        self._database = database
        self._feed = feed
        self._service = service

    async def of_sync(self, sync_id: str, after: str) -> AsyncGenerator[Seen, None]:
        """One sync until it has ended: what came after the token, or the state now where there is no token.

        Raises:
            NotFoundError: there is no such sync.
            InvalidRequestError, ResumeTokenTooOldError: the token cannot be resumed from.
        """
        async with self._database.read() as tx:
            sync = await syncs.get(tx, sync_id)
            if sync is None:
                raise NotFoundError("sync", sync_id)
            now = await self._state_now(tx, sync)
        position = await self._start(after, now)
        if sync.state not in ACTIVE:
            last = now
            async for last in self._rest(sync, position):
                yield last
            if last is now:
                yield now
            return
        if not after:
            yield now
        async for seen in self._follow(position, lambda event: event.subject == sync_id):
            yield seen
            if seen.progress and seen.progress.sync.state not in ACTIVE:
                return

    async def of_connection(self, connection_id: str, after: str) -> AsyncGenerator[Seen, None]:
        """All syncs of a connection, for ever: what came after the token, or the state of the newest one now.

        Raises:
            NotFoundError: there is no such connection.
            InvalidRequestError, ResumeTokenTooOldError: the token cannot be resumed from.
        """
        async with self._database.read() as tx:
            if await connections.get(tx, connection_id) is None:
                raise NotFoundError("connection", connection_id)
            now = await self._state_now(tx, await syncs.latest(tx, connection_id))
        position = await self._start(after, now)
        if not after:
            yield now
        async for seen in self._follow(position, lambda event: event.connection_id == connection_id):
            yield seen

    async def _state_now(self, tx: Transaction, sync: SyncRecord | None) -> Seen:
        """The state and the end of the log, as one transaction sees them: nothing falls between the two."""
        position = (await events.bounds(tx)).last
        return Seen(position, await self._service.progress(tx, sync) if sync else None)

    async def _rest(self, sync: SyncRecord, position: int) -> AsyncGenerator[Seen]:
        """What a sync that has ended told behind this position."""
        while True:
            async with self._database.read() as tx:
                told = await events.about(tx, sync.id, topic=SYNC, after=position, limit=PAGE)
            for event in told:
                yield _seen(event)
            if len(told) < PAGE:
                return
            position = told[-1].position

    async def _start(self, after: str, now: Seen) -> int:
        return await self._feed.position_of(after) if after else now.position

    async def _follow(self, position: int, concerns: Callable[[Event], bool]) -> AsyncGenerator[Seen, None]:
        async for item in self._feed.follow(position, lambda event: event.topic == SYNC and concerns(event)):
            yield _seen(item) if isinstance(item, Event) else Seen(item)


def _seen(event: Event) -> Seen:
    return Seen(event.position, msgspec.json.decode(event.payload, type=Progress))
