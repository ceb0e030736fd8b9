"""What an examination finds, how grave it is, and what mends it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum

import msgspec

BOUND = 20.0
"""Seconds that one check may take, whatever it waits for."""


class Level(StrEnum):
    """How grave a finding is."""

    FINE = "fine"
    NOT_EXAMINED = "not examined"
    """It could not be looked at, for a reason that is a finding of its own or no fault."""
    WARNING = "warning"
    FAULT = "fault"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: what was seen, in a sentence, and what mends it where that is not fine."""

    check: str
    level: Level
    seen: str
    remedy: str = ""


Check = Callable[[], Awaitable[Sequence[Finding]]]


def fine(check: str, seen: str) -> Finding:
    """It is as it has to be."""
    return Finding(check, Level.FINE, seen)


def not_examined(check: str, seen: str, remedy: str = "") -> Finding:
    """It was not looked at."""
    return Finding(check, Level.NOT_EXAMINED, seen, remedy)


def warning(check: str, seen: str, remedy: str) -> Finding:
    """It works, and is not as it should be."""
    return Finding(check, Level.WARNING, seen, remedy)


def fault(check: str, seen: str, remedy: str) -> Finding:
    """It does not work, or is not safe."""
    return Finding(check, Level.FAULT, seen, remedy)


async def bounded(name: str, check: Check, bound: float = BOUND) -> Sequence[Finding]:
    """What a check finds; that it breaks or takes too long is a finding, so that the others go on."""
    try:
        async with asyncio.timeout(bound):
            return await check()
    except TimeoutError:
        return [fault(name, f"No answer came within {bound:.0f} seconds.", "See whether what it asks is overloaded.")]
    except Exception as broke:  # noqa: BLE001 - one that breaks stops no other; its text might hold a secret
        return [fault(name, f"The check itself failed: {type(broke).__name__}.", "Please report this as a bug.")]
