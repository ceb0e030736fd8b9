"""Runs a command against the server, and turns what goes wrong into a sentence, a remedy and an exit code."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import typer
from rich.console import Console
from rich.markup import escape

from tieout import errors
from tieout.cli.options import Server
from tieout.client import Client
from tieout.watch import Patience

FAULT, REFUSED, PERSON, LATER, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes: a fault, a request to correct, a person must act, try again later, Ctrl-C."""

EXIT_CODES: Mapping[type[errors.TieoutError], int] = MappingProxyType(
    {
        errors.CallerError: REFUSED,
        errors.PersonMustActError: PERSON,
        errors.TryAgainError: LATER,
        errors.BugError: FAULT,
        errors.TieoutError: FAULT,
    }
)

_RECONNECT = "`tieout reconnect CONNECTION` gives the address where the merchant mends it."
_START_AGAIN = "Start again with `tieout connect`, or `tieout reconnect` where there was a connection."
REMEDIES: Mapping[type[errors.TieoutError], str] = MappingProxyType(
    {
        errors.InvalidRequestError: "Correct what is listed; `--help` shows the forms.",
        errors.NotFoundError: "`tieout connections` lists what there is.",
        errors.CallerUnauthenticatedError: "Give a valid token by TIEOUT_TOKEN, or a certificate by --cert-file.",
        errors.CallerNotPermittedError: "Ask whoever runs the service for the role or the merchant.",
        errors.NotServedYetError: "Ask whoever runs the service for a newer version.",
        errors.ConsentStateError: _START_AGAIN,
        errors.ConsentDeniedError: _START_AGAIN,
        errors.ConsentExpiredError: _START_AGAIN,
        errors.NoOrganisationError: _START_AGAIN,
        errors.NotAdministratorError: "Start again as a user whom Xero has as Standard or Adviser.",
        errors.WrongOrganisationError: "Reconnect, and choose the organisation that the connection had.",
        errors.ConnectionNotUsableError: _RECONNECT,
        errors.CredentialsExpiredError: _RECONNECT,
        errors.AccessRevokedError: _RECONNECT,
        errors.ScopeMissingError: _RECONNECT,
        errors.AppRejectedError: "Whoever runs the service corrects its client id and secret for Xero.",
        errors.UnreachableError: "Is the server running, and is --target (TIEOUT_TARGET) where it listens?",
        errors.DeadlineError: "It may have happened: look before you repeat it. --timeout waits longer.",
        errors.TryAgainError: "Repeat it in a moment.",
        errors.BugError: "Tell whoever runs the service; its log has more.",
    }
)


def run(server: Server, command: Callable[[Client], Awaitable[int | None]], *, as_json: bool) -> None:
    """Run a command with a client; leave with its exit code, or with that of what went wrong.

    Raises:
        typer.Exit: always, unless all is well.
    """
    try:
        code = asyncio.run(_with_client(server, command))
    except errors.TieoutError as error:
        report(error, as_json=as_json)
        code = exit_code(error)
    except (OSError, ValueError) as error:
        report(errors.CallerError(str(error)), as_json=as_json)
        code = REFUSED
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code:
        raise typer.Exit(code)


async def _with_client(server: Server, command: Callable[[Client], Awaitable[int | None]]) -> int | None:
    async with server.client(Patience(attempts=12, sleep=_announce)) as client:
        return await command(client)


async def _announce(seconds: float) -> None:
    Console(stderr=True).print(f"[dim]Lost the server; trying again in {seconds:.1f} s.[/]")
    await asyncio.sleep(seconds)


def exit_code(error: errors.TieoutError) -> int:
    """The exit code of the next move that the error asks for."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def remedy(error: errors.TieoutError) -> str:
    """What to do about it, in a sentence; empty where the error itself says it all."""
    if isinstance(error, errors.TryAgainError) and error.retry_after:
        return f"Repeat it in {error.retry_after.total_seconds():.0f} seconds."
    return next((REMEDIES[kind] for kind in type(error).__mro__ if kind in REMEDIES), "")


def report(error: errors.TieoutError, *, as_json: bool) -> None:
    """Say on stderr what went wrong and what to do about it."""
    if as_json:
        violations = [{"field": it.field, "rule": it.rule} for it in error.violations]
        facts = {"sentence": error.sentence, "remedy": remedy(error), "code": error.code, "reason": error.reason}
        typer.echo(
            json.dumps({"error": {**facts, "violations": violations, "metadata": dict(error.metadata)}}), err=True
        )
        return
    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]Error:[/] {escape(error.sentence)}", soft_wrap=True)
    for violation in error.violations:
        if violation.rule in error.sentence:
            continue  # the sentence says it already
        console.print(f"  {violation.field}: {violation.rule}", markup=False, soft_wrap=True)
    if advice := remedy(error):
        console.print(advice, markup=False, soft_wrap=True)
