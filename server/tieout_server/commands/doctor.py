"""The command `tieout-server doctor`."""

import os
from typing import Annotated

import typer

from tieout_server.commands.running import run


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON.")] = False) -> None:
    """Examine settings, database, Xero and the way back; say what mends each finding.

    Exits with 1 where there are warnings, and with 3 where there are faults.
    """
    from tieout_server import log
    from tieout_server.doctor import configuration, examination, report

    log.configure(log_format="console", level="error")
    settings, wrong = configuration.read(os.environ)
    findings = [*wrong, *run(examination.examine(settings))]
    typer.echo(report.for_machines(findings) if as_json else report.for_people(findings))
    if code := report.exit_code(findings):
        raise typer.Exit(code)
