"""All balances of the large organisation, and everybody compared with what Xero states, beside the bare SQL of each.

Run it as `python tests/bench/reconcile.py [--scale 10] [--postgres URL]`: 20,000 customers with 400,000 invoices and
payments. A server must not need more memory for ten times as many: the peak of a tenth of it stands beside.
"""

import argparse
import asyncio
import gc
import sqlite3
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psycopg
from mirror import AT, CONNECTION, reference_pages  # type: ignore[import-not-found] # a script beside this one

from tieout_server.reconciliations.overview import Overview
from tieout_server.storage import customers, migrate, mirror, open_items
from tieout_server.storage.database import Database
from tieout_server.storage.tables import connections

ROUNDS = 5
LINES = f"""
SELECT xero_contact_id, currency, rate, due, 0 AS remaining FROM invoices
 WHERE connection_id = '{CONNECTION}' AND status = 'AUTHORISED'
UNION ALL
SELECT xero_contact_id, currency, rate, 0, remaining FROM credits
 WHERE connection_id = '{CONNECTION}' AND status = 'AUTHORISED'
"""  # noqa: S608 - a constant
BALANCES = f"SELECT xero_contact_id, currency, sum(due), sum(remaining) FROM ({LINES}) AS lines GROUP BY 1, 2"  # noqa: S608 - a constant
STANDINGS = f"""
SELECT contacts.xero_contact_id, stated_outstanding, is_customer, currency, rate, due, remaining, documents
  FROM contacts LEFT JOIN (
       SELECT xero_contact_id, currency, rate, sum(due) AS due, sum(remaining) AS remaining, count(*) AS documents
         FROM ({LINES}) AS lines GROUP BY 1, 2, 3) AS sums ON sums.xero_contact_id = contacts.xero_contact_id
 WHERE connection_id = '{CONNECTION}' ORDER BY 1
"""  # noqa: S608 - a constant

AGREE = f"""
UPDATE contacts SET stated_outstanding = (
       SELECT sum(due) - sum(remaining) FROM ({LINES}) AS lines WHERE lines.xero_contact_id = contacts.xero_contact_id)
"""  # noqa: S608 - a constant

Work = Callable[[], Awaitable[object]]


async def filled(url: str, scale: float) -> tuple[Database, int]:
    """A database with the documents of an organisation of this size, and how many they are."""
    database = Database(url)
    await migrate.upgrade(database)
    count = 0
    async with database.write() as tx:
        await tx.execute(connections.delete())
        await tx.execute(connections.insert().values(id=CONNECTION))
    for page in reference_pages(scale):
        async with database.write(durable=False) as tx:
            await mirror.save(tx, CONNECTION, page, seen_in=1, at=AT)
        count += len(page)
    async with database.write() as tx:
        await tx.exec_driver_sql(AGREE)
        if not database.is_sqlite:  # PostgreSQL does it by itself, sooner or later
            await tx.exec_driver_sql("ANALYZE")
    return database, count


def bare(url: str, query: str) -> Callable[[], Sequence[object]]:
    """The same question put to the database by nothing but its driver, all rows as Python's tuples."""
    if url.startswith("sqlite"):
        lite = sqlite3.connect(url.removeprefix("sqlite:///"), check_same_thread=False)
        lite.execute("PRAGMA cache_size=-32000")  # what our connections have
        return lambda: lite.execute(query).fetchall()
    post = psycopg.connect(url)
    return lambda: post.execute(query).fetchall()


async def all_balances(database: Database) -> int:
    async with database.read() as tx:
        return len(await customers.balances(tx, CONNECTION, today=AT.date()))


async def everybody(database: Database) -> int:
    async with database.read() as tx:
        overview = Overview({})
        await overview.take(open_items.standings(tx, CONNECTION))
    return overview.customers


async def seconds(work: Work, clock: Callable[[], float]) -> float:
    """The fastest of some rounds, in seconds of this clock."""
    taken = []
    for _ in range(ROUNDS):
        gc.collect()
        started = clock()
        await work()
        taken.append(clock() - started)
    return min(taken)


async def peak_mb(work: Work) -> float:
    """How much more Python holds at once while it works."""
    gc.collect()
    tracemalloc.start()
    await work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


async def measure(name: str, url: str, scale: float, folder: str) -> None:
    """Print the lines of one database."""
    small, _ = await filled(f"sqlite:///{folder}/small-{name}.db" if name == "sqlite" else url, scale / 10)
    tenth = [await peak_mb(lambda: all_balances(small)), await peak_mb(lambda: everybody(small))]
    await small.close()
    database, count = await filled(url, scale)
    print(f"{count:,} documents in {name}{'ms':>22}{'ratio':>8}{'peak MB':>10}{'of a tenth':>12}")
    clock = time.process_time if name == "sqlite" else time.perf_counter  # PostgreSQL works in processes of its own
    questions = (("all balances", BALANCES, all_balances), ("everybody compared", STANDINGS, everybody))
    for (what, query, ours), before in zip(questions, tenth, strict=True):
        ask = bare(url, query)

        async def floor(ask: Callable[[], object] = ask) -> None:
            await asyncio.to_thread(ask)

        async def work(ours: Callable[[Database], Awaitable[object]] = ours) -> None:
            await ours(database)

        bare_s, ours_s = await seconds(floor, clock), await seconds(work, clock)
        print(f"{what + ', bare SQL':<40}{bare_s * 1e3:>8.0f}{1:>8.2f}")
        print(f"{what:<40}{ours_s * 1e3:>8.0f}{ours_s / bare_s:>8.2f}{await peak_mb(work):>10.1f}{before:>12.1f}")
    await database.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=10.0)
    parser.add_argument("--postgres", default="", help="URL of a database that may be overwritten")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure("sqlite", f"sqlite:///{Path(folder) / 'large.db'}", options.scale, folder))
        if options.postgres:
            asyncio.run(measure("postgres", options.postgres, options.scale, folder))


if __name__ == "__main__":
    main()
