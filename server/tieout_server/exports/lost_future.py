"""What was sent after a backup was made, and is not known to the database that was restored from it.

Payments need nothing of their own: who is examined sees at its invoice a payment of the same amount and day, links it
and does not pay again (`twins`), once no call of the lost future can be on its way any more. What takes a payment back
is a document that no invoice shows. So before anything is taken back it is looked whether documents with markers of
ours came meanwhile that nobody here knows; then a person looks at them, once, and says whether it goes on.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tieout_server.exports import markers
from tieout_server.exports.means import Means
from tieout_server.exports.outcomes import SURE_AFTER
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import ExportReason, StepState
from tieout_server.exports.turn import Turn
from tieout_server.ledger.exports import ExportError, PaymentExport, Reversal, Step
from tieout_server.ledger.writes import RecordKind
from tieout_server.storage import export_steps, exports

LOOKED_FOR = timedelta(days=60)
"""How long after a restore: who has not asked again by then for what was lost will not."""
MARGIN = timedelta(minutes=5)
"""Between our clock, by which the last thing known happened, and Xero's."""
_MADE = (RecordKind.CREDIT_NOTE, RecordKind.INVOICE, RecordKind.SPENT_MONEY)
"""What taking back begins with, beside deletions, which nobody can do twice."""
_SAID = "The database was restored from a backup, and Xero holds documents that were made after it:"


def quiet(means: Means) -> datetime | None:
    """Until when nothing is sent, because the database was restored just now; None at all other times.

    A call of the future that was lost may still be on its way into Xero until then.
    """
    if means.restored is None or means.clock.now() >= means.restored.at + SURE_AFTER:
        return None
    return means.restored.at + SURE_AFTER


async def look(turn: Turn, reversal: Reversal, export: PaymentExport, steps: Sequence[Step]) -> ExportError | None:
    """What a person has to look at before this is taken back; None where there is nothing, or they have."""
    restored, now = turn.means.restored, turn.now()
    if restored is None or now > restored.at + LOOKED_FOR:
        return None
    is_begun = any(step.reversal_id == reversal.id and step.state == StepState.DONE for step in steps)
    if is_begun or await _was_told(turn, export, restored.at):
        return None
    since = restored.known_until - MARGIN
    found = [one for kind in _MADE for one in await turn.books.records_since(kind, since)]
    borne = markers.within([text for one in found if one.is_there for text in one.texts])
    async with turn.means.database.read() as tx:
        known = {step.marker for step in await export_steps.with_marker(tx, turn.link.id, borne)}
    if not (unknown := sorted(borne - known)):
        return None
    return Case(at=now).error(
        ExportReason.REJECTED_BY_XERO,
        f"{_SAID} {', '.join(unknown)}. One of them may take this payment back already.",
        "Look for these marks in Xero. Where none of them is for this payment, try again with ReexportPayment.",
    )


async def _was_told(turn: Turn, export: PaymentExport, since: datetime) -> bool:
    """Whether a person was told so since the restore: who tries it again then has looked."""
    async with turn.means.database.read() as tx:
        told = await exports.get(tx, export.id, history=True)
    return told is not None and any(_SAID in one.sentence and one.occurred_at >= since for one in told.history)
