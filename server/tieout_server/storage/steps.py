"""The steps that bring a database to this version's tables, and when each may be taken.

An `expand` step only adds, so that the previous version of the program works on beneath it. A `contract` step takes
away what that version still used: it waits until no such version runs. A new version needs the first kind only.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

FOLDER = Path(__file__).parent / "migrations"


class Phase(StrEnum):
    """When a step may be taken."""

    EXPAND = "expand"
    """It adds tables, indexes, and columns that may be left out: at any time."""
    CONTRACT = "contract"
    """It takes something away: once no version runs that uses it."""


class Step(msgspec.Struct, frozen=True):
    """One file under migrations/versions."""

    revision: str
    phase: Phase
    indexes: Mapping[str, tuple[str, Sequence[str]]] = {}
    """Indexes of tables that may be large, by name: table and columns. On PostgreSQL they are built beside the work."""


def all_steps() -> Sequence[Step]:
    """All steps that this program knows, in order."""
    scripts = reversed(list(_scripts(FOLDER).walk_revisions()))
    return [Step(one.revision, Phase(one.module.phase), getattr(one.module, "indexes", {})) for one in scripts]


def next_step(steps: Sequence[Step], at: str | None, *, contract: bool) -> Step | None:
    """The step to take next; one that takes away only if that is wanted, or if something is to be added after it."""
    left = [step for step in steps if at is None or step.revision > at]
    if contract or any(step.phase is Phase.EXPAND for step in left):
        return left[0] if left else None
    return None


def oldest_after(steps: Sequence[Step], at: str) -> str:
    """The revision that a program must have been written for at least once the database is at this one."""
    return max((step.revision for step in steps if step.phase is Phase.CONTRACT and step.revision <= at), default="")


def take(connection: Connection, step: Step) -> None:
    """Take this step in the transaction of this connection."""
    from alembic import command  # noqa: PLC0415 - it takes most of a second to import

    config = _config(FOLDER)
    config.attributes["connection"] = connection
    command.upgrade(config, step.revision)


@cache
def _scripts(folder: Path) -> "ScriptDirectory":
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - likewise

    return ScriptDirectory.from_config(_config(folder))


def _config(folder: Path) -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - likewise

    config = Config()
    config.set_main_option("script_location", folder.as_posix().replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
