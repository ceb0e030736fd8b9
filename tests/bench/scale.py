"""`make bench-scale`: what a fleet costs that has much to look after and little to do, and what it does at a rush.

Two and four replicas are processes on one PostgreSQL of this machine. A thousand and ten thousand connections are rows
(`many_replicas.py`), whose organisations are all at a Xero in which nothing happens (`idle_xero.py`); the first syncs
read the sandbox. Replicas, PostgreSQL, Xero and this program share the machine's cores, on loopback.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
from many_replicas import (  # type: ignore[import-not-found] # beside this one
    EMPTY,
    Fleet,
    Spent,
    Stage,
    fleet,
    plan_as_usual,
    plan_nothing,
    prepare,
)
from stage import HERE, Figure, control, postgres, sandbox, told  # type: ignore[import-not-found] # beside this one
from telling import told_by_helpers  # type: ignore[import-not-found] # beside this one
from watching import Report, watchers_in_helpers  # type: ignore[import-not-found] # beside this one

from tieout.syncs import ENDED
from tieout_server.clock import from_micros

CPU_LIMIT, CPU_LIMIT_AT = 2.0, 1_000
"""Percent of a core that so many connections may cost between two polls."""
QUERIES_LIMIT = 1.0
"""Statements a second and replica that are allowed when nothing is due, without BEGIN and COMMIT."""
BLOCK_LIMIT = 50.0
STREAM_LIMIT = 60.0
"""Milliseconds for which an event loop may be blocked, and kB of a stream (5,000 of them in 300 MB)."""
LEAD = timedelta(seconds=6)
"""Time in which every replica has looked at the table once more, should nobody tell it."""
REST = 12.0
"""Seconds in which PostgreSQL's backends have told of all that they did before."""


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    replicas: Sequence[int]
    connections: Sequence[int]
    idle_seconds: float = 15.0
    polling_seconds: float = 25.0
    started: int = 50
    first_syncs: int = 50
    watchers: int = 5_000
    events: int = 10
    telling_seconds: float = 5.0

    @property
    def fleets(self) -> list[tuple[int, int]]:
        """The replicas and connections to measure: all of them for the most connections, else the fewest replicas."""
        few, many = min(self.replicas), max(self.connections)
        return [(n, m) for m in self.connections for n in self.replicas if m == many or n == few]


QUICK = Size((2,), (200,), 8.0, 10.0, 20, 6, 200, 5, 1.0)


@dataclass(frozen=True)
class Bench:
    """What the rows are measured on."""

    stage: Stage
    idle: str
    size: Size


# Connections that are looked after


async def looking_after(bench: Bench, replicas: int, connections: int, only: str) -> AsyncIterator[Figure]:
    """Idle, polling, and work that somebody asks for at the wrong replica."""
    with bench.stage.copied(f"with_{connections}") as name:
        with bench.stage.open(name) as db:
            plan_nothing(db)
        async with fleet(bench.stage, name, bench.idle, replicas) as made:
            head = f"{replicas} replicas, {connections:,} connections"
            async for figure in settling(made, connections):
                yield figure_of(head, figure)
            rows = {"idle": idle, "polling": polling, "start": starting}
            for row, measure in rows.items():
                if only in ("", row):
                    async for figure in measure(bench, made, connections):
                        yield figure_of(head, figure)


def figure_of(head: str, figure: Figure) -> Figure:
    """The same figure, and of what it is."""
    return Figure(f"{head}: {figure.name}", figure.unit, figure.measured, figure.limit)


async def settling(made: Fleet, connections: int) -> AsyncIterator[Figure]:
    """Something small to do for every connection at once: so each organisation finds a home."""
    began = time.monotonic()
    with made.stage.open(made.name) as db:
        db.execute("UPDATE work SET due_at = 0 WHERE kind = 'sync'")
        db.execute("SELECT pg_notify('tieout_work', '')")
        left = "SELECT count(*) FROM work WHERE due_at = 0 OR owner <> ''"
        while (db.execute(left).fetchone() or (0,))[0]:  # noqa: ASYNC110 - other processes are waited for
            await asyncio.sleep(0.25)
        yield Figure("small tasks, all due at once", "/s", connections / (time.monotonic() - began))
        homes = (await made.homes()).values()
        yield Figure("  homes at the replica with most, of an even share", "", max(homes) * len(homes) / connections)
        plan_nothing(db)  # also what the tasks have left behind
    await asyncio.sleep(LEAD.total_seconds())


async def idle(bench: Bench, made: Fleet, connections: int) -> AsyncIterator[Figure]:
    """Between two polls."""
    statements = await made.stage.statements(bench.size.idle_seconds / 2)
    spent = Spent(made)
    await asyncio.sleep(bench.size.idle_seconds)
    own, database, transactions = spent.since()
    yield Figure("idle, CPU of each replica", "% core", own * 100, CPU_LIMIT if connections <= CPU_LIMIT_AT else None)
    yield Figure("  CPU of PostgreSQL", "% core", database * 100, CPU_LIMIT if connections <= CPU_LIMIT_AT else None)
    yield Figure("  statements of each replica", "/s", statements / len(made.replicas), QUERIES_LIMIT)
    yield Figure("  transactions, autovacuum's and the bench's among them", "/s", transactions)
    yield Figure("  memory of each replica (RSS)", "MB", made.memory() / len(made.replicas))


async def polling(bench: Bench, made: Fleet, _: int) -> AsyncIterator[Figure]:
    """As it is all day."""
    start = datetime.now(UTC) + LEAD
    with made.stage.open(made.name) as db:
        plan_as_usual(db, start)
        query = (
            "SELECT c.xero_tenant_id, w.due_at FROM work w JOIN connections c ON c.id = connection_id "
            "WHERE kind = 'poll'"
        )
        due = {tenant: from_micros(at).timestamp() for tenant, at in db.execute(query)}
    await asyncio.sleep((start - datetime.now(UTC)).total_seconds())
    await asked(bench.idle)
    spent, seconds, written = Spent(made), bench.size.polling_seconds, made.stage.written()
    await asyncio.sleep(seconds)
    (own, database, transactions), written = spent.since(), made.stage.written() - written
    at_xero = await asked(bench.idle)
    began: dict[str, float] = {}
    for at, tenant in at_xero["calls"]:
        began.setdefault(tenant, at)
    end = start.timestamp() + seconds
    late = [began.get(tenant, end) - at for tenant, at in due.items() if at < end - LEAD.total_seconds()]
    rate, count = len(began) / seconds, len(made.replicas)
    yield Figure("polling as usual, polls", "/s", rate)
    yield Figure("  calls at Xero for each", "", len(at_xero["calls"]) / len(began))
    yield Figure("  tokens refreshed for each", "", at_xero["refreshes"] / len(began))
    yield Figure("  transactions for each, those of idling included", "", transactions * count / rate)
    yield Figure("  CPU for each at its replica", "ms", own * count / rate * 1000)
    yield Figure("  CPU for each in PostgreSQL", "ms", database / rate * 1000)
    yield Figure("  written to PostgreSQL's log for each", "kB", written / len(began) / 1000)
    yield Figure("  CPU of each replica", "% core", own * 100)
    yield Figure("  CPU of PostgreSQL", "% core", database * 100)
    yield Figure("  starts late by, p50", "s", share_of(late, 0.5))
    yield Figure("  starts late by, p99", "s", share_of(late, 0.99))
    yield Figure("  memory of each replica (RSS)", "MB", made.memory() / count)
    yield Figure("  calls of an organisation at once, at most", "", at_xero["most_at_once"], 5)
    yield Figure("  calls of an organisation in a minute, at most", "", at_xero["most_a_minute"], 60)


async def starting(bench: Bench, made: Fleet, _: int) -> AsyncIterator[Figure]:
    """StartSync where the organisation is not at home, until its home makes the first call."""
    with made.stage.open(made.name) as db:
        plan_nothing(db)
        query = (
            "SELECT c.id, c.xero_tenant_id, r.name FROM connections c JOIN homes USING (xero_tenant_id) "
            "JOIN replicas r ON r.id = replica_id ORDER BY md5(c.id)"
        )
        found = db.execute(query).fetchmany(bench.size.started)
    await asyncio.sleep(LEAD.total_seconds())
    await asked(bench.idle)
    answered: dict[str, float] = {}
    for connection_id, tenant, home in found:
        elsewhere = [replica for replica in made.replicas if not str(home).endswith(f":{replica.process.pid}")]
        await random.choice(elsewhere).client.syncs.start(connection_id)
        answered[tenant] = time.time()
        await asyncio.sleep(0.05)
    await asyncio.sleep(2.0)
    came: dict[str, float] = {}
    for at, tenant in (await asked(bench.idle))["calls"]:
        came.setdefault(tenant, at)
    after = [(came[tenant] - at) * 1000 for tenant, at in answered.items()]
    yield Figure("StartSync elsewhere: answer to first call, p50", "ms", share_of(after, 0.5))
    yield Figure("  p99", "ms", share_of(after, 0.99))


async def asked(idle_xero: str) -> dict[str, Any]:
    """What the idle Xero was asked since this was asked last."""
    async with aiohttp.ClientSession() as http, http.get(f"{idle_xero}/calls") as answer:
        told_: dict[str, Any] = await answer.json()
        return told_


# First syncs


async def first_syncs(bench: Bench, replicas: int) -> AsyncIterator[Figure]:
    """So many merchants at once, the first of them with the reference organisation."""
    count, books = bench.size.first_syncs, ("--contacts", "2000", "--invoices", "20000")
    with (
        sandbox(*books, "--organisations", str(count), "--latency-ms", "50") as base,
        bench.stage.copied(EMPTY) as name,
        tempfile.TemporaryDirectory() as folder,
    ):
        organisations = [found["id"] for found in (await control(base, ""))["organisations"]]
        async with fleet(bench.stage, name, base, replicas, blocks_in=Path(folder)) as made:
            began = time.monotonic()
            gaps = await asyncio.gather(*(one_first_sync(made, number, it) for number, it in enumerate(organisations)))
            wall, homes = time.monotonic() - began, (await made.homes()).values()
            ready = [await time_to_ready(made, organisation) for organisation in organisations]
        refused = (await control(base, "requests?status=429&count=1"))["count"]
        blocks = blocks_told_in(Path(folder))
    assert len(blocks) == replicas
    small = ready[1:]
    head = f"{replicas} replicas, {count} first syncs at once"
    yield Figure(f"{head}: all done after", "s", wall)
    yield Figure("  homes at the replica with most, of an even share", "", max(homes) * replicas / count)
    yield Figure("  COLLECTIBLE_READY, median of the small ones", "s", share_of(small, 0.5))
    yield Figure("  COLLECTIBLE_READY, slowest of the small ones", "s", max(small))
    yield Figure("  COLLECTIBLE_READY, slowest by the fastest of the small ones", "", max(small) / min(small))
    yield Figure("  COLLECTIBLE_READY, the reference organisation", "s", ready[0])
    yield Figure("  longest time that any was told of no progress", "s", max(gaps))
    yield Figure("  refused (429)", "", refused, 0)
    yield Figure("  longest block of an event loop (CPU)", "ms", max(blocks), BLOCK_LIMIT)


def blocks_told_in(folder: Path) -> list[float]:
    """The longest block of each process's event loop, in milliseconds."""
    return [max(json.loads(path.read_text())) for path in folder.glob("*.json")]


async def one_first_sync(made: Fleet, number: int, organisation: str) -> float:
    """The longest time, in seconds, between two signs of progress of one sync, as somebody is told at any replica."""
    running = made.replicas[number % len(made.replicas)]
    watched_at = made.replicas[(number + 1) % len(made.replicas)]
    connection_id = await running.connect(f"merchant {number}", organisation)
    told_at = [time.monotonic()]
    async for update in watched_at.client.syncs.watch_connection(connection_id):
        if update.HasField("progress"):
            told_at.append(time.monotonic())
        if update.progress.sync.state in ENDED:
            break
    return max(later - earlier for earlier, later in pairwise(told_at))


async def time_to_ready(made: Fleet, organisation: str) -> float:
    """Seconds from the sync's beginning until balances could be collected on."""
    query = (
        "SELECT s.created_at, s.milestones::jsonb ->> 'COLLECTIBLE_READY' FROM syncs s "
        "JOIN connections c ON c.id = s.connection_id WHERE c.xero_tenant_id = %s AND s.ordinal = 1"
    )
    with made.stage.open(made.name) as db:
        row = db.execute(query, (organisation,)).fetchone()
    assert row is not None
    return (datetime.fromisoformat(row[1]) - from_micros(row[0])).total_seconds()


# Watchers


async def watchers(bench: Bench, replicas: int) -> AsyncIterator[Figure]:
    """Thousands of streams, and one thing that is told to all of them."""
    count = bench.size.watchers
    with bench.stage.copied(f"with_{min(bench.size.connections)}") as name:
        with bench.stage.open(name) as db:
            plan_nothing(db)
        async with fleet(bench.stage, name, bench.idle, replicas) as made:
            before = made.memory()
            async with watchers_in_helpers(ports_of(made), count) as report:
                await asyncio.sleep(REST)
                opened, spent = made.memory(), Spent(made)
                await asyncio.sleep(bench.size.idle_seconds)
                own, database, transactions = spent.since()
                delays = [await one_event(made, number, report, count) for number in range(bench.size.events)]
    head = f"{replicas} replicas, {count:,} watchers"
    yield Figure(f"{head}: memory of each watcher", "kB", (opened - before) / count * 1000, STREAM_LIMIT)
    yield Figure("  idle, CPU of each replica", "% core", own * 100)
    yield Figure("  idle, CPU of PostgreSQL", "% core", database * 100)
    yield Figure("  idle, transactions of each replica", "/s", transactions)
    every = [delay for event in delays for delay in event]
    yield Figure(f"  an event to a watcher, p50 of {bench.size.events} events", "ms", share_of(every, 0.5))
    yield Figure("  p99", "ms", share_of(every, 0.99))
    yield Figure("  to the last watcher, median of the events", "ms", share_of([max(event) for event in delays], 0.5))


def ports_of(made: Fleet) -> list[str]:
    """Where the replicas listen."""
    return [replica.client.target.rpartition(":")[2] for replica in made.replicas]


async def one_event(made: Fleet, number: int, report: Report, count: int) -> list[float]:
    """The milliseconds from the answer that says that something is committed until each watcher was told of it."""
    merchant = f"told of {number}"
    await made.replicas[number % len(made.replicas)].client.connections.connect(merchant)
    answered_at, told_at = time.monotonic(), list[float]()
    async with asyncio.timeout(30):
        while len(told_at) < count:
            await asyncio.sleep(0.5)
            told_at += (await report()).get(merchant, [])
    return [(at - answered_at) * 1000 for at in told_at]


# The counter


async def counter(bench: Bench) -> AsyncIterator[Figure]:
    """Transactions that each tell one event, as fast as one row permits it."""
    for processes, writers in ((2, 4), (4, 4)):
        with bench.stage.copied(EMPTY) as name:
            seconds = bench.size.telling_seconds
            took = await told_by_helpers(bench.stage.url(name), processes, writers, seconds)
        yield Figure(f"one counter, {processes} processes of {writers} writers: events", "/s", len(took) / seconds)
        yield Figure("  a transaction, p50", "ms", share_of(took, 0.5) * 1000)
        yield Figure("  a transaction, p99", "ms", share_of(took, 0.99) * 1000)


# All of it


def share_of(figures: Sequence[float], share: float) -> float:
    """The figure that this share of all does not exceed."""
    return sorted(figures)[max(0, math.ceil(len(figures) * share) - 1)]


async def measured(bench: Bench, only: str) -> list[Figure]:
    """Every row that is wanted, told of on stderr as it is measured."""
    figures: list[Figure] = []
    size = bench.size
    looked_after = only in ("", "idle", "polling", "start")
    parts = [
        *(looking_after(bench, n, m, only) for n, m in size.fleets if looked_after),
        *(first_syncs(bench, n) for n in size.replicas if only in ("", "syncs")),
        *([watchers(bench, max(size.replicas))] if only in ("", "watchers") else []),
        *([counter(bench)] if only in ("", "counter") else []),
    ]
    for part in parts:
        async for figure in part:
            print(f"{figure.name}: {figure.measured:.3g} {figure.unit}", file=sys.stderr)
            figures.append(figure)
    return figures


@contextlib.contextmanager
def idle_xero() -> Iterator[str]:
    """The address of an idle Xero, in a process of its own."""
    with subprocess.Popen([sys.executable, HERE / "idle_xero.py"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


def main() -> int:
    """Measure, show, keep; 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--connections", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--only", default="", choices=("idle", "polling", "start", "syncs", "watchers", "counter"))
    parser.add_argument("--quick", action="store_true", help="to see that it works: little of everything")
    wanted = parser.parse_args()
    size = QUICK if wanted.quick else Size(wanted.replicas, wanted.connections)
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as url, idle_xero() as idle_:
        stage = Stage(url, Path(folder, "pg", "log"))
        asyncio.run(prepare(stage, size.connections if wanted.only not in ("syncs", "counter") else ()))
        figures = asyncio.run(measured(Bench(stage, idle_, size), wanted.only))
    print(f"Replicas, PostgreSQL, Xero and the bench share {os.cpu_count()} cores, on loopback.")
    return int(told("many connections, several replicas", figures))


if __name__ == "__main__":
    sys.exit(main())
