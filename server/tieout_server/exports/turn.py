"""One slice of exporting: whose turn it is, with which books, and the fence that every commit of it has to pass."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from tieout_server.connections.state import check_can_read
from tieout_server.exports.means import Means
from tieout_server.ledger.books import WritableBooks
from tieout_server.ledger.links import Link
from tieout_server.storage import connections
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

    @asynccontextmanager
    async def save(self) -> AsyncIterator[Transaction]:
        """A commit that takes what was read into the copy, unless the connection has ended since it was asked for.

        So nothing comes back that a purge erased meanwhile.

        Raises:
            ConnectionNotUsableError: it has ended, or somebody has to act first.
            LostLeaseError: see `commit`.
        """
        async with self.means.database.write() as tx:
            link = await connections.get(tx, self.link.id, lock=True)  # before the work: see Transaction
            check_can_read(link or self.link)
            if self.job:
                await self.job.hold(tx)
            yield tx

    async def wake_upkeep(self, tx: Transaction, at: datetime) -> None:
        """Have the connection's upkeep done by this instant; before rows of exports are locked."""
        await self.means.wake_upkeep(tx, self.link.id, at)
