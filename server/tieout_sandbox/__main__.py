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

from tieout_sandbox.faults import FaultKind, FaultRule, checked
from tieout_sandbox.limits import Tier
from tieout_sandbox.local import LOOPBACK
from tieout_sandbox.server import Sandbox, serve
from tieout_sandbox.settings import App, SandboxSettings
from tieout_sandbox.state import load_file, save_file
from tieout_sandbox.switches import Switches, set_from_text, table

_LAST_PORT = 65_535
_DESCRIPTION = """\
A Xero for your laptop: login.xero.com, identity.xero.com and api.xero.com on one port,
with made-up books in which every amount adds up. It needs no account and no network, and
forgets everything when it ends, unless --state says where to keep it."""
_EPILOG = """\
examples:
  tieout-sandbox                                  small books; the page is at http://127.0.0.1:9440
  tieout-sandbox --contacts 2000 --invoices 20000 --speed 60
  tieout-sandbox --fault unavailable=0.01 --fault drop_after=0.001 --seed 7
  tieout-sandbox --state books.json --webhook-url http://127.0.0.1:8000/webhooks
  tieout-sandbox switches

Open its address in a browser: there you can do what a bookkeeper or an administrator does
in Xero, see each request, turn the clock and let calls fail. Tests do the same over the
control API, which the README.md beside this program's modules describes."""


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
        usage="%(prog)s [serve | switches] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=["serve", "switches"],
        default="serve",
        metavar="serve | switches",
        help="serve (the default), or list the open questions about Xero and how they are answered",
    )
    _add_place(parser.add_argument_group("where it listens"))
    _add_books(parser.add_argument_group("the books of the first organisation"))
    _add_behaviour(parser.add_argument_group("how it behaves; all of it can be changed while it runs"))
    _add_apps(parser)
    return parser


def _add_place(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="default %(default)s; beyond loopback only with --anyone-may-control",
    )
    group.add_argument(
        "--anyone-may-control",
        action="store_true",
        help="whoever reaches the address may turn the clock, change the books and consent as anybody",
    )
    group.add_argument("--port", type=int, default=9440, metavar="N", help="default %(default)s; 0 takes a free one")


def _add_books(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--contacts", type=int, default=200, metavar="N", help="contacts of every kind; default %(default)s"
    )
    group.add_argument(
        "--invoices",
        type=int,
        default=2_000,
        metavar="N",
        help="sales invoices, and as many payments; default %(default)s",
    )
    group.add_argument(
        "--organisations", type=int, default=2, metavar="N", help="all but the first are small; default %(default)s"
    )
    group.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="the same seed, sizes and anchor make the same books; default %(default)s",
    )
    group.add_argument(
        "--anchor",
        type=date.fromisoformat,
        metavar="DATE",
        help="everything happened before that day; default: today",
    )
    group.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="begin with what the file holds, if it is there, and write it at the end",
    )


def _add_behaviour(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tier",
        choices=[tier.value for tier in Tier],
        default="core",
        help="calls a day: starter has 1,000, core 5,000; default %(default)s",
    )
    group.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="X",
        help="of the clock: at 60 a minute lasts a second; default %(default)g",
    )
    group.add_argument(
        "--latency-ms",
        type=float,
        default=0.0,
        metavar="MS",
        help="real milliseconds that each API call takes; default %(default)g",
    )
    group.add_argument(
        "--switch",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="answer an open question another way; may be repeated",
    )
    group.add_argument(
        "--fault",
        action="append",
        default=[],
        type=_fault,
        metavar="KIND=CHANCE",
        help="let a part of all calls fail, 0 to 1, repeatable by --seed; may be repeated; kinds: "
        + ", ".join(kind for kind in FaultKind if kind is not FaultKind.ANSWER),
    )


def _add_apps(parser: argparse.ArgumentParser) -> None:
    webhooks = parser.add_argument_group("webhooks of tieout-sandbox-app")
    webhooks.add_argument("--webhook-url", metavar="URL", help="where they are sent: this machine only")
    webhooks.add_argument("--webhook-key", metavar="KEY", help="signs them; without one a key is made up and shown")
    app = parser.add_argument_group("a further app beside tieout-sandbox-app")
    app.add_argument("--client-id", metavar="ID", help="its client id")
    app.add_argument("--client-secret", metavar="SECRET", help="its secret; without one it must use PKCE")
    app.add_argument(
        "--redirect-uri",
        action="append",
        default=[],
        metavar="URL",
        help="exactly this address may be returned to; may be repeated; without one: any on loopback",
    )


def _settings(options: argparse.Namespace) -> SandboxSettings:
    if options.host.strip("[]").lower() not in LOOPBACK and not options.anyone_may_control:
        raise ValueError(
            f"Whoever reaches {options.host} could control the sandbox; if that is meant, add --anyone-may-control."
        )
    if not 0 <= options.port <= _LAST_PORT:  # uvloop takes 70000 for 4464
        raise ValueError(f"A port is a number from 0 to {_LAST_PORT}, not {options.port}.")
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
    kind, _, chance = text.partition("=")
    if kind not in set(FaultKind):
        raise argparse.ArgumentTypeError(f"there is no fault {kind!r}")
    try:
        return checked(FaultRule(FaultKind(kind), times=None, probability=float(chance or 1)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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
            take_up(sandbox, state)
        gc.freeze()
        gc.enable()
        print(_announcement(sandbox), flush=True)  # noqa: T201 it is a command
        await stop.wait()
        if state is not None:
            save_file(sandbox, state)
    return 0


def take_up(sandbox: Sandbox, state: Path) -> None:
    """Load the file; a webhook that the command line names wins over one that was saved.

    Raises:
        OSError: it cannot be read, or there is no folder for it to be written in at the end.
        ValueError: it holds no state.
    """
    if not state.parent.is_dir():
        raise NotADirectoryError(f"There is no folder {state.parent} to keep the state in.")
    load_file(sandbox, state)
    given, client_id = sandbox.settings, sandbox.settings.apps[0].client_id
    if given.webhook_url:
        sandbox.webhooks.subscribe(client_id, given.webhook_url, given.webhook_key)
        sandbox.webhooks.ask(client_id)


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
