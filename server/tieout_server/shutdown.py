"""The end of this process, ten seconds after it was asked for at the latest.

Each thing in hand comes to its own end, all of them beside each other: callers are refused and watchers sent on with
their tokens, requests of browsers and deliveries of webhooks are answered, calls to Xero may still get their answers
and what these say is committed. No work is begun. What has ended is free for other processes at once, each organisation
for itself. What has not ended in time is broken off, and that is no worse than a kill: whoever goes on finds it as it
was committed.
"""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

from tieout_server import log
from tieout_server.rpc.server import RpcServer
from tieout_server.web.server import WebServer
from tieout_server.work.engine import Engine
from tieout_server.work.guests import Guests
from tieout_server.work.host import Host

logger = log.get("shutdown")

CALLERS = 5.0
"""Seconds from the signal in which calls and requests in hand may end, with the calls to Xero that they still need."""
IN_HAND = 7.5
"""Seconds from the signal in which calls to Xero may still be answered; what follows is quick."""
ANNOUNCED_WITHIN = 0.5
"""Seconds that telling those who watch our health may take: one of them may not be reading."""


class Shutdown:
    """Ends what is in hand, in time."""

    def __init__(self, notice: timedelta, engine: Engine, guests: Guests, host: Host) -> None:
        """`notice`: how long everything goes on after we have said that it ends."""
        self._notice = notice.total_seconds()
        self._engine = engine
        self._guests = guests
        self._host = host
        self.has_begun = False
        """Whether nobody should be sent here any more."""

    async def drain(self, rpc: RpcServer, web: WebServer) -> None:
        """Let what is in hand end, and break off what does not. Whatever fails, the rest is done all the same."""
        now = asyncio.get_running_loop().time()
        self.has_begun = True
        logger.info("shutting down")
        await _each(_announce(rpc), asyncio.sleep(self._notice))
        await _each(self._engine.hand_over(), rpc.drain(now + CALLERS), web.stop())
        self._guests.close()
        await _each(self._engine.drain(now + IN_HAND), self._host.drain(now + IN_HAND))


async def _each(*ends: Awaitable[None]) -> None:
    """Do all of this, whatever fails of it."""
    for trouble in await asyncio.gather(*ends, return_exceptions=True):
        if isinstance(trouble, Exception):
            logger.error("shutting down all the same", exc_info=trouble)


async def _announce(rpc: RpcServer) -> None:
    try:
        async with asyncio.timeout(ANNOUNCED_WITHIN):
            await rpc.announce_end()
    except TimeoutError:
        logger.info("somebody watches our health and does not read")
