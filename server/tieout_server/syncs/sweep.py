"""The sweep: a few calls a day that find what changed without moving UpdatedDateUTC.

Xero tells nobody of new due dates on part-paid invoices, of IsCustomer, of balances and of documents whose contact
was merged; perhaps not of removed allocations and deleted payments either (UNSURE register U4, U5). So what is open
is listed anew once a day, contacts and credits too, the history a page a day; and what does not add up is read again.
Each item is one slice of work; the items are spread over the day.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.errors import BugError, PersonMustActError, XeroUnavailableError
from tieout_server.ledger.books import IDS_AT_ONCE, Order, Purpose, Query
from tieout_server.ledger.documents import CREDITS, Entity
from tieout_server.storage import contradictions, live, sweeps
from tieout_server.storage.database import Database
from tieout_server.storage.sweeps import Sweep
from tieout_server.syncs import plan, schedule
from tieout_server.syncs.intake import DoubtedError
from tieout_server.syncs.means import SWEEP, Means
from tieout_server.syncs.plan import Line, Request, Walk
from tieout_server.syncs.reading import Reading, Readings
from tieout_server.syncs.state import SyncMode, SyncPhase
from tieout_server.work.engine import Job, Lane

logger = log.get("syncs")

AT_ONCE = 400
"""Documents that one item reads again by their ids at most; what is left comes with the next sweep."""
ODD = {Entity.INVOICES: IDS_AT_ONCE} | dict.fromkeys((*CREDITS, Entity.PAYMENTS), 2)
"""Documents of each question in a sweep that contradict what is beside them, 16 calls in all: invoices are read by
lists, the others one by one. Xero itself may state some so, for good: each sweep goes on behind the one before."""
AFTER_AN_OUTAGE = timedelta(hours=1)
"""When an item is swept again that Xero did not answer for; the others meanwhile."""


class Item(StrEnum):
    """What is swept, in the order in which a day's sweep begins."""

    OPEN_INVOICES = "open_invoices"
    CONTACTS = "contacts"
    CREDIT_NOTES = "credit_notes"
    OVERPAYMENTS = "overpayments"
    PREPAYMENTS = "prepayments"
    INVOICES = "invoices"
    """The history, a page a day."""
    PAYMENTS = "payments"
    """Likewise."""
    SUMS = schedule.SUMS
    """What does not add up with what is beside it."""


_ROLLING = {Item.INVOICES: Entity.INVOICES, Item.PAYMENTS: Entity.PAYMENTS}


class Sweeps:
    """The sweeps of all connections."""

    def __init__(self, means: Means, readings: Readings) -> None:
        self._database: Database = means.database
        self._clock: Clock = means.clock
        self._readings = readings
        means.engine.register(SWEEP, Lane.READ, self.perform)

    async def perform(self, job: Job) -> datetime | None:
        """Sweep the item of one connection that is due first; answers when another one is."""
        return await self._readings.carry_out(job, self._sweep)

    async def _sweep(self, reading: Reading) -> datetime | None:
        now = self._clock.now()
        planned = await self._planned(reading)
        item = min(planned, key=lambda item: planned[item].due_at)
        if planned[item].due_at > now:
            return planned[item].due_at
        try:
            following_page = await self._sweep_item(reading, item, planned[item].page)
            swept = Sweep(now + schedule.DAY, following_page)
        except DoubtedError as doubted:
            until = await self._readings.doubted(reading, _entity(item), SyncMode.FULL, doubted.doubt)
            swept = Sweep(until, planned[item].page)
        except PersonMustActError as refusal:
            if await self._readings.refused(reading, refusal) is None:
                return None
            swept = Sweep(now + schedule.DAY, planned[item].page)
        except XeroUnavailableError as trouble:  # perhaps for a page of it alone, behind many that it begins with again
            logger.warning("sweep waits", connection_id=reading.link.id, item=item, trouble=trouble.sentence)
            reading.refused_until = now + AFTER_AN_OUTAGE  # polling finds out whether it is one, and when it is over
            swept = Sweep(reading.refused_until, planned[item].page)
        except BugError:
            logger.exception("sweep failed", connection_id=reading.link.id, item=item)
            swept = Sweep(now + schedule.DAY, planned[item].page)
        async with self._database.write(durable=False) as tx:
            await reading.job.hold(tx)
            await sweeps.put(tx, reading.link.id, item, swept)
        return min(swept.due_at, *(other.due_at for name, other in planned.items() if name is not item))

    async def _planned(self, reading: Reading) -> Mapping[Item, Sweep]:
        """When each item is due; those that never were are spread over the day after the first sync."""
        began_at = reading.link.last_synced_at or self._clock.now()
        async with self._database.write(durable=False) as tx:
            await reading.job.hold(tx)
            known = await sweeps.every(tx, reading.link.id)
            for rank, item in enumerate(Item, 1):
                if item not in known:
                    await sweeps.put(tx, reading.link.id, item, Sweep(began_at + schedule.DAY * rank / len(Item)))
            known = await sweeps.every(tx, reading.link.id)
        return {item: known[item] for item in Item}

    async def _sweep_item(self, reading: Reading, item: Item, page: int) -> int:
        """Sweep one item; answers the page with which its next sweep begins."""
        if item is Item.SUMS:
            return await self._sweep_sums(reading, page)
        if item is Item.OPEN_INVOICES:
            await self._sweep_open_invoices(reading)
        elif item in _ROLLING:
            return await self._sweep_page(reading, _ROLLING[item], page)
        else:
            await reading.walk(_line(_entity(item), one_by_one=True))
        return 1

    async def _sweep_open_invoices(self, reading: Reading) -> None:
        """List what is open, and read again what is open here but not there."""
        async with self._database.read() as tx:
            ours = await live.open_invoices(tx, reading.link.id)
        theirs = await reading.walk(_line(Entity.INVOICES, walk=Walk.SEEK, open_only=True))
        if gone := sorted(ours - theirs)[:AT_ONCE]:
            await reading.read_again(_line(Entity.INVOICES), gone)

    async def _sweep_page(self, reading: Reading, entity: Entity, number: int) -> int:
        """Read this page of all there is; answers the number of the next one."""
        query = Query(entity=entity, page=number, page_size=plan.PAGE_SIZE, order=Order.BY_ID)
        page = await reading.read(Request("sweep", query, Purpose.POLL))
        await reading.keep(_line(entity), page)
        return number + 1 if number < page.page_count else 1

    async def _sweep_sums(self, reading: Reading, number: int) -> int:
        """Read again what contradicts what is beside it; answers where the next sweep goes on."""
        is_last = True
        for entity, most in ODD.items():
            odd, is_end = await self._odd(reading.link.id, entity, most, skip=(number - 1) * most)
            is_last = is_last and is_end
            if odd:
                await reading.read_again(_line(entity), odd)
        return 1 if is_last else number + 1

    async def _odd(self, connection_id: str, entity: Entity, most: int, *, skip: int) -> tuple[Sequence[str], bool]:
        """So many documents of an entity that contradict what is beside them, and whether there are no more."""
        async with self._database.read() as tx:
            if entity is Entity.PAYMENTS:
                excess = await contradictions.excess_payments(tx, connection_id, most, skip=skip)
                return excess, len(excess) < most
            odd = await contradictions.unsettled(tx, connection_id, entity, most, skip=skip)
            merged = await contradictions.of_merged_contacts(tx, connection_id, entity, most, skip=skip)
        return list(dict.fromkeys([*odd, *merged])), max(len(odd), len(merged)) < most


def _line(entity: Entity, *, walk: Walk = Walk.PAGES, open_only: bool = False, one_by_one: bool = False) -> Line:
    return Line(
        name="sweep", entity=entity, phase=SyncPhase.CATCH_UP, purpose=Purpose.POLL, walk=walk, open_only=open_only,
        one_by_one=one_by_one,
    )  # fmt: skip


def _entity(item: Item) -> Entity:
    return Entity.INVOICES if item in (Item.OPEN_INVOICES, Item.SUMS) else Entity(item.value)
