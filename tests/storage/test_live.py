"""What counts in the mirror, what is open, and what contradicts what is beside it."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from databases import add_connection
from documents import AT, account, contact, credit, invoice, payment
from tieout_server.ledger.documents import Allocation, Document, Entity
from tieout_server.storage import contradictions, live, mirror
from tieout_server.storage.database import Database

FEW = 10


@pytest.fixture(autouse=True)
async def _connections(database: Database) -> None:
    for name in ("con1", "con2"):
        await add_connection(database, name)


async def _save(database: Database, *documents: Document, connection_id: str = "con1") -> None:
    async with database.write() as tx:
        for document in documents:
            await mirror.save(tx, connection_id, [document], seen_in=1, at=AT)


async def _excess(database: Database, *of: str) -> Sequence[str]:
    async with database.read() as tx:
        return await contradictions.excess_payments(tx, "con1", FEW, of)


async def _unsettled(database: Database, entity: Entity = Entity.INVOICES) -> Sequence[str]:
    async with database.read() as tx:
        return await contradictions.unsettled(tx, "con1", entity, FEW)


async def test_only_what_counts_is_live(database: Database) -> None:
    await _save(
        database,
        contact("c1"),
        contact("c2", is_customer=False),
        contact("c3", status="ARCHIVED"),
        contact("c4", merged_into="c1"),
        invoice("i1"),
        invoice("i2", status="PAID"),
        invoice("i3", status="VOIDED"),
        invoice("i4", status="DRAFT"),
        credit("k1"),
        credit("k2", entity=Entity.PREPAYMENTS),
        payment("p1"),
        payment("p2", status="DELETED"),
        account("a1"),
        account("a2", status="ARCHIVED"),
    )
    await _save(database, invoice("i9"), connection_id="con2")
    async with database.read() as tx:
        counts = {entity: await live.count(tx, "con1", entity) for entity in Entity}
        assert counts == dict.fromkeys(Entity, 1) | {Entity.INVOICES: 2, Entity.OVERPAYMENTS: 0}
        assert await live.count(tx, "con1", Entity.INVOICES, open_only=True) == 1
        assert await live.open_invoices(tx, "con1") == {"i1"}
        many = [f"x{number}" for number in range(1_500)]
        assert await live.among(tx, "con1", Entity.INVOICES, ["i1", "i3", *many, "i2", "i9"]) == {"i1", "i2"}


async def test_what_adds_up_is_left_alone(database: Database) -> None:
    used = Allocation(xero_invoice_id="i1", amount=Decimal(30))
    await _save(
        database,
        invoice("i1", paid=Decimal(100), credited=Decimal(30)),
        payment("p1"),
        payment("p2", status="DELETED"),
        credit("k1", total=Decimal(50), remaining=Decimal(0), allocations=(used,)),
        payment("p3", kind="ARCREDITPAYMENT", xero_document_id="k1", amount=Decimal(20)),
        invoice("i2", status="VOIDED", paid=Decimal(7)),
    )
    assert await _unsettled(database) == []
    assert await _unsettled(database, Entity.CREDIT_NOTES) == []
    assert await _excess(database) == []


async def test_a_payment_that_its_document_does_not_show_is_in_excess(database: Database) -> None:
    await _save(
        database,
        invoice("i1", paid=Decimal(0)),
        payment("p1"),
        credit("k1", total=Decimal(50), remaining=Decimal(50)),
        payment("p3", xero_document_id="k1", amount=Decimal(20)),
    )
    assert await _excess(database) == ["p1", "p3"]
    assert await _excess(database, "i1") == ["p1"]
    assert await _excess(database, "another") == []
    async with database.read() as tx:
        assert await contradictions.excess_payments(tx, "con1", 1) == ["p1"]
        assert await contradictions.excess_payments(tx, "con1", 1, skip=1) == ["p3"]
    assert await _unsettled(database) == ["i1"]
    assert await _unsettled(database, Entity.CREDIT_NOTES) == ["k1"]
    assert await _unsettled(database, Entity.PREPAYMENTS) == []


async def test_what_was_paid_or_credited_and_is_not_here_leaves_an_invoice_unsettled(database: Database) -> None:
    await _save(database, invoice("i1", paid=Decimal(1)), invoice("i2", credited=Decimal(1)), invoice("i3"))
    assert await _unsettled(database) == ["i1", "i2"]
    assert await _excess(database) == []
    async with database.read() as tx:
        assert await contradictions.unsettled(tx, "con1", Entity.INVOICES, FEW, skip=1) == ["i2"]


async def test_documents_of_merged_contacts_are_found_by_entity(database: Database) -> None:
    await _save(
        database,
        contact("c1"),
        contact("c2", merged_into="c1", status="ARCHIVED"),
        invoice("i1"),
        invoice("i2", xero_contact_id="c2"),
        credit("k1", xero_contact_id="c2", entity=Entity.OVERPAYMENTS),
    )
    async with database.read() as tx:
        found = {
            entity: await contradictions.of_merged_contacts(tx, "con1", entity, FEW) for entity in list(Entity)[1:5]
        }
        assert await contradictions.of_merged_contacts(tx, "con1", Entity.INVOICES, FEW, skip=1) == []
    assert found == {
        Entity.INVOICES: ["i2"], Entity.CREDIT_NOTES: [], Entity.OVERPAYMENTS: ["k1"], Entity.PREPAYMENTS: [],
    }  # fmt: skip
