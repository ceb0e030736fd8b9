"""Writers in a process of their own: each commits one event after the other, so that all stand at the one counter."""

import argparse
import asyncio
import itertools
import json
import sys
import time

import uvloop

from tieout_server.clock import SystemClock
from tieout_server.storage import events
from tieout_server.storage.database import Database
from tieout_server.storage.events import Event

CONNECTION = "con_of_the_bench"


async def tell(database: Database, until: float) -> list[float]:
    """The seconds that each transaction took that told one event, as short as there can be one."""
    clock, took = SystemClock(), []
    while (began := time.monotonic()) < until:
        async with database.write() as tx:
            await events.append(tx, Event(0, CONNECTION, "sync", CONNECTION, clock.now(), b"x" * 500))
        took.append(time.monotonic() - began)
    return took


async def run(url: str, writers: int, seconds: float) -> None:
    """Print what each transaction took."""
    database = Database(url)
    await tell(database, time.monotonic() + 0.5)  # connections and statements are made
    until = time.monotonic() + seconds
    each = await asyncio.gather(*(tell(database, until) for _ in range(writers)))
    await database.close()
    print(json.dumps(list(itertools.chain(*each))))


async def told_by_helpers(url: str, processes: int, writers: int, seconds: float) -> list[float]:
    """The seconds that each transaction took of so many helpers, each of so many writers."""
    options = ("--database", url, "--writers", str(writers), "--seconds", str(seconds))
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, __file__, *options)
    helpers = [await asyncio.create_subprocess_exec(*command, stdout=pipe) for _ in range(processes)]
    said = [(await helper.communicate())[0] for helper in helpers]
    return [took for line in said for took in json.loads(line)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--writers", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    asked = parser.parse_args()
    uvloop.run(run(asked.database, asked.writers, asked.seconds))


if __name__ == "__main__":
    main()
