"""What makes the server end: the first SIGTERM or SIGINT asks it to, the second one ends it at once."""

import asyncio
import contextlib
import os
import signal
import threading

from tieout_server import log

logger = log.get("signals")

WITHIN = 9.5
"""Seconds from the first signal after which the process is gone whatever happens: ten are promised."""
_SIGNALLED = 128
"""The exit code of a process that a signal ended is this and the number of the signal (POSIX shells)."""


class Stop:
    """Waits to be asked to end. To be made on the event loop, once per process."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows
                asyncio.get_running_loop().add_signal_handler(number, self._ask, number)

    async def wait(self) -> None:
        """Return once the process is asked to end; from then on it has ten seconds."""
        await self._asked.wait()

    def _ask(self, number: int) -> None:
        if self._asked.is_set():
            os._exit(_SIGNALLED + number)  # what is in hand is left as a kill leaves it
        self._asked.set()
        last = threading.Timer(WITHIN, _end_late)
        last.daemon = True
        last.start()


def _end_late() -> None:
    """End the process although something is not done with: the database hangs, or a thread does."""
    logger.warning("ended without having let go of everything; other processes notice within half a minute")
    os._exit(0)
