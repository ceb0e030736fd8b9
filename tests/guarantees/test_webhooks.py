"""Promise: a webhook lost, duplicated, reordered or early ends in the same mirror; a forged one changes nothing."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import func, select

from deliveries import KEY, body_of, event, everything, post, signature, subscribed, until_equal, what_counts
from servers import CLIENT_ID, ROOMY, Service, Truth, client_of, mirror_of, server_process, service, until
from tieout_sandbox import FaultKind, FaultRule, InvoiceType, Sandbox, SandboxSettings, serve
from tieout_sandbox.books.documents import Credit, CreditKind, Invoice, Status
from tieout_sandbox.books.rules import NotAllowedError
from tieout_sandbox.webhooks.subscription import Disturbance, Kind, Subscription
from tieout_server.storage import sweeps, tables, watermarks
from tieout_server.storage.arrivals import kept_beside
from tieout_server.storage.database import Database
from tieout_server.syncs import schedule

pytestmark = pytest.mark.timeout(90)

QUICK = 20.0
"""How many times as fast as ours the time of these servers passes: nobody waits long for what is read again."""
EDITS = 60
EDITS_A_DAY = 3
TWICE = 0.5
SECOND = timedelta(seconds=1)


@dataclass
class Bookkeeper:
    """Somebody who does in Xero whatever can be done, by a seed."""

    sandbox: Sandbox
    chance: random.Random = field(default_factory=lambda: random.Random(20261122))
    done: int = 0

    def work(self, edits: int) -> None:
        """Do so many things."""
        moves = (self.enter, self.edit, self.pay, self.unpay, self.void, self.credit, self.take_back, self.contact)
        until = self.done + edits
        while self.done < until:
            with contextlib.suppress(NotAllowedError):  # in Xero's words, as it happens to people
                self.chance.choice(moves)()
                self.done += 1

    def enter(self) -> None:
        kind = self.chance.choice((InvoiceType.ACCREC, InvoiceType.ACCREC, InvoiceType.ACCPAY))
        self.sandbox.books.create_invoice(self.someone(), self.amount(), type_=kind)

    def edit(self) -> None:
        self.sandbox.books.edit_invoice(self.invoice().id, reference=f"edited {self.done}")

    def pay(self) -> None:
        invoice = self.invoice()
        self.sandbox.books.pay(invoice.id, self.chance.choice((None, invoice.amount_due / 2)))

    def unpay(self) -> None:
        payments = [p for p in self.sandbox.books.payments.values() if p.status is not Status.DELETED and not p.batch]
        self.sandbox.books.delete_payment(self.chance.choice(payments).id)

    def void(self) -> None:
        self.sandbox.books.void(self.invoice().id)

    def credit(self) -> None:
        books, invoice = self.sandbox.books, self.invoice()
        made = books.create_credit(self.chance.choice(list(CreditKind)), invoice.contact.id, self.amount())
        if self.chance.random() < TWICE:
            books.allocate(made.id, invoice.id)
        if self.chance.random() < TWICE:
            books.refund(made.id, min(Decimal("1.00"), made.remaining_credit))

    def take_back(self) -> None:
        allocated = [credit for credit in self.credits() if credit.allocations]
        if allocated:
            self.sandbox.books.remove_allocation(self.chance.choice(self.chance.choice(allocated).allocations))

    def contact(self) -> None:
        books = self.sandbox.books
        made = books.create_contact(f"Newcomer {self.done}")
        self.chance.choice((books.archive_contact, lambda name: books.create_invoice(name, self.amount())))(made.id)

    def someone(self) -> str:
        return self.chance.choice([c.id for c in self.sandbox.books.contacts.values() if c.status == "ACTIVE"])

    def invoice(self) -> Invoice:
        kept = [i for i in self.sandbox.books.invoices.values() if i.type is InvoiceType.ACCREC]
        return self.chance.choice(kept)

    def credits(self) -> list[Credit]:
        books = self.sandbox.books
        return [*books.credit_notes.values(), *books.overpayments.values(), *books.prepayments.values()]

    def amount(self) -> Decimal:
        return Decimal(self.chance.randrange(1_000, 90_000)).scaleb(-2)


@contextlib.asynccontextmanager
async def wired(database_url: str, **switches: object) -> AsyncIterator[tuple[Sandbox, Service, Subscription, str]]:
    """A sandbox whose webhooks reach our server, and a connection whose first sync is done."""
    async with (
        serve(SandboxSettings(contacts=40, invoices=200, speed=QUICK)) as sandbox,
        service(sandbox, database_url, clock_speed=QUICK, xero_webhook_key=KEY) as running,
    ):
        sandbox.limits.quota = ROOMY
        for name, value in switches.items():
            setattr(sandbox.switches, name, value)
        connection = await running.connected()
        await nothing_else_reads(database_url, connection.id)
        yield sandbox, running, await subscribed(sandbox, running), connection.id


async def nothing_else_reads(database_url: str, connection_id: str) -> None:
    """Return once the sums have been swept that a sync leaves to be, and have nothing polled for a day.

    However slow the machine: what is here in the end came by webhooks.
    """
    database, now = Database(database_url), datetime.now(UTC)
    due_at = now
    try:
        async with asyncio.timeout(30):
            while due_at < now + schedule.DAY / 2:
                async with database.read() as tx:
                    due_at = (await sweeps.every(tx, connection_id))[schedule.SUMS].due_at
                await asyncio.sleep(0.01)
        async with database.write() as tx:
            await watermarks.postpone(tx, connection_id, now + schedule.DAY)
    finally:
        await database.close()


async def pass_by(seconds: float) -> None:
    """Let so many seconds of both servers pass."""
    await asyncio.sleep(seconds / QUICK)


async def calls_of(database_url: str, purpose: str) -> int:
    """How many calls were made for this purpose, as far as they are booked."""
    database = Database(database_url)
    try:
        async with database.read() as tx:
            query = select(func.coalesce(func.sum(tables.calls.c.call_count), 0))
            return int((await tx.execute(query.where(tables.calls.c.purpose == purpose))).scalar_one())
    finally:
        await database.close()


async def test_duplicated_reordered_and_early_webhooks_end_in_the_same_mirror(database_url: str) -> None:
    async with wired(database_url) as (sandbox, _, webhook, connection_id):
        webhook.disturb(Disturbance(lag=SECOND, jitter=5 * SECOND, duplicates=TWICE))
        await until_equal(sandbox, database_url, connection_id)
        sandbox.accounting.lag.begin(3 * SECOND, sandbox.organisations, sandbox.clock.now())
        bookkeeper = Bookkeeper(sandbox)
        for _ in range(EDITS // EDITS_A_DAY):
            bookkeeper.work(EDITS_A_DAY)
            await pass_by(0.5)
        await until_equal(sandbox, database_url, connection_id, within=30)
        assert {sent.kind for sent in webhook.deliveries} >= {Kind.EVENTS, Kind.DUPLICATE}
    assert await calls_of(database_url, "poll") == 0  # or it was not the webhooks
    assert await calls_of(database_url, "webhook") < 2 * EDITS


@pytest.mark.parametrize(
    ("switches", "of"),
    [
        # An invoice that was paid and is open again adds up: no event tells of its new version, nothing hangs on it.
        ({"payments_fire_invoice_update": False, "payment_webhooks": True}, what_counts),
        ({"allocations_move_updated": False}, everything),
        # A payment that was made and deleted between two reads is never listed: nobody can know of it.
        ({"deleted_payments_in_delta": False, "nothing_modified_answers_304": True}, what_counts),
        ({"webhook_most_events": 1, "webhook_sequence_per_organisation": True}, everything),
        ({"contact_edits_move_documents": True, "modified_since_inclusive": False}, everything),
    ],
    ids=["payments only", "silent allocations", "silent deletions", "one by one", "moved documents"],
)
async def test_the_mirror_is_the_same_whatever_xero_tells_of(
    switches: Mapping[str, object], of: Callable[[Truth], Truth], sqlite_url: str
) -> None:
    async with wired(sqlite_url, **switches) as (sandbox, _, _, connection_id):
        bookkeeper = Bookkeeper(sandbox)
        for _ in range(EDITS // EDITS_A_DAY):
            bookkeeper.work(EDITS_A_DAY)
            await pass_by(0.5)
        await until_equal(sandbox, sqlite_url, connection_id, within=30, of=of)
    assert await calls_of(sqlite_url, "poll") == 0


async def test_a_lost_webhook_is_made_up_for_by_reading_what_changed(database_url: str) -> None:
    async with wired(database_url) as (sandbox, running, webhook, connection_id):
        webhook.disturb(Disturbance(lag=SECOND))
        bookkeeper, lost = Bookkeeper(sandbox), 0
        for _ in range(EDITS // EDITS_A_DAY):
            bookkeeper.work(EDITS_A_DAY)
            kept = [waiting for waiting in webhook.pending if bookkeeper.chance.random() > TWICE]
            lost += len(webhook.pending) - len(kept)
            webhook.pending = kept
            await pass_by(0.5)
        assert lost > EDITS // EDITS_A_DAY
        await running.sync(connection_id)
        await until_equal(sandbox, database_url, connection_id, within=30)


@contextlib.asynccontextmanager
async def refusing(database: Database, table: str) -> AsyncIterator[None]:
    """Nothing can be kept in this table. (A statement that PostgreSQL has prepared finds a table by any name.)"""
    refuse, permit = f"ALTER TABLE {table} RENAME TO away", f"ALTER TABLE away RENAME TO {table}"
    if not database.is_sqlite:
        refuse = f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK (false) NOT VALID"
        permit = f"ALTER TABLE {table} DROP CONSTRAINT refused"
    async with database.write() as tx:
        await tx.exec_driver_sql(refuse)
    yield
    async with database.write() as tx:
        await tx.exec_driver_sql(permit)


@pytest.fixture
async def ours(database_url: str) -> AsyncIterator[Database]:
    """The server's database, from outside of it."""
    database = Database(database_url)
    yield database
    await database.close()


async def test_a_webhook_that_could_not_be_kept_is_sent_again_and_not_lost(ours: Database, database_url: str) -> None:
    async with wired(database_url) as (sandbox, _, webhook, connection_id):
        async with kept_beside(ours) as beside, refusing(beside, "webhook_arrivals"):
            Bookkeeper(sandbox).enter()
            while not any(sent.status == 503 for sent in webhook.deliveries):
                await pass_by(1)
        sandbox.clock.advance(timedelta(minutes=15))  # Xero's pause
        await until_equal(sandbox, database_url, connection_id, within=30)
    assert await calls_of(database_url, "poll") == 0


async def test_a_webhook_that_was_kept_while_the_inbox_was_away_is_not_lost(ours: Database, database_url: str) -> None:
    async with wired(database_url) as (sandbox, _, webhook, connection_id):
        async with refusing(ours, "webhook_events"):
            Bookkeeper(sandbox).enter()
            while not any(sent.kind == Kind.EVENTS for sent in webhook.deliveries):
                await pass_by(1)
        assert {sent.status for sent in webhook.deliveries} == {200, 401}
        await until_equal(sandbox, database_url, connection_id, within=30)
    assert await calls_of(database_url, "poll") == 0


async def test_a_webhook_that_was_answered_is_not_lost_when_the_server_is_killed(
    sandbox: Sandbox, sqlite_url: str, tmp_path: Path
) -> None:
    async with (
        server_process(sandbox.url, sqlite_url, tmp_path, TIEOUT_XERO_WEBHOOK_KEY=KEY) as server,
        client_of(server) as running,
    ):
        connection = await running.connected()
        await subscribed(sandbox, Service(running.client, running.browser, web_port=server.web_port))
        outage = sandbox.faults.add(FaultRule(FaultKind.OFFLINE, "/Invoices$", times=None))
        asked = sandbox.requests.count("/Invoices$")
        Bookkeeper(sandbox).enter()
        await until(lambda: sandbox.requests.count("/Invoices$") > asked)  # answered, woken, and nothing read
        await server.kill()
        sandbox.webhooks.unsubscribe(CLIENT_ID)
        outage.times = 0
        await server.start()
        await until_equal(sandbox, sqlite_url, connection.id)


async def test_a_forged_webhook_changes_nothing(database_url: str) -> None:
    async with wired(database_url) as (sandbox, running, webhook, connection_id):
        sandbox.webhooks.unsubscribe(webhook.client_id)
        Bookkeeper(sandbox).work(EDITS_A_DAY)  # so that there is something to be seen
        before, calls = await mirror_of(database_url, connection_id), sandbox.requests.count("/api.xro/")
        changed = next(iter(sandbox.books.invoices))
        genuine = event(tenantId=sandbox.organisations[0].id, resourceId=changed)
        body = body_of(genuine)
        forged = (
            (body, ""),
            (body, signature(body, "a guess")),
            (body, signature(body).lower()),
            (body + b" ", signature(body)),
            (body, signature(body_of())),
        )
        for content, signed in forged:
            assert await post(running, content, signed) == (401, b"")
        await pass_by(20)
        assert await mirror_of(database_url, connection_id) == before
        assert sandbox.requests.count("/api.xro/") == calls
