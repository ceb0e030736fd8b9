"""What is kept of every call to Xero: its count, how long it took and waited, and its span in a trace."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from opentelemetry.trace import Span, SpanKind

from tieout_server import measures, traces
from tieout_server.ledger.calls import Left
from tieout_server.xero.answers import Answer

IDENTITY = "identity"
"""The purpose of calls about consents and tokens, which belong to no organisation."""
_WORDS = frozenset({"Actions", "Allocations", "History", "token", "revocation", "jwks", "openid-configuration"})
"""Parts of paths behind the first that are words; whatever else stands there is an id, or a person's own number."""

_UNANSWERED = "unanswered"


class Sent:
    """One call that was sent, until it is answered or given up."""

    def __init__(self, purpose: str, span: Span | None) -> None:
        self._purpose = purpose
        self._span = span
        self._result = _UNANSWERED

    def answered(self, answer: Answer) -> None:
        """Xero answered."""
        self._result = _result(answer.status)
        measures.XERO_BYTES.labels("wire").inc(len(answer.body))
        if self._span:
            self._span.set_attribute("http.response.status_code", answer.status)
            self._span.set_attribute("tieout.wire_bytes", len(answer.body))
            if answer.status >= HTTPStatus.BAD_REQUEST:
                traces.failed(self._span, str(answer.status))

    def ends(self, seconds: float) -> None:
        """Count it."""
        measures.XERO_CALLS.labels(self._purpose, self._result).inc()
        measures.XERO_SECONDS.labels(self._purpose).observe(seconds)
        if self._result == _UNANSWERED:
            traces.failed(self._span, _UNANSWERED)


@contextmanager
def observed(method: str, path: str, purpose: str, *, waited: float = 0.0) -> Iterator[Sent]:
    """A call from the moment it is sent; before, it has waited for so many seconds."""
    measures.XERO_WAITED.labels(purpose).observe(waited)
    template, started = _template(path), time.perf_counter()
    told: dict[str, str | int] = {
        "http.request.method": method,
        "url.template": template,
        "tieout.purpose": purpose,
        "tieout.waited_ms": round(waited * 1000),
    }
    with traces.span(f"{method} {template}", SpanKind.CLIENT, told) as span:
        sent = Sent(purpose, span)
        try:
            yield sent
        finally:
            sent.ends(time.perf_counter() - started)


def told_left(left: Left) -> None:
    """What an answer's headers say is left of the limits."""
    if left.day is not None:
        measures.XERO_LEFT_DAY.observe(left.day)
    if left.minute is not None:
        measures.XERO_LEFT_MINUTE.observe(left.minute)
    if left.app_minute is not None:
        measures.XERO_APP_LEFT.set(left.app_minute)


def _template(path: str) -> str:
    """The path with `{id}` for whatever is not a word of the API's."""
    first, *others = path.strip("/").split("/")
    if first == "Reports":
        return path
    return "/".join([first, *(part if part in _WORDS else "{id}" for part in others)])


def _result(status: int) -> str:
    """What became of a call, in a few words."""
    match status:
        case HTTPStatus.NOT_MODIFIED:
            return "not_modified"
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return "not_permitted"
        case HTTPStatus.TOO_MANY_REQUESTS:
            return "limited"
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "xero_failed"
        case _ if status >= HTTPStatus.BAD_REQUEST:
            return "refused"
        case _:
            return "ok"
