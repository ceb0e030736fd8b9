"""The work of exporting, slice by slice: one connection's payments are sent by one owner at a time.

All that is sent is sent by the kind `export`, whose fence is the row's: of two owners one commits nothing. The upkeep
is another kind, which may run beside it on another replica; it reads Xero, moves what was sent on, and adds notes.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.errors import (
    BugError,
    ConnectionNotUsableError,
    OperatorMustActError,
    PersonMustActError,
    ScopeMissingError,
    TieoutError,
    TryAgainError,
)
from tieout_server.exports import waits
from tieout_server.exports.exporting import Exporting, Memory
from tieout_server.exports.lost_future import quiet
from tieout_server.exports.means import EXPORT, Means
from tieout_server.exports.outcomes import WAITING, ExportOutcomes, tell
from tieout_server.exports.preflight import Preflight
from tieout_server.exports.record import in_parts
from tieout_server.exports.recovery import Looks, Recovery, take_over
from tieout_server.exports.state import XeroStatus
from tieout_server.exports.turn import Turn
from tieout_server.exports.undo import ReversalOutcomes, Reversing, put_off
from tieout_server.exports.upkeep import Revalidate, Upkeep
from tieout_server.ledger.books import WritableBooks
from tieout_server.ledger.exports import ExportError
from tieout_server.ledger.links import Link
from tieout_server.storage import connections, exports, reversals
from tieout_server.storage.database import Transaction
from tieout_server.work.engine import Job, Lane

logger = log.get("exports")

WAITING_AT_ONCE = 500
"""Exports that are told at a time what they wait for."""


class ExportWork:
    """The exports of all connections, sent, recovered, proven and taken back."""

    def __init__(self, means: Means, links: Connections, preflight: Preflight, revalidate: Revalidate) -> None:
        self._means = means
        self._links = links
        self._preflight = preflight
        self._memory = Memory()
        self._looks = Looks()
        means.engine.register(EXPORT, Lane.WRITE, self.perform)
        Upkeep(means, links, revalidate)

    async def perform(self, job: Job) -> datetime | None:
        """One slice; answers when to go on, None while there is nothing to do."""
        recovered = ExportOutcomes(self._means, examined_again=self._memory.examined_again)
        owners = (recovered, ReversalOutcomes(self._means))
        if (quiet_until := quiet(self._means)) is not None:
            return quiet_until
        async with self._means.database.write() as tx:
            await job.hold(tx)
            link = await connections.get(tx, job.connection_id)
            if link is None:
                return None
            taken_over = await take_over(tx, link.id, owners)
        try:
            if not taken_over and not await self._is_anything_due(link):
                return await self._next(link)
            turn = Turn(self._means, job, link, self._books(link))
            sending = Exporting(turn, self._preflight, self._memory)
            bug = await _all_of(
                Recovery(turn, owners, self._looks).look, sending.go, Reversing(turn, self._preflight).go
            )
        except (TryAgainError, PersonMustActError) as trouble:
            return await self._wait(job, link, trouble)
        return await (self._wait(job, link, bug) if bug else self._next(link))

    async def _is_anything_due(self, link: Link) -> bool:
        async with self._means.database.read() as tx:
            due_at = await exports.next_due_at(tx, link.id)
        return due_at is not None and due_at <= self._means.clock.now()

    async def _next(self, link: Link) -> datetime | None:
        async with self._means.database.read() as tx:
            return await exports.next_due_at(tx, link.id)

    def _books(self, link: Link) -> WritableBooks:
        """The books, if they may be written to.

        Raises:
            ConnectionNotUsableError: somebody has to connect again first.
            ScopeMissingError: likewise, as the consent does not cover it.
        """
        books = self._links.books(link)
        if waits.may_not_write(link):
            raise _NotConsentedError("The consent does not cover recording payments.")
        return books

    async def _wait(self, job: Job, link: Link, trouble: TieoutError) -> datetime:
        """Tell what is due, exports and reversals, what it waits for; answers until when. Nothing of it was sent."""
        is_news = isinstance(trouble, PersonMustActError) and not isinstance(
            trouble, OperatorMustActError | ConnectionNotUsableError | _NotConsentedError
        )
        if is_news and isinstance(trouble, PersonMustActError):
            await self._links.access_lost(link.id, trouble)
        now = self._means.clock.now()
        error = waits.of_trouble(trouble, now)
        async with self._means.database.read() as tx:
            due = await exports.due(tx, link.id, now, WAITING_AT_ONCE)
            back = await reversals.due(tx, link.id, now, WAITING_AT_ONCE, reversals.GOES_ON)
        known = (*(one.error for one in due), *(one.error for one in back))
        since = [one.occurred_at for one in known if one and one.reason == error.reason]
        again_at = waits.until(trouble, min(since, default=None), now)
        for some in in_parts([one.id for one in due]):
            async with self._means.database.write() as tx:
                await job.hold(tx)
                await self._put_off(tx, some, error, again_at)
        for some in in_parts(sorted({one.export_id for one in back})):
            async with self._means.database.write() as tx:
                await job.hold(tx)
                await put_off(tx, self._means, some, error, again_at)
        logger.warning("exports wait", connection_id=link.id, until=again_at.isoformat(), trouble=trouble.sentence)
        return again_at

    async def _put_off(self, tx: Transaction, export_ids: Sequence[str], error: ExportError, until: datetime) -> None:
        """Have these wait; those that wait for something else than before are told what for."""
        held = await exports.lock_all(tx, export_ids)
        waiting = [one for one in held.values() if one.xero_status in WAITING]
        is_told = {one.id for one in waiting if one.error and one.error.reason == error.reason}
        for export in [one for one in waiting if one.id in is_told]:
            await exports.put(tx, msgspec.structs.replace(export, due_at=until))
        for export in [one for one in waiting if one.id not in is_told]:
            new = msgspec.structs.replace(export, xero_status=XeroStatus.QUEUED, error=error, due_at=until)
            await tell(tx, self._means, new, error.sentence)


async def _all_of(*parts: Callable[[], Awaitable[None]]) -> BugError | None:
    """Do each part, though one before it failed for what only a change of code mends; answers the first failure."""
    failed = None
    for part in parts:
        try:
            await part()
        except BugError as bug:
            logger.exception("exporting failed", trouble=bug.sentence)
            failed = failed or bug
    return failed


class _NotConsentedError(ScopeMissingError):
    """The consent is known not to cover writing: there is nothing to find out."""
