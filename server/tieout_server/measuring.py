"""What is measured from time to time: how late the event loop is, and what the database holds when somebody asks."""

import asyncio
import math
from collections.abc import Sequence
from importlib.metadata import version

import msgspec
from prometheus_client import Gauge, generate_latest

from tieout_server import log, measures
from tieout_server.clock import Clock
from tieout_server.errors import StorageUnavailableError
from tieout_server.storage import tallies
from tieout_server.storage.database import Database
from tieout_server.storage.migrate import HEAD
from tieout_server.storage.tallies import Tallies, Tally
from tieout_server.work.homes import Homes
from tieout_server.work.replica import Replica

logger = log.get("measuring")

LOOK_EVERY = 0.5
"""Seconds between looks at the event loop."""
COUNT_EVERY = 15.0
"""Seconds between two counts at least, however many ask; nobody asking, nothing is counted."""
COUNT_WITHIN = 5.0
"""Seconds that a scrape waits for a count (Prometheus itself waits ten): then it is broken off."""
AFTER_TROUBLE = 60.0
"""Seconds until the next count after one that was broken off or failed."""
SHARE = 0.01
"""Of the time at most that counting may take: where it takes long, it is done so much more rarely."""


class Sources(msgspec.Struct, frozen=True):
    """Where the figures come from."""

    database: Database
    kept: Database
    """Where deliveries of webhooks are kept."""
    replica: Replica
    homes: Homes
    clock: Clock


class Measuring:
    """The figures of this process, and of the database, which are the same in every process. Run it once."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._counting = asyncio.Lock()
        self._next_at = -math.inf
        measures.BUILD.info({"version": version("tieout"), "revision": HEAD})

    async def run(self) -> None:
        """Look at the event loop until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_at = loop.time() + LOOK_EVERY
            await asyncio.sleep(LOOK_EVERY)
            measures.LOOP_LAG.observe(max(0.0, loop.time() - due_at))

    async def text(self) -> bytes:
        """All figures as Prometheus reads them; those of the database are left as they were while it is away."""
        self._look_around()
        try:
            async with asyncio.timeout(COUNT_WITHIN):
                await self._count_if_it_is_time()
        except TimeoutError:
            logger.warning("nothing can be counted: the database takes too long")
        except StorageUnavailableError as away:
            logger.info("nothing can be counted: the database is away", why=away.why)
        return generate_latest(measures.REGISTRY)

    def _look_around(self) -> None:
        in_use, limit = self._sources.database.connections()
        measures.POOL_IN_USE.set(in_use)
        measures.POOL_SIZE.set(limit)
        measures.REPLICAS.set(self._sources.replica.peers.replicas)
        measures.AT_HOME.set(self._sources.homes.count)

    async def _count_if_it_is_time(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._counting:
            began = loop.time()
            if began < self._next_at:
                return
            self._next_at = began + AFTER_TROUBLE  # unless there is none
            now = self._sources.clock.now()
            async with self._sources.database.read() as tx:
                counted = await tallies.count(tx, now)
            async with self._sources.kept.read() as tx:
                arrivals = await tallies.arrivals(tx, now)
            self._next_at = began + max(COUNT_EVERY, (loop.time() - began) / SHARE)
        _tell(counted, arrivals)
        measures.TALLIED_AT.set_to_current_time()


def _tell(counted: Tallies, arrivals: Tally) -> None:
    _set(counted.connections, measures.CONNECTIONS)
    _set(counted.reads, measures.OVERDUE, measures.OLDEST_READ)
    _set(counted.exports, measures.EXPORTS, measures.OLDEST_EXPORT)
    _set(counted.due, measures.DUE, measures.LATE)
    _set([counted.unread, arrivals], measures.WAITING, measures.WAITING_SECONDS)
    measures.TOKENS_LAPSING.set(counted.lapsing)


def _set(found: Sequence[Tally], count: Gauge, seconds: Gauge | None = None) -> None:
    """Set a gauge to what was found, and to nothing else: what is gone is not told any more."""
    count.clear()
    if seconds:
        seconds.clear()
    for tally in found:
        count.labels(*tally.of).set(tally.count)
        if seconds:
            seconds.labels(*tally.of).set(tally.seconds)
