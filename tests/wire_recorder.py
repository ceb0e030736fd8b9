"""Calls to the Accounting API as they were on the wire, written down while a session makes them."""

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp

_GZIP_MAGIC = b"\x1f\x8b"
_API = re.compile(r"/api\.xro/2\.0(/.*)", re.IGNORECASE)


@dataclass(slots=True)
class Exchange:
    """One call as it was on the wire."""

    method: str
    url: str
    headers: Mapping[str, str]
    sent: bytes = b""
    status: int = 0
    answer: bytes = b""
    content_type: str = ""

    @property
    def path(self) -> str | None:
        """The path inside the Accounting API."""
        match = _API.fullmatch(urlsplit(self.url).path)
        return match.group(1) if match else None

    def answered(self) -> Any:  # noqa: ANN401 any JSON value
        """The body as JSON, numbers exact; some sessions leave it compressed."""
        body = gzip.decompress(self.answer) if self.answer.startswith(_GZIP_MAGIC) else self.answer
        return json.loads(body, parse_float=Decimal)

    @property
    def query(self) -> dict[str, str]:
        """The parameters."""
        return dict(parse_qsl(urlsplit(self.url).query))


def recorder() -> tuple[aiohttp.TraceConfig, list[Exchange]]:
    """What a session needs to write down its calls, and where they will stand."""
    exchanges: list[Exchange] = []
    trace = aiohttp.TraceConfig()

    async def start(_: object, context: SimpleNamespace, call: aiohttp.TraceRequestStartParams) -> None:
        context.exchange = Exchange(call.method, str(call.url), call.headers)

    async def sent(_: object, context: SimpleNamespace, part: aiohttp.TraceRequestChunkSentParams) -> None:
        context.exchange.sent += part.chunk

    async def received(_: object, context: SimpleNamespace, part: aiohttp.TraceResponseChunkReceivedParams) -> None:
        context.exchange.answer += part.chunk

    async def end(_: object, context: SimpleNamespace, call: aiohttp.TraceRequestEndParams) -> None:
        exchange = context.exchange
        exchange.status, exchange.content_type = call.response.status, call.response.content_type
        exchanges.append(exchange)

    trace.on_request_start.append(start)
    trace.on_request_chunk_sent.append(sent)
    trace.on_response_chunk_received.append(received)
    trace.on_request_end.append(end)
    return trace, exchanges
