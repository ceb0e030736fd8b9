"""Noting that both sides agree of customers who differed once: what they came to over time goes on until now."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from tieout_server.ledger.links import Link
from tieout_server.reconciliations.afresh import item_of
from tieout_server.reconciliations.items import balances
from tieout_server.reconciliations.messages import BalanceSource
from tieout_server.storage import comparisons, customers, open_items
from tieout_server.storage.comparisons import Compared
from tieout_server.storage.database import Transaction


async def note(tx: Transaction, link: Link, agreeing: Collection[str], at: datetime) -> None:
    """Note of these customers what both sides come to now, in each currency in which they were ever compared."""
    for customer in sorted(set(agreeing) & await comparisons.compared_before(tx, link.id)):
        family = await customers.families(tx, link.id, [customer])
        kept = await open_items.of_contacts(tx, link.id, family)
        ours = {
            currency: amount
            for (_, currency), amount in balances([item_of(one.document) for one in kept], family).items()
        }
        before = {one.currency: Decimal(0) for one in await comparisons.history(tx, link.id, customer)}
        figures = [
            Compared(currency, at, amount, amount, BalanceSource.CONTACT)
            for currency, amount in (before | ours).items()
        ]
        await comparisons.note(tx, link.id, customer, figures)
