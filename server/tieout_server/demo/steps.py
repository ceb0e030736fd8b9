"""What the demo shows, step by step: a merchant connected, a first sync, a customer who is off balance explained."""

import asyncio
import json
from urllib.parse import urlsplit

from tieout_server.demo.sandbox import Xero
from tieout_server.demo.stage import Stage, say

MERCHANT = "demo-merchant"
CUSTOMER = "Fern Landscapes 104 Ltd"
"""Who is off balance: somebody with open invoices that nothing was paid on, so that one of them can be voided."""
CONSENT_WITHIN = 600.0
"""Seconds that a person may take in the browser."""
OFF_BALANCE = 3
"""The exit status of `tieout reconcile` where a person must act."""


async def connect(xero: Xero, stage: Stage, *, browser: bool) -> None:
    """Connect the merchant, with a person or without one."""
    if browser:
        async with asyncio.timeout(CONSENT_WITHIN):
            await stage.run("tieout", "connect", MERCHANT, "--wait")
        return
    answer = await stage.run("tieout", "connect", MERCHANT, "--json", "--no-browser", quiet=True)
    url = json.loads(answer)["authorization_url"]
    say(f"consent is given for you, as the sandbox's bookkeeper, at {urlsplit(url).netloc}")
    await xero.consent(url)


async def first_sync(stage: Stage) -> None:
    """Read everything, and show how fresh it is and who owes what."""
    await stage.run("tieout", "sync", MERCHANT, "--follow")
    await stage.run("tieout", "freshness", MERCHANT)
    await stage.run("tieout", "customers", MERCHANT, "--limit", "12")


async def off_balance(xero: Xero, stage: Stage) -> None:
    """Let one customer's balances differ in two ways: one is repaired, one explained; then ask who may be chased.

    Nobody is told that the invoice was voided: no webhook is sent, and its UpdatedDateUTC stays.
    """
    say(f"\nmeanwhile, at {CUSTOMER} in Xero (two buttons of the sandbox's page):")
    voided, draft = [await xero.bring_about(cause, CUSTOMER) for cause in ("MISSED_DELETION", "DRAFT_COUNTED")]
    for deed in (voided, draft):
        say(f"  {deed['said']}")
    await stage.run("tieout", "reconcile", MERCHANT, CUSTOMER, statuses=(OFF_BALANCE,))
    listed = ("tieout", "invoices", MERCHANT, "--customer", CUSTOMER, "--status", "authorised", "--json")
    still_open = [json.loads(line)["number"] for line in (await stage.run(*listed, quiet=True)).splitlines()]
    await stage.run("tieout", "chase-check", MERCHANT, voided["documents"][0]["number"], *still_open)


async def discrepancy_of_the_customer(stage: Stage) -> str:
    """The id of what was found."""
    found = await stage.run("tieout", "discrepancies", MERCHANT, "--customer", CUSTOMER, "--json", quiet=True)
    return str(json.loads(found)["id"])


async def organisation(stage: Stage) -> str:
    """The name of the organisation that the merchant is connected with."""
    shown = await stage.run("tieout", "connections", MERCHANT, "--json", quiet=True)
    return str(json.loads(shown)["organisation"]["name"])
