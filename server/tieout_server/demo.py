"""The demo, `make demo`: a sandbox Xero and the server in one terminal, a merchant connected, a first sync watched.

It uses nothing but the three commands that the package installs, and prints each one before it runs it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

MERCHANT = "demo-merchant"
FOLDER = Path(".demo")
"""Holds one folder for each demo that runs, named by its gRPC port."""
SANDBOX_PORT, GRPC_PORT, WEB_PORT = 9440, 7440, 7441
STARTS_WITHIN = 60.0
"""Seconds that a process may take to say that it listens."""
CONSENT_WITHIN = 600.0
"""Seconds that a person may take in the browser."""
INTERRUPT_WITHIN = 1.0
"""Seconds within which Ctrl-C has reached this process, too, when another one ended by it."""
LOOK_EVERY = "PT10S"
"""How often the connection is looked at: who was removed in the sandbox is missed within seconds, not within a day."""
WEBHOOK_KEY = "the-webhook-key-of-the-demo"
SANDBOX = ("tieout-sandbox", "serve", "--contacts", "2000", "--invoices", "20000", "--latency-ms", "250")


@dataclass(frozen=True)
class Stage:
    """Where one demo plays: the folder of its database and logs, and what its programs find in their environment."""

    folder: Path
    environment: Mapping[str, str]

    def log_of(self, name: str) -> Path:
        """What this process writes to standard error."""
        return self.folder / f"{name}.log"


def main() -> int:
    """Run the demo; the answer is the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself instead of leaving everything running")
    parser.add_argument("--browser", action="store_true", help="let a person consent in the browser")
    asked = parser.parse_args()
    try:
        return asyncio.run(_demo(once=asked.once, browser=asked.browser))
    except KeyboardInterrupt:
        return 0


async def _demo(*, once: bool, browser: bool) -> int:
    sandbox_port, grpc_port, web_port = (_free(port) for port in (SANDBOX_PORT, GRPC_PORT, WEB_PORT))
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    folder = FOLDER / str(grpc_port)
    stage = Stage(folder, _environment(folder, sandbox, grpc_port, web_port))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    async with (
        _started("sandbox", _sandbox(sandbox_port, web_port), stage) as xero,
        _started("server", ("tieout-server", "serve"), stage) as server,
    ):
        await _connect(sandbox, stage, browser=browser)
        await _run("tieout", "sync", MERCHANT, "--follow", stage=stage)
        await _run("tieout", "freshness", MERCHANT, stage=stage)
        await _run("tieout", "customers", MERCHANT, "--limit", "12", stage=stage)
        if not once:
            _say(_HOW_TO_GO_ON.format(grpc=grpc_port, sandbox=sandbox, merchant=MERCHANT))
            await _until_interrupted({"sandbox": xero, "server": server}, stage)
    return 0


async def _connect(sandbox: str, stage: Stage, *, browser: bool) -> None:
    """Connect the merchant, with a person or without one."""
    if browser:
        async with asyncio.timeout(CONSENT_WITHIN):
            await _run("tieout", "connect", MERCHANT, "--wait", stage=stage)
        return
    answer = await _run("tieout", "connect", MERCHANT, "--json", "--no-browser", stage=stage, quiet=True)
    url = json.loads(answer)["authorization_url"]
    _say(f"consent is given for you, as the sandbox's bookkeeper, at {urlsplit(url).netloc}")
    async with aiohttp.ClientSession() as http:
        consent = {"authorization_url": url, "decision": "allow"}
        async with http.post(f"{sandbox}/sandbox/consent", json=consent, raise_for_status=True) as given:
            back = (await given.json())["redirect_to"]
        async with http.get(back, raise_for_status=True):
            pass


async def _run(*command: str, stage: Stage, quiet: bool = False) -> str:
    """Print a command and run it; quiet ones answer with what they printed.

    Raises:
        SystemExit: the command failed.
    """
    _say("$ " + shlex.join(command))
    process = await asyncio.create_subprocess_exec(
        _path_of(command[0]), *command[1:], env=stage.environment, stdout=PIPE if quiet else None
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        sys.exit(f"demo: {command[0]} ended with {process.returncode}; see {stage.folder}/*.log")
    return out.decode() if out else ""


@contextlib.asynccontextmanager
async def _started(name: str, command: tuple[str, ...], stage: Stage) -> AsyncIterator[Process]:
    """A process that runs beside the block, its output in a file, begun once it has said that it listens."""
    _say("$ " + shlex.join(command))
    with stage.log_of(name).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            _path_of(command[0]), *command[1:], env=stage.environment, stdout=PIPE, stderr=log
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(STARTS_WITHIN):
                line = await process.stdout.readline()
            if not line:
                sys.exit(f"demo: the {name} did not start:\n{stage.log_of(name).read_text()}")
            _say(f"  {line.decode().split('  ')[0].strip()}")
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


def _sandbox(port: int, web_port: int) -> tuple[str, ...]:
    """The command of a sandbox that sends its webhooks to the server."""
    webhooks = ("--webhook-url", f"http://127.0.0.1:{web_port}/xero/webhooks", "--webhook-key", WEBHOOK_KEY)
    return (*SANDBOX, "--port", str(port), *webhooks)


def _environment(folder: Path, sandbox: str, grpc_port: int, web_port: int) -> dict[str, str]:
    """What points the server at the sandbox, and the CLI at the server; settings that this shell has stay out of it."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIEOUT_")},
        **dict.fromkeys(("TIEOUT_XERO_LOGIN_URL", "TIEOUT_XERO_IDENTITY_URL", "TIEOUT_XERO_API_URL"), sandbox),
        "TIEOUT_XERO_CLIENT_ID": "tieout-sandbox-app",
        "TIEOUT_XERO_CLIENT_SECRET": "sandbox-secret",
        "TIEOUT_XERO_WEBHOOK_KEY": WEBHOOK_KEY,
        "TIEOUT_DATABASE_URL": f"sqlite:///{folder / 'tieout.db'}",
        "TIEOUT_LISTEN": f"127.0.0.1:{grpc_port}",
        "TIEOUT_WEB_LISTEN": f"127.0.0.1:{web_port}",
        "TIEOUT_WEB_URL": f"http://localhost:{web_port}",
        "TIEOUT_TARGET": f"127.0.0.1:{grpc_port}",
        "TIEOUT_LOOK_EVERY": LOOK_EVERY,
    }


def _path_of(command: str) -> str:
    """The command beside this Python, whatever PATH says."""
    return str(Path(sys.executable).parent / command)


def _free(port: int) -> int:
    """This port, or another one if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_interrupted(running: Mapping[str, Process], stage: Stage) -> None:
    """Wait for Ctrl-C.

    Raises:
        SystemExit: one of these processes ended by itself.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    ended = [asyncio.create_task(process.wait()) for process in running.values()]
    await asyncio.wait((stopped, *ended), return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait((stopped,), timeout=INTERRUPT_WITHIN)  # Ctrl-C ends the others as well, perhaps before us
    for task in (stopped, *ended):
        task.cancel()
    if not stop.is_set():
        name = next(name for name, process in running.items() if process.returncode is not None)
        sys.exit(f"demo: the {name} has ended; see {stage.log_of(name)}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is a command


_HOW_TO_GO_ON = """
Everything goes on running until Ctrl-C. In another terminal:

  grpcurl -plaintext 127.0.0.1:{grpc} list
  grpcurl -plaintext -d '{{"merchant_id": "{merchant}"}}' 127.0.0.1:{grpc} tieout.v1.ConnectionService/ListConnections
  .venv/bin/tieout --target 127.0.0.1:{grpc} watch connections
  .venv/bin/tieout --target 127.0.0.1:{grpc} watch changes {merchant}
  .venv/bin/tieout --target 127.0.0.1:{grpc} explain contact {merchant} "A NAME"
  .venv/bin/tieout --target 127.0.0.1:{grpc} sync {merchant} --full --follow

(no grpcurl at hand? `.venv/bin/buf curl --protocol grpc --list-methods http://127.0.0.1:{grpc}` is the same)
Open {sandbox} in a browser: the sandbox's page, where you do what a bookkeeper would. What you do there
to documents reaches `watch changes` by webhook within a second; whom you remove is missed in `watch connections`
within ten, once the minute is over whose calls the first sync has used (TIEOUT_LOOK_EVERY).
"""

if __name__ == "__main__":
    sys.exit(main())
