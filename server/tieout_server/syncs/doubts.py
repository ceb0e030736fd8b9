"""What a gate holds and what somebody discarded: until it is asked about again, nothing takes it in by another way."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from tieout_server.ledger.documents import Document, Entity
from tieout_server.storage import live, syncs, watermarks
from tieout_server.storage.database import Transaction
from tieout_server.storage.syncs import SyncRecord
from tieout_server.syncs import gates, progress, skips
from tieout_server.syncs.intake import DoubtedError, entity_of, id_of
from tieout_server.syncs.state import Decision, SyncState

DOUBTED_FOR = timedelta(hours=1)
"""How long what a gate holds is not looked at again."""
DISCARDED_FOR = timedelta(days=1)
"""How long what somebody discarded is not asked about again."""
LOOKED_BACK = 2 * len(Entity)
"""Cancelled syncs among which a decision is looked for: in a day one entity can be discarded once."""


async def discarded(tx: Transaction, connection_id: str) -> Mapping[Entity, datetime]:
    """When somebody last discarded what a gate held, by entity, as far as the latest syncs tell."""
    found: dict[Entity, datetime] = {}
    for sync in await syncs.page(tx, connection_id, states=(SyncState.CANCELLED,), limit=LOOKED_BACK):
        if sync.resolution is not None and sync.resolution.decision == Decision.DISCARD:
            found = dict.fromkeys(await _held(tx, sync), sync.resolution.at) | found  # the newest come first
    return found


async def is_open(tx: Transaction, connection_id: str, now: datetime) -> bool:
    """Whether a sync is held, or something was discarded about which nobody has been asked again.

    A sync of that entity that succeeds asks. So does, a day later, whatever reads it, and that takes a moment.
    """
    latest = await syncs.latest(tx, connection_id)
    if latest is not None and latest.state == SyncState.HELD:
        return True
    since = await discarded(tx, connection_id)
    if not since:
        return False
    succeeded = await syncs.page(tx, connection_id, states=(SyncState.SUCCEEDED,), limit=1)
    marks = await watermarks.every(tx, connection_id)
    for entity, at in since.items():
        again_at = at + DISCARDED_FOR
        is_read = now >= again_at + DOUBTED_FOR and (entity not in marks or marks[entity].last_read_at >= again_at)
        if not is_read and not any(sync.created_at >= at and entity in sync.entities for sync in succeeded):
            return True
    return False


async def leaving(tx: Transaction, connection_id: str, documents: Sequence[Document]) -> frozenset[str]:
    """Which of these documents count here and would not any more, by id."""
    return frozenset().union(*(await _leaving(tx, connection_id, documents)).values())


async def leave(
    tx: Transaction, connection_id: str, documents: Sequence[Document], before: Mapping[Entity, int]
) -> Mapping[Entity, int]:
    """How many rows of each entity leave with these documents, after so many `before` them in the same reading.

    Raises:
        DoubtedError: they are too many to be committed unasked: a sync would be held.
    """
    removed = dict(before)
    for entity, left in (await _leaving(tx, connection_id, documents)).items():
        earlier = before.get(entity, 0)
        removed[entity] = earlier + len(left)
        if left and removed[entity] > gates.MANY:  # counting costs a look at all rows
            live_before = earlier + await live.count(tx, connection_id, entity)
            if doubt := gates.of_removals(entity, removed=removed[entity], live=live_before):
                raise DoubtedError(doubt)
    return removed


async def _leaving(
    tx: Transaction, connection_id: str, documents: Sequence[Document]
) -> Mapping[Entity, Collection[str]]:
    left: dict[Entity, list[str]] = {}
    for document in documents:
        if skips.reason(document):
            left.setdefault(entity_of(document), []).append(id_of(document))
    return {entity: await live.among(tx, connection_id, entity, ids) for entity, ids in left.items()}


async def _held(tx: Transaction, sync: SyncRecord) -> Sequence[Entity]:
    lines = [progress.load_line(stored) for stored in await syncs.lines(tx, sync.id)]
    return [line.entity for line in lines if line.held]
