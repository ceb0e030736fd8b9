"""The command `tieout-server`: serve, migrate the database, say who may call, ask for health."""

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


def main() -> None:
    """The entry point."""
    cli()


if __name__ == "__main__":
    main()
