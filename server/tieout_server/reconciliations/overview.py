"""All customers of an organisation against what Xero states of them, in one pass over the mirror and no call.

Which reading of the stated figure holds is known only at the end of the pass (`convention`), so of everybody whose
figure is not as usual it is kept under which other reading it agrees. They are the only ones worth a call.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from functools import lru_cache

import msgspec

from tieout_server.ledger.money import from_units
from tieout_server.reconciliations.convention import ALL, USUAL, Readings, Told, readings
from tieout_server.reconciliations.items import CENT
from tieout_server.storage.open_items import Standing, Sum

NETTING = tuple(reading for reading in ALL if reading.nets_credits)
"""Under which a figure that nets credits agrees where nothing is converted."""
GROSS = tuple(reading for reading in ALL if not reading.nets_credits)
"""The same of one that leaves credits out."""


class Lump(msgspec.Struct, frozen=True):
    """What is open of one kind, currency and rate: many documents as one."""

    open: Decimal
    rate: Decimal
    count: int

    @property
    def open_in_base(self) -> Decimal:
        """The same in the base currency; each document of it may round otherwise than their sum."""
        return self.converted.quantize(CENT) if self.slack else self.open

    @property
    def converted(self) -> Decimal:
        """The same before it is rounded to the cent."""
        return self.open / self.rate if self.slack else self.open

    @property
    def slack(self) -> Decimal:
        """A cent for each document that is converted."""
        return CENT * self.count if self.rate != 1 else Decimal(0)


class Overview:
    """Everybody compared: who does not agree, and what both sides come to."""

    def __init__(self, merged: Mapping[str, str], besides: Collection[str] = ()) -> None:
        """`merged`: who those are now that were merged away (`customers.all_merges`)."""
        self._owners = merged
        self._winners = frozenset(merged.values())
        self._besides = besides
        self._families: dict[str, Standing] = {}
        self._told = Told()
        self._off: dict[str, Readings] = {}
        self.customers = 0
        self.totals: dict[str, int] = {}
        """What is open here, in 1/10,000, by currency; of everybody but those `besides`."""

    async def take(self, standings: AsyncGenerator[Standing]) -> None:
        """Compare these; contacts that were merged count with the one that they are now."""
        async with aclosing(standings) as rows:
            async for one in rows:
                owner = self._owners.get(one.xero_contact_id, one.xero_contact_id)
                if owner in self._winners:
                    known = self._families.get(owner)
                    self._families[owner] = _together(owner, known, one)
                else:
                    self._add(one)
        for family in self._families.values():
            self._add(family)
        self._families.clear()

    @property
    def doubted(self) -> Collection[str]:
        """Who does not agree as figures are usually made."""
        return self._off.keys()

    @property
    def depends(self) -> bool:
        """Whether it depends on the reading who of them agrees."""
        return any(self._off.values())

    def suspects(self, told: Told | None = None) -> list[str]:
        """Who agrees under no reading that holds, as others tell here; or as `told`, by figures that are newer."""
        told = told or self._told
        return [
            customer
            for customer, agreeing in self._off.items()
            if not agreeing or not set(agreeing) & set(told.holding([customer]))
        ]

    def _add(self, one: Standing) -> None:
        if not one.is_customer and not one.sums and not one.stated:
            return
        self.customers += 1
        for each in one.sums if one.xero_contact_id not in self._besides else ():
            self.totals[each.currency] = self.totals.get(each.currency, 0) + each.due - each.remaining
        if one.stated is None:
            return  # Xero states nothing, so there is nothing to disagree with
        agreeing = agreeing_of(one.stated, one.sums)
        self._told.add(one.xero_contact_id, agreeing)
        if USUAL not in agreeing:
            self._off[one.xero_contact_id] = agreeing


def agreeing_of(stated: int, sums: Sequence[Sum]) -> Readings:
    """The readings under which this figure, in 1/10,000, is what is open; quick where nothing is converted."""
    if any(_rate(each.rate) != 1 for each in sums):
        return readings(from_units(stated), [lump for each in sums for lump in _lumps(each)])
    gross = sum(each.due for each in sums)
    net = gross - sum(each.remaining for each in sums)
    return (NETTING if stated == net else ()) + (GROSS if stated == gross else ())


def _lumps(each: Sum) -> list[Lump]:
    """Invoices and credits apart: some readings leave credits out."""
    rate = _rate(each.rate)
    parts = ((each.due, each.count), (-each.remaining, each.count))
    return [Lump(from_units(units), rate, count) for units, count in parts if units]


@lru_cache(maxsize=1024)  # most are 1
def _rate(text: str) -> Decimal:
    return Decimal(text)


def _together(owner: str, known: Standing | None, other: Standing) -> Standing:
    if known is None:
        return Standing(owner, other.stated, other.is_customer, other.sums)
    figures = [figure for figure in (known.stated, other.stated) if figure is not None]
    return Standing(
        owner, sum(figures) if figures else None, known.is_customer or other.is_customer, (*known.sums, *other.sums)
    )
