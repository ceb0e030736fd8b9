"""The doctor beside real servers: a service as it should be has nothing to mend, a broken one is told what is."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from sqlalchemy import update

from servers import VAULT_KEY, Service, service, settings_of
from tieout_sandbox import Sandbox
from tieout_server.doctor import database as of_database
from tieout_server.doctor import outside
from tieout_server.doctor.examination import examine
from tieout_server.doctor.findings import Finding, Level
from tieout_server.settings import Settings
from tieout_server.storage import tables
from tieout_server.storage.database import Database

HOOK = "the-key-of-the-portal"


def beside(running: Service, sandbox: Sandbox, database_url: str, **others: object) -> Settings:
    """The settings of a running service, with the ports that it took."""
    web_port = running.web_port
    told = {"web_listen": f"127.0.0.1:{web_port}", "web_url": f"http://localhost:{web_port}", "xero_webhook_key": HOOK}
    return Settings(**(settings_of(sandbox.url, database_url) | told | others))


def wrong(findings: Sequence[Finding]) -> dict[str, Finding]:
    """What is not fine, by check."""
    return {one.check: one for one in findings if one.level is not Level.FINE}


@asynccontextmanager
async def listening(application: web.Application) -> AsyncIterator[str]:
    """The address of this application."""
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(status: int, **headers: str) -> AsyncIterator[str]:
    """The address of a server that answers everything so."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with listening(application) as url:
        yield url


async def test_a_service_as_it_should_be_has_nothing_to_mend(sandbox: Sandbox, database_url: str) -> None:
    async with service(sandbox, database_url, xero_webhook_key=HOOK) as running:
        await running.connected()
        found = await examine(beside(running, sandbox, database_url))
    bad = wrong(found)
    bad.pop("durability", None)  # the PostgreSQL of the tests keeps nothing through a crash
    assert not bad, bad
    assert {"vault", "connections", "payments", "work", "way back", "webhooks", "Xero app", "clock", "migrations"} <= {
        one.check for one in found
    }


async def test_what_waits_for_somebody_is_told(sandbox: Sandbox, database_url: str) -> None:
    async with service(sandbox, database_url) as running:
        connection = await running.connected()
        database = Database(database_url)
        async with database.write() as tx:
            row = tables.connections.c
            broken = update(tables.connections).where(row.id == connection.id).values(state="RECONNECT_REQUIRED")
            await tx.execute(broken)
        await database.close()
        other_key = base64.b64encode(bytes(32)).decode()
        found = wrong(await examine(beside(running, sandbox, database_url, vault_keys=f"new:{other_key}")))
        assert found["connections"].level is Level.WARNING
        assert found["vault"].level is Level.FAULT
        assert "TIEOUT_VAULT_KEYS" in found["vault"].remedy
        rotated = f"new:{other_key},test:{VAULT_KEY}"
        found = wrong(await examine(beside(running, sandbox, database_url, vault_keys=rotated)))
        assert found["vault"].remedy == "Run: tieout-server rotate-keys"


async def test_credentials_that_xero_does_not_know_are_a_fault(sandbox: Sandbox, sqlite_url: str) -> None:
    good = settings_of(sandbox.url, sqlite_url)
    assert not wrong(await outside.credentials(Settings(**good)))
    [found] = await outside.credentials(Settings(**(good | {"xero_client_secret": "another"})))
    assert found.level is Level.FAULT
    assert "TIEOUT_XERO_CLIENT_SECRET" in found.remedy


async def test_hosts_that_fail_and_clocks_that_differ_are_told(sandbox: Sandbox, sqlite_url: str) -> None:
    async with answering(503) as failing, answering(401, Date="Mon, 01 Jan 2024 00:00:00 GMT") as long_ago:
        hosts = {"xero_login_url": failing, "xero_identity_url": "http://127.0.0.1:1", "xero_api_url": long_ago}
        found = await outside.hosts(Settings(**(settings_of(sandbox.url, sqlite_url) | hosts)))
    told = {(one.check, one.level) for one in found}
    assert told == {("Xero", level) for level in (Level.FINE, Level.WARNING, Level.FAULT)} | {("clock", Level.FAULT)}


@asynccontextmanager
async def proxy(address: str, *, prefix: str) -> AsyncIterator[str]:
    """The address of a proxy that passes on what begins with this, and nothing else."""

    async def pass_on(request: web.Request) -> web.Response:
        kept = {name: request.headers[name] for name in ("x-xero-signature", "Content-Type") if name in request.headers}
        async with ClientSession() as session:
            asked = session.request(request.method, address + request.path_qs, data=await request.read(), headers=kept)
            async with asked as answer:
                return web.Response(status=answer.status, body=await answer.read())

    application = web.Application()
    application.router.add_route("*", prefix + "{path:.*}", pass_on)
    async with listening(application) as url:
        yield url


async def test_a_proxy_need_pass_on_no_more_than_what_has_to_be_public(sandbox: Sandbox, sqlite_url: str) -> None:
    async with (
        service(sandbox, sqlite_url, xero_webhook_key=HOOK) as running,
        proxy(f"http://127.0.0.1:{running.web_port}", prefix="/xero/") as public,
    ):
        found = await outside.way_back(beside(running, sandbox, sqlite_url, web_url=public))
    assert {one.level for one in found} == {Level.FINE}, found


async def test_a_web_address_that_leads_elsewhere_is_a_fault(sandbox: Sandbox, sqlite_url: str) -> None:
    async with service(sandbox, sqlite_url, xero_webhook_key=HOOK) as running, answering(404) as elsewhere:
        [found] = await outside.way_back(beside(running, sandbox, sqlite_url, web_url=elsewhere))
        assert found.level is Level.FAULT
        assert "TIEOUT_WEB_URL" in found.remedy
        found = wrong(await outside.way_back(beside(running, sandbox, sqlite_url, xero_webhook_key="another")))[
            "webhooks"
        ]
        assert "401" in found.seen
        assert "another" not in found.seen


async def test_where_no_server_runs_nothing_is_said_against_it(sandbox: Sandbox, sqlite_url: str) -> None:
    nowhere = {"web_listen": "127.0.0.1:1", "web_url": "http://127.0.0.1:1"}
    [found] = await outside.way_back(Settings(**(settings_of(sandbox.url, sqlite_url) | nowhere)))
    assert found.level is Level.NOT_EXAMINED


async def test_a_database_without_this_versions_tables_is_told_the_command(postgres_server: str) -> None:
    database = Database(postgres_server)
    [found] = await of_database.examine_version(database)
    await database.close()
    assert (found.level, found.remedy) == (Level.FAULT, "Run: tieout-server migrate")


async def test_files_that_are_no_database_or_have_no_folder_are_faults(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, and long enough to be looked at " * 10)
    for path in (tmp_path / "text.db", tmp_path / "no-such-folder" / "tieout.db"):
        url = f"sqlite:///{path}"
        database = Database(url)
        [found] = await of_database.examine(Settings(database_url=url), database)
        await database.close()
        assert found.level is Level.FAULT, path
        assert "TIEOUT_DATABASE_URL" in found.remedy


async def doctor(*arguments: str, **settings: str) -> tuple[int, str]:
    """The exit code and the output of the command with these settings alone."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TIEOUT_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tieout_server", "doctor", *arguments,
        env=ours | {f"TIEOUT_{name}": value for name, value in settings.items()},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.mark.timeout(60)
async def test_a_broken_configuration_names_each_fault_with_its_remedy_and_no_secret(tmp_path: Path) -> None:
    secrets = {"XERO_CLIENT_SECRET": "sesame-client", "TOKEN": "sesame-token", "XERO_WEBHOOK_KEY": "sesame-hook"}
    broken = {
        "DATABASE_URL": "postgresql://tieout:sesame-database@127.0.0.1:1/tieout",
        "VAULT_KEYS": "k1:sesame-vault",
        "LISTEN": "0.0.0.0:7440",
        "WEB_LISTEN": "127.0.0.1:1",
        "WEB_URL": "http://tieout.example",
        "TLS_CERT_FILE": str(tmp_path / "none.pem"),
        "XERO_CLIENT_ID": "",
        "XERO_LOGIN_URL": "http://127.0.0.1:1",
        "XERO_IDENTITY_URL": "http://127.0.0.1:1",
        "XERO_API_URL": "http://127.0.0.1:1",
        "DATABASE_POOL": "one",
        "RETURN_URL_ALOW": "https://app.example",
    }
    code, said = await doctor(**secrets, **broken)
    assert code == 3, said
    lines = " ".join(said.split())
    for remedy in (
        "Correct TIEOUT_DATABASE_POOL",
        "Unset TIEOUT_RETURN_URL_ALOW",
        "set TIEOUT_WEB_URL to its https address",
        "set TIEOUT_XERO_CLIENT_ID",
        "Set TIEOUT_VAULT_KEYS",
        "Set both TIEOUT_TLS_CERT_FILE and TIEOUT_TLS_KEY_FILE",
        "Correct TIEOUT_TLS_CERT_FILE",
        "correct TIEOUT_DATABASE_URL",
        "correct TIEOUT_XERO_LOGIN_URL",
        "correct TIEOUT_XERO_IDENTITY_URL",
        "correct TIEOUT_XERO_API_URL",
    ):
        assert remedy in lines, remedy
    assert "sesame" not in said
    code, told = await doctor("--json", **secrets, **broken)
    assert code == json.loads(told)["exit_code"] == 3
