"""Runs a command against the server, and turns what goes wrong into a sentence, a remedy and an exit code."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import typer
from rich.console import Console
from rich.markup import escape

from tieout import errors
from tieout.cli.options import Server
from tieout.cli.remedies import remedy
from tieout.cli.show import note
from tieout.client import Client
from tieout.watch import Patience

FAULT, REFUSED, PERSON, LATER, INTERRUPTED, UNREAD = 1, 2, 3, 4, 130, 141
"""Exit codes: a fault, a request to correct, a person must act, try again later, Ctrl-C, the reader has left."""

EXIT_CODES: Mapping[type[errors.TieoutError], int] = MappingProxyType(
    {
        errors.CallerError: REFUSED,
        errors.PersonMustActError: PERSON,
        errors.TryAgainError: LATER,
        errors.BugError: FAULT,
        errors.TieoutError: FAULT,
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
    except BrokenPipeError:
        code = _unread()
    except (OSError, ValueError) as error:
        report(errors.CallerError(str(error)), as_json=as_json)
        code = REFUSED
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code:
        raise typer.Exit(code)


async def _with_client(server: Server, command: Callable[[Client], Awaitable[int | None]]) -> int | None:
    async with server.client(Patience(attempts=12, sleep=_announce, resumed=lambda: note("Back again."))) as client:
        return await command(client)


async def _announce(seconds: float) -> None:
    note(f"Lost the server; trying again in {seconds:.1f} s.")
    await asyncio.sleep(seconds)


def _unread() -> int:
    # `| head` has seen enough. What is still buffered goes nowhere, or Python would complain when it leaves.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNREAD


def exit_code(error: errors.TieoutError) -> int:
    """The exit code of the next move that the error asks for."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def report(error: errors.TieoutError, *, as_json: bool) -> None:
    """Say on stderr what went wrong and what to do about it."""
    if as_json:
        told = {
            "sentence": error.sentence,
            "remedy": remedy(error),
            "code": error.code,
            "reason": error.reason,
            "violations": [{"field": it.field, "rule": it.rule} for it in error.violations],
            "metadata": dict(error.metadata),
            "call_id": error.call_id,
        }
        typer.echo(json.dumps({"error": told}), err=True)
        return
    console = Console(stderr=True, highlight=False)
    several = len(error.violations) > 1
    sentence = "Several things are wrong with the request:" if several else error.sentence
    console.print(f"[bold red]Error:[/] {escape(sentence)}", soft_wrap=True)
    for violation in error.violations:
        if several or violation.rule not in sentence:
            console.print(f"  {violation.field}: {violation.rule}", markup=False, soft_wrap=True)
    if advice := remedy(error):
        console.print(advice, markup=False, soft_wrap=True)
