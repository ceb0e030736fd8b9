"""One slice of exporting: whose turn it is, with which books, and the fence that every commit of it has to pass."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from tieout_server.exports.means import Means
from tieout_server.ledger.books import WritableBooks
from tieout_server.ledger.links import Link
from tieout_server.storage.database import Transaction
from tieout_server.work.engine import Job

T = TypeVar("T")


@dataclass(frozen=True)
class Turn:
    """One connection's books, in hand for one slice of work."""

    means: Means
    job: Job | None
    """None: a caller waits for an answer, and nothing is written to Xero."""
    link: Link
    books: WritableBooks

    def now(self) -> datetime:
        """This instant, by our clock."""
        return self.means.clock.now()

    async def ask(self, asking: Coroutine[Any, Any, T]) -> T:
        """What a call to Xero, or a pause, comes to; the work stays ours meanwhile.

        Raises:
            LostLeaseError: the work is no longer ours, and the call was given up.
        """
        return await (self.job.keep_during(self.means.database, asking) if self.job else asking)

    @asynccontextmanager
    async def commit(self) -> AsyncIterator[Transaction]:
        """A transaction that counts only while the work is still ours: an owner that was only asleep commits nothing.

        Raises:
            LostLeaseError: it is not ours.
        """
        async with self.means.database.write() as tx:
            if self.job:
                await self.job.hold(tx)
            yield tx

    async def wake_upkeep(self, tx: Transaction, at: datetime) -> None:
        """Have the connection's upkeep done by this instant; before rows of exports are locked."""
        await self.means.wake_upkeep(tx, self.link.id, at)
