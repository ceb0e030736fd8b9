"""What the edge asks about callers: who is registered, whose things are, what is on record, how to reach an issuer."""

import time
from collections.abc import Callable

from tieout_server.callers.audit import AuditLog
from tieout_server.callers.directory import Directory
from tieout_server.callers.issuer_keys import Fetch
from tieout_server.callers.owners import Owners
from tieout_server.clock import Clock
from tieout_server.storage.database import Database


class Callers:
    """The callers of this service, on one database."""

    def __init__(
        self, database: Database, clock: Clock, fetch: Fetch, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.directory = Directory(database, clock, monotonic)
        self.owners = Owners(database)
        self.audit = AuditLog(database)
        self.fetch = fetch
        self.clock = clock
        self.monotonic = monotonic
