"""Requests are judged before anything is done with them, and every method is served."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tieout.v1 import (
    connection_service_pb2 as connection,
)
from tieout.v1 import (
    payment_export_service_pb2 as exports,
)
from tieout.v1 import (
    receivables_service_pb2,
    reconciliation_service_pb2,
    sync_service_pb2,
)
from tieout.v1.types_pb2 import Money
from tieout_server.errors import InvalidRequestError
from tieout_server.rpc import paging
from tieout_server.rpc.connections import ConnectionServicer
from tieout_server.rpc.exports import PaymentExportServicer
from tieout_server.rpc.receivables import ReceivablesServicer
from tieout_server.rpc.reconciliations import ReconciliationServicer
from tieout_server.rpc.syncs import SyncServicer
from tieout_server.rpc.validate import RULES, check

SERVICERS = {
    "ConnectionService": ConnectionServicer,
    "SyncService": SyncServicer,
    "ReceivablesService": ReceivablesServicer,
    "ReconciliationService": ReconciliationServicer,
    "PaymentExportService": PaymentExportServicer,
}
FILES = (
    connection,
    sync_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    exports,
)


def methods() -> Iterator[MethodDescriptor]:
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


@pytest.mark.parametrize("method", list(methods()), ids=path)
def test_every_method_is_served(method: MethodDescriptor) -> None:
    assert method.name in vars(SERVICERS[method.containing_service.name])


@pytest.mark.parametrize("method", list(methods()), ids=path)
def test_every_request_has_rules_for_all_its_texts(method: MethodDescriptor) -> None:
    request = GetMessageClass(method.input_type)()
    for field in method.input_type.fields:
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(request, field.name, "\x00")  # of a oneof the last one stays set
    with pytest.raises(InvalidRequestError) as refusal:
        check(request)
    wrong = {violation.field for violation in refusal.value.violations}
    set_texts = {f.name for f, _ in request.ListFields() if f.type == f.TYPE_STRING}
    assert wrong >= set_texts


def test_rules_exist_only_for_requests() -> None:
    assert {kind.DESCRIPTOR for kind in RULES} == {method.input_type for method in methods()}


def violations(request: Message) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as refusal:
        check(request)
    return {violation.field: violation.rule for violation in refusal.value.violations}


def test_every_violation_is_named_at_once() -> None:
    request = connection.ConnectRequest(return_url="x" * 2001, request_id="y" * 65)
    assert violations(request) == {
        "merchant_id": "is required",
        "return_url": "may have 2000 characters at most, not 2001",
        "request_id": "may have 64 characters at most, not 65",
    }


@pytest.mark.parametrize(
    ("request_", "field", "rule"),
    [
        (connection.WatchConnectionsRequest(after="t", from_start=True), "after", "excludes from_start"),
        (
            connection.WatchConnectionsRequest(merchant_id="m", connection_ids=["c"]),
            "connection_ids",
            "excludes merchant_id",
        ),
        (connection.WatchConnectionsRequest(connection_ids=["c", ""]), "connection_ids[1]", "must not be empty"),
        (
            connection.WatchConnectionsRequest(connection_ids=["c"] * 1001),
            "connection_ids",
            "may name 1000 at most, not 1001",
        ),
        (connection.ListConnectionsRequest(page_size=-1), "page_size", "must not be negative"),
        (connection.ListConnectionsRequest(states=[77]), "states[0]", "has no value 77"),  # type: ignore[list-item] # a value to come
        (connection.ListConnectionsRequest(states=[0]), "states[0]", "must be stated"),  # type: ignore[list-item] # the unspecified one
        (sync_service_pb2.WatchSyncRequest(), "sync_id", "is required, or connection_id"),
        (
            receivables_service_pb2.ListInvoicesRequest(connection_id="c", due_before="20261122"),
            "due_before",
            "must be a date such as 2026-11-22",
        ),
        (
            receivables_service_pb2.ListInvoicesRequest(connection_id="c", currency_code="nzd"),
            "currency_code",
            "must be an ISO 4217 code such as NZD",
        ),
        (
            receivables_service_pb2.ListInvoicesRequest(
                connection_id="c", statuses=[receivables_service_pb2.INVOICE_STATUS_DRAFT]
            ),
            "statuses[0]",
            "must be AUTHORISED or PAID: no others are listed",
        ),
        (reconciliation_service_pb2.CheckChaseRequest(connection_id="c"), "invoices", "is required"),
        (
            reconciliation_service_pb2.CheckChaseRequest(
                connection_id="c", invoices=[reconciliation_service_pb2.InvoiceReference()] * 1001
            ),
            "invoices",
            "may have 1000 at most, not 1001",
        ),
        (
            reconciliation_service_pb2.AcknowledgeDiscrepancyRequest(discrepancy_id="d", note="\x1b[2J"),
            "note",
            "must not contain control characters",
        ),
        (
            reconciliation_service_pb2.ReportDiscrepancyRequest(connection_id="c", description="Something is off."),
            "customer_ids",
            "is required, or invoices or payment_ids",
        ),
    ],
)
def test_a_broken_rule_is_named(request_: Message, field: str, rule: str) -> None:
    assert violations(request_) == {field: rule}


def test_of_many_broken_items_the_first_are_named() -> None:
    nameless = [reconciliation_service_pb2.InvoiceReference()] * 1000
    request = reconciliation_service_pb2.CheckChaseRequest(connection_id="c", invoices=nameless)
    rule = "is required, or xero_invoice_id or invoice_number"
    assert violations(request) == {f"invoices[{index}].invoice_id": rule for index in range(10)}


def test_a_note_may_have_several_lines() -> None:
    check(reconciliation_service_pb2.AcknowledgeDiscrepancyRequest(discrepancy_id="d", note="One.\n\tTwo.\r\n"))


def test_an_instant_beyond_the_calendar_is_refused() -> None:
    request = receivables_service_pb2.ListCustomersRequest(connection_id="c")
    request.updated_after.seconds = 2**60
    assert violations(request) == {"updated_after": "must lie between the years 1 and 9999"}


@pytest.mark.parametrize("search", ["O\u00a0Brien", "ไม้\u200bไผ่", "👩\u200d🌾", "\ufefffirst"])
def test_a_text_may_hold_whatever_people_write(search: str) -> None:
    check(receivables_service_pb2.ListCustomersRequest(connection_id="c", search=search))


@pytest.mark.parametrize("control", ["\x00", "\n", "\x1b", "\x7f", "\x85"])
def test_a_text_holds_no_control_characters(control: str) -> None:
    request = receivables_service_pb2.ListCustomersRequest(connection_id="c", search=f"a{control}b")
    assert violations(request) == {"search": "must not contain control characters"}


def test_a_wrong_page_token_is_named_together_with_the_rest() -> None:
    other = paging.token_after(connection.ListConnectionsRequest(merchant_id="m"), (5, "con_5"))
    for token, rule in (("x", "is not a token of this service"), (other, "belongs to another request")):
        request = connection.ListConnectionsRequest(page_size=-1, page_token=token)
        assert violations(request) == {"page_size": "must not be negative", "page_token": rule}


def test_a_page_token_leads_on_within_its_request_only() -> None:
    request = connection.ListConnectionsRequest(merchant_id="m", page_size=10)
    token = paging.token_after(request, (5, "con_5"))
    other_size = connection.ListConnectionsRequest(merchant_id="m", page_size=20, page_token=token)
    assert paging.key_of(other_size, token, tuple[int, str]) == (5, "con_5")
    with pytest.raises(InvalidRequestError, match="belongs to another request"):
        paging.key_of(connection.ListConnectionsRequest(merchant_id="n"), token, tuple[int, str])


@pytest.mark.parametrize("token", ["x", "%%%", "e30", "ünlesbar", "W10"])
def test_a_page_token_that_was_never_given_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequestError):
        paging.key_of(connection.ListConnectionsRequest(), token, tuple[int, str])


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (1000, 1000), (5000, 1000)])
def test_the_size_of_a_page_is_kept_within_bounds(asked: int, given: int) -> None:
    assert paging.size_of(connection.ListConnectionsRequest(page_size=asked)) == given


# Payments


def payment(**other: Any) -> exports.PlatformPayment:  # noqa: ANN401 - any of its fields
    """A sound payment, unless something is put in its place."""
    nzd = Money(currency_code="NZD", amount="230.50")
    lines = [exports.PaymentLine(invoice_number="INV-1", amount=nzd)]
    sound: dict[str, Any] = {"payment_id": "p-1", "paid_on": "2026-11-22", "amount": nzd, "lines": lines}
    return exports.PlatformPayment(**(sound | other))


def line(amount: str, currency: str = "NZD", **named: str) -> exports.PaymentLine:
    return exports.PaymentLine(
        **(named or {"invoice_number": "INV-1"}), amount=Money(currency_code=currency, amount=amount)
    )


def test_a_sound_payment_is_let_through() -> None:
    check(exports.ExportPaymentRequest(connection_id="c", payment=payment()))
    part = payment(lines=[line("200.00"), line("30", xero_invoice_id="i-1")])
    check(exports.CheckPaymentRequest(connection_id="c", payment=part))


@pytest.mark.parametrize("request_", [exports.ExportPaymentRequest, exports.CheckPaymentRequest])
def test_a_payment_has_to_be_there(request_: type[Message]) -> None:
    assert violations(request_(connection_id="c")) == {"payment": "is required"}


def test_everything_that_is_wrong_with_a_payment_is_named() -> None:
    broken = exports.PlatformPayment(
        amount=Money(currency_code="nzd", amount="1e3"),
        lines=[line("0"), exports.PaymentLine(), line("-5", xero_invoice_id="")],
        reference="x" * 201,
        method=77,  # type: ignore[arg-type] # a value to come
    )
    assert violations(exports.ExportPaymentRequest(connection_id="c", payment=broken)) == {
        "payment.payment_id": "is required",
        "payment.paid_on": "is required",
        "payment.amount.currency_code": "must be an ISO 4217 code such as NZD",
        "payment.amount.amount": "must be a decimal number such as -12.50, with four decimals at most",
        "payment.lines[0].amount.amount": "must be above zero",
        "payment.lines[1].xero_invoice_id": "is required, or invoice_number",
        "payment.lines[1].amount": "is required",
        "payment.lines[2].xero_invoice_id": "is required",
        "payment.lines[2].amount.amount": "must be above zero",
        "payment.reference": "may have 200 characters at most, not 201",
        "payment.method": "has no value 77",
    }


@pytest.mark.parametrize(
    ("changed", "field", "rule"),
    [
        ({"lines": []}, "lines", "is required"),
        ({"lines": [line("1")] * 201}, "lines", "may have 200 at most, not 201"),
        ({"paid_on": "22.11.2026"}, "paid_on", "must be a date such as 2026-11-22"),
        (
            {"lines": [line("1"), line("1", "EUR")]},
            "lines[1].amount.currency_code",
            "must be that of the payment, NZD",
        ),
        (
            {"lines": [line("230.50"), line("0.01")]},
            "lines",
            "add up to 230.51, which is more than the amount, 230.50",
        ),
    ],
)
def test_a_payment_that_does_not_add_up_is_refused(changed: dict[str, Any], field: str, rule: str) -> None:
    request = exports.ExportPaymentRequest(connection_id="c", payment=payment(**changed))
    assert violations(request) == {f"payment.{field}": rule}


@pytest.mark.parametrize(
    ("request_", "broken"),
    [
        (exports.GetPaymentExportRequest(), {"export_id": "is required, or payment"}),
        (exports.GetPaymentExportRequest(export_id=""), {"export_id": "is required"}),
        (
            exports.GetPaymentExportRequest(payment=exports.PaymentReference()),
            {"payment.connection_id": "is required", "payment.payment_id": "is required"},
        ),
        (
            exports.ReversePaymentRequest(export_id="e", amount=Money(currency_code="NZD", amount="0.00")),
            {"kind": "must be stated", "reversal_id": "is required", "amount.amount": "must be above zero"},
        ),
        (exports.DismissPaymentExportRequest(export_id="e"), {"note": "is required"}),
        (
            exports.UpdateExportSettingsRequest(connection_id="c", accounts=[exports.CurrencyAccount()]),
            {"accounts[0].currency_code": "is required", "accounts[0].xero_account_id": "is required"},
        ),
    ],
)
def test_requests_about_exports_name_what_is_wrong(request_: Message, broken: dict[str, str]) -> None:
    assert violations(request_) == broken
