"""The table of errors is complete, agrees with the proto, and hides faults."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

import tieout_server.errors
from tieout.v1 import errors_pb2
from tieout_server import errors
from tieout_server.errors import TieoutError, Violation
from tieout_server.rpc.errors import DOMAIN, TABLE, row_of, status_of
from tieout_server.storage.vault import VaultError

NOW = datetime(2026, 11, 22, tzinfo=UTC)
PROTO = Path(__file__).parents[3] / "proto/tieout/v1/errors.proto"
Detail = TypeVar("Detail", bound=Message)


def with_reasons(of: type[TieoutError] = TieoutError) -> Iterator[type[TieoutError]]:
    """The classes with a reason of their own; what stands below them is told as they are."""
    if "reason" in vars(of) and of.reason != TieoutError.reason:
        yield of
    for kind in of.__subclasses__():
        if kind.__module__ == tieout_server.errors.__name__:
            yield from with_reasons(kind)


def detail(status: Status, kind: type[Detail]) -> Detail:
    found = kind()
    assert any(part.Unpack(found) for part in status.details), f"no {kind.__name__} in {status}"
    return found


@pytest.mark.parametrize("kind", list(with_reasons()), ids=lambda kind: kind.__name__)
def test_every_class_of_errors_has_a_row(kind: type[TieoutError]) -> None:
    assert kind in TABLE


def test_no_class_that_is_never_raised_has_a_row() -> None:
    assert set(TABLE) == set(with_reasons())


def documented_statuses() -> dict[str, str]:
    """The status that begins the comment of each reason."""
    comments = re.findall(r"((?:^  //.*\n)+)  ERROR_REASON_(\w+) =", PROTO.read_text(), re.MULTILINE)
    return {name: comment.split("// ", 1)[1].split(".", 1)[0] for comment, name in comments}


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_every_reason_is_in_the_proto_with_the_status_that_its_comment_names(kind: type[TieoutError]) -> None:
    assert f"ERROR_REASON_{kind.reason}" in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name
    assert documented_statuses()[kind.reason] == TABLE[kind].status.name


def test_each_class_has_a_reason_of_its_own() -> None:
    assert len({kind.reason for kind in TABLE}) == len(TABLE)


def test_what_was_not_found_is_named() -> None:
    status = status_of(errors.NotFoundError("customer", "x_1"), now=NOW, request_id="r")
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert dict(detail(status, details.ErrorInfo).metadata) == {"kind": "customer", "name": "x_1"}
    resource = detail(status, details.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("customer", "x_1")


def test_every_violation_is_told() -> None:
    error = errors.InvalidRequestError(Violation("a", "is required"), Violation("b[2]", "is wrong"))
    told = detail(status_of(error, now=NOW, request_id="r"), details.BadRequest)
    assert [(v.field, v.description) for v in told.field_violations] == [("a", "is required"), ("b[2]", "is wrong")]


def test_the_facts_of_an_error_are_its_metadata() -> None:
    error = errors.ConnectionNotUsableError(
        "Reconnect.", connection_id="con_1", connection_reason="CREDENTIALS_EXPIRED"
    )
    status = status_of(error, now=NOW, request_id="r")
    info = detail(status, details.ErrorInfo)
    assert (info.domain, info.reason) == (DOMAIN, "CONNECTION_NOT_USABLE")
    assert dict(info.metadata) == {"connection_id": "con_1", "connection_reason": "CREDENTIALS_EXPIRED"}
    assert detail(status, details.PreconditionFailure).violations[0].subject == "con_1"


def test_when_to_try_again_comes_from_the_error_or_else_from_the_table() -> None:
    known = errors.CallLimitError("Wait.", "day", NOW + timedelta(hours=3))
    status = status_of(known, now=NOW, request_id="r")
    assert detail(status, details.ErrorInfo).reason == "RATE_LIMITED"
    assert detail(status, details.RetryInfo).retry_delay.ToTimedelta() == timedelta(hours=3)
    unknown = status_of(errors.XeroUnavailableError("Away."), now=NOW, request_id="r")
    assert detail(unknown, details.RetryInfo).retry_delay.ToTimedelta() > timedelta()


def test_an_instant_that_has_passed_means_try_again_at_once() -> None:
    status = status_of(errors.XeroUnavailableError("Away.", NOW - timedelta(hours=1)), now=NOW, request_id="r")
    assert detail(status, details.RetryInfo).retry_delay.ToTimedelta() == timedelta()


@pytest.mark.parametrize("fault", [KeyError("secret"), errors.UnexpectedAnswerError("secret"), VaultError("secret")])
def test_a_fault_tells_its_caller_only_where_the_log_speaks_of_it(fault: Exception) -> None:
    status = status_of(fault, now=NOW, request_id="abc")
    assert row_of(fault).status is grpc.StatusCode.INTERNAL
    assert "secret" not in str(status)
    assert dict(detail(status, details.ErrorInfo).metadata) == {"request_id": "abc"}
