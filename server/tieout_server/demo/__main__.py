"""The demo, `make demo`: a merchant connected to a sandbox Xero, a first sync, a difference, payments that go back.

It uses nothing but the three commands that the package installs, and prints each one before it runs it.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tieout_server.demo import payments, replicas, sandbox, steps
from tieout_server.demo.replicas import Ports
from tieout_server.demo.sandbox import Xero
from tieout_server.demo.stage import Stage, environment, free, say

FOLDER = Path(".demo")
"""Holds one folder for each demo that runs, named by its gRPC port."""
SANDBOX_PORT, GRPC_PORT, WEB_PORT = 9440, 7440, 7441


def main() -> int:
    """Run the demo; the answer is the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself instead of leaving everything running")
    parser.add_argument("--browser", action="store_true", help="let a person consent in the browser")
    parser.add_argument("--replicas", type=int, default=1, help="so many servers on PostgreSQL; one is killed")
    asked = parser.parse_args()
    try:
        return asyncio.run(_demo(once=asked.once, browser=asked.browser, count=asked.replicas))
    except KeyboardInterrupt:
        return 0


async def _demo(*, once: bool, browser: bool, count: int) -> int:
    sandbox_port, grpc_port, web_port = (free(port) for port in (SANDBOX_PORT, GRPC_PORT, WEB_PORT))
    xero, folder = Xero(f"http://127.0.0.1:{sandbox_port}"), FOLDER / str(grpc_port)
    stage = Stage(folder, environment(folder, xero.url, grpc_port, web_port))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    async with _running(stage, Ports(grpc_port, web_port), count, sandbox.command(sandbox_port, web_port)) as around:
        stage, running = around.stage, around.processes
        await steps.connect(xero, stage, browser=browser)
        if count > 1:
            killed = await replicas.first_sync(stage, around.database_url, running)
            del running[killed]
        else:
            await steps.first_sync(stage)
        is_known = not browser or await steps.organisation(stage) == sandbox.ORGANISATION  # a person may choose another
        if is_known:
            await steps.off_balance(xero, stage)
            await payments.payments(xero, stage)
        if not once:
            await _say_how_to_go_on(stage, grpc_port, xero.url, is_known=is_known)
            await stage.until_interrupted(running)
    return 0


@dataclass(frozen=True)
class _Around:
    """What runs for the demo, and where its commands find it."""

    stage: Stage
    processes: dict[str, Process]
    database_url: str


@contextlib.asynccontextmanager
async def _running(stage: Stage, first: Ports, count: int, books: tuple[str, ...]) -> AsyncIterator[_Around]:
    """The sandbox, and one server on SQLite or several on PostgreSQL."""
    async with contextlib.AsyncExitStack() as stack:
        started = {"sandbox": await stack.enter_async_context(stage.started("sandbox", books))}
        if count > 1:
            where = replicas.ports(first, count)
            url = stack.enter_context(replicas.postgres(stage.folder))
            stage = stage.at(**replicas.environment(url, where))
            started |= await stack.enter_async_context(replicas.started(stage, where))
        else:
            url = stage.environment["TIEOUT_DATABASE_URL"]
            started["server"] = await stack.enter_async_context(stage.started("server", replicas.SERVE))
        yield _Around(stage, started, url)


async def _say_how_to_go_on(stage: Stage, grpc_port: int, sandbox: str, *, is_known: bool) -> None:
    facts = {"tieout": f".venv/bin/tieout --target 127.0.0.1:{grpc_port}", "merchant": steps.MERCHANT}
    if is_known:
        discrepancy = await steps.discrepancy_of_the_customer(stage)
        say(_ABOUT_THE_DIFFERENCE.format(customer=steps.CUSTOMER, discrepancy=discrepancy, **facts))
    say(_HOW_TO_GO_ON.format(grpc=grpc_port, sandbox=sandbox, **facts))


_ABOUT_THE_DIFFERENCE = """
The evidence about {customer}, in another terminal:

  {tieout} customers {merchant} --off-balance
  {tieout} discrepancies {merchant}
  {tieout} discrepancy {discrepancy}
  {tieout} evidence {discrepancy} --output proof.zip
  {tieout} reconcile {merchant} --follow

The payments, and all that happened to one:

  {tieout} payments list {merchant}
  {tieout} payments list {merchant} --id pay-1002
  {tieout} payments watch {merchant}"""

_HOW_TO_GO_ON = """
Everything goes on running until Ctrl-C. In another terminal:

  grpcurl -plaintext 127.0.0.1:{grpc} list
  grpcurl -plaintext -d '{{"merchant_id": "{merchant}"}}' 127.0.0.1:{grpc} tieout.v1.ConnectionService/ListConnections
  {tieout} watch connections
  {tieout} watch changes {merchant}
  {tieout} watch discrepancies {merchant}
  {tieout} explain contact {merchant} "A NAME"
  {tieout} sync {merchant} --full --follow

(no grpcurl at hand? `.venv/bin/buf curl --protocol grpc --list-methods http://127.0.0.1:{grpc}` is the same)
Open {sandbox} in a browser: the sandbox's page, where you do what a bookkeeper would. What you do there
to documents reaches `watch changes` by webhook within a second; whom you remove is missed in `watch connections`
within ten, once the minute is over whose calls the first sync has used (TIEOUT_LOOK_EVERY). "Bring about" there makes
balances differ, each time for another cause; `reconcile {merchant} "A NAME"` explains it.
"""

if __name__ == "__main__":
    sys.exit(main())
