"""Polling: each entity is asked from time to time what changed since its watermark.

It is no sync: nothing is kept of it but the watermark, and when nothing changed nothing is told.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.connections import reasons
from tieout_server.errors import BugError, PersonMustActError, XeroUnavailableError
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import CREDITS, Entity
from tieout_server.storage import calls, watermarks, webhooks
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.watermarks import Watermark
from tieout_server.syncs import schedule
from tieout_server.syncs.intake import DoubtedError
from tieout_server.syncs.means import POLL, Means
from tieout_server.syncs.plan import OVERLAP, Line, Walk
from tieout_server.syncs.reading import Reading, Readings
from tieout_server.syncs.schedule import Budget
from tieout_server.syncs.state import SyncMode, SyncPhase
from tieout_server.work.engine import Job, Lane

logger = log.get("syncs")

WEBHOOKS_LIVE = timedelta(days=1)
"""How long after a verified delivery webhooks are relied on."""
TOGETHER = timedelta(seconds=30)
"""What is due so soon is read along, so that entities with one interval keep step."""
CONFIRM_EVERY = timedelta(hours=1)
"""How exactly it is kept when a day's limit was last seen to hold."""
AFTER_A_BUG = timedelta(hours=1)
"""When an entity is read again whose answer nobody documented."""
_ORDER = (Entity.ACCOUNTS, Entity.CONTACTS, Entity.INVOICES, *CREDITS, Entity.PAYMENTS)
"""Payments last: then whatever was paid before the invoices were read is met."""


class _Plan(msgspec.Struct, frozen=True):
    """What is read of one connection, and how long after that it is read again."""

    marks: Mapping[Entity, Watermark]
    intervals: Mapping[Entity, timedelta]
    day_limit: int
    """What is known of it from before; 0 if nothing is."""
    is_fresh: bool
    """Whether that was seen within the hour."""

    def due(self, by: datetime) -> Sequence[Entity]:
        """What is to be read by then, in order."""
        return [entity for entity in _ORDER if entity in self.marks and self.due_at(entity) <= by]

    def due_at(self, entity: Entity) -> datetime:
        mark = self.marks[entity]
        return mark.next_read_at or mark.last_read_at + self.intervals[entity]


class Polls:
    """The polling of all connections."""

    def __init__(self, means: Means, readings: Readings, allowance: Callable[[str], Allowance]) -> None:
        self._database: Database = means.database
        self._clock: Clock = means.clock
        self._readings = readings
        self._allowance = allowance
        means.engine.register(POLL, Lane.READ, self.perform)

    async def perform(self, job: Job) -> datetime | None:
        """Read what is due of one connection; answers when something is again."""
        return await self._readings.carry_out(job, self._poll)

    async def _poll(self, reading: Reading) -> datetime | None:
        now = self._clock.now()
        plan = await self._plan(reading)
        if plan.due(now):
            if not await self._read_all(reading, plan, plan.due(now + TOGETHER)):
                return None
            await self._learn(reading.link.xero_tenant_id, plan)
        async with self._database.read() as tx:
            marks = await watermarks.every(tx, reading.link.id)
        planned = [mark.next_read_at for mark in marks.values() if mark.next_read_at]
        return min(planned, default=now + schedule.DAY)

    async def _plan(self, reading: Reading) -> _Plan:
        now, link = self._clock.now(), reading.link
        async with self._database.read() as tx:
            marks = await watermarks.every(tx, link.id)
            heard_at = await webhooks.last_heard(tx)
            learnt = await calls.day_limit(tx, link.xero_tenant_id, now - calls.DAY_LIMIT_HOLDS)
            is_fresh = bool(await calls.day_limit(tx, link.xero_tenant_id, now - CONFIRM_EVERY))
        allowance = self._allowance(link.xero_tenant_id)
        day_limit = max(learnt or 0, allowance.day_limit or 0)
        budget = Budget(day_limit or None, allowance.left_today, allowance.day_resets_at)
        active = {entity for entity, mark in marks.items() if mark.moved_at and now - mark.moved_at < schedule.DAY}
        webhooks_alive = heard_at is not None and now - heard_at < WEBHOOKS_LIVE
        intervals = schedule.intervals(budget, active, now, webhooks_alive=webhooks_alive)
        return _Plan(marks, intervals, learnt or 0, is_fresh)

    async def _read_all(self, reading: Reading, plan: _Plan, due: Sequence[Entity]) -> bool:
        """Read what changed of these entities; False if the connection turns out to be lost.

        One that Xero does not answer for, while it does for others, waits as what is refused does. Due alone it is
        taken for an outage, unless the connection says already that a part of its books cannot be read.

        Raises:
            XeroUnavailableError: Xero answers for none, or not for a second one either.
        """
        unanswered: tuple[Entity, XeroUnavailableError] | None = None
        for entity in due:
            try:
                if not await self._read(reading, plan, entity):
                    return False
            except XeroUnavailableError as trouble:
                if unanswered or (len(due) == 1 and not reasons.only_reading_tells(reading.link.reason)):
                    raise
                unanswered = entity, trouble
        if unanswered:
            left, why = unanswered
            await self._put_off(
                reading, left, await self._readings.unanswered(reading, why, plan.marks[left].last_read_at)
            )
        return True

    async def _read(self, reading: Reading, plan: _Plan, entity: Entity) -> bool:
        """Read what changed of one entity; False if the connection turns out to be lost.

        What is doubted, refused or not understood waits, and keeps no other waiting.
        """
        mark = plan.marks[entity]
        purpose = Purpose.SETTINGS if entity is Entity.ACCOUNTS else Purpose.POLL
        line = Line(
            name=f"poll_{entity}", entity=entity, phase=SyncPhase.CATCH_UP, purpose=purpose, walk=Walk.SEEK,
            seek_at=mark.watermark_at - OVERLAP,
        )  # fmt: skip

        async def note(tx: Transaction, changed: int) -> None:
            now = self._clock.now()
            reached = line.began_at if line.done else line.seek_at
            next_at = now + plan.intervals[entity] if line.done else now
            moved_at = now if changed else None
            read_at = now if line.done else mark.last_read_at  # not to its end: what is missing may be older
            read = Watermark(reached or mark.watermark_at, read_at, next_read_at=next_at, moved_at=moved_at)
            await watermarks.put(tx, reading.link.id, entity, read)

        try:
            await reading.walk(line, note)
        except DoubtedError as doubted:
            until = await self._readings.doubted(reading, entity, SyncMode.INCREMENTAL, doubted.doubt)
            await self._put_off(reading, entity, until)
        except PersonMustActError as refusal:
            refused_until = await self._readings.refused(reading, refusal)
            if refused_until is None:
                return False
            await self._put_off(reading, entity, refused_until)
        except BugError as bug:
            logger.exception("poll failed", connection_id=reading.link.id, entity=entity)
            await self._readings.say_unread(reading, bug)
            await self._put_off(reading, entity, self._clock.now() + AFTER_A_BUG)
        return True

    async def _put_off(self, reading: Reading, entity: Entity, until: datetime) -> None:
        async with self._database.write(durable=False) as tx:
            await reading.job.hold(tx)
            await watermarks.postpone(tx, reading.link.id, until, entity)

    async def _learn(self, xero_tenant_id: str, plan: _Plan) -> None:
        """Remember the day's limit for the next process: it cannot be told from what is left in the evening."""
        allowance = self._allowance(xero_tenant_id)
        told, is_seen = allowance.day_limit or 0, (allowance.left_today or 0) > schedule.SMALL_DAY
        if told > plan.day_limit or (is_seen and not plan.is_fresh):
            async with self._database.write(durable=False) as tx:
                await calls.learn_day_limit(tx, xero_tenant_id, told, self._clock.now())
