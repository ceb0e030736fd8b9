"""All customers of an organisation against what Xero states of them, in one pass over the mirror and no call.

Which reading of the stated figure holds is known only at the end of the pass (`convention`), so each is kept count of:
those who do not agree under it. They are the only ones worth a call.
"""

from collections.abc import AsyncIterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec

from tieout_server.ledger.money import from_units
from tieout_server.reconciliations.convention import ALL, Convention, elected
from tieout_server.reconciliations.items import CENT
from tieout_server.storage.open_items import Standing, Sum


class Lump(msgspec.Struct, frozen=True):
    """What is open of one kind, currency and rate: many documents as one."""

    open: Decimal
    rate: Decimal
    count: int

    @property
    def open_in_base(self) -> Decimal:
        """The same in the base currency; each document of it may round otherwise than their sum."""
        return self.open if self.rate == 1 else (self.open / self.rate).quantize(CENT)


class Overview:
    """Everybody compared: who does not agree, and what both sides come to."""

    def __init__(self, merged: Mapping[str, str]) -> None:
        self._owners = {loser: _end(merged, loser) for loser in merged}
        self._winners = frozenset(self._owners.values())
        self._families: dict[str, Standing] = {}
        self._votes = dict.fromkeys(ALL, 0)
        self._off: dict[Convention, list[str]] = {reading: [] for reading in ALL}
        self.customers = 0
        self.totals: dict[str, int] = {}
        """What is open here, in 1/10,000, by currency."""

    async def take(self, standings: AsyncIterable[Standing]) -> None:
        """Compare these; contacts that were merged count with the one that they are now."""
        async for one in standings:
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
    def has_told(self) -> bool:
        """Whether it depends on the reading who agrees."""
        return len({tuple(off) for off in self._off.values()}) > 1

    def suspects(self, reading: Convention | None = None) -> list[str]:
        """Who does not agree under this reading; without one, under that with which most agree."""
        return self._off[reading or elected(self._votes)]

    def _add(self, one: Standing) -> None:
        if not one.is_customer and not one.sums and not one.stated:
            return
        self.customers += 1
        for each in one.sums:
            self.totals[each.currency] = self.totals.get(each.currency, 0) + each.due - each.remaining
        if one.stated is None:
            return  # Xero states nothing, so there is nothing to disagree with
        if all(_rate(each.rate) == 1 for each in one.sums):
            self._vote_at_home(one.xero_contact_id, one.stated, one.sums)
        else:
            self._vote(one)

    def _vote_at_home(self, xero_contact_id: str, figure: int, sums: Sequence[Sum]) -> None:
        """The same for the many with nothing to convert, where only the netting of credits makes a difference."""
        gross = sum(each.due for each in sums)
        net = gross - sum(each.remaining for each in sums)
        for reading in ALL:
            if figure != (net if reading.nets_credits else gross):
                self._off[reading].append(xero_contact_id)
            elif net != gross:
                self._votes[reading] += 1

    def _vote(self, one: Standing) -> None:
        figure, lumps = stated(one)
        agreeing = [reading for reading in ALL if reading.agrees(figure, lumps)]
        tells = len({reading.expected(lumps) for reading in ALL}) > 1
        for reading in ALL:
            if reading not in agreeing:
                self._off[reading].append(one.xero_contact_id)
            elif tells:
                self._votes[reading] += 1


def stated(one: Standing) -> tuple[Decimal, list[Lump]]:
    """What Xero states of a contact, and what is open of it here."""
    return from_units(one.stated or 0), [lump for each in one.sums for lump in _lumps(each)]


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


def _end(merged: Mapping[str, str], loser: str) -> str:
    """Who a contact is now; a ring of merges, which Xero should never state, ends where it would begin again."""
    passed = {loser}
    here = merged[loser]
    while here in merged and here not in passed:
        passed.add(here)
        here = merged[here]
    return here
