"""Where a discrepancy or a reconciliation stands, and what may happen to it then."""

from enum import StrEnum
from typing import assert_never

from tieout_server.errors import NotPermittedNowError


class DiscrepancyState(StrEnum):
    """Where a discrepancy stands."""

    OPENED = "OPENED"
    """Seen; not yet examined."""
    CAUSE_FOUND = "CAUSE_FOUND"
    """The cause is known; a repair is on its way."""
    SELF_HEALED = "SELF_HEALED"
    """Over: what was stale here was read again, and both sides agree."""
    NEEDS_ATTENTION = "NEEDS_ATTENTION"
    """Only a person can mend it."""
    ACKNOWLEDGED = "ACKNOWLEDGED"
    """A person knows of it."""
    RESOLVED = "RESOLVED"
    """Over: the cause has gone."""


class Happening(StrEnum):
    """What can happen to a discrepancy."""

    SEEN = "SEEN"
    """The sides differ: for the first time, again after it was over, or otherwise than a person knew."""
    EXPLAINED = "EXPLAINED"
    """What makes the difference is known."""
    LEFT_TO_A_PERSON = "LEFT_TO_A_PERSON"
    """What could be read again was, and they differ still."""
    REPAIRED = "REPAIRED"
    """What was stale here was read again, and the sides agree."""
    GONE = "GONE"
    """The sides agree, and nothing was repaired here for that."""
    ACKNOWLEDGED = "ACKNOWLEDGED"
    """A person says that they know."""


OPEN = (
    DiscrepancyState.OPENED,
    DiscrepancyState.CAUSE_FOUND,
    DiscrepancyState.NEEDS_ATTENTION,
    DiscrepancyState.ACKNOWLEDGED,
)
"""The states in which the customer is off balance."""


def move(state: DiscrepancyState | None, happening: Happening) -> DiscrepancyState:
    """The state after this happened; None is the state of one that is not there yet.

    Raises:
        NotPermittedNowError: it cannot happen in this state.
    """
    is_open = state in OPEN
    match happening:
        case Happening.SEEN:
            return DiscrepancyState.OPENED
        case Happening.EXPLAINED if is_open:
            return DiscrepancyState.CAUSE_FOUND
        case Happening.LEFT_TO_A_PERSON if is_open:
            return DiscrepancyState.NEEDS_ATTENTION
        case Happening.REPAIRED if is_open:
            return DiscrepancyState.SELF_HEALED
        case Happening.GONE if is_open:
            return DiscrepancyState.RESOLVED
        case Happening.ACKNOWLEDGED if is_open:
            return DiscrepancyState.ACKNOWLEDGED
        case (
            Happening.EXPLAINED
            | Happening.LEFT_TO_A_PERSON
            | Happening.REPAIRED
            | Happening.GONE
            | Happening.ACKNOWLEDGED
        ):
            where = f"{state}: both sides agree" if state else "not there"
            raise NotPermittedNowError(f"The discrepancy is {where}.", state=state or "")
        case _:
            assert_never(happening)


class ReconciliationState(StrEnum):
    """Where a reconciliation stands."""

    QUEUED = "QUEUED"
    """Durable, and not begun."""
    RUNNING = "RUNNING"
    """Comparing."""
    WAITING = "WAITING"
    """Waits for Xero or for its limits; goes on by itself."""
    SUCCEEDED = "SUCCEEDED"
    """Every customer is compared or counted as left over."""
    FAILED = "FAILED"
    """Ended with an error."""


UNDER_WAY = (ReconciliationState.QUEUED, ReconciliationState.RUNNING, ReconciliationState.WAITING)
"""The states of a reconciliation that has not ended."""
