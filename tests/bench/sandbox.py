"""What the sandbox costs: a full read in CPU of its process, its start, and the memory of ten times the books."""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from first_sync import (  # type: ignore[import-not-found] # a script beside this one
    HERE,
    RESULTS,
    cpu_of,
    token_of,
)

TIMES_LARGER = 10
"""The books whose memory is measured."""
JSON = "application/json"


@dataclass(frozen=True)
class Figure:
    """One measured figure beside what the project allows itself."""

    name: str
    unit: str
    limit: float
    measured: tuple[float, ...]

    @property
    def best(self) -> float:
        """The lowest: what else the machine did can only add to it."""
        return min(self.measured)


@contextlib.contextmanager
def started(contacts: int, invoices: int) -> Iterator[tuple[str, psutil.Process, float]]:
    """A sandbox in a process of its own: its address, itself, and the seconds until it answered."""
    size = ("--contacts", str(contacts), "--invoices", str(invoices))
    command = [sys.executable, "-m", "tieout_sandbox", "serve", "--port", "0", *size]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base = next(word for word in process.stdout.readline().split() if word.startswith("http"))
            yield base, psutil.Process(process.pid), time.perf_counter() - began
        finally:
            process.terminate()


def read_all(base: str, process: psutil.Process) -> tuple[float, int]:
    """CPU seconds of the sandbox for the calls of the floor, and how many records they brought."""
    token, tenant = asyncio.run(token_of(base))
    limits = urllib.request.Request(f"{base}/sandbox/limits", b'{"minute": 10000}', {"Content-Type": JSON})  # noqa: S310 ours
    with urllib.request.urlopen(limits), tempfile.TemporaryDirectory() as folder:  # noqa: S310 ours
        before = cpu_of(process)
        command = [sys.executable, str(HERE / "floor.py"), base, token, tenant, str(Path(folder) / "read.db")]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        return cpu_of(process) - before, json.loads(ran.stdout)["records"]


def main() -> int:
    """Measure, show, keep; 1 if even the best of the runs is over a limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=2_000)
    parser.add_argument("--invoices", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    reads, starts, records = [], [], 0
    for _ in range(asked.runs):
        with started(asked.contacts, asked.invoices) as (base, process, seconds):
            starts.append(seconds)
            cpu, records = read_all(base, process)
            reads.append(cpu)
    with started(asked.contacts * TIMES_LARGER, asked.invoices * TIMES_LARGER) as (base, process, _):
        _, many = read_all(base, process)
        gigabytes = process.memory_info().rss / 1e9
    figures = (
        Figure(f"full read of {records:,} records", "CPU s", 0.5, tuple(reads)),
        Figure("start until it answers", "s", 3.0, tuple(starts)),
        Figure(f"memory with {many:,} records", "GB", 1.0, (gigabytes,)),
    )
    show(figures)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sandbox.json").write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    return int(any(figure.best > figure.limit for figure in figures))


def show(figures: tuple[Figure, ...]) -> None:
    """A table: the best and the worst of the runs beside the limit."""
    print(f"{'sandbox':34}{'unit':>8}{'limit':>8}{'best':>8}{'worst':>8}")
    for figure in figures:
        over = "  over the limit" if figure.best > figure.limit else ""
        worst = max(figure.measured)
        print(f"{figure.name:34}{figure.unit:>8}{figure.limit:8.2f}{figure.best:8.2f}{worst:8.2f}{over}")


if __name__ == "__main__":
    sys.exit(main())
