"""Asking before what cannot be undone."""

import typer

from tieout.cli.run import REFUSED
from tieout.cli.show import note


def confirm(question: str) -> None:
    """Ask the person at the terminal to say yes.

    Raises:
        typer.Exit: they do not, or there is nobody to ask.
    """
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)  # the question has not ended its line
        agreed = False
    if not agreed:
        note("Nothing was changed. --yes says yes without being asked.")
        raise typer.Exit(REFUSED)
