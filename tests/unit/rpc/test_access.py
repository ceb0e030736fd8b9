"""The table of what each RPC needs is complete, and the operators' page says the same."""

import re
from pathlib import Path

import pytest

from neighbours import METHODS
from tieout.v1.connection_service_pb2 import WatchConnectionsRequest
from tieout.v1.payment_export_service_pb2 import GetPaymentExportRequest
from tieout.v1.reconciliation_service_pb2 import ReportDiscrepancyRequest
from tieout_server.callers.caller import Caller, Role
from tieout_server.rpc.access import NEEDS, Kind, need_of

PAGE = Path(__file__).parents[3] / "server/operations/callers.md"
EVERY = {f"/{method.containing_service.full_name}/{name}": method for name, method in METHODS.items()}


def test_no_rpc_is_without_a_need_and_no_need_without_an_rpc() -> None:
    assert set(NEEDS) == set(EVERY)


@pytest.mark.parametrize("method", sorted(EVERY))
def test_what_an_rpc_is_about_are_fields_of_its_request(method: str) -> None:
    for path in NEEDS[method].about:
        message = EVERY[method].input_type
        *parents, leaf = path.split(".")
        for name in parents:
            inner = message.fields_by_name[name].message_type
            assert inner is not None
            message = inner
        assert message.fields_by_name[leaf].type == message.fields_by_name[leaf].TYPE_STRING


@pytest.mark.parametrize("method", sorted(EVERY))
def test_every_id_that_leads_to_a_connection_by_itself_is_looked_at(method: str) -> None:
    """An id of ours at the top of a request; what is within a connection is found in that connection only."""
    leading = {"merchant_id", "connection_id", "connection_ids", "sync_id", "reconciliation_id", "discrepancy_id",
               "case_id", "export_id", "state"}  # fmt: skip
    fields = leading & {one.name for one in EVERY[method].input_type.fields}
    assert fields == {path for path in NEEDS[method].about if "." not in path}


@pytest.mark.parametrize("method", sorted(EVERY))
def test_what_reads_takes_no_more_than_a_reader_and_what_acts_goes_on_record(method: str) -> None:
    need = NEEDS[method]
    assert need.acts is (need.role is not Role.READER) or method.endswith("ListAuditEvents")
    reads = ("Get", "List", "Watch", "Explain", "CheckPayment", "CheckChase", "ExportEvidence")
    assert need.acts is not method.rpartition("/")[2].startswith(reads)


@pytest.mark.parametrize("method", ["/tieout.v1.ConnectionService/Improve", "/grpc.unknown.Service/Do"])
def test_what_is_in_no_table_is_nobodys(method: str) -> None:
    assert need_of(method) is None


@pytest.mark.parametrize(
    ("roles", "may"),
    [
        ((), set()),
        ((Role.READER,), {Role.READER}),
        ((Role.OPERATOR,), {Role.READER, Role.OPERATOR}),
        ((Role.EXPORTER,), {Role.READER, Role.EXPORTER}),
    ],
)
def test_an_operator_and_an_exporter_read_and_neither_is_the_other(roles: tuple[Role, ...], may: set[Role]) -> None:
    caller = Caller("c", "key", frozenset(roles))
    assert {role for role in Role if caller.has(role)} == may


def test_what_a_request_is_about_is_found_wherever_it_stands() -> None:
    several = WatchConnectionsRequest(connection_ids=["con_2", "con_1"])
    inner = GetPaymentExportRequest()
    inner.payment.connection_id = "con_3"
    named = [tuple(NEEDS[f"/tieout.v1.{name}"].named(request)) for name, request in (
        ("ConnectionService/WatchConnections", several),
        ("PaymentExportService/GetPaymentExport", inner),
        ("ReconciliationService/ReportDiscrepancy", ReportDiscrepancyRequest()),
    )]  # fmt: skip
    assert named == [((Kind.CONNECTION, "con_1"), (Kind.CONNECTION, "con_2")), ((Kind.CONNECTION, "con_3"),), ()]


def test_the_operators_page_has_every_rpc_with_its_role() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (reader|operator|exporter) \| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    told = {name: (role, recorded == "yes") for name, role, recorded in rows}
    assert told == {name.rpartition("/")[2]: (str(need.role), need.acts) for name, need in NEEDS.items()}
