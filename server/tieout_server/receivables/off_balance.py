"""Why customers are off balance, in a sentence for a person."""

from collections.abc import Iterable, Sequence

import msgspec

from tieout_server.receivables.views import Customer
from tieout_server.storage import discrepancies
from tieout_server.storage.database import Transaction
from tieout_server.storage.discrepancies import Discrepancy


async def with_differences(tx: Transaction, connection_id: str, customers: Sequence[Customer]) -> list[Customer]:
    """These customers; those that are off balance with the sentence that says why. Costs nothing where none is."""
    off = [customer.customer_id for customer in customers if customer.off_balance]
    if not off:
        return list(customers)
    found = await discrepancies.open_of(tx, connection_id, off)
    return [
        msgspec.structs.replace(customer, off_balance_sentence=_sentence(found.get(customer.customer_id, ())))
        for customer in customers
    ]


def _sentence(found: Iterable[Discrepancy]) -> str:
    return " ".join(one.sentence or f"The difference in {one.currency} is being examined." for one in found)
