"""How often each entity is read without being asked, within the calls that a day has. Pure.

Payments are read every five minutes, whatever else happens: no webhook tells of them for sure. The others are told of
by webhooks and only looked at as a backstop; without webhooks they are read as often as the day's calls allow. What
is left of the day has the last word: a plan that would overrun it is stretched.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import msgspec

from tieout_server.ledger.documents import Entity

DAY = timedelta(days=1)
OFTEN = timedelta(minutes=5)
"""The age that a payment here has at most, and everything else where no webhooks come and calls are plenty."""
BACKSTOP = timedelta(minutes=30)
"""Behind webhooks, for what changed within the last day."""
QUIET_BACKSTOP = timedelta(minutes=60)
"""Behind webhooks, for what did not."""
SMALL_DAY = 1_000
"""Calls a day of Xero's smallest tier, and what is assumed until Xero's headers told (Xero, Pricing)."""
POLLING_SHARE = 0.6
"""The share of a small day that polling and sweeping may use; the rest is for payments, webhooks and people."""
SWEEP_CALLS = 30
"""Calls of a day that are left to the sweep: its listings, and what does not add up."""
RESERVE = 0.1
"""The share of a day that polling never touches: `xero/limits.py` keeps it for what cannot wait."""
LONGEST = timedelta(hours=6)
"""However little is left of a day, everything is looked at this often; a day without calls parks by itself."""
SUMS = "sums"
"""The item of the sweep that looks for what does not add up; due at once after each sync."""
ACTIVE_WEIGHT = 2
"""How many times as often as a quiet entity one is read that changed within the last day."""

OTHERS = (
    Entity.INVOICES,
    Entity.CONTACTS,
    Entity.CREDIT_NOTES,
    Entity.OVERPAYMENTS,
    Entity.PREPAYMENTS,
)
"""What is polled beside payments, most wanted first."""


class Budget(msgspec.Struct, frozen=True):
    """The calls of an organisation's day, as far as Xero's headers told."""

    limit: int | None = None
    left: int | None = None
    resets_at: datetime | None = None
    """When the day ends at the latest."""


def intervals(
    budget: Budget, active: Collection[Entity], now: datetime, *, webhooks_alive: bool
) -> Mapping[Entity, timedelta]:
    """How long after a read each entity is read again; `active` are those that changed within the last day."""
    others = _others(budget.limit or SMALL_DAY, active, webhooks_alive=webhooks_alive)
    planned = {Entity.PAYMENTS: OFTEN, **others}
    factor = _stretch(budget, planned, now)
    stretched = {entity: min(max(every * factor, every), LONGEST) for entity, every in planned.items()}
    return stretched | {Entity.ACCOUNTS: DAY}


def calls_a_day(planned: Mapping[Entity, timedelta]) -> float:
    """What reading at these intervals costs a day while nothing changes, the sweep included."""
    return SWEEP_CALLS + sum(DAY / every for every in planned.values())


def _others(limit: int, active: Collection[Entity], *, webhooks_alive: bool) -> Mapping[Entity, timedelta]:
    if webhooks_alive:
        return {entity: BACKSTOP if entity in active else QUIET_BACKSTOP for entity in OTHERS}
    if limit > SMALL_DAY:
        return dict.fromkeys(OTHERS, OFTEN)
    spare = POLLING_SHARE * limit - SWEEP_CALLS - DAY / OFTEN - 2  # 2: the accounts, and what rounding costs
    weights = {entity: ACTIVE_WEIGHT if entity in active else 1 for entity in OTHERS}
    return {entity: max(OFTEN, DAY * sum(weights.values()) / (weight * spare)) for entity, weight in weights.items()}


def _stretch(budget: Budget, planned: Mapping[Entity, timedelta], now: datetime) -> float:
    """How many times longer the intervals have to be for what is left to last until the day ends."""
    if budget.left is None:
        return 1.0
    rest_of_day = min(DAY, max(budget.resets_at - now, timedelta())) if budget.resets_at else DAY
    spare = budget.left - RESERVE * (budget.limit or SMALL_DAY) - SWEEP_CALLS
    wanted = sum(rest_of_day / every for every in planned.values())
    return wanted / spare if spare >= 1 else LONGEST / OFTEN
