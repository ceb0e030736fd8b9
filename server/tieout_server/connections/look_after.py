"""Looking after connections that nobody asks about: tokens are kept alive, and losses found before they are noticed."""

from datetime import datetime, timedelta

from tieout_server import log
from tieout_server.connections.access import DAY, SOON, Access
from tieout_server.connections.means import LOOK_AFTER, Means
from tieout_server.connections.reasons import TEMPORARY
from tieout_server.connections.state import HAS_ACCESS, ConnectionState
from tieout_server.errors import CredentialsExpiredError
from tieout_server.ledger.links import Link, ReasonCode
from tieout_server.storage import connections
from tieout_server.work.engine import Job, Lane

logger = log.get("connections")

WEEK = timedelta(days=7)
"""How often a broken connection is looked at: its tokens live on that way, and it may have healed."""


class LookAfter:
    """Looks at each connection about once a day, sooner while a trouble passes, weekly while it is broken."""

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
        link = await self._look(link, link.authorised_by.xero_user_id)
        return self._next_look(link)

    async def _look(self, link: Link, xero_user_id: str) -> Link:
        if link.state == ConnectionState.RECONNECT_REQUIRED or _passes(link):
            return (await self._access.examine(link)).link
        try:
            idle = await self._means.tokens.is_idle(xero_user_id)
        except CredentialsExpiredError as gone:
            return (await self._access.examine(link, gone)).link
        return await self._access.glance(link, idle=idle)

    def _next_look(self, link: Link) -> datetime | None:
        now = self._means.clock.now()
        if link.state == ConnectionState.RECONNECT_REQUIRED:
            is_over = link.reason is not None and link.reason.code is ReasonCode.CREDENTIALS_EXPIRED
            return None if is_over else now + WEEK
        if link.state != ConnectionState.CONNECTED:
            return None
        if not _passes(link):
            return now + self._access.about_a_day()
        assert link.reason is not None, "what passes has a reason"
        # The longer it lasts, the less often: a look costs up to five calls.
        lasts = min(max(now - link.reason.observed_at, SOON), DAY / 24)
        return max(now + lasts, link.reason.retry_at or now)


def _passes(link: Link) -> bool:
    return link.reason is not None and link.reason.code in TEMPORARY
