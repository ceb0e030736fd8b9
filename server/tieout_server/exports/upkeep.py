"""Looking after what was sent: whether Xero shows it, whether it still does, and the notes that belong to it.

Notes are a kind of work of their own: neither a proof nor an export waits while they have no calls.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import (
    BugError,
    ConnectionNotUsableError,
    OperatorMustActError,
    PersonMustActError,
    TryAgainError,
)
from tieout_server.exports.means import NOTES, UPKEEP, Means
from tieout_server.exports.notes import send_notes
from tieout_server.exports.turn import Turn
from tieout_server.exports.verify import Verification, note_doubles, note_removals
from tieout_server.ledger.links import Link
from tieout_server.storage import connections, export_notes, exports
from tieout_server.work.engine import Job, Lane

logger = log.get("exports")

EVERY = timedelta(minutes=2)
"""How often a connection's exports are held against the mirror: one query, and no call."""
LATER = timedelta(minutes=1)
"""After trouble of which nobody says when it ends."""
REFUSED = timedelta(minutes=30)
"""While the connection is broken."""
A_DAY = timedelta(days=1)
"""The longest that Xero's limits last."""


Revalidate = Callable[[str], Awaitable[int]]
"""Sets going again what failed because of an account that was mended since; answers how many exports that were."""


class Upkeep:
    """The upkeep of all connections' exports."""

    def __init__(self, means: Means, links: Connections, revalidate: Revalidate) -> None:
        self._means = means
        self._links = links
        self._revalidate = revalidate
        means.engine.register(UPKEEP, Lane.WRITE, self.look)
        means.engine.register(NOTES, Lane.NOTES, self.add_notes)

    async def look(self, job: Job) -> datetime | None:
        """One slice of looking at Xero; answers when to go on, None for a connection without exports."""
        async with self._means.database.read() as tx:
            link = await connections.get(tx, job.connection_id)
            has_any = link is not None and await exports.has_any(tx, link.id)
        if link is None or not has_any:
            return None
        if again_at := await self._tried(job, link, self._prove, EVERY):
            return again_at
        async with self._means.database.read() as tx:
            due_at = await exports.next_verify_at(tx, link.id)
        every = self._means.clock.now() + EVERY
        return min(due_at, every) if due_at else every

    async def add_notes(self, job: Job) -> datetime | None:
        """One slice of adding notes; answers when to go on, None where there are none."""
        async with self._means.database.read() as tx:
            link = await connections.get(tx, job.connection_id)
            due_at = await export_notes.next_due_at(tx, job.connection_id)
        if link is None or due_at is None:
            return None
        if again_at := await self._tried(job, link, send_notes, A_DAY):
            return again_at
        async with self._means.database.read() as tx:
            return await export_notes.next_due_at(tx, link.id)

    async def _prove(self, turn: Turn) -> None:
        await self._revalidate(turn.link.id)
        await note_removals(turn)
        await note_doubles(turn)
        await Verification(turn).go()

    async def _tried(
        self, job: Job, link: Link, part: Callable[[Turn], Awaitable[None]], patience: timedelta
    ) -> datetime | None:
        """Do this; answers when to try it again where it is in trouble, of which the end is awaited so long at most."""
        now = self._means.clock.now()
        if link.state != ConnectionState.CONNECTED:
            return now + REFUSED
        try:
            await part(Turn(self._means, job, link, self._links.books(link)))
        except (TryAgainError, OperatorMustActError) as trouble:
            again_at = trouble.retry_at if isinstance(trouble, TryAgainError) else None
            logger.info("upkeep waits", connection_id=link.id, trouble=trouble.sentence)
            return min(max(again_at or now, now + LATER), now + patience)
        except PersonMustActError as refusal:
            if not isinstance(refusal, ConnectionNotUsableError):
                await self._links.access_lost(link.id, refusal)
            return now + REFUSED
        except BugError:
            logger.exception("upkeep failed", connection_id=link.id)
            return now + REFUSED
        return None
