"""Watchers in a process of their own: many streams of WatchConnections, several to a channel, over several replicas.

It says `ready` once each has heard something, and for each line that it reads tells when each stream was told of
what: by merchant, instants of the machine's monotonic clock, which all processes here share.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

import uvloop
from grpc import aio

from tieout.v1.connection_service_pb2 import WatchConnectionsRequest
from tieout.v1.connection_service_pb2_grpc import ConnectionServiceStub

if TYPE_CHECKING:
    from tieout.v1.connection_service_pb2_grpc import ConnectionServiceAsyncStub

A_CHANNEL = 25
"""Streams that share a channel, as those of one process of a platform do."""
OPENING = 100
"""Streams that are being opened at the same time."""


class Watchers:
    """So many streams, and when each was told of what."""

    def __init__(self) -> None:
        self.told: dict[str, list[float]] = defaultdict(list)
        self.is_open = asyncio.Semaphore(0)
        self._opening = asyncio.Semaphore(OPENING)

    async def watch(self, stub: "ConnectionServiceAsyncStub") -> None:
        """Follow all connections from now on."""
        async with self._opening:
            messages = stub.WatchConnections(WatchConnectionsRequest()).__aiter__()
            await anext(messages)
        self.is_open.release()
        async for message in messages:
            if message.HasField("change"):
                self.told[message.change.connection.merchant_id].append(time.monotonic())


async def run(ports: Sequence[int], count: int) -> None:
    """Watch until the parent goes."""
    watchers = Watchers()
    # A pool of its own for each channel: gRPC lets channels to one address share a connection otherwise.
    channels = [
        aio.insecure_channel(f"127.0.0.1:{ports[number % len(ports)]}", (("grpc.use_local_subchannel_pool", 1),))
        for number in range(-(-count // A_CHANNEL))
    ]
    stubs = [ConnectionServiceStub(channel) for channel in channels]
    watching = [asyncio.create_task(watchers.watch(stubs[number // A_CHANNEL])) for number in range(count)]
    for _ in range(count):
        await watchers.is_open.acquire()
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        told, watchers.told = watchers.told, defaultdict(list)
        print(json.dumps(told), flush=True)
    for task in watching:
        task.cancel()


Report = Callable[[], Coroutine[None, None, dict[str, list[float]]]]
"""Tells when streams were told of what, since this was asked last."""


@contextlib.asynccontextmanager
async def watchers_in_helpers(ports: Sequence[str], count: int, among: int = 2) -> AsyncIterator[Report]:
    """So many streams that are open in so many helpers, until the block ends."""
    command = (sys.executable, __file__, "--count", str(count // among), "--ports", *ports)
    pipe = asyncio.subprocess.PIPE
    helpers = [
        await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**24) for _ in range(among)
    ]

    async def report() -> dict[str, list[float]]:
        told: dict[str, list[float]] = defaultdict(list)
        for helper in helpers:
            assert helper.stdin
            helper.stdin.write(b"\n")
            for merchant, times in json.loads(await _said(helper)).items():
                told[merchant] += times
        return told

    try:
        for helper in helpers:
            assert await _said(helper) == "ready"
        yield report
    finally:
        for helper in helpers:
            helper.kill()
            await helper.wait()


async def _said(helper: asyncio.subprocess.Process) -> str:
    assert helper.stdout
    return (await helper.stdout.readline()).decode().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--ports", type=int, nargs="+", required=True)
    asked = parser.parse_args()
    uvloop.run(run(asked.ports, asked.count))


if __name__ == "__main__":
    main()
