"""The states of a sync: which there are, what moves them, and what each permits."""

from enum import StrEnum
from typing import assert_never

from tieout_server.errors import NotPermittedNowError


class SyncMode(StrEnum):
    """What a sync reads."""

    INCREMENTAL = "INCREMENTAL"
    """What changed since the watermarks."""
    FULL = "FULL"
    """Everything."""


class SyncState(StrEnum):
    """Where a sync stands."""

    QUEUED = "QUEUED"
    """Durable, and not begun."""
    RUNNING = "RUNNING"
    """Reading."""
    WAITING = "WAITING"
    """Standing still until a limit or an outage has passed; goes on by itself."""
    HELD = "HELD"
    """An anomaly gate wants confirmation."""
    SUCCEEDED = "SUCCEEDED"
    """Everything read."""
    FAILED = "FAILED"
    """Ended by an error that a repeat would meet again."""
    CANCELLED = "CANCELLED"
    """Ended by a caller, or held and discarded."""


class Decision(StrEnum):
    """What can be decided about a sync that is held."""

    CONFIRM = "CONFIRM"
    """What Xero says is true: the sync goes on."""
    DISCARD = "DISCARD"
    """Everything stays as it was: the sync ends."""


class SyncPhase(StrEnum):
    """What a sync is reading, in this order."""

    OPEN_RECEIVABLES = "OPEN_RECEIVABLES"
    HISTORY = "HISTORY"
    CATCH_UP = "CATCH_UP"
    SETTLED = "SETTLED"


class Milestone(StrEnum):
    """What callers wait for."""

    COLLECTIBLE_READY = "COLLECTIBLE_READY"
    """Every open receivable is in."""
    HISTORY_COMPLETE = "HISTORY_COMPLETE"
    """Everything is in."""


class Happening(StrEnum):
    """What moves a sync."""

    PROGRESS = "PROGRESS"
    """A page was committed."""
    HELD_UP = "HELD_UP"
    """A limit or an outage holds it up."""
    DOUBTED = "DOUBTED"
    """What was read is too strange to be committed unasked."""
    CONFIRMED = "CONFIRMED"
    """A caller says that it is true."""
    FINISHED = "FINISHED"
    """The last page was committed."""
    BROKEN = "BROKEN"
    """It cannot go on."""
    CANCELLED = "CANCELLED"
    """A caller ended it."""


ACTIVE = (SyncState.QUEUED, SyncState.RUNNING, SyncState.WAITING, SyncState.HELD)
"""The states of a sync under way: at most one per connection is."""
AT_WORK = (SyncState.QUEUED, SyncState.RUNNING, SyncState.WAITING)
"""The states in which a sync may read."""


def move(state: SyncState, happening: Happening) -> SyncState:
    """The state that follows.

    Raises:
        NotPermittedNowError: the sync has ended, and nothing happens to it any more.
    """
    if state not in ACTIVE:
        raise NotPermittedNowError(f"The sync has ended: it is {state}.", state=state)
    match happening:
        case Happening.PROGRESS | Happening.CONFIRMED:
            return SyncState.RUNNING
        case Happening.HELD_UP:
            return SyncState.WAITING
        case Happening.DOUBTED:
            return SyncState.HELD
        case Happening.FINISHED:
            return SyncState.SUCCEEDED
        case Happening.BROKEN:
            return SyncState.FAILED
        case Happening.CANCELLED:
            return SyncState.CANCELLED
        case _:
            assert_never(happening)
