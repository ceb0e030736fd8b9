"""How often is read what, and that it fits into the day whatever the day is like."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_server.ledger.documents import Entity
from tieout_server.syncs.schedule import (
    BACKSTOP,
    DAY,
    LONGEST,
    OFTEN,
    OTHERS,
    QUIET_BACKSTOP,
    RESERVE,
    Budget,
    calls_a_day,
    intervals,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FRESH = Budget(5_000, 4_990, NOW + DAY)
SMALL = Budget(1_000, 990, NOW + DAY)
ALL = set(Entity)


@pytest.mark.parametrize("budget", [Budget(), FRESH, SMALL])
@pytest.mark.parametrize("webhooks_alive", [True, False])
@pytest.mark.parametrize("active", [set(), ALL, {Entity.INVOICES}])
def test_payments_are_never_older_than_five_minutes(
    budget: Budget, active: set[Entity], *, webhooks_alive: bool
) -> None:
    assert intervals(budget, active, NOW, webhooks_alive=webhooks_alive)[Entity.PAYMENTS] == OFTEN


@pytest.mark.parametrize("budget", [Budget(), FRESH, SMALL])
@pytest.mark.parametrize("active", [set(), ALL, {Entity.INVOICES}])
def test_behind_webhooks_a_day_costs_600_calls_at_most(budget: Budget, active: set[Entity]) -> None:
    planned = intervals(budget, active, NOW, webhooks_alive=True)
    assert calls_a_day(planned) <= 600
    for entity in OTHERS:
        assert planned[entity] == (BACKSTOP if entity in active else QUIET_BACKSTOP)


@pytest.mark.parametrize("budget", [Budget(), SMALL])
@pytest.mark.parametrize("active", [set(), ALL, {Entity.INVOICES}])
def test_without_webhooks_a_small_day_gives_600_calls_and_what_moves_is_read_twice_as_often(
    budget: Budget, active: set[Entity]
) -> None:
    planned = intervals(budget, active, NOW, webhooks_alive=False)
    assert 590 <= calls_a_day(planned) <= 600
    if len(active) == 1:
        assert planned[Entity.CONTACTS] / planned[Entity.INVOICES] == pytest.approx(2)


def test_without_webhooks_everything_is_five_minutes_old_where_calls_are_plenty() -> None:
    planned = intervals(FRESH, set(), NOW, webhooks_alive=False)
    assert {planned[entity] for entity in OTHERS} == {OFTEN}


def test_accounts_are_read_daily() -> None:
    assert intervals(FRESH, set(), NOW, webhooks_alive=False)[Entity.ACCOUNTS] == DAY


@given(left=st.integers(0, 5_000), limit=st.sampled_from([1_000, 5_000]), hours=st.integers(0, 24), alive=st.booleans())
def test_what_is_left_of_a_day_lasts_to_its_end_and_the_reserve_is_never_touched(
    left: int, limit: int, hours: int, *, alive: bool
) -> None:
    budget = Budget(limit, min(left, limit), NOW + timedelta(hours=hours))
    planned = intervals(budget, set(), NOW, webhooks_alive=alive)
    assert all(OFTEN <= every <= LONGEST for entity, every in planned.items() if entity is not Entity.ACCOUNTS)
    wanted = sum(timedelta(hours=hours) / every for entity, every in planned.items() if entity is not Entity.ACCOUNTS)
    assert budget.left is not None
    spare = budget.left - RESERVE * limit
    at_least = timedelta(hours=hours) / LONGEST * 6
    assert wanted <= max(spare, at_least) + 1


def test_a_day_of_which_nobody_told_is_taken_for_the_smallest_tiers() -> None:
    assert intervals(Budget(), set(), NOW, webhooks_alive=False) == intervals(
        Budget(1_000), set(), NOW, webhooks_alive=False
    )
