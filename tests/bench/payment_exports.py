"""Payments into Xero: what a thousand cost, what a lost answer leaves behind, and how long one waits beside a backfill.

Calls count from the moment in which the accounts are chosen, which sets a thousand waiting payments going at once, to
that in which all are seen in Xero; 60 calls a minute at our own clock. Notes on invoices are told apart: nobody waits
for them. A lost answer is one whose connection is cut when Xero has recorded the payment.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from stage import HERE, Figure, Running, calls_to, control, sandbox, server, told  # type: ignore[import-not-found]

sys.path.insert(0, str(HERE.parent))

import third_party
from tieout.v1.payment_export_service_pb2 import (
    XERO_STATUS_ERROR,
    XERO_STATUS_EXPORTED,
    XERO_STATUS_VERIFIED,
    PaymentLine,
    PlatformPayment,
)
from tieout.v1.types_pb2 import Money
from xero_hosts import xero_hosts

MANY = 1_000
LOST_FOR = 10
"""Calls that a payment's answers are lost for: more than anybody tries."""


async def books_of(base: str) -> dict[str, Any]:
    """Everything in the books of the first organisation, by collection and id."""
    organisation = (await control(base, ""))["organisations"][0]["id"]
    books: dict[str, Any] = await control(base, f"books/{organisation}")
    return books


async def payable(base: str) -> list[tuple[str, Decimal]]:
    """Sales invoices of the base currency of which something is due, and how much."""
    found = (await books_of(base))["invoices"]
    return [
        (name, Decimal(one["amount_due"]))
        for name, one in found.items()
        if one["status"] == "AUTHORISED" and one["type"] == "ACCREC" and one["currency"] == "NZD"
        and Decimal(one["amount_due"]) > 1
    ]  # fmt: skip


def payment(name: str, invoice_id: str, amount: Decimal) -> PlatformPayment:
    """A payment of so much of an invoice."""
    money = Money(currency_code="NZD", amount=f"{amount:f}")
    line = PaymentLine(xero_invoice_id=invoice_id, amount=money)
    return PlatformPayment(payment_id=name, paid_on=datetime.now(UTC).date().isoformat(), amount=money, lines=[line])


async def account(running: Running, connection_id: str) -> str:
    """The bank account for the base currency."""
    found = [it async for it in running.client.payment_exports.list_accounts(connection_id, currency_code="NZD")]
    return next(str(it.xero_account_id) for it in found if it.usable and it.type == "BANK")


async def export(running: Running, connection_id: str, payments: Sequence[PlatformPayment]) -> set[str]:
    """Hand these over, some at a time; answers the exports' ids."""
    room = asyncio.Semaphore(16)

    async def hand_over(one: PlatformPayment) -> str:
        async with room:
            return str((await running.client.payment_exports.export(connection_id, one)).export.id)

    return set(await asyncio.gather(*(hand_over(one) for one in payments)))


async def all_are(running: Running, connection_id: str, ids: set[str], *statuses: int) -> None:
    """Return when all of these have one of these statuses."""
    while True:
        found = running.client.payment_exports.list(connection_id, xero_statuses=statuses, page_size=1000)
        if ids <= {str(it.id) async for it in found}:
            return
        await asyncio.sleep(0.2)


async def many(count: int, database: str) -> dict[str, float]:
    """So many queued payments: calls and seconds until all are in Xero, and until all are seen there."""
    with sandbox("--contacts", "200", "--invoices", str(12 * count)) as base:
        async with server(base, database) as running:
            connection_id = await running.connect()
            await running.synced(connection_id)
            due = (await payable(base))[:count]
            assert len(due) == count, f"the books have {len(due)} open invoices"
            ids = await export(running, connection_id, [payment(f"pay-{n}", *it) for n, it in enumerate(due)])
            await all_are(running, connection_id, ids, XERO_STATUS_ERROR)
            await asyncio.sleep(65)  # the minute's calls are whole again
            chosen = {"NZD": await account(running, connection_id)}
            before, began = len(await calls_to(base)), time.perf_counter()
            await running.client.payment_exports.update_settings(connection_id, chosen)
            await all_are(running, connection_id, ids, XERO_STATUS_EXPORTED, XERO_STATUS_VERIFIED)
            in_xero_after, sent = time.perf_counter() - began, await calls_to(base)
            await all_are(running, connection_id, ids, XERO_STATUS_VERIFIED)
            seen_after, calls = time.perf_counter() - began, (await calls_to(base))[before:]
            paid = sum(it["status"] == "PAID" for it in (await books_of(base))["invoices"].values())
    assert paid >= count
    notes = [it for it in calls if "History" in it["path"]]
    exporting = [it for it in calls if it not in notes]
    return {
        "writes": sum(it["method"] == "PUT" for it in exporting),
        "calls_sent": len([it for it in sent[before:] if "History" not in it["path"]]),
        "calls": len(exporting),
        "notes": len(notes),
        "refused": sum(it["status"] == 429 for it in calls),
        "in_xero": in_xero_after,
        "seen": seen_after,
    }


async def lose_answers(base: str) -> None:
    """From now on Xero records payments, and cuts the connection before it answers."""
    await control(base, "faults", {"kind": "drop_after", "path": "/Payments", "method": "PUT", "times": LOST_FOR})


async def recorded(base: str, before: dict[str, Any]) -> dict[str, int]:
    """How often the payment was asked for, and how many payments Xero has of it."""
    asked = [it for it in await calls_to(base) if it["method"] == "PUT" and it["path"].endswith("/Payments")]
    return {"asked": len(asked), "made": len((await books_of(base))["payments"]) - len(before["payments"])}


async def ours_lost(database: str) -> dict[str, int]:
    """A payment of ours whose answers are lost, once it is known what became of it."""
    with sandbox("--contacts", "20", "--invoices", "100", "--speed", "30") as base:
        async with server(base, database, TIEOUT_CLOCK_SPEED="30") as running:
            connection_id = await running.connect()
            await running.synced(connection_id)
            chosen = {"NZD": await account(running, connection_id)}
            await running.client.payment_exports.update_settings(connection_id, chosen)
            before = await books_of(base)
            await lose_answers(base)
            invoice_id = (await payable(base))[0][0]
            ids = await export(running, connection_id, [payment("pay", invoice_id, Decimal(1))])
            await all_are(running, connection_id, ids, XERO_STATUS_VERIFIED)
            return await recorded(base, before)


async def sdk_lost() -> dict[str, int]:
    """The same with the official SDK, which tells its user nothing but that something went wrong."""
    client = third_party.Client("xero_python")
    client.prepare()
    with sandbox("--contacts", "20", "--invoices", "100") as base, tempfile.TemporaryDirectory() as folder:
        before = await books_of(base)
        invoice_id = (await payable(base))[0][0]
        await lose_answers(base)
        async with xero_hosts(int(base.rpartition(":")[2]), Path(folder)) as hosts:
            given = {**hosts, "SANDBOX_URL": base, "PATH": os.environ["PATH"], "HOME": folder,
                     "PYTHONPATH": f"{HERE.parent}:{HERE / 'peers'}"}  # fmt: skip
            python, script = client.environment / "bin" / "python", HERE / "peers" / "xero_python_payment.py"
            command = (str(python), "-W", "ignore", str(script), invoice_id)
            process = await asyncio.create_subprocess_exec(*command, env=given, cwd=folder, stdout=subprocess.PIPE)
            await process.communicate()
            assert process.returncode == 0
        return await recorded(base, before)


async def beside_a_backfill(database: str) -> dict[str, float]:
    """Seconds from handing a payment over to its being in Xero, while the first sync is running at 200 ms a call."""
    with sandbox("--contacts", "2000", "--invoices", "20000", "--latency-ms", "200") as base:
        due = await payable(base)
        async with server(base, database) as running:
            connection_id = await running.connect()
            chosen = {"NZD": await account(running, connection_id)}
            await running.client.payment_exports.update_settings(connection_id, chosen)
            began = time.perf_counter()
            ids = await export(running, connection_id, [payment("pay", *due[0])])
            await all_are(running, connection_id, ids, XERO_STATUS_EXPORTED, XERO_STATUS_VERIFIED)
            waited = time.perf_counter() - began
            page = await running.client.syncs.list(connection_id).first(1)
            still = float(page[0].ended_at.seconds == 0)
    return {"waited": waited, "still_syncing": still}


def main() -> int:
    """Measure, show, keep; 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=MANY)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        beside = asyncio.run(beside_a_backfill(f"sqlite:///{folder}/beside.db"))
        lost, sdk = asyncio.run(ours_lost(f"sqlite:///{folder}/lost.db")), asyncio.run(sdk_lost())
        bulk = asyncio.run(many(asked.payments, f"sqlite:///{folder}/many.db"))
    count = f"{asked.payments:,} queued payments"
    figures = [
        Figure(f"{count}: calls until all are in Xero", "", bulk["calls_sent"]),
        Figure(f"{count}: calls until all are seen there", "", bulk["calls"], 40),
        Figure(f"{count}: of these, writes", "", bulk["writes"]),
        Figure(f"{count}: notes by then", "", bulk["notes"]),
        Figure(f"{count}: refused (429)", "", bulk["refused"], 0),
        Figure(f"{count}: until all are in Xero, 60 calls a minute", "s", bulk["in_xero"]),
        Figure(f"{count}: until all are seen there", "s", bulk["seen"]),
        Figure("answers lost: payments made; ours", "", lost["made"], 1),
        Figure("answers lost: payments made; xero-python", "", sdk["made"]),
        Figure("answers lost: times asked; ours", "", lost["asked"]),
        Figure("answers lost: times asked; xero-python", "", sdk["asked"]),
        Figure("during a first sync, 200 ms a call: until it is in Xero", "s", beside["waited"], 5),
        Figure("during a first sync: it is still running then", "", beside["still_syncing"]),
    ]
    return int(told("payments into Xero", figures))


if __name__ == "__main__":
    sys.exit(main())
