"""Merchants for tests of connections: each with an organisation and a Xero user of its own, on one running service."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from servers import ROOMY, Service, service
from tieout.errors import ConnectionNotUsableError
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1 import sync_service_pb2
from tieout.v1.types_pb2 import Owner
from tieout_sandbox import FaultRule, Role, Sandbox, SandboxSettings, serve
from tieout_sandbox.organisations import Member, Organisation, User
from tieout_sandbox.switches import set_switch
from tieout_server import app
from tieout_server.clock import SystemClock, to_micros
from tieout_server.storage import tokens
from tieout_server.storage.database import Database
from tieout_server.storage.tables import work
from tieout_server.storage.tokens import StoredTokens
from tieout_server.work import engine

QUICK = 60.0
"""How many times as fast as ours the time of these servers passes."""
A_SECOND = 1.0
"""Within it a change reaches who watches: the API's promise, in real time."""
SOON = 5 * A_SECOND
"""Within it each single one does, on a busy machine too."""
PATIENCE = 20.0
"""Real seconds after which what was to happen is not awaited any more."""

SWEEP = 0.1
"""Real seconds after which work is found due that a leap of the clock made so."""

FEW = (12, 40)
"""Contacts and invoices of each organisation: as few as a sandbox makes."""

WORKS = (pb.CONNECTION_STATE_CONNECTED, pb.CONNECTION_HEALTH_OK)
HELD_UP = (pb.CONNECTION_STATE_CONNECTED, pb.CONNECTION_HEALTH_DEGRADED)
BROKEN = (pb.CONNECTION_STATE_RECONNECT_REQUIRED, pb.CONNECTION_HEALTH_UNSPECIFIED)
ENDED = (pb.CONNECTION_STATE_DISCONNECTED, pb.CONNECTION_HEALTH_UNSPECIFIED)
"""State and health of a connection: it works, works but for its reason, needs a new consent, was disconnected."""


@dataclass
class Hearing:
    """Somebody who watches one connection, and how late each change came, in real seconds."""

    clock: Callable[[], datetime]
    changes: list[pb.ConnectionChange] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def first(self, is_it: Callable[[pb.ConnectionChange], bool]) -> pb.ConnectionChange:
        """The first change of this kind; it came soon after it was known."""
        async with asyncio.timeout(PATIENCE):
            while (place := next((n for n, told in enumerate(self.changes) if is_it(told)), None)) is None:
                self._news.clear()
                await self._news.wait()
        assert self.late[place] < SOON
        return self.changes[place]

    def note(self, change: pb.ConnectionChange) -> None:
        passed = self.clock().replace(tzinfo=None) - change.event.occurred_at.ToDatetime()
        self.late.append(passed.total_seconds() / QUICK)
        self.changes.append(change)
        self._news.set()


@dataclass
class Merchant:
    """A merchant with books in Xero, the user who connected them, and the connection."""

    market: "Market"
    organisation: Organisation
    user: User
    id: str

    @property
    def running(self) -> Service:
        return self.market.running

    async def now(self) -> pb.Connection:
        """The connection as it is."""
        return await self.running.client.connections.get(self.id)

    def becomes(self, role: Role) -> None:
        """An administrator gives the user another role, or takes the user out."""
        self.organisation.set_role(self.user.id, role, self.market.sandbox.clock.now())

    async def reconnects(self, user: User | None = None, organisation: Organisation | None = None) -> pb.Connection:
        """Somebody consents again: the same user for the same books, unless told otherwise."""
        return await self.running.reconnect(
            self.id,
            user=(user or self.user).email,
            organisations=[(organisation or self.organisation).name],
        )

    async def syncs(self) -> "sync_service_pb2.SyncState.ValueType":
        """How a sync ends that is asked for now."""
        async with asyncio.timeout(PATIENCE):
            return (await self.running.sync(self.id))[-1].sync.state

    async def tokens(self) -> StoredTokens | None:
        """What is kept of the user's consent, as the database has it."""
        async with self.market.database.read() as tx:
            return await tokens.get(tx, self.user.id)

    async def rests(self) -> None:
        """Return when nothing is being done or due for the connection."""
        query = select(work.c.due_at, work.c.owner).where(work.c.connection_id == self.id)

        async def at_rest() -> bool:
            now = to_micros(self.market.sandbox.clock.now())
            async with self.market.database.read() as tx:
                rows = (await tx.execute(query)).all()
            return all(not row.owner and (row.due_at is None or row.due_at > now) for row in rows)

        await eventually(at_rest)

    @contextlib.asynccontextmanager
    async def heard(self) -> AsyncIterator[Hearing]:
        """Somebody who watches the connection beside the block, listening when it begins."""
        hearing = Hearing(self.market.sandbox.clock.now)
        stream = self.running.client.connections.watch(connection_ids=[self.id])
        assert (await anext(stream)).HasField("heartbeat")

        async def listen() -> None:
            async for told in stream:
                if told.HasField("change"):
                    hearing.note(told.change)

        task = asyncio.create_task(listen())
        try:
            yield hearing
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await stream.aclose()

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionNotUsableError):  # something else has met the trouble already
            await self.running.client.syncs.start(self.id)

    async def told(self, doing: Awaitable[object] | None = None) -> pb.ConnectionReason:
        """Why the connection is not well, as it is pushed after a sync (or something else) met the trouble.

        Whoever watches, asks, or reads the history is told the same.
        """
        async with self.heard() as hearing:
            await (doing or self._read())
            change = await hearing.first(lambda told: told.connection.HasField("reason"))
        reason = change.event.reason
        assert change.connection.reason == reason
        assert (await self.now()).reason == reason
        (newest,) = await self.running.client.connections.list_events(self.id, page_size=1).first(1)
        assert newest == change.event
        return reason

    async def comes_to(self, wanted: tuple[int, int]) -> pb.Connection:
        """The connection once it has this state and health, which it may have already."""
        async with asyncio.timeout(PATIENCE), contextlib.aclosing(self._states()) as states:
            return await anext(now async for now in states if standing(now) == wanted)

    async def _states(self) -> AsyncGenerator[pb.Connection, None]:
        async for told in self.running.client.connections.watch(connection_ids=[self.id], from_start=True):
            if not told.HasField("heartbeat"):
                yield told.snapshot if told.HasField("snapshot") else told.change.connection

    async def well_again(self) -> None:
        """Return when the connection works, whoever did it, and a sync succeeds."""
        now = await self.comes_to(WORKS)
        assert not now.HasField("reason")
        assert await self.syncs() == sync_service_pb2.SYNC_STATE_SUCCEEDED


@dataclass
class Market:
    """A running service and a sandbox, on one clock, that merchants share."""

    sandbox: Sandbox
    running: Service
    database_url: str
    database: Database
    """Another way into the service's database, to see what it keeps."""
    _taken: int = 0

    def organisation(self) -> Organisation:
        """An organisation that nobody has connected."""
        self._taken += 1
        return self.sandbox.organisations[self._taken - 1]

    def user(self, *organisations: Organisation) -> User:
        """Somebody new with the role that it takes to connect these."""
        number = len(self.sandbox.authority.users)
        made = User(str(uuid.uuid4()), f"mia.{number}@example.com", f"Mia{number}", "Merchant")
        self.sandbox.authority.users[made.id] = made
        for organisation in organisations:
            organisation.members[made.id] = Member(made, Role.STANDARD, self.sandbox.clock.now())
        return made

    async def merchant(self, organisation: Organisation | None = None, user: User | None = None) -> Merchant:
        """A merchant who has connected, and whose books have been read."""
        organisation = organisation or self.organisation()
        user = user or self.user(organisation)
        connection = await self.running.connected(organisation.name, user=user.email, organisations=[organisation.name])
        assert standing(connection) == WORKS
        return Merchant(self, organisation, user, connection.id)

    async def close_down(self) -> None:
        """Do nothing more for all merchants that there are."""
        async with self.database.write() as tx:
            free = select(work.c.kind, work.c.connection_id).where(work.c.owner == "")
            mine = (
                await tx.execute(free.with_for_update(skip_locked=True))
            ).all()  # whoever locks more waits for nobody
            for row in mine:
                this = (work.c.kind == row.kind) & (work.c.connection_id == row.connection_id)
                await tx.execute(update(work).where(this).values(due_at=None))

    def same(self, merchant: Merchant) -> Merchant:
        """A merchant of this market as it was before the service was started anew."""
        return replace(merchant, market=self)

    def leap(self, duration: timedelta) -> None:
        """Let so much time pass at once, here and at Xero."""
        self.sandbox.clock.advance(duration)

    def expire_access(self) -> None:
        """Let every access token expire."""
        self.leap(timedelta(minutes=31))

    async def control(self, path: str, **body: object) -> None:
        """Change something at Xero, as a person would there."""
        async with self.running.browser.http.post(f"{self.sandbox.url}/sandbox/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()

    @contextlib.contextmanager
    def breaking(self, *rules: FaultRule) -> Iterator[None]:
        """Xero fails by these rules for everybody while the block runs."""
        for rule in rules:
            self.sandbox.faults.add(replace(rule))
        try:
            yield
        finally:
            self.sandbox.faults.clear()

    @contextlib.contextmanager
    def switched(self, **switches: bool) -> Iterator[None]:
        """Xero behaves the other way while the block runs, where nobody knows how it does."""
        before = {name: getattr(self.sandbox.switches, name) for name in switches}
        for name, value in switches.items():
            set_switch(self.sandbox.switches, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                set_switch(self.sandbox.switches, name, value)


@contextlib.asynccontextmanager
async def open_sandbox(organisations: int = 2) -> AsyncIterator[Sandbox]:
    """A sandbox with so many small organisations, whose time passes quickly and whose limits are not the point."""
    contacts, invoices = FEW
    books = SandboxSettings(contacts=contacts, invoices=invoices, organisations=organisations, speed=QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tieout_sandbox.organisations._SMALL", FEW)  # the other ones' size
        async with serve(books) as sandbox:
            sandbox.limits.quota = ROOMY
            yield sandbox


@contextlib.asynccontextmanager
async def open_market(sandbox: Sandbox, database_url: str) -> AsyncIterator[Market]:
    """The service beside this sandbox, on one clock with it: when that leaps, the service leaps with it."""

    class OneClock(SystemClock):
        """The sandbox's clock."""

        def now(self) -> datetime:
            return sandbox.clock.now()

    database = Database(database_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "SystemClock", OneClock)
        patch.setattr(engine, "SWEEP", SWEEP)
        try:
            async with service(sandbox, database_url, clock_speed=QUICK) as running:
                yield Market(sandbox, running, database_url, database)
        finally:
            await database.close()


def standing(connection: pb.Connection) -> tuple[int, int]:
    """State and health."""
    return connection.state, connection.health


def troubles(reason: pb.ConnectionReason) -> Mapping[str, str]:
    """What was looked at, in that order, and what was found where it speaks against the connection."""
    return {seen.subject: seen.finding if seen.is_trouble else "" for seen in reason.evidence}


def in_words(reason: pb.ConnectionReason) -> tuple[str, str]:
    """Code and owner, by their names."""
    code, owner = pb.ConnectionReasonCode.Name(reason.code), Owner.Name(reason.owner)
    return code.removeprefix("CONNECTION_REASON_CODE_"), owner.removeprefix("OWNER_")


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when this holds; for what is only in the database, which tells nobody."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - a database sets no event
            await asyncio.sleep(0.02)
