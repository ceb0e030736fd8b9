"""How often somebody may ask: so many at once, and then one for each interval."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, ip_address, ip_network

MOST_KNOWN = 10_000
"""Names that are remembered; the one that was asked for longest ago goes first, so that memory is bounded."""
_PREFIX_OF_ONE = 64
"""Bits of an IPv6 address that name a site: the rest is anybody's there to choose (RFC 6177)."""


class Rate:
    """A bucket of `burst` for each name, into which one falls every `interval` seconds. One that is forgotten is full.

    It holds one at least, or nobody would ever be let in.

    Of each name one number is kept: when its bucket will be full again (GCRA, as in ITU-T I.371).
    """

    def __init__(self, burst: float, interval: float, now: Callable[[], float]) -> None:
        self._slack = (max(1.0, burst) - 1) * interval
        self._interval = interval
        self._now = now
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def wait_for(self, name: Hashable) -> float:
        """Seconds until this name may ask; 0: now."""
        return self._wait(name, self._now())

    def take(self, name: Hashable) -> float:
        """0 if this name may ask now, which is counted; otherwise the seconds to wait, and nothing is counted."""
        now = self._now()
        if wait := self._wait(name, now):
            return wait
        self._full_at[name] = max(self._full_at.get(name, now), now) + self._interval
        if len(self._full_at) > MOST_KNOWN:
            self._full_at.popitem(last=False)
        return 0.0

    def _wait(self, name: Hashable, now: float) -> float:
        if name not in self._full_at:
            return 0.0
        self._full_at.move_to_end(name)
        return max(0.0, max(self._full_at[name], now) - now - self._slack)


def site_of(address: str) -> str:
    """Whom to count: an IPv4 address, or the site of an IPv6 one; what is no address, as it is."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or ip_network((parsed, _PREFIX_OF_ONE), strict=False))
