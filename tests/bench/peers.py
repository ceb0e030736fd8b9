"""The same books synced by clients that others wrote, beside us: calls, time, and what is lost under churn.

Each peer runs in its own environment (tests/third_party.py) against a sandbox process of its own that refuses nothing
and changes something after each page that it serves. When everything has been read once the books stand still, and the
peer reads what was modified since, as it would: what it does not have then, it never will.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stage import (  # type: ignore[import-not-found] # beside this one
    HERE,
    RESULTS,
    calls_to,
    control,
    cpu_of,
    sandbox,
    server,
)

sys.path.insert(0, str(HERE.parent))

import third_party
from xero_hosts import xero_hosts

PEERS = {
    "xero-python, page 1,000": ("xero_python", "1000"),
    "xero-python, page 100": ("xero_python", "100"),
    "pyxero, page 1,000": ("pyxero",),
    "tap-xero": ("tap_xero",),
}
OURS = {
    "contacts": ("xero_contact_id", "contacts"),
    "invoices": ("xero_invoice_id", "invoices"),
    "payments": ("xero_payment_id", "payments"),
    "credit_notes": ("xero_credit_id", "credits WHERE entity = 'credit_notes'"),
    "overpayments": ("xero_credit_id", "credits WHERE entity = 'overpayments'"),
    "prepayments": ("xero_credit_id", "credits WHERE entity = 'prepayments'"),
}
ENTITIES = ("contacts", "invoices", "payments", "credit_notes", "overpayments", "prepayments")


async def truth(base: str) -> dict[str, dict[str, str]]:
    """Every receivable by id, with the instant of its last change."""
    organisation = (await control(base, ""))["organisations"][0]["id"]
    books = await control(base, f"books/{organisation}")
    books["invoices"] = {key: row for key, row in books["invoices"].items() if row.get("type", "ACCREC") == "ACCREC"}
    return {name: {key: row["updated"] for key, row in books[name].items()} for name in ENTITIES}


async def peer(name: str, options: list[str]) -> dict[str, Any]:
    """One peer's sync, then its next one."""
    script, *arguments = PEERS[name]
    client = third_party.Client(script)
    client.prepare()
    with sandbox(*options) as base, tempfile.TemporaryDirectory() as folder:
        await control(base, "limits", {"minute": 1_000_000, "day": 1_000_000})
        await control(base, "churn", {"on": True})
        async with xero_hosts(int(base.rpartition(":")[2]), Path(folder)) as hosts:
            given = {**hosts, "SANDBOX_URL": base, "PATH": os.environ["PATH"], "HOME": folder,
                     "PYTHONPATH": f"{HERE.parent}:{HERE / 'peers'}"}  # fmt: skip
            python, peer_script = client.environment / "bin" / "python", HERE / "peers" / f"{script}_peer.py"
            command = (str(python), "-W", "ignore", str(peer_script), *arguments)
            process = await asyncio.create_subprocess_exec(*command, env=given, cwd=folder, stdout=subprocess.PIPE)
            out, _ = await process.communicate()
            assert process.returncode == 0, name
        told = json.loads(out)
        return {**told, "seen": None, "lost": lost(told["seen"], await truth(base))}


def lost(seen: dict[str, dict[str, str]], books: dict[str, dict[str, str]]) -> int:
    """How many records are missing, or older than they are; instants are compared to the second."""
    return sum(
        seen[name].get(key, "")[:19] < instant[:19] for name, rows in books.items() for key, instant in rows.items()
    )


async def us(options: list[str], folder: Path) -> dict[str, Any]:
    """Our first sync under the same churn, then one of changes; what the database has is compared."""
    database = folder / "ours.db"
    with sandbox(*options) as base:
        await control(base, "churn", {"on": True})
        async with server(base, f"sqlite:///{database}") as running:
            cpu, began = cpu_of(running.process), time.perf_counter()
            connection_id = await running.connect()
            await running.synced(connection_id)
            told = {
                "wall": time.perf_counter() - began,
                "cpu": cpu_of(running.process) - cpu,
                "calls": len(await calls_to(base)),
            }
            await control(base, "churn", {"on": False})
            await running.client.syncs.start(connection_id)
            await running.synced(connection_id)
        return told | {"lost": lost(mirrored(database), await truth(base))}


def mirrored(database: Path) -> dict[str, dict[str, str]]:
    """Every receivable that is here by id, with the instant of its last change at Xero."""
    with contextlib.closing(sqlite3.connect(database)) as found:
        return {
            name: {
                key: datetime.fromtimestamp(micros / 1e6, UTC).isoformat()
                for key, micros in found.execute(f"SELECT {key}, xero_updated_at FROM {source}")  # noqa: S608 - ours
            }
            for name, (key, source) in OURS.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=2_000)
    parser.add_argument("--invoices", type=int, default=20_000)
    asked = parser.parse_args()
    options = ["--contacts", str(asked.contacts), "--invoices", str(asked.invoices)]
    with tempfile.TemporaryDirectory() as folder:
        rows = {"tieout, SQLite": asyncio.run(us(options, Path(folder)))}
    for name in PEERS:
        rows[name] = asyncio.run(peer(name, options))
        print(f"{name} done", file=sys.stderr)
    show(rows)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "peers.json").write_text(json.dumps(rows, indent=1))


def show(rows: dict[str, dict[str, Any]]) -> None:
    base = rows["tieout, SQLite"]
    print(
        f"{'with peers, under churn':26}"
        + "".join(f"{name:>8}" for name in ("calls", "wall s", "CPU s", "ratio", "lost"))
    )
    for name, row in rows.items():
        ratio = row["cpu"] / base["cpu"]
        figures = (row["calls"], f"{row['wall']:.2f}", f"{row['cpu']:.2f}", f"{ratio:.2f}", row["lost"])
        print(f"{name:26}" + "".join(f"{figure:>8}" for figure in figures))
    print("no limits here; the peers speak TLS and we do not; tap-xero's CPU is that of the processes it starts")


if __name__ == "__main__":
    main()
