"""What exporting works with, and the kinds of work that it leaves to be done."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tieout_server.ledger.calls import Allowance
from tieout_server.storage.database import Transaction
from tieout_server.storage.lineage import Restored
from tieout_server.syncs import means
from tieout_server.work.engine import Priority

EXPORT = "export"
"""Examining and sending what waits, and settling what was sent: payments, and what is taken back of them."""
UPKEEP = "export_upkeep"
"""Looking whether Xero shows what was sent and still does."""
NOTES = "export_notes"
"""Adding notes to the history of invoices: in a lane of its own, as each may wait for its call for a minute."""


@dataclass(frozen=True)
class Means(means.Means):
    """What reading works with, and what is known of calls."""

    allowance: Callable[[str], Allowance]
    """The calls that an organisation, by its id, has left."""
    restored: Restored | None = None
    """When the database was last found to be restored from a backup, if ever."""

    async def wake(self, tx: Transaction, connection_id: str, at: datetime | None = None) -> None:
        """Have what waits sent, now or at this instant; before rows of exports are locked: see Transaction.

        Whoever does holds the connection's place in the line of work to the commit: others who wake it come after.
        """
        await self.engine.wake(tx, EXPORT, connection_id, priority=Priority.ASKED, at=at)

    async def wake_upkeep(self, tx: Transaction, connection_id: str, at: datetime | None = None) -> None:
        """Have looked for what was sent, now or at this instant; before rows of exports are locked."""
        await self.engine.wake(tx, UPKEEP, connection_id, priority=Priority.POLL, at=at)

    async def wake_notes(self, tx: Transaction, connection_id: str) -> None:
        """Have notes added; before rows of exports are locked."""
        await self.engine.wake(tx, NOTES, connection_id, priority=Priority.UPKEEP)
