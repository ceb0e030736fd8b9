"""Reading what was written a moment ago, and not seeing it yet."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tieout_sandbox.books.books import Books
from tieout_sandbox.organisations import Organisation
from tieout_sandbox.state import copy_of


@dataclass(frozen=True, slots=True)
class _Seen:
    """Books as they were from an instant on."""

    since_at: datetime
    books: Books


@dataclass(slots=True)
class ReadLag:
    """Lets reads show the books as they were `lag` ago, by the sandbox's clock; writes always see the present.

    Each state that a read finds is copied, so it is for books of a few thousand documents. Of several changes between
    two reads the later ones may be seen later than that.
    """

    lag: timedelta = timedelta(0)
    _seen: dict[str, deque[_Seen]] = field(default_factory=dict)

    def begin(self, lag: timedelta, organisations: list[Organisation], now: datetime) -> None:
        """Lag from now on; zero ends it.

        Raises:
            ValueError: it is negative.
        """
        if lag < timedelta(0):
            raise ValueError("Reads cannot run ahead.")
        self.lag = lag
        self._seen.clear()
        for organisation in organisations if lag else ():
            self._seen[organisation.id] = deque([_Seen(now - lag, copy_of(organisation.books))])

    def shown(self, organisation: Organisation, now: datetime) -> Organisation:
        """The organisation as a read sees it now."""
        if not self.lag or organisation.id not in self._seen:
            return organisation
        states, books = self._seen[organisation.id], organisation.books
        latest = states[-1]
        if latest.books.revision != books.revision:
            stamped_at = books.stamped_at
            states.append(_Seen(stamped_at if stamped_at > latest.since_at else now, copy_of(books)))
        while len(states) > 1 and states[1].since_at <= now - self.lag:
            states.popleft()
        return replace(organisation, books=states[0].books)
