"""What gRPC raises becomes one of our errors, with everything that the service said."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata

from tieout import errors
from tieout.v1.errors_pb2 import ErrorReason
from tieout.wire import typed

NEXT_MOVES = (errors.CallerError, errors.PersonMustActError, errors.TryAgainError, errors.BugError)
REASONS = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()[1:]]


def raised(code: grpc.StatusCode, sentence: str, *details: Message) -> AioRpcError:
    status = status_pb2.Status(code=code.value[0], message=sentence)
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    trailing = Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return AioRpcError(code, Metadata(), trailing, details=sentence)


def info(reason: str, domain: str = "tieout.v1", **metadata: str) -> Message:
    made: Message = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)
    return made


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_class_that_names_the_next_move(reason: str) -> None:
    error = typed(raised(grpc.StatusCode.UNKNOWN, "It went wrong.", info(reason)))
    assert type(error) is errors.BY_REASON[reason]
    assert isinstance(error, NEXT_MOVES)
    assert error.reason == reason


def test_no_class_is_for_a_reason_that_the_api_does_not_have() -> None:
    assert set(errors.BY_REASON) == set(REASONS)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_without_a_reason_has_a_class_too(code: grpc.StatusCode) -> None:
    error = typed(raised(code, "It went wrong."))
    assert isinstance(error, NEXT_MOVES)
    assert error.code == code.name


def test_a_reason_that_is_newer_than_this_version_is_treated_by_its_status() -> None:
    error = typed(raised(grpc.StatusCode.NOT_FOUND, "There is no moon.", info("MOON_NOT_FOUND")))
    assert type(error) is errors.NotFoundError
    assert error.reason == "MOON_NOT_FOUND"


def test_a_reason_of_another_domain_is_not_taken_for_ours() -> None:
    error = typed(raised(grpc.StatusCode.UNAVAILABLE, "Proxy.", info("RATE_LIMITED", domain="proxy.example")))
    assert type(error) is errors.UnreachableError
    assert error.reason == ""


def test_every_violation_is_kept_in_order() -> None:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field="merchant_id", description="is required"),
        error_details_pb2.BadRequest.FieldViolation(field="return_url", description="is not allowed"),
    ]
    details = error_details_pb2.BadRequest(field_violations=violations)
    error = typed(raised(grpc.StatusCode.INVALID_ARGUMENT, "Two things.", info("INVALID_REQUEST"), details))
    assert error.violations == (
        errors.Violation("merchant_id", "is required"),
        errors.Violation("return_url", "is not allowed"),
    )


def test_the_sentence_the_delay_and_the_metadata_arrive() -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=7, nanos=500_000_000))
    error = typed(raised(grpc.StatusCode.RESOURCE_EXHAUSTED, "Later.", info("RATE_LIMITED", limit="minute"), retry))
    assert isinstance(error, errors.CallLimitError)
    assert str(error) == error.sentence == "Later."
    assert error.retry_after == timedelta(seconds=7.5)
    assert error.metadata == {"limit": "minute"}


def test_what_may_be_repeated_always_says_when() -> None:
    assert errors.UnreachableError("No server answered.").retry_after == timedelta(seconds=1)
    assert typed(raised(grpc.StatusCode.DEADLINE_EXCEEDED, "Too late.")).retry_after == timedelta(seconds=1)
    assert errors.NotFoundError("There is no moon.").retry_after is None


def test_a_precondition_is_told_as_what_has_to_be_true() -> None:
    missing = error_details_pb2.PreconditionFailure.Violation(
        subject="scopes", description="must have accounting.payments"
    )
    details = error_details_pb2.PreconditionFailure(violations=[missing])
    error = typed(raised(grpc.StatusCode.FAILED_PRECONDITION, "No.", info("SCOPE_MISSING"), details))
    assert error.violations == (errors.Violation("scopes", "must have accounting.payments"),)


def test_details_that_cannot_be_read_do_not_hide_the_failure() -> None:
    trailing = Metadata(("grpc-status-details-bin", b"\xff\xff\xff"))
    error = typed(AioRpcError(grpc.StatusCode.NOT_FOUND, Metadata(), trailing, details="Gone."))
    assert type(error) is errors.NotFoundError
    assert error.sentence == "Gone."


def test_the_tree_at_the_top_of_the_module_names_every_class() -> None:
    classes = {name for name, it in vars(errors).items() if isinstance(it, type) and issubclass(it, Exception)}
    assert errors.__doc__ is not None
    assert {name for name in classes if name not in errors.__doc__} == set()
