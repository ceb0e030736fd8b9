"""What is kept of every call: a name for it, its line in the log, its count, and its span in a trace."""

import functools
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from google.protobuf.message import Message
from grpc import StatusCode, aio
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Counter, Gauge, Histogram

from tieout_server import log, measures, traces

logger = log.get("rpc")

REQUEST_ID = "x-request-id"
"""The metadata by which a caller may name its call, and in which the end of every call says how it is named."""
_HARMLESS = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
"""What a caller's words may be made of to come into logs, or back into headers."""
_FAULTS = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
"""Statuses that are the server's fault (OpenTelemetry, semantic conventions for gRPC); the others are the caller's."""
_SETTLED = frozenset(code.name for code in StatusCode)

_Context = aio.ServicerContext[Any, Any]


class Observation:
    """What is kept of one call, as a block around it; whoever serves it says who made it, and what became of it.

    A stream, which may last for days, has no span. No generators and stacks here: each call pays for this.
    """

    def __init__(self, method: str, context: _Context, *, is_stream: bool) -> None:
        metadata = tuple(context.invocation_metadata() or ())
        self.request_id = _name(metadata)
        self.outcome = "OK"
        """The name of its status, or how else it ended."""
        self.caller = ""
        """Who makes it, by name; empty while that is not known."""
        self._method = method
        self._is_stream = is_stream
        self._around: AbstractContextManager[Span | None] | None = None
        self._span: Span | None = None
        if traces.are_on() and not is_stream:
            told = _span_attributes(method, self.request_id)
            self._around = traces.span(method[1:], SpanKind.SERVER, told, within=traces.caller(metadata))
        context.set_trailing_metadata(((REQUEST_ID, self.request_id),))

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        self._lines = log.bind(request_id=self.request_id)
        if self._is_stream:
            _open(self._method).inc()
        if self._around:
            self._span = self._around.__enter__()
        return self

    def begins(self, request: object) -> None:
        """It may be made and is sound: from now on its lines and its span name the connection that it is about."""
        connection_id = getattr(request, "connection_id", "") if isinstance(request, Message) else ""
        if connection_id and _HARMLESS.fullmatch(connection_id):
            self._lines = {**log.bind(connection_id=connection_id), **self._lines}
            if self._span:
                self._span.set_attribute("tieout.connection_id", connection_id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        write = logger.debug if self.outcome in ("OK", "CANCELLED") else logger.info
        write("call", method=self._method, status=self.outcome, caller=self.caller, elapsed_ms=round(seconds * 1000, 1))
        log.release(self._lines)
        status = self.outcome if self.outcome in _SETTLED else "BY_HANDLER"
        _ended(self._method, status).inc()
        if self._is_stream:
            _open(self._method).dec()
        else:
            _latency(self._method).observe(seconds)
        if self._around:
            self._end_span(status)
            self._around.__exit__(kind, error, traceback)

    def _end_span(self, status: str) -> None:
        if self._span:
            self._span.set_attribute("rpc.grpc.status_code", status)
        if status in _FAULTS:
            traces.failed(self._span, status)


def _name(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's name for the call if it is a good one, or else one of ours."""
    given = next((value for name, value in metadata if name == REQUEST_ID), "")
    return given if isinstance(given, str) and _HARMLESS.fullmatch(given) else secrets.token_hex(8)


def _span_attributes(method: str, request_id: str) -> dict[str, str | int]:
    service, _, name = method[1:].partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "tieout.request_id": request_id}


def expect(methods: Iterable[str]) -> None:
    """Count the faults of these from none: of a series that begins with one Prometheus sees no increase."""
    for method in methods:
        _ended(method, "INTERNAL")


@functools.cache  # as many as there are methods that are served, and statuses
def _ended(method: str, status: str) -> Counter:
    return measures.RPCS.labels(method[1:], status)


@functools.cache  # likewise
def _latency(method: str) -> Histogram:
    return measures.RPC_SECONDS.labels(method[1:])


@functools.cache  # likewise
def _open(method: str) -> Gauge:
    return measures.STREAMS.labels(method[1:])
