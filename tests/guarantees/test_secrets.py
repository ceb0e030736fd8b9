"""Promise: no secret is in logs, errors, reprs, what callers are answered, or plain columns of the database."""

import asyncio
import contextlib
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import psycopg
import pytest

import tieout
from databases import METADATA
from deliveries import KEY, body_of, event, post, signature
from servers import CLIENT_SECRET, ROOMY, VAULT_KEY, Service, client_of, server_process, settings_of
from tieout.v1.connection_service_pb2 import Connection
from tieout_sandbox import FaultKind, FaultRule, Sandbox
from tieout_server.connections.authorisation import Consent, Returned
from tieout_server.connections.messages import Return
from tieout_server.connections.tokens import _InUse
from tieout_server.ledger.books import TokenSet
from tieout_server.settings import Settings
from tieout_server.storage import tables
from tieout_server.storage.database import Database
from tieout_server.storage.vault import Vault

pytestmark = pytest.mark.timeout(60)

SECRET_TOKEN = "a-caller-s-own-bearer-token"


class Secrets:
    """Everything that must not be found anywhere, by what it is."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {
            "client secret": CLIENT_SECRET,
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


async def provoke(running: Service, sandbox: Sandbox, connection: Connection, secrets: Secrets) -> list[str]:
    """Make much go wrong, with secrets in hand each time; answers what the errors said."""
    client, said = running.client, []

    async def fails(doing: object) -> None:
        with contextlib.suppress(tieout.TieoutError):
            try:
                await doing  # type: ignore[misc] # each is a call of the client
            except tieout.TieoutError as error:
                said.append(f"{error!r} {error.sentence} {error.metadata} {error.violations} {error.__cause__!r}")
                raise

    faults = [
        FaultRule(FaultKind.ANSWER, "/connect/token$", status=200, body='{"access_token": "x"}'),
        FaultRule(FaultKind.ANSWER, "/connect/token$", status=400, body='{"error": "invalid_client"}'),
        FaultRule(FaultKind.DROP_AFTER, "/connect/token$"),
        FaultRule(FaultKind.ANSWER, "/connections$", status=200, body="{}"),
        FaultRule(FaultKind.ANSWER, "/Organisation$", status=400, body='{"Message": "no"}'),
        FaultRule(FaultKind.ANSWER, "/Organisation$", status=200, body='{"Organisations": 1}'),
        FaultRule(FaultKind.ANSWER, "/jwks$", status=200, body='{"keys": []}'),
    ]
    back: dict[str, str] = {}
    for fault in faults:
        sandbox.faults.add(fault)
        started = await client.connections.reconnect(connection.id, request_id=f"again-{len(said)}")
        back = await running.browser.returned(started.authorization_url)
        secrets.learn(f"state of {fault.path} {fault.status}", [back["state"]])
        secrets.learn(f"code of {fault.path} {fault.status}", [back["code"]])
        await fails(client.connections.complete_authorization(**back))
        sandbox.faults.clear()
        await fails(client.connections.complete_authorization(**back))  # used, or good again
        await fails(client.connections.complete_authorization(back["state"][:-1] + "x", code=back["code"]))
    await fails(client.connections.complete_authorization(back["state"], error="access_denied", code=back["code"]))
    await fails(client.connections.complete_authorization("", code=back["code"]))
    await fails(client.connections.complete_authorization(back["state"] + "\n", code=back["code"] + "\0"))
    return said


async def run_cli(running: Service, *arguments: str) -> str:
    """What the command line prints, on both ways out."""
    command = str(Path(sys.executable).with_name("tieout"))
    process = await asyncio.create_subprocess_exec(
        command, "--target", running.target, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode()


async def database_bytes(database_url: str) -> bytes:
    """All that the database holds, as it lies on the disk; of PostgreSQL, every row of every table."""
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite:///"))
        files = [path, path.with_name(path.name + "-wal")]
        return b"".join(file.read_bytes() for file in files if file.exists())
    rows = []
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        for table in METADATA.tables:
            cursor = await connection.execute(f"SELECT * FROM {table}".encode())  # noqa: S608 - names of ours
            for row in await cursor.fetchall():
                rows += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    return b"\n".join(rows)


@pytest.mark.in_turn
@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_no_secret_is_found_anywhere_after_a_full_run(
    log_format: str, sandbox: Sandbox, database_url: str, tmp_path: Path
) -> None:
    secrets = Secrets()
    sandbox.limits.quota = ROOMY
    async with (
        server_process(
            sandbox.url,
            database_url,
            tmp_path,
            TIEOUT_LOG_LEVEL="debug",
            TIEOUT_LOG_FORMAT=log_format,
            TIEOUT_XERO_WEBHOOK_KEY=KEY,
        ) as server,
        client_of(server) as running,
    ):
        started = await running.client.connections.connect("acme", request_id="first")
        secrets.learn("first state", parse_qs(urlsplit(started.authorization_url).query)["state"])
        back = await running.browser.returned(started.authorization_url)
        secrets.learn("first code", [back["code"]])
        connection = (await running.client.connections.complete_authorization(**back, request_id="second")).connection
        await learn_from_the_database(secrets, database_url)
        await running.first_sync(connection.id)
        secrets.learn("webhook key", [KEY])
        said: list[str] = []
        for body in (b"{", body_of({}), body_of(event(tenantId=connection.organisation.xero_tenant_id))):
            said += [str(await post(running, body, signed)) for signed in (signature(body), "forged")]
        said += await provoke(running, sandbox, connection, secrets)
        assert len(said) > 16
        away = await running.client.connections.reconnect(connection.id)  # its browser comes to the page
        page_address = urlsplit(await running.browser.consent(away.authorization_url))
        secrets.learn("state of the page", parse_qs(page_address.query)["state"])
        secrets.learn("code of the page", parse_qs(page_address.query)["code"])
        for _ in range(2):
            url = f"http://127.0.0.1:{server.web_port}{page_address.path}?{page_address.query}"
            async with running.browser.http.get(url) as page:
                said.append(await page.text())
        await running.client.syncs.start(connection.id)  # it may wait for the minute that all the consents have used
        said += [await run_cli(running, *command.split(), "--json") for command in COMMANDS]
        said.append(str(await running.client.connections.get(connection.id)))
        async with contextlib.aclosing(running.client.connections.watch(from_start=True)) as messages:
            said.append(str(await anext(messages)))
        learn_from_the_sandbox(secrets, sandbox)
        await learn_from_the_database(secrets, database_url)
        assert secrets.found_in("\n".join(said)) == []
        assert secrets.found_in(server.log.read_bytes()) == []
        assert b"fault" in server.log.read_bytes()  # the log does tell of what broke
        assert secrets.found_in(await database_bytes(database_url)) == []
        await server.stop()
    assert secrets.found_in(server.log.read_bytes()) == []
    assert secrets.found_in(await database_bytes(database_url)) == []
    for what in (
        "access token",
        "refresh token",
        "issued refresh token",
        "code",
        "state",
        "first state",
        "code_verifier",
    ):
        assert secrets.count(what), f"no {what} was looked for"


COMMANDS = (
    "connections acme",
    "sync acme",  # not followed: it may wait for the minute
    "syncs acme",
    "freshness acme",
    "customers acme",
    "choose acme nobody",
)


def test_what_is_searched_for_would_be_found() -> None:
    secrets = Secrets()
    secrets.learn("state", ["a-state-that-is-long-enough"])
    assert secrets.found_in(b"... a-state-that-is-long-enough ...") == ["state 0"]
    assert secrets.found_in(f"redirect?secret={CLIENT_SECRET}") == ["client secret"]


async def test_no_secret_is_in_the_repr_of_what_holds_it(sqlite_url: str) -> None:
    secret = "s3cr3t-s3cr3t-s3cr3t-s3cr3t"
    settings = Settings(
        **(settings_of("http://127.0.0.1", sqlite_url) | {"xero_client_secret": secret, "token": secret})
    )
    vault = Vault.from_settings(f"test:{VAULT_KEY}", sqlite_url)
    tokens = msgspec.convert(
        {"xero_user_id": "u", "access_token": secret, "refresh_token": secret,
         "access_expires_at": "2026-01-01T00:00:00Z", "scopes": []},
        TokenSet,
    )  # fmt: skip
    holders = [
        settings,
        vault,
        tokens,
        Return(secret, secret, "", "r"),
        Returned("c", "hash", "", secret, datetime.now(UTC)),
        Consent(f"https://login.xero.com/authorize?state={secret}", datetime.now(UTC)),
        _InUse(secret, datetime.now(UTC)),
        tieout.Client("127.0.0.1:1", token=secret),
    ]
    for holder in holders:
        for shown in (repr(holder), str(holder)):
            assert secret not in shown, type(holder)
            assert VAULT_KEY not in shown, type(holder)


async def test_what_is_sealed_is_not_what_it_seals(sqlite_url: str) -> None:
    vault = Vault.from_settings(f"test:{VAULT_KEY}", sqlite_url)
    sealed = vault.seal("s3cr3t-s3cr3t", context="access/u")
    assert b"s3cr3t" not in sealed
    assert sealed != vault.seal("s3cr3t-s3cr3t", context="access/u")
