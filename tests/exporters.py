"""Processes of the service that export to a sandbox, that stand still and are killed wherever a test says.

All of the service is there but its servers: what is due is done when a test turns the wheels, and time passes only
when a test, or something that waits, moves the sandbox's clock. So a story with days in it takes a second, and comes
out the same way each time.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from databases import show_life, take
from places import alone
from servers import Browser, settings_of
from tieout_sandbox import Sandbox
from tieout_server.connections.authorisation import Authorisations
from tieout_server.connections.means import Means as ConnectionMeans
from tieout_server.connections.messages import Connect, Reconnect, Return, Started
from tieout_server.connections.return_urls import ReturnUrls
from tieout_server.connections.service import Connections
from tieout_server.connections.tokens import Tokens
from tieout_server.events.feed import Feed
from tieout_server.exports.means import Means
from tieout_server.exports.preflight import Preflight
from tieout_server.exports.service import Exports
from tieout_server.exports.settings import SettingsOfExports
from tieout_server.exports.watch import ExportWatch
from tieout_server.exports.work import ExportWork
from tieout_server.ledger.calls import CallsInMemory
from tieout_server.reconciliations.changed import Changed
from tieout_server.reconciliations.work import ReconciliationWork
from tieout_server.settings import Settings
from tieout_server.storage import work
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.vault import Vault
from tieout_server.storage.work import Task
from tieout_server.syncs.erasures import Erasures
from tieout_server.syncs.means import Means as SyncMeans
from tieout_server.syncs.news import News
from tieout_server.syncs.poll import Polls
from tieout_server.syncs.reading import Readings
from tieout_server.syncs.service import Syncs
from tieout_server.syncs.sweep import Sweeps
from tieout_server.work.engine import Engine, Job, LostLeaseError
from tieout_server.work.requests import Requests
from tieout_server.xero.books import XeroLibrary
from tieout_server.xero.limits import Limits
from tieout_server.xero.oauth import XeroIdentity
from tieout_server.xero.transport import open_session

PATIENCE = timedelta(seconds=0.5)
"""Of a call to the sandbox, in real time: what takes longer counts as lost, which is part of the story."""
MANY = 500
"""Tasks after which a process that always finds more to do is taken for broken."""


class KilledError(Exception):
    """The process is gone."""


@dataclass(frozen=True)
class StoryClock:
    """The sandbox's clock, which stands still, or another one that is some seconds off. Waiting moves it."""

    sandbox: Sandbox
    ahead: timedelta = timedelta()
    drags: list[timedelta] = field(default_factory=list)
    """How long the next calls to Xero take, the next one last."""

    def now(self) -> datetime:
        return self.sandbox.clock.now() + self.ahead

    def monotonic(self) -> float:
        return self.sandbox.clock.now().timestamp()

    def drag(self, *_told: object) -> None:
        """An answer has come; it took as long as calls take now."""
        if self.drags:
            self.sandbox.clock.advance(self.drags.pop())

    async def sleep(self, seconds: float) -> None:
        self.sandbox.clock.advance(timedelta(seconds=max(0.0, seconds)))
        await asyncio.sleep(0)


class MortalDatabase(Database):
    """A database whose process is killed at one of its commits, or stands still between two transactions."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_dead = False
        self.stands_still = asyncio.Event()
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._lives_for: tuple[int, bool] | None = None
        self._stops: Callable[[], bool] | None = None

    def dies_in(self, commits: int, *, before: bool) -> None:
        """Have the process killed right before, or right after, the commit so many commits from now."""
        self._lives_for = commits, before

    def stops_when(self, is_time: Callable[[], bool]) -> None:
        """Have the process stand still before the first transaction for which this is so; it is asked for each."""
        self._stops = is_time

    def spare(self) -> None:
        """Let the process live, whatever was planned for it, and go on."""
        self._lives_for = self._stops = None
        self.stands_still.clear()
        self._goes_on.set()

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[Transaction]:
        """A transaction of what goes on beside all work, where no process is killed or stands still."""
        if self.is_dead:
            raise KilledError
        async with super().write() as tx:
            yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        await self._come_in()
        async with super().read() as tx:
            yield tx

    @asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator[Transaction]:
        await self._come_in()
        async with super().write(durable=durable) as tx:
            yield tx
            if (dies := self._is_last()) == "before":
                self._die()
        if dies == "after":
            self._die()

    async def _come_in(self) -> None:
        if self._stops is not None and self._stops():
            self._stops = None
            self._goes_on.clear()
            self.stands_still.set()
        await self._goes_on.wait()
        if self.is_dead:
            raise KilledError

    def _is_last(self) -> str:
        if self.is_dead:  # another task of the process met its end while this one was in a transaction
            return "before"
        if self._lives_for is None:
            return ""
        left, before = self._lives_for
        self._lives_for = left - 1, before
        return "" if left > 1 else ("before" if before else "after")

    def _die(self) -> None:
        self.is_dead = True
        raise KilledError


@dataclass
class Exporter:
    """One process of the service, on a database that others may use, too."""

    clock: StoryClock
    database: MortalDatabase
    engine: Engine
    links: Connections
    syncs: Syncs
    exports: Exports
    settings: SettingsOfExports
    watch: ExportWatch
    feed: Feed
    browser: Browser
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    """By which the others know it."""
    stalled: "asyncio.Task[None] | None" = None
    """What it was at when it began to stand still."""

    async def connect(self) -> str:
        """The id of a connection after its consent."""
        started = await self.links.connect(Connect("acme"))
        await self._consent(started)
        return started.link.id

    async def reconnect(self, connection_id: str) -> None:
        """Consent again."""
        await self._consent(await self.links.reconnect(Reconnect(connection_id)))

    async def _consent(self, started: Started) -> None:
        back = await self.browser.returned(started.consent.authorization_url)
        await self.links.complete(Return(back["state"], back.get("code", "")))

    async def work(self, *kinds: str) -> None:
        """Do what is due now, of these kinds or of all, until nothing is.

        Raises:
            KilledError: the process was killed meanwhile.
        """
        tasks: Sequence[Task] = ()
        for _ in range(MANY):
            now = self.clock.now()
            async with self.database.beside() as tx:
                await show_life(tx, self.name, now)
            async with self.database.read() as tx:
                found = [due.task for due in await work.due(tx, now, 50)]
            tasks = [one for one in found if not kinds or one.kind in kinds]
            if not tasks or not any([await self._slice(task) for task in tasks]):
                return
        raise AssertionError(f"{tasks} never come to an end")

    async def _slice(self, task: Task) -> bool:
        """One slice of a task, from taking it to giving it back; whether it was ours."""
        lease = await take(self.database, task, now=self.clock.now(), owner=self.name)
        if lease is None:
            return False
        try:
            again_at = await self.engine._kinds[task.kind].perform(Job(lease))
        except LostLeaseError:
            return False
        async with self.database.write() as tx:
            await work.finish(tx, lease, again_at=again_at)
        return True

    async def stall(self, doing: Callable[[], Coroutine[Any, Any, None]], is_time: Callable[[], bool]) -> None:
        """Do this, and stand still before the first transaction for which this is so, unless it is over before."""
        self.database.stops_when(is_time)
        task = asyncio.create_task(doing())
        still = asyncio.create_task(self.database.stands_still.wait())
        await asyncio.wait((task, still), return_when=asyncio.FIRST_COMPLETED)
        still.cancel()
        if self.database.stands_still.is_set():
            self.stalled = task
            return
        self.database.spare()
        await task

    async def go_on(self) -> None:
        """Go on with what it was at when it began to stand still."""
        task, self.stalled = self.stalled, None
        self.database.spare()
        if task is not None:
            await task

    async def close(self) -> None:
        """Give back what the operating system would."""
        if self.stalled is not None:
            self.stalled.cancel()
            self.database.is_dead = True
            self.database.spare()
            await asyncio.gather(self.stalled, return_exceptions=True)
        await self._stack.aclose()


async def start(sandbox: Sandbox, url: str, *, ahead: timedelta = timedelta()) -> Exporter:
    """A new process of the service on this database, whose clock is so far ahead of Xero's."""
    stack, clock, database = contextlib.AsyncExitStack(), StoryClock(sandbox, ahead), MortalDatabase(url)
    stack.push_async_callback(database.close)
    given = Settings(**settings_of(sandbox.url, url), xero_timeout=PATIENCE)
    session = await stack.enter_async_context(open_session(given))
    session._trace_configs.append(_calling(clock.drag))
    library, identity = (
        XeroLibrary(session, given, clock, CallsInMemory(), Limits(clock)),
        XeroIdentity(session, given, clock),
    )
    feed, engine, vault = Feed(database, clock), alone(database, clock), Vault({"test": bytes(32)})
    requests = Requests(vault, clock)
    links = Connections(
        ConnectionMeans(
            database=database,
            feed=feed,
            engine=engine,
            requests=requests,
            authorisations=Authorisations(vault, identity, clock),
            tokens=Tokens(database, vault, identity, clock, call_takes=PATIENCE),
            identity=identity,
            library=library,
            return_urls=ReturnUrls(""),
            clock=clock,
        )
    )
    reading = SyncMeans(database, feed, clock, engine)
    syncs = Syncs(reading, links, requests)
    News(reading, links, library.allowance)
    readings = Readings(reading, links, syncs)
    Polls(reading, readings, library.allowance)
    Sweeps(reading, readings)
    Erasures(reading, links, requests)
    Changed(reading, links, library.allowance)
    ReconciliationWork(reading, links)
    means = Means(database, feed, clock, engine, library.allowance)
    preflight = Preflight(means)
    exports = Exports(means, links, requests, preflight)
    settings = SettingsOfExports(means, links, requests, preflight)
    ExportWork(means, links, preflight, settings.revalidate)
    await feed.start()
    following = asyncio.create_task(feed.run())
    stack.push_async_callback(_end, following)
    browser = Browser(sandbox.url, await stack.enter_async_context(aiohttp.ClientSession()))
    return Exporter(
        clock, database, engine, links, syncs, exports, settings, ExportWatch(feed, exports), feed, browser, stack
    )


def _calling(then: Callable[..., None]) -> aiohttp.TraceConfig:
    """Has this called after each answer."""

    async def answered(*told: object) -> None:
        then(*told)

    calls = aiohttp.TraceConfig()
    calls.on_request_end.append(answered)
    calls.freeze()
    return calls


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
