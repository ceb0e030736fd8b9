"""How much a caller may ask for: calls a second, streams at once, and wrong guesses from one address."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable

import msgspec

MOST_KNOWN = 10_000
"""Names of which a bucket is remembered; the one that was asked for longest ago goes first."""


class Bucket(msgspec.Struct):
    """Tokens that drip in at a steady rate, up to a brim."""

    tokens: float
    at: float


class Buckets:
    """A bucket for each name: `rate` a second for ever, `burst` at once. One that is forgotten is full again."""

    def __init__(self, rate: float, burst: float, now: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._now = now
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def wait_for(self, name: Hashable) -> float:
        """Seconds until this name has a token; 0: it has one now."""
        return max(0.0, (1.0 - self._filled(name).tokens) / self._rate)

    def take(self, name: Hashable) -> float:
        """Take a token if there is one; answers the seconds until there will be, 0 where one was taken."""
        bucket = self._filled(name)
        if bucket.tokens >= 1.0:
            bucket.tokens -= 1.0
            return 0.0
        return (1.0 - bucket.tokens) / self._rate

    def _filled(self, name: Hashable) -> Bucket:
        now = self._now()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._burst, now)
            if len(self._buckets) > MOST_KNOWN:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
        bucket.at = now
        return bucket


class Streams:
    """How many streams each name has open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def open(self, name: str) -> bool:
        """Count one more, unless there are as many as there may be; whether it was counted."""
        if self._open[name] >= self._most:
            return False
        self._open[name] += 1
        return True

    def close(self, name: str) -> None:
        """Count one less."""
        self._open[name] -= 1
        if not self._open[name]:
            del self._open[name]
