"""A home lets guests through: other processes that call organisations which are at home here (`work.guests`)."""

import asyncio
import contextlib
from datetime import timedelta

from tieout_server import log
from tieout_server.errors import CallLimitError, DrainingError, StorageUnavailableError
from tieout_server.ledger.calls import Pacing, Problem
from tieout_server.storage import guest_calls
from tieout_server.storage.guest_calls import GuestCall, GuestState, Outcome
from tieout_server.storage.notices import notify
from tieout_server.work.guests import FOR_GUESTS, FOR_HOMES, GOOD_FOR
from tieout_server.work.means import Means
from tieout_server.work.replica import BEAT

logger = log.get("host")

SWEEP = 1.0
"""Seconds between looks at a call under way, should no notice come."""
LAG = 10.0
"""Seconds that a guest may need to see that it has leave, and to tell what became of its call."""


class Host:
    """The guests of this process. Run it once per process."""

    def __init__(self, means: Means, limits: Pacing, *, call_takes: timedelta) -> None:
        """`call_takes`: how long one call to Xero may take."""
        self._database = means.database
        self._homes = means.homes
        self._replica = means.replica
        self._limits = limits
        self._patience = LAG + GOOD_FOR + call_takes.total_seconds()
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, asyncio.Event] = {}
        self._asked = asyncio.Event()
        self._notices = means.notices
        self._notices.listen(FOR_HOMES, self._heard)
        self._homes.on_settled = self._asked.set
        means.replica.on_lost(self._send_away)

    async def run(self) -> None:
        """Let guests through until cancelled."""
        try:
            while True:
                self._asked.clear()
                async with self._database.read() as tx:
                    asked = await guest_calls.asked(tx, self._replica.id, list(self._serving))
                for call in asked:
                    self._take_in(call)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._notices.patience(BEAT)):
                        await self._asked.wait()
        finally:
            await self._send_away()

    async def drain(self, by: float) -> None:
        """Wait until this time of the loop, at most, to be told what became of the calls that guests have leave for."""
        if self._serving:
            await asyncio.wait(self._serving.values(), timeout=max(0.0, by - asyncio.get_running_loop().time()))

    def _take_in(self, call: GuestCall) -> None:
        if not self._homes.is_here(call.xero_tenant_id):  # it moves at this moment; where it settles it is seen to
            return
        doing = self._forget(call) if call.is_over else self._serve(call)
        serving = self._serving[call.id] = asyncio.create_task(doing, name=f"guest {call.id}")
        serving.add_done_callback(lambda _: self._serving.pop(call.id))

    async def _serve(self, call: GuestCall) -> None:
        """One guest, from its asking to its telling."""
        told = self._told[call.id] = asyncio.Event()
        try:
            async with self._limits.call(call.xero_tenant_id, call.purpose) as leave:
                leave.sent()  # as long as nobody says otherwise
                if not leave.is_good() or not await self._move(call, GuestState.GRANTED):
                    leave.not_sent()  # it is at home elsewhere by now, or does not want to any more
                    return
                outcome = await self._outcome(call, told)
                await self._forget(call)
                if outcome is None:
                    return
                if not outcome.is_sent:
                    leave.not_sent()
                elif outcome.left is not None:
                    leave.answered(outcome.left)
                    if outcome.problem is not None:
                        leave.refused(outcome.problem, outcome.retry_after)
        except CallLimitError as full:
            if full.limit == Problem.DAY:  # else it is at home elsewhere by now, and is served there
                await self._move(call, GuestState.REFUSED, Outcome(retry_at=full.retry_at))
        except DrainingError:
            pass  # its next home finds it as it was
        except Exception:
            logger.exception("a guest was not served", call=call.id)
        finally:
            del self._told[call.id]

    async def _move(self, call: GuestCall, state: GuestState, outcome: Outcome | None = None) -> bool:
        async with self._database.write() as tx:
            is_wanted = await guest_calls.move(tx, call.id, GuestState.ASKED, state, outcome)
            await notify(tx, FOR_GUESTS, call.id)
        return is_wanted

    async def _forget(self, call: GuestCall) -> None:
        with contextlib.suppress(StorageUnavailableError):  # then it is seen to when it is found again
            async with self._database.write(durable=False) as tx:
                await guest_calls.remove(tx, call.id)

    async def _outcome(self, call: GuestCall, told: asyncio.Event) -> Outcome | None:
        """What became of the call; None if the guest is gone or does not tell in time."""
        found: tuple[GuestState, Outcome] | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while True:
                    told.clear()
                    with contextlib.suppress(StorageUnavailableError):  # the guest is at it all the same
                        async with self._database.read() as tx:
                            found = await guest_calls.find(tx, call.id)
                        if found is None or found[0] is GuestState.ENDED:
                            break
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(SWEEP):
                            await told.wait()
        return found[1] if found and found[0] is GuestState.ENDED else None

    def _heard(self, call_id: str | None) -> None:
        if call_id is None or call_id not in self._told:
            self._asked.set()
        for waiting, told in self._told.items():
            if call_id in (None, waiting):
                told.set()

    async def _send_away(self) -> None:
        tasks = list(self._serving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
