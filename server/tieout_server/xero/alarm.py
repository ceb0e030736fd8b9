"""A clock that rings once."""

import asyncio
from collections.abc import Callable

from tieout_server.clock import Clock

NEVER = float("inf")


class Alarm:
    """Rings once, at the time it is set to; setting it anew forgets the old time."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at = NEVER
        self._task: asyncio.Task[None] | None = None

    def set(self, at: float) -> None:
        """Ring at this time of the clock's `monotonic`, and at no other; `NEVER`: not at all."""
        if at == self._at:
            return
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._at = at
        if at != NEVER:
            self._task = asyncio.get_running_loop().create_task(self._wait(at))

    async def _wait(self, at: float) -> None:
        await self._clock.sleep(at - self._clock.monotonic())
        self._at, self._task = NEVER, None
        self._ring()
