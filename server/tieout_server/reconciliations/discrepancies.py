"""What callers do with discrepancies: list them, look at one, and say that they know."""

from collections.abc import AsyncGenerator

import msgspec

from tieout_server.clock import Clock
from tieout_server.errors import NotFoundError
from tieout_server.events.feed import Feed
from tieout_server.ledger.links import CALLER
from tieout_server.reconciliations import record
from tieout_server.reconciliations.messages import Acknowledge
from tieout_server.reconciliations.state import DiscrepancyState, Happening, move
from tieout_server.storage import connections, customers, discrepancies, events
from tieout_server.storage.database import Database
from tieout_server.storage.discrepancies import Discrepancy, DiscrepancyQuery, Happened
from tieout_server.storage.pages import Span
from tieout_server.work.requests import Requests

PAGE = 500
"""Discrepancies that are read at a time."""


class Discrepancies:
    """The discrepancies of all connections."""

    def __init__(self, database: Database, feed: Feed, clock: Clock, requests: Requests) -> None:
        self._database = database
        self._feed = feed
        self._clock = clock
        self._requests = requests

    async def page(
        self, connection_id: str, wanted: DiscrepancyQuery, span: Span
    ) -> tuple[list[Discrepancy], Span | None]:
        """Discrepancies without history, by currency, then the largest first; and the span of the next page.

        Raises:
            NotFoundError: there is no such connection.
        """
        async with self._database.read() as tx:
            if await connections.get(tx, connection_id) is None:
                raise NotFoundError("connection", connection_id)
            if wanted.xero_contact_id:
                now = await customers.merges(tx, connection_id, [wanted.xero_contact_id])
                winner = now.get(wanted.xero_contact_id, wanted.xero_contact_id)
                wanted = msgspec.structs.replace(wanted, xero_contact_id=winner)
            return await discrepancies.page(tx, connection_id, wanted, span)

    async def get(self, discrepancy_id: str) -> Discrepancy:
        """The discrepancy with this id and its history.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.read() as tx:
            found = await discrepancies.get(tx, discrepancy_id)
        if found is None:
            raise NotFoundError("discrepancy", discrepancy_id)
        return found

    async def position(self, connection_id: str) -> int:
        """The position from which events tell what happens to those of a connection that are read from now on.

        Raises:
            NotFoundError: there is no such connection.
        """
        async with self._database.read() as tx:
            if await connections.get(tx, connection_id) is None:
                raise NotFoundError("connection", connection_id)
            return (await events.bounds(tx)).last

    async def every_open(self, connection_id: str) -> AsyncGenerator[Discrepancy]:
        """Those that are not over, by id, in brief; what happens meanwhile is told by events."""
        last = ""
        while True:
            async with self._database.read() as tx:
                found = await discrepancies.some_open(tx, connection_id, after=last, limit=PAGE)
            for one in found:
                yield one.brief(record.TOLD_DOCUMENTS, record.TOLD_HISTORY)
            if len(found) < PAGE:
                return
            last = found[-1].id

    async def acknowledge(self, asked: Acknowledge) -> Discrepancy:
        """Note that a person knows of it; a repeat replaces the note.

        Raises:
            NotFoundError: there is none.
            NotPermittedNowError: it is over.
            RequestIdReusedError: the request_id came before with other content.
        """
        method = "AcknowledgeDiscrepancy"
        async with self._database.write() as tx:
            earlier = await self._requests.earlier(tx, method, asked.request_id, asked, str)
            if found := await discrepancies.get(tx, asked.discrepancy_id):
                # Whoever compares holds the connection from reading the discrepancy to writing it.
                await connections.get(tx, found.connection_id, lock=True)
                found = await discrepancies.get(tx, asked.discrepancy_id, lock=True)
            if found is None:
                raise NotFoundError("discrepancy", asked.discrepancy_id)
            if earlier:
                return found
            state = move(DiscrepancyState(found.state), Happening.ACKNOWLEDGED)
            now = self._clock.now()
            sentence = f"Acknowledged: {asked.note}" if asked.note else "Acknowledged."
            happened = Happened(state=state, sentence=sentence, actor=CALLER, at=now, difference=found.difference)
            changed = msgspec.structs.replace(found, state=state, note=asked.note, updated_at=now)
            changed = msgspec.structs.replace(changed, history=(*found.history, happened))
            await self._requests.keep(tx, method, asked.request_id, asked, found.id)
            await record.keep(tx, self._feed, changed, happened)
        return changed
