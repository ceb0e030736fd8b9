"""`tieout-server` for the soak: its time is that of the soak, and on SIGUSR1 it says what it holds.

What is done from time to time in real time, it does as often as the faster time asks for.
"""

import asyncio
import gc
import json
import os
import signal
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path

from guarantees.jumping_server import JumpedClock
from tieout_server import __main__ as entry
from tieout_server import app, housekeeping
from tieout_server.commands import serving
from tieout_server.events import feed
from tieout_server.settings import Settings
from tieout_server.work import engine

TELLS = "TIEOUT_SOAK_TELLS"
"""The file into which it says what it holds."""
TRACES = "TIEOUT_SOAK_TRACES"
"""Set where it says, too, which lines hold more memory than when it was first asked."""
LOOK_EVERY = 0.2
"""Real seconds after which a jump of the clock is noticed."""
READ_EVERY = 0.01
"""Real seconds between looks into the file that says how far the clock was jumped."""
HEARTBEAT = 5.0
TIDY_EVERY = 5.0
"""Real seconds: several times a simulated day."""
FRAMES, LINES = 1, 25


class RarelyReadClock(JumpedClock):
    """That clock, at next to no cost: it is asked for the time thousands of times a second."""

    _read_at = 0.0
    _read = 0.0

    def _ahead(self) -> float:
        if (now := time.monotonic()) - self._read_at > READ_EVERY:
            self._read_at, self._read = now, super()._ahead()
        return self._read


class Holdings:
    """What this process holds."""

    def __init__(self) -> None:
        self._where = Path(os.environ[TELLS])
        self._first: tracemalloc.Snapshot | None = None
        if TRACES in os.environ:
            tracemalloc.start(FRAMES)

    def tell(self) -> None:
        """Write it down; the file is there whole, or not yet."""
        gc.collect()
        tasks = Counter(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
        objects = gc.get_objects()
        told = {
            "tasks": tasks,
            "objects": len(objects),
            "types": dict(Counter(type(one).__name__ for one in objects).most_common(60)),
            "threads": threading.active_count(),
            "grown": self._grown(),
        }
        written = self._where.with_suffix(".new")
        written.write_text(json.dumps(told), encoding="utf-8")
        written.replace(self._where)

    def _grown(self) -> list[str]:
        if not tracemalloc.is_tracing():
            return []
        now = tracemalloc.take_snapshot()
        self._first = self._first or now
        return [str(line) for line in now.compare_to(self._first, "lineno")[:LINES]]


async def serve(settings: Settings) -> None:
    """Serve, and say what is held whenever asked."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, Holdings().tell)
    await served(settings)


served = serving.serve_until_stopped

if __name__ == "__main__":
    serving.serve_until_stopped = serve
    setattr(app, "SystemClock", RarelyReadClock)  # noqa: B010 - mypy rightly forbids it; here it is the point
    engine.SWEEP, feed.HEARTBEAT, housekeeping.TIDY_EVERY = LOOK_EVERY, HEARTBEAT, TIDY_EVERY
    entry.main()
