"""What was read through a connection goes in bounded batches; what is somebody else's, or newer, stays."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import Table, func, select

from databases import add_connection
from documents import account, contact, credit, invoice, payment
from tieout_server.ledger.documents import Allocation, Entity
from tieout_server.ledger.exports import (
    ExportEvent,
    ExportSettings,
    PaymentExport,
    PaymentLine,
    PlatformPayment,
    Reversal,
    Step,
    XeroRecord,
)
from tieout_server.ledger.writes import Deletion, OverpaymentDraft, RecordKind
from tieout_server.storage import (
    cases,
    comparisons,
    connections,
    discrepancies,
    export_leftovers,
    export_notes,
    export_settings,
    export_steps,
    export_tables,
    exports,
    mirror,
    platform_balances,
    purge,
    reconciliation_tables,
    reconciliations,
    reversals,
    syncs,
    tables,
    watermarks,
)
from tieout_server.storage.cases import Case
from tieout_server.storage.comparisons import Compared, Cursor
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.discrepancies import Discrepancy, Happened
from tieout_server.storage.export_notes import ExportNote
from tieout_server.storage.platform_balances import PlatformBalance
from tieout_server.storage.reconciliations import ReconciliationRecord
from tieout_server.storage.syncs import SyncRecord
from tieout_server.storage.watermarks import Watermark

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def _read(tx: Transaction, connection_id: str, *, ordinal: int) -> None:
    """A sync that has read a document of each kind."""
    sync = SyncRecord(
        id=f"{connection_id}-{ordinal}", connection_id=connection_id, ordinal=ordinal, mode="FULL", state="SUCCEEDED",
        created_at=AT, updated_at=AT,
    )  # fmt: skip
    await syncs.insert(tx, sync)
    await syncs.put_lines(tx, sync.id, [syncs.StoredLine("contacts", 0, b"{}")])
    for documents in (
        contact(),
        invoice(),
        credit(allocations=(Allocation(xero_invoice_id="i1", amount=Decimal(1)),)),
        payment(),
        account(),
    ):
        await mirror.save(tx, connection_id, (documents,), seen_in=ordinal, at=AT)
    await watermarks.put(tx, connection_id, Entity.CONTACTS, Watermark(AT, AT))


async def _compared(tx: Transaction, connection_id: str) -> None:
    """Everything that comparing leaves."""
    off = Discrepancy(
        id=f"dis_{connection_id}", connection_id=connection_id, xero_contact_id="c1", customer_name="Kauri & Co",
        currency="NZD", ours=Decimal(1), xero=Decimal(2), state="OPENED", opened_at=AT, updated_at=AT,
    )  # fmt: skip
    await discrepancies.put(tx, off)
    await discrepancies.add(
        tx, off.id, [Happened(state="OPENED", sentence="", actor="", at=AT, difference=Decimal(-1))]
    )
    await comparisons.note(tx, connection_id, "c1", [Compared("NZD", AT, Decimal(1), Decimal(2), "CONTACT")])
    await comparisons.put_cursor(tx, connection_id, Cursor(1, ("c1",)))
    await platform_balances.replace(tx, connection_id, [PlatformBalance("c1", "NZD", Decimal(1))], AT)
    await cases.insert(
        tx,
        Case(
            id=f"cas_{connection_id}", connection_id=connection_id, description="Kauri", customer_ids=("c1",),
            discrepancy_ids=(), sentence="", created_at=AT,
        ),
    )  # fmt: skip
    run = ReconciliationRecord(
        id=f"rec_{connection_id}",
        connection_id=connection_id,
        ordinal=1,
        state="SUCCEEDED",
        created_at=AT,
        updated_at=AT,
    )
    await reconciliations.insert_new(tx, run)


async def _exported(tx: Transaction, connection_id: str, *, accepted_in: int) -> str:
    """A payment export with all that may hang on one, and the settings."""
    name = f"{connection_id}-{accepted_in}"
    amount, by = Decimal(1), (PaymentLine(invoice_number="INV-1", amount=Decimal(1)),)
    paid = PlatformPayment(payment_id=name, paid_on=AT.date(), currency="NZD", amount=amount, lines=by)
    made = XeroRecord(kind=RecordKind.PAYMENT, xero_id="xp1", amount=amount, currency="NZD")
    export = PaymentExport(
        id=name, connection_id=connection_id, payment=paid, xero_status="VERIFIED", records=(made,), created_at=AT,
        updated_at=AT,
    )  # fmt: skip
    await exports.insert(tx, export, "fingerprint", accepted_in)
    await exports.put(tx, export)
    happened = ExportEvent(xero_status="VERIFIED", sentence="Kauri paid.", actor="", occurred_at=AT)
    await exports.add_events(tx, {name: happened})
    deletion = Deletion(record=RecordKind.PAYMENT, xero_id="xp1")
    step = Step(id=name, connection_id=connection_id, export_id=name, number=1, draft=deletion, marker="", state="DONE")
    await export_steps.add(tx, [step])
    back = Reversal(
        id=name, export_id=name, connection_id=connection_id, reversal_id=name, kind="CHARGEBACK", amount=amount,
        currency="NZD", reversed_on=AT.date(), xero_status="VERIFIED", created_at=AT, updated_at=AT,
    )  # fmt: skip
    await reversals.insert(tx, back, "fingerprint")
    note = ExportNote(
        connection_id=connection_id, export_id=name, xero_invoice_id="i1", text="Kauri", idempotency_key="", due_at=AT
    )
    await export_notes.add(tx, [note])
    await export_settings.put(tx, ExportSettings(connection_id=connection_id, accounts={"NZD": "a1"}, updated_at=AT))
    return name


async def _left(tx: Transaction, connection_id: str) -> int:
    counts = [
        (
            await tx.execute(select(func.count()).select_from(table).where(table.c.connection_id == connection_id))
        ).scalar_one()
        for table in (
            *purge._COMPARED,
            reconciliation_tables.reconciliations,
            *purge._DOCUMENTS,
            tables.allocations,
            tables.syncs,
            tables.watermarks,
            *_OF_EXPORTS,
        )
    ]
    return sum(counts)


_OF_EXPORTS = (
    export_tables.payment_exports,
    export_tables.export_lines,
    export_tables.export_links,
    export_tables.export_steps,
    export_tables.export_reversals,
    export_tables.export_notes,
)


@pytest.mark.parametrize("batch", [1, 1000])
async def test_everything_of_a_connection_goes_and_nothing_of_another(
    database: Database, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(purge, "BATCH", batch)
    for connection_id in ("con1", "con2"):
        await add_connection(database, connection_id)
        async with database.write() as tx:
            await _read(tx, connection_id, ordinal=1)
            await _compared(tx, connection_id)
            await _exported(tx, connection_id, accepted_in=1)
    async with database.write() as tx:
        await purge.forget_watermarks(tx, "con1")
        while count := await purge.erase_some(tx, "con1", 1):
            assert count <= batch
        assert await _left(tx, "con1") == 0
        assert await _left(tx, "con2") == 21
        histories = await tx.execute(select(reconciliation_tables.discrepancy_events.c.discrepancy_id))
        assert histories.scalars().all() == ["dis_con2"]
        happened = await tx.execute(select(export_tables.export_events.c.export_id))
        assert happened.scalars().all() == ["con2-1"]
        lines = await tx.execute(select(tables.sync_lines.c.sync_id))
        assert lines.scalars().all() == ["con2-1"]


async def test_a_payment_that_was_accepted_after_the_purge_was_asked_for_is_kept(database: Database) -> None:
    await add_connection(database, "con1")
    async with database.write() as tx:
        await _exported(tx, "con1", accepted_in=await connections.sync_ordinal(tx, "con1"))
        await connections.begin_purge(tx, "con1")
        later = await connections.sync_ordinal(tx, "con1")
        kept = await _exported(tx, "con1", accepted_in=later)
        up_to = await connections.purge_up_to(tx, "con1")
        while await purge.erase_some(tx, "con1", up_to):
            pass
        left = await exports.with_status(tx, "con1", ("VERIFIED",), limit=9)
        assert [export.id for export in left] == [kept]
        await connections.begin_purge(tx, "con1")
        assert await connections.purge_up_to(tx, "con1") == later, "the next purge takes it"


async def test_a_sync_of_another_replica_waits_for_the_batch_and_keeps_all_that_it_brings(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_connection(database, "con1")
    met = credit(allocations=(Allocation(xero_invoice_id="invoice-1", amount=Decimal(1)),))

    async def read(ordinal: int) -> None:
        async with database.write() as tx:
            await mirror.save(tx, "con1", (met,), seen_in=ordinal, at=AT)

    await read(1)
    syncing: list[asyncio.Task[None]] = []
    real = purge._erase

    async def erase(tx: Transaction, table: Table, *rest: Any) -> int:  # noqa: ANN401 - as the real one takes them
        if table is tables.credits and not syncing:
            syncing.append(asyncio.create_task(read(2)))
            await asyncio.sleep(0.2)
            assert not syncing[0].done()
        return await real(tx, table, *rest)

    monkeypatch.setattr(purge, "_erase", erase)
    async with database.write() as tx:
        assert await purge.erase_some(tx, "con1", 1) == 1
    await syncing[0]
    async with database.read() as tx:
        counts = [
            (await tx.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (tables.credits, tables.allocations)
        ]
    assert counts == [1, 1]


async def test_what_a_later_sync_has_met_stays(database: Database) -> None:
    await add_connection(database, "con1")
    async with database.write() as tx:
        await _read(tx, "con1", ordinal=1)
        await _read(tx, "con1", ordinal=2)
        while await purge.erase_some(tx, "con1", 1):
            pass
        assert await _left(tx, "con1") == 8


async def test_of_what_is_on_its_way_there_stays_what_it_is_found_by_and_nobodys_data(database: Database) -> None:
    connection_id = "con_1"
    await add_connection(database, connection_id)
    draft = OverpaymentDraft(
        xero_contact_id="kauri", xero_account_id="bank", paid_on=AT.date(), amount=Decimal(30), currency="NZD",
        text="TIE0123456789 Overpayment Kauri 4711",
    )  # fmt: skip
    sent = Step(
        id="s1", connection_id=connection_id, export_id="", number=2, draft=draft, marker="TIE0123456789",
        state="UNKNOWN", idempotency_key="key", sent_at=AT, look_from=AT,
    )  # fmt: skip
    async with database.write() as tx:
        name = await _exported(tx, connection_id, accepted_in=0)
        await export_steps.add(tx, [msgspec.structs.replace(sent, export_id=name)])
    async with database.write() as tx:
        while await purge.erase_some(tx, connection_id, 1):
            pass
        kept = (await tx.execute(select(export_tables.export_leftovers))).one()
        assert "kauri" not in repr(kept).casefold()
    async with database.write() as tx:
        again = await _exported(tx, connection_id, accepted_in=2)  # the same fingerprint
        assert await export_leftovers.of_exports(tx, "another tenant", [again]) == {}
        (left,) = (await export_leftovers.of_exports(tx, kept.xero_tenant_id, [again]))[again]
        step = left.step("s2", connection_id, "UNKNOWN")
        nobodys = msgspec.structs.replace(draft, xero_contact_id="", text="TIE0123456789")
        assert step == msgspec.structs.replace(sent, id="s2", export_id=again, draft=nobodys)
        await export_leftovers.forget(tx, kept.xero_tenant_id, [left.marker])
        assert await export_leftovers.of_exports(tx, kept.xero_tenant_id, [again]) == {}
