"""What its steps make of an export: the one place that says where an export stands once something was sent.

An export is EXPORTED when what its steps made, and what it is linked to, adds up to the payment; not when its steps
are over. So whatever was dropped, refused or lost between two steps, the missing part is planned anew and never
taken for done, and what is done is never planned again.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from tieout_server.exports import plan, record
from tieout_server.exports.accounts import Ground
from tieout_server.exports.checks import settled
from tieout_server.exports.means import Means
from tieout_server.exports.refusals import Refused, classify
from tieout_server.exports.send import VERIFY_AFTER, Result, by_export
from tieout_server.exports.state import ExportReason, StepState, XeroStatus, move
from tieout_server.ledger.exports import ExportError, ExportEvent, PaymentExport, Step, XeroRecord
from tieout_server.ledger.links import TIEOUT
from tieout_server.ledger.money import readable
from tieout_server.ledger.writes import BatchDraft, Draft, PaymentDraft
from tieout_server.storage import export_settings, export_steps, exports, receivables
from tieout_server.storage.database import Transaction
from tieout_server.storage.exports import KEEP

FIRST_LOOK = timedelta(seconds=30)
"""After a call whose answer was lost, when it is looked for first: reads may lag behind writes by seconds (Xero)."""
SURE_AFTER = timedelta(minutes=7, seconds=30)
"""After that commit, when what is not there never came: calls are made within 90 seconds, leave within a minute more
(`writes.SENT_WITHIN`), take two at most (`xero_timeout`), and the 6 minutes for which Xero knows their key are over."""
LOOK_AGAIN = timedelta(minutes=1)
"""When it is looked for again after that, the first time: it is not certain yet (`recovery.Looks`, `Found.is_sure`)."""
LOOK_EVERY = timedelta(hours=1)
"""The longest between two looks."""
WAITING = (XeroStatus.QUEUED, XeroStatus.CHECKED)
REMOVED = "It was in Xero, and somebody removed it there."
RACES = (ExportReason.AMOUNT_EXCEEDS_DUE, ExportReason.INVOICE_NOT_PAYABLE)
"""Refusals that somebody may have caused between the examination and the call: examined once more."""


VerifyAt = datetime | msgspec.UnsetType | None


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """An export that was examined and may go."""

    export: PaymentExport
    steps: tuple[Step, ...]
    """All of its plan, in order."""
    links: tuple[XeroRecord, ...] = ()
    """What somebody else recorded of it."""


def own_steps(steps: Sequence[Step]) -> list[Step]:
    """Those of the export itself that still count: not its reversals', and not what another plan replaced."""
    return [step for step in steps if not step.reversal_id and step.state != StepState.DROPPED]


def covered(export: PaymentExport, steps: Sequence[Step]) -> Decimal:
    """How much of the payment is in Xero."""
    there = settled(own_steps(steps), export.records)
    return sum(there.paid.values(), there.overpaid)


def look_at(step: Step, now: datetime) -> datetime:
    """When a step whose outcome is unknown is looked for next: soon, when it may be certain, then ever more rarely."""
    assert step.sent_at is not None, "it was sent"
    first, sure = step.sent_at + FIRST_LOOK, step.sent_at + SURE_AFTER
    if now < sure:
        return first if now < first else sure
    return now + min(max(LOOK_AGAIN, (now - sure) / 8), LOOK_EVERY)


class ExportOutcomes:
    """The exports that steps belong to, brought in line with them."""

    def __init__(
        self,
        means: Means,
        outgoing: Mapping[str, Outgoing] | None = None,
        ground: Ground | None = None,
        examined_again: set[str] | None = None,
    ) -> None:
        """`ground` is what `outgoing` was examined by.

        `examined_again` remembers which exports were examined once more after a refusal that may be a race.
        """
        self._means = means
        self._outgoing = outgoing or {}
        self._ground = ground
        self._accounts = ground.accounts if ground else {}
        self._again = examined_again if examined_again is not None else set()

    async def begin(self, tx: Transaction, steps: Sequence[Step]) -> Sequence[Step]:
        """Note that these are about to be sent, with all of their plan; exports that changed meanwhile are left out.

        A purge may have taken an export, and an earlier part of its plan may have been refused: neither is sent. And
        nothing is, once the settings are others than those it was examined by: it is still due, and examined again.
        """
        if not await self._is_as_chosen(tx, steps):
            return []
        sending = by_export(steps)
        held = await exports.lock_all(tx, sending)
        known = await export_steps.of_exports(tx, sending)
        begun: list[Step] = []
        told: list[tuple[PaymentExport, str]] = []
        for export_id, some in sending.items():
            export = held.get(export_id)
            if export is None:
                continue
            is_kept = {step.id for step in known[export_id]} >= {step.id for step in some}
            if export.xero_status in WAITING and not is_kept:  # kept, it is what is left of a plan that was given up
                export = await self._first(tx, export, known[export_id], some)
            elif export.xero_status == XeroStatus.SENDING and is_kept:
                for step in some:
                    await export_steps.put(tx, step)
            else:
                continue
            begun += some
            told.append((self._on_its_way(export), _on_its_way(some)))
        await self._tell(tx, told)
        return begun

    async def _is_as_chosen(self, tx: Transaction, steps: Sequence[Step]) -> bool:
        """Whether the settings are as they were examined by; until the commit nobody changes them."""
        settings = await export_settings.get(tx, steps[0].connection_id, lock=True)
        return self._ground is not None and settings.revision == self._ground.settings.revision

    async def _first(
        self, tx: Transaction, export: PaymentExport, known: Sequence[Step], some: Sequence[Step]
    ) -> PaymentExport:
        """The first of a plan: all of it is kept, and what an earlier plan left is replaced by it."""
        for step in own_steps(known):
            if step.state in (StepState.REFUSED, StepState.PLANNED):
                await export_steps.put(tx, msgspec.structs.replace(step, state=StepState.DROPPED))
        outgoing, ids = self._outgoing[export.id], {step.id for step in some}
        await export_steps.add(tx, [*some, *(step for step in outgoing.steps if step.id not in ids)])
        return with_links(export, outgoing.links)

    def _on_its_way(self, export: PaymentExport) -> PaymentExport:
        return msgspec.structs.replace(
            export, xero_status=XeroStatus.SENDING, attempts=export.attempts + 1, error=None, due_at=None
        )

    async def settle(self, tx: Transaction, results: Sequence[Result]) -> None:
        """Note what became of steps that were sent, or may have been."""
        of = by_export([result.step for result in results])
        held = await exports.lock_all(tx, of)
        known = await export_steps.of_exports(tx, of)
        told: list[tuple[PaymentExport, str]] = []
        for export_id in of:
            if export := held.get(export_id):
                own = [result for result in results if result.step.export_id == export_id]
                told += await self._settle(tx, export, own_steps(known[export_id]), own)
        await self._tell(tx, told)

    async def _settle(
        self, tx: Transaction, export: PaymentExport, steps: list[Step], results: Sequence[Result]
    ) -> list[tuple[PaymentExport, str]]:
        """What the export is since and what is said of it; nothing where the next part of its plan follows."""
        refused = self._refusal(export, results)
        if refused and refused.reason in RACES and export.id not in self._again:
            self._again.add(export.id)
            for step in [one for one in steps if one.state == StepState.REFUSED]:
                await export_steps.put(tx, msgspec.structs.replace(step, state=StepState.DROPPED))
            steps = [one for one in steps if one.state != StepState.REFUSED]
        states = {step.state for step in steps}
        export = msgspec.structs.replace(export, records=await records_of(tx, export, steps))
        after, sentence = self._after(export, steps, results, refused)
        if after.xero_status == XeroStatus.SENDING:  # the next part of its plan follows, or a slice that takes it over
            await exports.put(tx, msgspec.structs.replace(after, due_at=self._means.clock.now()))
            return []
        if StepState.PLANNED in states:
            for step in [one for one in steps if one.state == StepState.PLANNED]:
                await export_steps.put(tx, msgspec.structs.replace(step, state=StepState.DROPPED))
        if after.xero_status == XeroStatus.EXPORTED:
            self._again.discard(export.id)
        return [(after, sentence)]

    def _after(
        self, export: PaymentExport, steps: Sequence[Step], results: Sequence[Result], refused: ExportError | None
    ) -> tuple[PaymentExport, str]:
        """The export as it is since, and what is said of that."""
        now, states = self._means.clock.now(), {step.state for step in steps}
        replace = msgspec.structs.replace
        if StepState.SENDING in states:
            return export, ""
        if StepState.UNKNOWN in states:
            due_at = min(look_at(step, now) for step in steps if step.state == StepState.UNKNOWN)
            lost = f"Xero's answer was lost. The payment is looked for in Xero, next at {due_at:%H:%M:%S} UTC."
            unknown = replace(export, xero_status=XeroStatus.OUTCOME_UNKNOWN, due_at=due_at, error=refused)
            return unknown, lost
        if StepState.REFUSED in states:
            error = refused or export.error or classify((), self._refused(export, None))
            return replace(export, xero_status=XeroStatus.ERROR, error=error, due_at=None), error.sentence
        if covered(export, steps) == export.payment.amount:
            exported = replace(
                export, xero_status=XeroStatus.EXPORTED, error=None, due_at=None, exported_at=now, verified_at=None
            )
            return exported, f"Xero accepted {readable(export.payment.amount, export.payment.currency)}."
        return self._in_part(export, steps, results, refused)

    def _in_part(
        self, export: PaymentExport, steps: Sequence[Step], results: Sequence[Result], refused: ExportError | None
    ) -> tuple[PaymentExport, str]:
        """Something is missing of it in Xero, and nothing is on its way there: the rest follows, or it goes again."""
        now, became = self._means.clock.now(), {result.step.state for result in results}
        replace = msgspec.structs.replace
        if StepState.GONE in became:
            return replace(export, xero_status=XeroStatus.REMOVED_IN_XERO, error=None, due_at=None), REMOVED
        is_under_way = export.xero_status == XeroStatus.SENDING and StepState.DROPPED not in became
        if is_under_way and refused is None and any(step.state == StepState.PLANNED for step in steps):
            return export, ""
        waits = next((result.waits for result in results if result.waits), None)
        attempts = export.attempts - (0 if all(result.is_sent for result in results) else 1)
        queued = replace(export, xero_status=XeroStatus.QUEUED, error=waits, due_at=now, attempts=attempts)
        return queued, self._why_again(results, refused)

    @staticmethod
    def _why_again(results: Sequence[Result], refused: ExportError | None) -> str:
        if refused:
            return f"Xero refused it, perhaps because somebody was faster; it is examined again. {refused.sentence}"
        return next((result.sentence for result in results if result.sentence), "The rest of it follows.")

    def _refusal(self, export: PaymentExport, results: Sequence[Result]) -> ExportError | None:
        """What Xero's words mean, of the first step that was refused."""
        for result in results:
            if result.step.state == StepState.REFUSED:
                return classify(result.messages, self._refused(export, result.step.draft))
        return None

    def _refused(self, export: PaymentExport, draft: Draft | None) -> Refused:
        account = self._accounts.get(getattr(draft, "xero_account_id", ""))
        line = _line_of(export, draft)
        return Refused(
            currency=export.payment.currency,
            paid_on=export.payment.paid_on,
            account=account.name if account else "",
            line=line,
            invoice="" if line is None else export.payment.lines[line].invoice_number,
            amount=readable(draft.amount, export.payment.currency) if isinstance(draft, PaymentDraft) else "",
            at=self._means.clock.now(),
        )

    async def _tell(self, tx: Transaction, told: Sequence[tuple[PaymentExport, str]]) -> None:
        for export, sentence in told:
            verify_at = self._means.clock.now() + VERIFY_AFTER if export.xero_status == XeroStatus.EXPORTED else None
            await tell(tx, self._means, export, sentence, verify_at=verify_at)


async def tell(
    tx: Transaction, means: Means, export: PaymentExport, sentence: str, *, verify_at: VerifyAt = KEEP
) -> None:
    """Keep an export that is held as it is now, and tell why; nothing else is locked after it.

    `verify_at`: see `storage.exports.put`.
    """
    now, before = means.clock.now(), await exports.get(tx, export.id)
    if before is None:
        return
    move(before.xero_status, XeroStatus(export.xero_status))
    happened = ExportEvent(
        xero_status=export.xero_status, sentence=sentence, actor=TIEOUT, occurred_at=now, error=export.error
    )
    await record.keep(tx, means.feed, msgspec.structs.replace(export, updated_at=now), happened, verify_at=verify_at)


async def records_of(tx: Transaction, export: PaymentExport, steps: Sequence[Step]) -> tuple[XeroRecord, ...]:
    """What the export is in Xero: what it is linked to, and what its steps made."""
    made = [step for step in own_steps(steps) if step.state in (StepState.DONE, StepState.GONE)]
    ids = {name for step in made for name in invoices_of(step.draft)}
    numbers = {
        one.xero_invoice_id: one.number for one in await receivables.invoices_meant(tx, export.connection_id, ids, ())
    }
    records = [one for one in export.records if not one.is_ours]
    for step in made:
        became = plan.records(step.draft, export.payment.currency, numbers, step.xero_id)
        records += [msgspec.structs.replace(one, removed=step.state == StepState.GONE) for one in became]
    return tuple(records)


def invoices_of(draft: Draft) -> Collection[str]:
    """The invoices that a draft pays."""
    if isinstance(draft, PaymentDraft):
        return (draft.xero_invoice_id,)
    return [part.xero_invoice_id for part in draft.parts] if isinstance(draft, BatchDraft) else ()


def with_links(export: PaymentExport, links: Sequence[XeroRecord]) -> PaymentExport:
    """The export linked to what somebody else recorded of it."""
    known = {one.xero_id for one in export.records}
    return msgspec.structs.replace(
        export, records=(*export.records, *(one for one in links if one.xero_id not in known))
    )


def _on_its_way(steps: Sequence[Step]) -> str:
    kinds = {type(step.draft).__struct_config__.tag for step in steps}
    what = " and ".join(sorted(str(kind).lower().replace("_", " ") for kind in kinds))
    return f"On its way to Xero as {what}."


def _line_of(export: PaymentExport, draft: Draft | None) -> int | None:
    """Which line of the payment a draft pays, as far as it can be told."""
    if not isinstance(draft, PaymentDraft):
        return None
    lines = export.payment.lines
    named = (index for index, line in enumerate(lines) if line.xero_invoice_id == draft.xero_invoice_id)
    return next(named, 0 if len(lines) == 1 else None)
