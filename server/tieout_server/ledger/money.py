"""Exact money: a decimal amount in one currency, and the integer of 1/10,000 in which it is stored."""

from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation

import msgspec

from tieout_server.errors import BugError

SCALE = 10_000
"""Stored units per currency unit: four decimal places, what Xero uses for the finest unit amounts (`unitdp=4`)."""


LARGEST = Decimal(2**63).scaleb(-4)
"""What an amount has to stay below: its units are stored as an integer of 64 bits."""
_EXACT = Context(prec=28, traps=[Inexact, InvalidOperation])


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
        if -LARGEST <= amount < LARGEST:
            scaled = _EXACT.multiply(amount, SCALE)
            units = int(scaled)
            if units == scaled:
                return units
    except DecimalException as error:  # it is not a number, or has more digits than are reckoned with
        raise InexactAmountError(f"{amount} cannot be stored exactly") from error
    raise InexactAmountError(f"{amount} has more than four decimal places, or is too large")


def from_units(units: int) -> Decimal:
    """The amount that `to_units` stored, with two decimal places unless it needs more."""
    if units % 100 == 0:
        return Decimal(units // 100).scaleb(-2)
    return Decimal(units).scaleb(-4)


def readable(amount: Decimal, currency: str) -> str:
    """An amount as it is read out: 1,234.50 NZD; the bare number of what is in no one currency."""
    return (f"{amount:,.2f} {currency}" if amount == round(amount, 2) else f"{amount:,} {currency}").strip()
