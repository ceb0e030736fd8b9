"""What was taken for removed, and what an invoice that is read now shows all the same: it is not paid again.

Xero never gives a removed payment back, so it was never gone: what said so, a copy that was behind or an answer, was
wrong. Only an export that is to be sent again looks; until then a person sees that it is said to be removed.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from tieout_server.exports.outcomes import WAITING, records_of, tell
from tieout_server.exports.state import StepState
from tieout_server.exports.turn import Turn
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.exports import PaymentExport, Step
from tieout_server.ledger.writes import Payable
from tieout_server.storage import export_steps, exports, webhooks
from tieout_server.storage.database import Transaction

STILL_THERE = "What was taken for removed is in Xero all the same."


async def note(
    turn: Turn, due: Sequence[PaymentExport], steps: Mapping[str, Sequence[Step]], payables: Collection[Payable]
) -> Collection[str]:
    """Note what of these exports counts again, and have it read again; answers the ids of those that changed."""
    payments = [payment for payable in payables for payment in payable.payments]
    shown = {name for one in payments for name in (one.xero_payment_id, one.xero_batch_payment_id)}
    back = {export.id: found for export in due if (found := _removed(export, steps[export.id]) & shown)}
    if not back:
        return ()
    async with turn.commit() as tx:
        await turn.means.wake_news(tx, turn.link.id)
        names = set[str]().union(*back.values())
        again = [one.xero_payment_id for one in payments if {one.xero_payment_id, one.xero_batch_payment_id} & names]
        await webhooks.put(tx, turn.link.id, [webhooks.following(Entity.PAYMENTS, one) for one in again], turn.now())
        for export in (await exports.lock_all(tx, back)).values():
            if export.xero_status in WAITING:
                await _count(tx, turn, export, back[export.id])
    return back


def _removed(export: PaymentExport, steps: Sequence[Step]) -> set[str]:
    """Xero's ids of what the export made or is linked to, and of what is said that somebody removed it."""
    made = {name for step in steps if _is_gone(step) for name in _names(step)}
    return made | {one.xero_id for one in export.records if one.removed and one.xero_id}


async def _count(tx: Transaction, turn: Turn, export: PaymentExport, there: Collection[str]) -> None:
    """Have the export count these again. Parts of a batch are removed with it only (Xero, Batch Payments)."""
    replace, steps = msgspec.structs.replace, []
    for step in (await export_steps.of_exports(tx, [export.id]))[export.id]:
        is_back = _is_gone(step) and not _names(step).isdisjoint(there)
        steps.append(replace(step, state=StepState.DONE) if is_back else step)
        if is_back:
            await export_steps.put(tx, steps[-1])
    linked = [replace(one, removed=one.removed and one.xero_id not in there) for one in export.records]
    export = replace(export, records=tuple(linked))
    await tell(tx, turn.means, replace(export, records=await records_of(tx, export, steps)), STILL_THERE)


def _is_gone(step: Step) -> bool:
    return step.state == StepState.GONE and not step.reversal_id


def _names(step: Step) -> set[str]:
    """Xero's ids of what a step made."""
    return {name for name in (step.xero_id, *(payment for _, payment in step.parts)) if name}
