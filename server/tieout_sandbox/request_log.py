"""What was asked of the sandbox and how it was answered: tests count calls here."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

_KEPT = 100_000
_FREE = re.compile(r"/organisations?$", re.IGNORECASE)


@dataclass(slots=True)
class Entry:
    """One request; status and bytes come once it was answered: they are 0 before, and for a cut connection."""

    number: int
    at: datetime
    method: str
    path: str
    query: dict[str, str]
    organisation_id: str | None = None
    client_id: str | None = None
    in_flight: int = 1
    status: int = 0
    bytes: int = 0
    bytes_whole: int | None = None
    """Of the body before it was compressed, where it was."""
    limit_problem: str | None = None


@dataclass(slots=True)
class RequestLog:
    """The last 100,000 requests, oldest first; what is asked of `/sandbox` itself is not among them."""

    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def open(self, at: datetime, method: str, path: str, query: dict[str, str]) -> Entry:
        """Note a request that has just arrived."""
        entry = Entry(next(self._numbers), at, method, path, query)
        self.entries.append(entry)
        return entry

    def find(
        self,
        *,
        path: str = "",
        method: str | None = None,
        status: int | None = None,
        organisation_id: str | None = None,
        client_id: str | None = None,
        limit_problem: str | None = None,
        after: int = 0,
        since: datetime | None = None,
    ) -> list[Entry]:
        """The requests that match all that is given.

        Args:
            path: a regular expression, searched without regard to case.
            method: GET, PUT …
            status: of the answer; 0 for a connection that was cut.
            organisation_id: whose books.
            client_id: which app.
            limit_problem: the kind of a 429: minute, day, concurrent or appminute.
            after: the number of an entry.
            since: an instant of the sandbox's clock.
        """
        pattern = re.compile(path, re.IGNORECASE)
        return [
            entry
            for entry in self.entries
            if entry.number > after
            and pattern.search(entry.path)
            and method in {None, entry.method}
            and status in {None, entry.status}
            and organisation_id in {None, entry.organisation_id}
            and client_id in {None, entry.client_id}
            and limit_problem in {None, entry.limit_problem}
            and (since is None or entry.at >= since)
        ]

    def count(self, path: str = "", *, method: str | None = None, status: int | None = None) -> int:
        """How many requests match."""
        return len(self.find(path=path, method=method, status=status))

    def egress(self, client_id: str, *, counts_writes: bool, counts_compressed: bool) -> int:
        """The bytes that count towards what an app pays for (Xero, pricing: GET Organisation does not).

        Args:
            client_id: the app.
            counts_writes: whether the answers to writes count (fact sheet U10).
            counts_compressed: whether bytes count as sent, after gzip (fact sheet U10).
        """
        return sum(
            entry.bytes if counts_compressed or entry.bytes_whole is None else entry.bytes_whole
            for entry in self.entries
            if entry.client_id == client_id
            and (counts_writes or entry.method == "GET")
            and not _FREE.search(entry.path)
        )

    def clear(self) -> None:
        """Forget everything; numbers go on."""
        self.entries.clear()
