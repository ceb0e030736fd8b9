"""`make soak`: thirty days of a hundred connections in ten minutes, and afterwards every promise still holds.

The clocks of server and sandbox are jumped ahead together (tests/jumping.py): at their real pace thirty days of a
hundred connections are 1.6 million calls to Xero, and ten minutes of two cores are enough for less than a tenth of
that. So each round of some days is two short jumps and a long one, and what is due several times within a jump is done
once; the table tells how many calls were made. On a slow machine the last rounds are fewer, and of more days.
Everything else is what it is on the days themselves: people work in Xero, webhooks come or do not, payments are handed
over, tokens expire, Xero is away, days' calls are used up, somebody disconnects and consents again, streams come, go
and stay.

What the processes hold is looked at after each round, when nothing is due. The first third is their warm-up; from then
on nothing may grow.
"""

import argparse
import asyncio
import contextlib
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import accumulate
from pathlib import Path

import uvloop
from sqlalchemy import select
from stage import HERE, RESULTS, postgres  # type: ignore[import-not-found] # beside this one

sys.path.insert(0, str(HERE.parent))

from soak_days import DAY, HOUR, choose_accounts, drain, end_mishaps, one_round  # type: ignore[import-not-found]
from soak_world import Held, World, world  # type: ignore[import-not-found]

import once
from fleet import following
from following import Subscriber
from merchants import Merchant
from servers import differences, mirror_of, truth_of
from tieout_server.storage import changes, export_steps, exports
from tieout_server.storage.export_tables import payment_exports

PLAYED_WITHIN = 600.0
"""Seconds for all days, after the first syncs."""
AIMED_AT = 0.85 * PLAYED_WITHIN
"""A last round may take longer than those before."""
LONGEST = 6
"""Days of a round: what was logged is noted after each, before it is forgotten."""
MORE_MEMORY = 0.5
"""MB a simulated day: what the kernel counts is not smooth, and books grow."""
MORE_OBJECTS = 0.5
"""Percent of those there are, a day: one for every tenth call to Xero would be more."""
MORE_OF_FEW = 0.1
"""Of tasks, threads and files a day: one that a busy evening needed is none that every day leaves behind."""
POOL = 10
"""Connections to PostgreSQL of each replica, opened as they are needed, and kept."""
SETTLED_WITHIN = 5
"""Days until nothing differs any more: webhooks were lost, and what nobody tells of is swept once a day."""


@dataclass(frozen=True)
class Row:
    """A figure, and what it has to be; without a limit it is only shown."""

    name: str
    measured: float
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether it is as it has to be."""
        return not (self.most is not None and self.measured > self.most) and not (
            self.least is not None and self.measured < self.least
        )


@dataclass(frozen=True)
class Size:
    """How much is played."""

    days: int
    rounds: int
    connections: int
    replicas: int
    seed: int
    traces: bool


async def soaked(size: Size, database_url: str, folder: Path) -> list[Row]:
    """Everything that happens, and what was found in the end."""
    began = time.monotonic()
    made = world(
        database_url, folder, connections=size.connections, replicas=size.replicas, seed=size.seed, traces=size.traces
    )
    async with made as one:
        await one.settle_in(size.connections)
        await asyncio.gather(*(choose_accounts(merchant) for merchant in one.merchants))
        await one.around.quiet()
        drain(one)
        one.tally.clear()  # what is told is what the days cost
        said(f"{size.connections} connections and their first syncs", began)
        before = await one.held()
        one.begin_watching()
        async with following(one.watchers):
            lengths, evenings, played = await all_days(one, size, began)
            lived_through = happened(one, lengths, played, evenings[-1].cpu - before.cpu)
            promises = await kept(one)
            await one.all_are_told()
        promises += watched(one)
        after = await at_rest(one)
        keep("soak_held", [asdict(each) for each in (before, *evenings, after)])
        if size.traces:
            print("\n".join(line for told in after.told for line in told["grown"]), file=sys.stderr)
    pooled = 0 if size.replicas == 1 else POOL * size.replicas
    faults = [line for replica in one.replicas for line in faults_in(replica.process.log)]
    for line in faults[:20]:
        said(f"log: {line[:200]} … {line[-400:]}", began)  # what happened, and what was raised
    return [
        *lived_through,
        *grown(list(accumulate(lengths)), evenings),
        Row("asyncio tasks left behind, once all streams are closed", after.tasks - before.tasks, most=0),
        Row("sockets left behind, likewise, but those to Xero", after.sockets - before.sockets, most=pooled),
        *promises,
        Row("faults in the log", len(faults), most=0),
        Row("the whole took", (time.monotonic() - began) / 60, unit="min"),
    ]


async def all_days(one: World, size: Size, began: float) -> tuple[Sequence[float], Sequence[Held], float]:
    """Play round after round: the days of each, what is held after it, and the seconds that all took."""
    lengths: list[float] = []
    evenings: list[Held] = []
    left, started = float(size.days), time.monotonic()
    while left:
        in_time = in_time_for(size.rounds, len(lengths), time.monotonic() - started)
        rounds = max(in_time, math.ceil(left / LONGEST))
        lengths.append(left / rounds)
        await one_round(one, len(lengths) - 1, timedelta(days=lengths[-1]))
        evenings.append(await one.held())
        said(f"round {len(lengths)}, {lengths[-1]:.2f} days: {shown(evenings[-1])}", began)
        left = left - lengths[-1] if rounds > 1 else 0.0
    return lengths, evenings, time.monotonic() - started


def in_time_for(planned: int, done: int, seconds: float) -> int:
    """For how many more rounds there is time: all that are planned, or fewer at the pace of those that were."""
    return min(planned - done, int((AIMED_AT - seconds) / (seconds / done))) if done else planned


def said(what: str, began: float) -> None:
    """Show how far it is."""
    print(f"{time.monotonic() - began:5.0f} s  {what}", file=sys.stderr, flush=True)


def shown(held: Held) -> str:
    """In a line."""
    return (
        f"{held.memory:.1f} MB, {held.objects:,} objects, {held.tasks} tasks, {held.threads} threads, "
        f"{held.files} files, {held.sockets} sockets, {held.cpu:.0f} s of CPU"
    )


def happened(one: World, lengths: Sequence[float], seconds: float, cpu: float) -> list[Row]:
    """What it was that was lived through."""
    days, connections = round(sum(lengths)), len(one.merchants)
    tally, calls = one.tally, one.tally["calls to Xero"]
    names = (
        "edits in Xero", "payments handed over", "token refreshes", "streams opened", "disconnections",
        "reconnections", "outages", "days' calls used up",
    )  # fmt: skip
    day_refusals = tally["refused: day"] / max(1, tally["days' calls used up"])
    return [
        Row("simulated", days, unit="days"),
        Row("  the longest jump of the clock", max(lengths) * 24, unit="h"),
        Row("connections", connections),
        Row("played within", seconds / 60, most=PLAYED_WITHIN / 60, unit="min"),
        Row("times as fast as the days are", days * DAY.total_seconds() / seconds),
        Row("calls to Xero", calls),
        Row("  of each connection and day", calls / connections / days),
        Row("  a second", calls / seconds, unit="/s"),
        Row("  CPU of our server for each", cpu / calls * 1000, unit="ms"),
        *(Row(name, tally[name], least=1) for name in names),
        Row("webhooks lost", tally["webhooks lost"]),
        Row("webhook deliveries", one.webhook.deliveries[-1].number, least=1),
        Row("refused: over the minute, or at once", refused_but_for_days(tally), most=0),
        Row("more than five calls of an organisation at once", tally["more than five at once"], most=0),
        Row("refused for the day, each time one was used up unseen", day_refusals, most=5),
    ]


def refused_but_for_days(tally: dict[str, int]) -> int:
    """429s that nobody outside had brought about."""
    return sum(count for name, count in tally.items() if name.startswith("refused: ") and name != "refused: day")


# What may not grow


def grown(days: Sequence[float], every: Sequence[Held]) -> list[Row]:
    """What was held on the evenings of these days, after the warm-up, and how it rose."""
    warm = days[-1] / 3
    later = [day for day in days if day > warm]
    evenings = every[-len(later) :]

    def row(values: Sequence[float], most: float, unit: str = "") -> Row:
        rise = statistics.linear_regression(later, values).slope if len(later) > 1 else 0.0
        return Row("  more each day", rise, most=most, unit=unit)

    last = evenings[-1]
    return [
        Row("memory on the first evening after the warm-up (RSS)", evenings[0].memory, unit="MB"),
        Row("  on the last one", last.memory, unit="MB"),
        row([each.memory for each in evenings], MORE_MEMORY, "MB"),
        Row("objects of Python on the last evening", last.objects),
        row([each.objects / last.objects * 100 for each in evenings], MORE_OBJECTS, "%"),
        Row("asyncio tasks on the last evening", last.tasks),
        row([each.tasks for each in evenings], MORE_OF_FEW),
        Row("threads on the last evening", last.threads),
        row([each.threads for each in evenings], MORE_OF_FEW),
        Row("files and sockets on the last evening, but those to Xero", last.files),
        row([each.files for each in evenings], MORE_OF_FEW),
    ]


async def at_rest(one: World) -> Held:
    """What is held when everybody has gone."""
    for subscriber in one.subscribers:
        await subscriber.leave()
    await one.around.quiet()
    await asyncio.sleep(2.0)  # the server hears of a broken stream a moment later
    return await one.held()


# What must hold


async def kept(one: World) -> list[Row]:
    """Let the dust settle, and count what does not hold."""
    await end_mishaps(one)
    days, differing = await settled(one)
    drain(one)
    await one.note_what_was_logged()
    for line in differing[:20]:
        print(line, file=sys.stderr)
    problems = [problem for merchant in one.merchants for problem in await payments_of(one, merchant)]
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    works = await one.connected()
    return [
        Row("days until no mirror differed any more", days, most=SETTLED_WITHIN, unit="days"),
        Row("differences between mirrors and books", len(differing), most=0),
        Row("payments that are not in Xero exactly once, or visibly not", len(problems), most=0),
        Row("payments seen in Xero", await count_of(one, "VERIFIED"), least=1),
        Row("connections that do not work", len(one.merchants) - len(works), most=0),
        Row("subscribers whose copy is another than a newcomer's", await copies_that_differ(one), most=0),
    ]


async def settled(one: World) -> tuple[int, list[str]]:
    """Let time pass until nothing differs; the days that took, and what still differs."""
    differing: list[str] = []
    for day in range(1, SETTLED_WITHIN + 1):
        await one.around.passing(DAY + HOUR, step=9 * HOUR)
        differing = [line for merchant in one.merchants for line in await differences_of(one, merchant)]
        if not differing:
            return day, []
    return SETTLED_WITHIN, differing


async def differences_of(one: World, merchant: Merchant) -> list[str]:
    """Where the mirror of a connection is not what its books are."""
    mirror = await mirror_of(one.around.database_url, merchant.id)
    return [f"{merchant.id}: {line}" for line in differences(truth_of(merchant.organisation.books), mirror)]


async def payments_of(one: World, merchant: Merchant) -> list[str]:
    """What is wrong with a merchant's payments."""
    async with one.around.database.read() as tx:
        query = select(payment_exports.c.id).where(payment_exports.c.connection_id == merchant.id)
        ids = list((await tx.execute(query)).scalars())
        found = [export for id_ in ids if (export := await exports.get(tx, id_, history=True))]
        steps = await export_steps.of_exports(tx, ids)
    problems = []
    try:
        once.each_step_once(merchant.organisation.books, [step for id_ in ids for step in steps[id_]], set())
    except AssertionError as error:
        problems.append(f"{merchant.id}: {error}")
    for export in found:
        try:
            once.stands_well(export, list(steps[export.id]))
        except AssertionError as error:
            problems.append(f"{merchant.id}: {error}")
    return problems


async def count_of(one: World, status: str) -> int:
    """How many payments have this status."""
    async with one.around.database.read() as tx:
        query = select(payment_exports.c.id).where(payment_exports.c.xero_status == status)
        return len((await tx.execute(query)).all())


async def copies_that_differ(one: World) -> int:
    """How many subscribers hold another copy than somebody who has just come."""
    differing = 0
    for subscriber in one.subscribers:
        async with one.around.database.read() as tx:
            last = await changes.last_number(tx, subscriber.connection_id)
        newcomer = Subscriber(subscriber.connection_id)
        newcomer.listen(one.any().service.client)
        async with asyncio.timeout(one.around.patience):
            while not (subscriber.has_reached(last) and newcomer.has_reached(last)):  # noqa: ASYNC110 - sets no event
                await asyncio.sleep(0.05)
        differing += subscriber.holds() != newcomer.holds()
        await newcomer.leave()
    return differing


def watched(one: World) -> list[Row]:
    """Whether who watched all connections was told of everything, in order and once."""
    began = max(watcher.start for watcher in one.watchers)
    logged = [position for position in one.logged if position > began]
    wrong = [[at for at in watcher.positions if began < at <= logged[-1]] != logged for watcher in one.watchers]
    return [
        Row("events that each watcher was to be told", len(logged), least=1),
        Row("watchers who missed one, or heard one twice or out of order", sum(wrong), most=0),
    ]


def faults_in(log: Path) -> Iterator[str]:
    """Lines that tell of a fault of ours: errors, and whatever is no log line at all."""
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            yield line
            continue
        if told["level"] not in {"info", "warning"}:
            yield line


# And all of it


def told(rows: Sequence[Row]) -> int:
    """Print the table, keep it as JSON beside, and answer the exit status: 1 if anything is not as it has to be."""
    print(f"{'soak':64}{'limit':>12}{'measured':>12}")
    for row in rows:
        least = "" if row.least is None else f"≥ {row.least:,g}"
        limit = least if row.most is None else f"≤ {row.most:,g}"
        measured = (
            f"{row.measured:,.0f}"
            if row.measured >= 100 or row.measured == int(row.measured)
            else f"{row.measured:.3g}"
        )
        verdict = "" if not limit else "  ok" if row.is_ok else "  NOT ok"
        print(f"{row.name + (f' ({row.unit})' if row.unit else ''):64}{limit:>12}{measured:>12}{verdict}")
    keep("soak", [asdict(row) | {"ok": row.is_ok} for row in rows])
    return int(not all(row.is_ok for row in rows))


def keep(name: str, what: object) -> None:
    """As JSON, beside the other results."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(what, indent=1) + "\n")


def main() -> int:
    """Play, show, keep; 1 if anything is not as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=8, help="of two short jumps of the clock and a long one")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=1, help="more than one: on a PostgreSQL of their own")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--traces", action="store_true", help="tell which lines hold more memory in the end; slow")
    size = Size(**vars(parser.parse_args()))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tieout-soak-")))
        url = f"sqlite:///{folder}/soak.db" if size.replicas == 1 else stack.enter_context(postgres(folder))
        return told(uvloop.run(soaked(size, url, folder)))


if __name__ == "__main__":
    sys.exit(main())
