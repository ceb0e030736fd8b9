"""What reading works with, and the kinds of work that it leaves to be done."""

from dataclasses import dataclass

from tieout_server.clock import Clock
from tieout_server.events.feed import Feed
from tieout_server.storage.database import Database, Transaction
from tieout_server.work.engine import Engine, Priority

SYNCING = "sync"
"""Carrying a sync out, slice by slice."""
POLL, SWEEP = "poll", "sweep"
"""Looking for changes, and for changes that Xero does not tell of."""
NEWS = "news"
"""Reading what webhooks named, and what moved with it."""
COMPARE = "compare"
"""Holding what changed against what Xero states (`reconciliations.changed`)."""


@dataclass(frozen=True)
class Means:
    """The database, who is told of changes, the time, and the engine that does what follows."""

    database: Database
    feed: Feed
    clock: Clock
    engine: Engine

    async def wake_news(self, tx: Transaction, connection_id: str) -> None:
        """Have read what moves with the documents that this transaction writes; before them: see Transaction."""
        await self.engine.wake(tx, NEWS, connection_id, priority=Priority.NEWS)
