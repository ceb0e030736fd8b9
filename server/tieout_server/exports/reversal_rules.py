"""What a reversal's steps, and the reversals beside it, say of it: nothing is asked here, all is given."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tieout_server.exports import plan, sentences
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import REVERSIBLE, ReversalKind, StepState, XeroStatus
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.exports import ExportError, PaymentExport, Reversal, Step, XeroRecord
from tieout_server.ledger.writes import Deletion, RefundDraft

DONE = (XeroStatus.EXPORTED, XeroStatus.VERIFIED)
BEGUN = (StepState.SENDING, StepState.UNKNOWN, StepState.DONE)
LIVE = (StepState.PLANNED, StepState.SENDING, StepState.UNKNOWN, StepState.DONE, StepState.REFUSED)


def steps_of(reversal: Reversal, steps: Sequence[Step]) -> list[Step]:
    """The reversal's own steps that count, in order."""
    return [step for step in steps if step.reversal_id == reversal.id and step.state in LIVE]


def is_begun(reversal: Reversal, steps: Sequence[Step]) -> bool:
    """Whether anything of it is in Xero, or may be."""
    return any(step.reversal_id == reversal.id and step.state in BEGUN for step in steps)


def is_kept(step: Step) -> bool:
    """Whether Xero does not let anybody delete it: another way was planned in its place."""
    return isinstance(step.draft, Deletion) and step.state == StepState.REFUSED


def credited(reversal: Reversal, steps: Sequence[Step]) -> Decimal:
    """What other reversals refunded of the invoices by credit notes."""
    refunds = [
        step.draft.amount
        for step in steps
        if step.state == StepState.DONE
        and step.reversal_id not in ("", reversal.id)
        and isinstance(step.draft, RefundDraft)
        and step.draft.entity is Entity.CREDIT_NOTES
    ]
    return sum(refunds, Decimal(0))


def as_planned(step: Step) -> Step:
    """The step as it was before it learnt which credit note it refunds: so a new plan finds it again."""
    draft = step.draft
    if not isinstance(draft, RefundDraft) or draft.entity is not Entity.CREDIT_NOTES:
        return step
    return msgspec.structs.replace(step, draft=msgspec.structs.replace(draft, xero_credit_id=""))


def records_made(reversal: Reversal, steps: Sequence[Step]) -> tuple[XeroRecord, ...]:
    """What was made in Xero for it; nothing where a payment was deleted."""
    made = [step for step in steps if step.state == StepState.DONE]
    return tuple(one for step in made for one in plan.records(step.draft, reversal.currency, {}, step.xero_id))


def out_of_date(
    export: PaymentExport, reversal: Reversal, steps: Sequence[Step], now: datetime
) -> tuple[ExportError, ...]:
    """What has become of an export since a reversal was asked for that had not begun: it may have failed meanwhile."""
    if is_begun(reversal, steps):
        return ()
    others = [one for one in export.reversals if one.id != reversal.id]
    counted = [one for one in others if one.xero_status != XeroStatus.ERROR or is_begun(one, steps)]
    left = export.payment.amount - sum((one.amount for one in counted), Decimal(0))
    if reversal.amount > left:
        return (sentences.taken_back_meanwhile(Case(at=now), left, reversal.currency),)
    if export.xero_status not in (*REVERSIBLE, XeroStatus.REMOVED_IN_XERO):
        return (sentences.nothing_to_take_back(Case(at=now)),)
    return ()


def is_all_taken_back(export: PaymentExport) -> bool:
    """Whether reversals that are done come to all of an export."""
    done = [one.amount for one in export.reversals if one.xero_status in DONE]
    return sum(done, Decimal(0)) >= export.payment.amount


def is_over(export: PaymentExport, reversal: Reversal) -> bool:
    """Whether with this reversal all of an export is taken back."""
    others = [one for one in export.reversals if one.id != reversal.id and one.xero_status in DONE]
    if sum((one.amount for one in others), reversal.amount) < export.payment.amount:
        return False
    is_removed = export.xero_status == XeroStatus.REMOVED_IN_XERO and reversal.kind != ReversalKind.REFUND
    return is_removed or export.xero_status in REVERSIBLE  # a refund of what was removed leaves that to somebody
