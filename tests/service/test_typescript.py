"""The TypeScript in `client/typescript/README.md` compiles with stubs made on the spot, and does what is said of it."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from servers import Service, client_of, server_process, service
from third_party import Client
from tieout.v1.receivables_service_pb2 import CHANGE_KIND_REMOVED
from tieout_sandbox import Sandbox

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "client" / "typescript"
TOKEN = "a-secret-token-for-callers"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The snippets and the script that uses them, compiled as the page says, in a copy of the folder."""
    client = Client("typescript", FOLDER.parent)
    client.prepare()
    root = tmp_path_factory.mktemp("typescript")
    shutil.copytree(ROOT / "proto", root / "proto")
    project = root / "client" / "typescript"
    shutil.copytree(FOLDER, project, ignore=shutil.ignore_patterns("node_modules", "src", "build"))
    (project / "node_modules").symlink_to(client.environment / "node_modules")
    snippets = re.findall(r"```ts\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    (project / "src").mkdir()
    (project / "src" / "tieout.ts").write_text("\n".join(snippets))
    shutil.copy(Path(__file__).with_name("typescript_drive.ts"), project / "src" / "drive.ts")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for script in ("generate", "build"):
        done = subprocess.run(
            ["npm", "run", script], cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return project / "build" / "drive.js"


@contextlib.asynccontextmanager
async def running(program: Path, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
    """What the script prints; it is ended afterwards if it has not."""
    process = await asyncio.create_subprocess_exec("node", str(program), *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def all_told(program: Path, *arguments: str) -> list[dict[str, Any]]:
    async with running(program, *arguments) as lines:
        return [json.loads(line) async for line in lines]


async def until(lines: asyncio.StreamReader, **sought: object) -> list[dict[str, Any]]:
    """What is told up to what is sought."""
    told: list[dict[str, Any]] = []
    async for line in lines:
        told.append(json.loads(line))
        if told[-1] == sought:
            return told
    raise AssertionError(f"{sought} was not told: {told[-3:]}")


@pytest.fixture
async def connected(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[tuple[Service, str]]:
    async with service(sandbox, sqlite_url, token=TOKEN) as made:
        yield made, (await made.connected()).id


async def test_customers_are_listed_to_the_last_page(program: Path, connected: tuple[Service, str]) -> None:
    made, connection_id = connected
    told = await all_told(program, "customers", f"http://{made.target}", connection_id, TOKEN)
    ours = [it async for it in made.client.receivables.list_customers(connection_id)]
    assert [it["name"] for it in told] == [it.name for it in ours]
    assert [it.get("outstanding", []) for it in told] == [
        [{"currencyCode": owed.currency_code, "amount": owed.amount} for owed in it.outstanding] for it in ours
    ]


async def test_refusals_are_read_from_their_details(program: Path, connected: tuple[Service, str]) -> None:
    made, connection_id = connected
    empty, unknown, garbled = await all_told(program, "refusals", f"http://{made.target}", connection_id, TOKEN)
    assert empty["reason"] == "INVALID_REQUEST"
    assert [it["field"] for it in empty["violations"]] == ["connection_id"]
    assert (unknown["reason"], unknown["metadata"]["kind"]) == ("NOT_FOUND", "connection")
    assert garbled["reason"] == "INVALID_REQUEST"
    assert not any("retryAfterMs" in it for it in (empty, unknown, garbled))
    stranger, *_ = await all_told(program, "refusals", f"http://{made.target}", connection_id, "wrong")
    assert stranger["reason"] == "CALLER_UNAUTHENTICATED"


async def test_a_watch_goes_on_over_a_kill_of_the_server(
    program: Path, sandbox: Sandbox, sqlite_url: str, tmp_path: Path
) -> None:
    async with server_process(sandbox.url, sqlite_url, tmp_path) as server, client_of(server) as ours:
        connection_id = (await ours.connected()).id
        invoice = sandbox.books.create_invoice(next(iter(sandbox.books.contacts)), Decimal("12.00"))
        await ours.sync(connection_id)
        async with running(program, "watch", f"http://{ours.target}", connection_id) as lines:
            snapshot = await until(lines, kind="heartbeat")
            assert {it["kind"] for it in snapshot} == {"snapshot", "heartbeat"}
            await server.replace()
            sandbox.books.void(invoice.id)
            await ours.sync(connection_id)
            later = await until(lines, kind="change", id=invoice.id, told=CHANGE_KIND_REMOVED)
            assert {it["kind"] for it in later} <= {"change", "heartbeat"}, "a watch that is resumed tells no snapshot"
