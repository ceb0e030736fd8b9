"""Traces, off unless an operator turns them on: from a call of ours to the calls to Xero that come of it.

Nothing of a document, a person or a token goes into a span: ids of ours, method names, statuses, counts.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

NAME = "tieout"

_PROPAGATOR = TraceContextTextMapPropagator()


class _Sent:
    """Where spans go; nowhere unless something is set."""

    tracer: Tracer | None = None


def send_to(provider: TracerProvider | None) -> None:
    """Have spans go to this provider from now on; with None nowhere, which costs next to nothing."""
    _Sent.tracer = provider.get_tracer(NAME, version(NAME)) if provider else None


def are_on() -> bool:
    """Whether spans go anywhere."""
    return _Sent.tracer is not None


def send_by_otlp() -> None:
    """Have spans go where the standard OTEL_… variables say, `http://localhost:4317` by default.

    Raises:
        ImportError: the extra `tieout[telemetry]` is not installed.
    """
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import TracerProvider as Provider  # noqa: PLC0415 - likewise
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - likewise

    os.environ.setdefault("OTEL_SERVICE_NAME", NAME)
    provider = Provider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    send_to(provider)


def caller(metadata: Iterable[tuple[str, str | bytes]]) -> Context | None:
    """Where a caller's own trace stands (W3C traceparent); None if it has none, or nobody wants to know."""
    if _Sent.tracer is None:
        return None
    told = {name: value for name, value in metadata if name in _PROPAGATOR.fields and isinstance(value, str)}
    return _PROPAGATOR.extract(told) if told else None


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
    *,
    within: Context | None = None,
    because_of: Link | None = None,
) -> Iterator[Span | None]:
    """A span around the block, and within it the current one; None, and nothing is done, while traces are off.

    What an error says may be about a person: whoever knows that something failed says so by `failed`.
    """
    if _Sent.tracer is None:
        yield None
        return
    links = [because_of] if because_of else []
    with _Sent.tracer.start_as_current_span(
        name, within, kind, attributes, links, record_exception=False, set_status_on_exception=False
    ) as current:
        yield current


def failed(current: Span | None, why: str) -> None:
    """Mark a span, if there is one, as failed for this reason: the name of an error or of a status."""
    if current is not None:
        current.set_status(Status(StatusCode.ERROR))
        current.set_attribute("error.type", why)


def cause() -> Link | None:
    """What is being done at this moment, for what comes of it later to point to; None if nobody follows it."""
    if _Sent.tracer is None:
        return None
    context = trace.get_current_span().get_span_context()
    return Link(context) if context.is_valid and context.trace_flags.sampled else None
