"""Looking after what was sent: whether Xero shows it, whether it still does, and the notes that belong to it."""

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
from tieout_server.exports.means import UPKEEP, Means
from tieout_server.exports.notes import send_notes
from tieout_server.exports.turn import Turn
from tieout_server.exports.verify import Verification, note_removals
from tieout_server.storage import connections, export_notes, exports
from tieout_server.work.engine import Job, Lane

logger = log.get("exports")

EVERY = timedelta(minutes=2)
"""How often a connection's exports are held against the mirror: one query, and no call."""
LATER = timedelta(minutes=1)
"""After trouble of which nobody says when it ends."""
REFUSED = timedelta(minutes=30)
"""While the connection is broken."""


Revalidate = Callable[[str], Awaitable[int]]
"""Sets going again what failed because of an account that was mended since; answers how many exports that were."""


class Upkeep:
    """The upkeep of all connections' exports."""

    def __init__(self, means: Means, links: Connections, revalidate: Revalidate) -> None:
        self._means = means
        self._links = links
        self._revalidate = revalidate
        means.engine.register(UPKEEP, Lane.WRITE, self.perform)

    async def perform(self, job: Job) -> datetime | None:
        """One slice; answers when to go on, None for a connection without exports."""
        async with self._means.database.read() as tx:
            link = await connections.get(tx, job.connection_id)
            has_any = link is not None and await exports.has_any(tx, link.id)
        if link is None or not has_any:
            return None
        now = self._means.clock.now()
        if link.state != ConnectionState.CONNECTED:
            return now + REFUSED
        await self._revalidate(link.id)
        try:
            turn = Turn(self._means, job, link, self._links.books(link))
            await note_removals(turn)
            await Verification(turn).go()
            await send_notes(turn)
        except (TryAgainError, OperatorMustActError) as trouble:
            again_at = trouble.retry_at if isinstance(trouble, TryAgainError) else None
            logger.info("upkeep waits", connection_id=link.id, trouble=trouble.sentence)
            return max(again_at or now, now + LATER)
        except PersonMustActError as refusal:
            if not isinstance(refusal, ConnectionNotUsableError):
                await self._links.access_lost(link.id, refusal)
            return now + REFUSED
        except BugError:
            logger.exception("upkeep failed", connection_id=link.id)
            return now + REFUSED
        async with self._means.database.read() as tx:
            dues = (await exports.next_verify_at(tx, link.id), await export_notes.next_due_at(tx, link.id))
        return min(at for at in (*dues, now + EVERY) if at is not None)
