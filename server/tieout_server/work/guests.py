"""Calls to organisations wherever they are at home: leave for them comes from the one process that is their home.

What a caller waits for may have to ask Xero in any process. Where the organisation has no home, this process becomes
it. Where another one is its home, that one is asked through a row (`work.host`), lets the call through in its own line
as if it were its own, and is told what Xero's answer said is left.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.errors import CallLimitError, DrainingError, StorageUnavailableError
from tieout_server.ledger.books import HeldUp, Purpose
from tieout_server.ledger.calls import Allowance, Leave, Left, Pacing, Problem
from tieout_server.storage import guest_calls, replicas
from tieout_server.storage.guest_calls import GuestCall, GuestState, Outcome
from tieout_server.storage.notices import notify
from tieout_server.work.means import Means
from tieout_server.work.replica import Replica

logger = log.get("guests")

FOR_HOMES = "tieout_guests"
"""The channel on which homes hear that a guest has asked, or has told what became of its call."""
FOR_GUESTS = "tieout_leave"
"""The channel on which guests hear that there is leave, or none."""
SWEEP = 0.5
"""Seconds between a guest's looks for leave, should no notice come."""
GOOD_FOR = 5.0
"""Seconds within which a guest sends its call once it has seen that it has leave."""
UNTOLD_PAUSE = timedelta(seconds=60)
"""How long a refusal holds that did not say for how long."""


class Guests:
    """Gives leave to call (`ledger.calls.Pacing`): its own for what is at home here, another process's for the rest."""

    def __init__(self, means: Means, limits: Pacing) -> None:
        self._means = means
        self._limits = limits
        self._waiting: dict[str, asyncio.Event] = {}
        self._is_closed = False
        self._telling: set[asyncio.Task[None]] = set()
        means.notices.listen(FOR_GUESTS, self._heard)

    def close(self) -> None:
        """Let nobody through any more, neither who waits nor who comes; calls that are under way go on."""
        self._is_closed = True
        self._limits.close()
        self._heard(None)

    async def until_closed(self) -> None:
        """Return once nobody is let through any more."""
        await self._limits.until_closed()

    @asynccontextmanager
    async def call(self, xero_tenant_id: str, purpose: Purpose) -> AsyncIterator[Leave]:
        """Wait until a call may be made, and hold its place while it is.

        Raises:
            CallLimitError: the day has no more calls for this purpose.
            DrainingError: this process shuts down.
        """
        while not await self._is_home(xero_tenant_id):
            async with self._as_guest(xero_tenant_id, purpose) as leave:
                if leave is not None:
                    yield leave
                    return
        async with self._limits.call(xero_tenant_id, purpose) as own:
            yield own

    def held_up(self, xero_tenant_id: str) -> HeldUp | None:
        """Which limit calls to this organisation are waiting for, if it is at home here."""
        return self._limits.held_up(xero_tenant_id)

    def allowance(self, xero_tenant_id: str) -> Allowance:
        """What is left for this organisation, as far as this process knows."""
        return self._limits.allowance(xero_tenant_id)

    async def known_allowance(self, xero_tenant_id: str) -> Allowance:
        """What is left for this organisation, wherever it is at home; elsewhere, as it was some seconds ago."""
        if self._means.homes.is_here(xero_tenant_id):
            return self.allowance(xero_tenant_id)
        async with self._means.database.read() as tx:
            return self._means.homes.allowance(await replicas.windows(tx, xero_tenant_id))

    async def _is_home(self, xero_tenant_id: str) -> bool:
        """Whether the organisation is at home here, perhaps from now on."""
        self._check_is_open()
        if self._means.homes.is_here(xero_tenant_id):
            return True
        if not self._means.replica.is_alive():
            raise CallLimitError("This server has no place among the others at the moment; nothing was sent.", "minute")
        async with self._means.database.write() as tx:
            return await self._means.homes.settle(tx, xero_tenant_id)

    @asynccontextmanager
    async def _as_guest(self, xero_tenant_id: str, purpose: Purpose) -> AsyncIterator["LeaveOfGuest | None"]:
        """Leave from the organisation's home; None if it has no home any more."""
        call = GuestCall(secrets.token_hex(8), xero_tenant_id, purpose, self._means.replica.id)
        leave = None
        try:
            async with self._means.database.write() as tx:
                await guest_calls.ask(tx, call)
                await notify(tx, FOR_HOMES, call.id)
            if await self._has_leave(call):
                leave = LeaveOfGuest(self._means.replica, self._means.clock)
            yield leave
        finally:
            telling = asyncio.create_task(self._tell(call, leave.outcome if leave else None))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
            await asyncio.shield(telling)  # it is told, however often the caller is cancelled

    async def _tell(self, call: GuestCall, outcome: Outcome | None) -> None:
        """Tell the home what became of a call, or with None that it is not wanted any more."""
        try:
            async with self._means.database.write() as tx:
                if outcome is None:
                    await guest_calls.remove(tx, call.id)
                else:
                    await guest_calls.move(tx, call.id, GuestState.GRANTED, GuestState.ENDED, outcome)
                await notify(tx, FOR_HOMES, call.id)
        except StorageUnavailableError:  # the home lets the place linger
            logger.warning("what became of a call is not told: the database is away", call=call.id)

    async def _has_leave(self, call: GuestCall) -> bool:
        """Wait for leave; False once the organisation has no home any more.

        Raises:
            CallLimitError: the day has no more calls for this purpose.
        """
        moved = self._waiting[call.id] = asyncio.Event()
        try:
            while True:
                moved.clear()
                self._check_is_open()
                async with self._means.database.read() as tx:
                    found = await guest_calls.find(tx, call.id)
                    at = await replicas.home(tx, call.xero_tenant_id)
                if found is None or at is None:  # another home than the one that was asked serves it as well
                    return False
                state, outcome = found
                if state is GuestState.GRANTED:
                    return True
                if state is GuestState.REFUSED:
                    raise CallLimitError("Xero's calls for today are used up.", "day", outcome.retry_at)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SWEEP):
                        await moved.wait()
        finally:
            del self._waiting[call.id]

    def _check_is_open(self) -> None:
        if self._is_closed:
            raise DrainingError

    def _heard(self, call_id: str | None) -> None:
        for waiting, moved in self._waiting.items():
            if call_id in (None, waiting):
                moved.set()


class LeaveOfGuest:
    """Leave from another process (`ledger.calls.Leave`); what becomes of the call is noted, to be told to it."""

    def __init__(self, replica: Replica, clock: Clock) -> None:
        self._replica = replica
        self._clock = clock
        self._good_until = time.monotonic() + GOOD_FOR
        self.outcome = Outcome()

    def is_good(self) -> bool:
        """Whether it still is: the home does not wait for ever for a guest that may be gone."""
        return self._replica.is_alive() and time.monotonic() < self._good_until

    def sent(self) -> None:
        """From now on Xero may count the call."""
        self.outcome = Outcome(is_sent=True)

    def not_sent(self) -> None:
        """It did not reach Xero after all."""
        self.outcome = Outcome()

    def answered(self, left: Left) -> None:
        """Xero answered, with this left."""
        self.outcome = Outcome(is_sent=True, left=left)

    def refused(self, problem: Problem, retry_after: float | None) -> datetime:
        """A limit refused the call. Returns when the next one may be made."""
        self.outcome = Outcome(is_sent=True, left=Left(), problem=problem, retry_after=retry_after)
        pause = UNTOLD_PAUSE if retry_after is None else timedelta(seconds=retry_after)
        return self._clock.now() + pause
