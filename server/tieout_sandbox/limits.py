"""Xero's rate limits: who may call now, who is refused and for how long, what is left."""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class Tier(StrEnum):
    """What the app pays for; it decides the day limit."""

    STARTER = "starter"
    """1,000 calls a day and organisation (Xero, pricing since 2 March 2026)."""
    CORE = "core"
    """5,000 calls a day and organisation (Xero, OAuth 2.0 limits)."""


class Problem(StrEnum):
    """Why a call is refused, spelled as in X-Rate-Limit-Problem ("appminute" is our guess: fact sheet U9)."""

    CONCURRENT = "concurrent"
    MINUTE = "minute"
    DAY = "day"
    APP_MINUTE = "appminute"


@dataclass(frozen=True, slots=True)
class Quota:
    """How much is allowed. The defaults are Xero's, OAuth 2.0 limits.

    Args:
        in_flight: calls at once, per organisation and app.
        minute: calls a minute, per organisation and app.
        day: calls a day, per organisation and app.
        app_minute: calls a minute of an app to all organisations.
        records: the high-volume threshold (Xero, each endpoint's page).
    """

    in_flight: int = 5
    minute: int = 60
    day: int = 5_000
    app_minute: int = 10_000
    records: int = 100_000

    @classmethod
    def of(cls, tier: Tier) -> "Quota":
        """The quota of a pricing tier."""
        return cls(day=1_000 if tier is Tier.STARTER else 5_000)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A 429: its kind, and in how many seconds to come back where Xero says so (minute and day only)."""

    problem: Problem
    retry_after: int | None


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left in the running windows, as the X-…-Remaining headers say it."""

    day: int
    minute: int
    app_minute: int


@dataclass(slots=True)
class _Window:
    """A fixed window: it does not slide, and begins at an offset of its own."""

    length: timedelta
    offset: timedelta
    number: int = -1
    used: int = 0

    def roll(self, now: datetime) -> None:
        number = (now - _EPOCH - self.offset) // self.length
        if number != self.number:
            self.number, self.used = number, 0

    def seconds_left(self, now: datetime) -> int:
        ends_at = _EPOCH + self.offset + (self.number + 1) * self.length
        return max(1, math.ceil((ends_at - now).total_seconds()))


@dataclass(slots=True)
class _Line:
    """The counters of one organisation and app."""

    minute: _Window
    day: _Window


@dataclass(slots=True)
class Limits:
    """The counters of every organisation and app; time is passed in, nothing here waits or reads a clock."""

    quota: Quota = field(default_factory=Quota)
    _lines: dict[tuple[str, str], _Line] = field(default_factory=dict)
    _apps: dict[str, _Window] = field(default_factory=dict)
    _in_flight: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take_up(self, saved: "Limits") -> None:
        """Go on with the quota and the windows of others; the calls in flight are still our own."""
        self.quota, self._lines, self._apps = saved.quota, saved._lines, saved._apps  # noqa: SLF001 its own kind

    def admit(self, organisation_id: str, client_id: str, now: datetime) -> Refusal | None:
        """Count one call in, or say why not; a refused call counts nowhere.

        An admitted call must be ended with `release`.
        """
        line, app = self._rolled(organisation_id, client_id, now)
        if self.in_flight(organisation_id, client_id) >= self.quota.in_flight:
            return Refusal(Problem.CONCURRENT, None)
        if line.minute.used >= self.quota.minute:
            return Refusal(Problem.MINUTE, line.minute.seconds_left(now))
        if line.day.used >= self.quota.day:
            return Refusal(Problem.DAY, line.day.seconds_left(now))
        if app.used >= self.quota.app_minute:
            return Refusal(Problem.APP_MINUTE, None)
        self._in_flight[organisation_id, client_id] += 1
        for window in (line.minute, line.day, app):
            window.used += 1
        return None

    def refuse(self, problem: Problem, organisation_id: str, client_id: str, now: datetime) -> Refusal:
        """The refusal that this kind of limit would give now, for faults on demand."""
        line, _ = self._rolled(organisation_id, client_id, now)
        windows = {Problem.MINUTE: line.minute, Problem.DAY: line.day}
        window = windows.get(problem)
        return Refusal(problem, window.seconds_left(now) if window else None)

    def exhaust(self, problem: Problem, organisation_id: str, client_id: str, now: datetime) -> Refusal:
        """Use up what is left of the minute or the day; the next window begins as ever.

        Raises:
            ValueError: the limit is none that is used up over a window of one organisation.
        """
        line, _ = self._rolled(organisation_id, client_id, now)
        match problem:
            case Problem.MINUTE:
                line.minute.used = max(line.minute.used, self.quota.minute)
            case Problem.DAY:
                line.day.used = max(line.day.used, self.quota.day)
            case _:
                raise ValueError("Only the limits minute and day can be used up.")
        return self.refuse(problem, organisation_id, client_id, now)

    def release(self, organisation_id: str, client_id: str) -> None:
        """Count an admitted call out again."""
        self._in_flight[organisation_id, client_id] -= 1

    def in_flight(self, organisation_id: str, client_id: str) -> int:
        """How many calls are being answered right now."""
        return self._in_flight[organisation_id, client_id]

    def remaining(self, organisation_id: str, client_id: str, now: datetime) -> Remaining:
        """What is left for this organisation and app."""
        line, app = self._rolled(organisation_id, client_id, now)
        return Remaining(
            day=max(0, self.quota.day - line.day.used),
            minute=max(0, self.quota.minute - line.minute.used),
            app_minute=max(0, self.quota.app_minute - app.used),
        )

    def _rolled(self, organisation_id: str, client_id: str, now: datetime) -> tuple[_Line, _Window]:
        line = self._lines.get((organisation_id, client_id))
        if line is None:
            line = _Line(_window(MINUTE, organisation_id), _window(DAY, organisation_id))
            self._lines[organisation_id, client_id] = line
        app = self._apps.setdefault(client_id, _window(MINUTE, client_id))
        for window in (line.minute, line.day, app):
            window.roll(now)
        return line, app


def _window(length: timedelta, owner: str) -> _Window:
    """A window whose offset follows from its owner: each organisation's minute begins at another second."""
    digest = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8])
    return _Window(length, timedelta(seconds=digest % int(length.total_seconds())))
