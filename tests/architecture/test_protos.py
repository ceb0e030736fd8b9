"""The API in `proto/`: well-formed, commented, unbroken, and with the stubs that belong to it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import EnumDescriptor, FileDescriptor

from tieout.v1 import (
    connection_service_pb2,
    errors_pb2,
    payment_export_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    sync_service_pb2,
    types_pb2,
)

ROOT = Path(__file__).resolve().parents[2]
PROTOS = sorted((ROOT / "proto").rglob("*.proto"))
BIN = Path(sys.executable).parent
FILES: dict[str, FileDescriptor] = {
    module.DESCRIPTOR.name.rpartition("/")[2]: module.DESCRIPTOR
    for module in (
        connection_service_pb2,
        errors_pb2,
        payment_export_service_pb2,
        receivables_service_pb2,
        reconciliation_service_pb2,
        sync_service_pb2,
        types_pb2,
    )
}

# What was promised to callers: these names never go and never change.
RPCS = {
    "ConnectionService": "Connect Reconnect CompleteAuthorization ChooseOrganisation Disconnect PurgeMerchant"
    " EraseCustomer GetConnection ListConnections CheckConnection ListConnectionEvents PruneExpired WatchConnections",
    "SyncService": "StartSync GetSync ListSyncs CancelSync WatchSync GetFreshness ExplainContact",
    "ReceivablesService": "GetCustomer ListCustomers GetInvoice ListInvoices ListCreditNotes ListPayments"
    " ListUnappliedCredits WatchChanges",
    "ReconciliationService": "ReconcileCustomer StartReconciliation GetReconciliation WatchReconciliation"
    " ListDiscrepancies GetDiscrepancy WatchDiscrepancies AcknowledgeDiscrepancy ReportDiscrepancy ExportEvidence"
    " SubmitPlatformBalances CheckChase",
    "PaymentExportService": "ListExportAccounts GetExportSettings UpdateExportSettings CheckPayment ExportPayment"
    " GetPaymentExport ListPaymentExports ReexportPayment ReexportPayments DismissPaymentExport ReversePayment"
    " WatchPaymentExports",
}
FIELDS = {
    "Money": "currency_code amount",
    "Connection": "id merchant_id state health reason organisation authorised_by scopes missing_scopes"
    " credentials_expire_at last_synced_at created_at updated_at",
    "Organisation": "xero_tenant_id name base_currency country_code short_code period_lock_date end_of_year_lock_date",
    "AuthorisedBy": "xero_user_id email name organisation_role",
    "ConnectionReason": "code evidence owner",
    "ConnectRequest": "merchant_id return_url request_id",
    "ConnectResponse": "connection authorization_url expires_at",
    "DisconnectRequest": "connection_id purge_data",
    "PurgeMerchantRequest": "merchant_id disconnect",
    "PurgeMerchantResponse": "connection_ids counts",
    "EraseCustomerRequest": "connection_id customer_id dry_run request_id",
    "EraseCustomerResponse": "counts",
    "PruneExpiredRequest": "dry_run request_id",
    "PruneCount": "kind rows kept_for setting",
    "SyncProgress": "sync phase entities percent eta milestone waiting_on resume_token",
    "EntityProgress": "entity fetched expected upserted skipped removed state",
    "Customer": "id xero_contact_id name email mobile_phone phones contact_persons account_number is_supplier"
    " archived_with_balance outstanding overdue unapplied off_balance updated_at",
    "Invoice": "expected_payment_date amount_due amount_paid amount_credited status currency_code currency_rate"
    " payments allocations",
    "Discrepancy": "id ours xero difference cause documents opened_at state history",
    "PlatformPayment": "payment_id paid_on amount lines reference method",
    "PaymentLine": "xero_invoice_id invoice_number amount",
    "PaymentExport": "xero_status error",
    "ExportError": "reason remedy owner",
}
VALUES = {
    "ConnectionState": "PENDING_AUTHORISATION PENDING_ORGANISATION CONNECTED RECONNECT_REQUIRED DISCONNECTED",
    "ConnectionHealth": "OK DEGRADED",
    "ConnectionReasonCode": "MANUALLY_DISCONNECTED DISCONNECTED_IN_XERO AUTHORISING_USER_REMOVED"
    " AUTHORISING_USER_DOWNGRADED CREDENTIALS_EXPIRED SCOPE_MISSING ORGANISATION_UNAVAILABLE WRONG_ORGANISATION"
    " NOT_ADMINISTRATOR CONSENT_DENIED XERO_UNAVAILABLE DAY_LIMIT_REACHED",
    "Owner": "MERCHANT OPERATOR XERO NOBODY",
    "SyncMode": "INCREMENTAL FULL",
    "SyncState": "QUEUED RUNNING WAITING SUCCEEDED FAILED CANCELLED HELD",
    "SyncPhase": "OPEN_RECEIVABLES HISTORY CATCH_UP SETTLED",
    "Milestone": "COLLECTIBLE_READY HISTORY_COMPLETE",
    "WaitReason": "MINUTE_LIMIT DAY_LIMIT XERO_UNAVAILABLE",
    "ContactVerdict": "IMPORTED SUPPLIER_ONLY ARCHIVED NO_RECEIVABLES_YET MERGED ERASED NOT_FOUND_IN_XERO"
    " NOT_SYNCED_YET",
    "DiscrepancyState": "OPENED CAUSE_FOUND SELF_HEALED NEEDS_ATTENTION ACKNOWLEDGED RESOLVED",
    "DiscrepancyCause": "MISSING_DOCUMENT STALE_DOCUMENT MISSED_DELETION UNALLOCATED_CREDIT"
    " ALLOCATION_ON_OTHER_CONTACT ROUNDING FOREIGN_CURRENCY_MIX FUTURE_DATED DRAFT_COUNTED PAYMENT_REMOVED_IN_XERO"
    " UNEXPLAINED",
    "ChaseVerdict": "SAFE PAID STALE OFF_BALANCE PAYMENT_PENDING UNKNOWN_INVOICE UNAPPLIED_CREDIT",
    "XeroStatus": "QUEUED CHECKED SENDING EXPORTED VERIFIED ERROR OUTCOME_UNKNOWN ALREADY_RECORDED REVERSED"
    " REMOVED_IN_XERO DISMISSED",
    "ExportErrorReason": "ACCOUNT_NOT_CHOSEN ACCOUNT_NOT_PAYABLE ACCOUNT_ARCHIVED PERIOD_LOCKED INVOICE_NOT_PAYABLE"
    " AMOUNT_EXCEEDS_DUE CONTACT_ARCHIVED CURRENCY_MISMATCH SCOPE_MISSING CONNECTION_LOST RATE_LIMITED"
    " XERO_UNAVAILABLE REJECTED_BY_XERO RECORDED_TWICE",
    "ReversalKind": "REFUND CHARGEBACK LATE_FAILURE",
}


def buf(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "buf", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def enums() -> Iterator[EnumDescriptor]:
    for file in FILES.values():
        yield from file.enum_types_by_name.values()
        for message in file.message_types_by_name.values():
            yield from message.enum_types


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def edit(tree: Path, name: str, pattern: str, replacement: str) -> None:
    path = tree / "proto" / "tieout" / "v1" / name
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count == 1, f"{pattern} is not in {name}"
    path.write_text(text)


def breaking(tree: Path) -> subprocess.CompletedProcess[str]:
    return buf("breaking", "--against", str(ROOT / "proto" / "baseline.binpb"), cwd=tree)


def test_the_checked_in_stubs_are_what_the_protos_give() -> None:
    command = [sys.executable, str(ROOT / "proto" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_buf_finds_nothing_to_complain_about() -> None:
    done = buf("lint")
    assert done.returncode == 0, done.stdout


def test_the_protos_are_formatted() -> None:
    done = buf("format", "--diff", "--exit-code")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "comment"),
    [
        ("types.proto", r"  // ISO 4217 code in capitals.*\n"),
        ("types.proto", r"  // Not stated\.\n"),
        ("sync_service.proto", r"  // Reads one sync\. Refuses.*\n  // CLI.*\n"),
    ],
    ids=["field", "enum value", "rpc"],
)
def test_what_has_no_comment_is_refused(copy: Path, name: str, comment: str) -> None:
    edit(copy, name, comment, "")
    done = buf("lint", cwd=copy)
    assert "should have a non-empty comment" in done.stdout
    assert done.returncode != 0


def test_what_is_unchanged_breaks_nothing(copy: Path) -> None:
    done = breaking(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "pattern", "replacement"),
    [
        ("types.proto", r"string currency_code = 1", "string currency = 1"),
        ("types.proto", r"string amount = 2", "int64 amount = 2"),
        ("types.proto", r"string amount = 2", "string amount = 3"),
        ("connection_service.proto", r"  rpc GetConnection\(.*\n", ""),
        ("connection_service.proto", r"CONNECTION_STATE_DISCONNECTED = 5", "CONNECTION_STATE_ENDED = 5"),
    ],
    ids=["field renamed", "type changed", "field renumbered", "rpc deleted", "enum value renamed"],
)
def test_a_breaking_change_is_refused(copy: Path, name: str, pattern: str, replacement: str) -> None:
    edit(copy, name, pattern, replacement)
    done = breaking(copy)
    assert done.returncode != 0
    assert name in done.stdout


def test_an_addition_breaks_nothing(copy: Path) -> None:
    edit(copy, "types.proto", r"  string amount = 2;\n", "  string amount = 2;\n  // More.\n  string more = 3;\n")
    done = breaking(copy)
    assert done.returncode == 0, done.stdout


def test_the_generator_refuses_a_breaking_change_and_writes_nothing(copy: Path) -> None:
    edit(copy, "types.proto", r"string currency_code = 1", "string currency = 1")
    done = subprocess.run([sys.executable, copy / "proto" / "generate.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "currency" in done.stderr
    assert not (copy / "client").exists()


@pytest.mark.parametrize("enum", list(enums()), ids=lambda enum: str(enum.name))
def test_zero_means_not_stated_in_every_enum(enum: EnumDescriptor) -> None:
    assert enum.values_by_number[0].name.endswith("_UNSPECIFIED")


@pytest.mark.parametrize("path", PROTOS, ids=lambda path: str(path.name))
def test_only_googles_own_and_our_own_protos_are_imported(path: Path) -> None:
    imports = re.findall(r'^import "(.*)";', path.read_text(), re.MULTILINE)
    foreign = [name for name in imports if not name.startswith(("google/protobuf/", "tieout/v1/"))]
    assert foreign == []


@pytest.mark.parametrize("service", RPCS)
def test_every_promised_rpc_is_there(service: str) -> None:
    services = {name: found for file in FILES.values() for name, found in file.services_by_name.items()}
    assert set(RPCS[service].split()) <= set(services[service].methods_by_name)


@pytest.mark.parametrize("message", FIELDS)
def test_every_promised_field_is_there(message: str) -> None:
    messages = {name: found for file in FILES.values() for name, found in file.message_types_by_name.items()}
    assert set(FIELDS[message].split()) <= set(messages[message].fields_by_name)


@pytest.mark.parametrize("enum", VALUES)
def test_every_promised_enum_value_is_there(enum: str) -> None:
    found = next(candidate for candidate in enums() if candidate.name == enum)
    prefix = found.values_by_number[0].name.removesuffix("UNSPECIFIED")
    assert {prefix + value for value in VALUES[enum].split()} <= set(found.values_by_name)


def mutating() -> Iterator[tuple[str, set[str]]]:
    reading = ("Get", "List", "Watch", "Check", "Explain", "ExportEvidence", "ReconcileCustomer")
    for file in FILES.values():
        for service in file.services_by_name.values():
            for method in service.methods:
                if not method.name.startswith(reading):
                    yield method.name, set(method.input_type.fields_by_name)


@pytest.mark.parametrize(("rpc", "fields"), list(mutating()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_call_that_changes_something_takes_a_request_id(rpc: str, fields: set[str]) -> None:
    assert "request_id" in fields, rpc


def test_every_comment_of_an_rpc_names_its_command_and_why_it_refuses() -> None:
    for path in PROTOS:
        for comment, rpc in re.findall(r"((?:  //.*\n)+)  rpc (\w+)\(", path.read_text()):
            assert "// CLI: " in comment, rpc
            assert "Refuses" in comment, rpc


def test_every_error_reason_names_its_status() -> None:
    text = (ROOT / "proto" / "tieout" / "v1" / "errors.proto").read_text()
    commented = re.findall(r"  // ([A-Z_]+)\. .*\n(?:  //.*\n)*  ERROR_REASON_(\w+) =", text)
    reasons = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118 - not a dict
    assert {reason for _, reason in commented} == reasons - {"UNSPECIFIED"}
