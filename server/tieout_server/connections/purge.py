"""Erasing what was read through a connection, and the person who authorised it, once it was asked for."""

from datetime import datetime

import msgspec

from tieout_server import log
from tieout_server.connections import forget
from tieout_server.connections.means import PURGE, Means
from tieout_server.connections.record import Record
from tieout_server.connections.state import ConnectionState
from tieout_server.storage import connections, events, history, purge
from tieout_server.storage.database import Transaction
from tieout_server.work.engine import Job, Lane

logger = log.get("connections")

PAGE = 500
"""Events that are gone through in one transaction."""


class Purge:
    """Erases, a bounded number of rows at a time. Killed in between, it goes on where it was."""

    def __init__(self, means: Means, record: Record) -> None:
        self._means = means
        self._record = record
        means.engine.register(PURGE, Lane.READ, self.perform)

    async def perform(self, job: Job) -> datetime | None:
        """Erase all that was to be erased when this was asked for; what was read since stays."""
        async with self._means.database.read() as tx:
            up_to = await connections.purge_up_to(tx, job.connection_id)
        position = await self._forget_person(job)
        await self._forget_in_history(job, position)
        await self._forget_in_log(job, position, up_to)
        async with self._means.database.write() as tx:
            await job.hold(tx)
            await self._means.feed.tell_of_erasure(tx, job.connection_id)
        while await self._erase_some(job, up_to):
            pass
        logger.info("purged", connection_id=job.connection_id)
        return None

    async def _erase_some(self, job: Job, up_to: int) -> int:
        async with self._means.database.write() as tx:
            await job.hold(tx)
            return await purge.erase_some(tx, job.connection_id, up_to)

    async def _forget_person(self, job: Job) -> int:
        """Forget who authorised the connection, unless somebody has again; answers where the log ends then."""
        async with self._means.database.write() as tx:
            link = await self._record.get(tx, job.connection_id, lock=True)
            await job.hold(tx)
            if link.state == ConnectionState.DISCONNECTED:
                await self._record.change(tx, link, forget.without_person(link))
            return await self._ended_at(tx, job.connection_id)

    async def _ended_at(self, tx: Transaction, connection_id: str) -> int:
        """The position of the connection's last end: what came before it is to be forgotten."""
        before: int | None = None
        while happened := await history.page(tx, connection_id, before=before, limit=PAGE):
            ended = next((event.id for event in happened if event.to_state == ConnectionState.DISCONNECTED), 0)
            if ended:
                return ended
            before = happened[-1].id
        return 0

    async def _forget_in_history(self, job: Job, up_to: int) -> None:
        before = up_to + 1
        while True:
            async with self._means.database.write() as tx:
                await job.hold(tx)
                happened = await history.page(tx, job.connection_id, before=before, limit=PAGE)
                for event in happened:
                    actor, reason = forget.actor(event.actor), forget.without_words(event.reason)
                    await history.rewrite(tx, msgspec.structs.replace(event, actor=actor, reason=reason))
            if not happened:
                return
            before = happened[-1].id

    async def _forget_in_log(self, job: Job, ended_at: int, up_to: int) -> None:
        after = 0
        while True:
            async with self._means.database.write() as tx:
                await job.hold(tx)
                told = await events.of_connection(tx, job.connection_id, topics=forget.TOPICS, after=after, limit=PAGE)
                for event in told:
                    still = forget.payload(event, ended_at=ended_at, up_to=up_to)
                    if still != event.payload:
                        await events.rewrite(tx, event.position, still)
            if not told:
                return
            after = told[-1].position
