"""Proving that payments are in Xero, right after they were sent and for good.

VERIFIED is what was seen: each payment among those of its invoice, with its amount. Later the mirror is watched, which
polling and webhooks keep: a payment that is DELETED there, and that no reversal of ours deleted, was removed by
somebody. All of this only reads Xero. Killed anywhere, it is looked at again.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

import msgspec

from tieout_server import log
from tieout_server.exports import markers, sentences
from tieout_server.exports.checks import settled
from tieout_server.exports.notes import of_export
from tieout_server.exports.outcomes import REMOVED, covered, invoices_of, own_steps, records_of, tell
from tieout_server.exports.preflight import read_payables
from tieout_server.exports.record import in_parts
from tieout_server.exports.recovery import MARGIN
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import IN_XERO, StepState, XeroStatus
from tieout_server.exports.turn import Turn
from tieout_server.ledger.exports import PaymentExport, Step
from tieout_server.ledger.money import readable
from tieout_server.ledger.writes import BatchDraft, Found, Payable, PaymentDraft, PaymentSeen, kind_of
from tieout_server.storage import export_notes, export_steps, exports, receivables
from tieout_server.storage.database import Transaction
from tieout_server.storage.receivables import FoundPayment

logger = log.get("exports")
_CHANCE = secrets.SystemRandom()

AT_ONCE = 1_000
"""Exports that are looked for in one slice: by two calls or so, however many they are."""
FEW = 2
"""So many records are asked for one by one; of more all that changed since is listed, 1,000 in a call."""
ASKED_AT_ONCE = 20
"""Records in one slice that are asked for one by one, as no listing has them: each is a call."""
AGAIN_AFTER = timedelta(seconds=5)
"""When to look again the first time; then the later the longer it lasts."""
ALARM_AFTER = timedelta(hours=1)
"""When it is told that Xero does not show what it accepted; it is looked for each such time afterwards."""
ASK_AFTER = timedelta(minutes=1)
"""When a payment that its invoice does not show is asked for by its id: somebody may have removed it at once."""
DOUBLES_FOR = timedelta(days=7)
"""How long payments that were given up are watched for."""
TOLD = 3
"""Invoices of which is told what is due since."""


class Verification:
    """The exports of a connection that are to be seen in Xero."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    async def go(self) -> None:
        """Look for what is due. Raises what `WritableBooks` does."""
        async with self._turn.means.database.read() as tx:
            due = await exports.to_verify(tx, self._turn.link.id, self._turn.now(), AT_ONCE)
            steps = await export_steps.of_exports(tx, [export.id for export in due])
        if not due:
            return
        made = {export.id: _made(steps[export.id]) for export in due}
        ids = {name for own in made.values() for step in own for name in invoices_of(step.draft)}
        ids |= {one.xero_invoice_id for export in due for one in export.records if one.xero_invoice_id}
        payables = {one.invoice.xero_invoice_id: one for one in await read_payables(self._turn, sorted(ids))}
        missing = await self._missing(made, payables)
        for some in in_parts([export.id for export in due if not missing[export.id]]):
            async with self._turn.commit() as tx:
                await self._turn.means.wake_notes(tx, self._turn.link.id)
                for export in await _still_exported(tx, some):
                    await self._seen(tx, export, made[export.id], payables)
        lost = [export for export in due if missing[export.id]]
        gone = await self._gone(lost, missing)
        for some in in_parts([export.id for export in lost]):
            async with self._turn.commit() as tx:
                for export in await _still_exported(tx, some):
                    await self._not_all_seen(tx, export, {s.xero_id for s in missing[export.id] if s.id in gone})
        await self._look_for_doubles(payables)

    async def _missing(
        self, made: Mapping[str, Sequence[Step]], payables: Mapping[str, Payable]
    ) -> Mapping[str, Sequence[Step]]:
        """The steps of each export of which Xero does not show what they made.

        Payments are seen on their invoices; what is on none is asked for itself.
        """
        elsewhere = [s for own in made.values() for s in own if not isinstance(s.draft, PaymentDraft | BatchDraft)]
        listed = await self._standing(elsewhere)

        def is_shown(step: Step) -> bool:
            if isinstance(step.draft, PaymentDraft | BatchDraft):
                return shows(step, payables)
            return (found := listed.get(step.id)) is not None and found.is_there

        return {export_id: [step for step in own if not is_shown(step)] for export_id, own in made.items()}

    async def _gone(self, lost: Sequence[PaymentExport], missing: Mapping[str, Sequence[Step]]) -> Collection[str]:
        """Of these steps those whose record somebody has removed, as far as that was asked."""
        now = self._turn.now()
        old = [s for one in lost if now - (one.exported_at or now) > ASK_AFTER for s in missing[one.id]]
        listed = await self._standing(old)
        gone = {step.id for step in old if step.id in listed and not listed[step.id].is_there}
        unlisted = [step for step in old if step.id not in listed]  # Xero may list no deletions (UNSURE register, U5)
        some = _CHANCE.sample(unlisted, min(len(unlisted), ASKED_AT_ONCE)) if len(old) > FEW else ()
        for step in some:  # chosen by lot, so that each has its turn
            found = await self._turn.books.status_of(kind_of(step.draft), step.xero_id)
            gone |= {step.id} if found is not None and not found.is_there else set()
        return gone

    async def _standing(self, steps: Sequence[Step]) -> Mapping[str, Found]:
        """How what these steps made stands now; without what Xero does not tell."""
        if len(steps) <= FEW:
            asked = {s.id: await self._turn.books.status_of(kind_of(s.draft), s.xero_id) for s in steps}
            return {name: found for name, found in asked.items() if found}
        standing: dict[str, Found] = {}
        for kind in dict.fromkeys(kind_of(step.draft) for step in steps):
            some = [step for step in steps if kind_of(step.draft) is kind]
            since = min(step.look_from for step in some if step.look_from) - MARGIN
            listed = {one.xero_id: one for one in await self._turn.books.records_since(kind, since)}
            standing |= {step.id: listed[step.xero_id] for step in some if step.xero_id in listed}
        return standing

    async def _seen(
        self, tx: Transaction, export: PaymentExport, steps: Sequence[Step], payables: Mapping[str, Payable]
    ) -> None:
        now, paid = self._turn.now(), settled(steps, ()).paid
        await export_notes.add(tx, of_export(export, paid, now))
        verified = msgspec.structs.replace(export, xero_status=XeroStatus.VERIFIED, verified_at=now)
        await tell(tx, self._turn.means, verified, _moved(paid, payables), verify_at=None)

    async def _not_all_seen(self, tx: Transaction, export: PaymentExport, gone: Collection[str]) -> None:
        """Note that Xero does not show all of it, and which of its records are gone."""
        if await export_steps.being_deleted(tx, [export.id]):  # the reversal tells what becomes of it
            await exports.put(tx, export, verify_at=self._turn.now() + ASK_AFTER)
        elif gone:
            await _removed(tx, self._turn, export, gone)
        else:
            await self._not_seen(tx, export)

    async def _not_seen(self, tx: Transaction, export: PaymentExport) -> None:
        now = self._turn.now()
        lasts = now - (export.exported_at or now)
        again_at = now + min(max(lasts, AGAIN_AFTER), ALARM_AFTER)
        if ALARM_AFTER <= lasts < 2 * ALARM_AFTER:
            logger.error("accepted and not seen", connection_id=export.connection_id, export_id=export.id)
            said = "Xero accepted it, and does not show it after an hour. It is looked for further."
            await tell(tx, self._turn.means, export, said, verify_at=again_at)
        else:
            await exports.put(tx, export, verify_at=again_at)

    async def _look_for_doubles(self, payables: Mapping[str, Payable]) -> None:
        """A payment with a marker of a step that was given up should not exist: whoever sent it came hours late."""
        marked = {
            marker: (payable, seen)
            for payable in payables.values()
            for seen in payable.payments
            for marker in markers.within((seen.reference,))
        }
        async with self._turn.means.database.read() as tx:
            known = await export_steps.with_marker(tx, self._turn.link.id, marked) if marked else ()
            linked = (
                await export_steps.linked(tx, self._turn.link.id, {seen.xero_payment_id for _, seen in marked.values()})
                if marked
                else set()
            )
        for step in [one for one in known if one.state == StepState.DROPPED]:
            payable, seen = marked[step.marker]
            if seen.xero_payment_id not in linked:
                invoice = payable.invoice
                double = _Double(seen.xero_payment_id, invoice.xero_invoice_id, invoice.number, seen.amount)
                await _tell_of_double(self._turn, step, double)


class _Double(msgspec.Struct, frozen=True):
    """A payment that Xero shows although it was given up: its id there, of which invoice, and how much."""

    xero_payment_id: str
    xero_invoice_id: str
    number: str
    amount: Decimal


async def note_doubles(turn: Turn) -> None:
    """Note which payments came after they were given up, as far as the mirror knows; no call is made."""
    since = turn.now() - DOUBLES_FOR
    async with turn.means.database.read() as tx:
        came = await export_steps.dropped_in_mirror(tx, turn.link.id, since)
        found = {one.payment.xero_payment_id: one.payment for one in await _payments_named(tx, turn, came)}
        ids = {one.xero_document_id for one in found.values()}
        meant = await receivables.invoices_meant(tx, turn.link.id, ids, ()) if ids else ()
    numbers = {one.xero_invoice_id: one.number for one in meant}
    for name, step in came.items():
        if (payment := found.get(name)) is not None:
            invoice_id = payment.xero_document_id
            double = _Double(name, invoice_id, numbers.get(invoice_id, ""), payment.amount)
            await _tell_of_double(turn, step, double)


async def _payments_named(tx: Transaction, turn: Turn, ids: Collection[str]) -> Sequence[FoundPayment]:
    return await receivables.payments_named(tx, turn.link.id, ids) if ids else ()


async def _tell_of_double(turn: Turn, step: Step, double: _Double) -> None:
    """Tell of a payment that came beside the one sent instead of it. Before that one is there it is no double yet."""
    async with turn.commit() as tx:
        export = await exports.get(tx, step.export_id, lock=True)
        if export is None or export.xero_status not in IN_XERO:
            return
        (known,) = [one for one in (await export_steps.of_exports(tx, [export.id]))[export.id] if one.id == step.id]
        await export_steps.put(tx, _doubled(known, double))
        await export_steps.link(tx, export.connection_id, export.id, {double.xero_payment_id: False})
        there = [
            one.xero_id
            for one in export.records
            if not one.removed and one.xero_invoice_id in ("", double.xero_invoice_id)  # a batch names no invoice
        ]
        amount = readable(double.amount, export.payment.currency)
        error = sentences.recorded_twice(Case(turn.now()), double.number, there, (double.xero_payment_id, amount))
        await tell(tx, turn.means, msgspec.structs.replace(export, error=error), f"{error.sentence} {error.remedy}")
    logger.error("paid twice", export_id=step.export_id, xero_payment_id=double.xero_payment_id, marker=step.marker)


def _doubled(step: Step, double: _Double) -> Step:
    """A step that was given up, with what it made in Xero all the same: of a batch, which payment of which invoice."""
    if isinstance(step.draft, BatchDraft):
        return msgspec.structs.replace(step, parts=(*step.parts, (double.xero_invoice_id, double.xero_payment_id)))
    return msgspec.structs.replace(step, xero_id=double.xero_payment_id)


async def _still_exported(tx: Transaction, export_ids: Collection[str]) -> Sequence[PaymentExport]:
    """Those of these exports, held, that are still to be seen in Xero."""
    held = await exports.lock_all(tx, export_ids)
    return [export for export in held.values() if export.xero_status == XeroStatus.EXPORTED]


async def note_removals(turn: Turn) -> None:
    """Note which payments somebody removed in Xero, as far as the mirror knows; no call is made."""
    async with turn.means.database.read() as tx:
        found = await export_steps.removed_in_mirror(tx, turn.link.id, AT_ONCE)
    if not found:
        return
    async with turn.commit() as tx:
        held = await exports.lock_all(tx, {export_id for export_id, _ in found})
        still = set(await export_steps.removed_in_mirror(tx, turn.link.id, AT_ONCE))
        for export in held.values():
            if ids := {
                xero_id for export_id, xero_id in found if export_id == export.id and (export_id, xero_id) in still
            }:
                await _removed(tx, turn, export, ids)


async def _removed(tx: Transaction, turn: Turn, export: PaymentExport, xero_ids: Collection[str]) -> None:
    """Note that these records of an export that is held are gone."""
    if export.xero_status not in IN_XERO:
        return
    steps = (await export_steps.of_exports(tx, [export.id]))[export.id]
    linked = tuple(
        msgspec.structs.replace(one, removed=one.removed or one.xero_id in xero_ids) for one in export.records
    )
    export = msgspec.structs.replace(export, records=linked)
    after = _standing_in(export, [_without(step, xero_ids) for step in steps])
    for step in [one for one, before in zip(after, steps, strict=True) if one is not before]:
        await export_steps.put(tx, step)
    await export_steps.link(tx, export.connection_id, export.id, dict.fromkeys(xero_ids, True))
    export = msgspec.structs.replace(export, records=await records_of(tx, export, after))
    if covered(export, after) == export.payment.amount:  # what came twice is there once now
        is_double = any(_is_double(step) for step in after)
        export = msgspec.structs.replace(export, error=export.error if is_double else None)
        await tell(tx, turn.means, export, "What Xero showed twice was removed there.")
        return
    removed = msgspec.structs.replace(export, xero_status=XeroStatus.REMOVED_IN_XERO, error=None, due_at=None)
    await tell(tx, turn.means, removed, REMOVED, verify_at=None)


def _without(step: Step, xero_ids: Collection[str]) -> Step:
    """The step, of which these records are gone."""
    if step.reversal_id or {step.xero_id, *(part for _, part in step.parts)}.isdisjoint(xero_ids):
        return step
    if step.state == StepState.DONE:
        return msgspec.structs.replace(step, state=StepState.GONE)
    if _is_double(step):
        left = tuple(part for part in step.parts if part[1] not in xero_ids)
        return msgspec.structs.replace(step, xero_id="", parts=left)
    return step


def _standing_in(export: PaymentExport, steps: Sequence[Step]) -> Sequence[Step]:
    """These steps; where somebody removed the payment and left its double, that is the payment from now on."""
    missing = export.payment.amount - covered(export, steps)
    stands_in = next(
        (s for s in steps if _is_double(s) and isinstance(s.draft, PaymentDraft) and s.draft.amount == missing), None
    )
    return [msgspec.structs.replace(one, state=StepState.DONE) if one is stands_in else one for one in steps]


def _is_double(step: Step) -> bool:
    """Whether it was given up, and is in Xero all the same."""
    return step.state == StepState.DROPPED and not step.reversal_id and bool(step.xero_id or step.parts)


def _made(steps: Sequence[Step]) -> list[Step]:
    return [step for step in own_steps(steps) if step.state == StepState.DONE]


def shows(step: Step, payables: Mapping[str, Payable]) -> bool:
    """Whether the invoices show what this step paid of them."""
    if isinstance(step.draft, PaymentDraft):
        seen = _payments(payables, step.draft.xero_invoice_id)
        return any(one.xero_payment_id == step.xero_id and one.amount == step.draft.amount for one in seen)
    assert isinstance(step.draft, BatchDraft)
    parts = dict(step.parts)
    return all(
        any(
            one.amount == part.amount
            and (one.xero_payment_id == parts.get(part.xero_invoice_id) or one.xero_batch_payment_id == step.xero_id)
            for one in _payments(payables, part.xero_invoice_id)
        )
        for part in step.draft.parts
    )


def _payments(payables: Mapping[str, Payable], xero_invoice_id: str) -> Sequence[PaymentSeen]:
    payable = payables.get(xero_invoice_id)
    return payable.payments if payable else ()


def _moved(paid: Mapping[str, Decimal], payables: Mapping[str, Payable]) -> str:
    """What was seen, of the first few invoices."""
    seen = []
    for name, amount in list(paid.items())[:TOLD]:
        invoice = payables[name].invoice
        due, before = readable(invoice.due, invoice.currency), readable(invoice.due + amount, invoice.currency)
        seen.append(f"what is due of {invoice.number or name} went from {before} to {due}")
    return f"Seen in Xero: {'; '.join(seen)}." if seen else "Seen in Xero."
