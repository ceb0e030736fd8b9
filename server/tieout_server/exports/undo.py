"""Taking payments back: a reversal is planned once, kept, and its steps are sent one after the other, each once.

Unlike an export's, a reversal's plan is kept before its first step is sent, as later steps need what earlier ones made
(a refund names its credit note). Killed between two steps, the next owner goes on with the next one that is PLANNED.
A step that was looked for and never came is PLANNED again: nothing of it can arrive any more. What Xero will not
delete is planned anew, in the open period.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.errors import BugError, RejectedError
from tieout_server.exports import lost_future, plan, sentences
from tieout_server.exports.accounts import REFUNDS
from tieout_server.exports.means import Means
from tieout_server.exports.outcomes import covered, invoices_of, look_at, records_of, tell
from tieout_server.exports.preflight import XERO_CLOCK_MARGIN, Footing, Preflight, read_payables
from tieout_server.exports.proof import look_again, prove
from tieout_server.exports.refusals import Refused, classify, says_undeletable
from tieout_server.exports.reversal_rules import (
    as_planned,
    credited,
    is_kept,
    is_over,
    out_of_date,
    records_made,
    steps_of,
)
from tieout_server.exports.send import VERIFY_AFTER, Result, Sender
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import ExportReason, ReversalKind, StepState, XeroStatus
from tieout_server.exports.taking_back import Undoing, Undone, take_back
from tieout_server.exports.turn import Turn
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.exports import ExportError, PaymentExport, Reversal, Step
from tieout_server.ledger.money import readable
from tieout_server.ledger.writes import (
    BatchDraft,
    CreditNoteDraft,
    Deletion,
    Draft,
    InvoiceDraft,
    InvoiceLines,
    Payable,
    PaymentDraft,
    RefundDraft,
    SpentMoneyDraft,
    kind_of,
)
from tieout_server.storage import export_steps, exports, receivables, reversals
from tieout_server.storage.database import Transaction

logger = log.get("exports")

AT_ONCE = 20
"""Reversals in one slice."""
LATER = timedelta(minutes=30)
"""When to look again at what Xero answered beyond understanding."""


class ReversalOutcomes:
    """The reversals that steps belong to, brought in line with them, and their exports."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def begin(self, tx: Transaction, steps: Sequence[Step]) -> Sequence[Step]:
        """Note that these are about to be sent; those of which a purge took the export are left out."""
        begun: list[Step] = []
        for step in steps:
            found = await self._held(tx, step)
            if found is None:
                continue
            _, reversal = found
            await export_steps.put(tx, step)
            await self._put(tx, reversal, xero_status=XeroStatus.SENDING, error=None, due_at=None)
            begun.append(step)
        return begun

    async def settle(self, tx: Transaction, results: Sequence[Result]) -> None:
        """Note what became of steps that were sent, or may have been."""
        for result in results:
            if found := await self._held(tx, result.step):
                await self._settle(tx, *found, result)

    async def _held(self, tx: Transaction, step: Step) -> tuple[PaymentExport, Reversal] | None:
        export = await exports.get(tx, step.export_id, lock=True)
        reversal = await reversals.get(tx, step.reversal_id)
        return (export, reversal) if export and reversal else None

    async def _settle(self, tx: Transaction, export: PaymentExport, reversal: Reversal, result: Result) -> None:
        now, step = self._means.clock.now(), result.step
        match step.state:
            case StepState.UNKNOWN:
                due_at = look_at(step, now)
                await self._put(tx, reversal, xero_status=XeroStatus.OUTCOME_UNKNOWN, due_at=due_at)
                said = f"Xero's answer to taking it back was lost; it is looked for, next at {due_at:%H:%M:%S} UTC."
                await tell(tx, self._means, export, said)
            case StepState.DONE | StepState.GONE:
                await self._done(tx, export, reversal, step)
            case StepState.REFUSED:
                await self._refused(tx, export, reversal, result)
            case _:  # nothing of it came, and nothing can come any more: the same step goes again
                await export_steps.put(tx, msgspec.structs.replace(step, state=StepState.PLANNED))
                await self._put(tx, reversal, xero_status=XeroStatus.QUEUED, error=result.waits, due_at=now)
                await tell(tx, self._means, export, f"Not taken back yet. {result.sentence}")

    async def _done(self, tx: Transaction, export: PaymentExport, reversal: Reversal, step: Step) -> None:
        now = self._means.clock.now()
        steps = await self._delete(tx, export, step)
        export = msgspec.structs.replace(export, records=await records_of(tx, export, steps))
        own = [one for one in steps_of(reversal, steps) if not is_kept(one)]
        reversal = msgspec.structs.replace(reversal, records=records_made(reversal, own))
        if any(one.state != StepState.DONE for one in own):
            await self._put(tx, reversal, xero_status=XeroStatus.SENDING, due_at=now)
            await exports.put(tx, export)
            return
        await self.finish(tx, export, reversal)

    async def finish(self, tx: Transaction, export: PaymentExport, reversal: Reversal) -> None:
        """Note that all of a reversal is done; what it leaves of the export is its status as it is held."""
        now = self._means.clock.now()
        await self._put(
            tx, reversal, xero_status=XeroStatus.EXPORTED, error=None, due_at=now + VERIFY_AFTER, completed_at=now
        )
        said = f"Taken back in Xero: {readable(reversal.amount, reversal.currency)} ({reversal.kind.lower()})."
        said = said.replace("_", " ")
        if not is_over(export, reversal):
            await tell(tx, self._means, export, said)
            return
        over = msgspec.structs.replace(export, xero_status=XeroStatus.REVERSED, error=None, due_at=None)
        await tell(tx, self._means, over, said, verify_at=None)

    async def _delete(self, tx: Transaction, export: PaymentExport, step: Step) -> Sequence[Step]:
        """All steps of the export; what this one deleted is GONE from now on, and nobody's surprise."""
        steps = (await export_steps.of_exports(tx, [export.id]))[export.id]
        if not isinstance(step.draft, Deletion):
            return steps
        after = []
        for one in steps:
            is_it = not one.reversal_id and one.xero_id == step.draft.xero_id and one.state == StepState.DONE
            after.append(msgspec.structs.replace(one, state=StepState.GONE) if is_it else one)
            if is_it:
                await export_steps.put(tx, after[-1])
        return after

    async def _refused(self, tx: Transaction, export: PaymentExport, reversal: Reversal, result: Result) -> None:
        now, step = self._means.clock.now(), result.step
        if isinstance(step.draft, Deletion) and says_undeletable(result.messages):
            await _drop_planned(tx, reversal)
            await self._put(tx, reversal, xero_status=XeroStatus.QUEUED, error=None, due_at=now)
            said = "Xero does not let the payment be deleted; it is taken back in the open period instead."
            await tell(tx, self._means, export, said)
            return
        # Tried again, what is missing is planned anew; what is DONE stays so.
        await export_steps.put(tx, msgspec.structs.replace(step, state=StepState.DROPPED))
        await _drop_planned(tx, reversal)
        error = classify(result.messages, _refused(reversal, now, step.draft))
        if isinstance(step.draft, SpentMoneyDraft) and error.reason == ExportReason.ACCOUNT_ARCHIVED:
            begun = sentences.account_begun_with(Case(at=now), "")  # its invoice is there: no other account will do
            error = msgspec.structs.replace(begun, xero_messages=error.xero_messages)
        await self.fail(tx, export, reversal, (error,))

    async def fail(
        self, tx: Transaction, export: PaymentExport, reversal: Reversal, errors: Sequence[ExportError]
    ) -> None:
        """Note that a reversal waits for somebody."""
        await self._put(tx, reversal, xero_status=XeroStatus.ERROR, error=errors[0], due_at=None)
        await tell(tx, self._means, export, "Not taken back. " + " ".join(error.sentence for error in errors))

    async def _put(self, tx: Transaction, reversal: Reversal, **changes: object) -> None:
        now = self._means.clock.now()
        await reversals.put(tx, msgspec.structs.replace(reversal, updated_at=now, **changes))


class Reversing:
    """The reversals of a connection that are due."""

    def __init__(self, turn: Turn, preflight: Preflight) -> None:
        self._turn = turn
        self._preflight = preflight
        self._owners = ReversalOutcomes(turn.means)

    async def go(self) -> None:
        """Plan, send and prove what is due. Raises what `WritableBooks` does."""
        now = self._turn.now()
        statuses = (XeroStatus.QUEUED, XeroStatus.CHECKED, XeroStatus.SENDING, XeroStatus.EXPORTED)
        async with self._turn.means.database.read() as tx:
            found = await reversals.with_status(tx, self._turn.link.id, statuses)
        for reversal in [one for one in found if one.due_at and one.due_at <= now][:AT_ONCE]:
            try:
                if reversal.xero_status == XeroStatus.EXPORTED:
                    await prove(self._turn, reversal, await self._steps(reversal))
                else:
                    await self._take_back(reversal)
            except BugError as bug:  # the others go on
                logger.exception("reversal failed", reversal_id=reversal.id, trouble=bug.sentence)
                await self._fail(reversal, bug)

    async def _fail(self, reversal: Reversal, bug: BugError) -> None:
        """Have somebody look at what cannot be taken back; what is only not proven is looked at again later."""
        case = Case(at=self._turn.now())
        async with self._turn.commit() as tx:
            export = await exports.get(tx, reversal.export_id, lock=True)
            held = await reversals.get(tx, reversal.id)
            if export is None or held is None:
                return
            if held.xero_status in _GOING:
                words = bug.messages if isinstance(bug, RejectedError) else ()
                unknown = sentences.not_understood(case, bug.sentence)
                error = classify(words, _refused(held, case.at)) if words else unknown
                await self._owners.fail(tx, export, held, (error,))
            elif held.xero_status == XeroStatus.EXPORTED:
                error = sentences.proof_not_understood(case, bug.sentence)
                await look_again(tx, self._turn, held, error, case.at + LATER)

    async def _take_back(self, reversal: Reversal) -> None:
        footing = await self._preflight.current(self._turn)
        if not await self._is_begun(reversal) and not await self._plan(reversal, footing):
            return
        sender = Sender(self._turn, self._owners)
        while step := await self._next(reversal):
            try:
                await sender.send([step], footing.xero_at - XERO_CLOCK_MARGIN)
            except RejectedError:  # pragma: no cover - of a single step it is an answer
                return

    async def _is_begun(self, reversal: Reversal) -> bool:
        """Whether there is a plan to go on with; one of which nothing is done yet may be out of date."""
        states = {step.state for step in await self._steps(reversal)}
        return {StepState.PLANNED, StepState.DONE} <= states

    async def _steps(self, reversal: Reversal) -> list[Step]:
        async with self._turn.means.database.read() as tx:
            steps = await export_steps.of_exports(tx, [reversal.export_id])
        return steps_of(reversal, steps[reversal.export_id])

    async def _plan(self, reversal: Reversal, footing: Footing) -> bool:
        """Keep the plan, or what stands against it; answers whether there is one."""
        async with self._turn.means.database.read() as tx:
            export = await exports.get(tx, reversal.export_id)
            if export is None:
                return False
            steps = (await export_steps.of_exports(tx, [export.id]))[export.id]
        gone = await self._gone(steps)
        steps = [gone.get(step.id, step) for step in steps]
        undone = await self._take_apart(reversal, export, steps, footing)
        async with self._turn.commit() as tx:
            held = await exports.get(tx, export.id, lock=True)
            if held is None:
                return False
            await _drop_planned(tx, reversal)
            own = (await export_steps.of_exports(tx, [export.id]))[export.id]
            if findings := undone.findings or out_of_date(held, reversal, own, self._turn.now()):
                await self._owners.fail(tx, held, reversal, findings)
                return False
            for step in gone.values():
                await export_steps.put(tx, step)
            held = msgspec.structs.replace(held, records=await records_of(tx, held, steps))
            if not undone.plan:  # somebody was faster: nothing of it is left in Xero
                await self._owners.finish(tx, held, reversal)
                return False
            await exports.put(tx, held)
            await export_steps.add(tx, [_step(reversal, one) for one in undone.plan])
        return True

    async def _take_apart(
        self, reversal: Reversal, export: PaymentExport, steps: Sequence[Step], footing: Footing
    ) -> Undone:
        """What is to be written to take it back; these steps are as Xero shows them now."""
        if found := await lost_future.look(self._turn, reversal, export, steps):
            return Undone(findings=(found,))
        is_refund = reversal.kind == ReversalKind.REFUND
        if (is_refund or credited(reversal, steps)) and covered(export, steps) != export.payment.amount:
            why = sentences.nothing_to_refund if is_refund else sentences.removed_after_refund
            return Undone(findings=(why(Case(at=self._turn.now())),))
        made = [name for s in steps if not s.reversal_id for name in (s.xero_id, *(p for _, p in s.parts)) if name]
        async with self._turn.means.database.read() as tx:
            seen = await receivables.payments_named(tx, export.connection_id, made)
            ground = await self._preflight.ground(tx, self._turn, footing)
        reconciled = {one.payment.xero_payment_id for one in seen if one.payment.is_reconciled}
        kept = {s.xero_id for s in steps if {s.xero_id, *(part for _, part in s.parts)} & reconciled}
        kept |= {s.draft.xero_id for s in steps_of(reversal, steps) if is_kept(s) and isinstance(s.draft, Deletion)}
        payables = await self._paid(export, steps)
        return take_back(
            Undoing(
                reversal=reversal,
                export=export,
                steps=tuple(as_planned(step) for step in steps),
                ground=ground,
                organisation=footing.organisation,
                payables=payables,
                lines=await self._lines(reversal, payables),
                kept=kept,
            )
        )

    async def _gone(self, steps: Sequence[Step]) -> dict[str, Step]:
        """Of the payments that the export made, those that somebody removed: nothing of them is to be taken back."""
        gone = {}
        for step in steps:
            if (
                step.reversal_id
                or step.state != StepState.DONE
                or not isinstance(step.draft, PaymentDraft | BatchDraft)
            ):
                continue
            found = await self._turn.books.status_of(kind_of(step.draft), step.xero_id)
            if found is not None and not found.is_there:
                gone[step.id] = msgspec.structs.replace(step, state=StepState.GONE)
        return gone

    async def _paid(self, export: PaymentExport, steps: Sequence[Step]) -> dict[str, Payable]:
        ids = {name for step in steps if not step.reversal_id for name in invoices_of(step.draft)}
        ids |= {record.xero_invoice_id for record in export.records if record.xero_invoice_id}
        return {one.invoice.xero_invoice_id: one for one in await read_payables(self._turn, sorted(ids))}

    async def _lines(self, reversal: Reversal, payables: dict[str, Payable]) -> dict[str, InvoiceLines]:
        """What the invoices consist of: a refund repeats it."""
        found: dict[str, InvoiceLines] = {}
        for name in payables if reversal.kind == ReversalKind.REFUND else ():
            lines = await self._turn.books.invoice_lines(name, Purpose.PAYMENT_EXPORT)
            found |= {name: lines} if lines else {}
        return found

    async def _next(self, reversal: Reversal) -> Step | None:
        """The next step to be sent; None where there is none, or the one before it is not done."""
        steps = [step for step in await self._steps(reversal) if not is_kept(step)]
        async with self._turn.means.database.read() as tx:
            now = await reversals.get(tx, reversal.id)
        step = next((one for one in steps if one.state != StepState.DONE), None)
        if step is None or step.state != StepState.PLANNED or now is None or now.xero_status not in _GOING:
            return None
        return msgspec.structs.replace(step, draft=plan.filled(step, steps))


async def put_off(
    tx: Transaction, means: Means, export_ids: Sequence[str], error: ExportError, until: datetime
) -> None:
    """Have what is due to be taken back of these exports wait; of what waits for something new it is told what for."""
    now = means.clock.now()
    for export in (await exports.lock_all(tx, export_ids)).values():
        due = [one for one in export.reversals if one.xero_status in _GOING and one.due_at and one.due_at <= now]
        news = [one for one in due if one.error is None or one.error.reason != error.reason]
        for one in due:
            said = error if one in news else one.error
            await reversals.put(tx, msgspec.structs.replace(one, error=said, due_at=until, updated_at=now))
        if news:
            await tell(tx, means, export, f"Not taken back yet. {error.sentence}")


_GOING = (XeroStatus.QUEUED, XeroStatus.CHECKED, XeroStatus.SENDING)


async def _drop_planned(tx: Transaction, reversal: Reversal) -> None:
    for step in (await export_steps.of_exports(tx, [reversal.export_id]))[reversal.export_id]:
        if step.reversal_id == reversal.id and step.state == StepState.PLANNED:
            await export_steps.put(tx, msgspec.structs.replace(step, state=StepState.DROPPED))


def _refused(reversal: Reversal, at: datetime, draft: Draft | None = None) -> Refused:
    is_between = isinstance(draft, InvoiceDraft | SpentMoneyDraft | CreditNoteDraft)
    back = draft if isinstance(draft, RefundDraft) else None
    return Refused(
        currency=reversal.currency,
        paid_on=reversal.reversed_on,
        account_is_for=REFUNDS if is_between else "",
        amount=readable(back.amount, reversal.currency) if back else "",
        credit=back.entity.value.replace("_", " ").removesuffix("s") if back else "",
        at=at,
    )


def _step(reversal: Reversal, planned: plan.PlannedWrite) -> Step:
    return Step(
        id=f"stp_{secrets.token_hex(10)}",
        connection_id=reversal.connection_id,
        export_id=reversal.export_id,
        reversal_id=reversal.id,
        number=planned.number,
        draft=planned.draft,
        marker=planned.marker,
        state=StepState.PLANNED,
    )
