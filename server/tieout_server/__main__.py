"""The command `tieout-server`: serve, migrate the database, say who may call, ask for health."""

from importlib.metadata import version
from typing import Annotated

import typer

from tieout_server.commands import callers, database, doctor, serving

cli = typer.Typer(
    help="Keeps an accounts-receivable platform and its merchants' Xero books in agreement. "
    "Settings come from TIEOUT_… environment variables (see the README).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    serving.serve,
    database.migrate,
    database.rotate_keys,
    serving.health,
    database.backup,
    database.restored,
    database.prune,
    doctor.doctor,
):
    cli.command()(command)
cli.add_typer(callers.cli, name="callers")


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"tieout-server {version('tieout')}")
        raise typer.Exit


@cli.callback()
def options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Take what goes before a command."""


def main() -> None:
    """The entry point."""
    cli()


if __name__ == "__main__":
    main()
