"""The sandbox's own time: as fast as told, and settable while it runs."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

MILLISECOND = timedelta(milliseconds=1)
FASTEST = 1_000_000
"""Eleven days in a second; the calendar ends in the year 9999."""


class SandboxClock:
    """The one clock by which tokens, limits and dates of the sandbox go.

    It starts at an instant and runs `speed` times as fast as real time: at 60, a minute lasts one second; at 0 it
    stands still.
    """

    def __init__(
        self, starts_at: datetime | None = None, speed: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._origin_at = starts_at or datetime.now(UTC)
        self._since = monotonic()
        self._speed = _checked(speed)
        self.observers: list[Callable[[], None]] = []
        """Told whenever the clock was set: what waits for an instant has to look again."""

    @property
    def speed(self) -> float:
        """How many seconds pass here in one real second."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        now_at = self.now()
        self._speed = _checked(speed)
        self._rebase(now_at)

    def now(self) -> datetime:
        """The current instant, aware UTC."""
        return self._origin_at + timedelta(seconds=(self._monotonic() - self._since) * self._speed)

    def today(self) -> date:
        """The current date in UTC."""
        return self.now().date()

    def advance(self, duration: timedelta) -> datetime:
        """Jump ahead at once and say what time it is then.

        Raises:
            ValueError: the duration is negative; time never runs backwards.
            OverflowError: the calendar does not go that far.
        """
        if duration < timedelta(0):
            raise ValueError("The clock cannot be turned back.")
        self._rebase(self.now() + duration)
        return self.now()

    def real_seconds_until(self, at: datetime) -> float | None:
        """How long to wait for an instant, as the clock runs now; None when it stands still before it."""
        left = (at - self.now()).total_seconds()
        if left <= 0:
            return 0.0
        return left / self._speed if self._speed else None

    def _rebase(self, now_at: datetime) -> None:
        self._origin_at = now_at
        self._since = self._monotonic()
        for observer in self.observers:
            observer()


def _checked(speed: float) -> float:
    if not 0 <= speed <= FASTEST:  # nor is it "nan"
        raise ValueError(f"The speed of the clock is a number from 0 to {FASTEST:,}.")
    return speed
