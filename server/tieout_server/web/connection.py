"""One HTTP connection within bounds: of the time its requests take to arrive, of their size, and of how many there are.

aiohttp bounds what is read of a body where it is read; the rest is bounded here.
"""

import asyncio

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tieout_server import log
from tieout_server.web.edge import HEADERS

logger = log.get("web")

MOST_CONNECTIONS = 500
"""At once. A proxy needs a few dozen; what comes beyond is closed unheard, and memory is bounded."""
HEAD_WITHIN = 10.0
"""Seconds that the head of a request may take to arrive, from its first byte or from the beginning."""
IDLE_WITHIN = 75.0
"""Seconds that a connection may wait for its next request: longer than proxies keep one (nginx, AWS: 60 by default)."""
UNREAD_WITHIN = 2.0
"""Seconds that a body that nobody reads may go on to arrive."""
LARGEST_LINE = 8190
"""Bytes of the request line, and of each header."""
MOST_HEADERS = 64


class BoundedConnection(RequestHandler):
    """One connection; requests that are no HTTP are answered with 400, the usual headers, and not a word of theirs."""

    __slots__ = ("_late",)

    def __init__(self, server: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # None is how aiohttp turns it off: addresses hold secrets
            keepalive_timeout=IDLE_WITHIN,
            lingering_time=UNREAD_WITHIN,
            max_line_size=LARGEST_LINE,
            max_field_size=LARGEST_LINE,
            max_headers=MOST_HEADERS,
            auto_decompress=False,  # Xero signs what it sends; and what cannot be unpacked is no fault of ours
        )
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or end at once if there are too many."""
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > MOST_CONNECTIONS:
            logger.warning("too many connections", most=MOST_CONNECTIONS)
            self.force_close()
            return
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the time that a head may take begins with its first byte."""
        requests = self._request_count
        super().data_received(data)
        if self._request_count > requests:
            self._head_is_here()
        elif self._is_waiting and self._late is None:
            self._expect_head()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request, which may hold a state or a code
    ) -> web.StreamResponse:
        """Answer what was no HTTP, or what broke; neither the answer nor the log quotes the request."""
        if request.writer.output_size > 0:
            raise ConnectionError("An answer is on its way already.")
        if status < 500:  # noqa: PLR2004 - HTTP's classes
            logger.info("malformed request", why=type(exc).__name__)
        else:
            logger.error("fault", exc_info=exc)
        answer = web.Response(status=status, headers=HEADERS)
        answer.force_close()
        return answer

    @property
    def _is_waiting(self) -> bool:
        """Whether no request is in hand."""
        return self._waiter is not None and not self._waiter.done()

    def _expect_head(self) -> None:
        self._late = self._loop.call_later(HEAD_WITHIN, self._give_up)

    def _head_is_here(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        self.force_close()
