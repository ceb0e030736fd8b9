"""How things are printed: JSON for scripts, tables and short words for people."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol, TypeVar

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tieout.v1.types_pb2 import Money

UNFOLDED = 160
"""Characters of a line that is not printed on a screen."""
Number_contra = TypeVar("Number_contra", bound=int, contravariant=True)


class Enum(Protocol[Number_contra]):
    """A generated enum."""

    def Name(self, number: Number_contra) -> str:  # noqa: N802 - protobuf's own name
        """The value's name with its prefix."""
        ...


def console(*, stderr: bool = False) -> Console:
    """Where people read; what is piped on is not folded to the width of a screen."""
    # What merchants and customers are called is printed as it is: no `[bold]` and no `:key:` in it means anything.
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNFOLDED
    return console


def say(what: str | Text | Table) -> None:
    """Print text or a table; without the spaces that fill up a table's lines where it is piped on.

    Raises:
        BrokenPipeError: whoever read it has left.
    """
    out = console()
    if out.is_terminal:
        out.print(what, soft_wrap=not isinstance(what, Table))
        return
    with out.capture() as captured:
        out.print(what, soft_wrap=not isinstance(what, Table))
    typer.echo("\n".join(line.rstrip(" ") for line in captured.get().split("\n")), nl=False)


def note(sentence: str) -> None:
    """Say on stderr what is worth knowing and no part of the answer."""
    console(stderr=True).print(sentence, style="dim", soft_wrap=True)


def document(message: Message) -> None:
    """Print a message as one line of JSON, with the names of the protos and zero values too."""
    line = MessageToJson(
        message, indent=None, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    typer.echo(line)


def documents(messages: Iterable[Message]) -> None:
    """Print each message on its line."""
    for message in messages:
        document(message)


def word(enum: Enum[Number_contra], number: Number_contra, prefix: str) -> str:
    """An enum's value as a person reads it: `RECONNECT_REQUIRED` as `reconnect required`, not stated as nothing.

    A value that is newer than this version is shown as its number.
    """
    try:
        name = enum.Name(number)
    except ValueError:
        return str(number)
    return name.removeprefix(prefix).removeprefix("UNSPECIFIED").replace("_", " ").lower().replace("xero", "Xero")


def money(amounts: Iterable[Money]) -> str:
    """Amounts of several currencies, each with its code; nothing where one is absent."""
    return "\n".join(f"{Decimal(one.amount):,} {one.currency_code}" for one in amounts if one.ByteSize())


def moment(at: Timestamp) -> str:
    """An instant in UTC to the second; nothing where there is none."""
    if not at.ByteSize():
        return ""
    return at.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def ago(at: Timestamp, now: datetime) -> str:
    """How long an instant lies back, in the largest unit that fits."""
    if not at.ByteSize():
        return "never"
    seconds = int((now - at.ToDatetime(UTC)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"


def size(count: int) -> str:
    """Bytes in the unit that people read."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:  # noqa: PLR2004 - the step between units
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def table(*columns: str, right: Iterable[str] = (), wide: str | None = None) -> Table:
    """An empty table; the columns in `right` hold figures. `wide`, or the first one, gives way on a narrow screen."""
    wide = columns[0] if wide is None else wide
    made = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for name in columns:
        made.add_column(
            name, justify="right" if name in set(right) else "left", overflow="ellipsis", no_wrap=name != wide
        )
    return made
