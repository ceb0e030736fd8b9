"""How many calls may still be made: Xero's fixed windows, kept from outside without knowing when they begin.

Xero counts calls in fixed minutes (and days) that start at a moment of its own for each organisation (Xero, OAuth 2.0
limits). We see neither that moment nor when a call arrives, only when it was sent and when it was answered.

**Why no window is ever overrun.** A call holds a slot from before it is sent until 60 seconds after it is completed.
Take the calls that arrive in one of Xero's minutes, and the last of them, arriving at t. Each other one arrived less
than 60 seconds before t, hence was sent before t, and completed no earlier than it arrived, so its slot is held until
after t. All of them hold a slot at t, and there are only 60.
"""

import heapq
from datetime import timedelta

import msgspec

MINUTE = 60.0
"""Seconds that a slot is held after its call's completion."""
DRIFT = 0.1
"""Seconds added for clocks that run apart within a minute."""
DAY = timedelta(days=1).total_seconds()
DAY_LIMITS = (1_000, 5_000)
"""Calls a day and organisation: Starter tier, other tiers (Xero, Pricing, since March 2026)."""
LIMIT_HOLDS = timedelta(hours=30).total_seconds()
"""How long a day's limit is believed that was not seen again."""
RESERVE = 0.1
"""The share of a day's calls that polling and backfill leave to purposes that somebody waits for."""
DISCOVERY = 3_600.0
"""Seconds between looks whether a new day has begun, while purposes without a share in the reserve must wait."""


class MinuteWindow:
    """Slots of a minute, `capacity` of them. Times are monotonic seconds."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._busy = 0
        self._held_until: list[float] = []
        self._freed = 0

    def taken(self, now: float) -> int:
        """Slots that cannot be given away now."""
        while self._held_until and self._held_until[0] <= now:
            heapq.heappop(self._held_until)
            self._freed += 1
        return self._busy + len(self._held_until)

    def take(self) -> int:
        """A call is about to be sent. What is returned belongs to its `correct`."""
        self._busy += 1
        return self._freed

    def put_back(self) -> None:
        """The call was not sent after all."""
        self._busy -= 1

    def hold(self, completed_at: float) -> None:
        """The call is completed, or will surely have been by then."""
        self._busy -= 1
        heapq.heappush(self._held_until, completed_at + MINUTE + DRIFT)

    def correct(self, left: int, now: float, freed_before: int) -> None:
        """A call's answer says how many calls are left: another process made those that we did not.

        Of ours, Xero can have counted those alone whose slots were taken when the call was sent, or were since.
        """
        ours = self.taken(now) + self._freed - freed_before
        for _ in range(self.capacity - left - ours):
            heapq.heappush(self._held_until, now + MINUTE + DRIFT)

    def kept(self, now: float, lasts: float) -> list[float]:
        """For how many seconds from now each slot is held; calls under way are taken to last so long."""
        return [lasts + MINUTE + DRIFT] * self._busy + [until - now for until in self._held_until if until > now]

    def restore(self, kept: list[float], now: float) -> None:
        """Hold slots for so long, besides those that are held."""
        for seconds in kept:
            heapq.heappush(self._held_until, now + seconds)

    def resets_at(self, now: float) -> float | None:
        """When every slot is free again; None while all are, or while calls are under way."""
        return max(self._held_until) if self.taken(now) and not self._busy else None

    def opens_at(self, now: float, reserve: int = 0) -> float:
        """When a slot beyond the reserve is free: now, later, or never (infinite) before a call completes."""
        missing = self.taken(now) + reserve + 1 - self.capacity
        if missing <= 0:
            return now
        if missing > len(self._held_until):
            return float("inf")
        return heapq.nsmallest(missing, self._held_until)[-1]


class KeptDay(msgspec.Struct, frozen=True):
    """What was known of a day; times are in seconds from when it was kept, those that are over below zero."""

    left: int
    most: int
    most_seen: float
    ends: float | None
    look_again: float


class DayWindow:
    """What is left of an organisation's day, learnt from Xero's answers. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._most = 0
        self._most_seen_at = 0.0
        self._ends_at = float("inf")
        self._look_again_at = 0.0

    @property
    def limit(self) -> int | None:
        """Calls a day that are permitted, by the most that were ever left; None before an answer has told."""
        return self._limit() if self._most else None

    def ends_at(self, now: float) -> float | None:
        """When the day is over at the latest; None while that is not known."""
        return None if self.left(now) is None or self._ends_at == float("inf") else self._ends_at

    def left(self, now: float) -> int | None:
        """Calls that are left today; None before an answer has told, and again when the day is surely over."""
        if now >= self._ends_at:
            self._left, self._ends_at = None, float("inf")
        return self._left

    def opens_at(self, now: float, *, keeping: float = RESERVE) -> float:
        """When the day has a call for who leaves this share of its limit to others: now, or later."""
        left = self.left(now)
        if left is None or left > int(self._limit() * keeping):
            return now
        if keeping > RESERVE:  # who leaves more than the others do does not find out for them; it waits until they have
            return min(self._ends_at, now + DISCOVERY)
        # Nobody tells when the day begins anew. One call an hour finds out, as long as that cannot overrun the day.
        return min(self._ends_at, self._look_again_at) if left > 0 else self._ends_at

    def take(self, now: float) -> None:
        """A call is about to be sent."""
        left = self.left(now)
        if left is None:
            return
        self._left = left - 1
        if self._left <= self._reserve():
            self._look_again_at = now + DISCOVERY

    def put_back(self) -> None:
        """The call was not sent after all."""
        if self._left is not None:
            self._left += 1

    def learn(self, left: int, now: float, *, others: int) -> None:
        """An answer says how many calls are left; `others` of ours are under way and may not be counted yet."""
        known = self.left(now)
        is_most = left >= self._most - others
        self._learn_limit(left, now)
        if known is None or left > known + others:
            self._left = max(0, left - others)
        else:
            self._left = min(known, left)
        if known is None or left > known + others or is_most:
            self._ends_at = now + DAY + DRIFT  # this may be a new day's first answer, so the day began before now
        if self._left <= self._reserve() and (known is None or known > self._reserve()):
            self._look_again_at = now + DISCOVERY

    def exhaust(self, until: float) -> None:
        """Xero refuses every call until then."""
        self._left, self._ends_at = 0, until

    def kept(self, now: float) -> KeptDay | None:
        """What is known of this day; None if nothing is."""
        left = self.left(now)
        if left is None:
            return None
        ends = None if self._ends_at == float("inf") else self._ends_at - now
        return KeptDay(left, self._most, self._most_seen_at - now, ends, self._look_again_at - now)

    def restore(self, kept: KeptDay, now: float) -> None:
        """Know this of the day, of which nothing is known yet."""
        self._left, self._most, self._most_seen_at = kept.left, kept.most, now + kept.most_seen
        self._ends_at = float("inf") if kept.ends is None else now + kept.ends
        self._look_again_at = now + kept.look_again

    def _learn_limit(self, left: int, now: float) -> None:
        """Every day begins with all its calls left, so a larger limit would have been seen again."""
        if left > self._most or now - self._most_seen_at > LIMIT_HOLDS:
            self._most, self._most_seen_at = left, now
        elif _limit_for(left) == self._limit():
            self._most_seen_at = now

    def _reserve(self) -> int:
        return int(self._limit() * RESERVE)

    def _limit(self) -> int:
        return _limit_for(self._most)


def _limit_for(left: int) -> int:
    """The smallest of Xero's limits of a day that can leave so many calls."""
    return next((limit for limit in DAY_LIMITS if left <= limit), left)
