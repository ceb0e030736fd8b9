"""Promise: a caller that is limited to merchant A reaches nothing of merchant B, by any call, id, token or stream."""

import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal

import pytest
import pytest_asyncio
from grpc import aio

from neighbours import (
    ANYBODYS,
    HOLDS,
    METHODS,
    REQUESTS,
    Known,
    Outcome,
    call,
    learn_tokens,
    request,
    texts_of,
    unknown,
)  # fmt: skip
from off_balance import customer_with_everything
from servers import ROOMY, Service, service
from tieout import Client
from tieout.errors import ConsentDeniedError, OrganisationAlreadyConnectedError
from tieout.v1.payment_export_service_pb2 import PaymentLine, PlatformPayment
from tieout.v1.types_pb2 import Money
from tieout_sandbox import Sandbox, SandboxSettings, serve
from tieout_sandbox.books.causes import Cause, bring_about
from tieout_sandbox.books.documents import Invoice
from tieout_sandbox.organisations import Organisation
from tieout_server.callers.caller import Role
from tieout_server.callers.registering import Registration, Wanted
from tieout_server.clock import SystemClock
from tieout_server.events import feed
from tieout_server.rpc.access import NEEDS
from tieout_server.storage.database import Database
from tieout_server.xero import limits

pytestmark = [pytest.mark.timeout(300), pytest.mark.in_turn]
on_one_loop = pytest.mark.asyncio(loop_scope="module")

ROOT = "the-operator-s-own-token-for-everything"
HEARTBEAT = 0.05
FEW = (12, 40)
SAID_TO_NOBODY = frozenset(
    {"INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "INTERNAL", "UNKNOWN"}
)
"""Statuses that a sound request about one's own things does not get."""


OF_ALL = frozenset(method.rpartition("/")[2] for method, need in NEEDS.items() if need.of_all)


@dataclass
class Neighbours:
    """Two merchants, A and B, and the callers: one limited to A, and one for everything."""

    running: Service
    channel: aio.Channel
    a: Known
    b: Known
    key_of_a: str
    of_b: frozenset[str]
    """Words that are B's and not A's."""
    free: str
    """An organisation that nobody has connected."""

    async def as_a(self, method: str, line: str, **instead: str) -> Outcome:
        """A's caller makes this call, about A's own things save for what stands instead; nothing of B comes back."""
        if "request_id" in line.split():
            instead.setdefault("request_id", secrets.token_hex(8))
        made = request(method, line, self.a, **instead)
        outcome = await call(self.channel, self.key_of_a, method, made)
        sent, said = str(made), outcome.text()
        told = [word for word in self.of_b if word in said and word not in sent]
        assert not told, f"{method} {line} {instead} tells of {told}"
        return outcome

    async def seen_of_b(self) -> list[str]:
        """All that can be seen of B."""
        calls = (
            "GetConnection", "ListConnectionEvents", "ListConnections", "ListSyncs", "GetSync", "GetReconciliation",
            "GetDiscrepancy", "ListDiscrepancies", "ListExportAccounts", "GetExportSettings", "GetPaymentExport",
            "ListPaymentExports", "ListCustomers", "ListInvoices",
        )  # fmt: skip
        lines = {method: REQUESTS[method][-1] or "merchant_id" for method in calls}
        made = {method: request(method, line, Known(self.b.values)) for method, line in lines.items()}
        return [(await call(self.channel, ROOT, method, one)).text() for method, one in made.items()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def neighbours(lasting_database_url: str) -> AsyncIterator[Neighbours]:
    settings = SandboxSettings(contacts=FEW[0], invoices=FEW[1], organisations=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tieout_sandbox.organisations._SMALL", FEW)
        patch.setattr(feed, "HEARTBEAT", HEARTBEAT)
        patch.setattr(limits, "A_MINUTE", ROOMY.minute)  # nobody is to wait for calls here
        async with serve(settings) as sandbox:
            sandbox.limits.quota = ROOMY
            async with (
                service(sandbox, lasting_database_url, token=ROOT) as running,
                aio.insecure_channel(running.target) as channel,
            ):
                yield await fill(running, sandbox, channel, lasting_database_url)


async def fill(running: Service, sandbox: Sandbox, channel: aio.Channel, database_url: str) -> Neighbours:
    """Two merchants with something of every kind; B has made every call with a request_id, and A's caller knows all."""
    database = Database(database_url)
    registration = Registration(database, SystemClock())
    a = await something_of_all(running, sandbox.organisations[0], "merchant-a")
    b = await something_of_all(running, sandbox.organisations[1], "merchant-b")
    key = await registration.add(Wanted(name="caller-a", roles=frozenset(Role), merchants=("merchant-a",)))
    await registration.add(Wanted(name="caller-b", roles=frozenset(Role), merchants=("merchant-b",)))
    await database.close()
    a.values["caller"], b.values["caller"] = "caller-a", "caller-b"
    for method, need in NEEDS.items():
        name = method.rpartition("/")[2]
        for line in REQUESTS[name] if need.acts else ():
            await call(channel, ROOT, name, request(name, line, b))
    for known in (a, b):
        await new_consent(running, known)
        await learn_tokens(channel, ROOT, known)
    of_b = await words_of(running, b) - await words_of(running, a)
    return Neighbours(running, channel, a, b, key, of_b, sandbox.organisations[2].name)


async def something_of_all(running: Service, organisation: Organisation, merchant: str) -> Known:
    """A merchant with a thing of every kind."""
    customer = customer_with_everything(organisation.books)
    bring_about(organisation.books, Cause.DRAFT_COUNTED, customer.id)
    invoice = next(it for it in customer.documents if isinstance(it, Invoice) and it.amount_due > Decimal(100))
    invoice.number = f"{merchant}-1"  # numbers are alike in many books
    connection = await running.connected(merchant, organisations=[organisation.name])
    client = running.client
    off = await client.reconciliations.reconcile_customer(connection.id, customer.id)
    case = await client.reconciliations.report_discrepancy(connection.id, "Too much.", customer_ids=[customer.id])
    reconciliation = await client.reconciliations.start(connection.id)
    line = PaymentLine(xero_invoice_id=invoice.id, amount=Money(currency_code="NZD", amount="1.00"))
    payment = PlatformPayment(payment_id=secrets.token_hex(8), paid_on="2026-11-20", lines=[line], amount=line.amount)
    export = await client.payment_exports.export(connection.id, payment)
    settings = await client.payment_exports.get_settings(connection.id)
    sync = await client.syncs.list(connection.id).first(1)
    accounts = await client.payment_exports.list_accounts(connection.id).first(1)
    refunds = next(it for it in organisation.books.accounts.values() if it.type == "REVENUE")
    received = await client.receivables.list_payments(connection.id).first(1)
    spare = (await client.connections.connect(merchant)).connection
    return Known(
        {
            "merchant": merchant, "connection": connection.id, "spare": spare.id, "sync": sync[0].id,
            "reconciliation": reconciliation.reconciliation.id, "discrepancy": off.discrepancies[0].id,
            "case": case.id, "export": export.export.id, "customer": customer.id, "customer_name": customer.name,
            "email": customer.email or f"{merchant}@example.com", "invoice": invoice.id,
            "invoice_number": invoice.number, "received": received[0].id,
            "payment": payment.payment_id, "state": "no-state-was-given-out",
            "tenant": connection.organisation.xero_tenant_id, "request": secrets.token_hex(8),
            "account": accounts[0].xero_account_id, "refunds": refunds.id, "revision": settings.revision or "none",
        }
    )  # fmt: skip


async def new_consent(running: Service, known: Known) -> None:
    """A consent that is under way for a spare connection, which somebody may settle who knows its state."""
    started = await running.client.connections.connect(known.values["merchant"])
    known.values["spare"] = started.connection.id
    known.values["state"] = (await running.browser.returned(started.authorization_url))["state"]


async def words_of(running: Service, known: Known) -> frozenset[str]:
    """What names this merchant's things: if it turns up elsewhere, something was told.

    Not its request_id and payment_id: once A has sent them, they are A's own as well.
    """
    connection = await running.client.connections.get(known.values["connection"])
    customers = [it async for it in running.client.receivables.list_customers(connection.id)]
    invoices = [it async for it in running.client.receivables.list_invoices(connection.id)]
    anybodys = ("revision", "email", "customer_name", "request", "payment")
    ids = {value for kind, value in known.values.items() if kind not in anybodys}
    ids |= {it.id for it in customers} | {it.id for it in invoices}
    return frozenset(ids | {it.name for it in customers} | {connection.organisation.name})


# Every call


def substitutions() -> list[tuple[str, str, str]]:
    """Every field of every call that takes something of somebody's: the call, the line of its request, the field."""
    return [(method, line, path) for method, lines in REQUESTS.items() for line in lines for path in line.split()]


def is_named_by_the_caller(method: str, path: str) -> bool:
    """Whether a caller makes this name up itself: that of a request, a payment, a reversal."""
    need = next(need for name, need in NEEDS.items() if name.endswith(f"/{method}"))
    return need.acts and HOLDS[path.rpartition(".")[2]] in ("request", "payment")


@pytest.mark.parametrize("method", METHODS)
def test_every_call_and_every_field_that_names_something_is_tried(method: str) -> None:
    named = {path for line in REQUESTS.get(method, ()) for path in line.split()}
    for path in texts_of(METHODS[method].input_type):
        leaf = path.rpartition(".")[2]
        assert leaf in HOLDS or leaf in ANYBODYS, f"{method}: whose is what {path} holds? Say so in tests/neighbours.py"
        assert path in named or leaf not in HOLDS, f"{method}: no request of tests/neighbours.py has {path}"


def test_no_call_is_tried_that_is_not_there() -> None:
    assert set(REQUESTS) == set(METHODS)


@on_one_loop
async def test_nothing_of_another_merchant_is_reached_by_any_call(neighbours: Neighbours) -> None:
    before = await neighbours.seen_of_b()
    for method, line, path in substitutions():
        kind = HOLDS[path.rpartition(".")[2]]
        theirs = neighbours.b.value_of(method, line, path)
        if not theirs or kind == "resume_token" or is_named_by_the_caller(method, path):
            continue  # no token of this list was given out; the other two have a test of their own
        place = path.replace(".", "__")
        nobodys = unknown(kind, theirs, of=request(method, "", neighbours.a) if line == path else None)
        hidden = await neighbours.as_a(method, line, **{place: theirs})
        absent = await neighbours.as_a(method, line, **{place: nobodys})
        assert hidden.about(theirs) == absent.about(nobodys), f"{method}: {path} of B is not as if it did not exist"
    assert await neighbours.seen_of_b() == before


@on_one_loop
async def test_a_request_that_is_all_of_another_merchant_is_refused_as_if_nothing_of_it_existed(
    neighbours: Neighbours,
) -> None:
    before = await neighbours.seen_of_b()
    for method, lines in REQUESTS.items():
        for line in filter(None, lines):
            theirs = {path.replace(".", "__"): neighbours.b.value_of(method, line, path) for path in line.split()}
            outcome = await neighbours.as_a(method, line, **theirs)
            if set(line.split()) <= {"page_token", "after", "caller"}:
                assert outcome.code == "OK"  # it names nothing of B: what is left is A's own
            elif method == "CompleteAuthorization":
                assert (outcome.code, outcome.reason) == ("FAILED_PRECONDITION", "CONSENT_STATE_INVALID")
                assert ("fault", "unknown") in outcome.facts
            else:
                assert outcome.code in ("NOT_FOUND", "PERMISSION_DENIED"), (method, line, outcome)
    assert await neighbours.seen_of_b() == before


@on_one_loop
async def test_names_that_another_merchants_caller_gave_mean_nothing_here(neighbours: Neighbours) -> None:
    first = {(method, path): line for method, line, path in reversed(substitutions())}  # later lines would repeat A's
    for (method, path), line in first.items():
        if is_named_by_the_caller(method, path):
            theirs = neighbours.b.value_of(method, line, path)
            outcome = await neighbours.as_a(method, line, **{path.replace(".", "__"): theirs})
            used_before = "REQUEST_ID_REUSED" if path == "request_id" else "PAYMENT_ID_REUSED"
            assert outcome.reason != used_before, (method, path)


@on_one_loop
async def test_a_resume_token_of_another_merchant_leads_to_ones_own_only(neighbours: Neighbours) -> None:
    for method, line, path in substitutions():
        if path == "after":
            theirs = neighbours.b.value_of(method, line, path)
            assert theirs, f"{method} {line}: B got no token"
            outcome = await neighbours.as_a(method, line, after=theirs)
            # A token of changes is of one connection; the others are places in one log, of which one sees one's own.
            assert outcome.code == ("INVALID_ARGUMENT" if method == "WatchChanges" else "OK"), (method, line)


@on_one_loop
async def test_a_caller_reaches_all_that_is_its_own(neighbours: Neighbours) -> None:
    for method, lines in REQUESTS.items():
        if method not in OF_ALL | {"Disconnect"}:
            for line in lines:
                outcome = await neighbours.as_a(method, line)
                assert outcome.code not in SAID_TO_NOBODY, (method, line, outcome)


@on_one_loop
async def test_what_is_about_all_merchants_is_refused(neighbours: Neighbours) -> None:
    for method in OF_ALL:
        outcome = await neighbours.as_a(method, REQUESTS[method][0])
        assert (outcome.code, outcome.reason) == ("PERMISSION_DENIED", "CALLER_NOT_PERMITTED"), method


# What names nothing


@on_one_loop
async def test_lists_and_watches_of_everything_are_of_ones_own(neighbours: Neighbours) -> None:
    own, theirs = neighbours.a.values["connection"], neighbours.b.values["connection"]
    for method in ("ListConnections", "WatchConnections", "ListAuditEvents"):
        outcome = await neighbours.as_a(method, "")
        everything = await call(neighbours.channel, ROOT, method, request(method, "", neighbours.a))
        assert own in outcome.text()
        assert own in everything.text()
        assert theirs in everything.text()


@on_one_loop
async def test_an_open_watch_of_everything_tells_of_ones_own_only(neighbours: Neighbours) -> None:
    async with Client(neighbours.running.target, token=neighbours.key_of_a) as client:
        async with aclosing(client.connections.watch()) as watching:
            assert (await anext(watching)).HasField("heartbeat")
            for merchant in ("merchant-b", "merchant-a"):
                await neighbours.running.client.connections.connect(merchant)
            told = [await anext(watching)]
            while told[-1].HasField("heartbeat"):
                told.append(await anext(watching))
        assert told[-1].change.connection.merchant_id == "merchant-a"


@on_one_loop
async def test_an_organisation_of_another_merchant_is_taken_and_nobody_says_by_whom(neighbours: Neighbours) -> None:
    root, theirs = neighbours.running.client, neighbours.b.values["connection"]
    taken = (await root.connections.get(theirs)).organisation.name
    async with Client(neighbours.running.target, token=neighbours.key_of_a) as client:
        ours = Service(client, neighbours.running.browser)
        with pytest.raises(OrganisationAlreadyConnectedError) as refusal:
            await ours.connect("merchant-a", organisations=[taken])
        assert "connection_id" not in refusal.value.metadata
        several = await ours.connect("merchant-a", organisations=[taken, neighbours.free])
        assert {it.name: it.connected_as for it in several.organisation_choices} == {
            taken: "hidden",
            neighbours.free: "",
        }
        async with aclosing(client.connections.watch(connection_ids=[several.id], from_start=True)) as watching:
            assert theirs not in str(await anext(watching))
    known = {it.connected_as for it in (await root.connections.get(several.id)).organisation_choices}
    assert known == {theirs, ""}


@on_one_loop
async def test_a_consent_of_another_merchant_is_still_there_to_be_settled(neighbours: Neighbours) -> None:
    state = neighbours.b.values["state"]
    await neighbours.as_a("CompleteAuthorization", "state request_id", state=state)
    with pytest.raises(ConsentDeniedError):
        await neighbours.running.client.connections.complete_authorization(state, error="access_denied")
