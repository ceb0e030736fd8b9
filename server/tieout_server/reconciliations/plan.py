"""What a reconciliation of a whole organisation has still to do: kept with each step, so that it survives a kill."""

import msgspec

from tieout_server.ledger.books import Purpose
from tieout_server.ledger.documents import CREDITS, Entity
from tieout_server.syncs.plan import Line, Walk
from tieout_server.syncs.state import SyncPhase

READ, LOOKED_UP, LISTED = 60.0, 65.0, 70.0
"""Percent done when everything is read, when what was not met is, and when everybody is compared once."""


class Plan(msgspec.Struct, kw_only=True):
    """The steps: read what is open, look up what was not met, compare everybody, then suspects one by one."""

    lines: list[Line]
    removed: dict[Entity, int] = {}
    """The rows of each entity that left: the gates close on all of them together."""
    unmet: list[Entity]
    """The entities of which it is still to be looked up what is open here and was not met."""
    asked_up_to: str = ""
    """The last id of the first of them that was looked up."""
    suspects: list[str] | None = None
    """The customers that are still to be compared one by one; None until everybody was compared once."""
    suspected: int = 0
    """How many they were."""
    left_out: list[str] = []
    """Those of them that could not be compared: their books changed all the time, or a gate holds what was removed,
    or nobody documented what Xero answered."""

    @property
    def line(self) -> Line | None:
        """The listing that is being read."""
        return next((line for line in self.lines if not line.done), None)

    @property
    def percent(self) -> float:
        """How much is done."""
        if self.suspects is not None:
            done = self.suspected - len(self.suspects)
            return LISTED + (100.0 - LISTED) * (done / self.suspected if self.suspected else 1.0)
        if self.line is None:
            return READ if self.unmet else LOOKED_UP
        return READ * sum(_share(line) for line in self.lines) / len(self.lines)


def first_plan() -> Plan:
    """The plan of a reconciliation that begins: contacts with what is stated of them, then what is open."""
    contacts = Line(
        name="contacts",
        entity=Entity.CONTACTS,
        phase=SyncPhase.CATCH_UP,
        purpose=Purpose.RECONCILIATION,
        one_by_one=True,
    )
    documents = (Entity.INVOICES, *CREDITS)
    return Plan(lines=[contacts, *(_open(entity) for entity in documents)], unmet=list(documents))


def _open(entity: Entity) -> Line:
    return Line(
        name=entity.value,
        entity=entity,
        phase=SyncPhase.CATCH_UP,
        purpose=Purpose.RECONCILIATION,
        walk=Walk.SEEK,
        open_only=True,
    )


def _share(line: Line) -> float:
    return 1.0 if line.done else min(0.99, line.fetched / line.expected) if line.expected else 0.0
