"""Sending what is due: examined against the books of this moment, then sent in as few calls as Xero permits."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import msgspec

from tieout_server.errors import RejectedError
from tieout_server.exports import checks, erased, record, returned, waits
from tieout_server.exports.checks import Examined, Situation
from tieout_server.exports.outcomes import WAITING, ExportOutcomes, Outgoing, own_steps, tell, with_links
from tieout_server.exports.plan import PlannedWrite
from tieout_server.exports.preflight import GOOD_FOR, GROUND_REASONS, Preflight, Seen, UnaskableError
from tieout_server.exports.refusals import Refused, classify
from tieout_server.exports.send import Sender, by_export
from tieout_server.exports.state import StepState, XeroStatus
from tieout_server.exports.turn import Turn
from tieout_server.ledger.exports import PaymentExport, Step
from tieout_server.ledger.writes import WRITES_AT_ONCE, BatchDraft
from tieout_server.storage import export_steps, exports
from tieout_server.storage.database import Transaction

AT_ONCE = 1_000
"""Exports that are examined in one slice: two calls or so for their invoices, twenty for the payments."""
LOOKS = 40
"""At most in one slice, for whose invoices cannot be asked for: of 1,000 exports one is found by 20."""
BATCHES_AT_ONCE = 20
PARTS_AT_ONCE = 200
"""Batches of one call, and what they pay together."""
SOON = timedelta(seconds=10)
"""When to examine again what depends on another payment whose outcome is not known."""


class Memory:
    """What is remembered between slices. Lost, it costs a call or a look more, and nothing else."""

    def __init__(self) -> None:
        self.examined_again: set[str] = set()
        """Exports that Xero refused for what may have been a race."""
        self.alone: set[str] = set()
        """Exports whose call Xero refused as a whole: each is sent by itself."""


class _Judged(msgspec.Struct, frozen=True):
    export: PaymentExport
    examined: Examined
    outgoing: Outgoing | None


class Exporting:
    """What is due of one connection."""

    def __init__(self, turn: Turn, preflight: Preflight, memory: Memory) -> None:
        self._turn = turn
        self._preflight = preflight
        self._memory = memory

    async def go(self) -> None:
        """Examine and send what is due; what there is no time for stays due. Raises what `WritableBooks` does."""
        async with self._turn.means.database.read() as tx:
            due = await exports.due(tx, self._turn.link.id, self._turn.now(), AT_ONCE)
            steps = await export_steps.of_exports(tx, [export.id for export in due])
        again = await erased.take_up(self._turn, due) if due else ()
        due = [export for export in due if export.id not in again]  # the others are looked for next
        if not due:
            return
        payments = [export.payment for export in due]
        try:
            seen = await self._preflight.look(self._turn, payments)
        except UnaskableError as refusal:
            await self._single_out(due, refusal)
            return
        back = await returned.note(self._turn, due, steps, seen.situation.by_id.values())
        due = [export for export in due if export.id not in back]  # the others are still due
        judged = list(self._judge(due, steps, seen.situation))
        if not seen.is_new and any(_is_of_ground(one.examined) for one in judged):
            seen = await self._preflight.look(self._turn, payments, is_new=True)
            judged = list(self._judge(due, steps, seen.situation))
        await self._note(judged)
        await self._send([one.outgoing for one in judged if one.outgoing], seen)

    async def _single_out(self, due: Sequence[PaymentExport], refusal: UnaskableError) -> None:
        """Find whose invoices Xero does not even let be asked for; the others are still due, without them.

        Half of them is asked for, and of what is refused half again: each that is found costs a few looks.

        Raises:
            UnaskableError: Xero refuses whatever is asked, so it is none of these payments that it minds.
        """
        suspects, guilty = [(due, refusal)], []
        looks, is_any_fine = 0, False
        while suspects and looks < LOOKS:
            some, refusal = suspects.pop()
            if len(some) == 1:
                guilty.append(self._refused(some[0], refusal))
                continue
            for half in (some[: len(some) // 2], some[len(some) // 2 :]):
                looks += 1
                try:
                    await self._preflight.look(self._turn, [export.payment for export in half])
                    is_any_fine = True
                except UnaskableError as again:
                    suspects.append((half, again))
        if suspects and not is_any_fine:
            raise refusal
        await self._note(guilty)

    def _refused(self, export: PaymentExport, refusal: UnaskableError) -> _Judged:
        payment, words = export.payment, refusal.messages or (refusal.sentence,)
        error = classify(words, Refused(currency=payment.currency, paid_on=payment.paid_on, at=self._turn.now()))
        return _Judged(export, Examined(findings=(error,)), None)

    def _judge(
        self, due: Sequence[PaymentExport], steps: Mapping[str, Sequence[Step]], situation: Situation
    ) -> Iterator[_Judged]:
        """Each after the other: what one pays of an invoice is not due for the next."""
        for export in due:
            before = checks.settled(own_steps(steps[export.id]), export.records)
            before = msgspec.structs.replace(before, markers=frozenset(step.marker for step in steps[export.id]))
            examined = checks.examine(export.payment, situation, before)
            examined = waits.permitted(examined, self._turn.link, self._turn.now())
            situation = checks.after(situation, examined)
            planned = () if examined.findings or examined.waits else examined.plan
            outgoing = Outgoing(export=export, steps=tuple(_step(export, one) for one in planned), links=examined.twins)
            yield _Judged(export, examined, outgoing if planned else None)

    async def _note(self, judged: Sequence[_Judged]) -> None:
        """Commit what is not sent: what is wrong, what is in Xero already, and what has to wait."""
        first = {one.export.id for one in [one for one in judged if one.outgoing][:WRITES_AT_ONCE]}
        wanted = {one.export.id: one for one in judged if one.export.id not in first}
        for some in record.in_parts(list(wanted)):
            await self._note_some({name: wanted[name] for name in some})

    async def _note_some(self, wanted: Mapping[str, _Judged]) -> None:
        async with self._turn.commit() as tx:
            await self._turn.wake_upkeep(tx, self._turn.now())
            held = await exports.lock_all(tx, wanted)
            for export_id, one in wanted.items():
                export = held.get(export_id)
                if export and export.xero_status in WAITING:
                    await self._note_one(tx, export, one)

    async def _note_one(self, tx: Transaction, export: PaymentExport, judged: _Judged) -> None:
        now, examined, replace = self._turn.now(), judged.examined, msgspec.structs.replace
        if examined.waits:
            await exports.put(tx, replace(export, due_at=now + SOON))
        elif examined.findings:
            error = examined.findings[0]
            wrong = replace(export, xero_status=XeroStatus.ERROR, error=error, due_at=None)
            others = [one.sentence for one in examined.findings[1:]]
            await tell(tx, self._turn.means, wrong, " ".join([error.sentence, *others]))
        elif judged.outgoing is None:
            await self._in_xero(tx, with_links(export, examined.twins))
        elif export.xero_status == XeroStatus.QUEUED:
            checked = replace(export, xero_status=XeroStatus.CHECKED, error=None)
            await tell(tx, self._turn.means, checked, "Nothing is known that Xero would refuse it for; it is next.")

    async def _in_xero(self, tx: Transaction, export: PaymentExport) -> None:
        """Nothing is left to send: somebody else recorded it, or the rest of it."""
        now, replace = self._turn.now(), msgspec.structs.replace
        if any(one.is_ours and not one.removed for one in export.records):
            done = replace(export, xero_status=XeroStatus.EXPORTED, error=None, due_at=None, exported_at=now)
            await tell(tx, self._turn.means, done, "All of it is in Xero.", verify_at=now)
        else:
            linked = replace(export, xero_status=XeroStatus.ALREADY_RECORDED, error=None, due_at=None)
            said = "Somebody had recorded the same payment in Xero; it is linked, and not paid twice."
            await tell(tx, self._turn.means, linked, said)

    async def _send(self, outgoing: Sequence[Outgoing], seen: Seen) -> None:
        of_export = {one.export.id: one for one in outgoing}
        owners = ExportOutcomes(self._turn.means, of_export, seen.situation.ground, self._memory.examined_again)
        sender = Sender(self._turn, owners)
        for group in _groups(outgoing, self._memory.alone):
            if self._turn.now() - seen.read_at > GOOD_FOR:
                return  # what was not sent, or only in part, is still due, and examined again
            try:
                await sender.send(group, seen.look_from)
            except RejectedError:
                self._memory.alone |= by_export(group).keys()
                continue
            self._memory.alone -= by_export(group).keys()


def _groups(outgoing: Sequence[Outgoing], alone: set[str]) -> Iterator[Sequence[Step]]:
    """The steps that go together in a call: of one kind, those with lower numbers first."""
    steps = [step for one in outgoing for step in one.steps]
    for number in sorted({step.number for step in steps}):
        together: dict[type, list[list[Step]]] = {}
        for step in [one for one in steps if one.number == number]:
            if step.export_id in alone:
                yield [step]
                continue
            groups = together.setdefault(type(step.draft), [[]])
            if not _has_room(groups[-1], step):
                groups.append([])
            groups[-1].append(step)
        yield from (group for groups in together.values() for group in groups if group)


def _has_room(group: Sequence[Step], step: Step) -> bool:
    if not isinstance(step.draft, BatchDraft):
        return len(group) < WRITES_AT_ONCE
    parts = sum(len(one.draft.parts) for one in [*group, step] if isinstance(one.draft, BatchDraft))
    return not group or (len(group) < BATCHES_AT_ONCE and parts <= PARTS_AT_ONCE)


def _is_of_ground(examined: Examined) -> bool:
    return any(finding.reason in GROUND_REASONS for finding in examined.findings)


def _step(export: PaymentExport, planned: PlannedWrite) -> Step:
    return Step(
        id=f"stp_{secrets.token_hex(10)}",
        connection_id=export.connection_id,
        export_id=export.id,
        number=planned.number,
        draft=planned.draft,
        marker=planned.marker,
        state=StepState.PLANNED,
    )
