"""The commands about payments into Xero: hand them over, see what became of them, choose where they go."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from typer.testing import Result

from tieout.v1.connection_service_pb2 import Connection, GetConnectionResponse, Organisation
from tieout.v1.payment_export_service_pb2 import (
    CheckPaymentRequest,
    CheckPaymentResponse,
    CurrencyAccount,
    DismissPaymentExportRequest,
    DismissPaymentExportResponse,
    ExportAccount,
    ExportError,
    ExportErrorReason,
    ExportPaymentRequest,
    ExportPaymentResponse,
    ExportSettings,
    GetExportSettingsRequest,
    GetExportSettingsResponse,
    GetPaymentExportRequest,
    GetPaymentExportResponse,
    ListExportAccountsRequest,
    ListExportAccountsResponse,
    ListPaymentExportsRequest,
    ListPaymentExportsResponse,
    OverpaymentPolicy,
    PaymentExport,
    PaymentExportChange,
    PaymentExportEvent,
    PaymentLine,
    PaymentMethod,
    PlatformPayment,
    ReexportPaymentRequest,
    ReexportPaymentResponse,
    ReexportPaymentsRequest,
    ReexportPaymentsResponse,
    Reversal,
    ReversalKind,
    ReversePaymentRequest,
    ReversePaymentResponse,
    UpdateExportSettingsRequest,
    UpdateExportSettingsResponse,
    WatchPaymentExportsRequest,
    WatchPaymentExportsResponse,
    XeroRecord,
    XeroRecordKind,
    XeroStatus,
)
from tieout.v1.receivables_service_pb2 import Account, Change, WatchChangesRequest, WatchChangesResponse
from tieout.v1.types_pb2 import Heartbeat, Money, Owner

Context = grpc.ServicerContext
Cli = Callable[..., Result]
GUID = "7f0c0d1e-94b4-4f5c-8a35-6d4f8e0f0001"
QUEUED, VERIFIED, ERROR = (
    XeroStatus.XERO_STATUS_QUEUED,
    XeroStatus.XERO_STATUS_VERIFIED,
    XeroStatus.XERO_STATUS_ERROR,
)
NOT_CHOSEN = ExportErrorReason.EXPORT_ERROR_REASON_ACCOUNT_NOT_CHOSEN


def nzd(amount: str) -> Money:
    return Money(currency_code="NZD", amount=amount)


def at(second: int) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime(2026, 11, 22, 12, 0, second, tzinfo=UTC))
    return made


PAYMENT = PlatformPayment(
    payment_id="pay-1",
    paid_on="2026-11-22",
    amount=nzd("230.50"),
    lines=[PaymentLine(invoice_number="INV-1", amount=nzd("230.50"))],
)
TROUBLE = ExportError(
    reason=NOT_CHOSEN,
    sentence="No account is chosen for payments in NZD.",
    remedy="Choose the bank account for NZD.",
    owner=Owner.OWNER_MERCHANT,
    xero_messages=["Account code is not valid"],
)
TWICE = ExportError(
    reason=ExportErrorReason.EXPORT_ERROR_REASON_RECORDED_TWICE,
    sentence="Xero shows it twice on invoice INV-1: as xp-1, and as payment xp-2.",
    remedy="Delete payment xp-2 in Xero.",
    owner=Owner.OWNER_MERCHANT,
)
RECORD = XeroRecord(
    kind=XeroRecordKind.XERO_RECORD_KIND_PAYMENT,
    xero_id="xp-1",
    invoice_number="INV-1",
    amount=nzd("230.50"),
    xero_url="https://go.xero.example/xp-1",
)


def happened(second: int, status: XeroStatus.ValueType, sentence: str) -> PaymentExportEvent:
    error = TROUBLE if status == ERROR else None
    return PaymentExportEvent(
        xero_status=status, sentence=sentence, actor="tieout", occurred_at=at(second), error=error
    )


ACCEPTED = happened(1, QUEUED, "Accepted for export.")
SEEN = happened(3, VERIFIED, "Seen in Xero: due moved from 230.50 to 0.00.")
FAILED = happened(2, ERROR, TROUBLE.sentence)


def export(status: XeroStatus.ValueType, *history: PaymentExportEvent) -> PaymentExport:
    return PaymentExport(
        id="exp_1",
        connection_id="c1",
        payment=PAYMENT,
        xero_status=status,
        error=TROUBLE if status == ERROR else None,
        xero_records=[RECORD] if status == VERIFIED else [],
        history=history,
    )


def change(event: PaymentExportEvent, status: XeroStatus.ValueType, export_id: str = "exp_1") -> PaymentExportChange:
    told = export(status)
    told.id = export_id
    return PaymentExportChange(event=event, export=told)


def not_found(context: Context, kind: str) -> None:
    """End the call as the service does for what is not there."""
    info = error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="tieout.v1", metadata={"kind": kind})
    status = status_pb2.Status(code=code_pb2.NOT_FOUND, message=f"There is no {kind}.")
    status.details.add().Pack(info)
    context.abort_with_status(rpc_status.to_status(status))


class Service:
    """A service with one payment, and two accounts in its books."""

    def __init__(self, now: PaymentExport | None = None) -> None:
        self.requests: list[Message] = []
        self.now = now or export(QUEUED, ACCEPTED)
        self.changes: list[PaymentExportChange] = []
        self.check_answer = CheckPaymentResponse(plan=[XeroRecord(kind=RECORD.kind, amount=nzd("230.50"))])
        self.settings = ExportSettings(
            connection_id="c1",
            accounts=[CurrencyAccount(currency_code="NZD", xero_account_id="a-nzd")],
            overpayment_policy=OverpaymentPolicy.OVERPAYMENT_POLICY_HOLD,
            revision="3",
        )
        names = (
            "ListExportAccounts GetExportSettings UpdateExportSettings CheckPayment ExportPayment GetPaymentExport"
            " ListPaymentExports ReexportPayment ReexportPayments DismissPaymentExport ReversePayment"
            " WatchPaymentExports"
        )
        self.calls: dict[str, Callable[..., object]] = {
            f"PaymentExportService/{name}": getattr(self, re.sub("(?<!^)([A-Z])", r"_\1", name).lower())
            for name in names.split()
        } | {"ReceivablesService/WatchChanges": self.watch_changes}

    def list_export_accounts(self, request: ListExportAccountsRequest, _context: Context) -> ListExportAccountsResponse:
        self.requests.append(request)
        usable = ExportAccount(
            xero_account_id="a-eur", code="091", name="Euro [main]", type="BANK", currency_code="EUR", usable=True
        )
        archived = ExportAccount(
            xero_account_id="a-old", name="Old", currency_code="EUR", problem=ExportError(sentence="It is archived.")
        )
        return ListExportAccountsResponse(accounts=[usable, archived])

    def get_export_settings(self, _request: GetExportSettingsRequest, _context: Context) -> GetExportSettingsResponse:
        return GetExportSettingsResponse(settings=self.settings)

    def update_export_settings(
        self, request: UpdateExportSettingsRequest, _context: Context
    ) -> UpdateExportSettingsResponse:
        self.requests.append(request)
        after = ExportSettings(connection_id="c1", accounts=request.accounts)
        return UpdateExportSettingsResponse(settings=after, exports_woken=2)

    def check_payment(self, request: CheckPaymentRequest, _context: Context) -> CheckPaymentResponse:
        self.requests.append(request)
        return self.check_answer

    def export_payment(self, request: ExportPaymentRequest, _context: Context) -> ExportPaymentResponse:
        self.requests.append(request)
        return ExportPaymentResponse(export=self.now)

    def get_payment_export(self, request: GetPaymentExportRequest, context: Context) -> GetPaymentExportResponse:
        if request.export_id and request.export_id != "exp_1":
            not_found(context, "payment export")
        if request.payment.payment_id not in ("", "pay-1"):
            not_found(context, "payment")
        return GetPaymentExportResponse(export=self.now)

    def list_payment_exports(self, request: ListPaymentExportsRequest, _context: Context) -> ListPaymentExportsResponse:
        self.requests.append(request)
        twice = export(VERIFIED)
        twice.error.CopyFrom(TWICE)
        is_twice = TWICE.reason in request.error_reasons
        return ListPaymentExportsResponse(exports=[twice] if is_twice else [export(ERROR), export(VERIFIED)])

    def reexport_payment(self, request: ReexportPaymentRequest, _context: Context) -> ReexportPaymentResponse:
        self.requests.append(request)
        return ReexportPaymentResponse(export=export(QUEUED))

    def reexport_payments(self, request: ReexportPaymentsRequest, _context: Context) -> ReexportPaymentsResponse:
        self.requests.append(request)
        return ReexportPaymentsResponse(count=1200)

    def dismiss_payment_export(
        self, request: DismissPaymentExportRequest, _context: Context
    ) -> DismissPaymentExportResponse:
        self.requests.append(request)
        return DismissPaymentExportResponse(export=export(XeroStatus.XERO_STATUS_DISMISSED))

    def reverse_payment(self, request: ReversePaymentRequest, _context: Context) -> ReversePaymentResponse:
        self.requests.append(request)
        reversal = Reversal(reversal_id=request.reversal_id, kind=request.kind, amount=request.amount)
        reversal.xero_status = QUEUED
        return ReversePaymentResponse(export=PaymentExport(reversals=[Reversal(), reversal]))

    def watch_payment_exports(
        self, request: WatchPaymentExportsRequest, context: Context
    ) -> Iterator[WatchPaymentExportsResponse]:
        self.requests.append(request)
        if request.from_start:
            yield WatchPaymentExportsResponse(snapshot=export(ERROR))
        yield WatchPaymentExportsResponse(resume_token="t1", heartbeat=Heartbeat())
        for number, told in enumerate(self.changes):
            yield WatchPaymentExportsResponse(resume_token=f"t{number + 2}", change=told)
        not_found(context, "connection")  # for good: a watch goes on otherwise

    def watch_changes(self, _request: WatchChangesRequest, context: Context) -> Iterator[WatchChangesResponse]:
        accounts = (("a-nzd", "090", "Business"), ("a-rev", "200", "Sales"), ("a-eur", "091", "Euro [main]"))
        for id_, code, name in accounts:
            account = Account(xero_account_id=id_, code=code, name=name)
            yield WatchChangesResponse(snapshot=Change(account=account))
        yield WatchChangesResponse(resume_token="t", heartbeat=Heartbeat())
        not_found(context, "connection")


def asked_of(service: Service, kind: type[Message]) -> Message:
    """The one request of this kind that came."""
    (found,) = [it for it in service.requests if isinstance(it, kind)]
    return found


# Handing a payment over


def test_a_payment_is_handed_over_as_it_was_typed_in(cli: Cli) -> None:
    service = Service()
    pays = ("--pays", "INV-1=1,200.50", "--pays", f"{GUID}=30")
    details = ("--currency", "nzd", "--paid-on", "2026-11-20", "--reference", "till 4", "--method", "direct-debit")
    result = cli(service.calls, "payments", "export", "acme", "--payment-id", "pay-1", *pays, *details)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == ["Payment pay-1 is accepted.", "exp_1  pay-1  230.50 NZD  queued"]
    request = asked_of(service, ExportPaymentRequest)
    assert isinstance(request, ExportPaymentRequest)
    assert len(request.request_id) == 36
    assert request.payment == PlatformPayment(
        payment_id="pay-1",
        paid_on="2026-11-20",
        amount=nzd("1230.50"),
        lines=[
            PaymentLine(invoice_number="INV-1", amount=nzd("1200.50")),
            PaymentLine(xero_invoice_id=GUID, amount=nzd("30")),
        ],
        reference="till 4",
        method=PaymentMethod.PAYMENT_METHOD_DIRECT_DEBIT,
    )


def test_more_than_the_invoices_come_to_may_be_paid_and_today_is_meant(cli: Cli) -> None:
    service = Service()
    paid = ("--pays", "INV=1=5", "--currency", "NZD", "--amount", "6")
    cli(service.calls, "payments", "export", "acme", "--payment-id", "p", *paid, "--json")
    request = asked_of(service, ExportPaymentRequest)
    assert isinstance(request, ExportPaymentRequest)
    assert (request.payment.amount, request.payment.lines[0].invoice_number) == (nzd("6"), "INV=1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", request.payment.paid_on)


@pytest.mark.parametrize("time_zone", ["", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_a_payment_without_a_day_is_of_today_where_the_organisation_is(cli: Cli, time_zone: str) -> None:
    """The last two are never on the same day: 26 hours lie between them."""
    service = Service()
    acme = Connection(id="c1", merchant_id="acme", organisation=Organisation(time_zone=time_zone))
    service.calls["ConnectionService/GetConnection"] = lambda *_: GetConnectionResponse(connection=acme)
    before = datetime.now(ZoneInfo(time_zone or "UTC")).date()
    paid = ("--pays", "INV-1=5", "--currency", "NZD", "--json")
    cli(service.calls, "payments", "export", "acme", "--payment-id", "p", *paid)
    cli(service.calls, "payments", "check", "acme", *paid)
    for kind in (ExportPaymentRequest, CheckPaymentRequest):
        request = asked_of(service, kind)
        assert isinstance(request, ExportPaymentRequest | CheckPaymentRequest)
        after = datetime.now(ZoneInfo(time_zone or "UTC")).date()
        assert before <= date.fromisoformat(request.payment.paid_on) <= after


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("INV-1", "'INV-1' is not of the form INVOICE=AMOUNT."),
        ("INV-1=much", "'much' is no amount such as 1234.50 or 1,234.50."),
        ("INV-1=12,50", "'12,50' is no amount"),  # a hundred times too much, if it were 1250
        ("INV-1=1.234,50", "'1.234,50' is no amount"),
        ("INV-1=1,23,456", "'1,23,456' is no amount"),
        ("INV-1=sNaN", "'sNaN' is no amount"),
        ("INV-1=", "'' is no amount"),
    ],
)
def test_what_is_no_line_of_a_payment_is_refused(cli: Cli, typed: str, sentence: str) -> None:
    service = Service()
    result = cli(service.calls, "payments", "export", "acme", "--payment-id", "p", "--pays", typed, "--currency", "NZD")
    assert (result.exit_code, sentence in result.stderr) == (2, True)


def test_a_payment_is_followed_until_it_is_seen_in_xero(cli: Cli) -> None:
    service = Service(export(QUEUED, ACCEPTED))
    service.changes = [change(ACCEPTED, QUEUED), change(SEEN, VERIFIED, "exp_other"), change(SEEN, VERIFIED)]
    paid = ("--pays", "INV-1=230.50", "--currency", "NZD")
    result = cli(service.calls, "payments", "export", "acme", "--payment-id", "pay-1", *paid, "--wait")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.partition("230.50 NZD  ")[2] for line in lines[:2]] == [
        "queued: Accepted for export.",
        "verified: Seen in Xero: due moved from 230.50 to 0.00.",
    ]
    assert lines[2].split() == ["in", "Xero", "invoice", "amount", "id"]
    assert lines[3].split() == ["payment", "INV-1", "230.50", "NZD", "xp-1"]
    assert lines[4] == "https://go.xero.example/xp-1"


def test_a_payment_that_somebody_must_help_leaves_with_3_and_says_how(cli: Cli) -> None:
    service = Service(export(ERROR, ACCEPTED, FAILED))
    result = cli(service.calls, "payments", "reexport", "exp_1", "--wait")
    assert result.exit_code == 3
    assert "error: No account is chosen for payments in NZD. Choose the bank account for NZD." in result.stdout


# Examining


def test_a_payment_is_examined_before_it_is_handed_over(cli: Cli) -> None:
    service = Service()
    arguments = ("payments", "check", "acme", "--pays", "INV-1=230.50", "--currency", "NZD")
    result = cli(service.calls, *arguments)
    assert result.exit_code == 0
    assert "Nothing is known that Xero would refuse it for" in result.stdout
    assert re.search(r"payment +230\.50 NZD", result.stdout)
    service.check_answer = CheckPaymentResponse(findings=[TROUBLE], twins=[RECORD])
    result = cli(service.calls, *arguments)
    assert result.exit_code == 3
    for part in (
        TROUBLE.sentence,
        "Xero: Account code is not valid",
        "Choose the bank account for NZD. (The merchant acts.)",
    ):
        assert part in result.stdout
    assert re.search(r"looking the same:\n.*\npayment +INV-1", result.stdout)


# Looking


def test_payments_are_listed_by_what_is_asked_for(cli: Cli) -> None:
    service = Service()
    filters = ("--status", "error", "--status", "outcome-unknown", "--reason", "account-not-chosen", "--limit", "1")
    result = cli(service.calls, "payments", "list", "acme", *filters)
    assert re.search(r"2026-11-22 +pay-1 +230\.50 NZD +error +exp_1 +No account is chosen", result.stdout)
    assert "There are more" in result.stdout
    assert asked_of(service, ListPaymentExportsRequest) == ListPaymentExportsRequest(
        connection_id="c1",
        xero_statuses=[ERROR, XeroStatus.XERO_STATUS_OUTCOME_UNKNOWN],
        error_reasons=[NOT_CHOSEN],
        page_size=2,
    )


def test_what_is_in_xero_twice_is_listed_as_that(cli: Cli) -> None:
    shown = cli(Service().calls, "payments", "list", "acme", "--reason", "recorded-twice").stdout
    assert re.search(r"pay-1 +230\.50 NZD +verified +exp_1 +Xero shows it twice", shown)


@pytest.mark.parametrize("named", ["exp_1", "pay-1"])
def test_one_payment_is_shown_with_all_that_happened(cli: Cli, named: str) -> None:
    service = Service(export(VERIFIED, ACCEPTED, SEEN))
    shown = cli(service.calls, "payments", "list", "acme", "--id", named).stdout
    for part in ("INV-1  230.50 NZD", "https://go.xero.example/xp-1", "Accepted for export.", SEEN.sentence, "tieout"):
        assert part in shown


def test_a_payment_that_is_not_there_is_told_where_to_look(cli: Cli) -> None:
    result = cli(Service().calls, "payments", "list", "acme", "--id", "nothing")
    assert result.exit_code == 2
    assert "`tieout payments list CONNECTION` lists them." in result.stderr


def test_payments_are_followed(cli: Cli) -> None:
    service = Service()
    service.changes = [change(SEEN, VERIFIED)]
    shown = cli(service.calls, "payments", "watch", "acme").stdout.splitlines()
    assert shown[0].startswith("exp_1  pay-1  230.50 NZD  error: No account is chosen for payments in NZD. Choose")
    assert shown[1] == f"2026-11-22 12:00:03Z  exp_1  pay-1  230.50 NZD  verified: {SEEN.sentence}"
    watched = asked_of(service, WatchPaymentExportsRequest)
    assert watched == WatchPaymentExportsRequest(connection_id="c1", from_start=True)


# Deciding


def test_all_of_one_reason_are_tried_again(cli: Cli) -> None:
    service = Service()
    again = ("payments", "reexport", "acme", "--all", "--reason", "account-not-chosen")
    assert cli(service.calls, *again).stdout == "Payments on their way again: 1,200.\n"
    assert json.loads(cli(service.calls, *again, "--json").stdout) == {"count": "1200"}
    request = service.requests[0]
    assert isinstance(request, ReexportPaymentsRequest)
    assert list(request.error_reasons) == [NOT_CHOSEN]


def test_one_payment_is_tried_again(cli: Cli) -> None:
    service = Service()
    assert cli(service.calls, "payments", "reexport", "exp_1").stdout == "exp_1  pay-1  230.50 NZD  queued\n"


def test_a_payment_is_dismissed_with_a_note(cli: Cli) -> None:
    service = Service()
    assert "dismissed" in cli(service.calls, "payments", "dismiss", "exp_1", "--note", "By hand.").stdout
    request = asked_of(service, DismissPaymentExportRequest)
    assert isinstance(request, DismissPaymentExportRequest)
    assert request.note == "By hand."


def test_part_of_a_payment_is_refunded_in_its_currency(cli: Cli) -> None:
    service = Service()
    asked = ("--kind", "refund", "--reversal-id", "r-1", "--amount", "5", "--reason", "damaged", "--on", "2026-11-23")
    result = cli(service.calls, "payments", "reverse", "exp_1", *asked)
    assert result.stdout == "refund r-1: 5 NZD, queued\n"
    request = asked_of(service, ReversePaymentRequest)
    assert isinstance(request, ReversePaymentRequest)
    request.ClearField("request_id")
    assert request == ReversePaymentRequest(
        export_id="exp_1",
        kind=ReversalKind.REVERSAL_KIND_REFUND,
        reason="damaged",
        reversal_id="r-1",
        amount=nzd("5"),
        reversed_on="2026-11-23",
    )


def test_what_is_taken_back_is_followed_to_its_end(cli: Cli) -> None:
    under_way, taken_back = export(VERIFIED, ACCEPTED), change(SEEN, XeroStatus.XERO_STATUS_REVERSED)
    under_way.reversals.add(xero_status=QUEUED)
    taken_back.export.reversals.add(xero_status=VERIFIED)
    service = Service(under_way)
    service.changes = [taken_back]
    asked = ("payments", "reverse", "exp_1", "--kind", "chargeback", "--reversal-id", "r-1", "--wait")
    assert cli(service.calls, *asked).exit_code == 0
    taken_back.export.reversals[0].xero_status = ERROR
    assert cli(service.calls, *asked).exit_code == 3


# Accounts and settings


def test_accounts_are_listed_with_what_is_wrong_with_them(cli: Cli) -> None:
    service = Service()
    shown = cli(service.calls, "export-accounts", "acme", "--currency", "eur").stdout
    assert re.search(r"Euro \[main\] +091 +bank +EUR +takes payments +a-eur", shown)
    assert re.search(r"Old +EUR +It is archived\. +a-old", shown)
    request = asked_of(service, ListExportAccountsRequest)
    assert isinstance(request, ListExportAccountsRequest)
    assert request.currency_code == "EUR"


def test_settings_are_shown_with_names_and_with_what_is_wrong(cli: Cli) -> None:
    service = Service()
    result = cli(service.calls, "export-settings", "acme")
    assert result.exit_code == 0
    assert re.search(r"NZD +Business\n", result.stdout)
    assert "held back" in result.stdout
    service.settings.problems.append(TROUBLE)
    result = cli(service.calls, "export-settings", "acme")
    assert (result.exit_code, TROUBLE.remedy in result.stdout) == (3, True)


@pytest.mark.parametrize("named", ["091", "euro [MAIN]", "a-eur"])
def test_an_account_is_chosen_beside_those_that_were(cli: Cli, named: str) -> None:
    service = Service()
    result = cli(service.calls, "export-settings", "acme", "--account", f"eur={named}", "--overpayments", "split")
    assert "Payments that waited for this and are on their way again: 2." in result.stdout
    request = asked_of(service, UpdateExportSettingsRequest)
    assert isinstance(request, UpdateExportSettingsRequest)
    assert {it.currency_code: it.xero_account_id for it in request.accounts} == {"NZD": "a-nzd", "EUR": "a-eur"}
    assert request.overpayment_policy == OverpaymentPolicy.OVERPAYMENT_POLICY_SPLIT
    assert request.revision == "3"


def test_an_account_is_taken_away_and_one_for_refunds_chosen_from_the_whole_chart(cli: Cli) -> None:
    service = Service()
    chosen = ("--account", "NZD=", "--refund-account", "200", "--refund-tax-type", "NONE")
    cli(service.calls, "export-settings", "acme", *chosen)
    request = asked_of(service, UpdateExportSettingsRequest)
    assert isinstance(request, UpdateExportSettingsRequest)
    assert list(request.accounts) == []
    assert (request.refund_xero_account_id, request.refund_tax_type) == ("a-rev", "NONE")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [("EUR", "is not of the form CURRENCY=ACCOUNT"), ("EUR=999", "There is no account '999'")],
)
def test_what_names_no_account_is_refused(cli: Cli, typed: str, sentence: str) -> None:
    result = cli(Service().calls, "export-settings", "acme", "--account", typed)
    assert (result.exit_code, sentence in result.stderr) == (2, True)
