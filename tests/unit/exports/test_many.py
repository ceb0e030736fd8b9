"""What changed is read in full, though it goes on changing while it is read."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec

from documents import payment
from tieout_server.exports.many import MOST_PAGES, changed_since
from tieout_server.exports.turn import Turn
from tieout_server.ledger.books import Page, Purpose, Query, WritableBooks
from tieout_server.ledger.documents import Entity, Payment

BEGAN_AT = datetime(2026, 11, 22, 9, tzinfo=UTC)
PAGE_SIZE = 3


class Ledger:
    """Books of payments, in pages of three, of which the oldest change after each page."""

    def __init__(self, count: int, *, moving: int = 0) -> None:
        self.payments = {f"p{n}": self._changed(f"p{n}", n) for n in range(count)}
        self.moving = [f"p{n}" for n in range(moving)]
        self.calls = 0

    def _changed(self, name: str, after: int) -> Payment:
        made: Payment = payment(name)
        return msgspec.structs.replace(made, updated_at=BEGAN_AT + timedelta(seconds=after))

    async def read(self, query: Query, purpose: Purpose) -> Page:
        assert purpose is Purpose.PAYMENT_EXPORT
        assert query.since is not None
        self.calls += 1
        rows = [one for one in self.payments.values() if one.updated_at >= query.since]
        rows.sort(key=lambda one: one.updated_at)
        start = (query.page - 1) * PAGE_SIZE
        shown: Sequence[Payment] = rows[start : start + PAGE_SIZE]
        if self.moving:
            name = self.moving.pop(0)
            self.payments[name] = self._changed(name, 1000 + self.calls)
        return Page(
            documents=shown,
            page_count=-(-len(rows) // PAGE_SIZE),
            item_count=len(rows),
            served_at=BEGAN_AT + timedelta(hours=self.calls),
            last_change_at=shown[-1].updated_at,
        )

    @property
    def turn(self) -> Turn:
        """A slice with these books; of all else nothing is asked."""
        return Turn(None, None, None, cast("WritableBooks", self))  # type: ignore[arg-type] # neither is asked


async def test_nothing_slips_through_while_what_was_read_moves_to_the_end() -> None:
    ledger = Ledger(7, moving=2)
    changed = await changed_since(ledger.turn, Entity.PAYMENTS, BEGAN_AT)
    assert changed is not None
    assert {one.xero_payment_id: one for one in changed.documents if isinstance(one, Payment)} == ledger.payments
    assert len(changed.documents) == 7
    assert changed.as_of == BEGAN_AT + timedelta(hours=1)


async def test_where_too_much_changed_it_is_not_read() -> None:
    ledger = Ledger(PAGE_SIZE * MOST_PAGES + 1)
    assert await changed_since(ledger.turn, Entity.PAYMENTS, BEGAN_AT) is None
    assert ledger.calls == 1
