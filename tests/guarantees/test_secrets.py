"""Promise: no secret is in logs, errors, reprs, what callers are answered, or plain columns of the database."""

import asyncio
import contextlib
import io
import os
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import grpc
import msgspec
import pytest

import tieout
from deliveries import KEY, body_of, event, post, signature
from leaks import (
    SECRET_TOKEN,
    Secrets,
    collected_spans,
    database_bytes,
    figures_of,
    learn_from_the_database,
    learn_from_the_sandbox,
)
from servers import CLIENT_SECRET, ROOMY, VAULT_KEY, Service, client_of, server_process, settings_of
from tieout.errors import CallerUnauthenticatedError
from tieout.v1.connection_service_pb2 import Connection
from tieout_sandbox import FaultKind, FaultRule, Sandbox
from tieout_server.connections.authorisation import Consent, Returned
from tieout_server.connections.messages import Begun, Return, Started
from tieout_server.connections.tokens import _InUse
from tieout_server.ledger.books import TokenSet
from tieout_server.ledger.links import Link
from tieout_server.settings import Settings
from tieout_server.storage.vault import Vault
from tieout_server.xero.answers import TokenRefused
from tieout_server.xero.transport import _TokenRefusedError
from tieout_server.xero.webhooks import XeroDeliveries

pytestmark = pytest.mark.timeout(180)

QUICK = 10.0
"""How many times as fast as ours the time of server and sandbox passes, so that no minute of calls is waited for."""


async def provoke(running: Service, sandbox: Sandbox, connection: Connection, secrets: Secrets) -> list[str]:
    """Make much go wrong, with secrets in hand each time; answers what the errors said."""
    client, said = running.client, []

    async def fails(doing: object) -> None:
        with contextlib.suppress(tieout.TieoutError):
            try:
                await doing  # type: ignore[misc] # each is a call of the client
            except tieout.TieoutError as error:
                said.append(f"{error!r} {error.sentence} {error.metadata} {error.violations} {error.__cause__!r}")
                if isinstance(error.__cause__, grpc.aio.AioRpcError):  # as it is on the wire, with all its details
                    said.append(repr(error.__cause__.trailing_metadata()))
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
        env={**os.environ, "TIEOUT_TOKEN": SECRET_TOKEN},
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode()


async def register(database_url: str) -> str:
    """A key of a new caller, as `tieout-server callers add` prints it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tieout_server", "callers", "add", "ops", "--role", "operator",
        env={**os.environ, "TIEOUT_DATABASE_URL": database_url}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    found = re.search(r"tk_[\w-]+", out.decode())
    assert found, out
    return found[0]


async def call_by_key(target: str, database_url: str, secrets: Secrets) -> list[str]:
    """What callers are told: one who has been given a key, and those who have no token, or another one."""
    key = await register(database_url)
    secrets.learn("caller's key", [key, key.split("_", 2)[2]])
    async with tieout.Client(target, token=key) as client:
        said = [str([one async for one in client.connections.list(merchant_id="acme")])]
    for token in ("", SECRET_TOKEN[:-1], SECRET_TOKEN + "x", key[:-1]):
        async with tieout.Client(target, token=token) as client:
            with pytest.raises(CallerUnauthenticatedError) as refusal:
                await client.connections.get("con_1")
            assert isinstance(refusal.value.__cause__, grpc.aio.AioRpcError)
            said.append(f"{refusal.value!r} {refusal.value.__cause__!r}")
    return said


async def evidence(running: Service, connection_id: str) -> list[str]:
    """What a pack of evidence holds, and the pack itself as it was streamed."""
    calls = running.client.reconciliations
    customers = [customer async for customer in running.client.receivables.list_customers(connection_id)]
    case = await calls.report_discrepancy(connection_id, "It is too little.", customer_ids=[customers[0].id])
    parts = [part async for part in calls.export_evidence(case_id=case.id)]
    with zipfile.ZipFile(io.BytesIO(b"".join(part.chunk for part in parts))) as archive:
        return [archive.read(name).decode("utf-8-sig") for name in archive.namelist()] + [str(p.header) for p in parts]


def arguments_of(pid: int) -> str:
    """What `ps` shows of a process to everybody on the machine."""
    arguments = Path(f"/proc/{pid}/cmdline").read_text()
    assert "tieout_server" in arguments
    return arguments


@pytest.mark.in_turn
@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_no_secret_is_found_anywhere_after_a_full_run(
    log_format: str, sandbox: Sandbox, database_url: str, tmp_path: Path
) -> None:
    secrets = Secrets()
    sandbox.limits.quota, sandbox.clock.speed = ROOMY, QUICK
    async with (
        collected_spans() as (spans, endpoint),
        server_process(
            sandbox.url,
            database_url,
            tmp_path,
            TIEOUT_LOG_LEVEL="debug",
            TIEOUT_LOG_FORMAT=log_format,
            TIEOUT_XERO_WEBHOOK_KEY=KEY,
            TIEOUT_TOKEN=SECRET_TOKEN,
            TIEOUT_CLOCK_SPEED=str(QUICK),
            PYTHONASYNCIODEBUG="1",
            PYTHONFAULTHANDLER="1",
            TIEOUT_METRICS_LISTEN="127.0.0.1:0",
            TIEOUT_TRACES="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as server,
        client_of(server, SECRET_TOKEN) as running,
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
        said += await evidence(running, connection.id)
        figures = await figures_of(server)
        assert "tieout_xero_calls_total" in figures
        said.append(figures)
        said += await call_by_key(running.target, database_url, secrets)
        said.append(arguments_of(server.pid))
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
        server.crash()
        await server.stop()
        assert b"ConnectionService/Connect" in b"".join(spans)
        assert secrets.found_in(b"".join(spans)) == []
    assert b"Fatal Python error: Aborted" in server.log.read_bytes()
    assert secrets.found_in(server.log.read_bytes()) == []
    assert secrets.found_in(await database_bytes(database_url)) == []
    for what in (
        "access token",
        "refresh token",
        "webhook key",
        "caller's key",
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
        **(
            settings_of("http://127.0.0.1", sqlite_url)
            | {"xero_client_secret": secret, "token": secret, "xero_webhook_key": secret}
        )
    )
    vault = Vault.from_settings(f"test:{VAULT_KEY}", sqlite_url)
    tokens = msgspec.convert(
        {"xero_user_id": "u", "access_token": secret, "refresh_token": secret,
         "access_expires_at": "2026-01-01T00:00:00Z", "scopes": []},
        TokenSet,
    )  # fmt: skip
    consent = Consent(f"https://login.xero.com/authorize?state={secret}", datetime.now(UTC))
    holders = [
        settings,
        vault,
        tokens,
        Return(secret, secret, "", "r"),
        Returned("c", "hash", "", secret, datetime.now(UTC)),
        consent,
        Started(
            Link(id="c", merchant_id="m", state="", created_at=datetime.now(UTC), updated_at=datetime.now(UTC)), consent
        ),
        Begun("c", consent),
        _InUse(secret, datetime.now(UTC)),
        _TokenRefusedError(secret, TokenRefused("")),
        XeroDeliveries(settings),
        tieout.Client("127.0.0.1:1", token=secret),
    ]
    for holder in holders:
        for shown in (repr(holder), str(holder)):
            assert secret not in shown, type(holder)
            assert VAULT_KEY not in shown, type(holder)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_in_the_log_shows_no_value_that_was_at_hand(log_format: str) -> None:
    code = f"""
from tieout_server import log
log.configure(log_format={log_format!r}, level="debug")
def broken(token):
    raise RuntimeError("it broke")
try:
    broken("s3cr3t" * 4)
except RuntimeError as error:
    log.get("test").exception("fault")
    log.get("test").error("fault", exc_info=error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr.count(b"it broke") == 2
    assert b"s3cr3ts3cr3t" not in done.stderr


async def test_what_is_sealed_is_not_what_it_seals(sqlite_url: str) -> None:
    vault = Vault.from_settings(f"test:{VAULT_KEY}", sqlite_url)
    sealed = vault.seal("s3cr3t-s3cr3t", context="access/u")
    assert b"s3cr3t" not in sealed
    assert sealed != vault.seal("s3cr3t-s3cr3t", context="access/u")
