"""The commands that forget: what they say, and what they ask before."""

import json
from collections.abc import Callable

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from typer.testing import Result

from tieout.v1.connection_service_pb2 import (
    EraseCustomerRequest,
    EraseCustomerResponse,
    PruneCount,
    PruneExpiredRequest,
    PruneExpiredResponse,
    PurgeCount,
)

Cli = Callable[..., Result]


def pruned(request: PruneExpiredRequest, _context: grpc.ServicerContext) -> PruneExpiredResponse:
    """Two kinds, of which a dry run finds more."""
    old = PruneCount(kind="audit_events", rows=1_200 if request.dry_run else 7, setting="TIEOUT_KEEP_AUDIT")
    old.kept_for.FromSeconds(400 * 86_400)
    return PruneExpiredResponse(counts=[PruneCount(kind="syncs", setting="TIEOUT_KEEP_SYNCS"), old])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dry-run",), "1,200 audit events would be forgotten (TIEOUT_KEEP_AUDIT, 400 days)"),
        ((), "7 audit events forgotten (TIEOUT_KEEP_AUDIT, 400 days)"),
    ],
)
def test_pruning_says_how_much_of_what_and_why(cli: Cli, options: tuple[str, ...], said: str) -> None:
    result = cli({"ConnectionService/PruneExpired": pruned}, "prune", *options)
    assert (result.exit_code, result.stdout.splitlines()[1].strip()) == (0, said)


def test_pruning_answers_scripts_as_json(cli: Cli) -> None:
    result = cli({"ConnectionService/PruneExpired": pruned}, "prune", "--json")
    counts = json.loads(result.stdout)["counts"]
    assert [(it["kind"], it["rows"], it.get("kept_for")) for it in counts][1] == ("audit_events", "7", "34560000s")


def erasing(request: EraseCustomerRequest, context: grpc.ServicerContext) -> EraseCustomerResponse:
    """One customer is erased in Xero, and nobody else."""
    if request.customer_id != "k1":
        refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "CONTACT_NOT_ERASED_IN_XERO", "Xero has this contact.")
    return EraseCustomerResponse(counts=[PurgeCount(kind="cases", rows=2), PurgeCount(kind="customers", rows=1)])


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str, sentence: str) -> None:
    """End the call as the service does."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain="tieout.v1")
    packed = Packed()
    packed.Pack(info)
    status = status_pb2.Status(code=code.value[0], message=sentence, details=[packed])
    context.abort_with_status(rpc_status.to_status(status))


def test_erasing_a_person_asks_first_and_says_what_stays(cli: Cli) -> None:
    calls = {"ConnectionService/EraseCustomer": erasing}
    asked = cli(calls, "erase-customer", "acme", "k1")
    assert asked.exit_code == 2
    assert "Nothing was changed" in asked.stderr
    done = cli(calls, "erase-customer", "acme", "k1", "--yes").stdout.splitlines()
    assert [line.strip() for line in done[:2]] == ["2 cases erased", "1 customers erased"]
    assert done[2].startswith("Documents and payment exports stay")
    assert "1 customers would be erased" in cli(calls, "erase-customer", "acme", "k1", "--dry-run").stdout


def test_a_person_whom_xero_has_is_erased_there_first(cli: Cli) -> None:
    refused = cli({"ConnectionService/EraseCustomer": erasing}, "erase-customer", "acme", "k2", "--yes")
    assert refused.exit_code != 0
    assert "The merchant has the contact erased in Xero" in refused.stderr
