"""The command `tieout-server`: serve, migrate the database, say who may call, ask for health."""

import asyncio
import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Never

import typer
from pydantic import ValidationError

from tieout_server import log, registration, traces
from tieout_server.errors import TieoutError
from tieout_server.settings import Settings
from tieout_server.signals import Stop

SWITCH_EVERY = 0.001
"""Seconds after which a thread that works on a page lets the event loop have its turn. With Python's own 5 ms what
needs several turns, such as keeping a webhook, waits for tens of milliseconds during a first sync."""
GARBAGE = (50_000, 20, 50)
"""Pages of documents and thousands of streams are no garbage: looking for it less often saves a tenth of the CPU."""
M_ARENA_MAX, ARENAS = -8, 2
"""How many heaps glibc keeps (mallopt(3)). With one for each thread, those that read and write pages take 20 MiB more
in a large first sync."""

cli = typer.Typer(
    help="Keeps an accounts-receivable platform and its merchants' Xero books in agreement. "
    "Settings come from TIEOUT_… environment variables (see the README).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@cli.command()
def serve() -> None:
    """Serve until SIGINT or SIGTERM, and end within ten seconds of it; a second one ends it at once."""
    _run(_serve(_settings()))


@cli.command()
def migrate(
    *,
    contract: Annotated[
        bool, typer.Option("--contract", help="Also take away what only earlier versions use; none may run any more.")
    ] = False,
) -> None:
    """Bring the database to this version's tables, beside running servers. Safe to repeat, and from several places."""
    _run(_migrate(_settings(), contract=contract))


cli.add_typer(registration.commands(lambda doing: _run(doing(_settings()))), name="callers")


@cli.command("rotate-keys")
def rotate_keys(
    *, check: Annotated[bool, typer.Option("--check", help="Only say what is sealed with an older key.")] = False
) -> None:
    """Seal anew, with the first key of TIEOUT_VAULT_KEYS, what older keys have sealed, while servers run.

    Leaves with 1 while anything is sealed with another key than the first. Safe to repeat.
    """
    _run(_rotate_keys(_settings(), only_check=check))


@cli.command()
def health() -> None:
    """Ask the server on this machine whether it serves, by the same settings: exit code 0 if so, else 1."""
    _run(_health(_settings()))


@cli.command()
def backup(path: Annotated[Path, typer.Argument(help="The file to write; it must not be there yet.")]) -> None:
    """Copy a SQLite database while it is in use. A server started with the copy knows that it was restored."""
    _run(_backup(_settings(), path))


@cli.command()
def restored() -> None:
    """Say that the database is a copy that does not show it: of a disk, or of an earlier point in time.

    Stop all servers first; the next one to start goes by it.
    """
    _run(_restored(_settings()))


@cli.command()
def prune(
    *, dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much it would be.")] = False
) -> None:
    """Forget now what is older than TIEOUT_KEEP_…; a running server does so once a day."""
    _run(_prune(_settings(), dry_run=dry_run))


@cli.command()
def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON.")] = False) -> None:
    """Examine settings, database, Xero and the way back; say what mends each finding.

    Exits with 1 where there are warnings, and with 3 where there are faults.
    """
    _run(_doctor(as_json=as_json))


async def _serve(settings: Settings) -> None:
    gc.disable()  # nothing of what is imported is garbage
    from tieout_server.app import serve as serving  # noqa: PLC0415 - it imports everything; --help need not

    gc.freeze()
    gc.enable()
    gc.set_threshold(*GARBAGE)
    sys.setswitchinterval(SWITCH_EVERY)
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
    if not settings.xero_client_id:
        _quit(
            "Set TIEOUT_XERO_CLIENT_ID and TIEOUT_XERO_CLIENT_SECRET: register an app at Xero first (see the README)."
        )
    stop = Stop()
    if settings.traces:
        _trace()
    async with serving(settings) as app:
        ready = f"Tieout serves gRPC on port {app.port} and the callback page on port {app.web_port}."
        typer.echo(ready)
        await stop.wait()


def _trace() -> None:
    try:
        traces.send_by_otlp()
    except ImportError:
        _quit("TIEOUT_TRACES=otlp needs more than is installed: pip install 'tieout[server,telemetry]'")


async def _backup(settings: Settings, path: Path) -> None:
    from tieout_server.storage import backup as copying  # noqa: PLC0415 - likewise
    from tieout_server.storage.database import Database  # noqa: PLC0415 - likewise

    async with contextlib.aclosing(Database(settings.database_url)) as database:
        await copying.copy(database, path)
    typer.echo(f"Copied to {path}. Keep the vault's keys apart from it; without them its tokens open for nobody.")


async def _restored(settings: Settings) -> None:
    from tieout_server.storage import lineage  # noqa: PLC0415 - likewise
    from tieout_server.storage.database import Database  # noqa: PLC0415 - likewise

    async with contextlib.aclosing(Database(settings.database_url)) as database:
        await lineage.declare_copy(database)
    typer.echo("The next server to start takes this database for a restored one.")


async def _prune(settings: Settings, *, dry_run: bool) -> None:
    from tieout_server.clock import SystemClock  # noqa: PLC0415 - likewise
    from tieout_server.retention import Retention  # noqa: PLC0415 - likewise
    from tieout_server.storage.database import Database  # noqa: PLC0415 - likewise
    from tieout_server.storage.migrate import check_fits  # noqa: PLC0415 - likewise

    async with contextlib.aclosing(Database(settings.database_url)) as database:
        await check_fits(database)
        retention = Retention(database, settings, SystemClock())
        rows = await (retention.count() if dry_run else retention.forget())
    for kind, number in rows.items():
        typer.echo(f"{number:>12,} {kind.replace('_', ' ')}{' would be forgotten' if dry_run else ' forgotten'}")


async def _doctor(*, as_json: bool) -> None:
    from tieout_server.doctor import configuration, examination, report  # noqa: PLC0415 - likewise

    log.configure(log_format="console", level="error")
    settings, wrong = configuration.read(os.environ)
    findings = [*wrong, *await examination.examine(settings)]
    typer.echo(report.for_machines(findings) if as_json else report.for_people(findings))
    if code := report.exit_code(findings):
        raise typer.Exit(code)


async def _migrate(settings: Settings, *, contract: bool) -> None:
    from tieout_server.storage import migrate as migrating  # noqa: PLC0415 - likewise
    from tieout_server.storage.database import Database  # noqa: PLC0415 - likewise

    database = Database(settings.database_url)
    try:
        left = await migrating.upgrade(database, contract=contract)
        at = await migrating.current(database)
    finally:
        await database.close()
    typer.echo(f"The database is at revision {at}.")
    if left:
        typer.echo(f"Once no earlier version runs any more ({', '.join(left)}): tieout-server migrate --contract")


async def _rotate_keys(settings: Settings, *, only_check: bool) -> None:
    from tieout_server.storage import migrate as migrating  # noqa: PLC0415 - likewise
    from tieout_server.storage import rotation  # noqa: PLC0415 - likewise
    from tieout_server.storage.database import Database  # noqa: PLC0415 - likewise
    from tieout_server.storage.vault import Vault  # noqa: PLC0415 - likewise

    database = Database(settings.database_url)
    try:
        await migrating.check_fits(database)
        vault = Vault.from_settings(settings.vault_keys.get_secret_value(), settings.database_url)
        for kind, done in ({} if only_check else await rotation.rotate(database, vault)).items():
            damaged = f"; {done.unreadable:,} do not open, and stay" if done.unreadable else ""
            typer.echo(f"{kind}: {done.resealed:,} sealed anew{damaged}")
        standing = await rotation.standing(database, vault)
    finally:
        await database.close()
    for sentence in standing.sentences():
        typer.echo(sentence)
    if not standing.is_done:
        sys.exit(1)


async def _health(settings: Settings) -> None:
    from tieout_server.rpc.probe import is_serving  # noqa: PLC0415 - likewise

    if not await is_serving(settings):
        typer.echo(f"{settings.listen} does not serve.", err=True)
        sys.exit(1)
    typer.echo(f"{settings.listen} serves.")


def _settings() -> Settings:
    try:
        settings = Settings()
    except ValidationError as error:
        faults = [f"TIEOUT_{str(f['loc'][0]).upper()}: {f['msg']}" for f in error.errors(include_input=False)]
        _quit("; ".join(faults))
    log.configure(log_format=settings.log_format, level=settings.log_level)
    return settings


def _run(doing: Coroutine[object, object, None]) -> None:
    """Run to the end; an error that names its remedy needs no traceback."""
    try:
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            runner.run(doing)
    except TieoutError as error:
        _quit(str(error))


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where there is one: a tenth to a quarter less CPU under load; there is none for Windows."""
    try:
        import uvloop  # noqa: PLC0415 - see above
    except ImportError:
        return None
    return uvloop.new_event_loop


def _quit(sentence: str) -> Never:
    typer.echo(f"tieout-server: {sentence}", err=True)
    sys.exit(2)


def main() -> None:
    """The entry point."""
    cli()


if __name__ == "__main__":
    main()
