"""Watching exports: a snapshot of those that are not over, what was missed, then what happens."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from tieout_server.events.feed import EXPORT, Feed
from tieout_server.exports.service import Exports
from tieout_server.ledger.exports import ExportChange, PaymentExport
from tieout_server.storage.events import Event


class Told(msgspec.Struct, frozen=True):
    """What a watcher is told: an export of a snapshot, a change, or only how far it was told everything."""

    position: int | None
    """None within a snapshot."""
    snapshot: PaymentExport | None = None
    change: ExportChange | None = None


class ExportWatch:
    """The watches of exports."""

    def __init__(self, feed: Feed, exports: Exports) -> None:
        self._feed = feed
        self._exports = exports

    async def follow(
        self, connection_id: str, after: str = "", *, from_start: bool = False
    ) -> AsyncGenerator[Told, None]:
        """The exports of a connection, for ever: a snapshot, what came after the token, or from now on.

        Raises:
            NotFoundError: there is no such connection.
            InvalidRequestError, ResumeTokenTooOldError: the token cannot be resumed from.
        """
        position = await self._exports.position(connection_id)
        if from_start:
            async with aclosing(self._exports.every_not_over(connection_id)) as everything:
                async for export in everything:
                    yield Told(None, snapshot=export)
        if after:
            position = await self._feed.position_of(after)
        else:
            yield Told(position)
        wanted = self._feed.follow(position, lambda e: e.topic == EXPORT and e.connection_id == connection_id)
        async for item in wanted:
            if isinstance(item, Event):
                yield Told(item.position, change=msgspec.json.decode(item.payload, type=ExportChange))
            else:
                yield Told(item)
