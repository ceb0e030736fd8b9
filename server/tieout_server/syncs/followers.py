"""What has to be read because something else changed: it moved with that, and perhaps no event says so."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from tieout_server.ledger.documents import CREDITS, Document, Entity
from tieout_server.storage import contradictions, webhooks
from tieout_server.storage.database import Transaction
from tieout_server.storage.webhooks import Named, following
from tieout_server.syncs import person
from tieout_server.syncs.intake import entity_of, id_of

FEW_CREDITS = 3
"""Credits of a merged contact that are read at once, of each kind: each is a call."""
MOST_DELETED = 25
"""Payments that are asked for, each by a call, because one of them was deleted: somebody may delete a whole batch of
them. That is less than half of a minute's calls; the sweep finds the others."""
OF_A_MERGE = 40
"""Documents of a merged contact that are read at once; the sweep finds the others."""


async def save(
    tx: Transaction, connection_id: str, documents: Sequence[Document], *, seen_in: int, at: datetime
) -> int:
    """`person.save`, and have read what moved with what changed; answers how many rows are other now.

    Whoever calls has woken the work `news` before: see Transaction.
    """
    saved = await person.save(tx, connection_id, documents, seen_in=seen_in, at=at)
    if saved.changed:
        await follow(tx, connection_id, documents, at)
    return saved.changed


async def follow(tx: Transaction, connection_id: str, documents: Sequence[Document], at: datetime) -> None:
    """Have read what moved with these documents, which have changed here by now.

    Whoever calls has woken the work `news` before the documents were written: see Transaction.
    """
    for entity in dict.fromkeys(map(entity_of, documents)):
        if entity is not Entity.ACCOUNTS:
            ids = [id_of(document) for document in documents if entity_of(document) is entity]
            await webhooks.put(tx, connection_id, await followers(tx, connection_id, entity, ids), at)


async def followers(tx: Transaction, connection_id: str, entity: Entity, ids: Collection[str]) -> list[Named]:
    """What moved with these documents, which are here as Xero states them now."""
    if entity is Entity.CONTACTS:
        return await _of_contacts(tx, connection_id, ids)
    if entity is Entity.PAYMENTS:
        return await _of_payments(tx, connection_id, ids)
    contacts = await contradictions.strangers(tx, connection_id, entity, ids)
    payments = await _payments_of(tx, connection_id, ids)
    if entity is Entity.INVOICES:
        return [*_each(Entity.CONTACTS, contacts), *payments, *await _credits_of(tx, connection_id, ids)]
    odd = await contradictions.uncredited(tx, connection_id, await contradictions.credited_of(tx, connection_id, ids))
    return [*_each(Entity.CONTACTS, contacts), *payments, *_each(Entity.INVOICES, odd)]


async def _of_contacts(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[Named]:
    """After a merge: who took over, and the documents that were taken over. Xero moves neither's UpdatedDateUTC."""
    winners = await contradictions.merged_into(tx, connection_id, ids)
    if not winners:
        return []
    documents = [
        one
        for entity, most in ((Entity.INVOICES, OF_A_MERGE), *((credit, FEW_CREDITS) for credit in CREDITS))
        for one in _each(entity, await contradictions.of_merged_contacts(tx, connection_id, entity, most))
    ]
    return [*_each(Entity.CONTACTS, winners), *documents]


async def _of_payments(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[Named]:
    """The invoices and credits that do not yet show these payments."""
    odd = await contradictions.unpaid(
        tx, connection_id, await contradictions.paid_documents(tx, connection_id, list(ids))
    )
    entities = await contradictions.entities_of(tx, connection_id, odd)
    return [following(entity, name) for name, entity in entities.items()]


async def _payments_of(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[Named]:
    """The payments that these documents show and that are not here, or the other way round."""
    missing = await contradictions.unpaid(tx, connection_id, ids)
    if not missing:
        return []
    deleted = [name for name, units in missing.items() if units < 0]
    excess = await contradictions.excess_payments(tx, connection_id, MOST_DELETED, of=deleted) if deleted else ()
    by_ids = _each(Entity.PAYMENTS, excess)  # a listing of changes may leave deleted ones out (UNSURE register, U5)
    return by_ids if len(deleted) == len(missing) else [following(Entity.PAYMENTS), *by_ids]


async def _credits_of(tx: Transaction, connection_id: str, ids: Collection[str]) -> list[Named]:
    """The credits whose allocations these invoices show and that are not here, or the other way round."""
    missing = await contradictions.uncredited(tx, connection_id, ids)
    if not missing:
        return []
    removed = [name for name, units in missing.items() if units < 0]
    known = await contradictions.credited_by(tx, connection_id, removed) if removed else {}
    if len(removed) < len(missing):
        return [following(entity) for entity in CREDITS]
    return [following(entity, name) for name, entity in known.items()]


def _each(entity: Entity, ids: Iterable[str]) -> list[Named]:
    return [following(entity, name) for name in ids]
