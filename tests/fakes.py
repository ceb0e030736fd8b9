"""A Xero that says what a test wants it to, and the server's subjects on a real database beside it.

For tests of the edges, where a sandbox over sockets would prove nothing more.
"""
# ruff: noqa: ARG002 - a fake need not look at all that it is given

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from places import alone
from tieout_server.callers.directory import FRESH
from tieout_server.callers.service import Callers
from tieout_server.connections.authorisation import Authorisations
from tieout_server.connections.means import Means
from tieout_server.connections.return_urls import ReturnUrls
from tieout_server.connections.service import Connections
from tieout_server.connections.tokens import Tokens
from tieout_server.errors import TieoutError
from tieout_server.events.feed import Feed
from tieout_server.exports import means as export_means
from tieout_server.exports.preflight import Preflight
from tieout_server.exports.service import Exports
from tieout_server.exports.settings import SettingsOfExports
from tieout_server.exports.watch import ExportWatch
from tieout_server.exports.work import ExportWork
from tieout_server.ledger.books import (
    AccessTokens,
    AgedReport,
    HeldUp,
    Membership,
    Page,
    Purpose,
    Query,
    TokenSet,
    WritableBooks,
)
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import Document, Entity, Invoice, Organisation, OrganisationUser
from tieout_server.ledger.writes import Draft, Found, InvoiceLines, Payable, RecordKind, Written
from tieout_server.receivables.changes import Changes
from tieout_server.receivables.service import Receivables
from tieout_server.reconciliations.changed import Changed
from tieout_server.reconciliations.chase_checks import ChaseChecks
from tieout_server.reconciliations.discrepancies import Discrepancies
from tieout_server.reconciliations.evidence import Evidence
from tieout_server.reconciliations.platform_balances import PlatformBalances
from tieout_server.reconciliations.service import Reconciliations
from tieout_server.reconciliations.watch import DiscrepancyWatch, ReconciliationWatch
from tieout_server.reconciliations.work import ReconciliationWork
from tieout_server.retention import Prunings, Retention
from tieout_server.rpc.exports import ExportSubjects
from tieout_server.rpc.reconciliations import ReconciliationSubjects
from tieout_server.rpc.server import RpcServer, Subjects
from tieout_server.settings import Settings
from tieout_server.storage import migrate
from tieout_server.storage.arrivals import kept_beside
from tieout_server.storage.database import Database
from tieout_server.storage.vault import Vault
from tieout_server.syncs.arrivals import Arrivals
from tieout_server.syncs.erasures import Erasures
from tieout_server.syncs.explain import Explanations
from tieout_server.syncs.freshness import FreshnessOf
from tieout_server.syncs.means import Means as SyncMeans
from tieout_server.syncs.news import News
from tieout_server.syncs.poll import Polls
from tieout_server.syncs.reading import Readings
from tieout_server.syncs.service import Syncs
from tieout_server.syncs.sweep import Sweeps
from tieout_server.syncs.watch import SyncWatch
from tieout_server.web import issuer
from tieout_server.work.engine import Engine
from tieout_server.work.requests import Requests

VAULT = Vault({"test": bytes(32)})


class SettableClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Xero:
    """What this Xero answers; a test changes it as it likes."""

    clock: SettableClock
    organisations: list[str] = field(default_factory=lambda: ["Southern Hops Ltd"])
    user: str = "ruth@southern-hops.example"
    role: str = "STANDARD"
    trouble: TieoutError | None = None
    """What the next exchange of a code raises, once."""
    refusal: TieoutError | None = None
    """What every call to the books raises, for as long as it is set."""
    is_linked: bool = True
    """Whether the organisations are still linked to our app."""
    removed: list[str] = field(default_factory=list)
    """The memberships that were removed by us, and the refresh tokens that were revoked."""
    scopes: tuple[str, ...] = ("offline_access",)
    short_code: str = ""
    """What leads to its organisations by a link."""
    time_zone: str = ""
    """Where its organisations are."""
    allowance: Allowance = field(default_factory=lambda: Allowance(0, 60, None))
    """The calls that are left, as far as anybody asks."""

    async def known_allowance(self, _: str) -> Allowance:
        return self.allowance

    def authorization_url(self, *, state: str, code_verifier: str) -> str:
        return f"https://xero.example/authorize?state={state}&pkce={len(code_verifier)}"

    documents: dict[tuple[Entity, str], Document] = field(default_factory=dict)
    """What its books show, by entity and id."""
    asked: list[tuple[Entity, tuple[str, ...]]] = field(default_factory=list)
    """What was read of its books: by ids, or a listing (no ids)."""
    read_trouble: TieoutError | None = None
    """What the next read raises, once."""
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is cleared no read is answered."""

    def __post_init__(self) -> None:
        self.answers.set()

    async def shown(self, entity: Entity, ids: tuple[str, ...] = ()) -> Page:
        """These documents, or all of an entity, as one page."""
        self.asked.append((entity, ids))
        if self.read_trouble:
            trouble, self.read_trouble = self.read_trouble, None
            raise trouble
        found = [
            document for (kind, name), document in self.documents.items() if kind is entity and name in (ids or [name])
        ]
        page = Page(documents=found, page_count=1, item_count=len(found), served_at=self.clock.now())
        await self.answers.wait()
        return page

    code: str = ""
    """The code that was exchanged last: each one opens organisations of its own."""

    async def exchange(self, *, code: str, code_verifier: str) -> TokenSet:
        if self.trouble:
            trouble, self.trouble = self.trouble, None
            raise trouble
        self.code = code
        return TokenSet(
            xero_user_id="user-1",
            access_token="secret-access",
            refresh_token="secret-refresh",
            access_expires_at=self.clock.now() + timedelta(minutes=30),
            scopes=self.scopes,
            authentication_event_id=f"event-{code}",
            email=self.user,
            name="Ruth",
        )

    async def refresh(self, refresh_token: str) -> TokenSet:
        return await self.exchange(code=self.code, code_verifier="-")

    async def memberships(self, access_token: str, *, authentication_event_id: str = "") -> Sequence[Membership]:
        return [
            Membership(membership_id=f"membership-{name}", xero_tenant_id=f"tenant-{self.code}/{name}", name=name)
            for name in (self.organisations if self.is_linked else ())
        ]

    async def disconnect(self, access_token: str, membership_id: str) -> None:
        self.removed.append(membership_id)

    async def revoke(self, refresh_token: str) -> None:
        self.removed.append(refresh_token)

    def open(self, xero_tenant_id: str, tokens: AccessTokens) -> WritableBooks:
        return BooksOf(self, xero_tenant_id)


@dataclass
class BooksOf:
    """The books of one organisation of this Xero."""

    xero: Xero
    xero_tenant_id: str

    async def read(self, query: Query, purpose: Purpose) -> Page:
        return await self.xero.shown(query.entity)

    async def by_ids(self, entity: Entity, ids: Sequence[str], purpose: Purpose) -> Page:
        return await self.xero.shown(entity, tuple(ids))

    async def contacts_like(self, text: str, purpose: Purpose) -> Page:
        return await self.xero.shown(Entity.CONTACTS)

    def _check(self) -> None:
        if self.xero.refusal:
            raise self.xero.refusal.with_traceback(None)  # the same one each time: what it drags along must not grow

    async def aged_receivables(self, xero_contact_id: str, on: date, purpose: Purpose) -> AgedReport:
        return AgedReport(Decimal(0), ())

    async def organisation(self, purpose: Purpose) -> Organisation:
        self._check()
        return Organisation(
            xero_tenant_id=self.xero_tenant_id,
            name=self.xero_tenant_id.rpartition("/")[2],
            base_currency="NZD",
            short_code=self.xero.short_code,
            time_zone=self.xero.time_zone,
        )

    async def users(self, purpose: Purpose) -> Sequence[OrganisationUser]:
        self._check()
        return [OrganisationUser(xero_user_id="user-1", email=self.xero.user, name="Ruth Ngata", role=self.xero.role)]

    async def actions(self, purpose: Purpose) -> Mapping[str, bool]:
        return {}

    async def payable(self, ids: Sequence[str], numbers: Sequence[str], purpose: Purpose) -> Sequence[Payable]:
        found = [d for (kind, _), d in self.xero.documents.items() if kind is Entity.INVOICES]
        return [
            Payable(invoice=invoice, payments=(), as_of=self.xero.clock.now())
            for invoice in found
            if isinstance(invoice, Invoice) and (invoice.xero_invoice_id in ids or invoice.number in numbers)
        ]

    async def invoice_lines(self, xero_invoice_id: str, purpose: Purpose) -> InvoiceLines | None:
        return None

    async def write(self, drafts: Sequence[Draft], idempotency_key: str) -> Sequence[Written]:
        return [Written(messages=("These books take nothing.",)) for _ in drafts]

    async def records_since(self, kind: RecordKind, since: datetime) -> Sequence[Found]:
        return []

    async def status_of(self, kind: RecordKind, xero_id: str) -> Found | None:
        return None

    async def note(self, xero_invoice_id: str, text: str, idempotency_key: str) -> None:
        return None

    def held_up(self) -> HeldUp | None:
        return None


@dataclass(frozen=True)
class World:
    """A database, a Xero, and what the edges work with."""

    xero: Xero
    clock: SettableClock
    database: Database
    subjects: Subjects
    polls: Polls
    sweeps: Sweeps

    @property
    def connections(self) -> Connections:
        return self.subjects.connections

    def forget_callers(self) -> None:
        """Let so much time pass that what is known of callers is read again."""
        self.clock.time += timedelta(seconds=FRESH)


_migrated: list[bytes] = []
"""A database file with all tables, made once."""


async def _database(path: Path) -> Database:
    if not _migrated:
        first = Database(f"sqlite:///{path}")
        await migrate.upgrade(first)
        await first.close()
        _migrated.append(await asyncio.to_thread(path.read_bytes))
    await asyncio.to_thread(path.write_bytes, _migrated[0])
    return Database(f"sqlite:///{path}")


def connecting(xero: Xero, database: Database, feed: Feed, engine: Engine, requests: Requests) -> Connections:
    """Connections to this Xero."""
    return Connections(
        Means(
            database=database,
            feed=feed,
            engine=engine,
            requests=requests,
            authorisations=Authorisations(VAULT, xero, xero.clock),
            tokens=Tokens(database, VAULT, xero, xero.clock),
            identity=xero,
            library=xero,
            return_urls=ReturnUrls("https://app.example"),
            clock=xero.clock,
        )
    )


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A new world whose database is in this folder, with a feed that runs and an engine that does not."""
    clock = SettableClock()
    xero = Xero(clock)
    database = await _database(folder / "tieout.db")
    feed, engine, requests = Feed(database, clock), alone(database, clock), Requests(VAULT, clock)
    connections = connecting(xero, database, feed, engine, requests)
    means = SyncMeans(database, feed, clock, engine)
    syncs = Syncs(means, connections, requests)
    News(means, connections, lambda _: xero.allowance)
    readings = Readings(means, connections, syncs)
    Changed(means, connections, lambda _: xero.allowance)
    ReconciliationWork(means, connections)
    discrepancies = Discrepancies(database, feed, clock, requests)
    exporting = export_means.Means(database, feed, clock, engine, lambda _: xero.allowance)
    preflight = Preflight(exporting)
    exports = Exports(exporting, connections, requests, preflight)
    settings_of_exports = SettingsOfExports(exporting, connections, requests, preflight)
    ExportWork(exporting, connections, preflight, settings_of_exports.revalidate)
    callers = Callers(database, clock, issuer.read, clock.monotonic)
    subjects = Subjects(
        callers=callers,
        connections=connections,
        syncs=syncs,
        sync_watch=SyncWatch(database, feed, syncs),
        freshness=FreshnessOf(database, xero.known_allowance, clock),
        receivables=Receivables(database, clock),
        changes=Changes(database, feed, clock),
        explanations=Explanations(database, connections, clock),
        reconciliation=ReconciliationSubjects(
            reconciliations=Reconciliations(means, connections, requests),
            reconciliation_watch=ReconciliationWatch(database, feed),
            discrepancies=discrepancies,
            discrepancy_watch=DiscrepancyWatch(database, feed, discrepancies),
            evidence=Evidence(database, clock),
            platform_balances=PlatformBalances(database, clock, requests),
            chase_checks=ChaseChecks(means, connections, xero.known_allowance),
        ),
        exports=ExportSubjects(exports=exports, settings=settings_of_exports, watch=ExportWatch(feed, exports)),
        erasures=Erasures(means, connections, requests),
        prunings=Prunings(database, Retention(database, Settings(), clock), requests),
        feed=feed,
        clock=clock,
    )
    await feed.start()
    running = asyncio.create_task(feed.run())
    try:
        polls = Polls(means, readings, lambda _: xero.allowance)
        yield World(xero, clock, database, subjects, polls, Sweeps(means, readings))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await callers.audit.close()
        await database.close()


@asynccontextmanager
async def arrivals_of(around: World) -> AsyncIterator[Arrivals]:
    """Where webhooks arrive in this world; nobody takes them on unasked."""
    engine = alone(around.database, around.clock)
    means = SyncMeans(around.database, around.subjects.feed, around.clock, engine)
    news = News(means, around.connections, lambda _: around.xero.allowance)
    async with kept_beside(around.database) as kept:
        yield Arrivals(means, kept, news)


@asynccontextmanager
async def serving(around: World, **settings: Any) -> AsyncIterator[RpcServer]:  # noqa: ANN401 - settings of any type
    """The gRPC server of this world on a port of its own, with these settings."""
    server = RpcServer(
        around.subjects,
        Settings(**{"listen": "127.0.0.1:0", "xero_scopes": "offline_access accounting.contacts.read"} | settings),
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
