"""The world of the soak: a sandbox, processes of our server on its time, merchants, and who watches all the while."""

import asyncio
import contextlib
import json
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
from soaked_server import TELLS, TRACES  # type: ignore[import-not-found] # beside this one
from sqlalchemy import select
from stage import HERE, cpu_of  # type: ignore[import-not-found] # beside this one

from deliveries import KEY, subscribed
from fleet import ANY, Replica, Watcher
from following import Subscriber
from jumping import Days, SharedClock
from merchants import Market, Merchant
from servers import ServerProcess, client_of
from tieout.v1.connection_service_pb2 import CONNECTION_STATE_CONNECTED
from tieout_sandbox import Sandbox, SandboxSettings, Tier, serve
from tieout_sandbox.webhooks.subscription import Subscription
from tieout_server.events import feed, token
from tieout_server.storage import tables
from tieout_server.storage.database import Database

SPEED = 5.0
"""How many times as fast as ours the time of everybody passes, beside its jumps: pauses of theirs are short."""
BOOKS = (15, 45)
"""Contacts and invoices of each organisation."""
PATIENCE = 300.0
"""Real seconds within which everything that is due is done, on a machine that has other things to do, too."""
LOOK_EVERY = 0.05
CONSENTS_AT_ONCE = 8
SILENCE = 20.0
"""Real seconds without so much as a heartbeat after which a watcher looks elsewhere."""
SUBSCRIBERS, WATCHERS = 20, 4
"""Who follow the changes of a connection, and who follow all connections, from the first day to the last."""


@dataclass(frozen=True)
class Held:
    """What the processes of our server hold together, while nothing is due."""

    memory: float
    """MB, as the kernel counts what is resident."""
    objects: int
    """That Python's collector knows of."""
    tasks: int
    threads: int
    files: int
    """Descriptors, sockets included, but those to Xero: they are kept open for a while, to be used again."""
    sockets: int
    """Likewise."""
    cpu: float
    """Seconds so far."""
    told: list[dict[str, Any]] = field(default_factory=list, compare=False)
    """All that each process said."""


@dataclass
class World:
    """Everything, while it runs."""

    sandbox: Sandbox
    around: Days
    market: Market
    webhook: Subscription
    replicas: list[Replica]
    folder: Path
    chance: random.Random
    merchants: list[Merchant] = field(default_factory=list)
    subscribers: list[Subscriber] = field(default_factory=list)
    watchers: list[Watcher] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    """What has happened so far, by name."""
    logged: list[int] = field(default_factory=list)
    """The positions of everything that those who watch the connections were to be told."""

    def any(self) -> Replica:
        """One of the processes."""
        return self.chance.choice(self.replicas)

    async def held(self) -> Held:
        """What is held now."""
        told = [await self._told_by(replica) for replica in self.replicas]
        processes = [psutil.Process(replica.process.pid) for replica in self.replicas]
        sockets = [one for process in processes for one in process.net_connections()]
        to_xero = sum(bool(one.raddr) and self.sandbox.url.endswith(f":{one.raddr.port}") for one in sockets)
        return Held(
            memory=sum(process.memory_info().rss for process in processes) / 1e6,
            objects=sum(one["objects"] for one in told),
            tasks=sum(sum(one["tasks"].values()) for one in told),
            threads=sum(process.num_threads() for process in processes),
            files=sum(process.num_fds() for process in processes) - to_xero,
            sockets=len(sockets) - to_xero,
            cpu=sum(cpu_of(process) for process in processes),
            told=told,
        )

    async def _told_by(self, replica: Replica) -> dict[str, Any]:
        tells = replica.process.folder / "holdings.json"
        tells.unlink(missing_ok=True)
        os.kill(replica.process.pid, signal.SIGUSR1)
        async with asyncio.timeout(PATIENCE):
            while not tells.exists():  # noqa: ASYNC110 - another process is waited for
                await asyncio.sleep(LOOK_EVERY)
        told: dict[str, Any] = json.loads(tells.read_text(encoding="utf-8"))
        return told

    # Who comes, and who follows

    async def settle_in(self, count: int) -> None:
        """So many merchants connect, each by a user of their own, and their books are read."""
        room = asyncio.Semaphore(CONSENTS_AT_ONCE)

        async def one() -> Merchant:
            async with room:
                return await self.market.merchant()

        self.merchants = list(await asyncio.gather(*(one() for _ in range(count))))

    def begin_watching(self) -> None:
        """From now on some follow the changes of a connection, and others what becomes of all connections."""
        for merchant in self.merchants[:SUBSCRIBERS]:
            self.subscribers.append(Subscriber(merchant.id))
            self.subscribers[-1].listen(self.any().service.client)
        for _ in range(WATCHERS):
            watcher = Watcher(lambda client, after: client.connections.watch(after=after), "change", self.any, SILENCE)
            self.watchers.append(watcher)

    async def note_what_was_logged(self) -> None:
        """Remember what watchers have to be told: the log keeps it for a week only."""
        c, last = tables.events.c, self.logged[-1] if self.logged else max(each.start for each in self.watchers)
        query = select(c.position).where(c.topic == feed.CONNECTION, c.position > last).order_by(c.position)
        async with self.around.database.read() as tx:
            self.logged += (await tx.execute(query)).scalars()

    async def all_are_told(self) -> None:
        """Return once who watches the connections has been told of the last event there is."""
        last = self.logged[-1] if self.logged else 0
        async with asyncio.timeout(PATIENCE):
            while any(token.decode(each.token, last=ANY) < last for each in self.watchers):  # noqa: ASYNC110 - no event
                await asyncio.sleep(LOOK_EVERY)

    async def connected(self) -> list[Merchant]:
        """The merchants whose connection works."""
        client = self.any().service.client
        states = {one.id: one.state async for one in client.connections.list(page_size=1000)}
        return [merchant for merchant in self.merchants if states[merchant.id] == CONNECTION_STATE_CONNECTED]


@contextlib.asynccontextmanager
async def world(
    database_url: str, folder: Path, *, connections: int, replicas: int, seed: int, traces: bool
) -> AsyncIterator[World]:
    """The sandbox and the processes, on one time."""
    ahead = folder / "ahead"
    ahead.write_text("0", encoding="ascii")
    clock = SharedClock(SPEED, ahead)
    contacts, invoices = BOOKS
    books = SandboxSettings(
        contacts=contacts, invoices=invoices, organisations=connections, speed=SPEED, starts_at=clock.now(),
        tier=Tier.STARTER,
    )  # fmt: skip
    environment = {
        **clock.environment,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        "TIEOUT_LOG_FORMAT": "json",
        "TIEOUT_LOG_LEVEL": "warning",
        "TIEOUT_XERO_WEBHOOK_KEY": KEY,
        **({TRACES: "1"} if traces else {}),
    }
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(patch("tieout_sandbox.organisations._SMALL", BOOKS))  # of all but the first one
        sandbox = await stack.enter_async_context(serve(books))
        database = Database(database_url)
        stack.push_async_callback(database.close)
        running = []
        for number in range(replicas):
            own = folder / f"server-{number}"
            own.mkdir()
            process = ServerProcess(
                sandbox.url, database_url, own, (str(HERE / "soaked_server.py"),),
                {**environment, TELLS: str(own / "holdings.json")},
            )  # fmt: skip
            stack.push_async_callback(process.stop)
            await process.start()
            running.append(Replica(process, await stack.enter_async_context(client_of(process))))
        first = running[0].service
        around = Days(sandbox, first, database_url, database, clock, patience=PATIENCE, look_every=LOOK_EVERY)
        market = Market(sandbox, first, database_url, database)
        webhook = await subscribed(sandbox, first)
        yield World(sandbox, around, market, webhook, running, folder, random.Random(seed))
