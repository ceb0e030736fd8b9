"""Deliveries of webhooks are kept as they come, and put into the inbox right afterwards.

Whoever delivers waits for nothing but the keeping: not for the work of a connection, which its fetch holds while it
commits, nor for SQLite's one writer. A delivery leaves only after what it says has been put into the inbox for good:
killed in between, the next process puts it in once more, which changes nothing.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from tieout_server.clock import EPOCH
from tieout_server.ledger.notices import Notice
from tieout_server.storage import arrivals, webhooks
from tieout_server.storage.database import Database
from tieout_server.storage.webhooks import HEARD_EVERY
from tieout_server.syncs.means import Means
from tieout_server.syncs.news import News

SWEEP = 15.0
"""Seconds between looks for what a process left that is gone."""
AT_ONCE = 50
"""Deliveries that are put into the inbox in one transaction."""


class Arrivals:
    """Deliveries from their arrival to the inbox. Run it once per process."""

    def __init__(self, means: Means, kept: Database, news: News) -> None:
        self._means = means
        self._kept = kept
        self._news = news
        self._heard_at = EPOCH
        self._came = asyncio.Event()

    async def receive(self, notices: Sequence[Notice]) -> None:
        """Keep what a genuine delivery says. Once it returns nothing of it can be lost; repeated, it changes nothing.

        One that says nothing to us is kept as a sign of life, if there was none within the minute.
        """
        now = self._means.clock.now()
        if not notices and now - self._heard_at < HEARD_EVERY:
            return
        async with self._kept.write() as tx:
            await arrivals.put(tx, notices, now)
        self._came.set()

    async def run(self) -> None:
        """Put what has arrived into the inbox until cancelled."""
        while True:
            self._came.clear()
            while await self.sort():
                pass
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP):  # not wait_for: Python 3.11's can lose a cancellation
                    await self._came.wait()

    async def sort(self) -> bool:
        """Put some of what has arrived into the inbox; False if nothing had."""
        async with self._kept.read() as tx:
            some = await arrivals.oldest(tx, AT_ONCE)
        if not some:
            return False
        heard_at = some[-1].at
        is_time_to_say_so = heard_at - self._heard_at >= HEARD_EVERY
        async with self._means.database.write() as tx:  # durable: they leave after it
            await self._news.put(tx, [notice for arrival in some for notice in arrival.notices])
            if is_time_to_say_so:
                await webhooks.heard(tx, heard_at)
        self._heard_at = heard_at if is_time_to_say_so else self._heard_at
        async with self._kept.write(durable=False) as tx:
            await arrivals.take_out(tx, some)
        return True
