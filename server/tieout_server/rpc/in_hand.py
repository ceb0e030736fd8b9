"""The calls in hand, so that a server that stops can let them end, and break off in time what does not."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tieout_server.errors import DrainingError

A_MOMENT = 0.1
"""Seconds in which who watches our health hears that it ends."""


class InHand:
    """The calls that are being answered. Once `drain` has begun new ones are refused."""

    def __init__(self) -> None:
        self._calls: set[asyncio.Task[Any]] = set()
        self._endless: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()
        self._is_draining = False

    def check_is_open(self) -> None:
        """Check that calls are taken still.

        Raises:
            DrainingError: this process shuts down.
        """
        if self._is_draining:
            raise DrainingError

    @contextmanager
    def call(self, *, is_endless: bool = False) -> Iterator[None]:
        """The current task answers a call; an endless one (health, reflection) ends when the caller says so.

        Raises:
            DrainingError: it was broken off; whether it was carried out is not known.
        """
        task = asyncio.current_task()
        assert task is not None, "calls are answered in tasks"
        among = self._endless if is_endless else self._calls
        among.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            raise DrainingError(
                "This server shuts down and could not wait for the end of this call. Repeat it at another one."
            ) from None
        finally:
            among.discard(task)
            self._cut.discard(task)

    async def drain(self, by: float) -> None:
        """Refuse new calls, and wait for those in hand until this time of the loop; then break them off."""
        self._is_draining = True
        if self._endless:
            await asyncio.sleep(A_MOMENT)
        self._break_off(self._endless)
        if self._calls:
            await asyncio.wait(self._calls, timeout=max(0.0, by - asyncio.get_running_loop().time()))
        self._break_off(self._calls)
        if self._cut:
            await asyncio.wait(self._cut, timeout=A_MOMENT)

    def _break_off(self, calls: set[asyncio.Task[Any]]) -> None:
        for task in calls:
            self._cut.add(task)
            task.cancel()
