"""A payment as somebody typed it in, before anything of it is understood."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """A payment as somebody typed it in."""

    payment_id: str
    pays: Sequence[str]
    """`INVOICE=AMOUNT` each."""
    currency: str
    amount: str = ""
    """Empty: what the invoices come to."""
    paid_on: str = ""
    """Empty: today where the organisation is."""
    reference: str = ""
    method: str = ""
