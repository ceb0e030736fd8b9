"""ReconciliationService over a real socket: what was found comes out whole, and what comes in is judged first."""
# ruff: noqa: ANN401 - the asyncio stub, and its answers, are types of its stubs only

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import msgspec
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from documents import contact, credit, invoice
from fakes import World
from refusing import refused
from tieout.v1 import receivables_service_pb2 as receivables_pb
from tieout.v1 import reconciliation_service_pb2 as pb
from tieout.v1.receivables_service_pb2_grpc import ReceivablesServiceStub
from tieout.v1.reconciliation_service_pb2_grpc import ReconciliationServiceStub
from tieout.v1.types_pb2 import ENTITY_INVOICES, OWNER_MERCHANT, Money
from tieout_server.connections.messages import Connect, Return
from tieout_server.errors import XeroUnavailableError
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import CREDITS, Document, Entity
from tieout_server.reconciliations import record
from tieout_server.storage import mirror, watermarks
from tieout_server.storage.discrepancies import Discrepancy, Happened, Involved, Share, Values
from tieout_server.storage.watermarks import Watermark

PAGES: tuple[tuple[Document, ...], ...] = (
    (
        contact("c1", name="Kiwi Cafe"),
        contact("c2", name="Zebra"),
        contact("c3", name="Old Kiwi", merged_into="c1"),
    ),
    (
        invoice("i1", number="INV-1"),
        invoice("i2", number="INV-2", status="PAID", due=Decimal(0)),
        invoice("i3", number="INV-3", status="VOIDED"),
        invoice("i4", number="INV-4", xero_contact_id="c2"),
        invoice("i5", number="TWICE"),
        invoice("i6", number="TWICE"),
        invoice("i7", number="INV-7", status="VOIDED"),
        invoice("i8", number="INV-7"),
    ),
    (credit("k1"),),
)
"""Kiwi Cafe: four times 230.50 due less 20.00 of credit; Zebra: 230.50."""
KIWI = "902.00"


@pytest_asyncio.fixture
async def connection_id(around: World) -> str:
    """A connection that is connected, whose books were read to their end now."""
    started = await around.connections.connect(Connect("m-1"))
    (state,) = parse_qs(urlsplit(started.consent.authorization_url).query)["state"]
    link = (await around.connections.complete(Return(state, code="code"))).link
    now = around.clock.now()
    async with around.database.write() as tx:
        for page in PAGES:
            await mirror.save(tx, link.id, page, seen_in=1, at=now)
        for entity in Entity:
            await watermarks.put(tx, link.id, entity, Watermark(now, now))
    return link.id


@pytest_asyncio.fixture
async def service(channel: aio.Channel) -> AsyncIterator[Any]:
    yield ReconciliationServiceStub(channel)


@pytest_asyncio.fixture
async def discrepancy(around: World, connection_id: str) -> Discrepancy:
    """Zebra is off by one invoice that was voided in Xero."""
    now = around.clock.now()
    values = Values(
        status="AUTHORISED",
        total=Decimal("230.50"),
        due=Decimal("230.50"),
        xero_contact_id="c2",
        xero_updated_at=now,
        read_at=now,
    )
    involved = Involved(
        entity=Entity.INVOICES,
        xero_id="i4",
        number="INV-4",
        cause="MISSED_DELETION",
        currency="NZD",
        ours=values,
        difference=Decimal("230.50"),
    )
    found = Discrepancy(
        id="dis_1",
        connection_id=connection_id,
        xero_contact_id="c2",
        customer_name="Zebra",
        currency="NZD",
        ours=Decimal("230.50"),
        xero=Decimal(0),
        causes=(Share(cause="MISSED_DELETION", amount=Decimal("230.50"), sentence="INV-4 is voided in Xero."),),
        documents=(involved,),
        state="NEEDS_ATTENTION",
        sentence="INV-4 is voided in Xero.",
        owner="MERCHANT",
        opened_at=now,
        updated_at=now,
        short_code="!abc",
    )
    happened = Happened(state=found.state, sentence=found.sentence, actor="tieout", at=now, difference=found.ours)
    found = msgspec.structs.replace(found, history=(happened,))
    async with around.database.write() as tx:
        await record.keep(tx, around.subjects.feed, found, happened)
    return found


# Discrepancies


async def test_a_discrepancy_comes_with_documents_history_and_links(service: Any, discrepancy: Discrepancy) -> None:
    answer = await service.GetDiscrepancy(pb.GetDiscrepancyRequest(discrepancy_id=discrepancy.id))
    found = answer.discrepancy
    assert (found.customer_id, found.customer_name, found.owner) == ("c2", "Zebra", OWNER_MERCHANT)
    assert [found.ours.amount, found.xero.amount, found.difference.amount] == ["230.50", "0.00", "230.50"]
    assert (found.state, found.cause) == (
        pb.DISCREPANCY_STATE_NEEDS_ATTENTION,
        pb.DISCREPANCY_CAUSE_MISSED_DELETION,
    )
    (document,) = found.documents
    assert (document.entity, document.id, document.xero_id, document.number) == (ENTITY_INVOICES, "i4", "", "INV-4")
    assert document.ours.amount_due == Money(currency_code="NZD", amount="230.50")
    assert not document.HasField("xero")
    assert not document.ours.HasField("remaining_credit")
    assert [(one.actor, one.difference.amount) for one in found.history] == [("tieout", "230.50")]
    assert "shortcode=%21abc" in found.xero_url
    assert "c2" in found.xero_url


async def test_discrepancies_are_listed_by_state_cause_and_customer(
    service: Any, connection_id: str, discrepancy: Discrepancy
) -> None:
    async def listed(**wanted: Any) -> list[str]:
        page = await service.ListDiscrepancies(pb.ListDiscrepanciesRequest(connection_id=connection_id, **wanted))
        return [one.id for one in page.discrepancies]

    assert await listed() == [discrepancy.id]
    assert await listed(states=[pb.DISCREPANCY_STATE_RESOLVED]) == []
    assert await listed(causes=[pb.DISCREPANCY_CAUSE_MISSED_DELETION], customer_id="c2") == [discrepancy.id]
    assert await listed(causes=[pb.DISCREPANCY_CAUSE_ROUNDING]) == []
    assert await listed(customer_id="c1") == []


async def test_to_acknowledge_is_kept_told_and_repeatable(
    service: Any, connection_id: str, discrepancy: Discrepancy
) -> None:
    watching = service.WatchDiscrepancies(pb.WatchDiscrepanciesRequest(connection_id=connection_id, from_start=True))
    first, closing = await watching.read(), await watching.read()
    assert (first.snapshot.id, first.resume_token) == (discrepancy.id, "")
    assert closing.HasField("heartbeat")
    assert closing.resume_token
    request = pb.AcknowledgeDiscrepancyRequest(discrepancy_id="dis_1", note="we\nknow", request_id="r")
    answer = await service.AcknowledgeDiscrepancy(request)
    assert (answer.discrepancy.state, answer.discrepancy.note) == (pb.DISCREPANCY_STATE_ACKNOWLEDGED, "we\nknow")
    assert await service.AcknowledgeDiscrepancy(request) == answer
    told = await watching.read()
    assert (told.change.event.actor, told.change.discrepancy) == ("caller", answer.discrepancy)
    watching.cancel()
    again = service.WatchDiscrepancies(
        pb.WatchDiscrepanciesRequest(connection_id=connection_id, after=closing.resume_token)
    )
    assert (await again.read()).change == told.change
    again.cancel()


async def test_a_customer_that_is_off_balance_says_so_and_why(
    channel: aio.Channel, connection_id: str, discrepancy: Discrepancy
) -> None:
    receivables: Any = ReceivablesServiceStub(channel)
    request = receivables_pb.ListCustomersRequest(connection_id=connection_id)
    everybody = (await receivables.ListCustomers(request)).customers
    assert [(one.name, one.off_balance, one.off_balance_sentence) for one in everybody] == [
        ("Kiwi Cafe", False, ""),
        ("Zebra", True, discrepancy.sentence),
    ]
    request.off_balance_only = True
    assert [one.name for one in (await receivables.ListCustomers(request)).customers] == ["Zebra"]


# Evidence


async def test_evidence_comes_as_a_file_with_its_size_and_checksum(service: Any, discrepancy: Discrepancy) -> None:
    parts = [part async for part in service.ExportEvidence(pb.ExportEvidenceRequest(discrepancy_id=discrepancy.id))]
    content = b"".join(part.chunk for part in parts)
    assert parts[0].header.media_type == "application/zip"
    assert parts[0].header.size_bytes == len(content)
    assert parts[-1].sha256 == hashlib.sha256(content).hexdigest()
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None


@pytest.mark.parametrize("subject", [{"discrepancy_id": "dis_none"}, {"case_id": "cas_none"}])
async def test_evidence_of_nothing_is_not_found(service: Any, subject: dict[str, str]) -> None:
    assert (await refused(service.ExportEvidence(pb.ExportEvidenceRequest(**subject)).read()))[0] == "NOT_FOUND"


# Whole organisations


async def test_a_reconciliation_is_joined_read_and_watched(service: Any, connection_id: str) -> None:
    request = pb.StartReconciliationRequest(connection_id=connection_id, max_calls=7)
    first, second = await service.StartReconciliation(request), await service.StartReconciliation(request)
    assert (first.joined, second.joined) == (False, True)
    found = first.reconciliation
    assert (found.state, found.max_calls) == (pb.RECONCILIATION_STATE_QUEUED, 7)
    assert second.reconciliation == found
    read = await service.GetReconciliation(pb.GetReconciliationRequest(reconciliation_id=found.id))
    assert read.reconciliation == found
    watching = service.WatchReconciliation(pb.WatchReconciliationRequest(reconciliation_id=found.id))
    assert (await watching.read()).reconciliation == found
    watching.cancel()


# Chasing


Checks = Callable[..., Any]


@pytest.fixture
def chased(service: Any, connection_id: str) -> Checks:
    async def check(*invoices: dict[str, str]) -> list[Any]:
        named = [pb.InvoiceReference(**one) for one in invoices]
        answer = await service.CheckChase(pb.CheckChaseRequest(connection_id=connection_id, invoices=named))
        assert [one.invoice for one in answer.checks] == named
        return list(answer.checks)

    return check


@pytest.mark.parametrize(
    ("named", "verdict"),
    [
        ({"invoice_id": "i1"}, pb.CHASE_VERDICT_SAFE),
        ({"xero_invoice_id": "i1"}, pb.CHASE_VERDICT_SAFE),
        ({"invoice_number": "INV-1"}, pb.CHASE_VERDICT_SAFE),
        ({"invoice_number": "INV-2"}, pb.CHASE_VERDICT_PAID),
        ({"invoice_number": "INV-3"}, pb.CHASE_VERDICT_UNKNOWN_INVOICE),
        ({"invoice_id": "nothing"}, pb.CHASE_VERDICT_UNKNOWN_INVOICE),
        ({"invoice_number": "nothing"}, pb.CHASE_VERDICT_UNKNOWN_INVOICE),
        ({"invoice_number": "TWICE"}, pb.CHASE_VERDICT_UNKNOWN_INVOICE),
        ({"invoice_number": "INV-7"}, pb.CHASE_VERDICT_SAFE),
    ],
)
async def test_an_invoice_is_found_by_id_and_by_number_and_judged(
    chased: Checks, named: dict[str, str], verdict: int
) -> None:
    (found,) = await chased(named)
    assert found.verdict == verdict
    assert found.HasField("amount_due") is (verdict != pb.CHASE_VERDICT_UNKNOWN_INVOICE)


async def test_answers_come_in_the_order_of_the_request_and_doubles_twice(chased: Checks) -> None:
    named = [{"invoice_number": "INV-2"}, {"invoice_id": "i1"}, {"invoice_number": "INV-2"}] * 100
    paid, safe = pb.CHASE_VERDICT_PAID, pb.CHASE_VERDICT_SAFE
    assert [one.verdict for one in await chased(*named)] == [paid, safe, paid] * 100


async def test_invoices_of_a_customer_that_is_off_balance_are_not_chased(
    chased: Checks, discrepancy: Discrepancy
) -> None:
    off, safe = await chased({"invoice_id": "i4"}, {"invoice_id": "i1"})
    assert (off.verdict, off.discrepancy_id) == (pb.CHASE_VERDICT_OFF_BALANCE, discrepancy.id)
    assert safe.verdict == pb.CHASE_VERDICT_SAFE


async def test_what_is_too_old_is_read_from_xero_and_judged_anew(around: World, chased: Checks) -> None:
    around.clock.time += timedelta(minutes=11)
    known_at = around.clock.now()
    around.xero.documents[Entity.INVOICES, "i1"] = invoice("i1", number="INV-1", updated_at=known_at)
    for one in (contact("c1", stated_outstanding=Decimal(KIWI)), contact("c3", merged_into="c1")):
        around.xero.documents[Entity.CONTACTS, one.xero_contact_id] = one
    paid = {"status": "PAID", "due": Decimal(0), "paid": Decimal("230.50")}
    around.xero.documents[Entity.INVOICES, "i4"] = invoice(
        "i4", number="INV-4", xero_contact_id="c2", updated_at=known_at, **paid
    )
    safe, settled, gone = await chased({"invoice_id": "i1"}, {"invoice_id": "i4"}, {"invoice_id": "i5"})
    assert (safe.verdict, safe.as_of.ToDatetime(UTC)) == (pb.CHASE_VERDICT_SAFE, known_at)
    assert settled.verdict == pb.CHASE_VERDICT_PAID
    assert gone.verdict == pb.CHASE_VERDICT_STALE


@pytest.mark.parametrize(
    "trouble",
    [{"allowance": Allowance(60, 0, None)}, {"read_trouble": XeroUnavailableError("It is down.")}],
    ids=["no calls left", "xero is down"],
)
async def test_what_is_too_old_and_cannot_be_read_is_stale(
    around: World, chased: Checks, trouble: dict[str, Any]
) -> None:
    known_at = around.clock.now()
    around.clock.time += timedelta(minutes=11)
    around.xero.documents[Entity.INVOICES, "i1"] = invoice("i1")
    for name, value in trouble.items():
        setattr(around.xero, name, value)
    stale, paid = await chased({"invoice_id": "i1"}, {"invoice_number": "INV-2"})
    assert (stale.verdict, stale.as_of.ToDatetime(UTC)) == (pb.CHASE_VERDICT_STALE, known_at)
    assert paid.verdict == pb.CHASE_VERDICT_PAID


async def test_what_is_known_is_as_old_as_the_oldest_of_what_settles_an_invoice(
    around: World, connection_id: str, chased: Checks
) -> None:
    oldest = around.clock.now() - timedelta(minutes=3)
    async with around.database.write() as tx:
        await watermarks.put(tx, connection_id, CREDITS[-1], Watermark(oldest, oldest))
    (found,) = await chased({"invoice_id": "i1"})
    assert found.as_of.ToDatetime(UTC) == oldest


# The caller's own books


def balance(named: str, amount: str, currency: str = "NZD", **field: str) -> pb.PlatformBalance:
    return pb.PlatformBalance(**(field or {"customer_id": named}), balance=Money(currency_code=currency, amount=amount))


def parts(
    connection_id: str, *messages: Iterable[pb.PlatformBalance], request_id: str = "", seconds: int = 1
) -> list[pb.SubmitPlatformBalancesRequest]:
    first, *others = (pb.SubmitPlatformBalancesRequest(balances=one) for one in messages)
    first.connection_id, first.request_id = connection_id, request_id
    first.as_of.CopyFrom(Timestamp(seconds=seconds))
    return [first, *others]


@pytest.mark.usefixtures("discrepancy")
async def test_three_sides_are_compared_customer_by_customer(service: Any, connection_id: str) -> None:
    answer = await service.SubmitPlatformBalances(
        parts(
            connection_id,
            [balance("c1", "900"), balance("c3", "2.0000")],  # merged into c1
            [balance("c2", "0", xero_contact_id="c2"), balance("c1", "5", "EUR"), balance("x", "7")],
        )
    )
    assert (answer.received, answer.agreeing, answer.differing, answer.not_submitted) == (5, 1, 3, 0)
    found = [
        (
            one.balances.customer_id or one.unknown_customer,
            one.balances.currency_code,
            one.balances.ours.amount,
            one.balances.xero.amount,
            one.balances.platform.amount,
            one.verdict,
        )
        for one in answer.differences
    ]
    assert found == [
        ("c2", "NZD", "230.50", "0.00", "0.00", pb.PLATFORM_VERDICT_OURS_DIFFERS),
        ("x", "NZD", "", "", "7.00", pb.PLATFORM_VERDICT_UNKNOWN_CUSTOMER),
        ("c1", "EUR", "0.00", "0.00", "5.00", pb.PLATFORM_VERDICT_PLATFORM_DIFFERS),
    ]


async def test_customers_who_are_not_named_are_counted(service: Any, connection_id: str) -> None:
    answer = await service.SubmitPlatformBalances(parts(connection_id, [balance("c1", KIWI)]))
    assert (answer.agreeing, answer.not_submitted) == (1, 1)


async def test_a_repeat_is_answered_as_the_first_time_however_it_is_cut(service: Any, connection_id: str) -> None:
    both = [balance("c1", "1"), balance("c2", "2")]
    first = await service.SubmitPlatformBalances(parts(connection_id, both, request_id="r"))
    assert await service.SubmitPlatformBalances(parts(connection_id, both[:1], both[1:], request_id="r")) == first
    other = parts(connection_id, both[:1], request_id="r")
    assert (await refused(service.SubmitPlatformBalances(other)))[0] == "REQUEST_ID_REUSED"


async def test_a_submission_that_is_not_sound_is_refused(service: Any, connection_id: str) -> None:
    async def violations(*requests: pb.SubmitPlatformBalancesRequest) -> dict[str, str]:
        reason, broken = await refused(service.SubmitPlatformBalances(list(requests)))
        assert reason == "INVALID_REQUEST"
        return broken

    assert await violations() == {"connection_id": "is required in the first message"}
    assert set(await violations(pb.SubmitPlatformBalancesRequest())) == {"connection_id", "as_of"}
    (twice,) = parts(connection_id, [balance("c1", "1"), balance("c1", "2")])
    assert await violations(twice) == {"balances": "name c1 in NZD twice"}
    (wrong,) = parts(
        connection_id, [balance("c1", "1e3"), balance("", "1", "nzd"), pb.PlatformBalance(customer_id="c")]
    )
    assert set(await violations(wrong)) == {
        "balances[0].balance.amount",
        "balances[1].customer_id",
        "balances[1].balance.currency_code",
        "balances[2].balance",
    }
    other = pb.SubmitPlatformBalancesRequest(connection_id="con_other")
    assert set(await violations(*parts(connection_id, []), other)) == {"connection_id"}


async def test_balances_for_a_connection_that_is_not_there_are_refused_at_once(service: Any) -> None:
    assert (await refused(service.SubmitPlatformBalances(parts("con_none", []))))[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("ReconcileCustomer", pb.ReconcileCustomerRequest(connection_id="con_none", customer_id="c1")),
        ("StartReconciliation", pb.StartReconciliationRequest(connection_id="con_none")),
        ("GetReconciliation", pb.GetReconciliationRequest(reconciliation_id="rec_none")),
        ("ListDiscrepancies", pb.ListDiscrepanciesRequest(connection_id="con_none")),
        ("GetDiscrepancy", pb.GetDiscrepancyRequest(discrepancy_id="dis_none")),
        ("AcknowledgeDiscrepancy", pb.AcknowledgeDiscrepancyRequest(discrepancy_id="dis_none")),
        ("ReportDiscrepancy", pb.ReportDiscrepancyRequest(connection_id="con_none", customer_ids=["c1"])),
        (
            "CheckChase",
            pb.CheckChaseRequest(connection_id="con_none", invoices=[pb.InvoiceReference(invoice_id="i1")]),
        ),
    ],
)
async def test_what_is_not_there_is_not_found(service: Any, call: str, request_: Any) -> None:
    with pytest.raises(aio.AioRpcError) as refusal:
        await getattr(service, call)(request_)
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
