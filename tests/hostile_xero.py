"""A Xero that answers what a sandbox would, spoiled on the way: byte by byte, so that anything can be said."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

LEFT = (
    ("X-MinLimit-Remaining", "59"),
    ("X-DayLimit-Remaining", "4999"),
    ("X-AppMinLimit-Remaining", "9999"),
    ("Content-Type", "application/json; charset=utf-8"),
)


@dataclass(frozen=True)
class Reply:
    """An answer as it goes over the wire; the connection is closed after it."""

    body: bytes = b""
    status: str = "200 OK"
    headers: tuple[tuple[str, str], ...] = LEFT
    before: bytes = b""
    """What is sent before it."""
    length: int | None = None
    """What Content-Length says; None says the truth, -1 nothing."""

    def on_the_wire(self) -> bytes:
        told = len(self.body) if self.length is None else self.length
        lines = [*self.headers, *([("Content-Length", str(told))] if told >= 0 else []), ("Connection", "close")]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        return self.before + f"HTTP/1.1 {self.status}\r\n{head}\r\n".encode("latin-1") + self.body


Spoil = Callable[[bytes], Reply | None]
"""What is answered instead of this body; None leaves it as it is."""


@dataclass
class HostileXero:
    """Answers as the sandbox at this address, once for each request and then from memory, but for what `spoil` does."""

    sandbox_url: str
    spoil: Spoil | None = None
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Method and target with the headers, of each request."""
    answered: list[bytes] = field(default_factory=list)
    """What the sandbox answered to each."""
    url: str = ""
    connections: set[asyncio.Task[None]] = field(default_factory=set)
    _known: dict[tuple[str, ...], tuple[int, bytes]] = field(default_factory=dict)

    async def genuine(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """What the sandbox answers; nothing where there is none."""
        if not self.sandbox_url:
            return 200, b""
        grant = body.split(b"&")[0].decode() if target.startswith("/connect") else ""
        key = (method, target, grant, headers.get("if-modified-since", ""))
        if key not in self._known:
            kept = ("authorization", "xero-tenant-id", "content-type", "if-modified-since", "idempotency-key", "accept")
            sent = {name: headers[name] for name in kept if name in headers} | {"Accept-Encoding": "identity"}
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, self.sandbox_url + target, headers=sent, data=body) as answer,
            ):
                self._known[key] = answer.status, await answer.read()
        return self._known[key]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request and its answer."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self.connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((f"{method} {target}", headers))
        status, genuine = await self.genuine(method, target, headers, body)
        self.answered.append(genuine)
        reply = self.spoil(genuine) if self.spoil else None
        writer.write((reply or Reply(genuine, f"{status} As The Sandbox Says")).on_the_wire())
        await writer.drain()


@contextlib.asynccontextmanager
async def hostile_xero(sandbox_url: str = "") -> AsyncIterator[HostileXero]:
    """It, listening on a free port of this machine."""
    xero = HostileXero(sandbox_url)
    server = await asyncio.start_server(xero.serve, "127.0.0.1", 0, limit=1 << 20)
    xero.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield xero
    finally:
        server.close()
        for task in xero.connections:
            task.cancel()
        await asyncio.gather(*xero.connections, return_exceptions=True)
