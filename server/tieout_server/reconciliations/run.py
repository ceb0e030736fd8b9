"""A whole organisation compared, slice by slice: what is open is read anew, everybody is compared, suspects closely.

Each step is a transaction with what it leaves to do and the event that tells of it, which counts only while the work
is ours. Killed at any instruction, the next owner goes on from what was committed.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from tieout_server import log
from tieout_server.errors import BugError
from tieout_server.events.feed import RECONCILIATION
from tieout_server.ledger.books import IDS_AT_ONCE, Books
from tieout_server.ledger.documents import Credit, Entity, Invoice
from tieout_server.ledger.links import Link
from tieout_server.ledger.money import from_units
from tieout_server.reconciliations.afresh import Afresh, BudgetSpentError
from tieout_server.reconciliations.one_customer import BooksMovingError, OneCustomer, RemovalDoubtedError
from tieout_server.reconciliations.overview import Overview
from tieout_server.reconciliations.pages import Page
from tieout_server.reconciliations.plan import Plan
from tieout_server.reconciliations.state import UNDER_WAY, ReconciliationState
from tieout_server.reconciliations.take_in import deleted_in
from tieout_server.storage import connections, customers, discrepancies, open_items, reconciliations
from tieout_server.storage.database import Transaction
from tieout_server.storage.events import Event
from tieout_server.storage.reconciliations import ReconciliationRecord, Total
from tieout_server.syncs.means import Means
from tieout_server.work.engine import Job

logger = log.get("reconciliations")

SLICE = timedelta(seconds=10)
"""How long a slice goes on before others of its lane may have their turn."""


class StoppedError(Exception):
    """The reconciliation is not to go on: it ended with its connection."""


class Run:
    """A reconciliation in hand, with the plan that is left of it."""

    def __init__(self, means: Means, job: Job, link: Link, run: ReconciliationRecord, plan: Plan) -> None:
        self._means = means
        self._job = job
        self._link = link
        self._run = run
        self._plan = plan

    async def go_on(self, books: Books) -> datetime | None:
        """Do one slice; answers when to go on, or None when everybody is compared or the calls are used up.

        Raises:
            TryAgainError, PersonMustActError, BugError: as `Books` says; what was committed stays.
            StoppedError: it ended meanwhile.
            DoubtedError: more was removed than is believed unasked.
            LostLeaseError: another owner has the work now.
        """
        began_at = self._means.clock.now()
        comparing = OneCustomer(self._means, self._link, books, self._job, self._book)
        comparing.removed = self._plan.removed
        while self._run.state != ReconciliationState.SUCCEEDED:
            if self._means.clock.now() - began_at >= SLICE:
                return self._means.clock.now()
            try:
                await self._step(books, comparing)
            except BudgetSpentError:
                await (self._end_early() if self._plan.suspects is None else self._finish())
        return None

    async def _step(self, books: Books, comparing: OneCustomer) -> None:
        if self._plan.suspects is None:
            if self._plan.line is not None:
                await self._read_page(books)
            elif self._plan.unmet:
                await self._look_up(books, self._plan.unmet[0])
            else:
                await self._compare_everybody()
        elif self._plan.suspects:
            await self._compare_one(comparing, self._plan.suspects[0])
        else:
            await self._finish()

    async def _book(self, calls: int) -> None:
        """Count calls before they are made: whatever becomes of them, there are never more than permitted."""
        async with self._means.database.write(durable=False) as tx:
            if not await reconciliations.book(tx, self._run.id, calls):
                raise BudgetSpentError
        self._run = msgspec.structs.replace(self._run, calls=self._run.calls + calls)

    async def _read_page(self, books: Books) -> None:
        line = self._plan.line
        assert line is not None, "only asked for while a listing is left"
        request = next(line.requests(frozenset()))
        await self._book(1)
        page = await books.read(request.query, request.purpose)
        async with self._means.database.write(durable=False) as tx:
            await self._hold(tx)
            await self._means.wake_news(tx, self._link.id)
            taken = Page(tx, self._link, self._run.ordinal, self._means.clock.now())
            changed = await taken.save(page.documents, self._plan.removed)
            line.take(request, page)
            await self._keep(tx, taken, changed=changed)

    async def _look_up(self, books: Books, entity: Entity) -> None:
        """Read what is open here and was not met: it is settled, voided or gone there, or was edited meanwhile."""
        ids = await self._unmet(entity, behind=self._plan.asked_up_to, limit=self._ids_at_once(entity))
        if not ids:
            await self._drop(entity)
            return
        afresh = Afresh(books, self._means.clock, self._book)
        found = await afresh.by_ids(entity, ids)
        async with self._means.database.write(durable=False) as tx:
            await self._hold(tx)
            await self._means.wake_news(tx, self._link.id)
            taken = Page(tx, self._link, self._run.ordinal, self._means.clock.now())
            changed = await taken.save(found, self._plan.removed)
            self._plan.asked_up_to = ids[-1]
            await self._keep(tx, taken, changed=changed)

    async def _drop(self, entity: Entity) -> None:
        """Have deleted what Xero shows under its id no more: all of it at once, or a gate would see it too late."""
        ids = await self._unmet(entity)
        async with self._means.database.write(durable=False) as tx:
            await self._hold(tx)
            await self._means.wake_news(tx, self._link.id)
            taken = Page(tx, self._link, self._run.ordinal, self._means.clock.now())
            began_at = self._run.started_at or self._means.clock.now()
            gone = deleted_in(await open_items.with_ids(tx, self._link.id, ids), began_at)
            changed = 0
            for kind in (Invoice, Credit):
                changed += await taken.save([one for one in gone if isinstance(one, kind)], self._plan.removed)
            self._plan.asked_up_to = ""
            self._plan.unmet.remove(entity)
            await self._keep(tx, taken, changed=changed)

    async def _unmet(self, entity: Entity, *, behind: str = "", limit: int | None = None) -> Sequence[str]:
        """What is open here and was not met, by id."""
        async with self._means.database.read() as tx:
            return await open_items.open_but_unseen(
                tx, self._link.id, entity, seen_in=self._run.ordinal, after=behind, limit=limit
            )

    def _ids_at_once(self, entity: Entity) -> int:
        """How many may be looked up; of credits each takes a call."""
        left = self._run.max_calls - self._run.calls
        return IDS_AT_ONCE if entity is Entity.INVOICES or not self._run.max_calls else min(IDS_AT_ONCE, max(left, 1))

    async def _compare_everybody(self) -> None:
        """Compare all balances in one pass; who disagrees, or was off before, is compared closely."""
        async with self._means.database.read() as tx:
            merged = await customers.all_merges(tx, self._link.id)
            overview = Overview(merged)
            await overview.take(open_items.standings(tx, self._link.id))
            off = {merged.get(contact, contact) for contact in await discrepancies.off_balance(tx, self._link.id)}
        self._plan.suspects = sorted(off | set(overview.suspects()))
        self._plan.suspected = len(self._plan.suspects)
        compared = overview.customers - self._plan.suspected
        async with self._means.database.write(durable=False) as tx:
            await self._hold(tx)
            await self._keep(tx, customers=overview.customers, compared=compared, agreeing=compared)

    async def _compare_one(self, comparing: OneCustomer, customer: str) -> None:
        healed = comparing.healed
        agrees = is_left_out = False
        try:
            found = await comparing.compare(customer)
            agrees = not found.discrepancies
        except (BooksMovingError, RemovalDoubtedError):
            is_left_out = True
        except BugError:  # of one customer it tells nothing about the others
            logger.exception("not compared", reconciliation_id=self._run.id, customer=customer)
            is_left_out = True
        assert self._plan.suspects is not None, "there are suspects once everybody was compared"
        self._plan.suspects.remove(customer)
        self._plan.left_out += [customer] * is_left_out
        self._plan.removed = dict(comparing.removed)
        async with self._means.database.write(durable=False) as tx:
            await self._hold(tx)
            await self._keep(
                tx,
                compared=self._run.compared + (not is_left_out),
                agreeing=self._run.agreeing + agrees,
                self_healed=self._run.self_healed + comparing.healed - healed,
            )

    async def _end_early(self) -> None:
        """The calls were used up before anybody could be compared."""
        async with self._means.database.read() as tx:
            overview = Overview(await customers.all_merges(tx, self._link.id))
            await overview.take(open_items.standings(tx, self._link.id))
        self._plan.suspects = []
        await self._end(customers=overview.customers, left_over=overview.customers)

    async def _finish(self) -> None:
        """Add up who was compared, as the repairs left them; of the others it is not known what Xero states."""
        left = {*(self._plan.suspects or ()), *self._plan.left_out}
        async with self._means.database.read() as tx:
            merged = await customers.all_merges(tx, self._link.id)
            overview = Overview(merged, besides=left)
            await overview.take(open_items.standings(tx, self._link.id))
            known = await discrepancies.open_differences(tx, self._link.id)
        off = {key: apart for key, apart in known.items() if merged.get(key[0], key[0]) not in left}
        await self._end(
            off_balance=len({customer for customer, _ in off}),
            left_over=len(left),
            totals=_totals(overview.totals, off),
        )

    async def _end(self, **changes: Any) -> None:  # noqa: ANN401 - fields of a ReconciliationRecord
        async with self._means.database.write() as tx:
            await self._hold(tx)
            ended_at = self._means.clock.now()
            await self._keep(tx, state=ReconciliationState.SUCCEEDED, percent=100.0, ended_at=ended_at, **changes)

    async def _hold(self, tx: Transaction) -> None:
        await connections.get(tx, self._link.id, lock=True)  # before the work: see Transaction
        await self._job.hold(tx)

    async def _keep(
        self,
        tx: Transaction,
        page: Page | None = None,
        changed: int = 0,
        **changes: Any,  # noqa: ANN401 - fields of a ReconciliationRecord
    ) -> None:
        """Keep the reconciliation with these changes and what is left of it, and tell of all of it.

        Raises:
            StoppedError: it ended meanwhile; nothing of this transaction may count.
        """
        now = self._means.clock.now()
        kept = {
            "state": ReconciliationState.RUNNING,
            "percent": max(self._run.percent, math.floor(100 * min(self._plan.percent, 99.0)) / 100),  # as it is kept
            "started_at": self._run.started_at or now,
            "updated_at": now,
            "failures": 0,
            **changes,
        }
        run = msgspec.structs.replace(self._run, **kept)
        if not await reconciliations.save(tx, run, msgspec.json.encode(self._plan), while_in=UNDER_WAY):
            raise StoppedError
        for record in page.records if page else ():
            await record.tell(self._means.feed)
        if changed:
            await self._means.feed.tell_of_changes(tx, self._link.id)
        await tell(tx, self._means, run)
        self._run = run


async def tell(tx: Transaction, means: Means, run: ReconciliationRecord) -> None:
    """Append the event of how a reconciliation stands now."""
    event = Event(0, run.connection_id, RECONCILIATION, run.id, run.updated_at, msgspec.json.encode(run))
    await means.feed.append(tx, event)


def _totals(ours: Mapping[str, int], off: Mapping[tuple[str, str], Decimal]) -> tuple[Total, ...]:
    """What Xero states is ours less all differences; a currency with nothing open may have one too."""
    apart: dict[str, Decimal] = {}
    for (_, currency), difference in off.items():
        apart[currency] = apart.get(currency, Decimal(0)) + difference
    return tuple(
        Total(currency, from_units(ours.get(currency, 0)), from_units(ours.get(currency, 0)) - apart.get(currency, 0))
        for currency in sorted(ours.keys() | apart.keys())
    )
