"""From Xero's webhook to a subscriber: how soon a change is told, and how soon the webhook itself is answered.

Twenty organisations are connected. Somebody changes one thing after the other in them; Xero takes 50 ms for each call
that we make. Then fifty things change at once, told of in one delivery. Then, several times anew, the reference
organisation is connected, and single changes go on in others while its first sync runs. Its pages keep the sandbox
busy for 50 ms at a time, so that it is no judge of our answers then: this script posts deliveries of its own, and takes
their time.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import math
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from stage import Figure, Running, control, postgres, sandbox, server, told  # type: ignore[import-not-found] # beside this one

KEY = "the-webhook-key-of-the-benchmark"
OPTIONS = ("--contacts", "2000", "--invoices", "20000", "--latency-ms", "50", "--webhook-key", KEY)
AT_ONCE = 50
"""Events of one delivery."""
EVERY = 0.2
"""Seconds between the deliveries that are posted during a first sync."""
PATIENCE = 10.0
"""Seconds after which a change is taken as lost."""
KINDS = ("invoice edited", "invoice created", "contact renamed", "invoice paid")


@dataclass
class Organisation:
    """A connected organisation, and what can be changed in it."""

    id: str
    connection_id: str
    contacts: list[str]
    invoices: list[str]
    """Open ones."""


@dataclass
class Figures:
    """Milliseconds."""

    told_after: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    answered_after: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class Stand:
    """A server that gets webhooks, watched by a subscriber for each connection."""

    def __init__(self, running: Running, organisations: list[Organisation]) -> None:
        self.running = running
        self.organisations = organisations
        self._told: dict[str, asyncio.Future[datetime]] = {}
        self._random = Random(7)
        self._numbers = itertools.count(1)
        self._sent = 0

    async def watch(self, organisation: Organisation, ready: asyncio.Event) -> None:
        """Note when something that is waited for is told."""
        changes = self.running.client.receivables.watch_changes(organisation.connection_id)
        async with contextlib.aclosing(changes) as messages:
            async for message in messages:
                ready.set()
                waited_for = self._told.get(message.change.id)
                if waited_for and not waited_for.done():
                    waited_for.set_result(datetime.now(UTC))

    async def change(self, kind: str) -> tuple[float, float]:
        """One change: the milliseconds from its webhook to its subscriber, and to our answer."""
        organisation = self.organisations[next(self._numbers) % len(self.organisations)]
        async with asyncio.timeout(PATIENCE):
            changed = (await self._move(organisation, kind))["id"]
            told_at = await self._told.setdefault(changed, asyncio.get_running_loop().create_future())
        delivery = next(sent for sent in await self.deliveries() if sent["kind"] == "events")
        del self._told[changed]
        sent_at = datetime.fromisoformat(delivery["at"])
        return (told_at - sent_at).total_seconds() * 1000, delivery["took_ms"]

    async def deliveries(self) -> list[dict[str, Any]]:
        """What the sandbox sent since this was asked last."""
        found: list[dict[str, Any]] = await control(self.running.base, f"webhooks/deliveries?after={self._sent}")
        self._sent = found[-1]["number"] if found else self._sent
        assert all(sent["problem"] == "" for sent in found), found
        return found

    async def change_at_once(self) -> float:
        """Fifty changes, told of in one delivery: the milliseconds to our answer."""
        base, organisation = self.running.base, self.organisations[next(self._numbers) % len(self.organisations)]
        await control(base, "webhooks/disable", {})
        for _ in range(AT_ONCE):
            await self._move(organisation, "invoice edited")
        await control(base, "webhooks/intent", {})
        sent: list[dict[str, Any]] = []
        while not sent:
            sent = [delivery for delivery in await self.deliveries() if delivery["kind"] == "events"]
            await asyncio.sleep(0.01)
        assert sent[0]["events"] >= AT_ONCE
        return float(sent[0]["took_ms"])

    async def post_for_ever(self, answered_after: list[float]) -> None:
        """Deliver that one invoice after the other changed, and note the milliseconds to each answer."""
        url = f"http://127.0.0.1:{self.running.web_port}/xero/webhooks"
        async with aiohttp.ClientSession() as session:
            for organisation in itertools.cycle(self.organisations):
                body = delivery(organisation.id, self._random.choice(organisation.invoices))
                signature = base64.b64encode(hmac.digest(KEY.encode(), body, hashlib.sha256)).decode()
                headers = {"x-xero-signature": signature, "Content-Type": "application/json"}
                began = time.perf_counter()
                async with session.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 200, answer
                answered_after.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(EVERY)

    async def _move(self, organisation: Organisation, kind: str) -> Any:  # noqa: ANN401 - JSON
        number = f"{next(self._numbers)}"
        invoice, contact = self._random.choice(organisation.invoices), self._random.choice(organisation.contacts)
        move, arguments = {
            "invoice edited": ("edit_invoice", {"invoice_id": invoice, "reference": number}),
            "invoice created": ("create_invoice", {"contact_id": contact, "total": "12.34", "reference": number}),
            "contact renamed": ("rename_contact", {"contact_id": contact, "name": f"Renamed {number} Ltd"}),
            "invoice paid": ("pay", {"invoice_id": invoice, "amount": "0.01", "reference": number}),
        }[kind]
        return await control(self.running.base, f"books/{organisation.id}/{move}", arguments)


def delivery(organisation: str, invoice: str) -> bytes:
    """What Xero posts when an invoice changed."""
    event = {
        "resourceUrl": f"https://api.xero.com/api.xro/2.0/Invoices/{invoice}",
        "resourceId": invoice,
        "eventDateUtc": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds"),
        "eventType": "UPDATE",
        "eventCategory": "INVOICE",
        "tenantId": organisation,
        "tenantType": "ORGANISATION",
    }
    return json.dumps({"events": [event], "firstEventSequence": 1, "lastEventSequence": 1, "entropy": "BENCH"}).encode()


@contextlib.asynccontextmanager
async def stand(base: str, database: str, count: int) -> AsyncIterator[Stand]:
    """The server with so many organisations of the sandbox connected, synced and watched; the first one is left out."""
    async with server(base, database, TIEOUT_XERO_WEBHOOK_KEY=KEY) as running:
        url = f"http://127.0.0.1:{running.web_port}/xero/webhooks"
        await control(base, "webhooks", {"url": url, "key": KEY})
        found = [await connected(running, it["id"]) for it in (await control(base, ""))["organisations"][1 : count + 1]]
        made = Stand(running, found)
        ready = {organisation.id: asyncio.Event() for organisation in found}
        watches = [asyncio.create_task(made.watch(organisation, ready[organisation.id])) for organisation in found]
        try:
            for event in ready.values():
                await event.wait()
            await made.deliveries()
            yield made
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)


async def connected(running: Running, organisation: str) -> Organisation:
    """An organisation after its first sync."""
    connection_id = await running.connect(organisation, organisation)
    await running.synced(connection_id)
    books = await control(running.base, f"books/{organisation}")
    invoices = {
        key: it
        for key, it in books["invoices"].items()
        if it["type"] == "ACCREC" and it["status"] == "AUTHORISED" and float(it["amount_due"]) > 1
    }
    contacts = {it["contact_id"] for it in invoices.values()}
    active = [key for key in contacts if books["contacts"][key]["status"] == "ACTIVE"]
    return Organisation(organisation, connection_id, sorted(active), sorted(invoices))


async def quiet(figures: Figures, base: str, database: str, *, changes: int, rounds: int) -> None:
    """One change after the other, and fifty at once."""
    async with stand(base, database, 20) as made:
        for kind in itertools.islice(itertools.cycle(KINDS), changes):
            told_after, answered_after = await made.change(kind)
            figures.told_after[kind].append(told_after)
            figures.answered_after["1 event"].append(answered_after)
        for _ in range(rounds):
            figures.answered_after[f"{AT_ONCE} events"].append(await made.change_at_once())


async def busy(figures: Figures, base: str, database: str) -> None:
    """Single changes elsewhere for as long as the reference organisation's first sync runs."""
    async with stand(base, database, 4) as made:
        await during_a_first_sync(made, figures)


async def during_a_first_sync(made: Stand, figures: Figures) -> None:
    """What is told and answered while it runs."""
    first = (await control(made.running.base, ""))["organisations"][0]["id"]
    connection_id = await made.running.connect("the reference organisation", first)
    sync = asyncio.create_task(made.running.synced(connection_id))
    posting = asyncio.create_task(made.post_for_ever(figures.answered_after["1 event, during a first sync"]))
    for kind in itertools.cycle(KINDS):
        told_after, _ = await made.change(kind)
        if sync.done():
            break
        figures.told_after["during a first sync"].append(told_after)
    posting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await posting
    await sync


def rows(name: str, figures: Figures) -> Iterator[Figure]:
    """The table of one database."""
    single = sorted(itertools.chain(*(figures.told_after[kind] for kind in KINDS)))
    yield Figure(f"{name}: webhook to subscriber, p50 of {len(single)}", "ms", at(single, 0.5), 150)
    yield Figure(f"{name}: webhook to subscriber, p99", "ms", at(single, 0.99), 1_000)
    for kind in KINDS:
        yield Figure(f"{name}:   {kind}, p50", "ms", at(figures.told_after[kind], 0.5))
    during = figures.told_after["during a first sync"]
    yield Figure(f"{name}:   during a first sync, p50 of {len(during)}", "ms", at(during, 0.5))
    yield Figure(f"{name}:   during a first sync, p99", "ms", at(during, 0.99), 1_000)
    for what, answered in figures.answered_after.items():
        yield Figure(f"{name}: answer to {what}, p50 of {len(answered)}", "ms", at(answered, 0.5), 50)
        yield Figure(f"{name}: answer to {what}, p99", "ms", at(answered, 0.99), 50)


def at(figures: list[float], share: float) -> float:
    """The figure that this share of all does not exceed."""
    return sorted(figures)[max(0, math.ceil(len(figures) * share) - 1)]


@contextlib.contextmanager
def anew(kind: str) -> Iterator[tuple[str, str]]:
    """A sandbox of its own, and an empty database of this kind: their addresses."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder}/ours.db" if kind == "SQLite" else stack.enter_context(postgres(folder))
        yield stack.enter_context(sandbox(*OPTIONS, "--organisations", "21")), url


def main() -> int:
    """Measure on both databases, show, keep; 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--first-syncs", type=int, default=4, help="of about 25 answers each")
    parser.add_argument("--only", choices=("SQLite", "PostgreSQL"))
    asked = parser.parse_args()
    told_of: list[Figure] = []
    for kind in [asked.only] if asked.only else ["SQLite", "PostgreSQL"]:
        figures = Figures()
        with anew(kind) as (base, url):
            asyncio.run(quiet(figures, base, url, changes=asked.changes, rounds=asked.rounds))
        for _ in range(asked.first_syncs):
            with anew(kind) as (base, url):
                asyncio.run(busy(figures, base, url))
        told_of += rows(kind, figures)
    return int(told("from a webhook to its subscriber, Xero answering in 50 ms", told_of))


if __name__ == "__main__":
    sys.exit(main())
