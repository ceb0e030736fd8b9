"""The sandbox's webhooks, as a receiver on loopback gets them."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from sandbox_caller import Caller
from sandbox_writer import WRITING_SCOPES, Writer
from tieout_sandbox import CreditKind, Sandbox, SandboxSettings, make_sandbox, serve
from tieout_sandbox.__main__ import take_up
from tieout_sandbox.state import dump, load, save_file
from tieout_sandbox.webhooks import sender
from tieout_sandbox.webhooks.events import Category
from tieout_sandbox.webhooks.subscription import Kind, Standing, Subscription

KEY = "webhook-signing-key"
APP = "tieout-sandbox-app"
ENVELOPE = {"events", "lastEventSequence", "firstEventSequence", "entropy"}


@dataclass
class Receiver:
    """Somebody's webhook endpoint: checks signatures, answers as told, keeps what had events in it."""

    url: str = ""
    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    checks: bool = True
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event | None = None
    """The answers to events wait for it."""
    arrived: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    raw: list[bytes] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert request.headers["Content-Type"] == "application/json; charset=utf-8"
        right = base64.b64encode(hmac.digest(KEY.encode(), body, hashlib.sha256)).decode()
        if self.checks and request.headers["x-xero-signature"] != right:
            return web.Response(status=401)
        if self.silent.is_set():
            await asyncio.Event().wait()
        told = json.loads(body)
        if told["events"]:
            self.raw.append(body)
            self.arrived.put_nowait(told)
            if self.held:
                await self.held.wait()
        return web.Response(status=self.status, text=self.text, headers=self.headers)

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.arrived.get(), 10)

    async def drained(self, expected: int) -> None:
        """Take what came and see that nothing more comes without the clock moving on."""
        for _ in range(expected):
            await self.next()
        for _ in range(200):
            await asyncio.sleep(0)
        assert self.arrived.empty()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/webhooks", made.receive)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks"
    yield made
    await runner.cleanup()


async def subscribed(caller: Caller, receiver: Receiver, **more: object) -> Subscription:
    answer = await caller.control("POST", "webhooks", {"url": receiver.url, "key": KEY, **more})
    assert answer["standing"] == "OK"
    return caller.sandbox.webhooks.subscriptions[APP]


async def until(subscription: Subscription, standing: Standing) -> None:
    async with asyncio.timeout(10):
        while subscription.standing is not standing:  # noqa: ASYNC110 - the sandbox offers no event for it
            await asyncio.sleep(0)


async def logged(subscription: Subscription, posts: int) -> None:
    """Wait until so many POSTs were answered or given up."""
    async with asyncio.timeout(10):
        while len(subscription.deliveries) < posts:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0)


async def tried(subscription: Subscription, times: int) -> None:
    """Wait until so many deliveries with events were answered or given up."""
    async with asyncio.timeout(10):
        while sum(1 for sent in subscription.deliveries if sent.events) < times:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0)


def some_contact(sandbox: Sandbox) -> str:
    return next(contact.id for contact in sandbox.books.contacts.values() if contact.status == "ACTIVE")


async def test_an_event_is_written_and_signed_as_xero_does(caller: Caller, receiver: Receiver) -> None:
    await subscribed(caller, receiver)
    contact = caller.sandbox.books.create_contact("New & Co")
    told = await receiver.next()
    assert told.keys() == ENVELOPE
    assert (told["firstEventSequence"], told["lastEventSequence"]) == (1, 1)
    assert len(told["entropy"]) == 20
    assert told["entropy"].isupper()
    (event,) = told["events"]
    assert event == {
        "resourceUrl": f"{caller.sandbox.url}/api.xro/2.0/Contacts/{contact.id}",
        "resourceId": contact.id,
        "tenantId": caller.tenant_id,
        "tenantType": "ORGANISATION",
        "eventCategory": "CONTACT",
        "eventType": "CREATE",
        "eventDateUtc": f"{contact.updated_at:%Y-%m-%dT%H:%M:%S}.{contact.updated_at.microsecond // 1000:03}",
    }
    async with caller.http.get(event["resourceUrl"], headers=caller.headers()) as response:
        assert (await response.json())["Contacts"][0]["Name"] == "New & Co"
    assert receiver.raw[0] == json.dumps(told, separators=(",", ":")).encode()


async def test_the_intent_to_receive_takes_right_and_wrong_signatures(caller: Caller, receiver: Receiver) -> None:
    subscription = await subscribed(caller, receiver)
    asked = [(sent.kind, sent.signed_rightly, sent.status) for sent in subscription.deliveries]
    assert sorted(asked) == [(Kind.INTENT, False, 401)] * 2 + [(Kind.INTENT, True, 200)] * 2
    assert {json.loads(sent.body)["firstEventSequence"] for sent in subscription.deliveries} == {0}


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"checks": False}, "Answered 200 to a wrong signature, not 401"),
        ({"status": 500}, "Answered 500, not 2xx"),
        ({"status": 302, "headers": {"Location": "/elsewhere"}}, "Answered 302, not 2xx"),
        ({"text": "thanks"}, "The answer has a body; it must be empty"),
        ({"headers": {"Set-Cookie": "a=b"}}, "The answer sets a cookie"),
    ],
)
async def test_a_receiver_that_answers_otherwise_is_not_enabled(
    caller: Caller, receiver: Receiver, fault: dict[str, Any], problem: str
) -> None:
    for name, value in fault.items():
        setattr(receiver, name, value)
    answer = await caller.control("POST", "webhooks", {"url": receiver.url, "key": KEY})
    assert answer["standing"] == "Intent to receive required"
    sent = caller.sandbox.webhooks.subscriptions[APP].deliveries
    assert {delivery.problem for delivery in sent} - {""} == {problem}
    caller.sandbox.books.create_contact("Unheard")
    assert caller.sandbox.webhooks.subscriptions[APP].pending == []


async def test_what_bookkeepers_do_is_told_in_its_category(caller: Caller, receiver: Receiver) -> None:
    await caller.control("POST", "switches", {"payment_webhooks": True})
    await subscribed(caller, receiver)
    books = caller.sandbox.books
    contact_id = some_contact(caller.sandbox)
    invoice = books.create_invoice(contact_id, Decimal(100))
    books.edit_invoice(invoice.id, reference="PO 7")
    books.pay(invoice.id, Decimal(10))
    for kind in CreditKind:
        books.create_credit(kind, contact_id, Decimal(5))
    told = await receiver.next()
    assert [(event["eventCategory"], event["eventType"]) for event in told["events"]] == [
        ("INVOICE", "CREATE"),
        ("INVOICE", "UPDATE"),
        ("PAYMENT", "CREATE"),
        ("INVOICE", "UPDATE"),
        ("CREDITNOTE", "CREATE"),
        ("OVERPAYMENT", "CREATE"),
        ("PREPAYMENT", "CREATE"),
    ]
    assert (told["firstEventSequence"], told["lastEventSequence"]) == (1, 7)
    data = {event["eventCategory"]: event.get("data") for event in told["events"]}
    assert data["INVOICE"] is None
    assert data["CREDITNOTE"] == {"Type": "ACCRECCREDIT", "Status": "AUTHORISED"}
    assert data["PREPAYMENT"]["Type"] == "RECEIVE-PREPAYMENT"
    assert data["PREPAYMENT"]["UpdatedDateUTCString"] == "2026-11-22T09:30:15Z"
    assert data["OVERPAYMENT"].keys() == data["PAYMENT"].keys() == data["PREPAYMENT"].keys()


async def test_events_are_what_xeros_own_description_requires(caller: Caller, receiver: Receiver) -> None:
    folder = os.environ.get("XERO_OPENAPI_DIR")
    if not folder:
        pytest.skip("XERO_OPENAPI_DIR does not say where xero-webhooks.yaml is")
    schemas = yaml.safe_load((Path(folder) / "xero-webhooks.yaml").read_text("utf-8"))["components"]["schemas"]
    envelope, item = schemas["WebhookEvent"], schemas["WebhookEvent"]["properties"]["events"]["items"]
    await subscribed(caller, receiver)
    contact_id = some_contact(caller.sandbox)
    caller.sandbox.books.create_invoice(contact_id, Decimal(100))
    caller.sandbox.books.create_credit(CreditKind.CREDIT_NOTE, contact_id, Decimal(5))
    caller.sandbox.books.rename_contact(contact_id, "Renamed")
    told = await receiver.next()
    assert told.keys() == set(envelope["required"])
    for event in told["events"]:
        assert set(item["required"]) <= event.keys() <= {*item["required"], "data"}
        for key in ("eventType", "eventCategory", "tenantType"):
            assert event[key] in {kind["const"] for kind in item["properties"][key]["oneOf"]}
    data = schemas["CreditNoteWebhookEvent"]["allOf"][1]["properties"]["events"]["items"]["allOf"][1]["properties"][
        "data"
    ]
    assert told["events"][1]["data"].keys() == set(data["required"])


async def test_switches_decide_what_payments_and_overpayments_tell(caller: Caller, receiver: Receiver) -> None:
    off = {"payments_fire_invoice_update": False, "overpayment_events_have_data": False}
    await caller.control("POST", "switches", off)
    await subscribed(caller, receiver)
    books = caller.sandbox.books
    contact_id = some_contact(caller.sandbox)
    invoice = books.create_invoice(contact_id, Decimal(100))
    books.delete_payment(books.pay(invoice.id).id)
    credit = books.create_credit(CreditKind.OVERPAYMENT, contact_id, Decimal(5))
    books.allocate(credit.id, invoice.id)
    told = await receiver.next()
    found = [(event["eventCategory"], event["eventType"]) for event in told["events"]]
    assert found == [("INVOICE", "CREATE"), ("OVERPAYMENT", "CREATE"), ("OVERPAYMENT", "UPDATE")]
    assert all("data" not in event for event in told["events"])


async def test_only_connected_organisations_and_wanted_categories_are_told(caller: Caller, receiver: Receiver) -> None:
    await subscribed(caller, receiver, categories=["CONTACT"])
    second = caller.sandbox.organisations[1]
    second.books.create_contact("Of a stranger")
    books = caller.sandbox.books
    contact = books.create_contact("Ours")
    books.create_invoice(contact.id, Decimal(1))
    told = await receiver.next()
    assert [event["resourceId"] for event in told["events"]] == [contact.id]
    await caller.connect(organisations=[second.name])
    second.books.create_contact("No stranger")
    books.create_contact("Also ours")
    told = await receiver.next()
    assert {event["tenantId"] for event in told["events"]} == {caller.tenant_id, second.id}
    assert (told["firstEventSequence"], told["lastEventSequence"]) == (2, 3)


async def test_sequences_and_batches_follow_their_switches(caller: Caller, receiver: Receiver) -> None:
    await caller.control("POST", "switches", {"webhook_most_events": 2, "webhook_sequence_per_organisation": True})
    await caller.connect(organisations=[found.name for found in caller.sandbox.organisations])
    await subscribed(caller, receiver)
    first, second = caller.sandbox.organisations[:2]
    for number in range(3):
        first.books.create_contact(f"First {number}")
    second.books.create_contact("Second")
    told = [await receiver.next() for _ in range(3)]
    spans = {(one["events"][0]["tenantId"], one["firstEventSequence"], one["lastEventSequence"]) for one in told}
    assert spans == {(first.id, 1, 2), (first.id, 3, 3), (second.id, 1, 1)}


async def test_a_failed_delivery_is_repeated_at_once_then_every_fifteen_minutes(
    caller: Caller, receiver: Receiver
) -> None:
    subscription = await subscribed(caller, receiver)
    receiver.status = 500
    caller.sandbox.books.create_contact("Tried three times")
    await tried(subscription, 2)
    await receiver.drained(2)
    assert subscription.standing is Standing.RETRY
    assert subscription.retry_at == caller.sandbox.clock.now() + timedelta(minutes=15)
    caller.sandbox.books.create_contact("Waits behind")
    caller.sandbox.clock.advance(timedelta(minutes=14, seconds=59))
    await receiver.drained(0)
    receiver.status = 200
    caller.sandbox.clock.advance(timedelta(seconds=1))
    third, behind = await receiver.next(), await receiver.next()
    assert receiver.raw[0] == receiver.raw[1] == receiver.raw[2]
    assert (third["firstEventSequence"], behind["firstEventSequence"]) == (1, 2)
    await until(subscription, Standing.OK)


async def test_after_a_day_of_failing_it_is_disabled_and_later_replayed_in_order(
    caller: Caller, receiver: Receiver
) -> None:
    subscription = await subscribed(caller, receiver)
    clock, books = caller.sandbox.clock, caller.sandbox.books
    receiver.status = 503
    books.create_contact("Too old by then")
    await tried(subscription, 2)
    clock.advance(timedelta(hours=24))
    await until(subscription, Standing.DISABLED)
    clock.advance(timedelta(days=5))
    kept = [books.create_contact(f"Kept {number}").id for number in range(3)]
    clock.advance(timedelta(days=26))
    receiver.status = 200
    while not receiver.arrived.empty():
        receiver.arrived.get_nowait()
    answer = await caller.control("POST", "webhooks/intent")
    assert answer["standing"] == "OK"
    told = await receiver.next()
    assert [event["resourceId"] for event in told["events"]] == kept
    assert told["firstEventSequence"] == 2


async def test_another_address_is_asked_first_and_gets_what_happened_meanwhile(
    caller: Caller, receiver: Receiver
) -> None:
    await subscribed(caller, receiver)
    caller.sandbox.books.create_contact("Sent to the first address")
    await receiver.next()
    subscription = caller.sandbox.webhooks.subscribe(APP, f"{receiver.url}?another")
    assert subscription.standing is Standing.DISABLED
    kept = caller.sandbox.books.create_contact("Kept for the second")
    await receiver.drained(0)
    await caller.control("POST", "webhooks/intent")
    told = await receiver.next()
    assert [event["resourceId"] for event in told["events"]] == [kept.id]
    assert told["firstEventSequence"] == 2


async def test_an_apps_own_writes_are_told_and_refused_ones_are_not(caller: Caller, receiver: Receiver) -> None:
    await caller.connect(scope=WRITING_SCOPES)
    await subscribed(caller, receiver)
    writer = Writer(caller)
    invoice = caller.sandbox.books.create_invoice(some_contact(caller.sandbox), Decimal(100))
    await receiver.next()
    payment = {"Invoice": {"InvoiceID": invoice.id}, "Account": {"Code": "090"}, "Date": "2026-11-22"}
    refused = await writer.send("PUT", "Payments", {**payment, "Amount": 101})
    assert refused.status == 400
    done = await writer.send("PUT", "Payments", {**payment, "Amount": 40})
    assert done.status == 200
    told = await receiver.next()
    assert [(event["eventType"], event["resourceId"]) for event in told["events"]] == [("UPDATE", invoice.id)]


async def test_a_receiver_that_takes_too_long_has_failed(receiver: Receiver) -> None:
    receiver.silent.set()
    sandbox = make_sandbox(SandboxSettings(contacts=20, invoices=100, speed=0))
    assert sandbox.webhooks.answer_within == 5
    sandbox.webhooks.answer_within = 0.1
    async with sandbox.webhooks.sending():
        sandbox.webhooks.subscribe(APP, receiver.url, KEY)
        subscription = await sandbox.webhooks.intend(APP)
    assert {sent.problem for sent in subscription.deliveries if sent.signed_rightly} == {"No answer in time"}
    assert subscription.standing is Standing.INTENT_REQUIRED


async def test_events_lag_overtake_each_other_and_come_twice_on_demand(caller: Caller, receiver: Receiver) -> None:
    await subscribed(caller, receiver)
    unkind = {"lag_seconds": 60, "jitter_seconds": 60, "duplicates": 1, "seed": 7}
    await caller.control("POST", "webhooks/disturb", unkind)
    made = [caller.sandbox.books.create_contact(f"Contact {number}").id for number in range(6)]
    caller.sandbox.clock.advance(timedelta(seconds=59))
    await receiver.drained(0)
    caller.sandbox.clock.advance(timedelta(seconds=61))
    told = await receiver.next()
    assert await receiver.next() == told
    order = [made.index(event["resourceId"]) for event in told["events"]]
    assert sorted(order) == [0, 1, 2, 3, 4, 5]
    assert order != sorted(order)


async def test_nothing_is_sent_beyond_this_machine(caller: Caller) -> None:
    for url in ("http://192.0.2.1/webhooks", "https://example.com", "file:///etc/passwd", "http://127.0.0.1.nip.io/"):
        async with caller.http.post(f"{caller.sandbox.url}/sandbox/webhooks", json={"url": url}) as response:
            assert response.status == 400
            assert "only sent to" in (await response.json())["error"]
    assert caller.sandbox.webhooks.subscriptions == {}


async def test_subscriptions_and_deliveries_can_be_read_and_ended(caller: Caller, receiver: Receiver) -> None:
    await subscribed(caller, receiver, categories=["INVOICE"])
    async with caller.http.get(f"{caller.sandbox.url}/sandbox/webhooks") as response:
        (found,) = await response.json()
    assert (found["url"], found["key"], found["categories"]) == (receiver.url, KEY, ["INVOICE"])
    address = f"{caller.sandbox.url}/sandbox/webhooks/deliveries?kind=intent%20to%20receive"
    async with caller.http.get(address) as response:
        assert len(await response.json()) == 4
    assert (await caller.control("POST", "webhooks/disable"))["standing"] == "Disabled"
    await caller.control("DELETE", "webhooks")
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/webhooks/intent") as response:
        assert response.status == 404
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/webhooks", json={"url": 7}) as response:
        assert response.status == 400


@pytest.mark.parametrize(("status", "kept"), [(200, 0), (503, 1)])
async def test_who_disables_a_webhook_while_a_delivery_is_under_way_has_disabled_it(
    caller: Caller, receiver: Receiver, status: int, kept: int
) -> None:
    subscription = await subscribed(caller, receiver)
    receiver.status, receiver.held = status, asyncio.Event()
    caller.sandbox.books.create_contact("On its way")
    await receiver.next()
    subscription.disable()
    receiver.held.set()
    await tried(subscription, 1)
    assert (subscription.standing, len(subscription.pending)) == (Standing.DISABLED, kept)


async def test_who_unsubscribes_is_not_asked_for_the_intent_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_ASKS_AGAIN_AFTER", 0.001)
    nowhere = "http://127.0.0.1:9/webhooks"
    async with serve(SandboxSettings(contacts=20, invoices=100, webhook_url=nowhere)) as sandbox:
        subscription = sandbox.webhooks.subscriptions[APP]
        await logged(subscription, 8)
        sandbox.webhooks.unsubscribe(APP)
        asked = len(subscription.deliveries)
        await asyncio.sleep(0.1)
        assert len(subscription.deliveries) == asked


async def test_a_subscription_from_the_start_is_asked_as_soon_as_the_sandbox_listens(receiver: Receiver) -> None:
    settings = SandboxSettings(contacts=20, invoices=100, webhook_url=receiver.url, webhook_key=KEY)
    async with serve(settings) as sandbox:
        subscription = sandbox.webhooks.subscriptions[APP]
        assert subscription.categories == frozenset(Category)
        await until(subscription, Standing.OK)


async def test_a_saved_subscription_goes_on_elsewhere_with_what_waited(caller: Caller, receiver: Receiver) -> None:
    subscription = await subscribed(caller, receiver, categories=["CONTACT"])
    await caller.control("POST", "webhooks/disturb", {"duplicates": 1, "seed": 7})
    receiver.status = 500
    contact = caller.sandbox.books.create_contact("Nobody has heard of it")
    await tried(subscription, 2)
    await receiver.drained(2)
    saved = dump(caller.sandbox)
    receiver.status = 200
    async with serve(SandboxSettings(contacts=20, invoices=100, speed=0)) as other:
        other.webhooks.subscribe(APP, f"{receiver.url}/before")
        load(other, saved)
        assert caller.sandbox.clock.now() <= other.clock.now()
        taken = other.webhooks.subscriptions[APP]
        assert (taken.url, taken.key, taken.categories) == (receiver.url, KEY, frozenset({Category.CONTACT}))
        other.clock.advance(timedelta(minutes=15))
        for _ in ("once", "and again"):
            told = await receiver.next()
            assert told["events"][0]["resourceId"] == contact.id
            assert told["firstEventSequence"] == 1
        await until(taken, Standing.OK)
        other.books.create_contact("Heard of")
        assert (await receiver.next())["firstEventSequence"] == 2


async def test_an_address_on_the_command_line_wins_over_a_saved_one(
    caller: Caller, receiver: Receiver, tmp_path: Path
) -> None:
    saved = tmp_path / "state.json"
    caller.sandbox.webhooks.subscribe(APP, "http://127.0.0.1:9/before", "another-key")
    save_file(caller.sandbox, saved)
    settings = SandboxSettings(contacts=20, invoices=100, webhook_url=receiver.url, webhook_key=KEY)
    async with serve(settings) as other:
        take_up(other, saved)
        taken = other.webhooks.subscriptions[APP]
        assert (taken.url, taken.key) == (receiver.url, KEY)
        await until(taken, Standing.OK)


async def test_a_saved_subscription_beyond_this_machine_is_refused_and_changes_nothing(
    caller: Caller, receiver: Receiver
) -> None:
    subscription = await subscribed(caller, receiver)
    saved = dump(caller.sandbox).replace(receiver.url.encode(), b"https://evil.example/webhooks")
    with pytest.raises(ValueError, match="only sent to"):
        load(caller.sandbox, saved)
    assert caller.sandbox.webhooks.subscriptions == {APP: subscription}
