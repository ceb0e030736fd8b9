"""Erasing all that is kept of one merchant, over all of their connections."""

from collections.abc import Sequence

from tieout_server.connections.leave import Leave
from tieout_server.connections.means import Means
from tieout_server.connections.messages import Disconnect, Purged, PurgeMerchant
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import NotFoundError, NotPermittedNowError
from tieout_server.ledger.links import Link
from tieout_server.storage import connections, purge
from tieout_server.storage.connections import Scope
from tieout_server.storage.database import Transaction

PAGE = 500
METHOD = "PurgeMerchant"


class Merchants:
    """Merchants, as far as they are the sum of their connections."""

    def __init__(self, means: Means, leave: Leave) -> None:
        self._means = means
        self._leave = leave

    async def purge(self, asked: PurgeMerchant) -> Purged:
        """Begin to erase everything; answers what there was. Killed in between, a repeat does the rest.

        Raises:
            NotFoundError: no connection is this merchant's.
            NotPermittedNowError: one of them is not ended, and is not to be.
            RequestIdReusedError: the request_id came before with other content.
        """
        async with self._means.database.write() as tx:
            if earlier := await self._means.requests.earlier(tx, METHOD, asked.request_id, asked, Purged):
                return earlier
            links = await _all_of(tx, asked.merchant_id)
            _check_may_go(links, asked)
            rows = await purge.count(tx, [link.id for link in links])
        purged = Purged(connection_ids=tuple(link.id for link in links), rows=rows)
        for link in links:
            await self._leave.disconnect(Disconnect(link.id, purge_data=True))
        async with self._means.database.write() as tx:
            if earlier := await self._means.requests.earlier(tx, METHOD, asked.request_id, asked, Purged):
                return earlier
            await self._means.requests.keep(tx, METHOD, asked.request_id, asked, purged)
        return purged


def _check_may_go(links: Sequence[Link], asked: PurgeMerchant) -> None:
    if not links:
        raise NotFoundError("merchant", asked.merchant_id)
    live = [link for link in links if link.state != ConnectionState.DISCONNECTED]
    if live and not asked.disconnect:
        raise NotPermittedNowError(
            f"{len(live)} of this merchant's connections are not disconnected. Disconnect them first, or say so here.",
            state=live[0].state,
            connection_id=live[0].id,
        )


async def _all_of(tx: Transaction, merchant_id: str) -> list[Link]:
    found: list[Link] = []
    while True:
        behind = (found[-1].created_at, found[-1].id) if found else None
        page = await connections.page(tx, Scope(merchant_id=merchant_id), after=behind, limit=PAGE)
        found += page
        if len(page) < PAGE:
            return found
