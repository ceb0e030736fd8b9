"""What was asked of the sandbox and how it was answered: tests count calls here."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

_KEPT = 100_000


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
        after: int = 0,
    ) -> list[Entry]:
        """The requests that match: `path` is a regular expression without regard to case, `after` an entry's number."""
        pattern = re.compile(path, re.IGNORECASE)
        return [
            entry
            for entry in self.entries
            if entry.number > after
            and pattern.search(entry.path)
            and method in {None, entry.method}
            and status in {None, entry.status}
            and organisation_id in {None, entry.organisation_id}
        ]

    def count(self, path: str = "", *, method: str | None = None, status: int | None = None) -> int:
        """How many requests match."""
        return len(self.find(path=path, method=method, status=status))

    def clear(self) -> None:
        """Forget everything; numbers go on."""
        self.entries.clear()
