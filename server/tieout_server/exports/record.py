"""Keeping what happens to exports: the row, the history, and the event that tells of it, in one transaction."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tieout_server.events.feed import EXPORT, Feed
from tieout_server.exports.state import XeroStatus, move
from tieout_server.ledger.exports import ExportChange, ExportEvent, PaymentExport
from tieout_server.storage import exports, reversals
from tieout_server.storage.database import Transaction
from tieout_server.storage.events import Event
from tieout_server.storage.exports import KEEP

TOLD = 50
"""Entries of its history that come with each event about an export; reading the export gives all."""


async def keep(
    tx: Transaction,
    feed: Feed,
    export: PaymentExport,
    happened: ExportEvent,
    *,
    verify_at: datetime | msgspec.UnsetType | None = KEEP,
) -> PaymentExport:
    """Keep an export that is held, to which this happened, and tell of it; the last statement of the transaction.

    Answers the export as it was told: with its history and its reversals. `verify_at`: see `storage.exports.put`.
    """
    await exports.put(tx, export, verify_at=verify_at)
    await exports.add_event(tx, export.id, happened)
    return await _tell(tx, feed, export, happened)


async def keep_all(tx: Transaction, feed: Feed, happened: Sequence[tuple[PaymentExport, ExportEvent]]) -> None:
    """Keep several that are held, and tell of them in this order; the last statement of the transaction."""
    for export, event in happened:
        await exports.put(tx, export)
        await exports.add_event(tx, export.id, event)
    for export, event in happened:
        await _tell(tx, feed, export, event)


def again(export: PaymentExport, now: datetime, sentence: str, actor: str) -> tuple[PaymentExport, ExportEvent]:
    """An export that is to be tried again now, and what is told of that.

    Raises:
        NotPermittedNowError: it cannot be tried again.
    """
    status = move(export.xero_status, XeroStatus.QUEUED)
    queued = msgspec.structs.replace(export, xero_status=status, error=None, due_at=now, updated_at=now)
    return queued, ExportEvent(xero_status=status, sentence=sentence, actor=actor, occurred_at=now)


async def _tell(tx: Transaction, feed: Feed, export: PaymentExport, happened: ExportEvent) -> PaymentExport:
    own = await reversals.of_exports(tx, [export.id])
    history = await exports.events_of(tx, export.id, newest=TOLD)
    told = msgspec.structs.replace(export, reversals=own.get(export.id, ()), history=history)
    payload = msgspec.json.encode(ExportChange(event=happened, export=told))
    await feed.append(tx, Event(0, export.connection_id, EXPORT, export.id, happened.occurred_at, payload))
    return told
