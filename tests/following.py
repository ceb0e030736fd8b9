"""A subscriber of changes for tests: it keeps a copy of the mirror, and sees that each change comes once, in order."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import tieout
from tieout.v1.receivables_service_pb2 import (
    CHANGE_KIND_MERGED,
    CHANGE_KIND_UPSERTED,
    Change,
    WatchChangesResponse,
)
from tieout.v1.types_pb2 import Money
from tieout_server.receivables import place
from tieout_server.receivables.place import Place

_ANY = 2**62
"""Behind every number: a test's own tokens are never too new."""


@dataclass
class Subscriber:
    """Somebody who follows the changes of one connection over any number of streams, and keeps a token only."""

    connection_id: str
    token: str = ""
    here: Place | None = None
    copy: dict[tuple[int, str], Change] = field(default_factory=dict)
    told: int = 0
    _became: dict[str, str] = field(default_factory=dict)
    _in_snapshot: bool = False
    _stream: asyncio.Task[None] | None = None

    def listen(self, client: tieout.Client) -> None:
        """Open a stream behind the last message that arrived, or with a snapshot."""
        self._stream = asyncio.create_task(self._read(client))

    async def leave(self) -> None:
        """Break the stream off, wherever it is.

        Raises:
            AssertionError: something came twice or out of order.
        """
        if self._stream is not None:
            self._stream.cancel()
            await asyncio.gather(self._stream, return_exceptions=True)
            self.check()

    def check(self) -> None:
        """See to it that nothing went wrong so far; what did is raised."""
        if self._stream is not None and self._stream.done() and not self._stream.cancelled():
            self._stream.result()

    def has_reached(self, number: int) -> bool:
        """Whether everything up to this change was told."""
        self.check()
        return self.here is not None and self.here >= Place.end_of(number)

    async def _read(self, client: tieout.Client) -> None:
        watch = client.receivables.watch_changes(self.connection_id, after=self.token, from_start=not self.token)
        async with aclosing(watch) as messages:
            async for message in messages:
                self._take(message)

    def _take(self, message: WatchChangesResponse) -> None:
        bookmark = place.decode(self.connection_id, message.resume_token, last=_ANY)
        is_news = not message.HasField("heartbeat")
        was_in_snapshot = self.here is None or self._in_snapshot
        if self.here is not None and was_in_snapshot == bookmark.in_snapshot:
            assert bookmark.place > self.here or (bookmark.place == self.here and not is_news), (
                f"{bookmark.place} came behind {self.here}"
            )
        assert was_in_snapshot or not bookmark.in_snapshot, "a snapshot came behind changes"
        self.token, self.here, self._in_snapshot = message.resume_token, bookmark.place, bookmark.in_snapshot
        if is_news:
            self._keep(message.snapshot if message.HasField("snapshot") else message.change)

    def _keep(self, change: Change) -> None:
        self.told += 1
        if change.kind == CHANGE_KIND_UPSERTED:
            self.copy[change.entity, change.id] = change
        else:
            self.copy.pop((change.entity, change.id), None)
        if change.kind == CHANGE_KIND_MERGED:
            self._became[change.id] = change.customer.id

    def holds(self) -> dict[tuple[int, str], str]:
        """Its copy, without what is documented not to be told again, and with customers as merges have left them."""
        return {key: plain(change, self._became) for key, change in self.copy.items()}

    def open_amounts(self) -> dict[str, Decimal]:
        """What is due of each invoice and what remains of each credit, by Xero's id: what one does this for."""
        amounts: dict[str, Money] = {}
        for change in self.copy.values():
            if change.HasField("invoice"):
                amounts[change.invoice.xero_invoice_id] = change.invoice.amount_due
            elif change.HasField("credit_note"):
                amounts[change.credit_note.xero_credit_note_id] = change.credit_note.remaining_credit
            elif change.HasField("credit"):
                amounts[change.credit.xero_credit_id] = change.credit.remaining_credit
        return {name: Decimal(money.amount) for name, money in amounts.items()}


def plain(change: Change, became: Mapping[str, str] = MappingProxyType({})) -> str:
    """A record without what says how it came, and without what is documented not to be told again.

    Customers that were merged away since are named as what they `became`.
    """
    bare = Change()
    bare.CopyFrom(change)
    for field_name in ("committed_at", "sync_id"):
        bare.ClearField(field_name)
    kind = bare.WhichOneof("record")
    assert kind, change
    record: Any = getattr(bare, kind)  # to touch another one would be to put it in the place of this one
    if kind == "customer":
        record.ClearField("overdue")
    payments = [record] if kind == "payment" else getattr(record, "payments", [])
    for paid in payments:
        paid.ClearField("invoice_number")
    for owed in (record, *payments):
        while getattr(owed, "customer_id", "") in became:
            owed.customer_id = became[owed.customer_id]
    return str(bare)
