"""`tieout-server serve`, whose event loop is watched: for how long it was kept from taking the next turn.

Counted is the CPU of the loop's thread between two turns, not time: on two cores that five processes share a turn is
mostly late because another process has its core.
"""

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path

from tieout_server import __main__ as entry
from tieout_server.commands import serving
from tieout_server.settings import Settings

WHERE = "TIEOUT_BENCH_BLOCKS"
"""The folder in which each process leaves its milliseconds as it ends."""
TURN = 0.002


async def watch(blocks: list[float]) -> None:
    """Note the milliseconds of each turn."""
    while True:
        before = time.thread_time()
        await asyncio.sleep(TURN)
        blocks.append((time.thread_time() - before) * 1000)


async def serve(settings: Settings) -> None:
    """Serve, watched."""
    blocks: list[float] = []
    watching = asyncio.create_task(watch(blocks))
    try:
        await served(settings)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        keep(blocks)


def keep(blocks: list[float]) -> None:
    """Leave the longest ones for who asked for them."""
    Path(os.environ[WHERE], f"{os.getpid()}.json").write_text(json.dumps(sorted(blocks)[-1000:]))


served = serving.serve_until_stopped
serving.serve_until_stopped = serve

if __name__ == "__main__":
    entry.main()
