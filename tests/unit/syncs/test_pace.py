"""What people do by hand is fetched at once, a flood once a second, and less when the day runs out of calls."""

from datetime import timedelta

import pytest

from fakes import SettableClock
from tieout_server.ledger.calls import Allowance
from tieout_server.syncs.pace import AT_ONCE, EVERY, SCARCE, Pace


def pace(clock: SettableClock, left_today: int | None = None) -> Pace:
    return Pace(clock, lambda _: Allowance(0, 60, left_today))


def fetches(of: Pace, clock: SettableClock, within: timedelta) -> int:
    """How many fetches begin within this time when there is always something to fetch."""
    end, count = clock.now() + within, 0
    while (opens_at := of.opens_at("t1")) < end:
        clock.time = opens_at
        of.fetches("t1")
        count += 1
    return count


def test_after_a_quiet_time_several_go_at_once_and_then_one_a_second() -> None:
    clock = SettableClock()
    flooded = pace(clock)
    assert fetches(flooded, clock, EVERY / 2) == AT_ONCE
    assert fetches(flooded, clock, timedelta(minutes=1)) == 59  # the sixtieth when it is over
    clock.time += AT_ONCE * EVERY
    assert fetches(flooded, clock, EVERY / 2) == AT_ONCE


def test_one_organisation_does_not_slow_another() -> None:
    clock = SettableClock()
    flooded = pace(clock)
    fetches(flooded, clock, EVERY / 2)
    assert flooded.opens_at("t1") > clock.now() == flooded.opens_at("t2")


@pytest.mark.parametrize(("limit", "kept"), [(1_000, 50), (5_000, 250)])
def test_when_the_days_calls_run_out_they_last_to_its_end_and_leave_the_payments_theirs(limit: int, kept: int) -> None:
    clock, left = SettableClock(), SCARCE - 1
    ends_at = clock.now() + timedelta(hours=12)
    scarce = Pace(clock, lambda _: Allowance(0, 60, left, limit, day_resets_at=ends_at))
    while (opens_at := scarce.opens_at("t1")) < ends_at:
        clock.time = opens_at
        scarce.fetches("t1")
        left -= 3  # a fetch may cost several calls
    assert kept - 40 <= left <= kept + 40


def test_while_there_are_plenty_they_are_not_saved_up() -> None:
    clock = SettableClock()
    assert fetches(pace(clock, SCARCE), clock, EVERY / 2) == AT_ONCE
