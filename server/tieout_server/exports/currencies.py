"""How finely amounts of a currency are stated."""

from decimal import Decimal

_WHOLE_UNITS = frozenset(
    (
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    )
)
"""Currencies without a smaller unit (ISO 4217). Xero states all others in two decimals."""


def is_too_fine(amount: Decimal, currency: str) -> bool:
    """Whether nobody can pay this amount to the last digit."""
    return amount != round(amount, 0 if currency in _WHOLE_UNITS else 2)
