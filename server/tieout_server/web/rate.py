"""How often somebody may ask: so many at once, and then one for each interval."""

from collections import OrderedDict
from collections.abc import Callable

MOST_CALLERS = 10_000
"""Who is remembered; beyond that whoever asked the longest ago is forgotten, so that memory is bounded."""


class Rate:
    """A bucket of `burst` for each caller, into which one falls every `interval` seconds.

    Of each caller one number is kept: when its bucket will be full again (GCRA, as in ITU-T I.371).
    """

    def __init__(self, burst: int, interval: float, now: Callable[[], float]) -> None:
        self._slack = (burst - 1) * interval
        self._interval = interval
        self._now = now
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: str) -> float:
        """0 if this caller may ask now, which is counted; otherwise the seconds to wait, and nothing is counted."""
        now = self._now()
        full_at = max(self._full_at.get(caller, now), now)
        wait = full_at - now - self._slack
        if wait > 0:
            return wait
        self._full_at[caller] = full_at + self._interval
        self._full_at.move_to_end(caller)
        if len(self._full_at) > MOST_CALLERS:
            self._full_at.popitem(last=False)
        return 0.0
