"""The caller's own books as a third side: who differs from whom, pure, so that every case can be tested."""

import heapq
from collections.abc import Collection, Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from tieout_server.reconciliations.items import Key

MOST = 1_000
"""Differences that are told, the largest of them."""

Balances = Mapping[Key, Decimal]
"""By customer and currency. What is not in it is zero."""

_NOTHING = Decimal(0)


class PlatformVerdict(StrEnum):
    """Who differs from whom."""

    AGREES = "AGREES"
    """All three agree."""
    PLATFORM_DIFFERS = "PLATFORM_DIFFERS"
    """We agree with Xero; the caller's books differ."""
    OURS_DIFFERS = "OURS_DIFFERS"
    """The caller's books agree with Xero; the copy here differs."""
    XERO_DIFFERS = "XERO_DIFFERS"
    """The caller's books agree with the copy here; Xero states something else."""
    ALL_DIFFER = "ALL_DIFFER"
    """No two agree."""
    UNKNOWN_CUSTOMER = "UNKNOWN_CUSTOMER"
    """The customer is not known here."""


class PlatformDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A balance on which the three sides do not agree."""

    customer: str
    """As it was named where it is not known here, else Xero's id of the contact, over merges."""
    currency: str
    ours: Decimal
    xero: Decimal
    platform: Decimal
    verdict: PlatformVerdict

    @property
    def spread(self) -> Decimal:
        """How far the sides are apart at most."""
        sides = (self.ours, self.xero, self.platform)
        return max(sides) - min(sides)


class ThreeSides(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing three sides found."""

    agreeing: int
    differences: tuple[PlatformDifference, ...]
    """The largest first, `MOST` at most."""
    differing: int
    """All of them."""
    not_submitted: int
    """Customers with a balance here of whom the caller said nothing."""


def verdict(*, ours: Decimal, xero: Decimal, platform: Decimal) -> PlatformVerdict:
    """Who differs from whom, where the customer is known."""
    if ours == xero:
        return PlatformVerdict.AGREES if platform == ours else PlatformVerdict.PLATFORM_DIFFERS
    if platform == xero:
        return PlatformVerdict.OURS_DIFFERS
    return PlatformVerdict.XERO_DIFFERS if platform == ours else PlatformVerdict.ALL_DIFFER


def compare(platform: Balances, ours: Balances, off: Balances, *, unknown: Collection[str]) -> ThreeSides:
    """Compare what the caller submitted with our balances and with Xero's, which are ours less what is `off`.

    A currency of which the caller said nothing, of a customer whom it named, is one in which it says zero.
    """
    named = {customer for customer, _ in platform}
    here = {key for side in (ours, off) for key, amount in side.items() if amount}
    compared = [
        _compared(key, platform, ours, off, is_unknown=key[0] in unknown)
        for key in platform.keys() | {key for key in here if key[0] in named}
    ]
    differing = [one for one in compared if one.verdict is not PlatformVerdict.AGREES]
    return ThreeSides(
        agreeing=len(compared) - len(differing),
        differences=tuple(heapq.nsmallest(MOST, differing, key=lambda d: (-d.spread, d.customer, d.currency))),
        differing=len(differing),
        not_submitted=len({customer for customer, _ in here} - named),
    )


def _compared(key: Key, platform: Balances, ours: Balances, off: Balances, *, is_unknown: bool) -> PlatformDifference:
    here = ours.get(key, _NOTHING)
    there = here - off.get(key, _NOTHING)
    said = platform.get(key, _NOTHING)
    unknown = PlatformVerdict.UNKNOWN_CUSTOMER
    return PlatformDifference(
        customer=key[0],
        currency=key[1],
        ours=here,
        xero=there,
        platform=said,
        verdict=unknown if is_unknown else verdict(ours=here, xero=there, platform=said),
    )
