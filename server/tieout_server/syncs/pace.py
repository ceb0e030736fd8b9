"""How soon after one fetch the next one may follow: at once for what people do by hand, less often for what floods."""

from collections.abc import Callable
from datetime import datetime, timedelta

from tieout_server.clock import Clock
from tieout_server.ledger.calls import Allowance
from tieout_server.syncs.schedule import DAY, SMALL_DAY

AT_ONCE = 10
"""Fetches of a connection that may follow each other at once after a quiet time."""
EVERY = timedelta(seconds=1)
"""Time between fetches after that. What is named meanwhile is fetched together: 40 invoices cost one call."""
SCARCE = 500
"""Calls left today from which on they are shared out over the rest of the day."""
KEPT = 0.05
"""The share of a day that is not shared out: `xero/limits.py` keeps it for exported payments."""
LONGEST = timedelta(hours=1)
"""However few are left, a fetch may be tried this often."""


class Pace:
    """The pace of all connections that this process fetches for. A new process knows of no earlier fetches."""

    def __init__(self, clock: Clock, allowance: Callable[[str], Allowance]) -> None:
        self._clock = clock
        self._allowance = allowance
        self._paid_up: dict[str, datetime] = {}
        """By organisation: when it would be as if it had never fetched, had every fetch to be waited out."""

    def opens_at(self, xero_tenant_id: str) -> datetime:
        """When the next fetch may begin: now, or later."""
        now = self._clock.now()
        credit = AT_ONCE * EVERY
        return max(now, self._paid_up.get(xero_tenant_id, now) - credit + EVERY)

    def fetches(self, xero_tenant_id: str) -> None:
        """A fetch begins."""
        now = self._clock.now()
        step = _step(self._allowance(xero_tenant_id), now)
        self._paid_up = {tenant: at for tenant, at in self._paid_up.items() if at > now}
        self._paid_up[xero_tenant_id] = max(now, self._paid_up.get(xero_tenant_id, now)) + step


def _step(allowance: Allowance, now: datetime) -> timedelta:
    """How long a fetch has to be waited out. One may cost several calls: then the next step is the longer for it."""
    left = allowance.left_today
    if left is None or left >= SCARCE:
        return EVERY
    rest_of_day = allowance.day_resets_at - now if allowance.day_resets_at else DAY
    spare = left - KEPT * (allowance.day_limit or SMALL_DAY)
    return min(max(rest_of_day / max(spare, 1), EVERY), LONGEST)
