"""What an app subscribed to, where it stands, and what waits to be sent."""

import base64
import random
import secrets
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tieout_sandbox.switches import Switches
from tieout_sandbox.webhooks.events import ALL_CATEGORIES, Category, Event

KEPT_FOR = timedelta(days=31)
"""How long events wait for a subscription that does not answer (Xero, webhooks overview)."""
GIVES_UP_AFTER = timedelta(hours=24)
"""Failing that long disables the subscription (Xero, webhooks overview)."""
RETRY_EVERY = timedelta(minutes=15)
"""After one retry at once (Xero, webhooks overview)."""
_LOGGED = 1_000
_LARGEST_SEQUENCE = 2**31 - 1


class Standing(StrEnum):
    """Whether events are sent, in the portal's words."""

    INTENT_REQUIRED = "Intent to receive required"
    """Nothing is raised before the receiver has proved that it checks signatures."""
    OK = "OK"
    RETRY = "Retry"
    """The last delivery failed; it is repeated, and later events wait behind it."""
    DISABLED = "Disabled"
    """Failed for 24 hours; events are kept until a new intent to receive succeeds."""


_SENDING = frozenset({Standing.OK, Standing.RETRY})
"""Whatever else it is now was decided while a delivery was under way, and stays."""


class Kind(StrEnum):
    """Why something was sent."""

    INTENT = "intent to receive"
    EVENTS = "events"
    RETRY = "retry"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST and how it was answered."""

    number: int
    at: datetime
    client_id: str
    kind: Kind
    events: int
    signed_rightly: bool
    body: str
    status: int | None
    problem: str
    took_ms: int


@dataclass(slots=True)
class Disturbance:
    """How unkind the network is; all off by default.

    Args:
        lag: between a change and its event, by the sandbox's clock.
        jitter: up to this much more, different for each event, so that events overtake each other.
        duplicates: how likely a delivery is sent a second time, from 0 to 1.
        seed: the same seed and changes disturb alike.
    """

    lag: timedelta = timedelta(0)
    jitter: timedelta = timedelta(0)
    duplicates: float = 0.0
    seed: int = 1


@dataclass(slots=True)
class Pending:
    """An event that waits; its sequence is given when it is first sent."""

    event: Event
    due_at: datetime
    sequence: int = 0


@dataclass(slots=True)
class Subscription:
    """One app's webhook: one address for the events of every organisation that is connected to the app."""

    client_id: str
    url: str
    key: str = field(repr=False)
    categories: frozenset[Category] = ALL_CATEGORIES
    standing: Standing = Standing.INTENT_REQUIRED
    failing_since: datetime | None = None
    retry_at: datetime | None = None
    disturbance: Disturbance = field(default_factory=Disturbance)
    pending: list[Pending] = field(default_factory=list)
    deliveries: deque[Delivery] = field(default_factory=lambda: deque(maxlen=_LOGGED))
    sequences: dict[str, int] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(1), repr=False)  # noqa: S311 made-up data

    def go_on(self) -> None:
        """Begin a log, and the chances at their seed, for a subscription that was saved without them."""
        self.deliveries = deque(maxlen=_LOGGED)
        self.rng = random.Random(f"webhooks {self.disturbance.seed}")  # noqa: S311 made-up data

    def disturb(self, disturbance: Disturbance) -> None:
        """Be unkind from now on, beginning at the seed."""
        self.disturbance = disturbance
        self.rng.seed(f"webhooks {disturbance.seed}")

    def take(self, event: Event, now: datetime) -> bool:
        """Let an event wait for its turn; False if the app did not ask for it or has not shown yet that it listens."""
        if event.category not in self.categories or self.standing is Standing.INTENT_REQUIRED:
            return False
        jitter = self.disturbance.jitter * self.rng.random()
        self.pending.append(Pending(event, now + self.disturbance.lag + jitter))
        return True

    def due_at(self) -> datetime | None:
        """When something is to be sent; None while nothing is."""
        if self.standing is Standing.RETRY:
            return self.retry_at
        if self.standing is not Standing.OK or not self.pending:
            return None
        return min(waiting.due_at for waiting in self.pending)

    def batch(self, now: datetime, switches: Switches) -> list[Pending]:
        """What one delivery takes: what is due, numbered; what was tried before goes first and keeps its numbers."""
        due = sorted((w for w in self.pending if w.due_at <= now), key=lambda w: (not w.sequence, w.sequence, w.due_at))
        if due and switches.webhook_sequence_per_organisation:
            due = [waiting for waiting in due if waiting.event.organisation_id == due[0].event.organisation_id]
        taken = due[: switches.webhook_most_events or None]
        for waiting in taken:
            waiting.sequence = waiting.sequence or self._next_sequence(waiting.event, switches)
        return taken

    def succeeded(self, sent: list[Pending]) -> None:
        """The receiver has them."""
        done = {id(waiting) for waiting in sent}
        self.pending = [waiting for waiting in self.pending if id(waiting) not in done]
        if self.standing in _SENDING:
            self.standing, self.failing_since, self.retry_at = Standing.OK, None, None

    def failed(self, now: datetime) -> None:
        """Not received: again at once the first time, then every 15 minutes; after 24 hours no more."""
        if self.standing not in _SENDING:
            return
        if self.failing_since is None:
            self.standing, self.failing_since, self.retry_at = Standing.RETRY, now, now
        elif now - self.failing_since >= GIVES_UP_AFTER:
            self.disable()
        else:
            self.retry_at = now + RETRY_EVERY

    def disable(self) -> None:
        """Send nothing more until a new intent to receive succeeds."""
        self.standing, self.failing_since, self.retry_at = Standing.DISABLED, None, None

    def enabled(self, now: datetime) -> None:
        """The intent to receive succeeded: what was kept is due now, except what is older than 31 days."""
        self.pending = [waiting for waiting in self.pending if waiting.event.at > now - KEPT_FOR]
        self.standing, self.failing_since, self.retry_at = Standing.OK, None, None

    def refused(self) -> None:
        """The intent to receive failed, or is still to come; once it has succeeded, events are kept meanwhile."""
        self.disable()
        if not self.sequences:
            self.standing = Standing.INTENT_REQUIRED

    def log(self, delivery: Delivery) -> None:
        """Remember a POST."""
        self.deliveries.append(delivery)

    def logged(self, after: int = 0) -> Iterator[Delivery]:
        """The POSTs since a number, oldest first."""
        return (delivery for delivery in self.deliveries if delivery.number > after)

    def _next_sequence(self, event: Event, switches: Switches) -> int:
        counter = event.organisation_id if switches.webhook_sequence_per_organisation else ""
        self.sequences[counter] = self.sequences.get(counter, 0) % _LARGEST_SEQUENCE + 1
        return self.sequences[counter]


def new_key() -> str:
    """A signing key like those in the portal: 88 characters."""
    return base64.b64encode(secrets.token_bytes(64)).decode()
