"""Xero's limits as the sandbox keeps them, with a clock in the hand."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tieout_sandbox.limits import Limits, Problem, Quota, Tier

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def call(limits: Limits, at: datetime, organisation: str = "o") -> Problem | None:
    """A call that is over at once."""
    refusal = limits.admit(organisation, "app", at)
    if refusal is None:
        limits.release(organisation, "app")
        return None
    return refusal.problem


def window_start(limits: Limits, organisation: str = "o") -> datetime:
    """The first second at which a fresh minute begins for this organisation."""
    limits.admit(organisation, "app", NOON)
    limits.release(organisation, "app")
    for second in range(1, 61):
        at = NOON + timedelta(seconds=second)
        if limits.remaining(organisation, "app", at).minute == limits.quota.minute:
            return at
    raise AssertionError("no minute has begun within a minute")


def test_the_sixth_call_in_flight_is_refused_without_retry_after() -> None:
    limits = Limits()
    assert all(limits.admit("o", "app", NOON) is None for _ in range(5))
    refusal = limits.admit("o", "app", NOON)
    assert refusal is not None
    assert (refusal.problem, refusal.retry_after) == (Problem.CONCURRENT, None)
    limits.release("o", "app")
    assert limits.admit("o", "app", NOON) is None


def test_the_sixty_first_call_of_a_minute_waits_for_the_next_one() -> None:
    limits = Limits()
    starts_at = window_start(limits)
    assert all(call(limits, starts_at) is None for _ in range(60))
    refusal = limits.admit("o", "app", starts_at + timedelta(seconds=20))
    assert refusal is not None
    assert (refusal.problem, refusal.retry_after) == (Problem.MINUTE, 40)
    assert call(limits, starts_at + timedelta(seconds=59.999)) is Problem.MINUTE
    assert call(limits, starts_at + timedelta(seconds=60)) is None


def test_organisations_begin_their_minutes_at_different_seconds_and_count_apart() -> None:
    limits = Limits()
    assert len({window_start(limits, f"organisation {n}") for n in range(10)}) > 3
    assert all(call(limits, NOON, "a") is None for _ in range(60))
    assert call(limits, NOON, "a") is Problem.MINUTE
    assert call(limits, NOON, "b") is None


def test_the_day_limit_depends_on_the_tier_and_says_when_it_resets() -> None:
    assert (Quota.of(Tier.STARTER).day, Quota.of(Tier.CORE).day) == (1_000, 5_000)
    limits = Limits(Quota(minute=10_000, day=3))
    assert [call(limits, NOON) for _ in range(3)] == [None] * 3
    refusal = limits.admit("o", "app", NOON)
    assert refusal is not None
    assert refusal.problem is Problem.DAY
    assert refusal.retry_after is not None
    assert 0 < refusal.retry_after <= 86_400
    assert call(limits, NOON + timedelta(seconds=refusal.retry_after)) is None


def test_the_app_has_a_limit_over_all_organisations() -> None:
    limits = Limits(Quota(app_minute=4))
    assert [call(limits, NOON, f"o{n}") for n in range(4)] == [None] * 4
    refusal = limits.admit("o5", "app", NOON)
    assert refusal is not None
    assert (refusal.problem, refusal.retry_after) == (Problem.APP_MINUTE, None)


def test_refused_calls_count_nowhere() -> None:
    limits = Limits(Quota(minute=1))
    call(limits, NOON)
    before = limits.remaining("o", "app", NOON)
    assert call(limits, NOON) is Problem.MINUTE
    assert limits.remaining("o", "app", NOON) == before
    assert (before.minute, before.day, before.app_minute) == (0, 4_999, 9_999)


@given(st.lists(st.floats(0, 30), max_size=200))
def test_no_fixed_minute_ever_admits_more_than_sixty(gaps: list[float]) -> None:
    limits, at, admitted = Limits(), NOON, []
    starts_at = window_start(limits)
    for gap in gaps:
        at += timedelta(seconds=gap / 10)
        if call(limits, at) is None:
            admitted.append((at - starts_at) // timedelta(minutes=1))
    assert all(admitted.count(window) <= 60 for window in set(admitted))
