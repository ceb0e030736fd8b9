"""This process as one of those that share the work: alive as long as it says so in time.

Its place is a row that it renews every few seconds, by the clock of the database. One that has been silent for too
long is removed by whichever other one notices, and all that it held is free. It may only have been asleep: it trusts
its place no longer than it may, without asking anybody, and once it finds its row gone it drops what it was doing and
comes back as somebody else. The fence of each task (`storage.work`) keeps it from committing in between.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from tieout_server import log
from tieout_server.storage import replicas, tokens
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.notices import notify
from tieout_server.storage.replicas import Peers
from tieout_server.storage.work import CHANNEL

logger = log.get("replica")

LIFE = timedelta(seconds=20)
"""How long a process may be silent before the others take over what it held."""
BEAT = 5.0
"""Seconds between signs of life."""
RETRY = 1.0
"""Seconds until the next try after one that failed."""
CLOCKS_DIFFER = 1.5
"""Seconds by which the clocks of two machines may differ before somebody is told; the limits bear two."""
MARGIN = 2.0
"""Seconds before the end of its life at which a process stops trusting its place: what it began must end by then."""


class Replica:
    """This process among its like. On SQLite it is the only one, and alive from `join` to `leave`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._beats = not database.is_sqlite
        self._good_until = (0.0, 0.0)
        self._lost: list[Callable[[], Awaitable[None]]] = []
        self._beaten: list[Callable[[], Awaitable[None]]] = []
        self._is_silent = self._is_off = False
        self.id = ""
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.peers = Peers(replicas=1)
        """How many there were at the last sign of life."""

    def is_alive(self) -> bool:
        """Whether the place is surely ours still. One of the two clocks stands still while a machine sleeps."""
        monotonic, wall = _both_clocks()
        return bool(self.id) and monotonic < self._good_until[0] and wall < self._good_until[1]

    def on_lost(self, drop: Callable[[], Awaitable[None]]) -> None:
        """Have this done once the place is lost, before there is a new one."""
        self._lost.append(drop)

    def on_beat(self, call: Callable[[], Awaitable[None]]) -> None:
        """Have this done after each sign of life."""
        self._beaten.append(call)

    async def join(self, *, alone: bool = False) -> None:
        """Take a place among those that share the work; `alone`: nobody else can be alive, whatever the rows say."""
        began, id_ = _both_clocks(), secrets.token_hex(8)
        async with self._database.write() as tx:
            await replicas.join(tx, id_, LIFE if self._beats else None, alone=alone, name=self.name)
            self.peers = await replicas.peers(tx)
        self.id = id_
        self._trust_from(began)

    async def leave(self) -> None:
        """Give the place up; whatever is still held is free at once."""
        id_, self.id = self.id, ""
        if id_:
            async with self._database.write() as tx:
                await replicas.leave(tx, id_)
                await notify(tx, CHANNEL)

    async def run(self) -> None:
        """Show signs of life until cancelled, whatever becomes of the database meanwhile."""
        while True:
            await asyncio.sleep(RETRY if self._is_silent else BEAT)
            if self._beats:
                await self._beat()

    async def beat(self) -> None:
        """One sign of life; who has given none for too long is removed."""
        began = _both_clocks()
        async with self._database.write(durable=False) as tx:
            now = await replicas.beat(tx, self.id, LIFE)
            self._compare_clocks(now)
            self.peers = await replicas.peers(tx)
            buried = await self._bury(tx) if self.peers.silent else ()
        if buried:
            logger.warning("replicas are gone; what they held is taken over", replicas=buried)
        if now is None:
            logger.warning("taken for dead by the others; coming back as a new one", replica=self.id)
            self.id = ""
            for drop in self._lost:
                await drop()
            await self.join()
        else:
            self._trust_from(began)
        for call in self._beaten:
            await call()

    async def _bury(self, tx: Transaction) -> Sequence[str]:
        """Remove who has been silent for too long; everybody hears that what they held is due."""
        if buried := await replicas.bury(tx):
            await tokens.release_of(tx, buried)
            await notify(tx, CHANNEL)
            self.peers = await replicas.peers(tx)
        return buried

    async def _beat(self) -> None:
        try:
            if self.id:
                await self.beat()
            else:  # it was lost, and there was no database for a new one
                await self.join()
        except Exception:  # the database is away: nothing is trusted from some seconds on, until it is back
            if not self._is_silent:
                logger.exception("no sign of life can be given")
            self._is_silent = True
        else:
            if self._is_silent:
                logger.info("signs of life are given again")
            self._is_silent = False

    def _compare_clocks(self, now: datetime | None) -> None:
        """Say when this machine's clock goes wrong: what is due is due by it."""
        off_by = abs((now - datetime.now(UTC)).total_seconds()) if now else 0.0
        if off_by > CLOCKS_DIFFER and not self._is_off:
            logger.error("this machine's clock is not the database's: set it (NTP)", seconds=round(off_by, 1))
        self._is_off = off_by > CLOCKS_DIFFER

    def _trust_from(self, began: tuple[float, float]) -> None:
        if not self._beats:
            self._good_until = (float("inf"), float("inf"))
            return
        seconds = LIFE.total_seconds() - MARGIN
        self._good_until = (began[0] + seconds, began[1] + seconds)


def _both_clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()
