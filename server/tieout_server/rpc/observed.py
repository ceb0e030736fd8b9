"""What is kept of every call: a name for it, its line in the log, its count, and its span in a trace."""

import functools
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from google.protobuf.message import Message
from grpc import StatusCode, aio
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Gauge, Histogram

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
    """What is kept of one call while it lasts; whoever serves it says who made it, and what became of it."""

    def __init__(self, method: str, request_id: str, until_it_ends: ExitStack) -> None:
        self.request_id = request_id
        self.outcome = "OK"
        """The name of its status, or how else it ended."""
        self.caller = ""
        """Who makes it, by name; empty while that is not known."""
        self._method = method
        self._until_it_ends = until_it_ends
        self.span: Span | None = None

    def begins(self, request: object) -> None:
        """It may be made and is sound: from now on its lines and its span name the connection that it is about."""
        connection_id = getattr(request, "connection_id", "") if isinstance(request, Message) else ""
        if connection_id and _HARMLESS.fullmatch(connection_id):
            self._until_it_ends.enter_context(log.about(connection_id=connection_id))
            if self.span:
                self.span.set_attribute("tieout.connection_id", connection_id)

    def ends(self, seconds: float) -> None:
        """Write its line, count it, and close its span."""
        write = logger.debug if self.outcome in ("OK", "CANCELLED") else logger.info
        write("call", method=self._method, status=self.outcome, caller=self.caller, elapsed_ms=round(seconds * 1000, 1))
        status = self.outcome if self.outcome in _SETTLED else "BY_HANDLER"
        measures.RPCS.labels(self._method[1:], status).inc()
        if self.span:
            self.span.set_attribute("rpc.grpc.status_code", status)
            if status in _FAULTS:
                traces.failed(self.span, status)


@contextmanager
def observed(method: str, context: _Context, *, is_stream: bool) -> Iterator[Observation]:
    """A call from its beginning to its end, whatever that is. A stream, which may last for days, has no span."""
    metadata, started = tuple(context.invocation_metadata() or ()), time.perf_counter()
    request_id = _name(metadata)
    context.set_trailing_metadata(((REQUEST_ID, request_id),))
    with ExitStack() as until_it_ends:
        until_it_ends.enter_context(log.about(request_id=request_id))
        call = Observation(method, request_id, until_it_ends)
        if is_stream:
            until_it_ends.enter_context(_open(method).track_inprogress())
        else:
            service, _, name = method[1:].partition("/")
            told = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "tieout.request_id": request_id}
            within = traces.caller(metadata)
            call.span = until_it_ends.enter_context(traces.span(method[1:], SpanKind.SERVER, told, within=within))
        try:
            yield call
        finally:
            seconds = time.perf_counter() - started
            if not is_stream:
                _latency(method).observe(seconds)
            call.ends(seconds)


def _name(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's name for the call if it is a good one, or else one of ours."""
    given = next((value for name, value in metadata if name == REQUEST_ID), "")
    return given if isinstance(given, str) and _HARMLESS.fullmatch(given) else secrets.token_hex(8)


@functools.cache  # as many as there are methods that are served
def _latency(method: str) -> Histogram:
    return measures.RPC_SECONDS.labels(method[1:])


@functools.cache  # likewise
def _open(method: str) -> Gauge:
    return measures.STREAMS.labels(method[1:])
