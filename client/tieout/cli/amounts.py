"""Reads amounts as somebody typed them in, so that none is taken for another one."""

import re

from tieout.errors import CallerError
from tieout.v1.types_pb2 import Money

_AMOUNT = re.compile(r"-?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?")
"""With a point before decimals, and commas between thousands only: by `12,50` most people mean 12.50, and some 1250."""


def typed_amount(text: str, currency: str) -> Money:
    """The amount that somebody typed in.

    Raises:
        CallerError: it is none, or might be one of two.
    """
    if not _AMOUNT.fullmatch(text):
        raise CallerError(f"{text!r} is no amount such as 1234.50 or 1,234.50.")
    return Money(currency_code=currency, amount=text.replace(",", ""))
