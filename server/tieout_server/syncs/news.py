"""What webhooks name is read soon: one connection's documents together, and what moved with them.

An event says which document changed, not what it became. The document is read until a version is here that is not
older than the event, and then the event is done with: duplicates and disorder change nothing. What Xero may not tell
of (payments and allocations, UNSURE register U1 and U2; a contact that became a customer) is found by what does not
add up (`syncs.followers`). What is not found in time is left to polling.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import OperatorMustActError, PersonMustActError, TryAgainError
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import CREDITS, Entity
from tieout_server.ledger.links import Link
from tieout_server.ledger.notices import Notice
from tieout_server.storage import connections, webhooks
from tieout_server.storage.database import Transaction
from tieout_server.storage.webhooks import Named
from tieout_server.syncs import trouble as troubles
from tieout_server.syncs.fetch import Fetch, Intake
from tieout_server.syncs.means import NEWS, Means
from tieout_server.syncs.pace import Pace
from tieout_server.work.engine import Job, Lane, Priority

logger = log.get("news")

AT_ONCE = 400
"""Documents in one slice."""
ROUNDS = 2
"""Reads of what is due in one slice: what moved with the first is read right after it."""
LATER = timedelta(seconds=30)
"""After trouble of which nobody says when it ends."""
_ORDER = (Entity.CONTACTS, *CREDITS, Entity.PAYMENTS, Entity.INVOICES)
"""Invoices last: what was paid and credited is here by then, so that it adds up."""


class News:
    """What webhooks name, from the inbox to the mirror."""

    def __init__(self, means: Means, links: Connections, allowance: Callable[[str], Allowance]) -> None:
        self._means = means
        self._links = links
        self._pace = Pace(means.clock, allowance)
        self._intake = Intake(means.clock)
        means.engine.register(NEWS, Lane.NEWS, self.perform)

    async def put(self, tx: Transaction, notices: Sequence[Notice]) -> None:
        """Have this read; organisations that nobody has connected are ignored. Repeated, it changes nothing."""
        now = self._means.clock.now()
        found = await connections.holders_of(tx, {notice.xero_tenant_id for notice in notices})
        for tenant, connection_id in sorted(found.items(), key=lambda item: item[1]):
            opens_at = self._pace.opens_at(tenant)
            await self._means.engine.wake(tx, NEWS, connection_id, priority=Priority.NEWS, at=opens_at)
            named = [_named(notice) for notice in notices if notice.xero_tenant_id == tenant]
            await webhooks.put(tx, connection_id, named, now)

    async def perform(self, job: Job) -> datetime | None:
        """Read what is due of one connection."""
        async with self._means.database.read() as tx:
            link = await connections.get(tx, job.connection_id)
        if link is None:
            return None
        opens_at = self._pace.opens_at(link.xero_tenant_id)
        if opens_at > self._means.clock.now():
            return opens_at
        try:
            fetch = Fetch(self._means, job, self._links.books(link), self._intake)
            return await self._read(fetch, link)
        except (OperatorMustActError, TryAgainError) as trouble:
            return self._after(trouble)
        except PersonMustActError as refusal:
            link = await self._links.access_lost(link.id, refusal)
            if link.state == ConnectionState.CONNECTED:
                return troubles.after_refusal(link, self._means.clock.now())
            await self._forget(job)
            return None

    async def _read(self, fetch: Fetch, link: Link) -> datetime | None:
        for number in range(ROUNDS):
            async with self._means.database.read() as tx:
                named = await webhooks.due(tx, link.id, self._means.clock.now(), AT_ONCE)
            if named and not number:  # a wake for nothing costs no call, and must not slow the next event
                self._pace.fetches(link.xero_tenant_id)
            for entity in _ORDER:
                if some := [one for one in named if one.entity is entity]:
                    await fetch.read(entity, some)
        async with self._means.database.read() as tx:
            return await webhooks.next_due_at(tx, link.id)

    async def _forget(self, job: Job) -> None:
        """Forget what was named: whoever connects again has everything read that changed meanwhile."""
        async with self._means.database.write() as tx:
            await job.hold(tx)
            await webhooks.forget(tx, job.connection_id)

    def _after(self, trouble: OperatorMustActError | TryAgainError) -> datetime:
        """When to go on. Polling meets the same trouble and tells of it."""
        again_at = trouble.retry_at if isinstance(trouble, TryAgainError) else None
        again_at = again_at or self._means.clock.now() + LATER
        logger.warning("news wait", until=again_at, trouble=trouble.sentence)
        return again_at


def _named(notice: Notice) -> Named:
    return Named(entity=notice.entity, xero_id=notice.xero_id, kind=notice.kind, event_at=notice.at)
