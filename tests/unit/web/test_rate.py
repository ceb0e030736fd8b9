"""How often somebody may ask: a burst, then one per interval, for each by itself and within bounded memory."""

import pytest

from tieout_server.web import rate
from tieout_server.web.rate import Rate


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
    monkeypatch.setattr(rate, "MOST_CALLERS", 2)
    limit = Rate(1, 2.0, Clock())
    assert [limit.take(name) for name in ("a", "b", "c")] == [0, 0, 0]
    assert [limit.take("c"), limit.take("b"), limit.take("a")] == [2.0, 2.0, 0]
