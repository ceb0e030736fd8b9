"""Exact money: a decimal amount in one currency, and the integer of 1/10,000 in which it is stored."""

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

import msgspec

from tieout_server.errors import BugError

SCALE = Decimal(10_000)
"""Stored units per currency unit: four decimal places, what Xero uses for the finest unit amounts (`unitdp=4`)."""

_UNITS = range(-(2**63), 2**63)
"""Units are stored as an integer of 64 bits."""
_EXACT = Context(prec=19, Emax=30, traps=[Inexact, InvalidOperation, Overflow])
"""Digits of the largest units; what needs more is refused at once, a number such as 1e999999 included."""


class Money(msgspec.Struct, frozen=True, order=True):
    """An exact amount in one currency (ISO 4217)."""

    currency: str
    amount: Decimal


class InexactAmountError(BugError):
    """An amount has more than four decimal places, or is larger than any: it cannot be stored exactly."""


def to_units(amount: Decimal) -> int:
    """The amount as an integer of 1/10,000.

    Raises:
        InexactAmountError: it cannot be stored exactly. Nothing is ever rounded.
    """
    try:
        units = int(_EXACT.to_integral_exact(_EXACT.multiply(amount, SCALE)))
    except (ArithmeticError, ValueError) as error:  # ValueError: it is not a number
        raise InexactAmountError(f"{amount} has more than four decimal places, or is no amount") from error
    if units not in _UNITS:
        raise InexactAmountError(f"{amount} is too large")
    return units


def from_units(units: int) -> Decimal:
    """The amount that `to_units` stored, with two decimal places unless it needs more."""
    if units % 100 == 0:
        return Decimal(units // 100).scaleb(-2)
    return Decimal(units).scaleb(-4)


def readable(amount: Decimal, currency: str) -> str:
    """An amount as it is read out: 1,234.50 NZD; the bare number of what is in no one currency."""
    return (f"{amount:,.2f} {currency}" if amount == round(amount, 2) else f"{amount:,} {currency}").strip()
