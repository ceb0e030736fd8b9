"""Comparing what changed: customers whose documents moved are held against what Xero states of them, at little cost.

It follows the changes of the mirror, whoever brought them: a sync, a webhook, polling. Most customers agree at once.
Of the others the stated figures, of which Xero tells nobody when they move, are read by ids, many in a call; whoever
still disagrees is compared closely. It stands back while a sync is at work: what is in flight is no difference;
and while a gate holds what was read, or somebody discarded it: then the difference is wanted.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.connections.state import ConnectionState, is_over
from tieout_server.errors import BugError, OperatorMustActError, PersonMustActError, TryAgainError
from tieout_server.ledger.books import Books
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import Contact, Entity
from tieout_server.ledger.links import Link
from tieout_server.reconciliations import agreements
from tieout_server.reconciliations.afresh import Afresh
from tieout_server.reconciliations.one_customer import BooksMovingError, OneCustomer, RemovalDoubtedError
from tieout_server.reconciliations.overview import Overview
from tieout_server.reconciliations.readings import learn
from tieout_server.storage import comparisons, connections, customers, discrepancies, open_items, syncs
from tieout_server.storage.comparisons import Cursor
from tieout_server.storage.database import Transaction
from tieout_server.syncs import doubts, person
from tieout_server.syncs.followers import follow
from tieout_server.syncs.intake import DoubtedError
from tieout_server.syncs.means import COMPARE, Means
from tieout_server.syncs.schedule import SMALL_DAY
from tieout_server.syncs.state import AT_WORK
from tieout_server.work.engine import Job, Lane, Priority

logger = log.get("reconciliations")

EVERY = timedelta(minutes=3)
"""How often changes are looked for, of all connections in one query; and how soon a connection is looked at again."""
SOON = timedelta(seconds=20)
"""When to look again while a sync is at work."""
FIGURES = 200
"""Customers at most whose stated figures are read at a time: five calls."""
AT_ONCE = 200
"""Connections at most that are woken by one transaction."""
CLOSELY = 3
"""Customers at most that are compared closely in that time, by some ten calls each."""
KEPT = 0.5
"""The share of a day's calls that is left for syncs, polling, exports and what somebody asks for."""
AFTER_TROUBLE = timedelta(minutes=5)
PUT_OFF = timedelta(hours=1)
"""How long a customer is left alone whose answers nobody documented, or of whom too much was removed."""


class Changed:
    """The changes of all connections, compared."""

    def __init__(self, means: Means, links: Connections, allowance: Callable[[str], Allowance]) -> None:
        """`allowance` tells the calls that an organisation has left."""
        self._means = means
        self._links = links
        self._allowance = allowance
        self._alone_until: dict[tuple[str, str], datetime] = {}
        """By connection and customer. A new process tries them at once."""
        self._removed: dict[str, tuple[datetime, Mapping[Entity, int]]] = {}
        """By connection, since when: what left with customers, so that a gate may close on all of them together."""
        means.engine.register(COMPARE, Lane.READ, self.perform)

    async def run(self) -> None:
        """Keep looking for connections that changed, until cancelled."""
        while True:
            await self.look()
            await self._means.clock.sleep(EVERY.total_seconds())

    async def look(self) -> None:
        """Have the connections compared that changed."""
        async with self._means.database.read() as tx:
            changed = await comparisons.behind(tx)
        for start in range(0, len(changed), AT_ONCE):
            async with self._means.database.write(durable=False) as tx:
                for connection_id in changed[start : start + AT_ONCE]:
                    await self._means.engine.wake(tx, COMPARE, connection_id, priority=Priority.POLL)

    async def perform(self, job: Job) -> datetime | None:
        """Compare what changed of one connection; answers when to go on, None once all of it is compared."""
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
            pause = await self._compare(job, link)
        except (TryAgainError, OperatorMustActError) as trouble:
            logger.info("comparing waits", connection_id=link.id, trouble=trouble.sentence)
            return now + AFTER_TROUBLE
        except PersonMustActError as refusal:
            await self._links.access_lost(link.id, refusal)
        except BugError:
            logger.exception("comparing failed", connection_id=link.id)
        else:
            return None if pause is None else self._means.clock.now() + pause
        return now + AFTER_TROUBLE

    async def _compare(self, job: Job, link: Link) -> timedelta | None:
        """Compare the next suspects closely; answers when to go on: at once only as long as nobody needed that."""
        queue = await self._queue(job, link)
        due = [customer for customer in queue if not self._is_left_alone(link, customer)]
        if not due or self._is_scarce(link):
            return EVERY if queue else None
        books = self._links.books(link)
        suspects = await self._still(job, link, books, due[:FIGURES])
        await self._closely(OneCustomer(self._means, link, books, job), link, suspects[:CLOSELY])
        alone = [one for one in dict.fromkeys((*queue, *suspects)) if self._is_left_alone(link, one)]
        left = dict.fromkeys((*suspects[CLOSELY:], *due[FIGURES:], *alone))
        async with self._means.database.write(durable=False) as tx:
            await job.hold(tx)
            up_to = (await comparisons.cursor(tx, link.id)).up_to
            await comparisons.put_cursor(tx, link.id, Cursor(up_to, tuple(left)))
        if not left:
            return None
        return EVERY if suspects or len(due) <= FIGURES else timedelta()

    async def _closely(self, comparing: OneCustomer, link: Link, suspects: Sequence[str]) -> None:
        """Compare these one by one: what is odd about one keeps no other waiting."""
        since, comparing.removed = self._removed_of(link)
        for customer in suspects:
            try:
                await comparing.compare(customer)
            except BooksMovingError:
                logger.info("books are moving", connection_id=link.id, customer=customer)
            except RemovalDoubtedError:  # since this slice began
                logger.info("removals are doubted", connection_id=link.id, customer=customer)
            except (BugError, DoubtedError):
                self._leave_alone(link, customer)
            self._removed[link.id] = since, comparing.removed

    def _removed_of(self, link: Link) -> tuple[datetime, Mapping[Entity, int]]:
        now = self._means.clock.now()
        since, removed = self._removed.get(link.id, (now, {}))
        return (since, removed) if now < since + doubts.DOUBTED_FOR else (now, {})

    def _is_scarce(self, link: Link) -> bool:
        allowance = self._allowance(link.xero_tenant_id)
        left = allowance.left_today
        return left is not None and left <= KEPT * (allowance.day_limit or SMALL_DAY)

    def _leave_alone(self, link: Link, customer: str) -> None:
        """In the handler of what is odd about it."""
        logger.exception("not compared", connection_id=link.id, customer=customer)  # noqa: LOG004 - see the docstring
        now = self._means.clock.now()
        self._alone_until = {one: at for one, at in self._alone_until.items() if at > now}
        self._alone_until[link.id, customer] = now + PUT_OFF

    def _is_left_alone(self, link: Link, customer: str) -> bool:
        now = self._means.clock.now()
        return self._alone_until.get((link.id, customer), now) > now

    async def _queue(self, job: Job, link: Link) -> Sequence[str]:
        """The suspects that were left, and those that came with what changed since."""
        async with self._means.database.read() as tx:
            known = await comparisons.cursor(tx, link.id)
            contacts, up_to = await comparisons.changed_contacts(tx, link.id, known.up_to)
            concerned, found = await _suspects(tx, link, contacts) if contacts else (set[str](), list[str]())
        queue = tuple(dict.fromkeys((*known.suspects, *found)))
        if contacts or up_to > known.up_to:
            async with self._means.database.write(durable=False) as tx:
                if not await _hold(tx, job, link):
                    return ()
                await comparisons.put_cursor(tx, link.id, Cursor(up_to, queue))
                await agreements.note(tx, link, concerned.difference(queue), self._means.clock.now())
        return queue

    async def _figures(self, afresh: Afresh, link: Link, of: Sequence[str]) -> list[Contact]:
        """These contacts, but those that nobody documented, who are found by halves."""
        try:
            return await afresh.contacts(of)
        except BugError:
            if len(of) == 1:
                self._leave_alone(link, of[0])
                return []
        half = len(of) // 2
        return [*await self._figures(afresh, link, of[:half]), *await self._figures(afresh, link, of[half:])]

    async def _still(self, job: Job, link: Link, books: Books, suspects: Sequence[str]) -> list[str]:
        """Of these customers those that disagree with what Xero states at this moment."""
        afresh = Afresh(books, self._means.clock)
        figures = await self._figures(afresh, link, suspects)
        async with self._means.database.write(durable=False) as tx:
            if not await _hold(tx, job, link):
                return []
            await self._means.wake_news(tx, link.id)
            now = self._means.clock.now()
            ordinal = await connections.sync_ordinal(tx, link.id)
            saved = await person.save(tx, link.id, figures, seen_in=ordinal, at=now)
            held = await _held(tx, link, [one.xero_contact_id for one in figures])
            doubted = held.those(held.overview.doubted)
            await agreements.note(tx, link, held.concerned.difference(doubted), now)
            if saved.changed:
                await follow(tx, link.id, figures, now)
                await self._means.feed.tell_of_changes(tx, link.id)
        told = None
        if held.overview.depends:
            told = await learn(self._means.database, link, afresh)
        return held.those(held.overview.suspects(told))


async def _hold(tx: Transaction, job: Job, link: Link) -> bool:
    """Whether the connection has not ended, and will not before the commit: what a purge erases must not come back."""
    now = await connections.get(tx, link.id, lock=True)
    await job.hold(tx)
    return now is not None and not is_over(now, link)


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


async def _suspects(tx: Transaction, link: Link, contacts: Sequence[str]) -> tuple[set[str], list[str]]:
    """These contacts' customers, and those of them that are worth a call for their figures, or were off balance before.

    A figure that is older than a document reads as others are made, of which a few know nothing: only where everybody
    was asked it tells.
    """
    held = await _held(tx, link, contacts)
    return held.concerned, held.those(held.overview.doubted if held.is_part else held.overview.suspects())


async def _held(tx: Transaction, link: Link, contacts: Sequence[str]) -> _Held:
    merged = await customers.all_merges(tx, link.id)  # after a first sync there is no end of contacts
    concerned = {merged.get(contact, contact) for contact in contacts}
    of = await customers.families(tx, link.id, concerned) if len(concerned) <= open_items.AT_ONCE else None
    overview = Overview(merged)
    await overview.take(open_items.standings(tx, link.id, of))
    off = {merged.get(contact, contact) for contact in await discrepancies.off_balance(tx, link.id)}
    return _Held(concerned, off, overview, is_part=of is not None)
