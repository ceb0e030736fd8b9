"""How each error of this service looks on the wire: one table, and the google.rpc.Status made from it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import grpc
import msgspec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from tieout_server import errors

DOMAIN = "tieout.v1"
"""The `domain` of every ErrorInfo."""


class Row(msgspec.Struct, frozen=True):
    """What one class of errors becomes; its reason is its own."""

    status: grpc.StatusCode
    retry: timedelta | None = None
    """After how long to try again where the error itself does not know; None where trying again does not help."""


_Code = grpc.StatusCode
_SOON = timedelta(seconds=1)
_SHORTLY = timedelta(seconds=3)
_LATER = timedelta(seconds=30)

TABLE: dict[type[errors.TieoutError], Row] = {
    errors.InvalidRequestError: Row(_Code.INVALID_ARGUMENT),
    errors.NotFoundError: Row(_Code.NOT_FOUND),
    errors.RequestIdReusedError: Row(_Code.ALREADY_EXISTS),
    errors.OrganisationAlreadyConnectedError: Row(_Code.ALREADY_EXISTS),
    errors.PaymentIdReusedError: Row(_Code.ALREADY_EXISTS),
    errors.ChangedMeanwhileError: Row(_Code.ABORTED),
    errors.ContactNotErasedError: Row(_Code.FAILED_PRECONDITION),
    errors.NotPermittedNowError: Row(_Code.FAILED_PRECONDITION),
    errors.ConsentStateError: Row(_Code.FAILED_PRECONDITION),
    errors.ResumeTokenTooOldError: Row(_Code.OUT_OF_RANGE),
    errors.CallerUnauthenticatedError: Row(_Code.UNAUTHENTICATED),
    errors.CallerNotPermittedError: Row(_Code.PERMISSION_DENIED),
    errors.ConsentDeniedError: Row(_Code.FAILED_PRECONDITION),
    errors.AuthorizationFailedError: Row(_Code.FAILED_PRECONDITION),
    errors.ConsentExpiredError: Row(_Code.FAILED_PRECONDITION),
    errors.NotAdministratorError: Row(_Code.FAILED_PRECONDITION),
    errors.WrongOrganisationError: Row(_Code.FAILED_PRECONDITION),
    errors.NoOrganisationError: Row(_Code.FAILED_PRECONDITION),
    errors.CredentialsExpiredError: Row(_Code.FAILED_PRECONDITION),
    errors.AccessRevokedError: Row(_Code.FAILED_PRECONDITION),
    errors.ScopeMissingError: Row(_Code.FAILED_PRECONDITION),
    errors.AppRejectedError: Row(_Code.FAILED_PRECONDITION),
    errors.ConnectionNotUsableError: Row(_Code.FAILED_PRECONDITION),
    errors.XeroUnavailableError: Row(_Code.UNAVAILABLE, _LATER),
    errors.CallLimitError: Row(_Code.RESOURCE_EXHAUSTED, _LATER),
    errors.DrainingError: Row(_Code.UNAVAILABLE, _SOON),
    errors.CallerRateLimitedError: Row(_Code.RESOURCE_EXHAUSTED, _SOON),
    errors.IssuerUnavailableError: Row(_Code.UNAVAILABLE, _SHORTLY),
    errors.StorageUnavailableError: Row(_Code.UNAVAILABLE, _SHORTLY),
    errors.UnexpectedAnswerError: Row(_Code.INTERNAL),
}
"""Every class that is raised. What is not here is a fault of ours, or of the machine we run on: INTERNAL."""

INTERNAL = Row(_Code.INTERNAL)


def row_of(error: Exception) -> Row:
    """The row of this error's class; INTERNAL where there is none."""
    for kind in type(error).__mro__:
        if row := TABLE.get(kind):
            return row
    return INTERNAL


def status_of(error: Exception, *, now: datetime, request_id: str) -> Status:
    """The status that a caller gets for this error; of a fault it learns only where the log tells of it."""
    row = row_of(error)
    if not isinstance(error, errors.TieoutError) or row.status is _Code.INTERNAL:
        sentence = f"A fault of this service, not of the request. The log holds it under request_id {request_id}."
        reason = error.reason if isinstance(error, errors.BugError) else errors.BugError.reason
        return _status(_Code.INTERNAL, sentence, _info(reason, {"request_id": request_id}))
    facts = {name: str(value) for name, value in error.facts.items() if value}
    return _status(row.status, error.sentence, _info(error.reason, facts), *_further(error, row, now))


def _further(error: errors.TieoutError, row: Row, now: datetime) -> Iterator[Message]:
    """What is told beside the reason."""
    if isinstance(error, errors.InvalidRequestError):
        yield details.BadRequest(
            field_violations=[
                details.BadRequest.FieldViolation(field=v.field, description=v.rule) for v in error.violations
            ]
        )
    if isinstance(error, errors.NotFoundError):
        yield details.ResourceInfo(resource_type=error.kind, resource_name=error.name, description=error.sentence)
    if row.status is _Code.FAILED_PRECONDITION:
        yield details.PreconditionFailure(
            violations=[
                details.PreconditionFailure.Violation(
                    type=error.reason, subject=error.facts.get("connection_id", ""), description=error.sentence
                )
            ]
        )
    if row.retry is not None:
        known = error.retry_at - now if isinstance(error, errors.TryAgainError) and error.retry_at else row.retry
        yield details.RetryInfo(retry_delay=_duration(max(known, timedelta())))


def _duration(length: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(length)
    return duration


def _info(reason: str, facts: dict[str, str]) -> details.ErrorInfo:
    return details.ErrorInfo(reason=reason, domain=DOMAIN, metadata=facts)


def _status(code: grpc.StatusCode, sentence: str, *more: Message) -> Status:
    number: int = code.value[0]
    status = Status(code=number, message=sentence)
    for detail in more:
        status.details.add().Pack(detail)
    return status
