"""One customer compared: read afresh, repaired here, compared with what Xero states, and what stays off explained.

Each round reads Xero's side and takes it into the mirror in one transaction. A difference counts only once two rounds
in a row saw the same: whoever edits the books meanwhile makes no discrepancy. No transaction spans a call.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tieout_server.connections.state import check_is_not_over
from tieout_server.errors import XeroUnavailableError
from tieout_server.ledger.books import AgedReport, Books
from tieout_server.ledger.calendar import today_of
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.links import Link
from tieout_server.reconciliations import findings
from tieout_server.reconciliations.afresh import Afresh, Book, Side, item_of
from tieout_server.reconciliations.compare import Cause
from tieout_server.reconciliations.convention import USUAL, Convention, Told, differ
from tieout_server.reconciliations.diagnose import Explanation, Part, explain
from tieout_server.reconciliations.items import Item, balances
from tieout_server.reconciliations.messages import BalanceSource, Comparison, Reconciled, Repair
from tieout_server.reconciliations.readings import learn
from tieout_server.reconciliations.record import Finding, Record
from tieout_server.reconciliations.state import DiscrepancyState
from tieout_server.reconciliations.suspects import Suspects, offered
from tieout_server.reconciliations.take_in import Reading, Taken, take_in
from tieout_server.storage import comparisons, connections, customers, discrepancies, open_items
from tieout_server.storage.comparisons import Compared
from tieout_server.storage.database import Transaction
from tieout_server.syncs import doubts
from tieout_server.syncs.means import Means
from tieout_server.work.engine import Job

ROUNDS = 4
"""How often a customer is read whose books change while they are read; two rounds are enough where nothing does."""


class BooksMovingError(XeroUnavailableError):
    """A customer cannot be compared now: its documents change while they are read."""


class RemovalDoubtedError(Exception):
    """What was removed in Xero waits for somebody's decision (`syncs.doubts`): nothing of this customer counts."""


class _Why(msgspec.Struct, frozen=True):
    """Why Xero states what it does; no parts: its report agrees with the documents, only the figure does not."""

    explanation: Explanation
    currency: str
    source: BalanceSource = BalanceSource.CONTACT
    figure: str = ""
    """How the figure is made that Xero states with the contact, if it is that which differs."""


class OneCustomer:
    """Comparisons of single customers of one connection.

    `job` is whose work it is, if it is work; what somebody asks for one customer is none, and no gate keeps it.
    """

    def __init__(
        self, means: Means, link: Link, books: Books, job: Job | None = None, book: Book | None = None
    ) -> None:
        self._means = means
        self._link = link
        self._job = job
        self._afresh = Afresh(books, means.clock, book)
        self._told: Told | None = None
        self.removed: Mapping[Entity, int] = {}
        """The rows of each entity that left, over all comparisons: a gate may close on all of them together."""
        self.healed = 0
        """Differences that were over because of a repair, over all comparisons."""

    @property
    def calls(self) -> int:
        """Calls to Xero that were made."""
        return self._afresh.calls

    async def compare(self, customer: str) -> Reconciled:
        """Compare one customer, as the contact that it is by now.

        Raises:
            BooksMovingError: its documents change while they are read.
            RemovalDoubtedError: as work only: a gate holds what was removed, or somebody discarded it.
            BudgetSpentError: `book` permits no further call.
            DoubtedError: more was removed than is believed unasked; nothing of this customer was taken in.
            ConnectionNotUsableError: it was ended, or connected anew, meanwhile: nothing of what was read is kept.
            XeroUnavailableError, CallLimitError, PersonMustActError, BugError: as `Books` says.
            LostLeaseError: another owner has the work now.
        """
        calls, repairs = self.calls, list[Repair]()
        before: Taken | None = None
        why: _Why | None = None
        async with self._means.database.read() as tx:
            customer = (await customers.merges(tx, self._link.id, [customer])).get(customer, customer)
        for _ in range(ROUNDS):
            read = await self._read(customer)
            async with self._means.database.write() as tx:
                link = await connections.get(tx, self._link.id, lock=True)  # who compares the same customer waits
                check_is_not_over(link or self._link, since=self._link)
                if self._job:
                    await self._job.hold(tx)
                    await self._doubt(tx, read.side)
                await self._means.wake_news(tx, self._link.id)
                taken = await take_in(tx, self._link, customer, read)
                settled = await _settled(tx, taken, before, why)
                found = await self._keep(tx, taken, settled)
            customer = taken.whose.xero_contact_id  # it may have been merged this moment
            self.removed = taken.removed
            repairs += taken.repairs
            if settled is not None:
                source = why.source if why else BalanceSource.CONTACT
                return self._answer(taken, settled, found, (source, repairs, self.calls - calls))
            before, why = taken, None if taken.is_moving or taken.agrees else await self._explain(taken)
        raise BooksMovingError("The customer's documents are being changed in Xero; compare again in a minute.")

    async def _read(self, customer: str) -> Reading:
        async with self._means.database.read() as tx:
            family = await customers.families(tx, self._link.id, [customer])
            ours = await open_items.of_contacts(tx, self._link.id, family)
        side = await self._afresh.side(family, ours)
        return Reading(side, await self._convention(side, family), self._means.clock.now(), self.removed)

    async def _doubt(self, tx: Transaction, side: Side) -> None:
        """Take nothing in behind a gate's back."""
        shown = [*side.contacts, *side.documents.values()]
        if (side.gone or await doubts.leaving(tx, self._link.id, shown)) and await doubts.is_open(
            tx, self._link.id, self._means.clock.now()
        ):
            raise RemovalDoubtedError

    async def _convention(self, side: Side, family: Collection[str]) -> Convention:
        """How the customer's figure is to be read: others are asked only if it is not what it usually would be."""
        whose = {contact.xero_contact_id for contact in side.contacts} | set(family)
        items = [item for item in map(item_of, side.documents.values()) if item.xero_contact_id in whose]
        if side.stated is None or not differ(items) or USUAL.agrees(side.stated, items):
            return USUAL
        self._told = self._told or await learn(self._means.database, self._link, self._afresh)
        return self._told.reading(side.stated, items, whose)

    async def _keep(self, tx: Transaction, taken: Taken, settled: Mapping[str, Finding] | None) -> Record:
        """Note what was repaired and, once that is sure, what stays; the last statement of the transaction."""
        record = await Record.of(tx, taken.whose, self._means.clock.now())
        for finding in taken.missed:
            await record.seen(finding)
        if settled is not None:
            await record.settled(settled)
            figures = [_compared(one) for one in _comparisons(taken, settled, BalanceSource.CONTACT)]
            await comparisons.note(tx, self._link.id, taken.whose.xero_contact_id, figures)
        if taken.changed:
            await self._means.feed.tell_of_changes(tx, self._link.id)
        await record.tell(self._means.feed)
        self.healed += record.healed
        return record

    async def _explain(self, taken: Taken) -> _Why:
        """Why Xero states another balance than its documents make; the report is asked only if nothing else tells."""
        suspects = Suspects(
            xero_contact_id=taken.whose.xero_contact_id,
            items=taken.items,
            drafts=await self._afresh.drafts(taken.whose.members),
            crossings=taken.crossings,
        )
        today = today_of(self._link.organisation, self._means.clock.now())
        causes = offered(suspects, taken.convention, today)
        found = explain(taken.difference, causes)
        if found.parts[0].cause is Cause.UNEXPLAINED:
            report = await self._afresh.report(taken.whose.xero_contact_id, taken.items, today)
            if report is not None:
                return _reported(taken, report, causes)
        return _Why(found, taken.currency, figure=taken.figure)

    def _answer(
        self,
        taken: Taken,
        settled: Mapping[str, Finding],
        found: Record,
        how: tuple[BalanceSource, Sequence[Repair], int],
    ) -> Reconciled:
        source, repairs, calls = how
        return Reconciled(
            connection_id=self._link.id,
            xero_contact_id=taken.whose.xero_contact_id,
            balances=tuple(_comparisons(taken, settled, source)),
            repairs=tuple(repairs),
            discrepancies=tuple(found.open),
            calls=calls,
        )


async def _settled(tx: Transaction, taken: Taken, before: Taken | None, why: _Why | None) -> dict[str, Finding] | None:
    """What stays off, by currency: nothing, or the one difference of Xero's figure; None while that is not sure."""
    if taken.is_moving:
        return None
    if taken.agrees:
        return {}
    if why is None or before is None or not taken.same_as(before):
        return await _as_known(tx, taken)
    if not why.explanation.parts:
        return {}
    key = (why.currency, taken.ours_in(why.currency))
    return {why.currency: findings.explained(why.explanation, key, taken.read, why.figure)}


async def _as_known(tx: Transaction, taken: Taken) -> dict[str, Finding] | None:
    """What was found before, if the balances of both sides are those that it explained: it costs no further call."""
    ours = taken.ours
    for one in await discrepancies.of_customer(tx, taken.whose.link.id, [taken.whose.xero_contact_id]):
        is_left = one.state in (DiscrepancyState.NEEDS_ATTENTION, DiscrepancyState.ACKNOWLEDGED)
        if is_left and (one.currency, one.ours, one.difference) == (taken.currency, ours, taken.difference):
            same = Finding(currency=one.currency, ours=ours, xero=one.xero, causes=one.causes, documents=one.documents)
            return {one.currency: same}
    return None


def _comparisons(taken: Taken, settled: Mapping[str, Finding], source: BalanceSource) -> list[Comparison]:
    """Both sides per currency. What the contact states is told where it is the balance of that currency alone."""
    customer, at = taken.whose.xero_contact_id, taken.read.xero
    ours = {currency: amount for (_, currency), amount in balances(taken.items, {}).items()}
    figures = {currency: (amount, amount) for currency, amount in ours.items()}
    figures |= {currency: (finding.ours, finding.xero) for currency, finding in settled.items()}
    told = set(settled) or ({taken.currency} if set(ours) <= {taken.currency} else set())
    return [
        Comparison(
            xero_contact_id=customer,
            currency=currency,
            ours=mine,
            xero=theirs,
            source=source if currency in told and taken.stated is not None else BalanceSource.OPEN_ITEMS,
            as_of=at,
        )
        for currency, (mine, theirs) in sorted((figures or {taken.currency: (Decimal(0), Decimal(0))}).items())
    ]


def _compared(one: Comparison) -> Compared:
    return Compared(one.currency, one.as_of, one.ours, one.xero, one.source)


def _reported(taken: Taken, report: AgedReport, causes: Mapping[Cause, Sequence[Part]]) -> _Why:
    """What the report decides: it always nets credits, in the base currency, however the figure is made."""
    base, source = taken.base_currency, BalanceSource.AGED_RECEIVABLES
    if USUAL.agrees(report.closing, taken.items):
        return _Why(Explanation(parts=()), base, source)
    missing = {Cause.MISSING_DOCUMENT: _not_here(report, taken)}
    found = explain(taken.difference, missing | dict(causes))
    if found.parts[0].cause is Cause.UNEXPLAINED and taken.convention != USUAL:
        own = explain(USUAL.expected(taken.items) - report.closing, missing)
        if all(part.cause is Cause.MISSING_DOCUMENT for part in own.parts):
            return _Why(own, base, source)
    return _Why(found, taken.currency, figure=taken.figure)


def _not_here(report: AgedReport, taken: Taken) -> list[Part]:
    """What the report counts and no listing showed."""
    here = {item.xero_id for item in taken.items}
    return [
        Part(cause=Cause.MISSING_DOCUMENT, amount=-one.due, item=_item(one.xero_id, one.number, one.due, taken))
        for one in report.items
        if one.xero_id not in here and one.due
    ]


def _item(xero_id: str, number: str, due: Decimal, taken: Taken) -> Item:
    """What a report tells of a document, in the base currency."""
    at: datetime = taken.read.xero
    return Item(
        entity=Entity.INVOICES if due > 0 else Entity.CREDIT_NOTES,
        xero_id=xero_id,
        number=number,
        xero_contact_id=taken.whose.xero_contact_id,
        currency=taken.base_currency,
        rate=Decimal(1),
        status="AUTHORISED",
        total=abs(due),
        due=abs(due),
        updated_at=at,
    )
