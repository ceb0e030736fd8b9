"""How to read the one figure that Xero states with a contact.

Xero's own texts disagree on whether `Balances` is converted to the base currency, and only its examples suggest that it
nets credits (the UNSURE register, U8). One organisation follows one convention, so it is inferred from all contacts
together: the reading under which most of them agree with their documents. A contact is suspected only by that reading.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
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
    def rate(self) -> Decimal:
        """Foreign units for one unit of the base currency."""
        ...

    @property
    def count(self) -> int:
        """How many documents it is."""
        ...


class Convention(msgspec.Struct, frozen=True):
    """What the stated figure is taken to be."""

    nets_credits: bool = True
    in_base: bool = True

    def expected(self, items: Iterable[Counted]) -> Decimal:
        """What Xero would state for a contact with these documents."""
        counted = [item for item in items if self.nets_credits or item.open > 0]
        return sum((item.open_in_base if self.in_base else item.open for item in counted), Decimal(0))

    def tolerance(self, items: Iterable[Counted]) -> Decimal:
        """How far rounding may take a converted sum from Xero's: a cent for each document that is converted."""
        return CENT * sum(item.count for item in items if self.in_base and item.rate != 1 and item.open)

    def agrees(self, stated: Decimal, items: Sequence[Counted]) -> bool:
        """Whether the stated figure is what these documents make."""
        return abs(stated - self.expected(items)) <= self.tolerance(items)


USUAL = Convention()
"""What is taken where nothing tells: netted, in the base currency (Xero, Contacts)."""
ALL = (USUAL, *(c for c in (Convention(*sides) for sides in product((True, False), repeat=2)) if c != USUAL))


def inferred(stated: Iterable[tuple[Decimal, Sequence[Counted]]]) -> Convention:
    """The reading under which most contacts agree; only those tell on which the readings differ."""
    votes = dict.fromkeys(ALL, 0)
    for figure, items in stated:
        if len({reading.expected(items) for reading in ALL}) == 1:
            continue
        for reading in ALL:
            votes[reading] += reading.agrees(figure, items)
    return elected(votes)


def elected(votes: Mapping[Convention, int]) -> Convention:
    """The reading with the most votes; of equals the more usual one."""
    return max(ALL, key=lambda reading: votes[reading])
