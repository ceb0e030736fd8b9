"""Comparing what changed: customers whose documents moved are held against what Xero states of them, at little cost.

It follows the changes of the mirror, whoever brought them: a sync, a webhook, polling. Most customers agree at once.
Of the others the stated figures, of which Xero tells nobody when they move, are read by ids, many in a call; whoever
still disagrees is compared closely. It stands back while a sync is at work: what is in flight is no difference;
and while a gate holds what was read, or somebody discarded it: then the difference is wanted.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import BugError, OperatorMustActError, PersonMustActError, TryAgainError
from tieout_server.ledger.books import Books
from tieout_server.ledger.links import Link
from tieout_server.reconciliations.afresh import Afresh
from tieout_server.reconciliations.means import Means
from tieout_server.reconciliations.one_customer import BooksMovingError, OneCustomer, RemovalDoubtedError
from tieout_server.reconciliations.overview import Overview
from tieout_server.reconciliations.readings import learn
from tieout_server.storage import comparisons, connections, customers, discrepancies, mirror, open_items, syncs
from tieout_server.storage.comparisons import Cursor
from tieout_server.storage.database import Transaction
from tieout_server.syncs import doubts
from tieout_server.syncs.followers import follow
from tieout_server.syncs.service import COMPARE
from tieout_server.syncs.state import AT_WORK
from tieout_server.work.engine import Job, Lane

logger = log.get("reconciliations")

EVERY = timedelta(minutes=3)
"""How often a connection's changes are looked for. Where nothing changed, that costs one query and no call."""
SOON = timedelta(seconds=20)
"""When to look again while a sync is at work."""
FIGURES = 200
"""Customers at most whose stated figures are read at a time: five calls."""
CLOSELY = 3
"""Customers at most that are compared closely in one slice, by some ten calls each."""
AFTER_TROUBLE = timedelta(minutes=5)


class Changed:
    """The changes of all connections, compared."""

    def __init__(self, means: Means, links: Connections) -> None:
        self._means = means
        self._links = links
        means.engine.register(COMPARE, Lane.READ, self.perform)

    async def perform(self, job: Job) -> datetime | None:
        """Compare what changed of one connection; answers when to look again, None while it is not connected."""
        now = self._means.clock.now()
        async with self._means.database.read() as tx:
            link = await connections.get(tx, job.connection_id)
            sync = await syncs.latest(tx, job.connection_id)
            is_doubted = await doubts.is_open(tx, job.connection_id, now)
        if link is None or link.state != ConnectionState.CONNECTED:
            return None
        if link.last_synced_at is None or (sync is not None and sync.state in AT_WORK):
            return now + SOON
        if is_doubted:
            return now + EVERY
        try:
            is_over = await self._compare(job, link)
        except (TryAgainError, OperatorMustActError) as trouble:
            logger.info("comparing waits", connection_id=link.id, trouble=trouble.sentence)
            return now + AFTER_TROUBLE
        except PersonMustActError as refusal:
            await self._links.access_lost(link.id, refusal)
        except BugError:
            logger.exception("comparing failed", connection_id=link.id)
        else:
            return now + EVERY if is_over else self._means.clock.now()
        return now + AFTER_TROUBLE

    async def _compare(self, job: Job, link: Link) -> bool:
        """Compare the next suspects closely; answers whether there are no more."""
        queue = await self._queue(job, link)
        if not queue:
            return True
        books = self._links.books(link)
        suspects = await self._still(job, link, books, queue[:FIGURES])
        comparing = OneCustomer(self._means, link, books, job)
        for customer in suspects[:CLOSELY]:
            try:
                await job.keep_during(self._means.database, comparing.compare(customer))
            except BooksMovingError:
                logger.info("books are moving", connection_id=link.id, customer=customer)
            except RemovalDoubtedError:  # since this slice began
                logger.info("removals are doubted", connection_id=link.id, customer=customer)
        left = (*suspects[CLOSELY:], *queue[FIGURES:])
        async with self._means.database.write(durable=False) as tx:
            await job.hold(tx)
            up_to = (await comparisons.cursor(tx, link.id)).up_to
            await comparisons.put_cursor(tx, link.id, Cursor(up_to, left))
        return not left

    async def _queue(self, job: Job, link: Link) -> Sequence[str]:
        """The suspects that were left, and those that came with what changed since."""
        async with self._means.database.read() as tx:
            known = await comparisons.cursor(tx, link.id)
            contacts, up_to = await comparisons.changed_contacts(tx, link.id, known.up_to)
            found = await _suspects(tx, link, contacts) if contacts else []
        queue = tuple(dict.fromkeys((*known.suspects, *found)))
        if contacts:
            async with self._means.database.write(durable=False) as tx:
                await job.hold(tx)
                await comparisons.put_cursor(tx, link.id, Cursor(up_to, queue))
        return queue

    async def _still(self, job: Job, link: Link, books: Books, suspects: Sequence[str]) -> list[str]:
        """Of these customers those that disagree with what Xero states at this moment."""
        afresh = Afresh(books, self._means.clock)
        figures = await job.keep_during(self._means.database, afresh.contacts(suspects))
        async with self._means.database.write(durable=False) as tx:
            await job.hold(tx)
            await self._means.wake_news(tx, link.id)
            now = self._means.clock.now()
            saved = await mirror.save(tx, link.id, figures, seen_in=0, at=now)
            held = await _held(tx, link, [one.xero_contact_id for one in figures])
            if saved.changed:
                await follow(tx, link.id, figures, now)
                await self._means.feed.tell_of_changes(tx, link.id)
        told = None
        if held.overview.depends:
            told = await job.keep_during(self._means.database, learn(self._means.database, link, afresh))
        return held.those(held.overview.suspects(told))


class _Held(msgspec.Struct, frozen=True):
    """Customers held against what Xero states of them."""

    concerned: set[str]
    off: set[str]
    """Who was off balance before."""
    overview: Overview
    """Of them, or of everybody."""
    is_part: bool

    def those(self, suspects: Collection[str]) -> list[str]:
        """Who of them is to be looked at."""
        return sorted(self.concerned & (self.off | set(suspects)))


async def _suspects(tx: Transaction, link: Link, contacts: Sequence[str]) -> list[str]:
    """Of these contacts' customers those that are worth a call for their figures, or were off balance before.

    A figure that is older than a document reads as others are made, of which a few know nothing: only where everybody
    was asked it tells.
    """
    held = await _held(tx, link, contacts)
    return held.those(held.overview.doubted if held.is_part else held.overview.suspects())


async def _held(tx: Transaction, link: Link, contacts: Sequence[str]) -> _Held:
    merged = await customers.all_merges(tx, link.id)  # after a first sync there is no end of contacts
    concerned = {merged.get(contact, contact) for contact in contacts}
    of = await customers.families(tx, link.id, concerned) if len(concerned) <= open_items.AT_ONCE else None
    overview = Overview(merged)
    await overview.take(open_items.standings(tx, link.id, of))
    off = {merged.get(contact, contact) for contact in await discrepancies.off_balance(tx, link.id)}
    return _Held(concerned, off, overview, is_part=of is not None)
