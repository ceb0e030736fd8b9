"""Buckets drip at their rate up to their brim, each name has its own, and few are remembered."""

import pytest

from tieout_server.callers import limits
from tieout_server.callers.limits import Buckets, Streams


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_much_at_once_and_then_at_the_rate() -> None:
    time = Time()
    buckets = Buckets(2.0, 3.0, time)
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.take("a") == pytest.approx(0.5)
    time.now += 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a") > 0


def test_a_refusal_costs_nothing_and_a_long_rest_fills_to_the_brim_only() -> None:
    time = Time()
    buckets = Buckets(1.0, 2.0, time)
    for _ in range(100):
        buckets.take("a")
    time.now += 1.0
    assert buckets.wait_for("a") == 0.0
    time.now += 3600
    assert [buckets.take("a") == 0.0 for _ in range(3)] == [True, True, False]


def test_what_one_takes_is_not_missed_by_another() -> None:
    buckets = Buckets(1.0, 1.0, Time())
    assert (buckets.take("a"), buckets.take("b")) == (0.0, 0.0)
    assert buckets.take("a") > 0


def test_only_so_many_names_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_KNOWN", 10)
    buckets = Buckets(1.0, 1.0, Time())
    for number in range(1000):
        buckets.take(number)
    assert len(buckets._buckets) == 10
    assert buckets.take(999) > 0


def test_a_stream_that_ends_makes_room_for_another() -> None:
    streams = Streams(2)
    assert [streams.open("a"), streams.open("a"), streams.open("a"), streams.open("b")] == [True, True, False, True]
    streams.close("a")
    assert streams.open("a")
    for name in ("a", "a", "b"):
        streams.close(name)
    assert not streams._open
