"""What customers owe according to the caller's own books, as it was last submitted."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import delete, func, select

from tieout_server.clock import to_micros
from tieout_server.ledger.money import from_units, to_units
from tieout_server.storage.database import Transaction
from tieout_server.storage.reconciliation_tables import platform_balances

SLICE = 1_000
"""Balances in one statement."""


class PlatformBalance(msgspec.Struct, frozen=True):
    """What one customer, named by Xero's id of a contact, owes in one currency."""

    named: str
    currency: str
    balance: Decimal


async def replace(tx: Transaction, connection_id: str, stated: Sequence[PlatformBalance], as_of: datetime) -> None:
    """Keep these balances in place of all that were submitted before."""
    await tx.execute(delete(platform_balances).where(platform_balances.c.connection_id == connection_id))
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    at = to_micros(as_of)
    for start in range(0, len(stated), SLICE):
        some = stated[start : start + SLICE]
        rows = [(connection_id, one.named, one.currency, to_units(one.balance), at) for one in some]
        await tx.exec_driver_sql(_PUT.format(place), rows)


_PUT = "INSERT INTO platform_balances (connection_id, named, currency, balance, as_of) VALUES ({0}, {0}, {0}, {0}, {0})"


async def of_contacts(tx: Transaction, connection_id: str, contacts: Collection[str]) -> Mapping[str, Decimal]:
    """What these contacts together owe per currency; a currency of which nothing was submitted is left out."""
    balance = func.sum(platform_balances.c.balance)
    query = select(platform_balances.c.currency, balance).where(
        platform_balances.c.connection_id == connection_id, platform_balances.c.named.in_(contacts)
    )
    found = await tx.execute(query.group_by(platform_balances.c.currency))
    return {row[0]: from_units(int(row[1])) for row in found}
