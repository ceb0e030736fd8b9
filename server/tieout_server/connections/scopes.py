"""What a consent permits: which scope covers which, what the service needs them for, and which of them end.

Since March 2026 Xero's scopes are granular; the broad ones of before go on until September 2027 (Xero, Granular scopes
FAQ: 13 or 27 September, so it is planned for the 1st; UNSURE register, U11).
"""

from collections.abc import Collection
from datetime import UTC, datetime

import msgspec

BROAD_END_AT = datetime(2027, 9, 1, tzinfo=UTC)
"""Until when broad scopes are good."""

_GRANULAR = {
    "accounting.transactions": (
        "accounting.invoices",
        "accounting.payments",
        "accounting.banktransactions",
        "accounting.manualjournals",
    ),
    "accounting.transactions.read": (
        "accounting.invoices.read",
        "accounting.payments.read",
        "accounting.banktransactions.read",
        "accounting.manualjournals.read",
    ),
    "accounting.reports.read": tuple(
        f"accounting.reports.{report}.read"
        for report in (
            "aged",
            "balancesheet",
            "banksummary",
            "budgetsummary",
            "executivesummary",
            "profitandloss",
            "trialbalance",
            "taxreports",
        )
    ),
}
"""What each broad scope stands for (Xero, Scopes)."""


class Capability(msgspec.Struct, frozen=True):
    """Something that the service does, in words for a merchant, and the scope without which it cannot."""

    name: str
    scope: str


CAPABILITIES = (
    Capability("staying connected", "offline_access"),
    Capability("reading contacts", "accounting.contacts.read"),
    Capability("reading invoices and credit notes", "accounting.invoices.read"),
    Capability("reading payments, overpayments and prepayments", "accounting.payments.read"),
    Capability("reading accounts and settings", "accounting.settings.read"),
    Capability("recording payments", "accounting.payments"),
    Capability("recording overpayments", "accounting.banktransactions"),
    Capability("comparing balances with Xero's aged receivables", "accounting.reports.aged.read"),
)
"""What scopes are needed for, most needed first."""


def covers(granted: Collection[str], scope: str) -> bool:
    """Whether one of the scopes granted permits what this one does: a write scope permits reading, too."""
    return any(scope in (one, f"{one}.read") or (one in _GRANULAR and covers(_GRANULAR[one], scope)) for one in granted)


def missing(asked: Collection[str], granted: Collection[str]) -> tuple[str, ...]:
    """The scopes that were asked for and are not covered by those granted, sorted."""
    return tuple(sorted(scope for scope in set(asked) if not covers(granted, scope)))


def lacking(asked: Collection[str], granted: Collection[str]) -> tuple[Capability, ...]:
    """What the service means to do and may not, most needed first; it means to do what it asks scopes for."""
    return tuple(c for c in CAPABILITIES if covers(asked, c.scope) and not covers(granted, c.scope))


def ending(granted: Collection[str]) -> tuple[str, ...]:
    """The broad scopes among these, sorted."""
    return tuple(sorted(scope for scope in granted if scope in _GRANULAR))
