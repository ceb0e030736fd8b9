"""Whose a thing is: the connection and the merchant behind an id."""

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import Column, select

from tieout_server.storage.database import Transaction
from tieout_server.storage.export_tables import payment_exports
from tieout_server.storage.reconciliation_tables import cases, discrepancies, reconciliations
from tieout_server.storage.tables import authorisations, connections, syncs


class Owner(msgspec.Struct, frozen=True):
    """The connection that a thing belongs to, and that connection's merchant. Neither ever changes."""

    merchant_id: str
    connection_id: str


IDS: Mapping[str, tuple[Column[str], Column[str]]] = {
    "connection": (connections.c.id, connections.c.id),
    "sync": (syncs.c.id, syncs.c.connection_id),
    "reconciliation": (reconciliations.c.id, reconciliations.c.connection_id),
    "discrepancy": (discrepancies.c.id, discrepancies.c.connection_id),
    "case": (cases.c.id, cases.c.connection_id),
    "payment export": (payment_exports.c.id, payment_exports.c.connection_id),
    "consent": (authorisations.c.state_hash, authorisations.c.connection_id),
}
"""For each kind of thing: its id, and its connection's."""


async def find(tx: Transaction, kind: str, ids: Collection[str]) -> Mapping[str, Owner]:
    """The owners of these things of one kind; what does not exist is left out."""
    key, connection_id = IDS[kind]
    query = select(key, connections.c.merchant_id, connections.c.id).where(
        connections.c.id == connection_id, key.in_(ids)
    )
    return {name: Owner(merchant_id, owner) for name, merchant_id, owner in await tx.execute(query)}
