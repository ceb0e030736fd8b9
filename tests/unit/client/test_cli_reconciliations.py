"""The commands of ReconciliationService: comparing, what differs, the proof of it, and the caller's own books."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from typer.testing import Result

from tieout.v1.receivables_service_pb2 import Customer, GetCustomerRequest, GetCustomerResponse
from tieout.v1.reconciliation_service_pb2 import (
    AcknowledgeDiscrepancyRequest,
    AcknowledgeDiscrepancyResponse,
    BalanceComparison,
    Case,
    CauseShare,
    ChaseCheck,
    ChaseVerdict,
    CheckChaseRequest,
    CheckChaseResponse,
    Discrepancy,
    DiscrepancyCause,
    DiscrepancyChange,
    DiscrepancyDocument,
    DiscrepancyEvent,
    DiscrepancyState,
    DocumentValues,
    EvidenceHeader,
    ExportEvidenceRequest,
    ExportEvidenceResponse,
    GetDiscrepancyRequest,
    GetDiscrepancyResponse,
    ListDiscrepanciesRequest,
    ListDiscrepanciesResponse,
    PlatformDifference,
    PlatformVerdict,
    ReconcileCustomerRequest,
    ReconcileCustomerResponse,
    Reconciliation,
    ReconciliationState,
    Repair,
    ReportDiscrepancyRequest,
    ReportDiscrepancyResponse,
    StartReconciliationRequest,
    StartReconciliationResponse,
    SubmitPlatformBalancesRequest,
    SubmitPlatformBalancesResponse,
    WatchDiscrepanciesRequest,
    WatchDiscrepanciesResponse,
    WatchReconciliationRequest,
    WatchReconciliationResponse,
)
from tieout.v1.types_pb2 import Entity, Heartbeat, Money, Owner

Context = grpc.ServicerContext
Cli = Callable[..., Result]

GUID = "6f3b3c1e-0f1a-4b7e-9a55-8f0c6f0d2a11"
PACK = b"PK" * 100_000


def nzd(amount: str) -> Money:
    return Money(currency_code="NZD", amount=amount)


SIDES = {"ours": nzd("230.50"), "xero": nzd("0.00"), "difference": nzd("230.50")}
VOIDED = DiscrepancyCause.DISCREPANCY_CAUSE_MISSED_DELETION
DISCREPANCY = Discrepancy(
    id="dis_1",
    customer_name="Zebra [Ltd]",
    currency_code="NZD",
    **SIDES,  # type: ignore[arg-type] # each is a Money
    cause=VOIDED,
    causes=[CauseShare(cause=VOIDED, amount=nzd("230.50"), sentence="INV-4 is voided in Xero.")],
    documents=[
        DiscrepancyDocument(
            entity=Entity.ENTITY_INVOICES,
            number="INV-4",
            cause=VOIDED,
            ours=DocumentValues(status="AUTHORISED", amount_due=nzd("230.50")),
            difference=nzd("230.50"),
        )
    ],
    state=DiscrepancyState.DISCREPANCY_STATE_NEEDS_ATTENTION,
    sentence="We have 230.50 NZD more than Xero.",
    owner=Owner.OWNER_MERCHANT,
    history=[
        DiscrepancyEvent(
            state=DiscrepancyState.DISCREPANCY_STATE_OPENED, sentence="They differ.", difference=nzd("230.50")
        )
    ],
)


def not_found(context: Context, kind: str) -> None:
    """End the call as the service does for what is not there."""
    info = error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="tieout.v1", metadata={"kind": kind})
    status = status_pb2.Status(code=code_pb2.NOT_FOUND, message=f"There is no {kind}.")
    status.details.add().Pack(info)
    context.abort_with_status(rpc_status.to_status(status))


class Service:
    """A service with a customer who is off balance."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.answer = ReconcileCustomerResponse(
            balances=[BalanceComparison(currency_code="NZD", **SIDES)],  # type: ignore[arg-type] # each is a Money
            repairs=[
                Repair(
                    entity=Entity.ENTITY_CREDIT_NOTES,
                    number="CN-1",
                    cause=DiscrepancyCause.DISCREPANCY_CAUSE_STALE_DOCUMENT,
                    before=DocumentValues(status="AUTHORISED", remaining_credit=nzd("20.00")),
                    after=DocumentValues(status="PAID", remaining_credit=nzd("0.00")),
                )
            ],
            discrepancies=[DISCREPANCY],
            calls_used=6,
        )
        self.told: list[WatchReconciliationResponse] = []
        self.checksum = hashlib.sha256(PACK).hexdigest()
        names = (
            "ReconcileCustomer StartReconciliation WatchReconciliation ListDiscrepancies GetDiscrepancy"
            " WatchDiscrepancies AcknowledgeDiscrepancy ReportDiscrepancy ExportEvidence SubmitPlatformBalances"
            " CheckChase"
        )
        self.calls: dict[str, Callable[..., object]] = {
            f"ReconciliationService/{name}": getattr(self, re.sub("(?<!^)([A-Z])", r"_\1", name).lower())
            for name in names.split()
        } | {"ReceivablesService/GetCustomer": self.get_customer}

    def get_customer(self, request: GetCustomerRequest, _context: Context) -> GetCustomerResponse:
        return GetCustomerResponse(customer=Customer(id=request.customer_id, name="Zebra [Ltd]"))

    def reconcile_customer(self, request: ReconcileCustomerRequest, _context: Context) -> ReconcileCustomerResponse:
        self.requests.append(request)
        return self.answer

    def start_reconciliation(
        self, request: StartReconciliationRequest, _context: Context
    ) -> StartReconciliationResponse:
        self.requests.append(request)
        queued = ReconciliationState.RECONCILIATION_STATE_QUEUED
        return StartReconciliationResponse(reconciliation=Reconciliation(id="rec_1", state=queued))

    def watch_reconciliation(
        self, request: WatchReconciliationRequest, _context: Context
    ) -> Iterator[WatchReconciliationResponse]:
        self.requests.append(request)
        yield from self.told

    def list_discrepancies(self, request: ListDiscrepanciesRequest, _context: Context) -> ListDiscrepanciesResponse:
        self.requests.append(request)
        return ListDiscrepanciesResponse(discrepancies=[DISCREPANCY] * 2)

    def get_discrepancy(self, request: GetDiscrepancyRequest, context: Context) -> GetDiscrepancyResponse:
        if request.discrepancy_id != "dis_1":
            not_found(context, "discrepancy")
        return GetDiscrepancyResponse(discrepancy=DISCREPANCY)

    def watch_discrepancies(
        self, request: WatchDiscrepanciesRequest, context: Context
    ) -> Iterator[WatchDiscrepanciesResponse]:
        self.requests.append(request)
        yield WatchDiscrepanciesResponse(snapshot=DISCREPANCY)
        yield WatchDiscrepanciesResponse(resume_token="t1", heartbeat=Heartbeat())
        change = DiscrepancyChange(event=DISCREPANCY.history[0], discrepancy=DISCREPANCY)
        yield WatchDiscrepanciesResponse(resume_token="t2", change=change)
        not_found(context, "connection")  # for good: a watch goes on otherwise

    def acknowledge_discrepancy(
        self, request: AcknowledgeDiscrepancyRequest, _context: Context
    ) -> AcknowledgeDiscrepancyResponse:
        self.requests.append(request)
        known = Discrepancy(id=request.discrepancy_id, state=DiscrepancyState.DISCREPANCY_STATE_ACKNOWLEDGED)
        return AcknowledgeDiscrepancyResponse(discrepancy=known)

    def report_discrepancy(self, request: ReportDiscrepancyRequest, _context: Context) -> ReportDiscrepancyResponse:
        self.requests.append(request)
        return ReportDiscrepancyResponse(case=Case(id="cas_1", sentence="The customer is off balance."))

    def export_evidence(self, request: ExportEvidenceRequest, context: Context) -> Iterator[ExportEvidenceResponse]:
        if request.discrepancy_id and request.discrepancy_id != "dis_1":
            not_found(context, "discrepancy")
        if request.case_id and request.case_id != "cas_1":
            not_found(context, "case")
        header = EvidenceHeader(file_name="../zebra-2026-11-22.zip", size_bytes=len(PACK))
        yield ExportEvidenceResponse(header=header)
        for start in range(0, len(PACK), 65_536):
            yield ExportEvidenceResponse(chunk=PACK[start : start + 65_536])
        yield ExportEvidenceResponse(sha256=self.checksum)

    def submit_platform_balances(
        self, requests: Iterator[SubmitPlatformBalancesRequest], _context: Context
    ) -> SubmitPlatformBalancesResponse:
        self.requests.extend(requests)
        sides = BalanceComparison(customer_id="c2", ours=nzd("1.00"), xero=nzd("1.00"), platform=nzd("2.00"))
        differs = PlatformVerdict.PLATFORM_VERDICT_PLATFORM_DIFFERS
        unknown = PlatformDifference(
            balances=BalanceComparison(platform=nzd("7.00")),
            unknown_customer="x",
            verdict=PlatformVerdict.PLATFORM_VERDICT_UNKNOWN_CUSTOMER,
        )
        differences = [PlatformDifference(balances=sides, verdict=differs), unknown]
        return SubmitPlatformBalancesResponse(received=2, agreeing=1, differing=1, differences=differences)

    def check_chase(self, request: CheckChaseRequest, _context: Context) -> CheckChaseResponse:
        self.requests.append(request)
        verdict = ChaseVerdict.CHASE_VERDICT_OFF_BALANCE
        return CheckChaseResponse(
            checks=[
                ChaseCheck(invoice=it, verdict=verdict, amount_due=nzd("5.00"), sentence="Not now.")
                for it in request.invoices
            ]
        )


def test_one_customer_is_compared_and_what_is_off_is_explained(cli: Cli) -> None:
    service = Service()
    result = cli(service.calls, "reconcile", "acme", "k1")
    assert result.exit_code == 3
    assert re.search(r"NZD +230\.50 NZD +0\.00 NZD +\+230\.50 NZD", result.stdout)
    assert "Repaired credit note CN-1 (stale document): AUTHORISED 20.00 NZD → PAID 0.00 NZD" in result.stdout
    assert "We have 230.50 NZD more than Xero." in result.stdout
    assert re.search(r"invoice INV-4 +AUTHORISED 230\.50 NZD +not there +\+230\.50 NZD", result.stdout)
    assert "`tieout evidence dis_1`" in result.stdout
    (request,) = service.requests
    assert request == ReconcileCustomerRequest(connection_id="c1", customer_id="k1")


def test_each_of_several_causes_is_shown_with_its_part(cli: Cli) -> None:
    service = Service()
    (found,) = service.answer.discrepancies
    found.causes.add(cause=DiscrepancyCause.DISCREPANCY_CAUSE_ROUNDING, amount=nzd("-0.07"), sentence="Overridden.")
    shown = cli(service.calls, "reconcile", "acme", "k1").stdout
    assert re.search(r"missed deletion +\+230\.50 NZD +INV-4 is voided in Xero\.", shown)
    assert re.search(r"rounding +-0\.07 NZD +Overridden\.", shown)


def test_a_customer_that_agrees_is_said_to(cli: Cli) -> None:
    service = Service()
    del service.answer.discrepancies[:]
    result = cli(service.calls, "reconcile", "acme", "k1")
    assert (result.exit_code, "Zebra [Ltd] agrees with Xero. Calls: 6." in result.stdout) == (0, True)


def test_an_organisation_is_compared_within_the_calls_given(cli: Cli) -> None:
    service = Service()
    result = cli(service.calls, "reconcile", "acme", "--max-calls", "9")
    assert "Reconciliation rec_1 has been started and is queued; --follow shows it." in result.stdout
    (request,) = service.requests
    assert isinstance(request, StartReconciliationRequest)
    assert (request.max_calls, len(request.request_id)) == (9, 36)


def test_a_reconciliation_is_followed_to_its_end_and_summed_up(cli: Cli) -> None:
    service = Service()
    running, done = (
        ReconciliationState.RECONCILIATION_STATE_RUNNING,
        ReconciliationState.RECONCILIATION_STATE_SUCCEEDED,
    )
    half = Reconciliation(id="rec_1", state=running, percent=50, customers=4, compared=2)
    totals = [BalanceComparison(currency_code="NZD", **SIDES)]  # type: ignore[arg-type] # each is a Money
    ended = Reconciliation(
        id="rec_1", connection_id="c1", state=done, percent=100, customers=4, compared=4, off_balance=1, totals=totals,
        agreeing=3, left_over=2,
    )  # fmt: skip
    service.told = [WatchReconciliationResponse(reconciliation=it) for it in (half, half, ended)]
    result = cli(service.calls, "reconcile", "acme", "--follow")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[:2] == [
        " 50.0 %  running  2/4 customers",
        "100.0 %  succeeded  4/4 customers  1 off balance",
    ]
    assert "Customers: 3 agree, 1 off balance. Differences repaired: 0." in result.stdout
    assert "Not compared within the calls: 2." in result.stdout
    assert "`tieout discrepancies c1` says why." in result.stdout


def test_discrepancies_are_listed_by_what_is_asked_for(cli: Cli) -> None:
    service = Service()
    filters = ("--state", "resolved", "--cause", "missed-deletion", "--customer", "k1", "--limit", "1")
    result = cli(service.calls, "discrepancies", "acme", *filters)
    assert re.search(r"Zebra \[Ltd\] .*\+230\.50 NZD +missed deletion +needs attention +dis_1", result.stdout)
    assert "There are more" in result.stdout
    (request,) = service.requests
    assert request == ListDiscrepanciesRequest(
        connection_id="c1",
        states=[DiscrepancyState.DISCREPANCY_STATE_RESOLVED],
        causes=[VOIDED],
        customer_id="k1",
        page_size=2,
    )


def test_one_discrepancy_is_shown_with_its_history(cli: Cli) -> None:
    shown = cli(Service().calls, "discrepancy", "dis_1").stdout
    for part in (
        "who acts",
        "merchant",
        "+230.50 NZD",
        "missed deletion",
        "We have 230.50 NZD more than Xero.",
        "They differ.",
        "opened",
    ):
        assert part in shown


def test_a_discrepancy_that_is_not_there_is_told_where_to_look(cli: Cli) -> None:
    result = cli(Service().calls, "discrepancy", "dis_2")
    assert result.exit_code == 2
    assert "`tieout discrepancies CONNECTION` lists them." in result.stderr


def test_a_discrepancy_is_acknowledged_with_a_note(cli: Cli) -> None:
    service = Service()
    assert "dis_1 is acknowledged" in cli(service.calls, "acknowledge", "dis_1", "--note", "We know.").stdout
    (request,) = service.requests
    assert isinstance(request, AcknowledgeDiscrepancyRequest)
    assert request.note == "We know."


def test_discrepancies_are_followed(cli: Cli) -> None:
    service = Service()
    shown = cli(service.calls, "watch", "discrepancies", "acme").stdout.splitlines()
    assert shown[0].startswith("dis_1  Zebra [Ltd]  230.50 NZD  needs attention: We have")
    assert shown[1].endswith("dis_1  Zebra [Ltd]  230.50 NZD  opened: They differ.")
    (request,) = service.requests
    assert request == WatchDiscrepanciesRequest(connection_id="c1", from_start=True)


@pytest.mark.parametrize("subject", ["dis_1", "cas_1"])
def test_evidence_is_written_under_its_own_name_in_the_directory(cli: Cli, tmp_path: Path, subject: str) -> None:
    result = cli(Service().calls, "evidence", subject, "--output", str(tmp_path))
    assert result.exit_code == 0, result.stderr
    assert [it.name for it in tmp_path.iterdir()] == ["zebra-2026-11-22.zip"]
    assert (tmp_path / "zebra-2026-11-22.zip").read_bytes() == PACK


def test_evidence_is_written_under_the_name_given(cli: Cli, tmp_path: Path) -> None:
    result = cli(Service().calls, "evidence", "dis_1", "--output", str(tmp_path / "proof.zip"), "--json")
    assert json.loads(result.stdout)["size_bytes"] == str(len(PACK))
    assert (tmp_path / "proof.zip").read_bytes() == PACK


def test_evidence_that_did_not_come_whole_is_not_written(cli: Cli, tmp_path: Path) -> None:
    service = Service()
    service.checksum = "0" * 64
    result = cli(service.calls, "evidence", "dis_1", "--output", str(tmp_path))
    assert result.exit_code == 1
    assert "did not come whole" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_evidence_of_nothing_is_refused(cli: Cli) -> None:
    result = cli(Service().calls, "evidence", "nothing")
    assert result.exit_code == 2
    assert "There is no discrepancy and no case 'nothing'." in result.stderr


def test_a_report_names_what_it_is_about(cli: Cli) -> None:
    service = Service()
    about = ("--customer", "k1", "--invoice", "INV-1", "--invoice", GUID, "--payment", "p1")
    result = cli(service.calls, "report", "acme", "It is too much.", *about)
    assert "`tieout evidence cas_1` writes what was found." in result.stdout
    (request,) = service.requests
    assert isinstance(request, ReportDiscrepancyRequest)
    assert (list(request.customer_ids), list(request.payment_ids)) == (["k1"], ["p1"])
    assert [it.WhichOneof("reference") for it in request.invoices] == ["invoice_number", "invoice_id"]


def test_invoices_are_checked_before_they_are_chased(cli: Cli) -> None:
    service = Service()
    result = cli(service.calls, "chase-check", "acme", "INV-1", GUID)
    assert re.search(r"INV-1 +off balance +5\.00 NZD .*Not now\.", result.stdout)
    (request,) = service.requests
    assert isinstance(request, CheckChaseRequest)
    assert [it.invoice_id for it in request.invoices] == ["", GUID]


def test_the_balances_of_a_file_are_submitted_a_thousand_at_a_time(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "balances.csv"
    rows = "".join(f'c{n},NZD,"1,230.50"\n' for n in range(1500))
    file.write_text(f"\ufeffcustomer,currency,balance\n{rows}")
    service = Service()
    result = cli(service.calls, "platform-balances", "acme", str(file), "--as-of", "2026-11-22T10:00:00")
    assert re.search(r"c2 +1\.00 NZD +1\.00 NZD +2\.00 NZD +platform differs", result.stdout)
    assert re.search(r"x +7\.00 NZD +unknown customer", result.stdout), "neither side here says 0.00 of it"
    assert "2 balances received, 1 agree on all three sides, 1 do not" in result.stdout
    sent = [it for it in service.requests if isinstance(it, SubmitPlatformBalancesRequest)]
    assert [(it.connection_id, len(it.balances)) for it in sent] == [("c1", 1000), ("", 500)]
    assert sent[0].as_of.ToJsonString() == "2026-11-22T10:00:00Z"
    assert sent[0].balances[0].balance == nzd("1230.50")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("customer,balance\nc1,5\n", "'currency' is missing"),
        ("customer,currency,balance\nc1,NZD,much\n", "Line 2: 'much' is no amount such as 1234.50 or 1,234.50."),
        ('customer,currency,balance\nc1,EUR,"12,50"\n', "Line 2: '12,50' is no amount"),
        ("customer,currency,balance\nc1\n", "Line 2: '' is no amount"),
    ],
)
def test_a_file_that_is_no_list_of_balances_is_refused_by_its_line(
    cli: Cli, tmp_path: Path, content: str, sentence: str
) -> None:
    file = tmp_path / "balances.csv"
    file.write_text(content)
    result = cli(Service().calls, "platform-balances", "acme", str(file))
    assert result.exit_code == 2
    assert sentence in result.stderr
