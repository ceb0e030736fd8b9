"""A minute's slots and a day's remainder, by the clock."""

from tieout_server.xero.windows import DAY, DRIFT, LIMIT_HOLDS, MINUTE, DayWindow, MinuteWindow


def test_a_slot_comes_back_a_minute_after_the_calls_completion_not_after_its_start() -> None:
    window = MinuteWindow(1)
    window.take()
    assert window.opens_at(1_000) == float("inf")
    window.hold(1_000)
    assert window.opens_at(1_000) == 1_000 + MINUTE + DRIFT
    assert window.opens_at(1_000 + MINUTE + DRIFT) == 1_000 + MINUTE + DRIFT


def test_a_call_that_was_not_sent_gives_its_slot_back_at_once() -> None:
    window = MinuteWindow(1)
    window.take()
    window.put_back()
    assert window.opens_at(5) == 5


def test_the_reserve_is_open_only_to_those_it_is_for() -> None:
    window = MinuteWindow(3)
    for at in (1.0, 2.0):
        window.take()
        window.hold(at)
    assert window.opens_at(3.0, reserve=0) == 3.0
    assert window.opens_at(3.0, reserve=1) == 1.0 + MINUTE + DRIFT
    assert window.opens_at(3.0, reserve=2) == 2.0 + MINUTE + DRIFT


def test_a_slow_answer_does_not_blame_others_for_our_own_finished_calls() -> None:
    window = MinuteWindow(60)
    window.take()
    window.hold(0.0)  # a quick call at the end of its slot's life
    freed = window.take()  # a slow call, sent while that slot was held
    now = MINUTE + DRIFT + 1
    window.hold(now)
    window.correct(left=58, now=now, freed_before=freed)
    assert window.taken(now) == 1


def test_an_unknown_day_is_open_and_a_known_one_counts_down() -> None:
    day = DayWindow()
    assert day.left(0) is None
    assert day.opens_at(0) == 0
    day.learn(4_999, 0, others=0)
    day.take(1)
    assert day.left(1) == 4_998


def test_answers_that_overtake_each_other_never_raise_what_is_left() -> None:
    day = DayWindow()
    day.learn(4_000, 0, others=0)
    for at in range(3):
        day.take(at)
    day.learn(3_999, 4, others=2)
    assert day.left(4) == 3_997


def test_a_tier_is_known_by_what_it_leaves() -> None:
    starter, core = DayWindow(), DayWindow()
    starter.learn(999, 0, others=0)
    starter.learn(100, 1, others=0)
    core.learn(4_999, 0, others=0)
    core.learn(501, 1, others=0)
    assert starter.opens_at(2) > 2
    assert core.opens_at(2) == 2
    core.take(2)
    assert core.opens_at(3) > 3
    assert core.opens_at(3, keeping=0) == 3


def test_the_limit_of_the_day_is_learnt_from_the_most_that_was_ever_left() -> None:
    assert DayWindow().limit is None
    window = DayWindow()
    window.learn(700, 0.0, others=0)
    assert window.limit == 1_000
    window.learn(1_001, 10.0, others=0)
    assert window.limit == 5_000
    window.learn(12, 20.0, others=0)
    assert window.limit == 5_000


def test_a_limit_that_was_not_seen_for_more_than_a_day_is_the_limit_no_longer() -> None:
    window = DayWindow()
    window.learn(4_000, 0.0, others=0)
    window.learn(1_001, 10.0, others=0)
    window.learn(900, 20.0, others=0)
    window.learn(999, 10.0 + LIMIT_HOLDS, others=0)
    assert window.limit == 5_000
    window.learn(998, 11.0 + LIMIT_HOLDS, others=0)
    assert window.limit == 1_000


def test_a_day_ends_a_day_after_its_first_answer_at_the_latest() -> None:
    window = DayWindow()
    assert window.ends_at(0.0) is None
    window.learn(4_990, 100.0, others=0)
    assert window.ends_at(200.0) == 100.0 + DAY + DRIFT
    assert window.ends_at(101.0 + DAY) is None


def test_a_minute_is_whole_again_a_minute_after_its_last_call() -> None:
    window = MinuteWindow(60)
    assert window.resets_at(0.0) is None
    window.take()
    assert window.resets_at(1.0) is None  # nobody knows when it completes
    window.hold(2.0)
    assert window.resets_at(3.0) == 2.0 + MINUTE + DRIFT
    assert window.resets_at(3.0 + MINUTE) is None
