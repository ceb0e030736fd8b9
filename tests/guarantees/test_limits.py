"""Promise: never over Xero's limits, by pacing ahead; checked against a model of its fixed windows in virtual time."""

import asyncio
import random
import selectors
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tieout_server.errors import CallLimitError
from tieout_server.ledger.books import Purpose, WaitingFor
from tieout_server.ledger.calls import Left, Problem
from tieout_server.xero.limits import Limits

T = TypeVar("T")
START = datetime(2026, 11, 22, tzinfo=UTC)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time: when nothing is ready, time jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 1_000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits and nothing will ever happen: a slot was lost")
        self._loop.now += timeout
        return super().select(0)


class VirtualClock:
    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(scene: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(scene)


@dataclass
class ModelOfXero:
    """Counts arrivals in fixed windows that begin at offsets of its own, as Xero does."""

    minute_offset: float = 0.0
    day_offset: float = 0.0
    day_limit: int = 5_000
    violations: Counter[str] = field(default_factory=Counter)
    minutes: Counter[int] = field(default_factory=Counter)
    days: Counter[int] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0

    async def serve(self, seconds: float) -> Left:
        now = asyncio.get_running_loop().time()
        minute, day = int((now - self.minute_offset) // 60), int((now - self.day_offset) // 86_400)
        self.minutes[minute] += 1
        self.days[day] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.violations += Counter(
            minute=self.minutes[minute] > 60, day=self.days[day] > self.day_limit, concurrent=self.in_flight > 5
        )
        left = Left(minute=60 - self.minutes[minute], day=self.day_limit - self.days[day])
        await asyncio.sleep(seconds)
        self.in_flight -= 1
        return left


async def call(limits: Limits, xero: ModelOfXero, purpose: Purpose, chance: random.Random, slowest: float) -> None:
    """One call; when it is given up in flight, the request still arrives and is worked on."""
    async with limits.call("acme", purpose) as leave:
        leave.sent()
        left = await asyncio.shield(asyncio.ensure_future(on_the_way(xero, chance, slowest)))
        await asyncio.sleep(chance.random() * slowest / 3)
        leave.answered(left)


async def on_the_way(xero: ModelOfXero, chance: random.Random, slowest: float) -> Left:
    await asyncio.sleep(chance.random() * slowest / 3)
    return await xero.serve(chance.random() * slowest / 3)


async def call_and_perhaps_give_up(
    limits: Limits, xero: ModelOfXero, chance: random.Random, slowest: float, share_given_up: float
) -> bool:
    await asyncio.sleep(chance.random() * 90)
    task = asyncio.ensure_future(call(limits, xero, chance.choice(list(Purpose)), chance, slowest))
    if chance.random() < share_given_up:
        await asyncio.sleep(chance.random() * 60)
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task
        return True
    return False


scenes = {
    "seed": st.integers(0, 2**32),
    "offset": st.floats(0, 60),
    "count": st.integers(1, 260),
    "slowest": st.sampled_from([0.001, 0.3, 5.0, 9.0]),
    "share_given_up": st.sampled_from([0.0, 0.1, 0.5]),
}


@given(**scenes)
@settings(max_examples=120, deadline=None)
def test_no_window_of_xeros_is_overrun_and_everybody_is_served(
    *, seed: int, offset: float, count: int, slowest: float, share_given_up: float
) -> None:
    async def scene() -> None:
        chance = random.Random(seed)
        limits, xero = Limits(VirtualClock()), ModelOfXero(minute_offset=offset)
        started = asyncio.get_running_loop().time()
        await asyncio.gather(
            *(call_and_perhaps_give_up(limits, xero, chance, slowest, share_given_up) for _ in range(count))
        )
        took = asyncio.get_running_loop().time() - started
        assert not +xero.violations
        # 55 a minute are open to everybody; given-up calls hold a place of 5 for another 10 s.
        assert took < 90 + (count / 55 + 2) * 71 + count * (slowest + 10 * share_given_up) / 2
        await asyncio.sleep(72)
        assert limits.allowance("acme").used_this_minute == 0
        await asyncio.gather(*(call(limits, xero, Purpose.POLL, chance, 0.001) for _ in range(55)))
        assert limits.held_up("acme") is None

    run(scene())


@given(seed=st.integers(0, 2**32), offset=st.floats(0, 60), lived=st.floats(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_restart_after_a_kill_within_the_minute_overruns_nothing(seed: int, offset: float, lived: float) -> None:
    async def scene() -> None:
        chance = random.Random(seed)
        xero = ModelOfXero(minute_offset=offset)
        for _ in range(3):  # each process knows nothing of the one before
            limits = Limits(VirtualClock())
            calls = [
                asyncio.ensure_future(call(limits, xero, Purpose.FIRST_SYNC, chance, slowest=0.3)) for _ in range(150)
            ]
            await asyncio.sleep(lived)
            for task in calls:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(0.5)  # a process takes longer to start than its last calls take to end
        assert not +xero.violations

    run(scene())


def test_a_burst_goes_five_at_once_and_a_first_sync_is_not_slowed_down() -> None:
    async def scene() -> None:
        limits, xero = Limits(VirtualClock()), ModelOfXero()

        async def ask() -> None:
            async with limits.call("acme", Purpose.FIRST_SYNC) as leave:
                leave.sent()
                leave.answered(await xero.serve(0.3))

        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(ask() for _ in range(51)))
        assert xero.most_in_flight == 5
        assert asyncio.get_running_loop().time() - started == pytest.approx(0.3 * (1 + 50 / 5))  # the first one alone

    run(scene())


def test_backfill_leaves_the_reserve_of_the_minute_to_payments_and_webhooks() -> None:
    async def scene() -> None:
        clock, xero, chance = VirtualClock(), ModelOfXero(), random.Random(2)
        limits = Limits(clock)
        backfill = [asyncio.ensure_future(call(limits, xero, Purpose.FIRST_SYNC, chance, 0.1)) for _ in range(70)]
        await asyncio.sleep(30)
        assert sum(task.done() for task in backfill) == 55
        held_up = limits.held_up("acme")
        assert held_up is not None
        assert held_up.by is WaitingFor.MINUTE_LIMIT
        assert held_up.until is not None
        assert timedelta(seconds=25) < held_up.until - clock.now() < timedelta(seconds=35)
        before = clock.monotonic()
        await asyncio.gather(*(call(limits, xero, Purpose.PAYMENT_EXPORT, chance, 0.1) for _ in range(5)))
        assert clock.monotonic() - before < 1
        await asyncio.gather(*backfill)
        assert not +xero.violations

    run(scene())


def test_however_many_webhooks_come_half_of_the_days_reserve_is_left_to_payments() -> None:
    async def scene() -> None:
        limits = Limits(VirtualClock())
        await one_answer(limits, Purpose.WEBHOOK, Left(minute=59, day=999))
        await one_answer(limits, Purpose.WEBHOOK, Left(minute=58, day=50))
        for purpose in (Purpose.WEBHOOK, Purpose.CONNECT, Purpose.PROBE, Purpose.POLL):
            with pytest.raises(CallLimitError):
                await one_answer(limits, purpose, Left(minute=57, day=49))
        for left in range(49, -1, -1):
            await one_answer(limits, Purpose.PAYMENT_EXPORT, Left(day=left))
        with pytest.raises(CallLimitError):
            await one_answer(limits, Purpose.PAYMENT_EXPORT, Left(day=0))

    run(scene())


def test_notes_leave_half_of_each_day_to_everything_else_and_find_out_nothing_for_it() -> None:
    async def scene() -> None:
        clock = VirtualClock()
        limits = Limits(clock)
        await one_answer(limits, Purpose.POLL, Left(minute=59, day=4_999))
        await one_answer(limits, Purpose.NOTE, Left(minute=58, day=2_501))
        await one_answer(limits, Purpose.NOTE, Left(minute=57, day=2_500))
        for left in (2_500, 400, 10):
            await one_answer(limits, Purpose.PAYMENT_EXPORT, Left(minute=56, day=left))
            await asyncio.sleep(3_601)
            with pytest.raises(CallLimitError) as refusal:
                await one_answer(limits, Purpose.NOTE, Left())
            assert refusal.value.retry_at is not None
            assert timedelta(0) < refusal.value.retry_at - clock.now() <= timedelta(hours=1)
        await one_answer(limits, Purpose.PAYMENT_EXPORT, Left(minute=59, day=4_999))  # a new day
        await one_answer(limits, Purpose.NOTE, Left(minute=58, day=4_998))

    run(scene())


def test_waiting_calls_go_by_purpose_and_first_come_first_served_within_one() -> None:
    async def scene() -> None:
        limits, xero = Limits(VirtualClock()), ModelOfXero()
        order: list[tuple[Purpose, int]] = []

        async def noted(purpose: Purpose, number: int) -> None:
            async with limits.call("acme", purpose) as leave:
                leave.sent()
                order.append((purpose, number))
                leave.answered(await xero.serve(1.0))

        asked = [(purpose, number) for number in range(3) for purpose in reversed(Purpose)]
        async with limits.call("acme", Purpose.POLL) as first:  # it goes alone, so that all others wait
            waiting = [asyncio.ensure_future(noted(*one)) for one in asked]
            await asyncio.sleep(1)
            first.sent()
            first.answered(Left(minute=59, day=4_000))
        await asyncio.gather(*waiting)
        ranks = [list(Purpose).index(purpose) for purpose, _ in order]
        assert ranks == sorted(ranks)
        assert [n for purpose, n in order if purpose is Purpose.FIRST_SYNC] == [0, 1, 2]

    run(scene())


async def one_answer(limits: Limits, purpose: Purpose, left: Left) -> None:
    async with limits.call("acme", purpose) as leave:
        leave.sent()
        leave.answered(left)


def test_a_day_that_is_used_up_is_an_error_at_once_with_the_instant_to_come_back() -> None:
    async def scene() -> None:
        clock = VirtualClock()
        limits = Limits(clock)
        await one_answer(limits, Purpose.POLL, Left(minute=59, day=4_000))
        await one_answer(limits, Purpose.POLL, Left(minute=58, day=500))
        with pytest.raises(CallLimitError) as refusal:
            await one_answer(limits, Purpose.POLL, Left())
        assert refusal.value.limit == "day"
        assert refusal.value.retry_at == clock.now() + timedelta(hours=1)
        held_up = limits.held_up("acme")
        assert held_up is not None
        assert held_up.by is WaitingFor.DAY_LIMIT
        await one_answer(limits, Purpose.PAYMENT_EXPORT, Left(minute=58, day=0))
        with pytest.raises(CallLimitError) as refusal:
            await one_answer(limits, Purpose.PAYMENT_EXPORT, Left())
        assert refusal.value.retry_at is not None
        assert timedelta(hours=23) < refusal.value.retry_at - clock.now() < timedelta(hours=25)

    run(scene())


def test_one_look_an_hour_finds_out_that_a_new_day_has_begun() -> None:
    async def scene() -> None:
        limits = Limits(VirtualClock())
        await one_answer(limits, Purpose.POLL, Left(minute=59, day=4_000))
        await one_answer(limits, Purpose.POLL, Left(minute=58, day=400))
        await asyncio.sleep(3_601)
        await one_answer(limits, Purpose.POLL, Left(minute=59, day=399))
        with pytest.raises(CallLimitError):
            await one_answer(limits, Purpose.POLL, Left())
        await asyncio.sleep(3_601)
        await one_answer(limits, Purpose.POLL, Left(minute=59, day=4_999))
        await one_answer(limits, Purpose.POLL, Left(minute=58, day=4_998))

    run(scene())


def test_a_refusal_by_the_day_reaches_everybody_who_waits_and_ends_when_xero_said() -> None:
    async def scene() -> None:
        clock = VirtualClock()
        limits = Limits(clock)
        async with limits.call("acme", Purpose.POLL) as leave:
            others = [asyncio.ensure_future(one_answer(limits, Purpose.POLL, Left())) for _ in range(3)]
            await asyncio.sleep(0)
            leave.sent()
            leave.answered(Left())
            assert leave.refused(Problem.DAY, 7_200) == clock.now() + timedelta(hours=2)
        assert all(isinstance(e, CallLimitError) for e in await asyncio.gather(*others, return_exceptions=True))
        await asyncio.sleep(7_200)
        await one_answer(limits, Purpose.POLL, Left(minute=59, day=4_999))

    run(scene())


@given(seed=st.integers(0, 2**32), day_offset=st.floats(0, 86_400), limit=st.sampled_from([300, 1_000]))
@settings(max_examples=12, deadline=None)
def test_the_day_is_never_overrun_whenever_it_begins(seed: int, day_offset: float, limit: int) -> None:
    async def scene() -> None:
        chance = random.Random(seed)
        limits, xero = Limits(VirtualClock()), ModelOfXero(day_offset=day_offset, day_limit=limit)

        async def keep_asking(purpose: Purpose) -> None:
            for _ in range(400):
                with suppress(CallLimitError):
                    await call(limits, xero, purpose, chance, slowest=1.0)
                await asyncio.sleep(chance.random() * 600)

        await asyncio.gather(*(keep_asking(p) for p in (Purpose.POLL, Purpose.FIRST_SYNC, Purpose.PAYMENT_EXPORT)))
        assert not +xero.violations
        assert max(xero.days.values()) > limit * 0.6  # it is not kept by hardly calling at all

    run(scene())


@pytest.mark.parametrize(
    ("problem", "retry_after", "pause"),
    [
        (Problem.MINUTE, 24.0, 24.0),
        (Problem.MINUTE, None, 60.0),
        (Problem.APP_MINUTE, None, 60.0),
        (Problem.CONCURRENT, None, 1.0),
    ],
)
def test_after_a_refusal_nobody_calls_until_the_limit_is_over(
    problem: Problem, retry_after: float | None, pause: float
) -> None:
    async def scene() -> None:
        clock = VirtualClock()
        limits = Limits(clock)
        await one_answer(limits, Purpose.POLL, Left(minute=59, day=4_000))
        async with limits.call("acme", Purpose.POLL) as leave:
            leave.sent()
            leave.answered(Left())
            leave.refused(problem, retry_after)
        before = clock.monotonic()
        await one_answer(limits, Purpose.PAYMENT_EXPORT, Left())
        assert clock.monotonic() - before == pytest.approx(pause)

    run(scene())


def test_calls_that_another_process_made_are_left_to_it() -> None:
    async def scene() -> None:
        clock = VirtualClock()
        limits = Limits(clock)
        await one_answer(limits, Purpose.POLL, Left(minute=19, day=4_000))  # forty others were made this minute
        before = clock.monotonic()
        for left in range(18, 4, -1):
            await one_answer(limits, Purpose.POLL, Left(minute=left, day=4_000))
        assert clock.monotonic() == before
        await one_answer(limits, Purpose.POLL, Left(minute=59, day=4_000))
        assert clock.monotonic() - before > 60

    run(scene())


def test_the_app_as_a_whole_keeps_to_its_minute() -> None:
    async def scene() -> None:
        limits, clock = Limits(VirtualClock()), VirtualClock()

        async def ask(organisation: str, left: Left) -> None:
            async with limits.call(organisation, Purpose.POLL) as leave:
                leave.sent()
                leave.answered(left)

        await ask("acme", Left(minute=59, day=4_000, app_minute=2))
        before = clock.monotonic()
        await asyncio.gather(*(ask(f"books-{n}", Left(minute=59, day=4_000)) for n in range(10)))
        assert clock.monotonic() - before == pytest.approx(60.1)

    run(scene())


def test_a_call_that_was_let_through_and_cancelled_at_the_same_moment_gives_its_place_back() -> None:
    async def scene() -> None:
        limits = Limits(VirtualClock())
        async with limits.call("acme", Purpose.POLL) as leave:
            waiting = asyncio.ensure_future(one_answer(limits, Purpose.POLL, Left()))
            await asyncio.sleep(0)
            leave.sent()
            leave.answered(Left(minute=59, day=4_000))
        waiting.cancel()  # its turn has come, but it has not run yet
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert limits.allowance("acme").used_this_minute == 1
        assert limits.allowance("acme").left_today == 4_000

    run(scene())


def test_calls_given_up_in_flight_keep_their_places_while_xero_may_still_work_on_them() -> None:
    async def scene() -> None:
        clock, xero = VirtualClock(), ModelOfXero()
        limits = Limits(clock)
        await one_answer(limits, Purpose.POLL, Left(minute=59, day=4_000))

        async def ask(seconds: float) -> None:
            async with limits.call("acme", Purpose.POLL) as leave:
                leave.sent()
                leave.answered(await asyncio.shield(asyncio.ensure_future(xero.serve(seconds))))

        given_up = [asyncio.ensure_future(ask(8.0)) for _ in range(5)]
        await asyncio.sleep(1)
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        before = clock.monotonic()
        await asyncio.gather(*(ask(0.1) for _ in range(5)))
        assert clock.monotonic() - before == pytest.approx(10.1)
        assert not +xero.violations

    run(scene())
