"""What happened to connections is kept for ever, in order, and comes back as it was."""

from datetime import UTC, datetime, timedelta

import msgspec

from tieout_server.ledger.links import Gap, LinkChangeKind, LinkEvent, Observation, Owner, Reason, ReasonCode
from tieout_server.storage import history
from tieout_server.storage.database import Database

AT = datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)
REASON = Reason(
    code=ReasonCode.DISCONNECTED_IN_XERO,
    sentence="Harbour & Vine was disconnected in Xero.",
    owner=Owner.MERCHANT,
    observed_at=AT,
    evidence=(Observation("GET /connections", "200, the organisation is not listed", AT, is_trouble=True),),
)
LOST = LinkEvent(
    id=7, connection_id="con1", kind=LinkChangeKind.STATE_CHANGED, from_state="CONNECTED",
    to_state="RECONNECT_REQUIRED", health="OK", reason=REASON, actor="tieout", gap=None, occurred_at=AT,
)  # fmt: skip
CLOSED = msgspec.structs.replace(
    LOST, id=9, kind=LinkChangeKind.GAP_CLOSED, reason=None, gap=Gap(from_at=AT, to_at=AT + timedelta(1), changes=37)
)


async def test_what_happened_is_listed_newest_first_by_pages_and_as_it_was(database: Database) -> None:
    first = msgspec.structs.replace(LOST, id=3, reason=None)
    other = msgspec.structs.replace(LOST, id=8, connection_id="con2")
    async with database.write() as tx:
        for event in (first, LOST, other, CLOSED):
            await history.add(tx, event)
    async with database.read() as tx:
        assert await history.page(tx, "con1", before=None, limit=9) == [CLOSED, LOST, first]
        assert await history.page(tx, "con1", before=9, limit=1) == [LOST]
        assert await history.page(tx, "con1", before=3, limit=9) == []


async def test_a_person_can_be_forgotten_without_what_happened(database: Database) -> None:
    forgotten = msgspec.structs.replace(LOST, actor="", reason=msgspec.structs.replace(REASON, sentence=""))
    async with database.write() as tx:
        await history.add(tx, msgspec.structs.replace(LOST, actor="ruth@southern-hops.example"))
        await history.rewrite(tx, forgotten)
        assert await history.page(tx, "con1", before=None, limit=9) == [forgotten]
