"""What a day costs on which nothing happens: calls and bytes per connection, with webhooks and without.

The clocks of server and sandbox are jumped ahead together (tests/jumping.py), from one time that something is due to
the next, so that 24 hours pass as fast as the machine does what is due in them. Each variant is a process of its own.
A hundred connections are followed for some of these hours only, and what they cost is told for all of them.
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import sys
import tempfile
from datetime import timedelta
from typing import Any

import uvloop
from stage import HERE, Figure, told  # type: ignore[import-not-found] # beside this one

sys.path.insert(0, str(HERE.parent))

from deliveries import KEY, subscribed
from jumping import Days, days
from servers import CLIENT_ID
from tieout_sandbox import SandboxSettings, Tier, serve
from tieout_sandbox.request_log import Entry
from tieout_server import log

READS = r"^/api\.xro/2\.0/"
STEP = timedelta(minutes=5, seconds=1)
"""A read takes a moment, and the next one is due five minutes after that."""
MEGABYTE = 1_000_000
MOST_LOGGED = 100_000
"""Requests that the sandbox remembers."""
AT_ONCE = 2
"""Variants side by side: what is counted here does not depend on what else runs."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A day to be measured."""

    connections: int
    webhooks: bool
    tier: Tier
    most_calls: int | None
    """Per connection and day, as far as there is a limit."""
    hours: int = 24
    """How many of the day are played."""

    @property
    def name(self) -> str:
        """Its place in the table."""
        limit = "1,000" if self.tier is Tier.STARTER else "5,000"
        how_many = f"{self.connections} connection{'s' if self.connections > 1 else ''}"
        part = f" ({self.hours} h)" if self.hours < 24 else ""
        return f"{how_many}{part}, {'with' if self.webhooks else 'no'} webhooks, {limit} a day"


VARIANTS = (
    Variant(100, webhooks=False, tier=Tier.STARTER, most_calls=600, hours=4),
    Variant(100, webhooks=True, tier=Tier.STARTER, most_calls=600, hours=4),
    Variant(1, webhooks=False, tier=Tier.STARTER, most_calls=600),
    Variant(1, webhooks=True, tier=Tier.STARTER, most_calls=600),
    Variant(1, webhooks=True, tier=Tier.CORE, most_calls=600),
    Variant(1, webhooks=False, tier=Tier.CORE, most_calls=None),
)
"""Without webhooks and with 5,000 calls a day everything is read every five minutes: only shown."""


async def measured(variant: Variant) -> dict[str, Any]:
    """One day, counted by the sandbox."""
    settings = SandboxSettings(contacts=40, invoices=200, organisations=variant.connections, tier=variant.tier)
    with tempfile.TemporaryDirectory() as folder:
        key = KEY if variant.webhooks else ""
        url = f"sqlite:///{folder}/idle.db"
        async with serve(settings) as sandbox, days(sandbox, url, xero_webhook_key=key) as around:
            if variant.webhooks:
                await subscribed(sandbox, around.running)
            for organisation in sandbox.organisations:
                await around.running.connected(organisation.id, organisations=[organisation.id])
            await around.passing(timedelta(minutes=30), step=STEP)
            if variant.webhooks:
                await sandbox.webhooks.intend(CLIENT_ID)  # heard of on this day; other organisations see to that
            sandbox.requests.clear()
            await around.passing(timedelta(hours=variant.hours), step=STEP)
            return counted(around, variant.hours / 24)


def counted(around: Days, share: float) -> dict[str, Any]:
    """The dearest connection's calls and bytes, what was refused, and the longest time that anything was not read."""
    log_ = around.sandbox.requests
    assert len(log_.entries) < MOST_LOGGED
    days_ = [log_.find(path=READS, organisation_id=found.id) for found in around.sandbox.organisations]
    return {
        "calls": max(map(len, days_)) / share,
        "bytes": max(sum(entry.bytes for entry in day) for day in days_) / share,
        "refused": sum(entry.status == 429 for day in days_ for entry in day),
        "payments": max(longest_gap(day, "Payments") for day in days_),
        "others": max(longest_gap(day, name) for day in days_ for name in ("Invoices", "Contacts", "CreditNotes")),
    }


def longest_gap(day: list[Entry], name: str) -> float:
    """Minutes between two reads of this list, at the longest."""
    read = [entry.at for entry in day if entry.path.endswith(f"/{name}")]
    return max((later - earlier).total_seconds() for earlier, later in itertools.pairwise(read)) / 60


async def all_variants() -> list[dict[str, Any]]:
    """Every variant in a process of its own, the long ones first."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> dict[str, Any]:
        async with room:
            command = (sys.executable, __file__, "--variant", str(number))
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            out, _ = await process.communicate()
            assert process.returncode == 0, VARIANTS[number].name
            print(f"{VARIANTS[number].name}: done", file=sys.stderr)
            return dict(json.loads(out))

    return await asyncio.gather(*map(one, range(len(VARIANTS))))


def main() -> int:
    """Measure, show, keep; 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", type=int, help="only this one, as JSON")
    parser.add_argument("--hours", type=int, help="how many of its day")
    asked = parser.parse_args()
    if asked.variant is not None:
        log.configure(log_format="console", level="error")
        variant = VARIANTS[asked.variant]
        print(json.dumps(uvloop.run(measured(dataclasses.replace(variant, hours=asked.hours or variant.hours)))))
        return 0
    figures: list[Figure] = []
    for variant, day in zip(VARIANTS, asyncio.run(all_variants()), strict=True):
        figures += [
            Figure(f"{variant.name}: calls", "", day["calls"], variant.most_calls),
            Figure("  bytes", "MB", day["bytes"] / MEGABYTE, 2),
            Figure("  refused (429)", "", day["refused"], 0),
            Figure("  payments are read at least every", "min", day["payments"], 6),
            Figure("  invoices, contacts and credit notes at least every", "min", day["others"]),
        ]
    return int(told("an idle day, of the dearest connection", figures))


if __name__ == "__main__":
    sys.exit(main())
