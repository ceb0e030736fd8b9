"""How long somebody waits for Xero: an answer in time, or why there is none."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tieout_server.errors import CallLimitError, XeroUnavailableError
from tieout_server.ledger.books import HeldUp, WaitingFor

T = TypeVar("T")

HeldUpBy = Callable[[], HeldUp | None]
"""What calls wait for at this moment, if for anything."""


async def in_time(asking: Coroutine[Any, Any, T], seconds: float, held_up: HeldUpBy) -> T:
    """What it comes to, within so many seconds; what takes longer is given up.

    Raises:
        CallLimitError: it was held up, as the minute has no more calls.
        XeroUnavailableError: there was no answer. And what `asking` does.
    """
    task = asyncio.create_task(asking)
    try:
        done, _ = await asyncio.wait((task,), timeout=seconds)
        if done:
            return task.result()
        held = held_up()  # asked before the wait is given up
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if held and held.by is WaitingFor.MINUTE_LIMIT:
        raise CallLimitError("Xero was not asked: its calls for this minute are used up.", "minute", held.until)
    raise XeroUnavailableError(f"Xero did not answer within {seconds:g} seconds.")
