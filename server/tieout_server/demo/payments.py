"""What the demo shows of payments: one that is recorded in Xero, and one that first has no account to go to."""

import json
from typing import Any

from tieout_server.demo.sandbox import Xero
from tieout_server.demo.stage import Stage, say
from tieout_server.demo.steps import MERCHANT

ACCOUNTS = {"NZD": "Business Account", "EUR": "Euro Account"}
"""The bank accounts of the sandbox's books, by currency."""
MUST_ACT = 3
"""The exit status of a payment that somebody has to help."""


async def payments(xero: Xero, stage: Stage) -> None:
    """Export two payments of open invoices; the second one goes on as soon as its account is chosen."""
    say("\ntwo invoices are paid on the platform, and the books are to show it once:")
    invoices = await _open_invoices(stage)
    await stage.run("tieout", "export-accounts", MERCHANT)
    await _choose(stage, "NZD")
    await _export(stage, "pay-1001", invoices["NZD"])
    say(f"  seen in Xero: {xero.page_of_invoice(invoices['NZD']['xero_invoice_id'])}")
    await _export(stage, "pay-1002", invoices["EUR"], statuses=(MUST_ACT,))
    say("\nan account for EUR is chosen, and what waited for it goes on by itself; to ask for it again does no harm:")
    await _choose(stage, "EUR")
    await _export(stage, "pay-1002", invoices["EUR"])
    await stage.run("tieout", "payments", "list", MERCHANT)


async def _open_invoices(stage: Stage) -> dict[str, dict[str, Any]]:
    """In each currency that there is an account for the open invoice that is due first."""
    listed = ("tieout", "invoices", MERCHANT, "--status", "authorised", "--limit", "0", "--json")
    rows = [json.loads(line) for line in (await stage.run(*listed, quiet=True)).splitlines()]
    found = {it["amount_due"]["currency_code"]: it for it in reversed(rows)}
    return {currency: found[currency] for currency in ACCOUNTS}


async def _choose(stage: Stage, currency: str) -> None:
    await stage.run("tieout", "export-settings", MERCHANT, "--account", f"{currency}={ACCOUNTS[currency]}")


async def _export(stage: Stage, payment_id: str, invoice: dict[str, Any], statuses: tuple[int, ...] = (0,)) -> None:
    """Export a payment of all that is due on an invoice, and wait for what becomes of it."""
    due = invoice["amount_due"]
    pays = ("--currency", due["currency_code"], "--pays", f"{invoice['number']}={due['amount']}")
    asked = ("tieout", "payments", "export", MERCHANT, "--payment-id", payment_id, *pays, "--wait")
    await stage.run(*asked, statuses=statuses)
