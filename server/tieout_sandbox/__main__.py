"""The command `tieout-sandbox`: serve a sandbox until told to stop."""

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Coroutine
from datetime import date
from pathlib import Path
from typing import Any

from tieout_sandbox.faults import FaultKind, FaultRule
from tieout_sandbox.limits import Tier
from tieout_sandbox.server import Sandbox, serve
from tieout_sandbox.settings import App, SandboxSettings
from tieout_sandbox.state import load_file, save_file
from tieout_sandbox.switches import Switches, set_from_text, table


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the answer is the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "switches":
            print(table(_switches(options)))  # noqa: T201 it is a command
            return 0
        return _run(_serve(_settings(options), options.state))
    except (ValueError, OSError) as error:
        print(f"tieout-sandbox: {error}", file=sys.stderr)  # noqa: T201 it is a command
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tieout-sandbox",
        description="A Xero for your laptop: login.xero.com, identity.xero.com and api.xero.com on one port, "
        "with made-up books that add up. Everything is in memory and gone when it ends.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=["serve", "switches"],
        default="serve",
        help="serve, or list the switches: the open questions about Xero and how they are answered",
    )
    listen = parser.add_argument_group("where it listens")
    listen.add_argument("--host", default="127.0.0.1", help="address; beyond loopback anybody there can control it")
    listen.add_argument("--port", type=int, default=9440, help="port; 0 takes a free one")
    books = parser.add_argument_group("the books of the first organisation")
    books.add_argument("--contacts", type=int, default=200, help="contacts of every kind")
    books.add_argument("--invoices", type=int, default=2_000, help="sales invoices; payments are as many")
    books.add_argument("--seed", type=int, default=1, help="the same seed, sizes and anchor make the same books")
    books.add_argument(
        "--anchor", type=date.fromisoformat, metavar="DATE", help="all happened before it; None is today"
    )
    books.add_argument("--organisations", type=int, default=2, help="how many; all but the first are small")
    books.add_argument(
        "--state", type=Path, metavar="FILE", help="taken up where it exists, and written at the end; its books win"
    )
    behaviour = parser.add_argument_group("how it behaves")
    behaviour.add_argument(
        "--tier", choices=[tier.value for tier in Tier], default="core", help="day limit: 1,000 or 5,000"
    )
    behaviour.add_argument("--speed", type=float, default=1.0, help="of the clock: at 60 a minute lasts a second")
    behaviour.add_argument("--latency-ms", type=float, default=0.0, help="real milliseconds that each API call takes")
    behaviour.add_argument(
        "--switch", action="append", default=[], metavar="NAME=VALUE", help="answers an open question another way"
    )
    behaviour.add_argument(
        "--fault",
        action="append",
        default=[],
        type=_fault,
        metavar="KIND=PROBABILITY",
        help="lets calls fail by chance, from --seed; kinds: " + ", ".join(FaultKind),
    )
    webhooks = parser.add_argument_group("webhooks of tieout-sandbox-app")
    webhooks.add_argument("--webhook-url", metavar="URL", help="where they are sent: loopback only")
    webhooks.add_argument("--webhook-key", metavar="KEY", help="signs them; without one a key is made up and shown")
    app = parser.add_argument_group("a further app beside tieout-sandbox-app")
    app.add_argument("--client-id", help="its client id")
    app.add_argument("--client-secret", help="its secret; without one it must use PKCE")
    app.add_argument(
        "--redirect-uri", action="append", default=[], help="exactly this; may be repeated; none: any loopback"
    )
    return parser


def _settings(options: argparse.Namespace) -> SandboxSettings:
    apps: tuple[App, ...] = (App(),)
    if options.client_id:
        apps += (App(options.client_id, options.client_secret, options.client_id, tuple(options.redirect_uri)),)
    return SandboxSettings(
        host=options.host,
        port=options.port,
        seed=options.seed,
        contacts=options.contacts,
        invoices=options.invoices,
        organisations=max(1, options.organisations),
        anchor_on=options.anchor,
        tier=Tier(options.tier),
        speed=options.speed,
        latency_ms=options.latency_ms,
        apps=apps,
        switches=_switches(options),
        faults=tuple(options.fault),
        webhook_url=options.webhook_url,
        webhook_key=options.webhook_key,
    )


def _fault(text: str) -> FaultRule:
    kind, _, probability = text.partition("=")
    return FaultRule(FaultKind(kind), times=None, probability=float(probability or 1))


def _switches(options: argparse.Namespace) -> Switches:
    switches = Switches()
    for setting in options.switch:
        set_from_text(switches, setting)
    return switches


def _run(serving: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 it is optional
    except ImportError:
        return asyncio.run(serving)
    return uvloop.run(serving)


async def _serve(settings: SandboxSettings, state: Path | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop.set)
    gc.disable()  # making large books allocates for seconds, and nothing of it is garbage
    async with serve(settings) as sandbox:
        if state is not None:
            load_file(sandbox, state)
        gc.freeze()
        gc.enable()
        print(_announcement(sandbox), flush=True)  # noqa: T201 it is a command
        await stop.wait()
        if state is not None:
            save_file(sandbox, state)
    return 0


def _announcement(sandbox: Sandbox) -> str:
    """One line: where it listens, and the environment that points Tieout at it."""
    app = sandbox.settings.apps[0]
    environment = {
        "TIEOUT_XERO_LOGIN_URL": sandbox.url,
        "TIEOUT_XERO_IDENTITY_URL": sandbox.url,
        "TIEOUT_XERO_API_URL": sandbox.url,
        "TIEOUT_XERO_CLIENT_ID": app.client_id,
        "TIEOUT_XERO_CLIENT_SECRET": app.client_secret,
    }
    webhook = sandbox.webhooks.subscriptions.get(app.client_id)
    if webhook is not None:
        environment["TIEOUT_XERO_WEBHOOK_KEY"] = webhook.key
    return f"Sandbox listening on {sandbox.url}  " + " ".join(f"{name}={value}" for name, value in environment.items())


if __name__ == "__main__":
    raise SystemExit(main())
