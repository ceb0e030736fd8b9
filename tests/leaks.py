"""What must not be found anywhere, learnt from where it lies by right, and the places to look for it."""

import base64
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import aiohttp
import grpc
import psycopg

from databases import METADATA
from servers import CLIENT_ID, CLIENT_SECRET, VAULT_KEY, ServerProcess
from tieout_sandbox import Sandbox
from tieout_server.storage import tables
from tieout_server.storage.database import Database
from tieout_server.storage.vault import Vault

SECRET_TOKEN = "a-caller-s-own-bearer-token"


class Secrets:
    """Everything that must not be found anywhere, by what it is."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {
            "client secret": CLIENT_SECRET,
            "client secret as it is sent": base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode(),
            "vault key": VAULT_KEY,
            "caller's token": SECRET_TOKEN,
        }

    def learn(self, what: str, values: Iterable[str]) -> None:
        """Add secrets, which are long enough not to be met by chance."""
        for number, value in enumerate(sorted(set(values))):
            assert len(value) >= 20, f"{what} is too short to be looked for"
            self.known[f"{what} {number}"] = value

    def found_in(self, place: bytes | str) -> list[str]:
        """Which of them this place holds."""
        text = place if isinstance(place, bytes) else place.encode()
        return [what for what, value in self.known.items() if value.encode() in text]

    def count(self, what: str) -> int:
        return sum(name.startswith(what) for name in self.known)


async def learn_from_the_database(secrets: Secrets, database_url: str) -> None:
    """Open what the vault keeps: tokens, code_verifiers, and answers kept for a repeat."""
    database, vault = Database(database_url), Vault.from_settings(f"test:{VAULT_KEY}", database_url)
    async with database.read() as tx:
        for row in await tx.execute(tables.xero_users.select()):
            user = row.xero_user_id
            secrets.learn("access token", [vault.open(row.access_token, context=f"access/{user}")])
            secrets.learn("refresh token", [vault.open(row.refresh_token, context=f"refresh/{user}")])
        for row in await tx.execute(tables.authorisations.select()):
            opened = vault.open(row.code_verifier, context=f"authorisation/{row.state_hash}")
            secrets.learn(f"code_verifier of {row.state_hash}", [opened])
    await database.close()


def learn_from_the_sandbox(secrets: Secrets, sandbox: Sandbox) -> None:
    """Every token and code that Xero ever gave out."""
    authority = sandbox.authority
    secrets.learn("code", authority.codes)
    secrets.learn("issued refresh token", authority.refresh_tokens)


@contextlib.asynccontextmanager
async def collected_spans() -> AsyncIterator[tuple[list[bytes], str]]:
    """Spans as they are sent to a collector, and the address of the collector."""
    sent: list[bytes] = []

    async def export(request: bytes, _context: object) -> bytes:
        sent.append(request)
        return b""  # an empty ExportTraceServiceResponse

    collector = grpc.aio.server()
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    call: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(export)
    collector.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": call}),))
    endpoint = f"http://127.0.0.1:{collector.add_insecure_port('127.0.0.1:0')}"
    await collector.start()
    try:
        yield sent, endpoint
    finally:
        await collector.stop(None)


async def figures_of(server: ServerProcess) -> str:
    """What a server that listens for it tells at /metrics."""
    ports = {int(port) for port in re.findall(r'\bport(?:=|": )(\d+)', server.log.read_text())}
    (port,) = ports - {server.port, server.web_port}
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def database_bytes(database_url: str) -> bytes:
    """All that the database holds, as it lies on the disk; of PostgreSQL, every row of every table."""
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite:///"))
        files = [file for file in path.parent.glob(f"{path.name}*") if file.suffix != ".key"]
        assert files
        return b"".join(file.read_bytes() for file in files)
    rows = []
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        for table in METADATA.tables:
            cursor = await connection.execute(f"SELECT * FROM {table}".encode())  # noqa: S608 - names of ours
            for row in await cursor.fetchall():
                rows += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    return b"\n".join(rows)
