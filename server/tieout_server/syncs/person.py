"""Erasing one person: what is here of a customer who was erased in Xero, all of it in one transaction.

Documents and exported payments stay: they are the merchant's accounting records (GDPR, Article 17(3)(b)), and name
the customer by Xero's id only.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from tieout_server.connections import forget
from tieout_server.events.feed import DISCREPANCY, Feed
from tieout_server.ledger.documents import Contact, Document
from tieout_server.ledger.links import TIEOUT
from tieout_server.storage import customers, discrepancies, erasure, events, mirror, work
from tieout_server.storage.database import Transaction
from tieout_server.storage.discrepancies import Change, Discrepancy, Happened
from tieout_server.storage.events import Event
from tieout_server.storage.mirror import Saved
from tieout_server.work.engine import Lane, Priority

WORK = "erase"
"""The kind of work that erases here who was erased in Xero."""
LANE = Lane.NEWS
PAGE = 500
"""Events that are gone through at a time."""


async def foresee(tx: Transaction, connection_id: str, documents: Sequence[Document], at: datetime) -> None:
    """Have erased here who is erased in these documents; before they are saved: see Transaction."""
    contacts = [one for one in documents if isinstance(one, Contact)]
    if contacts and await erasure.is_left_by(tx, connection_id, contacts):
        task = work.Task(WORK, connection_id, LANE)
        await work.wake(tx, task, priority=Priority.NEWS, due_at=at, tell=True)


async def save(
    tx: Transaction, connection_id: str, documents: Sequence[Document], *, seen_in: int, at: datetime
) -> Saved:
    """`mirror.save`, and have erased here who is erased in these documents; contacts come before all others."""
    await foresee(tx, connection_id, documents, at)
    return await mirror.save(tx, connection_id, documents, seen_in=seen_in, at=at)


async def count(tx: Transaction, connection_id: str, customer: str) -> Mapping[str, int]:
    """How much there is to erase of a contact and those that were merged into it, by kind."""
    return await erasure.count(tx, connection_id, await customers.families(tx, connection_id, [customer]))


async def erase(tx: Transaction, feed: Feed, connection_id: str, customer: str, at: datetime) -> None:
    """Erase a contact and those that were merged into it. A repeat changes nothing.

    The transaction holds the connection, and this is its last statement: watchers are told that discrepancies are
    over, and all that was told of them before is rewritten.
    """
    members = await customers.families(tx, connection_id, [customer])
    gone = await discrepancies.of_customer(tx, connection_id, members)
    await erasure.erase(tx, connection_id, members, at)
    for one in gone:
        await _forget_in_log(tx, one)
    for one in gone:
        await _tell_of_end(tx, feed, one, at)
    await feed.tell_of_changes(tx, connection_id)
    await feed.tell_of_erasure(tx, connection_id)


async def _forget_in_log(tx: Transaction, discrepancy: Discrepancy) -> None:
    after = 0
    while told := await events.about(tx, discrepancy.id, topic=DISCREPANCY, after=after, limit=PAGE):
        for event in told:
            still = forget.change_of_discrepancy(event.payload, erasure.ERASED)
            await events.rewrite(tx, event.position, still)
        after = told[-1].position


async def _tell_of_end(tx: Transaction, feed: Feed, discrepancy: Discrepancy, at: datetime) -> None:
    blank = forget.without_contents(discrepancy, erasure.ERASED)
    over = msgspec.structs.replace(blank, state="RESOLVED", owner="", resolved_at=at, updated_at=at)
    happened = Happened(state=over.state, sentence=over.sentence, actor=TIEOUT, at=at, difference=over.difference)
    payload = msgspec.json.encode(Change(happened, over))
    await feed.append(tx, Event(0, discrepancy.connection_id, DISCREPANCY, discrepancy.id, at, payload))
