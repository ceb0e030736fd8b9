"""How to read the one figure that Xero states with a contact.

Xero's own texts disagree on whether `Balances` is converted to the base currency, and only its examples suggest that it
nets credits (the UNSURE register, U8). One organisation follows one convention, so it is inferred from all contacts
together: the reading under which most of them agree with their documents. A contact is suspected only by that reading.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import product

import msgspec

from tieout_server.reconciliations.items import CENT, Item


class Convention(msgspec.Struct, frozen=True):
    """What the stated figure is taken to be."""

    nets_credits: bool = True
    in_base: bool = True

    def expected(self, items: Iterable[Item]) -> Decimal:
        """What Xero would state for a contact with these documents."""
        counted = [item for item in items if self.nets_credits or item.open > 0]
        return sum((item.open_in_base if self.in_base else item.open for item in counted), Decimal(0))

    def tolerance(self, items: Iterable[Item]) -> Decimal:
        """How far rounding may take a converted sum from Xero's: a cent for each document that is converted."""
        return CENT * sum(1 for item in items if self.in_base and item.rate != 1 and item.open)

    def agrees(self, stated: Decimal, items: Sequence[Item]) -> bool:
        """Whether the stated figure is what these documents make."""
        return abs(stated - self.expected(items)) <= self.tolerance(items)


USUAL = Convention()
"""What is taken where nothing tells: netted, in the base currency (Xero, Contacts)."""
ALL = (USUAL, *(c for c in (Convention(*sides) for sides in product((True, False), repeat=2)) if c != USUAL))


def inferred(stated: Iterable[tuple[Decimal, Sequence[Item]]]) -> Convention:
    """The reading under which most contacts agree; only those tell on which the readings differ."""
    votes = dict.fromkeys(ALL, 0)
    for figure, items in stated:
        if len({reading.expected(items) for reading in ALL}) == 1:
            continue
        for reading in ALL:
            votes[reading] += reading.agrees(figure, items)
    return max(ALL, key=lambda reading: votes[reading])
