"""The record of connections: each change is saved, kept in the history and told to watchers, in one transaction."""

from typing import Any

import msgspec

from tieout_server.clock import Clock
from tieout_server.errors import NotFoundError
from tieout_server.events.feed import CONNECTION, Feed
from tieout_server.ledger.links import TIEOUT, Gap, Link, LinkChange, LinkChangeKind, LinkEvent
from tieout_server.storage import connections, history, tokens
from tieout_server.storage.database import Transaction
from tieout_server.storage.events import Event


class Record:
    """Reads and changes connections, in a transaction of the caller's."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock

    async def get(self, tx: Transaction, connection_id: str, *, lock: bool = False) -> Link:
        """The connection with this id; with `lock`, nobody else changes it until the commit.

        Raises:
            NotFoundError: there is none.
        """
        link = await connections.get(tx, connection_id, lock=lock)
        if link is None:
            raise NotFoundError("connection", connection_id)
        return link

    async def change(self, tx: Transaction, before: Link, after: Link, *, actor: str = TIEOUT) -> Link:
        """Save a connection that is locked as it is now, and tell of it; nothing if nothing has changed."""
        if after == before:
            return before
        link = msgspec.structs.replace(after, updated_at=self._clock.now())
        await connections.save(tx, link)
        moved = link.state != before.state
        kind = LinkChangeKind.STATE_CHANGED if moved else LinkChangeKind.DETAILS_CHANGED
        await self.tell(tx, link, kind, from_state=before.state, reason=link.reason, actor=actor)
        return link

    async def close_gap(self, tx: Transaction, before: Link, gap: Gap) -> Link:
        """Note on a connection that is locked that what was missed has been read."""
        link = msgspec.structs.replace(before, gap_from_at=None)
        await connections.save(tx, link)
        await self.tell(tx, link, LinkChangeKind.GAP_CLOSED, from_state=link.state, gap=gap)
        return link

    async def tell(self, tx: Transaction, link: Link, kind: LinkChangeKind, **said: Any) -> None:  # noqa: ANN401 - any field of a LinkChange
        """Tell watchers that this happened, and keep it in the history. Call it last before the commit."""
        user = link.authorised_by.xero_user_id if link.authorised_by else ""
        now = self._clock.now()
        expires_at = (await tokens.expiries(tx, (user,))).get(user) if user else None
        change = LinkChange(kind=kind, link=link, credentials_expire_at=expires_at, occurred_at=now, **said)
        position = await self._feed.append(tx, Event(0, link.id, CONNECTION, link.id, now, msgspec.json.encode(change)))
        await history.add(tx, _kept(position, change))


def _kept(position: int, change: LinkChange) -> LinkEvent:
    return LinkEvent(
        id=position,
        connection_id=change.link.id,
        kind=change.kind,
        from_state=change.from_state,
        to_state=change.link.state,
        health=change.link.health,
        reason=change.reason,
        actor=change.actor,
        gap=change.gap,
        occurred_at=change.occurred_at,
    )
