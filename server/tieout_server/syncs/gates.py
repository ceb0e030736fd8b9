"""What is too strange to be committed unasked: the gates at which a sync is held. Pure.

A listing that is suddenly empty, or in which much of what counted is suddenly void, is more often somebody's mishap
(a wrong merge, a script gone wild, a fault at Xero) than the truth, and a platform that chases debts would act on it.
"""

from enum import StrEnum

import msgspec

from tieout_server.ledger.documents import Entity

MANY = 20
"""Live rows from which on an empty listing is doubted, and the removals that no entity is ever held for."""
SHARE = 0.25
"""The share of an entity's live rows that may leave in one reading."""


class Gate(StrEnum):
    """The gates; each is the reason of a sync that it holds."""

    NOTHING_RETURNED = "NOTHING_RETURNED"
    TOO_MANY_REMOVED = "TOO_MANY_REMOVED"


class Doubt(msgspec.Struct, frozen=True):
    """A gate that closed, and a sentence for a person."""

    gate: Gate
    sentence: str


def of_listing(entity: Entity, *, listed: int, live: int) -> Doubt | None:
    """The doubt about a listing of everything there is that holds so many rows, while so many are live here."""
    if listed or live < MANY:
        return None
    return Doubt(
        Gate.NOTHING_RETURNED,
        f"Xero lists no {_words(entity)} at all, while {live:,} count here. Nothing of that was committed.",
    )


def of_removals(entity: Entity, *, removed: int, live: int) -> Doubt | None:
    """The doubt about a reading that takes so many of the rows that were live before it."""
    if removed <= max(MANY, SHARE * live):
        return None
    return Doubt(
        Gate.TOO_MANY_REMOVED,
        f"Xero shows {removed:,} of {live:,} {_words(entity)} as voided, deleted or gone. They were not committed.",
    )


def _words(entity: Entity) -> str:
    return entity.value.replace("_", " ")
