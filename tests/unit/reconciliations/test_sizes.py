"""However many documents a discrepancy has and however often it came back, clients take every message about it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from documents import contact
from open_organisation import OFF, Around
from tieout_server.ledger.documents import Entity
from tieout_server.reconciliations import discrepancies as reading
from tieout_server.reconciliations.record import keep
from tieout_server.reconciliations.watch import DiscrepancyWatch
from tieout_server.rpc import convert_reconciliations as convert
from tieout_server.rpc.reconciliations import ALL_DOCUMENTS, ALL_HISTORY, LISTED_DOCUMENTS
from tieout_server.storage import discrepancies
from tieout_server.storage.discrepancies import Change, Discrepancy, Happened, Involved, Share, Values

pytestmark = pytest.mark.timeout(60)

TAKEN = 4 << 20
"""Bytes of one message that clients take (gRPC's default)."""
AT = datetime(2026, 11, 22, 11, tzinfo=UTC)
GUID = "5f2b1c6e-0000-4000-8000-000000000000"
VALUES = Values(
    status="AUTHORISED",
    issued_on=AT.date(),
    total=Decimal("123456.7890"),
    due=Decimal("123456.7890"),
    xero_contact_id=GUID,
    xero_updated_at=AT,
    read_at=AT,
)


def involved(part: int) -> Involved:
    return Involved(
        entity=Entity.CREDIT_NOTES,
        xero_id=GUID,
        number=f"CN-{part:06}",
        cause="MISSING_DOCUMENT",
        currency="NZD",
        ours=VALUES,
        xero=VALUES,
        difference=Decimal(part),
    )


def large(connection_id: str) -> Discrepancy:
    """One of 10,000 documents that opened and was over a thousand times."""
    happened = Happened(state="OPENED", sentence="x" * 300, actor="tieout", at=AT, difference=Decimal(1))
    return Discrepancy(
        id="dis_00000000000000000000",
        connection_id=connection_id,
        xero_contact_id="c1",
        customer_name="Southern Hops Wholesale Ltd",
        currency="NZD",
        ours=Decimal(1),
        xero=Decimal(0),
        causes=(Share(cause="STALE_DOCUMENT", amount=Decimal(1), sentence="x" * 150),),
        documents=tuple(involved(part) for part in range(10_000)),
        state="NEEDS_ATTENTION",
        sentence="x" * 300,
        opened_at=AT,
        updated_at=AT,
        history=(happened,) * 2_000,
    )


def test_whatever_is_told_of_it_fits_into_a_message() -> None:
    one = large("con_00000000000000000000")

    alone = convert.discrepancy(one, ALL_DOCUMENTS, ALL_HISTORY)
    listed = convert.discrepancy(msgspec.structs.replace(one, history=()), LISTED_DOCUMENTS)

    assert alone.ByteSize() < TAKEN
    assert (len(alone.documents), len(alone.history), alone.document_count) == (5_000, 1_000, 10_000)
    assert 1_000 * listed.ByteSize() < TAKEN, "a page of the largest size"
    assert [document.number for document in listed.documents] == [f"CN-{part:06}" for part in range(9_999, 9_994, -1)]
    assert convert.change(Change(one.history[0], one)).ByteSize() < TAKEN / 10


async def test_an_event_tells_of_it_in_brief_and_it_is_kept_whole(around: Around) -> None:
    one = msgspec.structs.replace(large(around.connection_id), history=())
    service = around.world.subjects.reconciliation.discrepancies
    watch = DiscrepancyWatch(around.world.database, around.means.feed, service)
    watching = watch.follow(around.connection_id)
    await anext(watching)
    async with around.world.database.write() as tx:
        await keep(tx, around.means.feed, one, large("").history[0])

    change = (await anext(watching)).change

    assert change
    assert (len(change.discrepancy.documents), change.discrepancy.more_documents) == (200, 9_800)
    assert convert.change(change).discrepancy.document_count == 10_000
    kept = await service.get(one.id)
    assert len(kept.documents) == 10_000
    await watching.aclose()


async def test_a_snapshot_is_read_page_by_page(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE", 2)
    for n in range(3):
        around.books.stated[f"c{n}"] = OFF
        await around.service.reconcile_customer(around.connection_id, f"c{n}")
    service = around.world.subjects.reconciliation.discrepancies

    found = [one async for one in service.every_open(around.connection_id)]

    assert sorted(one.xero_contact_id for one in found) == ["c0", "c1", "c2"]
    assert all(one.history for one in found)


async def test_a_discrepancy_that_returns_has_the_name_that_its_customer_has_now(around: Around) -> None:
    around.books.stated["c1"] = OFF
    await around.service.reconcile_customer(around.connection_id, "c1")
    around.books.stated["c1"] = Decimal("0.05")
    around.world.clock.time += timedelta(hours=1)
    await around.both(contact("c1", name="Kauri Ltd", updated_at=around.world.clock.now()))

    (off,) = (await around.service.reconcile_customer(around.connection_id, "c1")).discrepancies

    assert off.customer_name == "Kauri Ltd"
    async with around.world.database.read() as tx:
        (kept,) = await discrepancies.of_customer(tx, around.connection_id, ["c1"])
    assert kept.customer_name == "Kauri Ltd"
