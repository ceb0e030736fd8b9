"""The task that sends one subscription's events when they are due, and asks whether somebody wants them."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from itertools import count

import aiohttp

from tieout_sandbox.clock import SandboxClock
from tieout_sandbox.switches import Switches
from tieout_sandbox.webhooks.events import body_of, entropy, signature
from tieout_sandbox.webhooks.receiver import Answer, post
from tieout_sandbox.webhooks.subscription import Delivery, Kind, Pending, Standing, Subscription, new_key

_ASKS_AGAIN_AFTER = 2.0
"""Real seconds until an address where nobody listens yet is asked again for its intent to receive."""
_INTENT_SIGNATURES = (True, False, True, False)
"""Rightly and wrongly signed, shuffled for each intent (Xero sends several of both)."""


class Sender:
    """Sends for one subscription, one delivery at a time."""

    def __init__(
        self, subscription: Subscription, clock: SandboxClock, switches: Switches, api_url: Callable[[], str]
    ) -> None:
        self.subscription = subscription
        self._clock = clock
        self._switches = switches
        self._api_url = api_url
        self._wake = asyncio.Event()
        self._numbers = count(1)
        self._body: bytes = b""
        self._sent: list[Pending] = []
        self._sending = asyncio.Lock()

    def wake(self) -> None:
        """Look again at what is due: an event came, the clock was set, the subscription was changed."""
        self._wake.set()

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Send until cancelled."""
        while True:
            self._wake.clear()
            due_at = self.subscription.due_at()
            if due_at is not None and due_at <= self._clock.now():
                async with self._sending:
                    await self._deliver(http)
            else:
                await self._until(due_at)

    async def ask_until_heard(self, http: aiohttp.ClientSession) -> None:
        """Ask for the intent to receive until somebody listens at the address."""
        while await self.intend(http):  # noqa: ASYNC110 another process cannot set an event of ours
            await asyncio.sleep(_ASKS_AGAIN_AFTER)

    async def intend(self, http: aiohttp.ClientSession) -> bool:
        """Send rightly and wrongly signed bodies without events; the subscription is OK if all are told apart.

        Returns:
            Whether nobody listens there at all.
        """
        async with self._sending:
            return await self._intend(http)

    async def _intend(self, http: aiohttp.ClientSession) -> bool:
        asked = self.subscription
        signed = list(_INTENT_SIGNATURES)
        asked.rng.shuffle(signed)
        answers = [await self._ask(http, good=good) for good in signed]
        if any(answer.problem for answer in answers):
            asked.refused()
        else:
            asked.enabled(self._clock.now())
        self._body = b""
        self.wake()
        return all(answer.refused for answer in answers)

    async def _ask(self, http: aiohttp.ClientSession, *, good: bool) -> Answer:
        asked = self.subscription
        body = body_of([], 0, 0, entropy(asked.rng))
        at = self._clock.now()
        answer = await post(http, asked.url, body, signature(asked.key if good else new_key(), body), good=good)
        self._log(at, Kind.INTENT, 0, body, answer, good=good)
        return answer

    async def _deliver(self, http: aiohttp.ClientSession) -> None:
        """One delivery; while it fails it stays the same to the byte, and nothing overtakes it."""
        asked = self.subscription
        kind = Kind.RETRY if self._body else Kind.EVENTS
        if not self._body and not self._fill():
            asked.succeeded([])
            return
        answer = await self._post(http, kind)
        if answer.problem:
            asked.failed(self._clock.now())
            if asked.standing is not Standing.RETRY:
                self._body = b""
            return
        if asked.rng.random() < asked.disturbance.duplicates:
            await self._post(http, Kind.DUPLICATE)
        self._body = b""
        asked.succeeded(self._sent)

    def _fill(self) -> bool:
        """Write the next body; False if nothing is due."""
        self._sent = self.subscription.batch(self._clock.now(), self._switches)
        if not self._sent:
            return False
        events = [waiting.event.wire(self._api_url()) for waiting in self._sent]
        sequences = [waiting.sequence for waiting in self._sent]
        self._body = body_of(events, sequences[0], sequences[-1], entropy(self.subscription.rng))
        return True

    async def _post(self, http: aiohttp.ClientSession, kind: Kind) -> Answer:
        asked, at = self.subscription, self._clock.now()
        answer = await post(http, asked.url, self._body, signature(asked.key, self._body))
        self._log(at, kind, len(self._sent), self._body, answer)
        return answer

    def _log(self, at: datetime, kind: Kind, events: int, body: bytes, answer: Answer, *, good: bool = True) -> None:
        delivery = Delivery(
            number=next(self._numbers),
            at=at,
            client_id=self.subscription.client_id,
            kind=kind,
            events=events,
            signed_rightly=good,
            body=body.decode(),
            status=answer.status,
            problem=answer.problem,
            took_ms=answer.took_ms,
        )
        self.subscription.log(delivery)

    async def _until(self, at: datetime | None) -> None:
        """Wait for an instant of the sandbox's clock, or to be woken."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if at is None else self._clock.real_seconds_until(at)):
                await self._wake.wait()
