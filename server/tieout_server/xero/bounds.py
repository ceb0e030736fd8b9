"""What Xero's values stay within: beyond it they are no values, whatever their JSON says."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from msgspec import Meta

LARGEST = Decimal(10) ** 14
"""No amount in anybody's books comes near. Ours are kept exactly up to nine times as much."""
SMALLEST_RATE = Decimal("1e-9")
"""Rates have six places (Xero, OpenAPI)."""
FIRST_YEAR, LAST_YEAR = 1900, 2999
"""In which books are kept."""

Id = Annotated[str, Meta(min_length=1, max_length=100)]
"""What names a document; Xero's are GUIDs."""
IdOrNone = Annotated[str, Meta(max_length=100)]
"""What names another document, if one is named; empty where none is."""
Currency = Annotated[str, Meta(min_length=1, max_length=10)]
Name = Annotated[str, Meta(max_length=500)]
"""255 characters at most (Xero, Contacts). It stands in an index, which takes no text of any length."""
Count = Annotated[int, Meta(ge=0)]


def check(*amounts: Decimal | None) -> None:
    """Check that all of these are amounts. JSON may say NaN, Infinity and 1e999999999 in a text or a number.

    Raises:
        ValueError, ArithmeticError: one is none.
    """
    for amount in amounts:
        if amount is not None and not -LARGEST < amount < LARGEST:  # a comparison with NaN raises
            raise ValueError(f"{amount} is no amount")


def check_rate(rate: Decimal) -> None:
    """Check that amounts can be divided by this.

    Raises:
        ValueError, ArithmeticError: they cannot.
    """
    if not SMALLEST_RATE <= rate < LARGEST:
        raise ValueError(f"{rate} is no rate")


def within_books(at: datetime) -> datetime:
    """This instant, if books are kept then: others are reckoned from it, which must not leave the calendar.

    Raises:
        ValueError: none are.
    """
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"the year {at.year} is out of range")
    return at
