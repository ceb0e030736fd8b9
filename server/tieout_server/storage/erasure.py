"""Erasing one person: what the tables have of a customer beside the documents, which are the merchant's own records.

A contact that is erased has the status GDPRREQUEST here, whatever Xero states of it: then only a version that is newer
than the one that was erased writes it again (`storage.mirror`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Table, delete, func, or_, select, update

from tieout_server.clock import to_micros
from tieout_server.ledger.documents import Contact, ContactStatus
from tieout_server.storage import changes, customers
from tieout_server.storage.database import Transaction
from tieout_server.storage.reconciliation_tables import cases, comparisons, discrepancies, platform_balances
from tieout_server.storage.rows import ContactDetails
from tieout_server.storage.tables import contacts

ERASED = "What was said here was erased with the customer."
_BLANK: dict[str, object] = {
    "status": ContactStatus.GDPRREQUEST.value,
    **dict.fromkeys(("name", "name_key", "email", "contact_number", "account_number"), ""),
    "details": msgspec.json.encode(ContactDetails()).decode(),
}
"""What a contact's row says once it is erased: which contact it is, and what amounts need, stays."""


async def is_left_by(tx: Transaction, connection_id: str, stated: Sequence[Contact]) -> bool:
    """Whether something has to be erased once these contacts are saved as Xero states them.

    That is so where one is erased there that was not here yet, or was merged into one that is erased here.
    """
    erased = {one.xero_contact_id for one in stated if one.status == ContactStatus.GDPRREQUEST}
    into = {one.merged_into for one in stated if one.merged_into}
    if not erased and not into:
        return False
    later = await customers.merges(tx, connection_id, into)
    winners = into | set(later.values())
    known = await _erased_among(tx, connection_id, erased | winners)
    return bool(erased - known or winners & known)


async def people(tx: Transaction, connection_id: str) -> Sequence[str]:
    """The contacts that are erased, by id."""
    query = select(contacts.c.xero_contact_id).where(
        contacts.c.connection_id == connection_id, contacts.c.status == ContactStatus.GDPRREQUEST
    )
    return (await tx.execute(query.order_by(contacts.c.xero_contact_id))).scalars().all()


async def count(tx: Transaction, connection_id: str, members: Collection[str]) -> dict[str, int]:
    """How much there is to erase of these contacts, by kind."""
    found = {}
    for kind, (table, condition) in _whats(members).items():
        query = select(func.count()).select_from(table).where(table.c.connection_id == connection_id, condition)
        found[kind] = int((await tx.execute(query)).scalar_one())
    return found


async def erase(tx: Transaction, connection_id: str, members: Collection[str], at: datetime) -> None:
    """Erase what there is of these contacts.

    Discrepancies go with their history. Writers of the mirror wait from here to the commit, and whoever calls tells
    of the changes.
    """
    number = await changes.next_number(tx, connection_id, "")
    blank = _BLANK | {"changed_at": to_micros(at), "change_number": number}
    instead: dict[Table, dict[str, object]] = {contacts: blank, cases: {"description": ERASED, "sentence": ERASED}}
    for table, condition in _whats(members).values():
        of = table.c.connection_id == connection_id, condition
        await tx.execute(
            update(table).where(*of).values(**instead[table]) if table in instead else delete(table).where(*of)
        )


def _whats(members: Collection[str]) -> Mapping[str, tuple[Table, ColumnElement[bool]]]:
    """Where there is something of these contacts, by kind, and which rows of a connection are theirs and not erased."""
    names_one = or_(*(cases.c.customer_ids.contains(f'"{one}"', autoescape=True) for one in members))
    return {
        "customers": (contacts, contacts.c.xero_contact_id.in_(members) & _says_something()),
        "discrepancies": (discrepancies, discrepancies.c.xero_contact_id.in_(members)),
        "comparisons": (comparisons, comparisons.c.xero_contact_id.in_(members)),
        "platform_balances": (platform_balances, platform_balances.c.named.in_(members)),
        "cases": (cases, names_one & (cases.c.description != ERASED)),
    }


def _says_something() -> ColumnElement[bool]:
    return or_(*(contacts.c[column] != blank for column, blank in _BLANK.items()))


async def _erased_among(tx: Transaction, connection_id: str, ids: Collection[str]) -> set[str]:
    """Those of these contacts that are erased here, with nothing left that names them."""
    query = select(contacts.c.xero_contact_id).where(
        contacts.c.connection_id == connection_id, contacts.c.xero_contact_id.in_(ids), ~_says_something()
    )
    return set((await tx.execute(query)).scalars())
