"""How soon after one fetch the next one may follow: at once for what people do by hand, less often for what floods."""

from collections.abc import Callable
from datetime import datetime, timedelta

from tieout_server.clock import Clock
from tieout_server.ledger.calls import Allowance

AT_ONCE = 10
"""Fetches of a connection that may follow each other at once after a quiet time."""
EVERY = timedelta(seconds=1)
"""Time between fetches after that. What is named meanwhile is fetched together: 40 invoices cost one call."""
SCARCE = 500
"""Calls left today from which on they are saved up."""
EVERY_WHEN_SCARCE = timedelta(minutes=1)


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
        left = self._allowance(xero_tenant_id).left_today
        step = EVERY_WHEN_SCARCE if left is not None and left < SCARCE else EVERY
        self._paid_up = {tenant: at for tenant, at in self._paid_up.items() if at > now}
        self._paid_up[xero_tenant_id] = max(now, self._paid_up.get(xero_tenant_id, now)) + step
