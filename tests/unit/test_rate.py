"""How often somebody may ask: a burst, then one per interval, for each by itself and within bounded memory."""

import pytest

from tieout_server import rate
from tieout_server.rate import Rate


class Clock:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_let_through_and_then_one_for_each_interval() -> None:
    clock = Clock()
    limit = Rate(3, 2.0, clock)
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 2.0]
    clock.now = 1.5
    assert limit.take("a") == 0.5
    clock.now = 2.0
    assert [limit.take("a"), limit.take("a")] == [0, 2.0]
    clock.now = 100.0
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 2.0]  # no more than a burst is saved up


def test_callers_do_not_take_from_one_another() -> None:
    limit = Rate(1, 2.0, Clock())
    assert [limit.take("a"), limit.take("b"), limit.take("a")] == [0, 0, 2.0]


def test_only_so_many_callers_are_remembered_and_the_one_that_asked_longest_ago_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate, "MOST_KNOWN", 2)
    limit = Rate(1, 2.0, Clock())
    assert [limit.take(name) for name in ("a", "b", "c")] == [0, 0, 0]
    assert [limit.take("c"), limit.take("b"), limit.take("a")] == [2.0, 2.0, 0]


def test_so_much_at_once_and_then_at_the_rate() -> None:
    clock = Clock()
    buckets = Rate(3.0, 0.5, clock)
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.take("a") == pytest.approx(0.5)
    clock.now += 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a") > 0


def test_a_refusal_costs_nothing_and_a_long_rest_fills_to_the_brim_only() -> None:
    clock = Clock()
    buckets = Rate(2.0, 1.0, clock)
    for _ in range(100):
        buckets.take("a")
    clock.now += 1.0
    assert buckets.wait_for("a") == 0.0
    clock.now += 3600
    assert [buckets.take("a") == 0.0 for _ in range(3)] == [True, True, False]


def test_what_one_takes_is_not_missed_by_another() -> None:
    buckets = Rate(1.0, 1.0, Clock())
    assert (buckets.take("a"), buckets.take("b")) == (0.0, 0.0)
    assert buckets.take("a") > 0


def test_of_a_thousand_names_no_more_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "MOST_KNOWN", 10)
    buckets = Rate(1.0, 1.0, Clock())
    for number in range(1000):
        buckets.take(number)
    assert len(buckets._full_at) == 10
    assert buckets.take(999) > 0


def test_a_bucket_for_less_than_one_lets_one_in_for_each_interval() -> None:
    """`TIEOUT_CALLER_RATE` of 0.1 has a burst of 0.2."""
    clock = Clock()
    buckets = Rate(0.2, 10.0, clock)
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 10.0]
    clock.now = 10.0
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 10.0]
