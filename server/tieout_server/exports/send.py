"""Sending steps to Xero so that each is done once, whatever breaks in between.

    commit A   the steps are SENDING, with the key and the instant         nothing was sent before this
    PUT        one call with that key; lost answers are asked for again    at most once there, by the key
    commit B   each step is DONE, REFUSED or UNKNOWN

Killed before A: the steps are planned anew. Killed between A and B: the next owner finds SENDING, makes it UNKNOWN
and never sends it; `recovery` looks in Xero. Killed after B: all is known. An owner that was only asleep can do no
harm: A and every repetition are fenced commits, what it may send it must send within `SEND_WITHIN` of A by two clocks,
and nobody sends the payment again before `recovery.SURE_AFTER`, which is later than that by minutes.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.errors import (
    AnswerLostError,
    DrainingError,
    PersonMustActError,
    RejectedError,
    TieoutError,
    TryAgainError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.exports import waits
from tieout_server.exports.state import StepState
from tieout_server.exports.turn import Turn
from tieout_server.ledger.exports import ExportError, Step
from tieout_server.ledger.writes import Deletion, Draft, Written
from tieout_server.storage import export_steps
from tieout_server.storage.database import Transaction

logger = log.get("exports")

SEND_WITHIN = timedelta(seconds=90)
"""After the commit that says SENDING, how long a call may still leave; far below the 6 minutes that Xero knows the key
(Xero, Idempotent requests)."""
REPLAYS_AFTER = (2.0, 15.0)
"""Seconds before each repetition of a call whose answer was lost."""
VERIFY_AFTER = timedelta(seconds=2)
"""After Xero accepted something, when it is looked for: reads may lag behind writes by seconds (Xero)."""
NOTHING_DONE = (TryAgainError, PersonMustActError, DrainingError)
"""What `write` raises of which nothing was done, but for a lost answer."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a step."""

    step: Step
    messages: tuple[str, ...] = ()
    """Xero's words, where it was refused."""
    sentence: str = ""
    """What is said of it, where the state does not say it all."""
    waits: ExportError | None = None
    """What has to pass before it is tried again, where nothing was done."""
    is_sent: bool = True
    """Whether Xero may have seen it."""


class Owners(Protocol):
    """Whoever the steps belong to: exports, or reversals. Both methods run in the transaction of the steps."""

    async def begin(self, tx: Transaction, steps: Sequence[Step]) -> Sequence[Step]:
        """Note that these are about to be sent; answers those that may be, and that are kept by now."""
        ...

    async def settle(self, tx: Transaction, results: Sequence[Result]) -> None:
        """Note what became of them."""
        ...


def idempotency_key() -> str:
    """A key that nobody has used: four random UUIDs, as Xero recommends; 128 characters (Idempotent requests)."""
    return "".join(uuid.uuid4().hex for _ in range(4))


class _Window:
    """The time in which a call may leave, by two clocks: one stands still while a machine sleeps, one may be set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self.began_at = clock.now()

    @property
    def is_open(self) -> bool:
        """Whether a call may still leave."""
        passed = self._clock.monotonic() - self._began
        return passed < SEND_WITHIN.total_seconds() and self._clock.now() < self.began_at + SEND_WITHIN


class Sender:
    """Sends steps of one kind, in one call."""

    def __init__(self, turn: Turn, owners: Owners) -> None:
        self._turn = turn
        self._owners = owners

    async def send(self, steps: Sequence[Step], look_from: datetime) -> None:
        """Have these done, and note what became of each. `look_from` is before now by Xero's clock.

        Raises:
            TryAgainError: nothing was done, and that is noted.
            PersonMustActError, DrainingError: likewise.
            RejectedError: likewise; of several steps it is not known which one Xero minds.
            LostLeaseError: the work is no longer ours; the next owner looks what became of it.
        """
        if self._turn.job and self._turn.job.is_leaving:
            raise DrainingError
        window = _Window(self._turn.means.clock)
        steps = await self._begin(steps, window.began_at, look_from)
        if not steps:
            return
        try:
            written = await self._write(steps, window)
        except NOTHING_DONE as trouble:
            await self._give_back(steps, trouble)
            raise
        except RejectedError as refused:
            if len(steps) > 1:
                await self._give_back(steps, refused)
                raise
            written = [Written(messages=refused.messages or (refused.sentence,))]
        answers = zip(steps, written, strict=True)
        results = [_result(step, await self._beyond_refusal(step, one)) for step, one in answers]
        await self._keep(results)  # commit B

    async def _beyond_refusal(self, step: Step, written: Written | None) -> Written | None:
        """What a deletion came to: one that Xero refuses because somebody was faster is done all the same."""
        if not isinstance(step.draft, Deletion) or written is None or written.xero_id:
            return written
        try:
            found = await self._turn.books.status_of(step.draft.record, step.draft.xero_id)
        except TieoutError as trouble:  # it is looked for again, and sent again if it is there
            logger.info("refused deletion not looked at", step_id=step.id, trouble=trouble.sentence)
            return None
        is_gone = found is not None and not found.is_there
        return Written(xero_id=step.draft.xero_id) if is_gone else written

    async def _begin(self, steps: Sequence[Step], now: datetime, look_from: datetime) -> Sequence[Step]:
        """Commit A."""
        key = idempotency_key()
        sending = [
            msgspec.structs.replace(
                step, state=StepState.SENDING, idempotency_key=key, sent_at=now, look_from=look_from
            )
            for step in steps
        ]
        async with self._turn.commit() as tx:
            return await self._owners.begin(tx, sending)

    async def _write(self, steps: Sequence[Step], window: "_Window") -> Sequence[Written | None]:
        """What Xero answers for each; None where that is not known."""
        drafts, key = [step.draft for step in steps], steps[0].idempotency_key
        try:
            return await self._put(drafts, key, window)
        except AnswerLostError as lost:
            logger.warning("answer lost", connection_id=self._turn.link.id, steps=len(steps), trouble=lost.sentence)
        except RejectedError:
            raise
        except UnexpectedAnswerError as odd:  # whatever it means, it does not say that nothing was done
            logger.exception("answer not understood", connection_id=self._turn.link.id, trouble=odd.sentence)
            return [None] * len(steps)
        return await self._replay(drafts, key, window)

    async def _put(self, drafts: Sequence[Draft], key: str, window: "_Window") -> Sequence[Written]:
        """The call. Nothing is awaited between the look at the clocks and `write`, which keeps a time limit itself."""
        if not window.is_open:
            raise XeroUnavailableError("There was too long a pause before the call; it was not made.")
        return await self._turn.books.write(drafts, key)

    async def _replay(self, drafts: Sequence[Draft], key: str, window: "_Window") -> Sequence[Written | None]:
        """What Xero answers to the same call with the same key, which it does not carry out again."""
        for seconds in REPLAYS_AFTER:
            await self._turn.means.clock.sleep(seconds)
            async with self._turn.commit():
                pass  # still ours: nobody else has begun to look what became of it
            try:
                again = await self._put(drafts, key, window)
            except AnswerLostError:
                continue
            except TieoutError:  # nothing was done now; of the first call it says nothing
                break
            # A refusal may be due to what the first call did: only what was made is believed.
            return [one if one.xero_id else None for one in again]
        return [None] * len(drafts)

    async def _give_back(self, steps: Sequence[Step], trouble: TieoutError) -> None:
        """Note that nothing was sent: the steps are dropped, and their owners wait for their next turn."""
        waiting, said = None, "Xero refused several payments at once; each is sent alone."
        if isinstance(trouble, DrainingError):
            said = "This server was stopped before it was sent; another one sends it."
        elif not isinstance(trouble, RejectedError):
            waiting = waits.of_trouble(trouble, self._turn.now())
            said = waiting.sentence
        results = [
            Result(
                step=msgspec.structs.replace(step, state=StepState.DROPPED),
                sentence=said,
                waits=waiting,
                is_sent=isinstance(trouble, RejectedError),
            )
            for step in steps
        ]
        await self._keep(results)

    async def _keep(self, results: Sequence[Result]) -> None:
        async with self._turn.commit() as tx:
            if any(result.step.state == StepState.DONE for result in results):
                await self._turn.wake_upkeep(tx, self._turn.now() + VERIFY_AFTER)
            await keep(tx, self._owners, results)


async def keep(tx: Transaction, owners: Owners, results: Sequence[Result]) -> None:
    """Keep what became of steps, with what that makes of their owners."""
    for result in results:
        await export_steps.put(tx, result.step)
    await owners.settle(tx, results)


def _result(step: Step, written: Written | None) -> Result:
    if written is None:
        return Result(step=msgspec.structs.replace(step, state=StepState.UNKNOWN))
    if written.xero_id:
        done = msgspec.structs.replace(
            step, state=StepState.DONE, xero_id=written.xero_id, parts=written.parts or step.parts
        )
        return Result(step=done)
    return Result(step=msgspec.structs.replace(step, state=StepState.REFUSED), messages=written.messages)


def by_export(steps: Sequence[Step]) -> Mapping[str, list[Step]]:
    """These steps by the export they belong to, exports in the order of their ids."""
    found: dict[str, list[Step]] = {}
    for step in sorted(steps, key=lambda one: one.export_id):
        found.setdefault(step.export_id, []).append(step)
    return found
