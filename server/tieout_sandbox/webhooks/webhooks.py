"""All webhooks of a sandbox: who subscribed, which events they get, and the tasks that send them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

import aiohttp

from tieout_sandbox.books.documents import Contact, Credit, Invoice, Payment
from tieout_sandbox.books.ledger import Change
from tieout_sandbox.identity.authority import Authority
from tieout_sandbox.organisations import Organisation
from tieout_sandbox.switches import Switches
from tieout_sandbox.webhooks.events import ALL_CATEGORIES, Category, event_of
from tieout_sandbox.webhooks.receiver import check_target
from tieout_sandbox.webhooks.sender import Sender
from tieout_sandbox.webhooks.subscription import Subscription, new_key

ANSWER_WITHIN = 5.0
"""Real seconds that a receiver has (Xero, configuring your server)."""


class Webhooks:
    """Subscriptions by app, and what keeps them going; events of an organisation go to the apps connected to it.

    `api_url` is what resource addresses begin with; `answer_within` may be shortened for tests.
    """

    def __init__(self, authority: Authority, switches: Switches) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self.api_url = "https://api.xero.com"
        self.answer_within = ANSWER_WITHIN
        self._authority = authority
        self._switches = switches
        self._senders: dict[str, Sender] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._http: aiohttp.ClientSession | None = None
        authority.clock.observers.append(self._wake_all)
        for organisation in authority.organisations.values():
            self.watch(organisation)

    def watch(self, organisation: Organisation) -> None:
        """Raise events for what happens in these books from now on."""
        organisation.books.observers.append(partial(self._happened, organisation))

    def subscribe(
        self,
        client_id: str,
        url: str,
        key: str | None = None,
        categories: frozenset[Category] = ALL_CATEGORIES,
    ) -> Subscription:
        """Register an app's webhook, or give it another address or other categories; nothing is sent before `intend`.

        Raises:
            KeyError: there is no such app.
            ValueError: the address is not on this machine.
        """
        _ = self._authority.apps[client_id]
        check_target(url)
        kept = self.subscriptions.get(client_id)
        if kept is not None:
            kept.key, kept.categories = key or kept.key, categories
            if kept.url != url:
                kept.url = url
                kept.refused()
            return kept
        return self._register(Subscription(client_id, url, key or new_key(), categories))

    def take_up(self, saved: Iterable[Subscription]) -> None:
        """Go on with these subscriptions instead of those there are; who was heard before need not be asked again."""
        for client_id in list(self.subscriptions):
            self.unsubscribe(client_id)
        for subscription in saved:
            self._register(subscription)

    def _register(self, made: Subscription) -> Subscription:
        self.subscriptions[made.client_id] = made
        self._senders[made.client_id] = Sender(made, self._authority.clock, self._switches, lambda: self.api_url)
        self._start(made.client_id)
        return made

    def unsubscribe(self, client_id: str) -> None:
        """Forget an app's webhook and all that waited for it."""
        self.subscriptions.pop(client_id, None)
        self._senders.pop(client_id, None)
        for tasks in (self._tasks, self._asking):
            if client_id in tasks:
                tasks.pop(client_id).cancel()

    async def intend(self, client_id: str) -> Subscription:
        """Ask the receiver now for its intent to receive; the standing says how it went.

        Raises:
            KeyError: the app has no webhook, or the sandbox does not listen.
        """
        sender = self._senders[client_id]
        if self._http is None:
            raise KeyError("a sandbox that listens")
        await sender.intend(self._http)
        return sender.subscription

    def ask(self, client_id: str) -> None:
        """Ask for the intent to receive as soon as somebody listens at the address."""
        if self._http is not None:
            if client_id in self._asking:
                self._asking[client_id].cancel()
            self._asking[client_id] = asyncio.create_task(self._senders[client_id].ask_until_heard(self._http))

    def wake(self, client_id: str) -> None:
        """Look again at what is due for an app."""
        self._senders[client_id].wake()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send for as long as the block runs; who subscribed before is asked for the intent as soon as it listens."""
        timeout = aiohttp.ClientTimeout(total=self.answer_within)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as self._http:
            for client_id in self._senders:
                self._start(client_id)
                self.ask(client_id)
            try:
                yield
            finally:
                await self._stop()

    async def _stop(self) -> None:
        tasks = [*self._tasks.values(), *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._http = None

    def _start(self, client_id: str) -> None:
        if self._http is not None:
            self._tasks[client_id] = asyncio.create_task(self._senders[client_id].run(self._http))

    def _happened(
        self, organisation: Organisation, document: Contact | Invoice | Credit | Payment, change: Change, at: datetime
    ) -> None:
        if not self.subscriptions:
            return
        event = event_of(organisation.id, document, change, at, self._switches)
        if event is None:
            return
        connections = self._authority.connections.values()
        connected = {held.client_id for held in connections if held.organisation is organisation}
        for client_id in connected & self.subscriptions.keys():
            if self.subscriptions[client_id].take(event, self._authority.clock.now()):
                self._senders[client_id].wake()

    def _wake_all(self) -> None:
        for sender in self._senders.values():
            sender.wake()
