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

AT_ONCE = 50
"""Exports that are changed in one transaction, so that nobody who waits for one of them waits for long."""


def in_parts(export_ids: Sequence[str]) -> list[Sequence[str]]:
    """These, so many at a time as are changed in one transaction."""
    return [export_ids[start : start + AT_ONCE] for start in range(0, len(export_ids), AT_ONCE)]


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
    (told,) = await _tell(tx, feed, [(export, happened)])
    return told


async def keep_all(tx: Transaction, feed: Feed, happened: Sequence[tuple[PaymentExport, ExportEvent]]) -> None:
    """Keep several that are held, and tell of them in this order; the last statement of the transaction."""
    for export, _ in happened:
        await exports.put(tx, export)
    await _tell(tx, feed, happened)


def again(export: PaymentExport, now: datetime, sentence: str, actor: str) -> tuple[PaymentExport, ExportEvent]:
    """An export that is to be tried again now, and what is told of that.

    Raises:
        NotPermittedNowError: it cannot be tried again.
    """
    status = move(export.xero_status, XeroStatus.QUEUED)
    queued = msgspec.structs.replace(export, xero_status=status, error=None, due_at=now, updated_at=now)
    return queued, ExportEvent(xero_status=status, sentence=sentence, actor=actor, occurred_at=now)


async def _tell(
    tx: Transaction, feed: Feed, happened: Sequence[tuple[PaymentExport, ExportEvent]]
) -> list[PaymentExport]:
    """Add to the histories of these exports, and tell of them; answers them as they are told."""
    histories = await exports.add_events(tx, {export.id: event for export, event in happened})
    own = await reversals.of_exports(tx, histories)
    told = []
    for export, event in happened:
        whole = msgspec.structs.replace(export, reversals=own.get(export.id, ()), history=histories[export.id][-TOLD:])
        payload = msgspec.json.encode(ExportChange(event=event, export=whole))
        await feed.append(tx, Event(0, export.connection_id, EXPORT, export.id, event.occurred_at, payload))
        told.append(whole)
    return told
