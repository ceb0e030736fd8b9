"""Requests are judged before anything is done with them, and every method is served or said to come."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tieout.v1 import (
    connection_service_pb2 as connection,
)
from tieout.v1 import (
    payment_export_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    sync_service_pb2,
)
from tieout_server.errors import InvalidRequestError, NotServedYetError
from tieout_server.rpc import paging, served
from tieout_server.rpc.connections import ConnectionServicer
from tieout_server.rpc.receivables import ReceivablesServicer
from tieout_server.rpc.reconciliations import ReconciliationServicer
from tieout_server.rpc.syncs import SyncServicer
from tieout_server.rpc.validate import RULES, check

SERVICERS = {
    "ConnectionService": ConnectionServicer,
    "SyncService": SyncServicer,
    "ReceivablesService": ReceivablesServicer,
    "ReconciliationService": ReconciliationServicer,
}
FILES = (
    connection,
    sync_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    payment_export_service_pb2,
)


def methods() -> Iterator[MethodDescriptor]:
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


SERVED = [method for method in methods() if not served.coming(path(method))]


@pytest.mark.parametrize("method", list(methods()), ids=path)
def test_every_method_is_either_served_or_said_to_come(method: MethodDescriptor) -> None:
    servicer = SERVICERS.get(method.containing_service.name)
    assert (servicer is not None and method.name in vars(servicer)) is (method in SERVED)


def test_what_comes_later_names_only_what_is_in_the_api() -> None:
    names = {path(method).removeprefix("/tieout.v1.") for method in methods()}
    assert set(served.COMING) <= names | {name.partition("/")[0] for name in names}


def test_a_method_that_comes_later_is_refused_with_a_sentence() -> None:
    with pytest.raises(NotServedYetError, match="does not serve ExportPayment: exporting payments to Xero comes"):
        served.check("/tieout.v1.PaymentExportService/ExportPayment")


@pytest.mark.parametrize("method", SERVED, ids=path)
def test_every_request_that_is_served_has_rules_for_all_its_texts(method: MethodDescriptor) -> None:
    request = GetMessageClass(method.input_type)()
    for field in method.input_type.fields:
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(request, field.name, "\x00")  # of a oneof the last one stays set
    with pytest.raises(InvalidRequestError) as refusal:
        check(request)
    wrong = {violation.field for violation in refusal.value.violations}
    set_texts = {f.name for f, _ in request.ListFields() if f.type == f.TYPE_STRING}
    assert wrong >= set_texts


def test_rules_exist_only_for_requests_that_are_served() -> None:
    assert {kind.DESCRIPTOR for kind in RULES} == {method.input_type for method in SERVED}


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
