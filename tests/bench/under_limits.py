"""A first sync under Xero's real limits: a large organisation at a sped-up clock, the reference organisation at ours.

60 calls a minute, 5 at once. The large one has ten times the reference organisation's records; its clock runs faster,
for the sandbox and for the server, so that minutes of waiting for the limit pass in seconds. What counts there is how
near its simulated time comes to what its calls take at 60 a minute, and that memory does not grow with the books.
"""

import argparse
import asyncio
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from first_sync import floor, ours  # type: ignore[import-not-found] # beside this one
from stage import Figure, calls_to, control, sandbox, server, told  # type: ignore[import-not-found] # likewise

A_MINUTE = 60
"""Calls (Xero, OAuth 2.0 limits)."""
SPEED = 4
"""Of the clock: so slow that the limit is what is waited for, and not this machine."""


async def large(options: list[str], database: str, speed: float) -> dict[str, Any]:
    """The first sync of a large organisation; minutes are those of the sandbox's clock."""
    with sandbox(*options, "--speed", str(speed)) as base:
        async with server(base, database, TIEOUT_CLOCK_SPEED=str(speed)) as running:
            memory: list[float] = []
            watched = asyncio.create_task(watch_memory(running.process, memory))
            connection_id = await running.connect()
            began_at = await now(base)
            progress = await running.synced(connection_id)
            ended_at = await now(base)
            watched.cancel()
            calls = await calls_to(base)
    return {
        "records": sum(line.fetched for line in progress.entities if not line.open_only),
        "calls": len(calls),
        "refused": sum(call["status"] == 429 for call in calls),
        "minutes": (ended_at - began_at).total_seconds() / 60,
        "peak_mib": max(memory),
        "growth": max(memory[len(memory) // 2 :]) / max(memory[: len(memory) // 2]),
    }


async def watch_memory(process: psutil.Process, mebibytes: list[float]) -> None:
    """Note what the process holds, again and again until cancelled."""
    while True:
        mebibytes.append(process.memory_info().rss / 2**20)
        await asyncio.sleep(0.02)


async def now(base: str) -> datetime:
    """What time it is in the sandbox."""
    return datetime.fromisoformat((await control(base, "clock"))["now"])


def main() -> int:
    """Measure, show, keep; 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=2_000, help="of the reference organisation")
    parser.add_argument("--invoices", type=int, default=20_000, help="of the reference organisation")
    parser.add_argument("--times", type=int, default=10, help="how much larger the large one is")
    parser.add_argument("--speed", type=float, default=SPEED)
    asked = parser.parse_args()
    size = ["--contacts", str(asked.contacts), "--invoices", str(asked.invoices)]
    larger = ["--contacts", str(asked.times * asked.contacts), "--invoices", str(asked.times * asked.invoices)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = floor([*size, "--latency-ms", "200"], summary=False, folder=folder)
        us = asyncio.run(ours([*size, "--latency-ms", "200"], f"sqlite:///{folder}/reference.db"))
        many = asyncio.run(large(larger, f"sqlite:///{folder}/large.db", asked.speed))
    at_best = many["calls"] / A_MINUTE
    figures = [
        Figure("reference, 200 ms a call: records", "", us["records"]),
        Figure("reference, 200 ms a call: calls", "", us["calls"], 52),
        Figure("reference, 200 ms a call: refused (429)", "", us["refused"], 0),
        Figure("reference, 200 ms a call: wall time; the floor's", "s", base["wall"]),
        Figure("reference, 200 ms a call: wall time; ours", "s", us["wall"]),
        Figure("reference, 200 ms a call: wall time against the floor", "x", us["wall"] / base["wall"], 2),
        Figure("reference, 200 ms a call: peak memory", "MiB", us["peak_mib"], 250),
        Figure("large: records", "", many["records"]),
        Figure("large: calls", "", many["calls"]),
        Figure("large: refused (429)", "", many["refused"], 0),
        Figure("large: simulated time", "min", many["minutes"]),
        Figure("large: simulated time against calls / 60", "x", many["minutes"] / at_best, 1.25),
        Figure("large: peak memory", "MiB", many["peak_mib"], 250),
        Figure("large: peak memory, second half against the first", "x", many["growth"], 1.1),
    ]
    return int(told("a first sync under Xero's limits", figures))


if __name__ == "__main__":
    sys.exit(main())
