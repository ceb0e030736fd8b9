"""Why Xero states another balance than its own documents make: the search for an exact explanation.

The documents of both sides agree by now (what did not was a mismatch, with a cause of its own). What is left is in how
Xero's figure is made. Each possible cause offers parts, the amounts by which it could move the figure; an explanation
is a choice of parts that adds up to the difference exactly, with as few causes and then as few parts as can be. Nothing
is plugged: what no choice explains is UNEXPLAINED, and says what was ruled out.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations

import msgspec

from tieout_server.reconciliations.compare import Cause
from tieout_server.reconciliations.items import Item

ROUNDING_LIMIT = Decimal("0.10")
"""How far Xero lets a total be overridden from the sum of its lines."""
MOST_PARTS = 8
"""Parts of one cause of which every choice is tried; of more, one, all but one, or all."""
MOST_CAUSES = 2
"""Causes that are looked for together: the more there are, the more often a sum is right by chance."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """An amount by which one document could move Xero's figure: as it counts in `ours less xero`."""

    cause: Cause
    amount: Decimal
    item: Item | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What the difference consists of; the parts add up to it."""

    parts: tuple[Part, ...]
    ruled_out: tuple[Cause, ...] = ()
    """With UNEXPLAINED: what was examined and is not the cause."""


def explain(difference: Decimal, offered: Mapping[Cause, Sequence[Part]]) -> Explanation:
    """The simplest choice of parts that adds up to the difference; the order of `offered` decides between equals."""
    if not difference:
        return Explanation(parts=())
    if chosen := _choice(difference, offered):
        return Explanation(parts=chosen)
    if abs(difference) <= ROUNDING_LIMIT:
        return Explanation(parts=(Part(cause=Cause.ROUNDING, amount=difference),))
    if nearly := _nearly(difference, offered):
        return Explanation(parts=(nearly, Part(cause=Cause.ROUNDING, amount=difference - nearly.amount)))
    ruled_out = (*offered, Cause.ROUNDING)
    unexplained = Part(cause=Cause.UNEXPLAINED, amount=difference)
    return Explanation(parts=(unexplained,), ruled_out=tuple(dict.fromkeys(ruled_out)))


def _choice(difference: Decimal, offered: Mapping[Cause, Sequence[Part]]) -> tuple[Part, ...]:
    sums = [_sums(parts) for parts in offered.values() if parts]
    alone = [choices[difference] for choices in sums if difference in choices]
    if alone:
        return min(alone, key=len)
    pairs = (
        (*choice, *second[difference - amount])
        for first, second in combinations(sums, MOST_CAUSES)
        for amount, choice in first.items()
        if difference - amount in second
    )
    return min(pairs, key=len, default=())


def _nearly(difference: Decimal, offered: Mapping[Cause, Sequence[Part]]) -> Part | None:
    """The one part that leaves no more than rounding does; where several do, or only a sum of parts, it is chance."""
    near = [part for parts in offered.values() for part in parts if abs(difference - part.amount) <= ROUNDING_LIMIT]
    return near[0] if len(near) == 1 else None


def _sums(parts: Sequence[Part]) -> dict[Decimal, tuple[Part, ...]]:
    """What choices of one cause's parts add up to, each with the shortest choice that does."""
    shortest: dict[Decimal, tuple[Part, ...]] = {}
    for choice in _choices(parts):
        amount = sum((part.amount for part in choice), Decimal(0))
        if amount not in shortest or len(choice) < len(shortest[amount]):
            shortest[amount] = choice
    return shortest


def _choices(parts: Sequence[Part]) -> Iterator[tuple[Part, ...]]:
    if len(parts) <= MOST_PARTS:
        for size in range(1, len(parts) + 1):
            yield from combinations(parts, size)
        return
    yield from ((part,) for part in parts)
    yield from (tuple(other for other in parts if other is not part) for part in parts)
    yield tuple(parts)
