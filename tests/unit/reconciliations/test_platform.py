"""Three sides: who differs from whom, by name, and counted so that it adds up."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_server.reconciliations.platform import MOST, PlatformVerdict, compare, verdict

D = Decimal
ACME, BOLT = ("acme", "NZD"), ("bolt", "NZD")

amounts = st.integers(min_value=-3, max_value=3).map(D)
keys = st.tuples(st.sampled_from(["acme", "bolt", "cafe"]), st.sampled_from(["NZD", "EUR"]))
sides = st.dictionaries(keys, amounts)


@pytest.mark.parametrize(
    ("ours", "xero", "platform", "said"),
    [
        (5, 5, 5, PlatformVerdict.AGREES),
        (5, 5, 6, PlatformVerdict.PLATFORM_DIFFERS),
        (5, 6, 6, PlatformVerdict.OURS_DIFFERS),
        (5, 6, 5, PlatformVerdict.XERO_DIFFERS),
        (5, 6, 7, PlatformVerdict.ALL_DIFFER),
    ],
)
def test_who_differs_from_whom_has_a_name(ours: int, xero: int, platform: int, said: PlatformVerdict) -> None:
    assert verdict(ours=D(ours), xero=D(xero), platform=D(platform)) is said


def test_amounts_are_equal_whatever_their_decimals() -> None:
    found = compare({ACME: D("5.0000")}, {ACME: D("5.00")}, {}, unknown=())
    assert (found.agreeing, found.differing) == (1, 0)


def test_what_xero_states_is_ours_less_what_is_off() -> None:
    found = compare({ACME: D(100)}, {ACME: D(100)}, {ACME: D(30)}, unknown=())
    (one,) = found.differences
    assert (one.ours, one.xero, one.platform, one.verdict) == (D(100), D(70), D(100), PlatformVerdict.XERO_DIFFERS)


def test_a_currency_left_out_of_a_named_customer_counts_as_zero() -> None:
    found = compare({ACME: D(5)}, {ACME: D(5), ("acme", "EUR"): D(7)}, {}, unknown=())
    assert found.agreeing == 1
    assert [(one.currency, one.platform, one.verdict) for one in found.differences] == [
        ("EUR", D(0), PlatformVerdict.PLATFORM_DIFFERS)
    ]


def test_customers_with_a_balance_who_were_not_named_are_counted_once_each() -> None:
    ours = {BOLT: D(1), ("bolt", "EUR"): D(2), ("cafe", "NZD"): D(0)}
    assert compare({ACME: D(0)}, ours, {("deli", "NZD"): D(-3)}, unknown=()).not_submitted == 2


def test_a_customer_who_is_not_here_is_unknown_even_with_nothing_owed() -> None:
    found = compare({("x", "NZD"): D(0)}, {}, {}, unknown={"x"})
    assert [one.verdict for one in found.differences] == [PlatformVerdict.UNKNOWN_CUSTOMER]


def test_the_largest_differences_are_told_and_all_are_counted() -> None:
    said = {(f"c{n:05}", "NZD"): D(n) for n in range(1, MOST + 101)}
    found = compare(said, {}, {}, unknown=())
    assert found.differing == MOST + 100
    assert [int(one.platform) for one in found.differences[:2]] == [MOST + 100, MOST + 99]
    assert (len(found.differences), int(found.differences[-1].platform)) == (MOST, 101)


@given(sides, sides, sides)
def test_whatever_is_submitted_agrees_or_differs_and_nothing_else_does(
    said: dict[tuple[str, str], Decimal], ours: dict[tuple[str, str], Decimal], off: dict[tuple[str, str], Decimal]
) -> None:
    found = compare(said, ours, off, unknown=())
    named = {customer for customer, _ in said}
    balanced = {key for side in (ours, off) for key, amount in side.items() if amount}
    assert found.agreeing + found.differing == len(said.keys() | {key for key in balanced if key[0] in named})
    assert found.agreeing == sum(said[key] == ours.get(key, 0) and not off.get(key, 0) for key in said)
