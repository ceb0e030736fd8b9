"""Finding out what became of steps whose answer is not known: by looking in Xero, never by sending again.

What a dead owner left SENDING becomes UNKNOWN first, in a commit of its own: killed before it, the next owner does the
same; killed after it, the next one looks. A look settles what it finds at any time, as a marker is in Xero once. What
it does not find is settled only by a look that began after `SURE_AFTER`, and long after the first look of this process
by a clock that nobody sets: then no call can be on its way any more, and the step is DROPPED. Its export is examined
again in full, so that what somebody recorded meanwhile is seen, too.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from tieout_server import log
from tieout_server.errors import BugError
from tieout_server.exports.outcomes import FIRST_LOOK, SURE_AFTER
from tieout_server.exports.send import Owners, Result, keep
from tieout_server.exports.state import StepState
from tieout_server.exports.turn import Turn
from tieout_server.ledger.exports import Step
from tieout_server.ledger.writes import Deletion, Found, kind_of
from tieout_server.storage import export_steps, exports, reversals
from tieout_server.storage.database import Transaction

logger = log.get("exports")

AT_ONCE = 10_000
"""Steps that are settled in one slice: more than one owner can have had in hand."""
MARGIN = timedelta(minutes=1)
"""Added to from when on is looked: reading too much costs little."""
LATE = timedelta(seconds=30)
"""So much later than it is due the first look may be."""
LOOKED_FOR = SURE_AFTER - FIRST_LOOK - LATE
"""How long a process has to look for a step before it gives it up. Its first look is after the commit that precedes
the call, and a call arrives within 4½ minutes of that (see `SURE_AFTER`)."""
NOT_THERE = "It was looked for in Xero and is not there: the answer was lost before anything was done."


async def take_over(tx: Transaction, connection_id: str, owners: Sequence[Owners]) -> int:
    """Make what a dead owner was sending UNKNOWN, and drop what it had planned and not sent; answers how many steps.

    The transaction holds the work of the kind that sends, which nobody else does: nothing is being sent now.
    """
    left = await export_steps.in_state(tx, connection_id, (StepState.SENDING, StepState.PLANNED), AT_ONCE)
    unknown = [
        Result(step=msgspec.structs.replace(step, state=StepState.UNKNOWN))
        for step in left
        if step.state == StepState.SENDING
    ]
    unsent = [
        Result(step=msgspec.structs.replace(step, state=StepState.DROPPED), sentence="The rest of it follows.")
        for step in left
        if step.state == StepState.PLANNED and not step.reversal_id  # a reversal goes on with its plan
    ]
    await _keep(tx, owners, [*unknown, *unsent])
    if unknown:
        logger.warning("outcome unknown", connection_id=connection_id, steps=len(unknown))
    return len(unknown)


class Looks:
    """Since when this process looks for each step of which the outcome is unknown: seconds of the monotonic clock.

    The machine's own clock may be set ahead between a call and the look for it. Lost, it takes longer, and no more.
    """

    def __init__(self) -> None:
        self._began: dict[str, dict[tuple[str, str], float]] = {}
        """By connection, and by the step and the key of the call that it went with."""

    def keep(self, connection_id: str, unknown: Sequence[Step]) -> None:
        """Forget all steps of a connection but these."""
        known = self._began.pop(connection_id, {})
        if still := {name: known[name] for name in map(_sending, unknown) if name in known}:
            self._began[connection_id] = still

    def has_begun(self, step: Step) -> bool:
        """Whether it has been looked for."""
        return _sending(step) in self._began.get(step.connection_id, {})

    def lasted(self, step: Step, looked_at: float) -> timedelta:
        """How long it has been looked for, with this look, of which Xero has told what it found."""
        began = self._began.setdefault(step.connection_id, {}).setdefault(_sending(step), looked_at)
        return timedelta(seconds=looked_at - began)


def _sending(step: Step) -> tuple[str, str]:
    """What tells one sending of a step from the next: a reversal's step may go again."""
    return step.id, step.idempotency_key


class Recovery:
    """The steps of a connection whose outcome is unknown, looked for."""

    def __init__(self, turn: Turn, owners: Sequence[Owners], looks: Looks) -> None:
        """`owners`: whose exports' steps are, and whose reversals'. `looks`: those of this process."""
        self._turn = turn
        self._owners = owners
        self._looks = looks

    async def look(self) -> None:
        """Look for everything whose time has come, and settle what that shows. Raises what `WritableBooks` does."""
        began = _Look(self._turn.now(), self._turn.means.clock.monotonic())
        steps = await self._due(began.at)
        results: list[Result] = []
        failed: BugError | None = None
        for kind in dict.fromkeys(kind_of(step.draft) for step in steps if not isinstance(step.draft, Deletion)):
            some = [s for s in steps if not isinstance(s.draft, Deletion) and kind_of(s.draft) is kind]
            since = min(step.look_from for step in some if step.look_from) - MARGIN
            try:
                found = await self._turn.books.records_since(kind, since)
            except BugError as bug:  # what else is unknown is looked for all the same
                failed = failed or bug
                continue
            results += [_settled(step, _marked(step, found), is_sure=self._is_sure(step, began)) for step in some]
        for step in steps:
            if isinstance(step.draft, Deletion):
                try:
                    found_now = await self._turn.books.status_of(step.draft.record, step.draft.xero_id)
                    results.append(_settled_deletion(step, found_now, is_sure=self._is_sure(step, began)))
                except BugError as bug:
                    failed = failed or bug
        if results:
            async with self._turn.commit() as tx:
                await self._turn.wake_upkeep(tx, began.at)
                await _keep(tx, self._owners, results)
        if failed:
            raise failed

    def _is_sure(self, step: Step, look: "_Look") -> bool:
        """Whether what this look did not find never came."""
        assert step.sent_at is not None, "it was sent"
        lasted = self._looks.lasted(step, look.monotonic)
        return look.at >= step.sent_at + SURE_AFTER and lasted >= LOOKED_FOR

    async def _due(self, now: datetime) -> list[Step]:
        """The steps whose time has come to be looked for, by their exports and reversals or as they were taken over."""
        async with self._turn.means.database.read() as tx:
            steps = await export_steps.in_state(tx, self._turn.link.id, (StepState.UNKNOWN,), AT_ONCE)
            self._looks.keep(self._turn.link.id, steps)
            due: list[Step] = []
            for step in steps:
                owner = await (
                    reversals.get(tx, step.reversal_id) if step.reversal_id else exports.get(tx, step.export_id)
                )
                is_new = (
                    not self._looks.has_begun(step) and step.sent_at is not None and now >= step.sent_at + FIRST_LOOK
                )
                if owner and (is_new or owner.due_at is None or owner.due_at <= now):
                    due.append(step)
        return due


class _Look(NamedTuple):
    """When a look began, by both clocks."""

    at: datetime
    monotonic: float


def _settled(step: Step, found: Found | None, *, is_sure: bool) -> Result:
    if found is None:
        return _not_there(step, is_sure=is_sure)
    if found.is_there and not found.is_sure:  # Xero will name it
        return Result(step=step)
    state = StepState.DONE if found.is_there else StepState.GONE
    done = msgspec.structs.replace(step, state=state, xero_id=found.xero_id, parts=found.parts or step.parts)
    return Result(step=done, sentence="The answer was lost; it was found in Xero.")


def _settled_deletion(step: Step, found: Found | None, *, is_sure: bool) -> Result:
    """A deletion whose record is gone is done, whoever did it."""
    if found is None or not found.is_there:
        assert isinstance(step.draft, Deletion)
        return Result(step=msgspec.structs.replace(step, state=StepState.DONE, xero_id=step.draft.xero_id))
    return _not_there(step, is_sure=is_sure)


def _not_there(step: Step, *, is_sure: bool) -> Result:
    if not is_sure:  # it may still arrive
        return Result(step=step)
    return Result(step=msgspec.structs.replace(step, state=StepState.DROPPED), sentence=NOT_THERE)


def _marked(step: Step, found: Sequence[Found]) -> Found | None:
    """The record that bears the step's marker."""
    return next((one for one in found if any(step.marker in text for text in one.texts)), None)


async def _keep(tx: Transaction, owners: Sequence[Owners], results: Sequence[Result]) -> None:
    of_exports, of_reversals = owners
    await exports.lock_all(tx, {one.step.export_id for one in results})  # all at once: in the order of their ids
    await keep(tx, of_exports, [one for one in results if not one.step.reversal_id])
    await keep(tx, of_reversals, [one for one in results if one.step.reversal_id])
