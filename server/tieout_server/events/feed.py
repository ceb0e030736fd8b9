"""Delivery of the log: one reader of the database for the whole process, a cursor for each subscriber.

No subscriber has a queue. The reader keeps the newest events in one shared window; whoever falls behind it reads
the database from where it stands, so a slow subscriber costs nothing but its own time.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import timedelta

import msgspec

from tieout_server.clock import Clock
from tieout_server.errors import DrainingError, ResumeTokenTooOldError
from tieout_server.events import token
from tieout_server.storage import events
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.events import Event
from tieout_server.storage.notices import Notices

CONNECTION = "connection"
SYNC = "sync"
CHANGES = "changes"
"""The mirror of a connection changed without a sync. Bears nothing: it only wakes those who read the changes."""
RECONCILIATION = "reconciliation"
DISCREPANCY = "discrepancy"
EXPORT = "export"
ERASURE = "erasure"
"""Earlier events of a connection were rewritten: no process may go on telling what it has in memory."""
TOPICS = (CONNECTION, SYNC, CHANGES, RECONCILIATION, DISCREPANCY, EXPORT, ERASURE)

WINDOW = 10_000
"""Events kept in memory for all subscribers together."""
PAGE = 500
HEARTBEAT = 10.0
"""Seconds without an event after which a subscriber hears a heartbeat; the API promises 15 at most."""
POLL = 1.0
"""Seconds after which the log is looked at even if nobody said that it grew (another process may have written)."""
POLL_BESIDE_NOTICES = 15.0
"""… while other processes say so themselves, and nothing but a lost notice is to be made up for."""
KEPT = timedelta(days=7)
"""How long events are kept, and so how old a resume token may be."""
_ANEW = "Start again without a token, and with from_start where the watch has it."
LOST = (
    "The database of this service was restored from a backup, and this resume token is of later: what was told "
    f"before it need not have happened. {_ANEW}"
)

Wanted = Callable[[Event], bool]


class Feed:
    """The log as it grows. Run it once per process; any number may follow."""

    def __init__(self, database: Database, clock: Clock, notices: Notices | None = None) -> None:
        self._database = database
        self._clock = clock
        self._notices = notices or Notices(database)
        self._window: list[Event] = []  # the newest events without a gap, up to `_position`
        self._position = 0
        self._erasures = 0
        self._appended = asyncio.Event()
        self.is_draining = False
        self._waiting: dict[asyncio.Future[None], Wanted] = {}
        self._notices.listen(events.CHANNEL, self._heard)

    async def append(self, tx: Transaction, event: Event) -> int:
        """Add to the log in this transaction, as its last statement; followers hear of it once it has committed.

        The transaction is durable then, whatever it was begun as: a position that was told is not given out again.
        """
        position = await events.append(tx, event)
        self._database.keep(tx)
        numbered = msgspec.structs.replace(event, position=position)
        self._database.after_commit(tx, functools.partial(self._committed, numbered))
        return position

    async def tell_of_changes(self, tx: Transaction, connection_id: str) -> None:
        """Wake those who follow this connection's mirror, which this transaction changed; its last statement.

        A sync need not: its progress wakes them.
        """
        await self.append(tx, Event(0, connection_id, CHANGES, connection_id, self._clock.now(), b""))

    async def tell_of_erasure(self, tx: Transaction, connection_id: str) -> None:
        """Have every process read again what it tells of this connection: rows of the log were rewritten before."""
        await self.append(tx, Event(0, connection_id, ERASURE, connection_id, self._clock.now(), b""))

    async def start(self) -> None:
        """Find the end of the log; followers may come from now on."""
        async with self._database.read() as tx:
            self._position = (await events.bounds(tx)).last

    async def run(self) -> None:
        """Keep reading the log until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: Python 3.11's can lose a cancellation.
                async with asyncio.timeout(POLL_BESIDE_NOTICES if self._notices.is_heard else POLL):
                    await self._appended.wait()
            self._appended.clear()
            await self._advance()

    def drain(self) -> None:
        """Send every follower away, to resume elsewhere with the token that it is told last."""
        self.is_draining = True
        _wake(self._waiting)

    def check_is_open(self) -> None:
        """Check that followers may stay.

        Raises:
            DrainingError: this process shuts down.
        """
        if self.is_draining:
            raise draining()

    async def position_of(self, resume_token: str) -> int:
        """Where a follower with this token goes on.

        Raises:
            InvalidRequestError: the token is none of ours.
            ResumeTokenTooOldError: what came after it is no longer kept.
        """
        async with self._database.read() as tx:
            bounds = await events.bounds(tx)
            position = token.decode(resume_token, last=bounds.last)
            if await events.is_lost(tx, position):
                raise ResumeTokenTooOldError(LOST, oldest_resume_token=token.encode(bounds.pruned))
        if position < bounds.pruned:
            raise ResumeTokenTooOldError(
                f"What came after this resume token is no longer kept (7 days). {_ANEW}",
                oldest_resume_token=token.encode(bounds.pruned),
            )
        return position

    async def follow(self, after: int, wanted: Wanted) -> AsyncGenerator[Event | int, None]:
        """Every wanted event behind this position, in order; when it is quiet, a bare position as a heartbeat.

        A bare position means that everything up to it has been delivered. It is the last that is told, too.

        Raises:
            DrainingError: this process shuts down; its facts name the token to resume with.
        """
        position, heard_at = after, _loop_time()
        while True:
            if self.is_draining:
                yield position
                raise draining(token.encode(position))
            erasures = self._erasures
            batch, end = await self._next(position)
            for event in batch:
                if erasures != self._erasures:
                    break  # a slow reader would be told what is in hand long after it was erased
                if wanted(event):
                    yield event
                    heard_at = _loop_time()
                position = event.position
            else:
                position = end
            if (quiet := _loop_time() - heard_at) >= HEARTBEAT:
                yield position
                heard_at = _loop_time()
            elif position >= self._position:
                await self._wait_for(wanted, HEARTBEAT - quiet)

    async def prune(self) -> int:
        """Forget events older than what is kept; says how many."""
        async with self._database.write(durable=False) as tx:
            return await events.prune(tx, self._clock.now() - KEPT)

    async def _next(self, position: int) -> tuple[Sequence[Event], int]:
        """Some events behind this position, and the position up to which they are complete."""
        end = self._position
        if position >= end:
            return (), position
        if self._window and position >= self._window[0].position - 1:
            start = position - self._window[0].position + 1  # positions have no gaps: a rolled back one is given again
            batch: Sequence[Event] = self._window[start : start + PAGE]
        else:
            async with self._database.read() as tx:
                batch = await events.after(tx, position, limit=PAGE)
        return batch, batch[-1].position if batch else end

    async def _advance(self) -> None:
        """Read what was committed since, and tell everybody."""
        while True:
            async with self._database.read() as tx:
                batch = await events.after(tx, self._position, limit=PAGE)
            news = [event for event in batch if event.position > self._position]  # some came by themselves meanwhile
            if news:
                self._take(news)
            if len(batch) < PAGE:
                return  # what is committed from now on, its writer tells of

    def _committed(self, event: Event) -> None:
        """Take an event of this process as it is, if none of another process lies before it."""
        if event.position == self._position + 1:
            self._take([event])
        else:
            self._appended.set()

    def _heard(self, position: str | None) -> None:
        """Another process says how far the log goes, or nothing could be heard for a while."""
        if position is None or int(position) > self._position:
            self._appended.set()

    def _take(self, batch: Sequence[Event]) -> None:
        if batch[0].position != self._position + 1:
            self._window.clear()  # what lay between was pruned before it was read here
        self._window.extend(batch)
        if any(event.topic == ERASURE for event in batch):
            self._window.clear()
            self._erasures += 1
        if len(self._window) > 2 * WINDOW:
            del self._window[:-WINDOW]
        self._position = batch[-1].position
        _wake(news for news, wanted in self._waiting.items() if any(map(wanted, batch)))

    async def _wait_for(self, wanted: Wanted, seconds: float) -> None:
        """Wait until something wanted has come, at most so long.

        Most followers want few of all events: to wake each for every event costs forty times as much as asking.
        """
        if self.is_draining:
            return
        news = asyncio.get_running_loop().create_future()
        self._waiting[news] = wanted
        try:
            await asyncio.wait((news,), timeout=seconds)
        finally:
            del self._waiting[news]


def draining(resume_token: str = "") -> DrainingError:
    """What a follower is told in the end."""
    sentence = "This server is shutting down; resume at another one with your token."
    return DrainingError(sentence, resume_token=resume_token)


def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
    for news in waiting:
        if not news.done():
            news.set_result(None)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
