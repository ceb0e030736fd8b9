"""`tieout-server` whose day passes faster, for tests that kill it: a minute of it is a second, and pages are small.

Its clock does not fall back when the process is started again: all processes of one test count from one origin.
Where `TIEOUT_TEST_DIES_IN` names a function (`module:name`), the first call of it kills the process with -9, and leaves
the file that `TIEOUT_TEST_DIED` names.
"""

import importlib
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tieout_server import __main__, app, clock
from tieout_server.syncs import plan

SPEED = float(os.environ.get("TIEOUT_TEST_SPEED", "60"))
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


def die_once_in(place: str, mark: Path) -> None:
    """Have this process killed when this coroutine function is called, unless one was killed there before."""
    module, _, name = place.partition(":")
    called = getattr(importlib.import_module(module), name)

    def dies(*arguments: object, **named: object) -> object:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return called(*arguments, **named)

    setattr(importlib.import_module(module), name, dies)


if __name__ == "__main__":
    if "TIEOUT_TEST_DIES_IN" in os.environ:
        die_once_in(os.environ["TIEOUT_TEST_DIES_IN"], Path(os.environ["TIEOUT_TEST_DIED"]))
    setattr(app, "SystemClock", QuickClock)  # noqa: B010 - mypy rightly forbids it; here it is the point
    plan.PAGE_SIZE, plan.SEAMS = PAGE_SIZE, (PAGE_SIZE,) * 4
    __main__.main()
