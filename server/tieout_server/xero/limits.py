"""Xero's call limits, kept by pacing ahead: no call is sent that could be refused.

Per organisation: 5 calls in flight, 60 a minute, 1,000 or 5,000 a day; for the app 10,000 a minute over all of them
(Xero, OAuth 2.0 limits). `windows.py` shows why the minute is never overrun. The first call of an organisation after
a start goes alone, until its answer tells what an earlier process has used up.

Waiting calls are served by purpose, first come first served within one. Purposes that somebody waits for have calls in
reserve: 5 of each minute and a tenth of each day, which polling and backfill may not take; half of the day's is for
exported payments alone, however many webhooks come. Notes, for which nobody waits, get none of a day's second half of
calls. A full minute is waited out in here; a full day is an error at once, so that nobody sleeps through it.
"""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import NamedTuple, assert_never

from tieout_server.clock import Clock
from tieout_server.errors import CallLimitError, DrainingError, TieoutError
from tieout_server.ledger.books import HeldUp, Purpose, WaitingFor
from tieout_server.ledger.calls import Allowance, Left, Problem
from tieout_server.xero.alarm import NEVER, Alarm
from tieout_server.xero.kept import Kept, decode, encode
from tieout_server.xero.windows import RESERVE, DayWindow, MinuteWindow

AT_ONCE = 5
A_MINUTE = 60
APP_MINUTE = 10_000
MINUTE_RESERVE = 5
"""Calls of each minute that only `RESERVED_FOR` may take."""
RESERVED_FOR = frozenset({Purpose.PAYMENT_EXPORT, Purpose.WEBHOOK, Purpose.CONNECT, Purpose.PROBE})
"""Purposes that cannot wait for a backfill: money, news, a person at the screen, and finding out what broke."""
PAYMENTS_RESERVE = RESERVE / 2
"""The share of each day that is left to exported payments alone."""
NOTES_RESERVE = 0.5
"""The share of each day that notes leave to everything else."""
LINGER = 10.0
"""Seconds that Xero may go on working on a call that we gave up."""
SKEW = 2.0
"""Seconds that the clocks of two processes may differ by: what one kept is good for so much longer at the other."""
APP_RESERVE = 200
"""Calls of the app's minute left free for each other process: what it makes in the second before we are told."""
CONCURRENT_PAUSE = 1.0
"""Seconds without a call after one was refused as the sixth: somebody else's calls are under way."""
UNTOLD_PAUSE = 60.0
"""Seconds without a call after a refusal by a minute's limit that did not say for how long."""

_PRIORITY = {purpose: rank for rank, purpose in enumerate(Purpose)}


class Call:
    """Leave to make one call. It is `sent`, then `answered`, perhaps `refused`; or it is given up."""

    def __init__(self, organisation: "_Organisation", marks: "_Marks") -> None:
        self._organisation = organisation
        self.marks = marks
        self.is_sent = False
        self.left: Left | None = None

    def is_good(self) -> bool:
        """Whether it still is: leave that this process had is lost with its place among the replicas."""
        return self._organisation.is_good()

    def sent(self) -> None:
        """From now on Xero may count the call."""
        self.is_sent = True

    def not_sent(self) -> None:
        """It did not reach Xero after all: there was no connection to send it on."""
        self.is_sent = False

    def answered(self, left: Left) -> None:
        """Xero answered, with this left; a call that is sent and not answered is taken to go on at Xero for a while."""
        self.left = left

    def refused(self, problem: Problem, retry_after: float | None) -> datetime:
        """A limit refused the call (429), for so many seconds. Returns when the next one may be made."""
        self.left = Left()  # the refusal says it all; remainders beside it are not believed
        return self._organisation.refused(problem, retry_after)


class Limits:
    """The limits of one app, over all organisations. One per process; not shared between threads."""

    def __init__(self, clock: Clock, is_good: Callable[[], bool] = lambda: True) -> None:
        """`is_good`: whether leave that was given still is, when it comes to sending."""
        self._clock = clock
        self._is_good = is_good
        self._app = _App()
        self._organisations: dict[str, _Organisation] = {}
        self._used: set[str] = set()
        self._closed = asyncio.Event()

    def close(self) -> None:
        """Let nobody through any more, neither who waits nor who comes; calls that are under way go on."""
        self._closed.set()
        for organisation in self._organisations.values():
            organisation.turn_away(DrainingError)

    async def until_closed(self) -> None:
        """Return once nobody is let through any more."""
        await self._closed.wait()

    def share_with(self, others: int) -> None:
        """Leave room in the app's minute for calls that so many other processes make before we hear of them."""
        self._app.reserve = APP_RESERVE * others

    def keep(self, organisation: str) -> bytes:
        """What is known of an organisation's limits, while calls go on."""
        return self._of(organisation).keep(is_all=False)

    def used(self) -> set[str]:
        """The organisations that were called since this was asked last."""
        used, self._used = self._used, set()
        return used

    def hand_over(self, organisation: str) -> bytes | None:
        """What is known of an organisation's limits, and forget it; None while calls wait or are under way."""
        if (books := self._organisations.get(organisation)) is None:
            return b""
        if books.is_in_use():
            return None
        del self._organisations[organisation]
        return books.keep(is_all=True)

    def take_over(self, organisation: str, kept: bytes) -> None:
        """Go on with what another process knew of an organisation's limits."""
        if kept:
            self._of(organisation).restore(decode(kept))

    def told_by(self, kept: bytes) -> Allowance:
        """What is left for an organisation of which another process kept this."""
        elsewhere = _Organisation(self._clock, self._app, self._is_good)
        if kept:
            elsewhere.restore(decode(kept))
        return elsewhere.allowance()

    def forget_all(self) -> None:
        """Other processes make these calls from now on: leave that was given or is waited for is none any more."""
        forgotten = list(self._organisations.values())
        self._organisations.clear()
        for organisation in forgotten:
            organisation.forget()

    @asynccontextmanager
    async def call(self, organisation: str, purpose: Purpose) -> AsyncIterator[Call]:
        """Wait until a call may be made, and hold its place while it is.

        A wait that is cancelled leaves nothing behind.

        Raises:
            CallLimitError: the day has no more calls for this purpose.
            DrainingError: this process shuts down.
        """
        if self._closed.is_set():
            raise DrainingError
        books = self._of(organisation)
        call = await books.admit(purpose)
        self._used.add(organisation)
        try:
            yield call
        finally:
            books.end(call)
            self._used.add(organisation)

    def held_up(self, organisation: str) -> HeldUp | None:
        """Which limit calls to this organisation are waiting for, if for any."""
        return self._of(organisation).held_up()

    def allowance(self, organisation: str) -> Allowance:
        """What is left for this organisation at this moment."""
        return self._of(organisation).allowance()

    def _of(self, organisation: str) -> "_Organisation":
        if organisation not in self._organisations:
            self._organisations[organisation] = _Organisation(self._clock, self._app, self._is_good)
        return self._organisations[organisation]


class _Marks(NamedTuple):
    """Where the counts stood when a call was let through."""

    minute_freed: int
    app_freed: int
    let_through: int
    others: int


class _App:
    """The minute that all organisations share."""

    def __init__(self) -> None:
        self.minute = MinuteWindow(APP_MINUTE)
        self.reserve = 0
        self.blocked_until = 0.0

    def opens_at(self, now: float) -> float:
        return max(self.blocked_until, self.minute.opens_at(now, self.reserve))


class _Organisation:
    """One organisation's queue and windows. Times are monotonic seconds of the clock."""

    def __init__(self, clock: Clock, app: _App, is_good: Callable[[], bool]) -> None:
        self._clock = clock
        self._app = app
        self.is_good = is_good
        self._minute = MinuteWindow(A_MINUTE)
        self._day = DayWindow()
        self._blocked_until = 0.0
        self._in_flight = 0
        self._lingering: list[float] = []
        self._let_through = 0
        self._is_untold = False  # calls were made of which we do not know; the next answer tells how many
        self._waiting: list[tuple[int, int, Purpose, asyncio.Future[Call]]] = []
        self._arrivals = itertools.count()
        self._alarm = Alarm(clock, self._serve)

    async def admit(self, purpose: Purpose) -> Call:
        turn: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (_PRIORITY[purpose], next(self._arrivals), purpose, turn))
        self._serve()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.end(turn.result())  # let through and cancelled at the same moment
            else:
                self._serve()
            raise

    def end(self, call: Call) -> None:
        """The call is over: its places become free now or as soon as they surely are at Xero."""
        now = self._clock.monotonic()
        self._in_flight -= 1
        if not call.is_sent:
            self._minute.put_back()
            self._app.minute.put_back()
            self._day.put_back()
        elif call.left is None:
            heapq.heappush(self._lingering, now + LINGER)
            self._minute.hold(now + LINGER)
            self._app.minute.hold(now + LINGER)
        else:
            self._minute.hold(now)
            self._app.minute.hold(now)
            self._learn(call.left, call.marks, now)
        self._serve()

    def refused(self, problem: Problem, retry_after: float | None) -> datetime:
        until = self._clock.monotonic() + (UNTOLD_PAUSE if retry_after is None else retry_after)
        match problem:
            case Problem.DAY:
                self._day.exhaust(until)
            case Problem.APP_MINUTE:
                self._app.blocked_until = until
            case Problem.MINUTE:
                self._blocked_until = until
            case Problem.CONCURRENT:
                until = self._clock.monotonic() + (CONCURRENT_PAUSE if retry_after is None else retry_after)
                self._blocked_until = max(self._blocked_until, until)
            case _:
                assert_never(problem)
        return self._instant(until)

    def held_up(self) -> HeldUp | None:
        now = self._clock.monotonic()
        day_opens_at = self._day.opens_at(now)
        if day_opens_at > now:
            return HeldUp(WaitingFor.DAY_LIMIT, self._instant(day_opens_at))
        head = self._head()
        if head is None:
            return None
        opens_at = self._minute_opens_at(head[0], now)
        if opens_at <= now:
            return None
        return HeldUp(WaitingFor.MINUTE_LIMIT, None if opens_at == NEVER else self._instant(opens_at))

    def allowance(self) -> Allowance:
        now = self._clock.monotonic()
        used = min(A_MINUTE, self._minute.taken(now))
        resets_at, ends_at = self._minute.resets_at(now), self._day.ends_at(now)
        return Allowance(
            used_this_minute=used,
            left_this_minute=A_MINUTE - used,
            left_today=self._day.left(now),
            day_limit=self._day.limit,
            minute_resets_at=None if resets_at is None else self._instant(resets_at),
            day_resets_at=None if ends_at is None else self._instant(ends_at),
        )

    def forget(self) -> None:
        """Give no leave any more; who waits for it is told to ask anew."""
        self.is_good = lambda: False
        lost = "This server lost its place among the others; nothing was sent."
        self.turn_away(lambda: CallLimitError(lost, Problem.MINUTE))

    def turn_away(self, why: Callable[[], TieoutError]) -> None:
        """Have all who wait be told this."""
        while (head := self._head()) is not None:
            head[1].set_exception(why())
        self._alarm.set(NEVER)

    def is_in_use(self) -> bool:
        return self._in_flight > 0 or self._head() is not None

    def keep(self, *, is_all: bool) -> bytes:
        now = self._clock.monotonic()
        kept = Kept(
            at=self._clock.now(),
            minute=self._minute.kept(now, LINGER),
            day=self._day.kept(now),
            blocked=self._blocked_until - now,
            lingering=[LINGER] * self._in_flight + [until - now for until in self._lingering if until > now],
            is_all=is_all,
        )
        return encode(kept)

    def restore(self, kept: Kept) -> None:
        gone = max(0.0, (self._clock.now() - kept.at).total_seconds() - SKEW)
        began = self._clock.monotonic() - gone
        self._minute.restore(kept.minute, began)
        if kept.day is not None:
            self._day.restore(kept.day, began)
        self._blocked_until = max(self._blocked_until, began + kept.blocked)
        for seconds in kept.lingering:
            heapq.heappush(self._lingering, began + seconds)
        self._is_untold = not kept.is_all

    def _serve(self) -> None:
        """Let through whoever may go now, and be woken when the next one may."""
        now = self._clock.monotonic()
        while (head := self._head()) is not None:
            purpose, turn = head
            day_opens_at = self._day.opens_at(now, keeping=_kept_from(purpose))
            if day_opens_at > now:
                turn.set_exception(
                    CallLimitError("Xero's calls for today are used up.", "day", self._instant(day_opens_at))
                )
                continue
            opens_at = max(self._place_opens_at(now), self._minute_opens_at(purpose, now))
            if opens_at > now:
                self._alarm.set(opens_at)
                return
            turn.set_result(self._let_one_through(now))
        self._alarm.set(NEVER)

    def _head(self) -> tuple[Purpose, asyncio.Future[Call]] | None:
        while self._waiting and self._waiting[0][-1].done():
            heapq.heappop(self._waiting)
        return self._waiting[0][2:] if self._waiting else None

    def _place_opens_at(self, now: float) -> float:
        """When one of the places in flight is free; never (infinite) before a call completes."""
        while self._lingering and self._lingering[0] <= now:
            heapq.heappop(self._lingering)
        places = 1 if self._is_untold or self._day.left(now) is None else AT_ONCE
        if self._in_flight + len(self._lingering) < places:
            return now
        return self._lingering[0] if self._lingering else NEVER

    def _minute_opens_at(self, purpose: Purpose, now: float) -> float:
        reserve = 0 if purpose in RESERVED_FOR else MINUTE_RESERVE
        app_opens_at = self._app.opens_at(now)
        if app_opens_at == NEVER:
            app_opens_at = now + 1.0  # calls of other organisations fill it; their completion does not wake this one
        return max(self._blocked_until, self._minute.opens_at(now, reserve), app_opens_at)

    def _let_one_through(self, now: float) -> Call:
        others = self._in_flight + len(self._lingering)
        marks = _Marks(self._minute.take(), self._app.minute.take(), self._let_through + 1, others)
        self._day.take(now)
        self._in_flight += 1
        self._let_through += 1
        return Call(self, marks)

    def _learn(self, left: Left, marks: _Marks, now: float) -> None:
        if left.minute is not None:
            self._is_untold = False
            self._minute.correct(left.minute, now, marks.minute_freed)
        if left.app_minute is not None:
            self._app.minute.correct(left.app_minute, now, marks.app_freed)
        if left.day is not None:
            self._day.learn(left.day, now, others=self._let_through - marks.let_through + marks.others)

    def _instant(self, at: float) -> datetime:
        return self._clock.now() + timedelta(seconds=at - self._clock.monotonic())


def _kept_from(purpose: Purpose) -> float:
    """The share of a day's calls that this purpose has to leave to others."""
    if purpose is Purpose.PAYMENT_EXPORT:
        return 0.0
    if purpose is Purpose.NOTE:
        return NOTES_RESERVE
    return PAYMENTS_RESERVE if purpose in RESERVED_FOR else RESERVE
