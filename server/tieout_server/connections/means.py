"""What the modules of this package work with, and the kinds of work that they leave to be done."""

from dataclasses import dataclass
from datetime import timedelta

from tieout_server.clock import Clock
from tieout_server.connections.authorisation import Authorisations
from tieout_server.connections.return_urls import ReturnUrls
from tieout_server.connections.tokens import Tokens
from tieout_server.events.feed import Feed
from tieout_server.ledger.books import Identity, Library
from tieout_server.storage.database import Database
from tieout_server.work.engine import Engine
from tieout_server.work.requests import Requests

AFTER_CONSENT = "after_consent"
"""What access wakes when there is some (again): reading what there is, or what was missed."""
LOOK_AFTER = "look_after"
"""Looking whether a connection still works, before anybody notices that it does not."""
TAKE_LEAVE = "take_leave"
"""Removing at Xero what a disconnected connection was linked to."""
PURGE = "purge"
"""Erasing what was read through a disconnected connection."""


@dataclass(frozen=True)
class Means:
    """What connections are made, kept and ended with."""

    database: Database
    feed: Feed
    engine: Engine
    requests: Requests
    authorisations: Authorisations
    tokens: Tokens
    identity: Identity
    library: Library
    return_urls: ReturnUrls
    clock: Clock
    look_every: timedelta = timedelta(days=1)
    """How often a connection is looked at that works; one that is broken a seventh as often."""
