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
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

MERCHANT = "demo-merchant"
FOLDER = Path(".demo")
SANDBOX_PORT, GRPC_PORT, WEB_PORT = 9440, 7440, 7441
STARTS_WITHIN = 60.0
"""Seconds that a process may take to say that it listens."""
CONSENT_WITHIN = 600.0
"""Seconds that a person may take in the browser."""
SANDBOX = ("tieout-sandbox", "serve", "--contacts", "2000", "--invoices", "20000", "--latency-ms", "250")


def main() -> int:
    """Run the demo; the answer is the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself instead of leaving everything running")
    parser.add_argument("--browser", action="store_true", help="let a person consent in the browser")
    asked = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    try:
        return asyncio.run(_demo(once=asked.once, browser=asked.browser))
    except KeyboardInterrupt:
        return 0


async def _demo(*, once: bool, browser: bool) -> int:
    sandbox_port, grpc_port, web_port = (_free(port) for port in (SANDBOX_PORT, GRPC_PORT, WEB_PORT))
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    environment = _environment(sandbox, grpc_port, web_port)
    async with (
        _started("sandbox", (*SANDBOX, "--port", str(sandbox_port)), environment),
        _started("server", ("tieout-server", "serve"), environment),
    ):
        await _connect(sandbox, environment, browser=browser)
        await _run("tieout", "sync", MERCHANT, "--follow", environment=environment)
        await _run("tieout", "freshness", MERCHANT, environment=environment)
        await _run("tieout", "customers", MERCHANT, "--limit", "12", environment=environment)
        if not once:
            _say(_HOW_TO_GO_ON.format(grpc=grpc_port, sandbox=sandbox, merchant=MERCHANT))
            await _until_interrupted()
    return 0


async def _connect(sandbox: str, environment: Mapping[str, str], *, browser: bool) -> None:
    """Connect the merchant, with a person or without one."""
    if browser:
        async with asyncio.timeout(CONSENT_WITHIN):
            await _run("tieout", "connect", MERCHANT, "--wait", environment=environment)
        return
    answer = await _run("tieout", "connect", MERCHANT, "--json", "--no-browser", environment=environment, quiet=True)
    url = json.loads(answer)["authorization_url"]
    _say(f"consent is given for you, as the sandbox's bookkeeper, at {urlsplit(url).netloc}")
    async with aiohttp.ClientSession() as http:
        consent = {"authorization_url": url, "decision": "allow"}
        async with http.post(f"{sandbox}/sandbox/consent", json=consent, raise_for_status=True) as given:
            back = (await given.json())["redirect_to"]
        async with http.get(back, raise_for_status=True):
            pass


async def _run(*command: str, environment: Mapping[str, str], quiet: bool = False) -> str:
    """Print a command and run it; quiet ones answer with what they printed.

    Raises:
        SystemExit: the command failed.
    """
    _say("$ " + shlex.join(command))
    process = await asyncio.create_subprocess_exec(
        _path_of(command[0]), *command[1:], env=environment, stdout=asyncio.subprocess.PIPE if quiet else None
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        sys.exit(f"demo: {command[0]} ended with {process.returncode}; see {FOLDER}/*.log")
    return out.decode() if out else ""


@contextlib.asynccontextmanager
async def _started(name: str, command: tuple[str, ...], environment: Mapping[str, str]) -> AsyncIterator[None]:
    """A process that runs beside the block, its output in a file, begun once it has said that it listens."""
    _say("$ " + shlex.join(command))
    with (FOLDER / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            _path_of(command[0]), *command[1:], env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(STARTS_WITHIN):
                line = await process.stdout.readline()
            if not line:
                sys.exit(f"demo: the {name} did not start:\n{(FOLDER / f'{name}.log').read_text()}")
            _say(f"  {line.decode().split('  ')[0].strip()}")
            yield
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


def _environment(sandbox: str, grpc_port: int, web_port: int) -> dict[str, str]:
    """What points the server at the sandbox, and the CLI at the server."""
    return {
        **os.environ,
        **dict.fromkeys(("TIEOUT_XERO_LOGIN_URL", "TIEOUT_XERO_IDENTITY_URL", "TIEOUT_XERO_API_URL"), sandbox),
        "TIEOUT_XERO_CLIENT_ID": "tieout-sandbox-app",
        "TIEOUT_XERO_CLIENT_SECRET": "sandbox-secret",
        "TIEOUT_DATABASE_URL": f"sqlite:///{FOLDER / 'tieout.db'}",
        "TIEOUT_LISTEN": f"127.0.0.1:{grpc_port}",
        "TIEOUT_WEB_LISTEN": f"127.0.0.1:{web_port}",
        "TIEOUT_WEB_URL": f"http://localhost:{web_port}",
        "TIEOUT_TARGET": f"127.0.0.1:{grpc_port}",
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


async def _until_interrupted() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is a command


_HOW_TO_GO_ON = """
Everything goes on running until Ctrl-C. In another terminal:

  grpcurl -plaintext 127.0.0.1:{grpc} list
  grpcurl -plaintext -d '{{"merchant_id": "{merchant}"}}' 127.0.0.1:{grpc} tieout.v1.ConnectionService/ListConnections
  .venv/bin/tieout --target 127.0.0.1:{grpc} invoices {merchant}
  .venv/bin/tieout --target 127.0.0.1:{grpc} sync {merchant} --full --follow

(no grpcurl at hand? `.venv/bin/buf curl --protocol grpc --list-methods http://127.0.0.1:{grpc}` is the same)
The sandbox answers at {sandbox}; its control API is described in server/tieout_sandbox/README.md.
"""

if __name__ == "__main__":
    sys.exit(main())
