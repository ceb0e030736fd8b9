"""The command `tieout-server`: serve, or migrate the database."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Never

import typer
from pydantic import ValidationError

from tieout_server import log
from tieout_server.errors import TieoutError
from tieout_server.settings import Settings

GARBAGE = (50_000, 20, 50)
"""Pages of documents and thousands of streams are no garbage: looking for it less often saves a tenth of the CPU."""

cli = typer.Typer(
    help="Keeps an accounts-receivable platform and its merchants' Xero books in agreement. "
    "Settings come from TIEOUT_… environment variables (see the README).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@cli.command()
def serve() -> None:
    """Serve until SIGINT or SIGTERM."""
    _run(_serve(_settings()))


@cli.command()
def migrate() -> None:
    """Bring the database to this version's tables. Safe to repeat, and from several places at once."""
    _run(_migrate(_settings()))


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
    if not settings.xero_client_id:
        _quit(
            "Set TIEOUT_XERO_CLIENT_ID and TIEOUT_XERO_CLIENT_SECRET: register an app at Xero first (see the README)."
        )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(settings) as app:
        ready = f"Tieout serves gRPC on port {app.port} and the callback page on port {app.web_port}."
        typer.echo(ready)
        await stop.wait()


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
    from tieout_server.storage.migrate import check_is_current  # noqa: PLC0415 - likewise

    async with contextlib.aclosing(Database(settings.database_url)) as database:
        await check_is_current(database)
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


async def _migrate(settings: Settings) -> None:
    from tieout_server.storage import migrate as migrating  # noqa: PLC0415 - likewise
    from tieout_server.storage.database import Database  # noqa: PLC0415 - likewise

    database = Database(settings.database_url)
    try:
        await migrating.upgrade(database)
    finally:
        await database.close()
    typer.echo(f"The database is at revision {migrating.HEAD}.")


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
