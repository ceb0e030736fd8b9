"""`tieout-server` whose day passes faster, for tests that kill it: a minute of it is a second, and pages are small.

Its clock does not fall back when the process is started again: all processes of one test count from one origin.
"""

import os
from datetime import UTC, datetime, timedelta

from tieout_server import __main__, app, clock
from tieout_server.syncs import plan

SPEED = 60.0
PAGE_SIZE = 20


class QuickClock(clock.SystemClock):
    """The machine's clock, running faster since the instant that the environment names."""

    def __init__(self, _speed: float = 1.0) -> None:
        super().__init__(SPEED)
        self._origin_at = datetime.fromisoformat(os.environ["TIEOUT_TEST_ORIGIN"])

    def now(self) -> datetime:
        """This instant, aware, in UTC."""
        passed: timedelta = datetime.now(UTC) - self._origin_at
        return self._origin_at + passed * SPEED


if __name__ == "__main__":
    setattr(app, "SystemClock", QuickClock)  # noqa: B010 - mypy rightly forbids it; here it is the point
    plan.PAGE_SIZE, plan.SEAMS = PAGE_SIZE, (PAGE_SIZE,) * 4
    __main__.main()
