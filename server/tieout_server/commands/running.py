"""How a command is run: by the settings, on a fast loop, on the database if it asks for it; a fault is a sentence."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Never, TypeVar

import typer

if TYPE_CHECKING:
    from tieout_server.settings import Settings
    from tieout_server.storage.database import Database

Answer = TypeVar("Answer")

MISTAKEN = 2
"""The exit code where an operator has something to correct; it is that of a mistyped command, too."""


def read_settings() -> "Settings":
    """The settings; from now on lines are logged as they say."""
    from pydantic import ValidationError

    from tieout_server import log
    from tieout_server.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        faults = [f"TIEOUT_{str(f['loc'][0]).upper()}: {f['msg']}" for f in error.errors(include_input=False)]
        leave("; ".join(faults))
    log.configure(log_format=settings.log_format, level=settings.log_level)
    return settings


def run(doing: Coroutine[object, object, Answer]) -> Answer:
    """Run to the end; an error that names its remedy needs no traceback."""
    from tieout_server.errors import StorageUnavailableError, TieoutError

    try:
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            return runner.run(doing)
    except StorageUnavailableError as away:
        leave(f"The database of TIEOUT_DATABASE_URL cannot be used: {away.why}")
    except TieoutError as error:
        leave(str(error))


def on_database(settings: "Settings", doing: "Callable[[Database], Awaitable[Answer]]") -> Answer:
    """Run this on the database of these settings."""
    from tieout_server.storage.database import Database

    async def done() -> Answer:
        async with contextlib.aclosing(Database(settings.database_url)) as database:
            return await doing(database)

    return run(done())


def leave(sentence: str) -> Never:
    """End the command with what an operator has to correct."""
    typer.echo(f"tieout-server: {sentence}", err=True)
    raise typer.Exit(MISTAKEN)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where there is one: a tenth to a quarter less CPU under load; there is none for Windows."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
