"""Looking after connections that nobody asks about: tokens are kept alive, and losses found before they are noticed."""

from datetime import datetime

from tieout_server import log
from tieout_server.connections import reasons
from tieout_server.connections.access import Access
from tieout_server.connections.means import LOOK_AFTER, Means
from tieout_server.connections.messages import Checked
from tieout_server.connections.state import HAS_ACCESS, ConnectionState
from tieout_server.errors import CredentialsExpiredError
from tieout_server.ledger.links import Link, ReasonCode
from tieout_server.storage import connections
from tieout_server.work.engine import Job, Lane

logger = log.get("connections")


class LookAfter:
    """Looks at each connection from time to time: sooner while a trouble passes, less often while it is broken."""

    def __init__(self, means: Means, access: Access) -> None:
        self._means = means
        self._access = access
        means.engine.register(LOOK_AFTER, Lane.READ, self.perform)

    async def perform(self, job: Job) -> datetime | None:
        """Look at one connection; answers when to look again. Nothing can be seen of one whose tokens are gone."""
        async with self._means.database.read() as tx:
            link = await connections.get(tx, job.connection_id)
        if link is None or link.authorised_by is None or link.state not in HAS_ACCESS:
            return None
        looked = await self._look(link, link.authorised_by.xero_user_id)
        if looked.link.state not in HAS_ACCESS or (_is_over(looked.link) and not looked.is_open):
            return None
        return self._access.look_again_at(looked.link, is_open=looked.is_open)

    async def _look(self, link: Link, xero_user_id: str) -> Checked:
        if link.state == ConnectionState.RECONNECT_REQUIRED or reasons.passes(link.reason):
            return await self._access.examine(link)
        try:
            idle = await self._means.tokens.is_idle(xero_user_id)
        except CredentialsExpiredError as gone:
            return await self._access.examine(link, gone)
        return await self._access.glance(link, idle=idle)


def _is_over(link: Link) -> bool:
    return (
        link.state == ConnectionState.RECONNECT_REQUIRED
        and link.reason is not None
        and link.reason.code is ReasonCode.CREDENTIALS_EXPIRED
    )
