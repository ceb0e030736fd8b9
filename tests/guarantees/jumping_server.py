"""`tieout-server` whose clock a test can jump, for tests that kill it: its time is that of the test's `JumpingClock`.

How far it is ahead stands in a file, so that the clock does not fall back when the process is started again.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tieout_server import __main__, app, clock
from tieout_server.events import feed
from tieout_server.syncs import plan
from tieout_server.work import engine

LOOK_EVERY = 0.05
"""Real seconds after which a jump is noticed, and between heartbeats."""


class JumpedClock(clock.SystemClock):
    """The clock that the environment describes, ahead by the seconds in its file."""

    def __init__(self, _speed: float = 1.0) -> None:
        self._faster = float(os.environ["TIEOUT_TEST_SPEED"])
        super().__init__(self._faster)
        self._origin_at = datetime.fromisoformat(os.environ["TIEOUT_TEST_ORIGIN"])
        self._file = Path(os.environ["TIEOUT_TEST_AHEAD"])

    def now(self) -> datetime:
        """This instant, aware, in UTC."""
        passed: timedelta = (datetime.now(UTC) - self._origin_at) * self._faster
        return self._origin_at + passed + timedelta(seconds=self._ahead())

    def monotonic(self) -> float:
        """Seconds that jump with it."""
        return super().monotonic() + self._ahead()

    def _ahead(self) -> float:
        return float(self._file.read_text(encoding="ascii"))


if __name__ == "__main__":
    setattr(app, "SystemClock", JumpedClock)  # noqa: B010 - mypy rightly forbids it; here it is the point
    engine.SWEEP = feed.HEARTBEAT = LOOK_EVERY
    size = int(os.environ["TIEOUT_TEST_PAGE_SIZE"])
    plan.PAGE_SIZE, plan.SEAMS = size, (size,) * 4
    __main__.main()
