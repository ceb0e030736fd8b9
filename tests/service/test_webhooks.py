"""Webhooks from the sandbox to a subscriber: what somebody does in Xero is here a moment later, for few calls."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from statistics import median

import pytest
from sqlalchemy import func, select

from deliveries import KEY, body_of, event, post, signature, subscribed, until_equal
from off_balance import documents_of
from servers import ROOMY, Service, is_busy, service, until
from tieout_sandbox import InvoiceType, Sandbox
from tieout_sandbox.books.documents import Contact, CreditKind
from tieout_sandbox.webhooks.subscription import Kind, Subscription
from tieout_server.storage import tables
from tieout_server.storage.database import Database

pytestmark = [pytest.mark.timeout(60), pytest.mark.in_turn]

READS = "/api.xro/2.0/"
AMOUNT = Decimal("123.45")


@dataclass
class Wired:
    """A sandbox whose webhooks reach our server, and a merchant whose first sync is done."""

    sandbox: Sandbox
    running: Service
    webhook: Subscription
    connection_id: str
    database_url: str

    def customer(self) -> Contact:
        books = self.sandbox.books
        return next(c for c in books.contacts.values() if c.is_customer and c.status == "ACTIVE" and not c.currency)

    async def settled(self) -> None:
        """Wait until both sides are equal."""
        await until_equal(self.sandbox, self.database_url, self.connection_id)

    async def rested(self) -> None:
        """Wait until what follows the first sync is done: its calls are no test's, and more are minutes away."""
        database = Database(self.database_url)
        try:
            async with asyncio.timeout(20):
                while await is_busy(database, datetime.now(UTC)):  # noqa: ASYNC110 - what the database says sets no event
                    await asyncio.sleep(0.005)
        finally:
            await database.close()

    async def waiting(self) -> int:
        """How many documents that were named have yet to be read."""
        database = Database(self.database_url)
        try:
            async with database.read() as tx:
                query = select(func.count()).select_from(tables.webhook_events)
                return int((await tx.execute(query)).scalar_one())
        finally:
            await database.close()

    def calls(self) -> list[str]:
        """What was read since the last time that this was asked."""
        found = [entry.path.removeprefix(READS) for entry in self.sandbox.requests.find(path=READS)]
        self.sandbox.requests.clear()
        return found


@pytest.fixture
async def wired(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Wired]:
    sandbox.limits.quota = ROOMY
    async with service(sandbox, sqlite_url, xero_webhook_key=KEY) as running:
        connection = await running.connected()
        made = Wired(sandbox, running, await subscribed(sandbox, running), connection.id, sqlite_url)
        await made.rested()
        made.calls()
        yield made


async def test_the_intent_to_receive_is_answered_as_xero_wants_it(wired: Wired) -> None:
    asked = [sent for sent in wired.webhook.deliveries if sent.kind is Kind.INTENT]
    assert {(sent.signed_rightly, sent.status) for sent in asked} == {(True, 200), (False, 401)}


async def test_what_is_done_in_xero_is_with_subscribers_at_once(wired: Wired) -> None:
    books, customer, took = wired.sandbox.books, wired.customer(), []
    changes = wired.running.client.receivables.watch_changes(wired.connection_id, from_start=True)
    async with contextlib.aclosing(changes) as messages:
        for number in range(8):
            began = time.monotonic()
            made = books.create_invoice(customer.id, AMOUNT, reference=f"news {number}")
            async for message in messages:
                if made.id in {message.change.id, message.snapshot.id}:
                    break
            took.append(time.monotonic() - began)
    median_ms, worst_ms = (round(1000 * seconds) for seconds in (median(took[1:]), max(took[1:])))
    print(f"from Xero to a subscriber: median {median_ms} ms, worst {worst_ms} ms")  # noqa: T201 - to be looked at
    assert median(took) < 2  # the figures are for the benchmark
    await wired.settled()
    assert wired.calls() == ["Invoices"] * 8


async def test_a_payment_is_found_though_no_webhook_tells_of_it(wired: Wired) -> None:
    books = wired.sandbox.books
    made = books.create_invoice(wired.customer().id, AMOUNT)
    await wired.settled()
    wired.calls()
    payment = books.pay(made.id, Decimal("23.45"))
    await wired.settled()
    assert wired.calls() == ["Invoices", "Payments"]
    books.delete_payment(payment.id)
    await wired.settled()
    assert wired.calls() == ["Invoices", f"Payments/{payment.id}"]


async def test_a_credit_and_the_invoice_that_it_is_set_against_move_together(wired: Wired) -> None:
    books, customer = wired.sandbox.books, wired.customer()
    made = books.create_invoice(customer.id, AMOUNT)
    for kind in CreditKind:
        credit = books.create_credit(kind, customer.id, Decimal("10.00"))
        allocation = books.allocate(credit.id, made.id)
        await wired.settled()
        books.remove_allocation(allocation)
        await wired.settled()
        books.refund(credit.id, Decimal("4.00"))
        await wired.settled()
    assert "Overpayments" not in wired.calls()  # one by one: nothing was listed


async def test_a_contact_becomes_a_customer_with_its_first_invoice(wired: Wired) -> None:
    books = wired.sandbox.books
    contact = books.create_contact("Newcomer Ltd")
    await wired.settled()
    books.create_invoice(contact.id, AMOUNT)
    await wired.settled()
    found = await wired.running.client.receivables.get_customer(wired.connection_id, contact.id)
    assert found.name == "Newcomer Ltd"


async def test_a_merge_takes_the_documents_along(wired: Wired) -> None:
    books = wired.sandbox.books
    loser, winner = books.create_contact("Loser Ltd"), wired.customer()
    for _ in range(3):
        books.create_invoice(loser.id, AMOUNT)
    await wired.settled()
    books.merge_contact(loser.id, winner.id)
    await wired.settled()


async def test_a_bill_costs_one_call_and_is_not_waited_for(wired: Wired) -> None:
    books = wired.sandbox.books
    books.create_invoice(wired.customer().id, AMOUNT, type_=InvoiceType.ACCPAY)
    await until(lambda: wired.sandbox.requests.count("/Invoices$") > 0)
    books.create_invoice(wired.customer().id, AMOUNT)
    await wired.settled()
    assert wired.calls() == ["Invoices"] * 2
    assert await wired.waiting() == 0


async def test_what_is_settled_with_a_supplier_is_not_waited_for_and_changes_no_customer_s_balance(
    wired: Wired,
) -> None:
    books, both = wired.sandbox.books, wired.customer()
    bill = books.create_invoice(both.id, AMOUNT, type_=InvoiceType.ACCPAY)
    for kind in CreditKind:
        credit = books.create_credit(kind, both.id, Decimal("10.00"), of_supplier=True)
        books.allocate(credit.id, bill.id, Decimal("4.00"))
        books.refund(credit.id, Decimal("3.00"))
    books.pay(bill.id, Decimal("1.00"))
    books.create_invoice(both.id, AMOUNT)
    await wired.settled()
    await wired.rested()
    assert await wired.waiting() == 0
    answer = await wired.running.client.reconciliations.reconcile_customer(wired.connection_id, both.id)
    assert (list(answer.discrepancies), list(answer.repairs)) == ([], [])
    (balance,) = answer.balances
    assert Decimal(balance.ours.amount) == documents_of(both)["NZD"]


async def test_many_events_are_read_together(wired: Wired) -> None:
    books, customer = wired.sandbox.books, wired.customer()
    for _ in range(100):
        books.create_invoice(customer.id, AMOUNT)
        books.create_credit(CreditKind.CREDIT_NOTE, customer.id, AMOUNT)
    await wired.settled()
    calls = wired.calls()
    assert len(calls) <= 10, calls


async def test_an_organisation_that_nobody_connected_is_ignored(wired: Wired) -> None:
    body = body_of(event(), event(eventCategory="SUBSCRIPTION", tenantType="APPLICATION"))
    assert await post(wired.running, body, signature(body)) == (200, b"")
    assert wired.calls() == []


async def test_without_a_key_there_is_nothing_at_the_address_and_health_says_so(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with service(sandbox, sqlite_url) as running:
        assert await post(running, body_of(), signature(body_of(), "")) == (404, b"")
        async with running.browser.http.get(f"http://127.0.0.1:{running.web_port}/healthz") as health:
            assert (health.status, await health.text()) == (200, "ok\nwebhooks: off\n")
