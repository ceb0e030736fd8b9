"""Promise: several replicas on one PostgreSQL are one service, whoever of them dies, stops, sleeps or is replaced."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import tieout
from deliveries import KEY, body_of, event, post, signature
from fleet import (
    LOOK_EVERY,
    Fleet,
    OwnPostgres,
    Replica,
    Watcher,
    balancer,
    fleet,
    following,
    own_postgres,
    quick_books,
)
from fleet_merchants import Merchant, has_ended, never_runs_backwards, nothing_left, syncs_of
from following import Subscriber
from servers import CLIENT_ID, Service, differences, limits_kept, mirror_of, truth_of, until
from tieout.v1 import sync_service_pb2 as pb
from tieout.v1.connection_service_pb2 import CONNECTION_STATE_CONNECTED
from tieout_sandbox import FaultKind, FaultRule, serve
from tieout_server.events import feed
from tieout_server.receivables.place import Place
from tieout_server.storage import changes, replica_tables

pytestmark = pytest.mark.timeout(180)

SEED = int(os.environ.get("TIEOUT_TEST_SEED", "20261122"))
READS = r"/api\.xro/2\.0/(Contacts|Invoices|CreditNotes|Payments|Overpayments|Prepayments|Accounts)"
CREDITS = r"/api\.xro/2\.0/(CreditNotes|Overpayments|Prepayments)"
"""What a sync reads, and nobody who writes a payment."""
LONG = 6.0
"""Seconds that each of these takes where a sync is to last until something else was done, on a busy machine too."""
TAKEN_OVER_WITHIN = 30.0
"""Seconds after a kill -9, or a loss of the network, until another replica goes on."""
LET_GO_WITHIN = 8.0
"""Seconds after SIGTERM until another replica is the home: nobody waits until one is missed."""
MOVED = 2
"""Pages at most that a payment, made meanwhile, has moved rows on: they are read once more."""
QUIET = 25.0
"""Seconds in which a heartbeat surely comes."""
PAID_OFTEN = 0.2
ENOUGH = 5
SLEEPS = 27.0
"""Seconds that are surely longer than a replica that says nothing is taken for alive, and is found out."""


async def test_a_first_sync_whose_owner_is_killed_goes_on_elsewhere_within_30_seconds(
    postgres_url: str, tmp_path: Path
) -> None:
    books = quick_books(contacts=40, invoices=300, latency_ms=100)
    async with serve(books) as sandbox, fleet(sandbox, postgres_url, tmp_path) as running:
        sandbox.faults.add(FaultRule(FaultKind.SLOW, CREDITS, times=None, seconds=LONG))
        organisation = sandbox.organisations[0].id
        connection = await running.replicas[0].service.connect()
        watcher = syncs_of(connection.id, lambda: running.up[-1])
        async with following([watcher]):
            home = await running.found_home(organisation)
            await until(lambda: sandbox.requests.count(READS) >= 8)
            await home.kill()
            sandbox.faults.clear()
            loop = asyncio.get_running_loop()
            killed_at, before = loop.time(), sandbox.requests.count(READS)
            assert not has_ended(watcher), "it was over before its owner was killed"
            await until(lambda: sandbox.requests.count(READS) > before, within=2 * TAKEN_OVER_WITHIN)
            silent_for = loop.time() - killed_at
            await until(lambda: has_ended(watcher), within=60)
        assert silent_for < TAKEN_OVER_WITHIN
        assert watcher.messages[-1].progress.sync.state == pb.SYNC_STATE_SUCCEEDED
        never_runs_backwards(watcher)
        assert differences(truth_of(sandbox.books), await mirror_of(postgres_url, connection.id)) == []
        assert list(limits_kept(sandbox)) == []


# Merchants, whatever happens to the replicas


@dataclass
class Audience:
    """Those who watch one merchant, each on a stream at whichever replica, and on another one a moment later."""

    merchant: Merchant
    subscriber: Subscriber
    """Of the changes of the copy."""
    is_quiet: bool
    """Whether the subscriber stays, so as to hear a heartbeat: it says that there is no more."""
    watchers: dict[str, Watcher]

    @classmethod
    def of(cls, merchant: Merchant) -> "Audience":
        name = merchant.connection_id
        return cls(
            merchant,
            Subscriber(name),
            False,
            {
                feed.SYNC: syncs_of(name, merchant.any),
                feed.EXPORT: Watcher(
                    lambda client, after: client.payment_exports.watch(name, after=after), "change", merchant.any
                ),
                feed.CONNECTION: Watcher(
                    lambda client, after: client.connections.watch(connection_ids=[name], after=after),
                    "change",
                    merchant.any,
                ),
            },
        )

    async def wander(self) -> None:
        """Follow the changes at one replica after the other, until cancelled."""
        chance = random.Random(SEED)
        while True:
            self.subscriber.listen(self.merchant.any().service.client)
            try:
                await asyncio.sleep(QUIET if self.is_quiet else chance.uniform(0.3, 4))
            finally:
                with contextlib.suppress(tieout.TryAgainError):  # the replica is gone, or its database is
                    await self.subscriber.leave()

    async def missed(self) -> list[str]:
        """Who has not heard of everything yet."""
        missed = [topic for topic, one in self.watchers.items() if one.positions != await self._truth(topic)]
        is_told = self.subscriber.here is not None and self.subscriber.here >= await self._end_of_changes()
        return missed if is_told else [*missed, feed.CHANGES]

    async def the_subscriber_holds_what_a_newcomer_is_told(self) -> None:
        newcomer = Subscriber(self.merchant.connection_id)
        newcomer.listen(self.merchant.any().service.client)
        end = await self._end_of_changes()
        await until(lambda: newcomer.here is not None and newcomer.here >= end)
        await newcomer.leave()
        assert self.subscriber.holds() == newcomer.holds()

    async def _end_of_changes(self) -> Place:
        async with self.merchant.fleet.database.read() as tx:
            return Place.end_of(await changes.last_number(tx, self.merchant.connection_id))

    async def each_saw_each_change_once_and_in_order(self) -> None:
        for topic, watcher in self.watchers.items():
            assert watcher.positions == await self._truth(topic), topic
            assert watcher.streams > 1
        never_runs_backwards(self.watchers[feed.SYNC])

    async def _truth(self, topic: str) -> list[int]:
        positions = await self.merchant.fleet.logged(topic, self.merchant.connection_id)
        return [position for position in positions if position > self.watchers[topic].start]


@contextlib.asynccontextmanager
async def wandering(audiences: Sequence[Audience]) -> AsyncIterator[None]:
    """The subscribers of these go on beside the block."""
    tasks = [asyncio.create_task(audience.wander()) for audience in audiences]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


async def a_merchant(running: Fleet, chance: random.Random, number: int = 0) -> Merchant:
    """One whose first sync has just begun, and who has said where payments go to."""
    merchant = Merchant(running, running.sandbox.organisations[number], chance)
    await merchant.connect()
    await merchant.choose_account()
    return merchant


PAYMENTS = r"/api\.xro/2\.0/(Batch)?Payments$"


async def test_an_owner_that_sleeps_through_its_life_commits_nothing_and_sends_no_payment_afterwards(
    postgres_url: str, tmp_path: Path
) -> None:
    books = quick_books(contacts=40, invoices=300, latency_ms=400)
    async with serve(books) as sandbox, fleet(sandbox, postgres_url, tmp_path, count=2) as running:
        sandbox.faults.add(FaultRule(FaultKind.SLOW, CREDITS, times=None, seconds=LONG))
        merchant = await a_merchant(running, random.Random(SEED))
        home = await running.found_home(merchant.organisation.id)
        watcher = syncs_of(merchant.connection_id, merchant.any)
        following_it = asyncio.create_task(watcher.follow())
        for _ in range(3):
            await merchant.pay()
        await until(lambda: sandbox.requests.count(PAYMENTS, method="PUT") > 0)
        assert not has_ended(watcher)
        home.pause()  # with a payment on its way, and a first sync in hand
        sandbox.faults.clear()
        stopped_at = asyncio.get_running_loop().time()
        other = await running.found_home(merchant.organisation.id, besides=home)
        assert asyncio.get_running_loop().time() - stopped_at < TAKEN_OVER_WITHIN
        await nothing_left(merchant.unverified)
        await until(lambda: has_ended(watcher), within=60)
        await nothing_left(merchant.is_mirrored)
        writes = sandbox.requests.count("/api.xro/", method="PUT")
        before = await merchant.kept()
        home.go_on()
        await until(lambda: "taken for dead" in home.process.log.read_text())
        assert await running.home(merchant.organisation.id) is other
        for _ in range(3):
            await merchant.pay()
        await nothing_left(merchant.unverified)
        kept = await merchant.kept()
        assert {name: kept[name] for name in before} == before, "what was done was done again"
        assert sandbox.requests.count("/api.xro/", method="PUT") <= writes + 2 * 3  # payments and their notes
        merchant.each_payment_is_there_once()
        never_runs_backwards(watcher)
        every_page_was_committed_once(watcher.messages[-1].progress)
        following_it.cancel()
        await nothing_left(merchant.is_mirrored)
        assert list(limits_kept(sandbox)) == []


async def test_a_rolling_restart_loses_no_progress_and_sends_nothing_twice(postgres_url: str, tmp_path: Path) -> None:
    books = quick_books(20.0, contacts=40, invoices=300, latency_ms=100, organisations=2)
    chance = random.Random(SEED)
    async with serve(books) as sandbox, fleet(sandbox, postgres_url, tmp_path) as running:
        merchants = [await a_merchant(running, chance, number) for number in range(2)]
        watchers = [syncs_of(merchant.connection_id, merchant.any) for merchant in merchants]
        pauses = []
        async with following(watchers):
            for one in running.replicas:
                is_home = await running.home(merchants[0].organisation.id) is one
                for merchant in merchants:
                    await merchant.pay()
                began, reads = asyncio.get_running_loop().time(), sandbox.requests.count(READS)
                await one.process.stop()
                if is_home:
                    await running.found_home(merchants[0].organisation.id, besides=one)
                    pauses.append(asyncio.get_running_loop().time() - began)
                await one.restart()
                assert sandbox.requests.count(READS) > reads or all(map(has_ended, watchers))
            await until(lambda: all(map(has_ended, watchers)), within=60)
        for merchant, watcher in zip(merchants, watchers, strict=True):
            await nothing_left(merchant.unverified)
            merchant.each_payment_is_there_once()
            last = watcher.messages[-1].progress
            assert last.sync.state == pb.SYNC_STATE_SUCCEEDED
            never_runs_backwards(watcher)
            every_page_was_committed_once(last)
            await nothing_left(merchant.is_mirrored)
        assert pauses, "no home was ever restarted"
        assert max(pauses) < LET_GO_WITHIN, pauses
        assert "taken for dead" not in "".join(one.process.log.read_text() for one in running.replicas)
        assert list(limits_kept(sandbox)) == []


def every_page_was_committed_once(last: pb.SyncProgress) -> None:
    """Each listing counts each of its rows once, and no more pages than it has but those that payments moved."""
    for line in last.entities:
        if not line.open_only:  # what is open is met again in the listing itself
            assert line.fetched == line.expected, line
        assert line.pages_expected <= line.pages_read <= line.pages_expected + MOVED, line


async def test_whatever_is_asked_of_any_replica_is_answered_while_another_one_is_the_home_and_busy(
    postgres_url: str, tmp_path: Path
) -> None:
    books = quick_books(20.0, contacts=40, invoices=300, latency_ms=100)
    async with (
        serve(books) as sandbox,
        fleet(sandbox, postgres_url, tmp_path, TIEOUT_XERO_WEBHOOK_KEY=KEY) as running,
    ):
        sandbox.faults.add(FaultRule(FaultKind.SLOW, CREDITS, times=None, seconds=LONG))
        merchant = await a_merchant(running, random.Random(SEED))
        watcher = syncs_of(merchant.connection_id, merchant.any)
        organisation = merchant.organisation.id
        async with following([watcher]):
            home = await running.found_home(organisation)
            guests = [one for one in running.replicas if one is not home]
            before = sandbox.requests.count(READS)
            for guest in guests:
                calls, name = guest.service.client.payment_exports, merchant.connection_id
                accounts, checked, payment = await asyncio.gather(
                    collected(calls.list_accounts(name)),
                    guest.service.client.connections.check(name),
                    calls.check(name, merchant.payment()),
                )
                assert accounts
                assert checked.connection.state == CONNECTION_STATE_CONNECTED
                assert payment
            assert not has_ended(watcher), "nothing was going on beside"
            assert await running.home(organisation) is home
            assert sandbox.requests.count(READS) > before
            sandbox.faults.clear()
            await until(lambda: has_ended(watcher), within=60)
        news = merchant.books.create_invoice(merchant.someone(), Decimal(12))
        body = body_of(event(tenantId=organisation, resourceId=news.id, eventType="CREATE"))
        for guest in guests:
            at = Service(guest.service.client, guest.service.browser, web_port=guest.process.web_port)
            assert (await post(at, body, signature(body)))[0] == 200
        await nothing_left(merchant.is_mirrored)
        async with running.database.read() as tx:
            assert (await tx.execute(select(replica_tables.guest_calls))).all() == []
        assert list(limits_kept(sandbox)) == []


async def collected(pages: AsyncIterable[Any]) -> list[Any]:
    return [one async for one in pages]


class Chaos:
    """What happens to the replicas and to their database, by a seed."""

    LASTS = 28.0

    def __init__(self, running: Fleet, postgres: OwnPostgres, chance: random.Random) -> None:
        self.fleet = running
        self.postgres = postgres
        self.chance = chance
        self.deeds: list[str] = []
        self.struck: list[Replica] = []

    async def break_loose(self) -> None:
        """Let everything happen that can, at any time."""
        deeds = [self.kill] * 4 + [self.nap] * 3 + [self.crash]
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sleep())
            for deed in deeds:
                group.create_task(self.later(deed, self.chance.uniform(0, self.LASTS)))

    async def later(self, deed: Callable[[], Awaitable[None]], seconds: float) -> None:
        await asyncio.sleep(seconds)
        await deed()

    @property
    def spared(self) -> list[Replica]:
        """Those to which nothing happens at this time."""
        return [one for one in self.fleet.replicas if one not in self.struck]

    @contextlib.asynccontextmanager
    async def victim(self) -> AsyncIterator[Replica]:
        """A replica to which nothing else happens at this time; another one is left."""
        while len(self.spared) < 2:  # noqa: ASYNC110 - see LOOK_EVERY
            await asyncio.sleep(LOOK_EVERY)
        one = self.chance.choice(self.spared)
        self.struck.append(one)
        try:
            yield one
        finally:
            self.struck.remove(one)

    async def kill(self) -> None:
        async with self.victim() as one:
            self.deeds.append(f"killed {one.process.pid}")
            await one.kill()
            await asyncio.sleep(self.chance.uniform(0, 3))
            await one.restart()

    async def nap(self) -> None:
        await self.stand_still(self.chance.uniform(0.5, 6))

    async def sleep(self) -> None:
        """Somebody stands still for longer than it takes to be missed."""
        await asyncio.sleep(self.chance.uniform(0, 3))
        await self.stand_still(SLEEPS)

    async def stand_still(self, seconds: float) -> None:
        async with self.victim() as one:
            self.deeds.append(f"stopped {one.process.pid} for {seconds:.1f} s")
            one.pause()
            await asyncio.sleep(seconds)
            one.go_on()

    async def crash(self) -> None:
        self.deeds.append("crashed PostgreSQL")
        await self.postgres.crash()


async def test_chaos_ends_with_equal_mirrors_payments_made_once_and_watchers_who_saw_it_all(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    books = quick_books(contacts=40, invoices=200, latency_ms=50, organisations=3)
    async with (
        serve(books) as sandbox,
        own_postgres() as postgres,
        fleet(sandbox, postgres.url, tmp_path, TIEOUT_XERO_WEBHOOK_KEY=KEY) as running,
        balancer(lambda: chance.choice(running.up or running.replicas)) as front,
    ):
        merchants = [Merchant(running, one, chance) for one in sandbox.organisations]
        for merchant in merchants:
            await merchant.connect()
        sandbox.webhooks.subscribe(CLIENT_ID, f"{front}/xero/webhooks", KEY)
        await sandbox.webhooks.intend(CLIENT_ID)
        audiences = [Audience.of(merchant) for merchant in merchants]
        chaos = Chaos(running, postgres, chance)
        watchers = [watcher for audience in audiences for watcher in audience.watchers.values()]
        async with following(watchers), wandering(audiences):
            for merchant in merchants:
                await merchant.choose_account()
            breaking = asyncio.create_task(chaos.break_loose())
            while not breaking.done():
                merchant = chance.choice(merchants)
                merchant.edit()
                if chance.random() < PAID_OFTEN:
                    await merchant.pay()
                await asyncio.sleep(chance.uniform(0, 0.5))
            await breaking
            for merchant, audience in zip(merchants, audiences, strict=True):
                await nothing_left(merchant.unverified)
                await nothing_left(merchant.is_mirrored)
                audience.is_quiet = True
                await nothing_left(audience.missed)
        for merchant, audience in zip(merchants, audiences, strict=True):
            merchant.each_payment_is_there_once()
            await audience.each_saw_each_change_once_and_in_order()
            await audience.the_subscriber_holds_what_a_newcomer_is_told()
        assert sum(len(merchant.paid) for merchant in merchants) > ENOUGH
        assert list(limits_kept(sandbox)) == []
