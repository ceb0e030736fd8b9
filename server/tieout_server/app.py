"""The service put together: every object is built here, by hand, once."""

import asyncio
import functools
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from tieout_server import log
from tieout_server.callers.service import Callers
from tieout_server.clock import Clock, SystemClock
from tieout_server.connections.authorisation import Authorisations
from tieout_server.connections.means import Means as ConnectionMeans
from tieout_server.connections.return_urls import ReturnUrls
from tieout_server.connections.service import Connections
from tieout_server.connections.tokens import Tokens
from tieout_server.errors import DrainingError, StorageUnavailableError
from tieout_server.events.feed import Feed
from tieout_server.exports import means as export_means
from tieout_server.exports.preflight import Preflight
from tieout_server.exports.service import Exports
from tieout_server.exports.settings import SettingsOfExports
from tieout_server.exports.watch import ExportWatch
from tieout_server.exports.work import ExportWork
from tieout_server.housekeeping import Housekeeping
from tieout_server.ledger.calls import CallsInMemory
from tieout_server.measuring import Measuring, Sources
from tieout_server.readiness import Readiness
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
from tieout_server.shutdown import Shutdown
from tieout_server.storage.arrivals import kept_beside
from tieout_server.storage.database import Database
from tieout_server.storage.lineage import Restored, take_up
from tieout_server.storage.migrate import check_fits, upgrade
from tieout_server.storage.notices import Notices
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
from tieout_server.web.app import build
from tieout_server.web.edge import Edge
from tieout_server.web.operators import build_for_operators
from tieout_server.web.server import WebServer
from tieout_server.web.webhooks import WebhookReceiver
from tieout_server.work.engine import Engine
from tieout_server.work.guests import Guests
from tieout_server.work.homes import Homes
from tieout_server.work.host import Host
from tieout_server.work.means import Means as Sharing
from tieout_server.work.replica import Replica
from tieout_server.work.requests import Requests
from tieout_server.xero.books import XeroLibrary
from tieout_server.xero.limits import Limits
from tieout_server.xero.oauth import XeroIdentity
from tieout_server.xero.transport import open_session
from tieout_server.xero.webhooks import XeroDeliveries

logger = log.get("app")

RESTART_AFTER = 1.0
"""Seconds before broken background work begins anew."""
SAME_OUTAGE = 30.0
"""Seconds within which the database being away once more is the same outage, and is not told again."""


class App(msgspec.Struct, frozen=True):
    """The running service: where gRPC, the callback page and, if asked for, the metrics listen."""

    port: int
    web_port: int
    metrics_port: int = 0


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[App]:
    """The service, listening and at work, until the block ends; then watchers are sent on and work is let go.

    Raises:
        TieoutError: the settings, the database or an address do not permit it; the sentence says what to do.
    """
    clock = SystemClock(settings.clock_speed)
    async with AsyncExitStack() as stack:
        database = await _open_database(settings, stack)
        place = _place(settings, database, clock)
        core = await _core(settings, database, clock, place, stack)
        kept = await stack.enter_async_context(kept_beside(database))
        reading = SyncMeans(database, core.feed, clock, core.engine)
        news = News(reading, core.connections, core.library.allowance)
        arrivals = Arrivals(reading, kept, news)
        changed = Changed(reading, core.connections, core.library.allowance)
        housekeeping = Housekeeping(database, core.feed, core.booked, clock, Retention(database, settings, clock))
        restored = await take_up(database, clock.now())
        subjects = _subjects(settings, core, reading, restored)
        stack.push_async_callback(subjects.callers.audit.close)
        await core.feed.start()
        await stack.enter_async_context(_joined(place, alone=database.is_sqlite))
        if database.is_sqlite:
            await core.connections.recover()
        stack.push_async_callback(_book_what_is_left, housekeeping)
        await _keep_running(
            stack,
            replica=place.replica.run,
            notices=place.notices.run,
            feed=core.feed.run,
            housekeeping=housekeeping.run,
            engine=core.engine.run,
            host=place.host.run,
            arrivals=arrivals.run,
            changed=changed.run,
        )
        shutdown = Shutdown(settings.drain_notice, core.engine, place.guests, place.host)
        readiness = Readiness(database, lambda: shutdown.has_begun)
        metrics_port = await _tell_operators(
            settings, Sources(database, kept, place.replica, place.homes, clock), readiness, stack
        )
        receiver = WebhookReceiver(_deliveries(settings), arrivals)
        web = WebServer(build(core.connections, readiness.why_not, receiver, Edge.of(settings)), settings.web_listen)
        rpc = RpcServer(subjects, settings)
        for server in (web, rpc):
            stack.push_async_callback(server.stop)
            await server.start()
        await _keep_running(stack, readiness=functools.partial(readiness.watch, rpc.say_whether_it_serves))
        stack.push_async_callback(shutdown.drain, rpc, web)
        yield App(rpc.port, web.port, metrics_port)


class _Place(msgspec.Struct, frozen=True):
    """This process among those that share the work, and how its calls are kept within the limits of all."""

    replica: Replica
    homes: Homes
    notices: Notices
    guests: Guests
    host: Host


def _place(settings: Settings, database: Database, clock: Clock) -> _Place:
    replica, notices = Replica(database), Notices(database, settings.database_listen_url)
    limits = Limits(clock, replica.is_alive)
    homes = Homes(database, replica, limits)
    means = Sharing(database, clock, replica, homes, notices)
    return _Place(replica, homes, notices, Guests(means, limits), Host(means, limits, call_takes=settings.xero_timeout))


class _Core(msgspec.Struct, frozen=True):
    """What every subject is built on."""

    database: Database
    clock: Clock
    place: _Place
    booked: CallsInMemory
    feed: Feed
    engine: Engine
    requests: Requests
    library: XeroLibrary
    connections: Connections


async def _core(settings: Settings, database: Database, clock: Clock, place: _Place, stack: AsyncExitStack) -> _Core:
    vault = Vault.from_settings(settings.vault_keys.get_secret_value(), settings.database_url)
    session = await stack.enter_async_context(open_session(settings))
    booked = CallsInMemory()
    feed = Feed(database, clock, place.notices)
    engine = Engine(database, clock, place.replica, place.homes, place.notices)
    requests = Requests(vault, clock)
    library = XeroLibrary(session, settings, clock, booked, place.guests)
    identity = XeroIdentity(session, settings, clock)
    tokens = Tokens(database, vault, identity, clock, call_takes=settings.xero_timeout, name=lambda: place.replica.id)
    connections = Connections(
        ConnectionMeans(
            database=database,
            feed=feed,
            engine=engine,
            requests=requests,
            authorisations=Authorisations(vault, identity, clock),
            tokens=tokens,
            identity=identity,
            library=library,
            return_urls=ReturnUrls(settings.return_url_allow),
            clock=clock,
            look_every=settings.look_every,
        )
    )
    return _Core(database, clock, place, booked, feed, engine, requests, library, connections)


def _subjects(settings: Settings, core: _Core, reading: SyncMeans, restored: Restored | None) -> Subjects:
    """What the services are answered from, with all work that goes on without being asked for."""
    database, clock, feed, engine, requests = core.database, core.clock, core.feed, core.engine, core.requests
    connections, allowance = core.connections, core.library.allowance
    syncs = Syncs(reading, connections, requests)
    readings = Readings(reading, connections, syncs)
    Polls(reading, readings, allowance)
    Sweeps(reading, readings)
    exporting = export_means.Means(database, feed, clock, engine, allowance, restored)
    return Subjects(
        callers=Callers(database, clock, issuer.read),
        connections=connections,
        syncs=syncs,
        sync_watch=SyncWatch(database, feed, syncs),
        freshness=FreshnessOf(database, core.place.guests.known_allowance, clock),
        receivables=Receivables(database, clock),
        changes=Changes(database, feed, clock),
        explanations=Explanations(database, connections, clock),
        reconciliation=_reconciliation(reading, connections, requests, core.place),
        exports=_exports(exporting, connections, requests),
        erasures=Erasures(reading, connections, requests),
        prunings=Prunings(database, Retention(database, settings, clock), requests),
        feed=feed,
        clock=clock,
    )


def _reconciliation(
    means: SyncMeans, connections: Connections, requests: Requests, place: _Place
) -> ReconciliationSubjects:
    ReconciliationWork(means, connections)
    discrepancies = Discrepancies(means.database, means.feed, means.clock, requests)
    return ReconciliationSubjects(
        reconciliations=Reconciliations(means, connections, requests),
        reconciliation_watch=ReconciliationWatch(means.database, means.feed),
        discrepancies=discrepancies,
        discrepancy_watch=DiscrepancyWatch(means.database, means.feed, discrepancies),
        evidence=Evidence(means.database, means.clock),
        platform_balances=PlatformBalances(means.database, means.clock, requests),
        chase_checks=ChaseChecks(means, connections, place.guests.known_allowance),
    )


def _exports(means: export_means.Means, connections: Connections, requests: Requests) -> ExportSubjects:
    preflight = Preflight(means)
    exports = Exports(means, connections, requests, preflight)
    settings = SettingsOfExports(means, connections, requests, preflight)
    ExportWork(means, connections, preflight, settings.revalidate)
    return ExportSubjects(exports=exports, settings=settings, watch=ExportWatch(means.feed, exports))


async def _tell_operators(settings: Settings, sources: Sources, readiness: Readiness, stack: AsyncExitStack) -> int:
    """Measure, and serve the figures where operators asked for them; answers on which port, 0 for none."""
    if not settings.metrics_listen:
        return 0
    measuring = Measuring(sources)
    await stack.enter_async_context(_kept_running("measuring", measuring.run))
    application = build_for_operators(measuring.text, readiness.why_not)
    server = WebServer(application, settings.metrics_listen, "TIEOUT_METRICS_LISTEN")
    stack.push_async_callback(server.stop)
    await server.start()
    return server.port


async def _book_what_is_left(housekeeping: Housekeeping) -> None:
    try:
        await housekeeping.book_calls()
    except StorageUnavailableError:
        logger.warning("the calls of the last second are not booked: the database is away")


@asynccontextmanager
async def _joined(place: _Place, *, alone: bool) -> AsyncIterator[None]:
    """A place among those that share the work; in the end what was held is free at once, if the database is there."""
    await place.replica.join(alone=alone)
    try:
        yield
    finally:
        try:
            await place.homes.leave()
            await place.replica.leave()
        except StorageUnavailableError:
            logger.warning("the others will miss this process some seconds later: the database is away")


def _deliveries(settings: Settings) -> XeroDeliveries:
    deliveries = XeroDeliveries(settings)
    if not deliveries.are_on:
        logger.warning("webhooks are off: changes come by polling alone", setting="TIEOUT_XERO_WEBHOOK_KEY")
    return deliveries


async def _open_database(settings: Settings, stack: AsyncExitStack) -> Database:
    """The database with this version's tables: made at start on SQLite, by `tieout-server migrate` on PostgreSQL."""
    database = Database(settings.database_url, pool_size=settings.database_pool)
    stack.push_async_callback(database.close)
    if database.is_sqlite:
        await upgrade(database)
    else:
        await check_fits(database)
    return database


async def _keep_running(stack: AsyncExitStack, **works: Callable[[], Awaitable[None]]) -> None:
    """Keep all of these going, by name, until the stack ends."""
    for name, work in works.items():
        await stack.enter_async_context(_kept_running(name, work))


@asynccontextmanager
async def _kept_running(name: str, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """This work, going on beside the block; should it break, that is logged and it begins anew.

    That the database is away is said once in an outage.
    """

    async def keep_running() -> None:
        away_at = -math.inf
        while True:
            try:
                await work()
            except DrainingError:
                return
            except Exception as error:  # whatever broke, it begins anew
                now, away = asyncio.get_running_loop().time(), _storage_away(error)
                if away is None:
                    logger.exception("begins anew", work=name)
                elif now - away_at > SAME_OUTAGE:
                    logger.warning("waits for the database", work=name, why=away.why)
                away_at = away_at if away is None else now
            await asyncio.sleep(RESTART_AFTER)

    task = asyncio.create_task(keep_running(), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _storage_away(error: Exception) -> StorageUnavailableError | None:
    """The error that says that the database is away, if there is nothing else."""
    if isinstance(error, ExceptionGroup):
        found = [_storage_away(one) for one in error.exceptions]
        return found[0] if all(found) else None
    return error if isinstance(error, StorageUnavailableError) else None
