"""Time, passed in wherever it is needed, so that tests and the sandbox can run it faster."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """What the time is, and waiting for it to pass."""

    def now(self) -> datetime:
        """This instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds of this clock."""
        ...


class SystemClock:
    """The machine's clock, or one that runs `speed` times as fast from the moment it is made (for the sandbox only)."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()

    def now(self) -> datetime:
        """This instant, aware, in UTC."""
        if self._speed == 1.0:
            return datetime.now(UTC)
        return self._started_at + timedelta(seconds=(time.monotonic() - self._started) * self._speed)

    def monotonic(self) -> float:
        """Seconds of this clock that never run backwards."""
        return time.monotonic() * self._speed

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds of this clock."""
        await asyncio.sleep(max(0.0, seconds) / self._speed)


def to_micros(instant: datetime) -> int:
    """An aware instant as whole microseconds since 1970, the form in which it is stored."""
    return (instant - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware UTC instant that `to_micros` stored."""
    return EPOCH + timedelta(microseconds=micros)


def to_micros_if_any(instant: datetime | None) -> int | None:
    """The same of an instant that may be unknown."""
    return None if instant is None else to_micros(instant)


def from_micros_if_any(micros: int | None) -> datetime | None:
    """The instant that `to_micros_if_any` stored."""
    return None if micros is None else from_micros(micros)
