"""Watching reconciliations and discrepancies: the state now or a snapshot, what was missed, then what happens."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from tieout_server.errors import NotFoundError
from tieout_server.events.feed import DISCREPANCY, RECONCILIATION, Feed
from tieout_server.reconciliations.discrepancies import Discrepancies
from tieout_server.reconciliations.state import UNDER_WAY
from tieout_server.storage import events, reconciliations
from tieout_server.storage.database import Database
from tieout_server.storage.discrepancies import Change, Discrepancy
from tieout_server.storage.events import Event
from tieout_server.storage.reconciliations import ReconciliationRecord

PAGE = 500
"""Events that are read at a time."""


class Seen(msgspec.Struct, frozen=True):
    """What a watcher is told: how a reconciliation stands, or nothing but how far it has been told everything."""

    position: int
    reconciliation: ReconciliationRecord | None = None


class ReconciliationWatch:
    """The watches of reconciliations."""

    def __init__(self, database: Database, feed: Feed) -> None:
        self._database = database
        self._feed = feed

    async def follow(self, reconciliation_id: str, after: str) -> AsyncGenerator[Seen, None]:
        """One reconciliation until it has ended: what came after the token, or the state now where there is none.

        Raises:
            NotFoundError: there is no such reconciliation.
            InvalidRequestError, ResumeTokenTooOldError: the token cannot be resumed from.
        """
        async with self._database.read() as tx:
            run = await reconciliations.get(tx, reconciliation_id)
            now = (await events.bounds(tx)).last
        if run is None:
            raise NotFoundError("reconciliation", reconciliation_id)
        position = await self._feed.position_of(after) if after else now
        if run.state not in UNDER_WAY:
            last = Seen(now, run)
            async for seen in self._rest(reconciliation_id, position, last):
                yield seen
            return
        if not after:
            yield Seen(now, run)
        wanted = self._feed.follow(position, lambda e: e.topic == RECONCILIATION and e.subject == reconciliation_id)
        async for item in wanted:
            seen = _seen(item) if isinstance(item, Event) else Seen(item)
            yield seen
            if seen.reconciliation and seen.reconciliation.state not in UNDER_WAY:
                return

    async def _rest(self, reconciliation_id: str, position: int, now: Seen) -> AsyncGenerator[Seen]:
        """What one that has ended told behind this position; how it stands now, if that was nothing."""
        was_told = False
        while True:
            async with self._database.read() as tx:
                told = await events.about(tx, reconciliation_id, topic=RECONCILIATION, after=position, limit=PAGE)
            for event in told:
                was_told = True
                yield _seen(event)
            if len(told) < PAGE:
                break
            position = told[-1].position
        if not was_told:
            yield now


class Told(msgspec.Struct, frozen=True):
    """What a watcher of discrepancies is told: one of a snapshot, a change, or only how far it was told everything."""

    position: int | None
    """None within a snapshot."""
    snapshot: Discrepancy | None = None
    change: Change | None = None


class DiscrepancyWatch:
    """The watches of discrepancies."""

    def __init__(self, database: Database, feed: Feed, discrepancies: Discrepancies) -> None:
        self._database = database
        self._feed = feed
        self._discrepancies = discrepancies

    async def follow(
        self, connection_id: str, after: str = "", *, from_start: bool = False
    ) -> AsyncGenerator[Told, None]:
        """The discrepancies of a connection, for ever: a snapshot, what came after the token, or from now on.

        Raises:
            NotFoundError: there is no such connection.
            InvalidRequestError, ResumeTokenTooOldError: the token cannot be resumed from.
        """
        position = await self._discrepancies.position(connection_id)
        if from_start:
            async with aclosing(self._discrepancies.every_open(connection_id)) as everything:
                async for discrepancy in everything:
                    yield Told(None, snapshot=discrepancy)
        if after:
            position = await self._feed.position_of(after)
        else:
            yield Told(position)
        wanted = self._feed.follow(position, lambda e: e.topic == DISCREPANCY and e.connection_id == connection_id)
        async for item in wanted:
            if isinstance(item, Event):
                yield Told(item.position, change=msgspec.json.decode(item.payload, type=Change))
            else:
                yield Told(item)


def _seen(event: Event) -> Seen:
    return Seen(event.position, msgspec.json.decode(event.payload, type=ReconciliationRecord))
