"""Promise: each payment handed over is in Xero exactly once, or visibly not and with a reason, whatever happens.

Two processes share a database and are killed at any commit, stand still and go on as if nothing had happened; answers
are lost, calls refused, tokens expire, people consent and disconnect; callers repeat every request; bookkeepers record
the same money, void, delete, archive and lock. Then nothing goes wrong any more and time passes: what Xero shows is
what we call exported, to the cent, and who watched was told each change once, in order.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import once
from payments_story import DEEDS, Story
from tieout_sandbox import SandboxSettings, serve
from tieout_server.exports import recovery, send, turn, twins
from tieout_server.ledger.writes import Written

pytestmark = pytest.mark.timeout(600)

ASKED = os.environ.get("TIEOUT_TEST_EXAMPLES")
EXAMPLES = int(ASKED or 3)
"""Stories made up on each kind of database, beside those that are always told."""
PHASES = [phase for phase in Phase if ASKED or phase not in {Phase.shrink, Phase.explain}]
"""A story takes seconds: it is made shorter only for somebody who asked for many and has the time."""
BOOKS = SandboxSettings(contacts=12, invoices=40, speed=0)
NUMBERS = st.integers(0, 2_000)
Deeds = Sequence[tuple[str, int]]


class Machine(RuleBasedStateMachine):
    """A story that Hypothesis makes up."""

    database_url = ""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._serving = serve(BOOKS)
        self._story: Story | None = None
        self._has_failed = False

    def _do(self, doing: Any) -> None:  # noqa: ANN401 - any coroutine
        try:
            self._runner.run(doing)
        except BaseException:
            self._has_failed = True
            raise

    @initialize(ahead=st.sampled_from([0, 0, -40, 40]))
    def begin(self, ahead: int) -> None:
        """Two processes, a connection, and books that have been read."""

        async def begin() -> None:
            self._story = Story(await self._serving.__aenter__(), self.database_url, timedelta(seconds=ahead))
            await self._story.begin()

        self._do(begin())

    @rule(kind=st.integers(0, 11), size=st.integers(0, 99))
    def pay(self, kind: int, size: int) -> None:
        assert self._story
        self._do(self._story.pay(size * 12 + kind))

    @rule(kind=st.integers(0, 12), where=st.integers(0, 153))
    def fail(self, kind: int, where: int) -> None:
        assert self._story
        self._do(self._story.fail(where * 13 + kind))

    @precondition(lambda self: self._story.asked)
    @rule(name=st.sampled_from(["work", "work", "race", "kill", "kill", "stall", "wake"]), number=NUMBERS)
    def serve(self, name: str, number: int) -> None:
        """The processes do what is due, and are stopped at it."""
        assert self._story
        self._do(DEEDS[name](self._story, number))

    @precondition(lambda self: self._story.asked)
    @rule(name=st.sampled_from(sorted(DEEDS)), number=NUMBERS)
    def happen(self, name: str, number: int) -> None:
        """Anything happens."""
        assert self._story
        self._do(DEEDS[name](self._story, number))

    def teardown(self) -> None:
        """Let the dust settle, and look."""

        async def end(story: Story) -> None:
            try:
                if not self._has_failed:
                    await story.settle()
                    await once.check(story)
            finally:
                await story.end()
                await self._serving.__aexit__(None, None, None)

        try:
            if self._story:
                self._runner.run(end(self._story))
        finally:
            self._runner.close()


def test_exactly_once_whatever_happens(fresh_database: Callable[[], str]) -> None:
    class OnDatabase(Machine):
        """A story on a database of its own."""

        def __init__(self) -> None:
            self.database_url = fresh_database()
            super().__init__()

    run_state_machine_as_test(
        OnDatabase,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def told(deeds: Deeds, database_url: str, *, patience: int = 80) -> None:
    """Have this happen, let the dust settle, and look."""
    async with serve(BOOKS) as sandbox:
        story = Story(sandbox, database_url, patience=patience)
        try:
            await story.begin()
            for name, number in deeds:
                await DEEDS[name](story, number)
            await story.settle()
            await once.check(story)
        finally:
            await story.end()


SINGLE, PART, SEVERAL, EUROS, EUROS_OF_SEVERAL, OVER, OVER_ON_LINE = range(7)
EXPORTS, BOTH = 0, 2
"""Of `work`: what is due by then."""


def failing(kind: int, method: int = 0, times: int = 0, where: int = 0) -> tuple[str, int]:
    """The next calls fail: see `payments_story`."""
    return "fail", next(
        n for n in range(kind, 8_000, 13) if (n // 13 % 5, n // 2 % 4, n // 65 % 7) == (method, times, where)
    )


def back_of(place: int, *, of: int, kind: int) -> tuple[str, int]:
    """One of so many payments, an odd number of them, is taken back: see `payments_story`."""
    return "reverse", next(n for n in range(place, 8 * of, of) if n % 8 == kind)


REFUND_OF_TEN = 3
DROP, DROP_AFTER, TRUNCATED, SLOW, ELEMENT_ERROR, BOOKKEEPER_PAYS = 0, 1, 2, 3, 9, 10
BANK_TRANSACTIONS = 3
PAID = [("pay", kind) for kind in (SINGLE, SEVERAL, EUROS, OVER)]
STORIES: dict[str, Deeds] = {
    "killed before and after each commit": [
        deed
        for commit in range(1, 15)
        for deed in (
            ("pay", (SINGLE, SEVERAL, OVER, EUROS_OF_SEVERAL)[commit % 4]),
            ("kill", commit * 4 + commit % 2 * 2 + commit % 2),
            ("wait", 2),
            ("kill", commit * 4 + (1 - commit % 2) * 2),
            ("wait", 2),
        )
    ],
    "answers lost for longer than a key lives": [
        *PAID,
        failing(DROP_AFTER, times=3), ("work", BOTH), ("wait", 2), ("work", BOTH), ("wait", 4), ("work", BOTH),
        ("pay", SINGLE), failing(DROP, times=3), ("work", BOTH), ("wait", 4), ("wait", 3), ("work", BOTH),
        ("pay", PART), failing(TRUNCATED, times=3), ("work", BOTH), ("wait", 2), ("work", BOTH),
    ],
    "an owner that slept through its lease": [
        deed
        for number in (6 * 5, 6 * 9, 6 * 11, 6 * 12, 2, 2, 8)
        for deed in (
            ("pay", PART), failing(DROP_AFTER, times=number % 6 // 2) if number in (2, 8) else ("wait", 0),
            ("stall", number), ("wait", 2), ("work", 6), ("wait", 4), ("work", 6), ("wake", 0), ("work", BOTH),
        )
    ],
    "the same money recorded by hand": [
        ("pay", PART), ("twin", 0), ("work", EXPORTS),
        ("pay", PART), failing(DROP, times=3), ("work", EXPORTS), ("twin", 1), ("wait", 4), ("wait", 3), ("work", BOTH),
        ("pay", PART + 12), ("twin", 2), ("pay", 8 + 12), ("work", BOTH),
        ("pay", OVER_ON_LINE), failing(BOOKKEEPER_PAYS), ("work", BOTH),
    ],
    "calls that take half a minute": [
        *(
            deed
            for calls in (2, 3, 0)
            for deed in (("pay", OVER), ("pay", SEVERAL), ("drag", calls * 3 + 1), ("work", BOTH), ("wait", 3))
        ),
        ("choose", 0), ("pay", OVER), ("drag", 4), ("work", EXPORTS),
    ],
    "other accounts chosen while payments are on their way": [
        deed
        for n in range(3)
        for deed in (
            ("pay", OVER), ("pay", SEVERAL), ("pay", SINGLE), ("stall", 2 + 6 * n), ("choose", 25 - n % 2), ("wake", 0),
            ("work", BOTH), ("choose", n % 2),
        )
    ],
    "taken back by one reversal when another had failed": [
        ("pay", PART), ("work", BOTH), ("wait", 1), ("work", BOTH), ("choose", 6), ("reverse", 1), ("work", BOTH),
        ("reverse", 0), ("work", BOTH), ("choose", 0), ("work", BOTH), ("again", 1), ("work", BOTH),
        ("pay", SINGLE), ("work", BOTH), ("wait", 1), ("work", BOTH), ("choose", 6), ("reverse", 3), ("work", BOTH),
        ("reverse", 1), ("work", BOTH), ("choose", 0), ("work", BOTH), ("again", 1), ("work", BOTH),
    ],
    "owed again by a reversal that fails half-way": [
        ("pay", SINGLE), ("work", BOTH), ("wait", 1), ("work", BOTH), ("keep books", 7),
        failing(ELEMENT_ERROR, times=1, where=BANK_TRANSACTIONS), ("reverse", 0), ("work", BOTH),
        ("choose", 96), ("work", BOTH), ("again", 1), ("work", BOTH), ("again", 1), ("work", BOTH),
    ],
    "refunded in part, and the rest taken back by a bank": [
        *[("pay", (SINGLE, OVER, PART)[place % 3]) for place in range(9)],
        ("work", BOTH), ("wait", 1), ("work", BOTH),
        *[back_of(place, of=9, kind=REFUND_OF_TEN) for place in range(9)],
        ("work", BOTH), ("wait", 1), ("work", BOTH),
        *[
            deed
            for place in range(9)
            for deed in (
                back_of(place, of=9, kind=place % 2 * 2), ("kill", place * 4 + place % 2 * 2),
                ("wait", 2), ("work", BOTH),
            )
        ],
    ],
}  # fmt: skip


@pytest.mark.in_turn
@pytest.mark.parametrize("name", STORIES)
async def test_exactly_once(name: str, database_url: str) -> None:
    await told(STORIES[name], database_url)


# And a service that breaks a rule of the protocol is found out.


@contextmanager
def replays_with_new_keys() -> Iterator[None]:
    """A call whose answer was lost is repeated with another key."""
    put = send.Sender._put

    async def again(self: Any, drafts: Any, _key: str, window: Any) -> Any:  # noqa: ANN401 - as it is given
        return await put(self, drafts, send.idempotency_key(), window)

    with patched(send.Sender, "_put", again):
        yield


@contextmanager
def sends_again_without_looking() -> Iterator[None]:
    """What is not known to be there is sent again, without looking in Xero."""
    with patched(recovery, "_marked", lambda _step, _found: None):
        yield


@contextmanager
def commits_nothing_before_sending() -> Iterator[None]:
    """That something is being sent is kept only with its answer."""
    begin, keep = send.Sender._begin, send.Sender._keep
    begun: dict[int, Any] = {}

    async def later(self: Any, steps: Any, now: Any, look_from: Any) -> Any:  # noqa: ANN401 - as it is given
        begun[id(self)] = (now, look_from)
        key = send.idempotency_key()
        return [msgspec.structs.replace(step, idempotency_key=key) for step in steps]

    async def first(self: Any, results: Any) -> None:  # noqa: ANN401 - as it is given
        await begin(self, [result.step for result in results], *begun[id(self)])
        await keep(self, results)

    with patched(send.Sender, "_begin", later), patched(send.Sender, "_keep", first):
        yield


@contextmanager
def believes_in_lost_answers() -> Iterator[None]:
    """Whose answer is lost is taken for done."""

    async def believed(_self: Any, drafts: Any, _key: str, _window: Any) -> Any:  # noqa: ANN401 - as it is given
        return [Written(xero_id=f"believed {number}") for number in range(len(drafts))]

    with patched(send.Sender, "_replay", believed):
        yield


@contextmanager
def looks_for_no_twins() -> Iterator[None]:
    """What somebody recorded by hand is not looked for."""
    with patched(twins, "find", lambda _sought: twins.Twins()):
        yield


@contextmanager
def sends_whenever_it_wakes() -> Iterator[None]:
    """An owner that was only asleep goes on, however late."""
    commit = turn.Turn.commit

    def unheld(self: turn.Turn) -> Any:  # noqa: ANN401 - as it is there
        return commit(turn.Turn(self.means, None, self.link, self.books))

    always = property(lambda _self: True)
    with patched(turn.Turn, "commit", unheld), patched(send._Window, "is_open", always):
        yield


@contextmanager
def patched(place: object, name: str, value: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, value)
        yield


KILLED = [
    deed for commit in range(12) for deed in (("pay", PART), ("kill", commit * 4 + 2), ("wait", 2), ("work", BOTH))
]
"""Before each commit of a payment."""
ASLEEP = [("stall", 2), ("wait", 2), ("work", 4), ("wait", 4), ("work", 4), ("wake", 0)]
BETRAYING: dict[str, Deeds] = {
    "lost": [("pay", PART), failing(DROP_AFTER, times=3), ("work", BOTH), ("wait", 4), ("wait", 4), ("work", BOTH)],
    "killed": KILLED,
    "twins": [("pay", PART), ("twin", 0), ("work", BOTH)],
    "asleep": [("pay", PART), failing(DROP_AFTER), *ASLEEP],
}
MUTANTS: list[tuple[Callable[[], Any], str]] = [
    (replays_with_new_keys, "lost"),
    (sends_again_without_looking, "lost"),
    (commits_nothing_before_sending, "killed"),
    (believes_in_lost_answers, "lost"),
    (looks_for_no_twins, "twins"),
    (sends_whenever_it_wakes, "asleep"),
]


@pytest.mark.parametrize("name", BETRAYING)
async def test_exactly_once_is_said_of_ours_where_others_are_found_out(name: str, sqlite_url: str) -> None:
    await told(BETRAYING[name], sqlite_url)


@pytest.mark.parametrize(("mutant", "name"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
async def test_exactly_once_is_not_said_of_a_service_that(
    mutant: Callable[[], Any], name: str, sqlite_url: str
) -> None:
    with mutant(), pytest.raises(AssertionError):
        await told(BETRAYING[name], sqlite_url, patience=30)
