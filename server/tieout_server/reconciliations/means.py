"""What comparing works with."""

from dataclasses import dataclass

from tieout_server.storage.database import Transaction
from tieout_server.syncs import run
from tieout_server.syncs.news import WORK as NEWS
from tieout_server.work.engine import Engine, Priority


@dataclass(frozen=True)
class Means(run.Means):
    """What reading works with, and the engine that does what follows."""

    engine: Engine

    async def wake_news(self, tx: Transaction, connection_id: str) -> None:
        """Have read what moves with the documents that this transaction writes; before them: see Transaction."""
        await self.engine.wake(tx, NEWS, connection_id, priority=Priority.NEWS)
