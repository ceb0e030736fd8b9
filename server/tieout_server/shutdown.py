"""The end of this process, ten seconds after it was asked for at the latest.

Each thing in hand comes to its own end, all of them beside each other: callers are refused and watchers sent on with
their tokens, requests of browsers and deliveries of webhooks are answered, calls to Xero may still get their answers
and what these say is committed. Nothing is begun. What has ended is free for other processes at once, each organisation
for itself. What has not ended in time is broken off, and that is no worse than a kill: whoever goes on finds it as it
was committed.
"""

import asyncio
from datetime import timedelta

from tieout_server import log
from tieout_server.rpc.server import RpcServer
from tieout_server.web.server import WebServer
from tieout_server.work.engine import Engine
from tieout_server.work.guests import Guests

logger = log.get("shutdown")

IN_HAND = 7.5
"""Seconds from the signal in which what is in hand may end; what follows is quick."""
ANNOUNCED_WITHIN = 0.5
"""Seconds that telling those who watch our health may take: one of them may not be reading."""


class Shutdown:
    """Ends what is in hand, in time."""

    def __init__(self, notice: timedelta, engine: Engine, guests: Guests) -> None:
        """`notice`: how long everything goes on after we have said that it ends."""
        self._notice = notice.total_seconds()
        self._engine = engine
        self._guests = guests
        self.has_begun = False
        """Whether nobody should be sent here any more."""

    async def drain(self, rpc: RpcServer, web: WebServer) -> None:
        """Let what is in hand end, and break off what does not. Whatever fails, the rest is done all the same."""
        by = asyncio.get_running_loop().time() + IN_HAND
        self.has_begun = True
        logger.info("shutting down")
        await asyncio.gather(_announce(rpc), asyncio.sleep(self._notice))
        ends = (rpc.drain(by), web.stop(), self._hand_over(by))
        for trouble in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(trouble, Exception):
                logger.error("shutting down all the same", exc_info=trouble)

    async def _hand_over(self, by: float) -> None:
        self._engine.begin_no_more()
        self._guests.close()
        await self._engine.drain(by)


async def _announce(rpc: RpcServer) -> None:
    try:
        async with asyncio.timeout(ANNOUNCED_WITHIN):
            await rpc.announce_end()
    except TimeoutError:
        logger.info("somebody watches our health and does not read")
