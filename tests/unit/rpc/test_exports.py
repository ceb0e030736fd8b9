"""PaymentExportService over a real socket: payments are taken over once, looked at, decided about and watched."""
# ruff: noqa: ANN401 - the asyncio stub, and its answers, are types of its stubs only

from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import pytest_asyncio
from grpc import aio

from documents import account, invoice
from fakes import World
from refusing import refused
from tieout.v1 import payment_export_service_pb2 as pb
from tieout.v1.payment_export_service_pb2_grpc import PaymentExportServiceStub
from tieout.v1.types_pb2 import OWNER_MERCHANT, Money
from tieout_server.connections.messages import Connect, Return
from tieout_server.exports import record, sentences
from tieout_server.exports.sentences import Case
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.exports import ExportEvent, PaymentExport, XeroRecord
from tieout_server.ledger.writes import RecordKind
from tieout_server.storage import exports

BANK, EURO, OLD, SALES = (
    account("a-nzd", name="Business", currency="NZD", code="090", takes_payments=True),
    account("a-eur", name="Euro", currency="EUR", code="091", takes_payments=True),
    account("a-old", name="Abandoned", currency="NZD", status="ARCHIVED", takes_payments=True),
    account("a-rev", name="Sales", kind="REVENUE", code="200"),
)


@pytest_asyncio.fixture
async def connection_id(around: World) -> str:
    """A connection to books with two bank accounts that are in use, and one invoice."""
    around.xero.short_code = "!abc"
    around.xero.scopes = ("offline_access", "accounting.payments", "accounting.banktransactions")
    started = await around.connections.connect(Connect("m-1"))
    (state,) = parse_qs(urlsplit(started.consent.authorization_url).query)["state"]
    link = (await around.connections.complete(Return(state, code="code"))).link
    for one in (BANK, EURO, OLD, SALES):
        around.xero.documents[Entity.ACCOUNTS, one.xero_account_id] = one
    around.xero.documents[Entity.INVOICES, "i1"] = invoice("i1", number="INV-1")
    return link.id


@pytest_asyncio.fixture
async def service(channel: aio.Channel) -> AsyncIterator[Any]:
    yield PaymentExportServiceStub(channel)


def nzd(amount: str) -> Money:
    return Money(currency_code="NZD", amount=amount)


def payment(payment_id: str = "pay-1", amount: str = "230.50", **other: Any) -> pb.PlatformPayment:
    lines = [pb.PaymentLine(invoice_number="INV-1", amount=nzd(amount))]
    stated: dict[str, Any] = {"paid_on": "2026-11-20", "amount": nzd(amount), "lines": lines}
    return pb.PlatformPayment(payment_id=payment_id, **(stated | other))


async def accepted(service: Any, connection_id: str, payment_id: str = "pay-1") -> Any:
    request = pb.ExportPaymentRequest(connection_id=connection_id, payment=payment(payment_id))
    return (await service.ExportPayment(request)).export


async def became(around: World, export_id: str, status: str, **fields: Any) -> PaymentExport:
    """What the export is once this has become of it."""
    now = around.clock.now()
    async with around.database.write() as tx:
        export = await exports.get(tx, export_id)
        assert export is not None
        changed = msgspec.structs.replace(export, xero_status=status, updated_at=now, due_at=None, **fields)
        error = changed.error
        happened = ExportEvent(
            xero_status=status, sentence="It happened.", actor="tieout", occurred_at=now, error=error
        )
        return await record.keep(tx, around.subjects.feed, changed, happened)


def not_chosen(around: World) -> dict[str, Any]:
    return {"error": sentences.account_not_chosen(Case(around.clock.now()), "NZD")}


# Taking payments over


async def test_a_payment_is_taken_over_as_it_was_sent(around: World, service: Any, connection_id: str) -> None:
    lines = [
        pb.PaymentLine(invoice_number="INV-1", amount=nzd("200")),
        pb.PaymentLine(xero_invoice_id="i2", amount=nzd("30.5")),
    ]
    sent = payment(amount="240", lines=lines, reference="till 4", method=pb.PAYMENT_METHOD_CARD)
    request = pb.ExportPaymentRequest(connection_id=connection_id, payment=sent, request_id="r")
    answer = await service.ExportPayment(request)
    export = answer.export
    assert (answer.existing, export.xero_status) == (False, pb.XERO_STATUS_QUEUED)
    assert export.connection_id == connection_id
    assert export.next_attempt_at.ToDatetime(UTC) == export.created_at.ToDatetime(UTC) == around.clock.now()
    for line, amount in zip(sent.lines, ("200.00", "30.50"), strict=True):
        line.amount.amount = amount  # as all amounts are told
    sent.amount.amount = "240.00"
    assert export.payment == sent
    assert not export.HasField("error")
    assert await service.ExportPayment(request) == answer


async def test_a_payment_is_taken_over_once_whatever_the_request_id(service: Any, connection_id: str) -> None:
    first = await accepted(service, connection_id)
    again = pb.ExportPaymentRequest(connection_id=connection_id, payment=payment(amount="230.5000"), request_id="other")
    answer = await service.ExportPayment(again)
    assert (answer.existing, answer.export.id) == (True, first.id)
    again.payment.reference = "something else"
    again.request_id = ""
    assert (await refused(service.ExportPayment(again)))[0] == "PAYMENT_ID_REUSED"


async def test_an_invoice_is_meant_however_its_id_and_its_number_are_written(service: Any, connection_id: str) -> None:
    guid = "a2321c58-0a3b-4e5f-8c6d-7e8f9a0b1c2d"
    lines = [
        pb.PaymentLine(xero_invoice_id=guid.upper(), amount=nzd("200.00")),
        pb.PaymentLine(invoice_number=" INV-1 ", amount=nzd("30.50")),
    ]
    asked = pb.ExportPaymentRequest(connection_id=connection_id, payment=payment(lines=lines))
    first = await service.ExportPayment(asked)
    named = first.export.payment.lines
    assert (named[0].xero_invoice_id, named[1].invoice_number) == (guid, "INV-1")
    asked.payment.lines[0].xero_invoice_id = guid
    assert (await service.ExportPayment(asked)).existing
    asked.payment.lines[1].invoice_number = " "
    fault = await refused(service.ExportPayment(asked))
    assert "invoice_number" in str(fault)


async def test_an_export_is_found_by_its_id_and_by_the_callers(service: Any, connection_id: str) -> None:
    export = await accepted(service, connection_id)
    by_id = await service.GetPaymentExport(pb.GetPaymentExportRequest(export_id=export.id))
    reference = pb.PaymentReference(connection_id=connection_id, payment_id="pay-1")
    assert await service.GetPaymentExport(pb.GetPaymentExportRequest(payment=reference)) == by_id
    assert [(one.sentence, one.actor) for one in by_id.export.history] == [("Accepted for export.", "caller")]
    by_id.export.ClearField("history")
    assert by_id.export == export


# What became of them


async def test_what_it_became_in_xero_is_told_with_links(around: World, service: Any, connection_id: str) -> None:
    export = await accepted(service, connection_id)
    paid = XeroRecord(
        kind=RecordKind.PAYMENT,
        xero_id="xp-1",
        xero_invoice_id="i1",
        invoice_number="INV-1",
        amount=Decimal(230),
        currency="NZD",
        xero_account_id="a-nzd",
    )
    batch = msgspec.structs.replace(paid, kind=RecordKind.BATCH_PAYMENT, xero_id="xb-1", is_ours=False)
    spent = msgspec.structs.replace(paid, kind=RecordKind.SPENT_MONEY, xero_id="xs-1", removed=True)
    await became(around, export.id, "EXPORTED", records=(paid, batch, spent), exported_at=around.clock.now())
    found = (await service.GetPaymentExport(pb.GetPaymentExportRequest(export_id=export.id))).export
    assert [one.kind for one in found.xero_records] == [
        pb.XERO_RECORD_KIND_PAYMENT,
        pb.XERO_RECORD_KIND_BATCH_PAYMENT,
        pb.XERO_RECORD_KIND_SPENT_MONEY,
    ]
    assert [(one.linked, one.removed) for one in found.xero_records] == [(False, False), (True, False), (False, True)]
    assert found.xero_records[0].amount == nzd("230.00")
    assert "shortcode=%21abc" in found.xero_records[0].xero_url
    assert [bool(one.xero_url) for one in found.xero_records] == [True, False, True]
    assert found.exported_at.ToDatetime(UTC) == around.clock.now()


async def test_exports_are_listed_newest_first_by_status_and_reason(
    around: World, service: Any, connection_id: str
) -> None:
    for number in range(3):
        await accepted(service, connection_id, f"pay-{number}")
        around.clock.time += timedelta(seconds=1)

    async def listed(**wanted: Any) -> list[str]:
        page = await service.ListPaymentExports(pb.ListPaymentExportsRequest(connection_id=connection_id, **wanted))
        return [one.payment.payment_id for one in page.exports]

    (middle,) = [one for one in await everything(service, connection_id) if one.payment.payment_id == "pay-1"]
    await became(around, middle.id, "ERROR", **not_chosen(around))
    assert await listed() == ["pay-2", "pay-1", "pay-0"]
    assert await listed(xero_statuses=[pb.XERO_STATUS_ERROR, pb.XERO_STATUS_VERIFIED]) == ["pay-1"]
    assert await listed(error_reasons=[pb.EXPORT_ERROR_REASON_ACCOUNT_NOT_CHOSEN]) == ["pay-1"]
    assert await listed(error_reasons=[pb.EXPORT_ERROR_REASON_PERIOD_LOCKED]) == []


async def everything(service: Any, connection_id: str) -> list[Any]:
    """All exports of a connection, two at a time."""
    request, found = pb.ListPaymentExportsRequest(connection_id=connection_id, page_size=2), []
    while True:
        page = await service.ListPaymentExports(request)
        found += page.exports
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def test_an_error_is_told_with_its_remedy_and_who_acts(around: World, service: Any, connection_id: str) -> None:
    export = await accepted(service, connection_id)
    error = msgspec.structs.replace(not_chosen(around)["error"], xero_messages=("No.",), line=0)
    await became(around, export.id, "ERROR", error=error)
    found = (await service.GetPaymentExport(pb.GetPaymentExportRequest(export_id=export.id))).export
    assert found.error == found.history[-1].error
    assert (found.error.reason, found.error.owner) == (pb.EXPORT_ERROR_REASON_ACCOUNT_NOT_CHOSEN, OWNER_MERCHANT)
    assert found.error.remedy == "Choose the bank account for NZD."
    assert list(found.error.xero_messages) == ["No."]
    assert (found.error.HasField("line"), found.error.line, found.error.retries_by_itself) == (True, 0, False)


# Deciding


async def test_what_failed_is_tried_again_or_dismissed(around: World, service: Any, connection_id: str) -> None:
    one, other = [await accepted(service, connection_id, name) for name in ("pay-1", "pay-2")]
    again = pb.ReexportPaymentRequest(export_id=one.id)
    assert (await service.ReexportPayment(again)).export.xero_status == pb.XERO_STATUS_QUEUED  # as it is
    for export in (one, other):
        await became(around, export.id, "ERROR", **not_chosen(around))
    queued = (await service.ReexportPayment(again)).export
    assert (queued.xero_status, queued.HasField("error")) == (pb.XERO_STATUS_QUEUED, False)
    dismiss = pb.DismissPaymentExportRequest(export_id=other.id, note="By\nhand.", request_id="r")
    over = (await service.DismissPaymentExport(dismiss)).export
    assert (over.xero_status, over.dismissal_note, over.dismissed_by) == (
        pb.XERO_STATUS_DISMISSED,
        "By\nhand.",
        "caller",
    )
    assert (await service.DismissPaymentExport(dismiss)).export == over
    reason, _ = await refused(service.ReexportPayment(pb.ReexportPaymentRequest(export_id=other.id)))
    assert reason == "NOT_PERMITTED_NOW"


async def test_all_of_one_reason_are_tried_again(around: World, service: Any, connection_id: str) -> None:
    for number in range(2):
        export = await accepted(service, connection_id, f"pay-{number}")
        await became(around, export.id, "ERROR", **not_chosen(around))

    async def again(*reasons: pb.ExportErrorReason.ValueType) -> int:
        request = pb.ReexportPaymentsRequest(connection_id=connection_id, error_reasons=reasons)
        return int((await service.ReexportPayments(request)).count)

    assert await again(pb.EXPORT_ERROR_REASON_PERIOD_LOCKED) == 0
    assert await again(pb.EXPORT_ERROR_REASON_ACCOUNT_NOT_CHOSEN) == 2
    assert await again() == 0


async def test_a_payment_is_taken_back_once(around: World, service: Any, connection_id: str) -> None:
    export = await accepted(service, connection_id)
    request = pb.ReversePaymentRequest(
        export_id=export.id,
        kind=pb.REVERSAL_KIND_REFUND,
        reversal_id="rev-1",
        reason="damaged",
        amount=nzd("30.5"),
        reversed_on="2026-11-21",
    )
    assert (await refused(service.ReversePayment(request)))[0] == "NOT_PERMITTED_NOW"
    await became(around, export.id, "VERIFIED")
    (reversal,) = (await service.ReversePayment(request)).export.reversals
    assert (reversal.reversal_id, reversal.kind, reversal.amount) == ("rev-1", request.kind, nzd("30.50"))
    assert (reversal.xero_status, reversal.reason) == (pb.XERO_STATUS_QUEUED, "damaged")
    assert reversal.reversed_on == "2026-11-21"
    assert [one.reversal_id for one in (await service.ReversePayment(request)).export.reversals] == ["rev-1"]
    request.reason = "lost"
    assert (await refused(service.ReversePayment(request)))[0] == "PAYMENT_ID_REUSED"


# Accounts and settings


async def accounts(service: Any, connection_id: str, **wanted: Any) -> list[Any]:
    """All accounts, one at a time."""
    request, found = pb.ListExportAccountsRequest(connection_id=connection_id, page_size=1, **wanted), []
    while True:
        page = await service.ListExportAccounts(request)
        found += page.accounts
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def test_accounts_come_usable_ones_first(service: Any, connection_id: str) -> None:
    found = await accounts(service, connection_id)
    assert [(one.name, one.usable) for one in found] == [("Business", True), ("Euro", True), ("Abandoned", False)]
    assert (found[0].code, found[0].type, found[0].currency_code) == ("090", "BANK", "NZD")
    assert found[2].problem.reason == pb.EXPORT_ERROR_REASON_ACCOUNT_ARCHIVED
    assert not any(one.chosen for one in found)
    assert [one.name for one in await accounts(service, connection_id, currency_code="EUR")] == ["Euro"]


async def test_settings_are_replaced_unless_somebody_else_was_faster(
    around: World, service: Any, connection_id: str
) -> None:
    export = await accepted(service, connection_id)
    await became(around, export.id, "ERROR", **not_chosen(around))
    read = pb.GetExportSettingsRequest(connection_id=connection_id)
    first = (await service.GetExportSettings(read)).settings
    assert (list(first.accounts), first.overpayment_policy) == ([], pb.OVERPAYMENT_POLICY_HOLD)
    assert not first.HasField("updated_at")
    request = pb.UpdateExportSettingsRequest(
        connection_id=connection_id,
        accounts=[pb.CurrencyAccount(currency_code="NZD", xero_account_id="a-nzd")],
        overpayment_policy=pb.OVERPAYMENT_POLICY_SPLIT,
        refund_xero_account_id="a-rev",
        refund_tax_type="NONE",
        revision=first.revision,
    )
    answer = await service.UpdateExportSettings(request)
    assert answer.exports_woken == 1
    assert (await service.GetExportSettings(read)).settings == answer.settings
    assert answer.settings.accounts == request.accounts
    assert answer.settings.overpayment_policy == pb.OVERPAYMENT_POLICY_SPLIT
    assert (answer.settings.refund_xero_account_id, answer.settings.refund_tax_type) == ("a-rev", "NONE")
    assert [one.chosen for one in await accounts(service, connection_id)] == [True, False, False]
    assert (await refused(service.UpdateExportSettings(request)))[0] == "CHANGED_MEANWHILE"
    request.revision = ""
    assert (await service.UpdateExportSettings(request)).exports_woken == 0


async def test_every_account_that_does_not_fit_is_named(service: Any, connection_id: str) -> None:
    wrong = (("NZD", "a-old"), ("EUR", "a-nzd"), ("NZD", "nothing"))
    request = pb.UpdateExportSettingsRequest(
        connection_id=connection_id,
        accounts=[pb.CurrencyAccount(currency_code=code, xero_account_id=id_) for code, id_ in wrong],
        refund_xero_account_id="a-eur",
    )
    reason, violations = await refused(service.UpdateExportSettings(request))
    assert reason == "INVALID_REQUEST"
    assert set(violations) == {
        "accounts[0].xero_account_id",
        "accounts[1].xero_account_id",
        "accounts[2].currency_code",
        "accounts[2].xero_account_id",
        "refund_xero_account_id",
    }


# Examining


async def test_a_payment_is_examined_and_nothing_is_kept(around: World, service: Any, connection_id: str) -> None:
    request = pb.CheckPaymentRequest(connection_id=connection_id, payment=payment())
    answer = await service.CheckPayment(request)
    assert [one.reason for one in answer.findings] == [pb.EXPORT_ERROR_REASON_ACCOUNT_NOT_CHOSEN]
    assert (list(answer.plan), answer.as_of.ToDatetime(UTC)) == ([], around.clock.now())
    chosen = [pb.CurrencyAccount(currency_code="NZD", xero_account_id="a-nzd")]
    await service.UpdateExportSettings(pb.UpdateExportSettingsRequest(connection_id=connection_id, accounts=chosen))
    answer = await service.CheckPayment(request)
    assert list(answer.findings) == []
    (planned,) = answer.plan
    assert (planned.kind, planned.xero_id, planned.xero_invoice_id) == (pb.XERO_RECORD_KIND_PAYMENT, "", "i1")
    assert (planned.amount, planned.xero_account_id) == (nzd("230.50"), "a-nzd")
    assert await everything(service, connection_id) == []


# Watching


async def test_exports_are_watched_from_the_start_and_from_a_token(
    around: World, service: Any, connection_id: str
) -> None:
    waiting, over = [await accepted(service, connection_id, name) for name in ("pay-1", "pay-2")]
    await became(around, over.id, "VERIFIED")
    watching = service.WatchPaymentExports(pb.WatchPaymentExportsRequest(connection_id=connection_id, from_start=True))
    first, closing = await watching.read(), await watching.read()
    assert (first.snapshot.id, first.resume_token) == (waiting.id, "")
    assert closing.HasField("heartbeat")
    assert closing.resume_token
    await became(around, waiting.id, "ERROR", **not_chosen(around))
    told = await watching.read()
    watching.cancel()
    assert told.change.event.error.reason == pb.EXPORT_ERROR_REASON_ACCOUNT_NOT_CHOSEN
    assert told.change.export.history[-1] == told.change.event
    assert (
        told.change.export == (await service.GetPaymentExport(pb.GetPaymentExportRequest(export_id=waiting.id))).export
    )
    after = pb.WatchPaymentExportsRequest(connection_id=connection_id, after=closing.resume_token)
    again = service.WatchPaymentExports(after)
    assert await again.read() == told
    again.cancel()


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("ListExportAccounts", pb.ListExportAccountsRequest(connection_id="con_none")),
        ("GetExportSettings", pb.GetExportSettingsRequest(connection_id="con_none")),
        ("UpdateExportSettings", pb.UpdateExportSettingsRequest(connection_id="con_none")),
        ("CheckPayment", pb.CheckPaymentRequest(connection_id="con_none", payment=payment())),
        ("ExportPayment", pb.ExportPaymentRequest(connection_id="con_none", payment=payment())),
        ("GetPaymentExport", pb.GetPaymentExportRequest(export_id="exp_none")),
        pytest.param(
            "GetPaymentExport",
            pb.GetPaymentExportRequest(payment=pb.PaymentReference(connection_id="con_none", payment_id="p")),
            id="GetPaymentExport by the caller's id",
        ),
        ("ListPaymentExports", pb.ListPaymentExportsRequest(connection_id="con_none")),
        ("ReexportPayment", pb.ReexportPaymentRequest(export_id="exp_none")),
        ("ReexportPayments", pb.ReexportPaymentsRequest(connection_id="con_none")),
        ("DismissPaymentExport", pb.DismissPaymentExportRequest(export_id="exp_none", note="n")),
        (
            "ReversePayment",
            pb.ReversePaymentRequest(export_id="exp_none", kind=pb.REVERSAL_KIND_REFUND, reversal_id="r"),
        ),
    ],
)
async def test_what_is_not_there_is_not_found(service: Any, call: str, request_: Any) -> None:
    assert (await refused(getattr(service, call)(request_)))[0] == "NOT_FOUND"


async def test_nothing_is_watched_of_a_connection_that_is_not_there(service: Any) -> None:
    watching = service.WatchPaymentExports(pb.WatchPaymentExportsRequest(connection_id="con_none"))
    assert (await refused(watching.read()))[0] == "NOT_FOUND"
