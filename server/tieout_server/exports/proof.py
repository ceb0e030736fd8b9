"""Proving that what was taken back is so in Xero: what was made is there, and what was deleted is not."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server.exports import sentences
from tieout_server.exports.outcomes import tell
from tieout_server.exports.send import VERIFY_AFTER
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import StepState, XeroStatus
from tieout_server.exports.turn import Turn
from tieout_server.ledger.exports import ExportError, PaymentExport, Reversal, Step
from tieout_server.ledger.writes import Deletion, RecordKind, kind_of
from tieout_server.storage import exports, reversals
from tieout_server.storage.database import Transaction

ALARM_AFTER = timedelta(hours=1)
"""When it is told that Xero does not show what it accepted; it is looked for each such time afterwards."""


async def prove(turn: Turn, reversal: Reversal, steps: Sequence[Step]) -> None:
    """Look whether Xero shows what these steps of a reversal did: it is VERIFIED, looked for again, or was removed.

    Raises what `WritableBooks` does.
    """
    is_shown, removed = True, set[RecordKind]()
    for step in [one for one in steps if one.state == StepState.DONE]:
        seen = await turn.books.status_of(kind_of(step.draft), step.xero_id)
        is_there = seen is not None and seen.is_there
        if isinstance(step.draft, Deletion):
            is_shown &= not is_there
        elif seen is not None and not is_there:
            removed.add(kind_of(step.draft))
        else:
            is_shown &= is_there
    async with turn.commit() as tx:
        export = await exports.get(tx, reversal.export_id, lock=True)
        held = await reversals.get(tx, reversal.id)
        if export is None or held is None:
            return
        if removed:
            await _removed(tx, turn, export, held, sorted(removed))
        elif is_shown:
            await _proven(tx, turn, export, held)
        else:
            await _not_shown(tx, turn, held)


async def look_again(tx: Transaction, turn: Turn, reversal: Reversal, error: ExportError | None, at: datetime) -> None:
    """Have it proven later, with its export held; what is in the way is told once and stands on it meanwhile."""
    before = reversal.error
    is_told = before is not None and error is not None and before.sentence == error.sentence
    said = before if is_told else error
    await reversals.put(tx, msgspec.structs.replace(reversal, error=said, due_at=at, updated_at=turn.now()))
    export = await exports.get(tx, reversal.export_id)
    if export is not None and error is not None and not is_told:
        await tell(tx, turn.means, export, error.sentence)


async def _proven(tx: Transaction, turn: Turn, export: PaymentExport, reversal: Reversal) -> None:
    proven = msgspec.structs.replace(
        reversal, xero_status=XeroStatus.VERIFIED, error=None, due_at=None, updated_at=turn.now()
    )
    await reversals.put(tx, proven)
    await tell(tx, turn.means, export, "Seen in Xero: it is taken back.")


async def _not_shown(tx: Transaction, turn: Turn, reversal: Reversal) -> None:
    now = turn.now()
    lasts = now - (reversal.completed_at or now)
    error = sentences.not_shown(Case(at=now)) if lasts >= ALARM_AFTER else None
    again_at = now + min(max(lasts, VERIFY_AFTER), ALARM_AFTER)
    await look_again(tx, turn, reversal, error, again_at)


async def _removed(
    tx: Transaction, turn: Turn, export: PaymentExport, reversal: Reversal, kinds: Sequence[RecordKind]
) -> None:
    """Xero never gives back what was removed: there is nothing more to look for."""
    now = turn.now()
    error = sentences.reversal_removed(Case(at=now), kinds)
    removed = msgspec.structs.replace(
        reversal, xero_status=XeroStatus.REMOVED_IN_XERO, error=error, due_at=None, updated_at=now
    )
    await reversals.put(tx, removed)
    await tell(tx, turn.means, export, error.sentence)
