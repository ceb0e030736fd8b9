"""`make bench`: every benchmark, each in a process of its own. Times drift; ratios are what counts."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = (
    ("first_sync.py",),
    ("first_sync.py", "--runs", "1", "--latency-ms", "300"),
    ("under_limits.py",),
    ("peers.py",),
    ("idle_day.py",),
    ("webhook_latency.py",),
    ("unary.py",),
    ("loop_lag.py",),
    ("mirror.py",),
    ("payment_exports.py",),
    ("reconcile.py",),
    ("decode.py",),
    ("sandbox.py",),
    ("clients.py",),
)
"""From what a caller feels to what it is made of; the sandbox last."""


def main() -> int:
    failed = 0
    for name, *options in BENCHMARKS:
        print(f"\n== {name} {' '.join(options)}".rstrip(), flush=True)
        failed |= subprocess.run([sys.executable, HERE / name, *options], check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
