"""The commands `tieout-server serve` and, for whoever watches over it, `tieout-server health`."""

import contextlib
import ctypes
import gc
import os
import sys
from typing import TYPE_CHECKING

import typer

from tieout_server.commands.running import leave, read_settings, run

if TYPE_CHECKING:
    from tieout_server.settings import Settings

SWITCH_EVERY = 0.001
"""Seconds after which a thread that works on a page lets the event loop have its turn. With Python's own 5 ms what
needs several turns, such as keeping a webhook, waits for tens of milliseconds during a first sync."""
GARBAGE = (50_000, 20, 50)
"""Pages of documents and thousands of streams are no garbage: looking for it less often saves a tenth of the CPU."""
M_ARENA_MAX, ARENAS = -8, 2
"""How many heaps glibc keeps (mallopt(3)). With one for each thread, those that read and write pages take 20 MiB more
in a large first sync."""


def serve() -> None:
    """Serve until SIGINT or SIGTERM, and end within ten seconds of it; a second one ends it at once."""
    settings = read_settings()
    warn_of_strangers()
    run(serve_until_stopped(settings))


def warn_of_strangers() -> None:
    """A misspelt setting is no setting: whoever set it believes that it holds."""
    from tieout_server import log
    from tieout_server.doctor.configuration import unknown

    for finding in unknown(os.environ):
        log.get("settings").warning("a variable is no setting", seen=finding.seen, remedy=finding.remedy)


def health() -> None:
    """Ask the server on this machine whether it serves, by the same settings: exit code 0 if so, else 1."""
    from tieout_server.rpc.probe import is_serving

    settings = read_settings()
    if not run(is_serving(settings)):
        typer.echo(f"{settings.listen} does not serve.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{settings.listen} serves.")


async def serve_until_stopped(settings: "Settings") -> None:
    """Serve until the process is asked to end."""
    gc.disable()  # nothing of what is imported is garbage
    from tieout_server.app import serve as serving
    from tieout_server.signals import Stop

    gc.freeze()
    gc.enable()
    gc.set_threshold(*GARBAGE)
    sys.setswitchinterval(SWITCH_EVERY)
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
    if not settings.xero_client_id:
        leave(
            "Set TIEOUT_XERO_CLIENT_ID and TIEOUT_XERO_CLIENT_SECRET: register an app at Xero first (see the README)."
        )
    stop = Stop()
    if settings.traces:
        trace()
    async with serving(settings) as app:
        ready = f"Tieout serves gRPC on port {app.port} and the callback page on port {app.web_port}."
        typer.echo(ready)
        await stop.wait()


def trace() -> None:
    """Have traces sent; without the extra that it needs the command ends."""
    from tieout_server import traces

    try:
        traces.send_by_otlp()
    except ImportError:
        leave("TIEOUT_TRACES=otlp needs more than is installed: pip install 'tieout[server,telemetry]'")
