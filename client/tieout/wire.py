"""Reads our errors out of what gRPC raises: the status, and the `google.rpc` details that the service packs into it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from grpc.aio import AioRpcError
from grpc_status import rpc_status

from tieout.errors import CallerError, Facts, TieoutError, Violation, error_of

DOMAIN = "tieout.v1"
_TOO_LARGE = "larger than max"
"""What the transport says of a message beyond 4 MiB, with the status of what passes. A repeat is as large."""
_Detail = TypeVar("_Detail", bound=Message)


def typed(error: AioRpcError) -> TieoutError:
    """The same failure as one of our errors. Details that cannot be read are left out rather than hide the failure."""
    details = _details(error)
    info = next((it for it in _of(details, error_details_pb2.ErrorInfo) if it.domain == DOMAIN), None)
    retry = next(_of(details, error_details_pb2.RetryInfo), None)
    facts = Facts(
        code=error.code().name,
        reason=info.reason if info else "",
        violations=tuple(_violations(details)),
        retry_after=timedelta(microseconds=retry.retry_delay.ToMicroseconds()) if retry else None,
        metadata=dict(info.metadata) if info else {},
        call_id=_call_id(error),
    )
    sentence = error.details() or f"The call failed with {facts.code}."
    if not facts.reason and _TOO_LARGE in sentence:
        return CallerError(sentence, facts)
    return error_of(sentence, facts)


def _call_id(error: AioRpcError) -> str:
    named = next((value for name, value in error.trailing_metadata() or () if name == "x-request-id"), "")
    return named if isinstance(named, str) else ""


def _details(error: AioRpcError) -> list[Packed]:
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type] # it asks an AioRpcError only for what that has
    except (DecodeError, ValueError):
        return []
    return list(status.details) if status else []


def _of(details: list[Packed], kind: type[_Detail]) -> Iterator[_Detail]:
    for packed in details:
        detail = kind()
        if packed.Unpack(detail):
            yield detail


def _violations(details: list[Packed]) -> Iterator[Violation]:
    for request in _of(details, error_details_pb2.BadRequest):
        for wrong in request.field_violations:
            yield Violation(wrong.field, wrong.description)
    for precondition in _of(details, error_details_pb2.PreconditionFailure):
        for missing in precondition.violations:
            yield Violation(missing.subject, missing.description)
