"""How to read the one figure that Xero states with a contact.

Xero's own texts disagree on whether `Balances` is converted to the base currency, and only its examples suggest that it
nets credits (the UNSURE register, U8). A figure that is our balance as it is usually read agrees, however it was made.
Any other is read as those of the other contacts are: one organisation follows one convention, so most of them tell it.
Where nobody else tells, whatever reading makes the figure of the documents holds: no alarm hangs on a guess.
"""

from collections.abc import Collection, Iterable, Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from itertools import product
from typing import Protocol

import msgspec

from tieout_server.reconciliations.items import CENT


class Counted(Protocol):
    """A document, or several of one kind, currency and rate, as far as a stated figure depends on it."""

    @property
    def open(self) -> Decimal:
        """What it adds to the balance."""
        ...

    @property
    def open_in_base(self) -> Decimal:
        """The same in the base currency."""
        ...

    @property
    def converted(self) -> Decimal:
        """The same before it is rounded to the cent."""
        ...

    @property
    def slack(self) -> Decimal:
        """How far `open_in_base` may be off, where it is of several documents of which each is rounded."""
        ...


class Convention(msgspec.Struct, frozen=True):
    """What the stated figure is taken to be."""

    nets_credits: bool = True
    in_base: bool = True

    def expected(self, items: Iterable[Counted]) -> Decimal:
        """What Xero would state for a contact with these documents."""
        counted = [item for item in items if self.nets_credits or item.open > 0]
        return sum((item.open_in_base if self.in_base else item.open for item in counted), Decimal(0))

    def agrees(self, stated: Decimal, items: Sequence[Counted]) -> bool:
        """Whether the stated figure is what these documents make; each may be converted to the cent, or their sum.

        Nobody says which way Xero rounds half a cent.
        """
        expected = self.expected(items)
        if stated == expected or not self.in_base:
            return stated == expected
        at_once = sum((item.converted for item in items if self.nets_credits or item.open > 0), Decimal(0))
        slack = sum((item.slack for item in items), Decimal(0))
        rounded = {at_once.quantize(CENT, way) for way in (ROUND_HALF_EVEN, ROUND_HALF_UP)}
        return stated in rounded or abs(stated - expected) <= slack


USUAL = Convention()
"""What is taken where nothing tells: netted, in the base currency (Xero, Contacts)."""
ALL = (USUAL, *(c for c in (Convention(*sides) for sides in product((True, False), repeat=2)) if c != USUAL))


Readings = tuple[Convention, ...]
"""Conventions, the more usual first."""


def differ(items: Sequence[Counted]) -> bool:
    """Whether it makes a difference for these documents how a figure is read."""
    return len({reading.expected(items) for reading in ALL}) > 1


def readings(stated: Decimal, items: Sequence[Counted]) -> Readings:
    """The conventions under which this figure is what these documents make."""
    return tuple(reading for reading in ALL if reading.agrees(stated, items))


class Told:
    """How the figures of contacts tell that Xero makes them."""

    def __init__(self) -> None:
        self._of: dict[str, Readings] = {}
        self._votes = dict.fromkeys(ALL, 0)

    def add(self, xero_contact_id: str, agreeing: Readings) -> None:
        """Count a contact's vote; one that agrees with every reading, or with none, tells nothing."""
        if 0 < len(agreeing) < len(ALL):
            self._of[xero_contact_id] = agreeing
            for reading in agreeing:
                self._votes[reading] += 1

    def holding(self, besides: Collection[str] = ()) -> Readings:
        """The readings with which most agree, other than these contacts; all of them where nobody else tells."""
        own = [reading for contact in besides for reading in self._of.get(contact, ())]
        votes = {reading: self._votes[reading] - own.count(reading) for reading in ALL}
        return tuple(reading for reading in ALL if votes[reading] == max(votes.values()))

    def reading(self, stated: Decimal, items: Sequence[Counted], besides: Collection[str]) -> Convention:
        """By which reading to judge the figure of these contacts: one with which it agrees, if that holds."""
        holding = self.holding(besides)
        return next((reading for reading in holding if reading.agrees(stated, items)), holding[0])
