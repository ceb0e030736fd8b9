"""login.xero.com, identity.xero.com and api.xero.com on this machine: what a client sends there comes to a sandbox.

A client that nobody has changed asks a proxy for these hosts and speaks TLS to them. Here is the proxy, and a
certificate that the client is told to trust. No other host can be reached through it.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = ("login.xero.com", "identity.xero.com", "api.xero.com")
_Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@contextlib.asynccontextmanager
async def xero_hosts(sandbox_port: int, folder: Path) -> AsyncIterator[dict[str, str]]:
    """The environment variables that lead a client's requests for Xero to the sandbox, while the block runs.

    Args:
        sandbox_port: where the sandbox listens on this machine.
        folder: for the certificate.
    """
    certificate = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with contextlib.AsyncExitStack() as stack:
        inner = _Relay(lambda: asyncio.open_connection("127.0.0.1", sandbox_port))
        tls_port = await stack.enter_async_context(inner.listening(ssl=context))
        outer = _Relay(lambda: asyncio.open_connection("127.0.0.1", tls_port), asks=True)
        port = await stack.enter_async_context(outer.listening())
        yield {
            "HTTPS_PROXY": f"http://127.0.0.1:{port}",
            "REQUESTS_CA_BUNDLE": str(certificate),  # requests
            "NODE_EXTRA_CA_CERTS": str(certificate),  # Node.js
        }


class _Relay:
    """Passes bytes on, both ways, until either side has no more to say.

    Args:
        open_next: reaches whoever they are passed on to.
        asks: whether a caller first says `CONNECT host:port`, as to a proxy.
    """

    def __init__(self, open_next: _Open, *, asks: bool = False) -> None:
        self._open_next = open_next
        self._asks = asks
        self._running: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self, **options: ssl.SSLContext) -> AsyncIterator[int]:
        """On a free port, which is told."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **options)  # type: ignore[arg-type] # only ssl=
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
                if not self._asks or await _is_for_xero(reader, writer):
                    await self._relay(reader, writer)
        except asyncio.CancelledError:
            pass  # the end of `listening`: streams complain about handlers that were cancelled
        finally:
            self._running.discard(task)
            await _closed(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        next_reader, next_writer = await self._open_next()
        directions = [asyncio.ensure_future(_copy(*way)) for way in ((reader, next_writer), (next_reader, writer))]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            next_writer.close()  # first: what follows may be cancelled
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            await _closed(next_writer)


async def _is_for_xero(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, target, _ = head.split(" ", 2)
    allowed = method == "CONNECT" and target in {f"{host}:443" for host in HOSTS}
    writer.write(b"HTTP/1.1 200 Connected\r\n\r\n" if allowed else b"HTTP/1.1 403 Forbidden\r\n\r\n")
    await writer.drain()
    return allowed


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
        await writer.wait_closed()


def make_certificate(folder: Path) -> Path:
    """A certificate for Xero's hosts with its key, in one file: good for a day, and trusted by whoever is told to."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tieout's tests play Xero")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "xero-hosts.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path
