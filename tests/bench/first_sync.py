"""A first sync of the reference organisation beside the floor: CPU, wall, calls, bytes, memory, loop lag."""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from stage import (  # type: ignore[import-not-found] # beside this one
    APP,
    HERE,
    RESULTS,
    calls_to,
    consent,
    cpu_of,
    postgres,
    sandbox,
    server,
)

from tieout.syncs import ENDED
from tieout.v1.sync_service_pb2 import MILESTONE_COLLECTIBLE_READY, SYNC_STATE_SUCCEEDED


async def token_of(base: str) -> tuple[str, str]:
    """An access token and the organisation, for the floor."""
    redirect = "http://localhost:1/callback"
    scopes = "openid+offline_access+accounting.contacts.read+accounting.settings.read+accounting.invoices"
    query = f"response_type=code&client_id=tieout-sandbox-app&state=x&scope={scopes}+accounting.payments"
    back = await consent(base, f"{base}/identity/connect/authorize?{query}&redirect_uri={redirect}")
    async with aiohttp.ClientSession() as http:
        form = {
            "grant_type": "authorization_code",
            "code": parse_qs(urlsplit(back).query)["code"][0],
            "redirect_uri": redirect,
            "client_id": APP["TIEOUT_XERO_CLIENT_ID"],
            "client_secret": APP["TIEOUT_XERO_CLIENT_SECRET"],
        }
        async with http.post(f"{base}/connect/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        async with http.get(f"{base}/connections", headers={"Authorization": f"Bearer {token}"}) as answer:
            return token, (await answer.json())[0]["tenantId"]


def floor(options: list[str], *, summary: bool, folder: Path) -> dict[str, Any]:
    """The floor, in a process of its own."""
    with sandbox(*options) as base:
        token, tenant = asyncio.run(token_of(base))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, str(HERE / "floor.py"), base, token, tenant, str(folder / f"floor{summary}.db")]
        ran = subprocess.run(
            [*command, *(["--summary"] if summary else [])], capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        served = sum(call["bytes"] for call in asyncio.run(calls_to(base)))
    figures: dict[str, Any] = json.loads(ran.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**figures, "bytes": served, "cpu": cpu, "cpu_with_start": cpu}


async def ours(options: list[str], database: str) -> dict[str, Any]:
    """Our server: consent, then the first sync watched to its end by a subscriber in this process."""
    with sandbox(*options) as base:
        async with server(base, database) as running:
            cpu = cpu_of(running.process)
            connection_id = await running.connect()
            began = time.perf_counter()  # the floor is given its token, too
            collectible, peak = 0.0, 0.0
            async for update in running.client.syncs.watch_connection(connection_id):
                peak = max(peak, running.process.memory_info().rss / 2**20)
                if update.progress.milestone == MILESTONE_COLLECTIBLE_READY:
                    collectible = time.perf_counter() - began
                if update.progress.sync.state in ENDED:
                    break
            wall = time.perf_counter() - began
            cpu = cpu_of(running.process) - cpu
            calls = await calls_to(base)
            connect = [r for r in calls if r["path"].rsplit("/", 1)[1] in ("Organisation", "Users", "Actions")]
            last = update.progress
            assert last.sync.state == SYNC_STATE_SUCCEEDED, last
            return {
                "records": sum(e.fetched for e in last.entities if not e.open_only),
                "calls": len(calls) - len(connect),
                "connect_calls": len(connect),
                "refused": sum(r["status"] == 429 for r in calls),
                "wall": wall,
                "collectible": collectible,
                "bytes": sum(r["bytes"] for r in calls),
                "cpu": cpu,
                "cpu_with_start": cpu_of(running.process),
                "peak_mib": peak,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=2_000)
    parser.add_argument("--invoices", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--latency-ms", type=int, default=0)
    asked = parser.parse_args()
    options = ["--contacts", str(asked.contacts), "--invoices", str(asked.invoices)]
    options += ["--latency-ms", str(asked.latency_ms)]
    rows: dict[str, list[dict[str, Any]]] = {
        "floor": [],
        "floor, summaryOnly": [],
        "tieout, SQLite": [],
        "tieout, PostgreSQL": [],
    }
    for run in range(asked.runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows["floor"].append(floor(options, summary=False, folder=folder))
            rows["floor, summaryOnly"].append(floor(options, summary=True, folder=folder))
            rows["tieout, SQLite"].append(asyncio.run(ours(options, f"sqlite:///{folder}/ours.db")))
            with postgres(folder) as url:
                rows["tieout, PostgreSQL"].append(asyncio.run(ours(options, url)))
        print(f"run {run + 1} of {asked.runs} done", file=sys.stderr)
    best = {name: min(figures, key=lambda f: f["cpu"]) for name, figures in rows.items()}
    show(best)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "first_sync.json").write_text(json.dumps(rows, indent=1))


COLUMNS = ("records", "calls", "429s", "MB", "CPU s", "ratio", "+start", "ratio", "wall s", "ratio", "MiB")


def show(best: dict[str, dict[str, Any]]) -> None:
    base = best["floor"]
    print(f"{'first sync':22}" + "".join(f"{name:>8}" for name in COLUMNS))
    for name, f in best.items():
        figures = [f"{f['records']:,}", f["calls"], f.get("refused", 0), f"{f['bytes'] / 1e6:.2f}"]
        for figure in ("cpu", "cpu_with_start", "wall"):
            figures += [f"{f[figure]:.2f}", f"{f[figure] / base[figure]:.2f}"]
        print(f"{name:22}" + "".join(f"{figure:>8}" for figure in [*figures, f"{f.get('peak_mib', 0):.0f}"]))
    us = best["tieout, SQLite"]
    print(f"COLLECTIBLE_READY after {us['collectible']:.2f} s; connecting took {us['connect_calls']} further calls")


if __name__ == "__main__":
    main()
