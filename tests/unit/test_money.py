"""Amounts are stored exactly, or not at all."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_server.ledger.money import InexactAmountError, from_units, to_units

LARGEST = Decimal(2**63 - 1).scaleb(-4)
"""Units are kept as integers of 64 bits."""


@given(st.decimals(-LARGEST, LARGEST, places=4))
def test_what_is_stored_is_what_was_stated(amount: Decimal) -> None:
    assert from_units(to_units(amount)) == amount


@pytest.mark.parametrize(
    "text",
    [
        "0.00001",
        "1." + "0" * 40 + "1",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "1e999999999",
        "922337203685477.5808",
        "-922337203685477.5809",
    ],
)
def test_what_cannot_be_stored_exactly_is_refused_at_once(text: str) -> None:
    with pytest.raises(InexactAmountError):
        to_units(Decimal(text))
