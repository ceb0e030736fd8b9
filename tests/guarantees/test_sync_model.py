"""Promise: whatever happens in Xero and to us, in whatever order, once the dust settles the mirror is what Xero holds.

Somebody works in Xero, calls fail, webhooks get lost, clocks jump, our server is stopped anywhere; how Xero behaves
where nobody knows is drawn too. Afterwards nothing is done but letting time pass: no sync is asked for. Subscribers of
changes that lived through all of it have been told each change once, in order, and hold the same copy.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from deliveries import KEY, subscribed
from edits import EDITS, edit
from following import Subscriber
from jumping import Days, JumpingClock, SharedClock, days
from servers import (
    Truth,
    client_of,
    differences,
    forget_replicas,
    mirror_of,
    server_process,
    small_pages,
    truth_of,
)
from tieout import errors
from tieout.v1 import sync_service_pb2 as pb
from tieout.v1.connection_service_pb2 import CONNECTION_STATE_CONNECTED
from tieout_sandbox import FaultKind, FaultRule, InvoiceType, Sandbox, SandboxSettings, Status, serve
from tieout_sandbox.books.ledger import Ledger
from tieout_sandbox.books.rules import NotAllowedError
from tieout_sandbox.switches import set_switch
from tieout_sandbox.webhooks.subscription import Disturbance, Subscription
from tieout_server.events import feed
from tieout_server.ledger.documents import IN_LEDGER
from tieout_server.storage import changes, tables
from tieout_server.storage.database import Database

pytestmark = pytest.mark.timeout(600)

SPEED = 120.0
"""How many times as fast as ours the time of both servers passes, beside its jumps: pauses of theirs are short."""
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
ASKED = os.environ.get("TIEOUT_TEST_EXAMPLES")
EXAMPLES = int(ASKED or 3)
"""Stories told on each kind of database, beside those that are always told."""
PHASES = [phase for phase in Phase if ASKED or phase not in {Phase.shrink, Phase.explain}]
"""A story takes seconds: it is made shorter only for somebody who asked for many and has the time."""
UNSURE = (
    "deleted_payments_in_delta", "allocations_move_updated", "due_date_of_part_paid_moves_updated",
    "modified_since_inclusive", "modified_since_cut_to_seconds", "nothing_modified_answers_304",
    "archived_contacts_in_delta", "payments_fire_invoice_update", "payment_webhooks", "contact_edits_move_documents",
    "nested_credits_are_brief",
)  # fmt: skip
"""The open questions of Xero's behaviour whose answers decide what we come to see."""
OUTAGES = (
    FaultKind.OFFLINE, FaultKind.UNAVAILABLE, FaultKind.ORGANISATION_OFFLINE, FaultKind.FORBIDDEN_HTML, FaultKind.DROP,
    FaultKind.DROP_AFTER, FaultKind.TRUNCATED, FaultKind.SLOW, FaultKind.LIMIT_MINUTE, FaultKind.LIMIT_CONCURRENT,
    FaultKind.LIMIT_APP_MINUTE, FaultKind.LIMIT_DAY,
)  # fmt: skip
WHERE = ("", "/Contacts", "/Invoices", "/Payments", "/CreditNotes", "/Overpayments", "/Prepayments", "/Accounts")
DATED = ("contacts", "invoices", "credits", "payments")
"""What has an UpdatedDateUTC that we keep."""
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (1, 20, 70, 310, 1_900, 11_000))


@dataclass(frozen=True)
class Story:
    """What happens, and in which world."""

    switches: Mapping[str, bool]
    steps: list[tuple[str, int]]
    page_size: int = 1_000
    webhooks: bool = True
    skew: int = 0
    """Seconds that Xero's clock is ahead of ours."""
    from_start: bool = False
    """Whether it begins while the first sync is still running."""


@dataclass
class Play:
    """A story while it is told."""

    sandbox: Sandbox
    story: Story
    database_url: str
    clock: JumpingClock
    connection_id: str = ""
    webhook: Subscription | None = None
    subscribers: list[Subscriber] = field(default_factory=list)
    day_is_over: bool = False
    """Whether Xero has refused calls for the rest of some day."""
    _around: Days | None = None
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def around(self) -> Days:
        """The server that runs now."""
        assert self._around is not None
        return self._around

    async def start(self) -> None:
        """Start our server, where the one before it stopped; its subscribers come back with what they hold."""
        await forget_replicas(self.database_url)  # one that was killed would be missed in 20 seconds of ours
        key = {"xero_webhook_key": KEY} if self.story.webhooks else {}
        self._around = await self._stack.enter_async_context(self.serving(**key))
        if self.story.webhooks:
            self.webhook = await subscribed(self.sandbox, self.around.running)
        for subscriber in self.subscribers:
            subscriber.listen(self.around.running.client)

    def serving(self, **settings: str) -> AbstractAsyncContextManager[Days]:
        """Our server with these settings, and its time."""
        return days(self.sandbox, self.database_url, self.clock, **settings)

    async def stop(self, *, like_a_kill: bool = False) -> None:
        """Stop our server, whatever it is at; after a kill nobody has let go of the work in hand."""
        await asyncio.gather(*(subscriber.leave() for subscriber in self.subscribers))
        if like_a_kill and self.around.engine is not None:
            self.around.engine._replica.id = ""
        await self._stack.aclose()

    async def do(self, name: str, number: int) -> None:
        """Do one step, and leave the servers a moment that differs from step to step."""
        if name in EDITS:
            with contextlib.suppress(NotAllowedError):  # in Xero's words, as it happens to people
                edit(self.sandbox.books, name, number)
        else:
            await MISHAPS[name](self, number)
        await asyncio.sleep(number % 7 * 0.005)

    # What happens beside the edits

    async def sync(self, number: int) -> None:
        mode = (pb.SYNC_MODE_INCREMENTAL, pb.SYNC_MODE_FULL)[number % 2]
        await self.around.running.client.syncs.start(self.connection_id, mode=mode)

    async def cancel(self, _number: int) -> None:
        """Cancel the newest sync, unless it is the first one: somebody would have to ask for another."""
        syncs = self.around.running.client.syncs
        found = await syncs.list(self.connection_id).first(10)
        if any(sync.state == pb.SYNC_STATE_SUCCEEDED for sync in found):
            with contextlib.suppress(errors.NotPermittedNowError):  # it has ended
                await syncs.cancel(found[0].id)

    async def wait(self, number: int) -> None:
        await self.around.passing(PAUSES[number % len(PAUSES)], step=HOUR)

    async def jump(self, number: int) -> None:
        """Time passes while everybody is at work."""
        self.around.jump_to(self.clock.now() + PAUSES[number % len(PAUSES)])

    async def restart(self, number: int) -> None:
        await self.stop(like_a_kill=number % 2 == 1)
        self._stack = contextlib.AsyncExitStack()
        await self.start()

    async def outage(self, number: int) -> None:
        kind, where = OUTAGES[number % len(OUTAGES)], WHERE[number // 12 % len(WHERE)]
        rule = FaultRule(kind, rf"/api\.xro/2\.0{where}", times=number % 7 + 1, seconds=0.03)
        self.sandbox.faults.add(rule)
        self.day_is_over |= kind is FaultKind.LIMIT_DAY

    async def lag(self, number: int) -> None:
        """What is read from Xero is some seconds old; now and then no more."""
        lag = number % 4 * 7 * SECOND
        self.sandbox.accounting.lag.begin(lag, self.sandbox.organisations, self.sandbox.clock.now())

    async def disturb(self, number: int) -> None:
        """Webhooks come late, twice and in another order, or are lost."""
        if self.webhook is None:
            return
        lag, jitter = number % 3 * SECOND, number % 5 * 9 * SECOND
        self.webhook.disturb(Disturbance(lag=lag, jitter=jitter, duplicates=number % 2 / 2, seed=number))
        self.webhook.pending = [waiting for waiting in self.webhook.pending if number % 3]

    async def follow(self, number: int) -> None:
        """Somebody new subscribes, or somebody comes back."""
        if number % 3 == 0 or not self.subscribers:
            self.subscribers.append(Subscriber(self.connection_id))
            self.subscribers[-1].listen(self.around.running.client)
            return
        subscriber = self.subscribers[number % len(self.subscribers)]
        await subscriber.leave()
        subscriber.listen(self.around.running.client)

    # And in the end

    async def end_mishaps(self) -> None:
        """From now on nothing goes wrong."""
        self.sandbox.faults.clear()
        self.sandbox.accounting.lag.begin(timedelta(), self.sandbox.organisations, self.sandbox.clock.now())
        if self.webhook is not None:
            self.webhook.disturb(Disturbance())

    async def settle_what_is_dated(self) -> list[str]:
        """Let an hour pass; what Xero has dated anew and is not here in that version."""
        await self.around.passing(HOUR + 20 * MINUTE, step=10 * MINUTE)
        mirror = await mirror_of(self.database_url, self.connection_id)
        truth = self._knowable(truth_of(self.sandbox.books), mirror)
        ours, theirs = (
            {name: {key: row[-1:] for key, row in of[name].items()} for name in DATED} for of in (mirror, truth)
        )
        return differences(theirs, ours)

    async def settle(self) -> list[str]:
        """Let days pass until mirror and books agree; what still differs after all sweeps."""
        books = self.sandbox.books
        pages = max(len(books.invoices), len(books.payments)) // self.story.page_size
        found = ["nothing was compared"]
        for _ in range(pages + 3):  # the history is swept a page a day, and a used-up day is no day
            await self.around.passing(DAY + HOUR, step=5 * HOUR)
            if not (found := await self.differences()):
                break
        return found

    async def differences(self) -> list[str]:
        """Where the mirror is not what the books are."""
        mirror, books = await mirror_of(self.database_url, self.connection_id), self.sandbox.books
        async with self.around.database.read() as tx:
            c = tables.contacts.c
            query = select(c.xero_contact_id, c.is_customer, c.merged_into).where(c.connection_id == self.connection_id)
            mirror["roles"] = {name: (bool(buys), into) for name, buys, into in await tx.execute(query)}
        truth = truth_of(books)
        truth["roles"] = {c.id: (c.is_customer, c.merged_to_id or "") for c in books.contacts.values()}
        return differences(self._knowable(truth, mirror), mirror)

    def _knowable(self, truth: Truth, mirror: Truth) -> Truth:
        """The truth without payments that came and went unseen: where lists leave deleted ones out, nobody can know."""
        if self.sandbox.switches.deleted_payments_in_delta:
            return truth
        payments = {
            key: row for key, row in truth["payments"].items()
            if row[0] != Status.DELETED or key in mirror["payments"]
        }  # fmt: skip
        return {**truth, "payments": payments}

    async def told(self) -> None:
        """Wait until all subscribers were told everything, and see that they hold what a new one is given."""
        async with self.around.database.read() as tx:
            last = await changes.last_number(tx, self.connection_id)
        newcomer = Subscriber(self.connection_id)
        newcomer.listen(self.around.running.client)
        self.subscribers.append(newcomer)
        async with asyncio.timeout(20):
            while not all([subscriber.has_reached(last) for subscriber in self.subscribers]):  # noqa: ASYNC110, C419 - no event; all are checked
                await asyncio.sleep(0.01)
        for subscriber in self.subscribers:
            assert subscriber.holds() == newcomer.holds()
            assert subscriber.open_amounts() == open_amounts_of(self.sandbox.books)


def open_amounts_of(books: Ledger) -> dict[str, Decimal]:
    """What is due of each sales invoice and what remains of each credit in the ledger, by id."""
    invoices = [invoice for invoice in books.invoices.values() if invoice.type is InvoiceType.ACCREC]
    credits_ = [*books.credit_notes.values(), *books.overpayments.values(), *books.prepayments.values()]
    due = {found.id: found.amount_due for found in invoices if str(found.status) in IN_LEDGER}
    ours = [found for found in credits_ if str(found.status) in IN_LEDGER and not found.of_supplier]
    return due | {found.id: found.remaining_credit for found in ours}


MISHAPS: Mapping[str, Callable[[Play, int], Awaitable[None]]] = {
    "sync": Play.sync,
    "cancel": Play.cancel,
    "wait": Play.wait,
    "jump": Play.jump,
    "restart": Play.restart,
    "outage": Play.outage,
    "lag": Play.lag,
    "disturb": Play.disturb,
    "follow": Play.follow,
}
STEPS = st.tuples(
    st.one_of(st.sampled_from(sorted(EDITS)), st.sampled_from(sorted(MISHAPS))), st.integers(0, 2_000)
)  # fmt: skip
STORIES = st.builds(
    Story,
    switches=st.fixed_dictionaries({name: st.booleans() for name in UNSURE}),
    steps=st.lists(STEPS, min_size=1, max_size=40),
    page_size=st.sampled_from([20, 50, 1_000]),
    webhooks=st.booleans(),
    skew=st.sampled_from([0, 0, -40, 40]),
    from_start=st.booleans(),
)


@dataclass
class PlayWithProcesses(Play):
    """A story in which our server is a process, which is killed wherever it is."""

    @contextlib.asynccontextmanager
    async def serving(self, **settings: str) -> AsyncIterator[Days]:
        assert isinstance(self.clock, SharedClock)
        folder, database = Path(self.clock.environment["TIEOUT_TEST_AHEAD"]).parent, Database(self.database_url)
        environment = {
            **self.clock.environment,
            **{f"TIEOUT_{name.upper()}": value for name, value in settings.items()},
            "TIEOUT_TEST_PAGE_SIZE": str(self.story.page_size),
            "TIEOUT_LOG_LEVEL": "warning",
        }
        command = (str(Path(__file__).with_name("jumping_server.py")),)
        async with (
            server_process(self.sandbox.url, self.database_url, folder, *command, **environment) as server,
            client_of(server) as running,
        ):
            try:
                yield Days(self.sandbox, running, self.database_url, database, self.clock)
            finally:
                await server.kill()
                await database.close()


@contextlib.asynccontextmanager
async def told_of(
    story: Story, database_url: str, clock: JumpingClock | None = None, play_of: type[Play] = Play
) -> AsyncIterator[Play]:
    """A world in which this story can happen, with a connection that has just been made and somebody who follows."""
    clock = clock or JumpingClock(SPEED)
    starts_at = clock.now() + story.skew * SECOND
    books = SandboxSettings(contacts=14, invoices=50, speed=SPEED, starts_at=starts_at)
    for name, value in story.switches.items():
        set_switch(books.switches, name, value)
    with small_pages(story.page_size), patch.object(feed, "HEARTBEAT", 0.05):
        async with serve(books) as sandbox:
            play = play_of(sandbox, story, database_url, clock)
            await play.start()
            try:
                play.connection_id = (await play.around.running.connect()).id
                await play.follow(0)
                if not story.from_start:
                    await play.around.running.first_sync(play.connection_id)
                yield play
            finally:
                await play.stop()


async def tell(story: Story, database_url: str, clock: JumpingClock | None = None, play_of: type[Play] = Play) -> None:
    """Have this story happen, let the dust settle, and compare."""
    async with told_of(story, database_url, clock, play_of) as play:
        for name, number in story.steps:
            await play.do(name, number)
        await play.end_mishaps()
        if not play.day_is_over:
            assert await play.settle_what_is_dated() == []
        assert await play.settle() == []
        connection = await play.around.running.client.connections.get(play.connection_id)
        assert connection.state == CONNECTION_STATE_CONNECTED
        await play.told()


def test_once_the_dust_settles_the_mirror_is_what_xero_holds_and_subscribers_hold_the_same(
    fresh_database: Callable[[], str],
) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
    @given(STORIES)
    @example(Story({}, [(name, 101) for name in sorted(EDITS)]))
    @example(SILENT)
    def happens(story: Story) -> None:
        asyncio.run(tell(story, fresh_database()))

    happens()


SILENT = Story(
    switches={"allocations_move_updated": False},
    steps=[*((name, 7) for name in ("give credit", "apply", "wait", "set elsewhere", "take back"))],
)
"""A credit is set against another invoice, and Xero shows it without a new version."""
KILLED = Story(
    switches={"allocations_move_updated": False, "deleted_payments_in_delta": False},
    steps=[
        *((name, 6) for name in ("enter", "pay", "restart", "apply", "merge", "jump", "restart", "unpay")),
        *((name, 55) for name in ("sync", "restart", "give credit", "put off the rest", "archive", "void", "wait")),
    ],
    page_size=20,
    from_start=True,
)


async def test_once_the_dust_settles_the_same_is_true_of_a_server_that_was_killed(
    database_url: str, tmp_path: Path
) -> None:
    clock = SharedClock(SPEED, tmp_path / "ahead")
    await tell(KILLED, database_url, clock, PlayWithProcesses)
