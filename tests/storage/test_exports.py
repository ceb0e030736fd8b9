"""Payment exports are kept once per payment, found when they are due, and by what they pay and made."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from databases import add_connection
from documents import invoice, payment
from tieout_server.ledger.documents import Entity, Organisation
from tieout_server.ledger.exports import (
    ExportError,
    ExportEvent,
    ExportSettings,
    PaymentExport,
    PaymentLine,
    PlatformPayment,
    Reversal,
    Step,
    XeroRecord,
)
from tieout_server.ledger.writes import (
    BatchDraft,
    BatchPart,
    CreditNoteDraft,
    Deletion,
    Draft,
    DraftLine,
    InvoiceDraft,
    OverpaymentDraft,
    PaymentDraft,
    RecordKind,
    RefundDraft,
    SpentMoneyDraft,
)
from tieout_server.storage import condition, export_notes, export_settings, export_steps, exports, mirror, reversals
from tieout_server.storage.database import Database
from tieout_server.storage.export_notes import ExportNote
from tieout_server.storage.exports import ExportQuery
from tieout_server.storage.pages import Span
from tieout_server.storage.tables import connections

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FINGERPRINT = "f" * 64
ERROR = ExportError(
    reason="ACCOUNT_NOT_CHOSEN",
    sentence="No account is chosen for EUR.",
    remedy="Choose the bank account for EUR.",
    owner="MERCHANT",
    xero_messages=("Account required",),
    line=0,
    occurred_at=AT,
)
RECORD = XeroRecord(
    kind=RecordKind.PAYMENT,
    xero_id="xp1",
    xero_invoice_id="i1",
    invoice_number="INV-1",
    amount=Decimal("12.50"),
    currency="NZD",
    xero_account_id="bank",
)
PAYMENT = PlatformPayment(
    payment_id="p1",
    paid_on=date(2026, 11, 20),
    currency="NZD",
    amount=Decimal("12.50"),
    lines=(PaymentLine(xero_invoice_id="i1", amount=Decimal("12.50")),),
    reference="order 7",
    method="CARD",
)
QUEUED = PaymentExport(
    id="exp1", connection_id="con1", payment=PAYMENT, xero_status="QUEUED", due_at=AT, created_at=AT, updated_at=AT
)
REVERSAL = Reversal(
    id="rev1",
    export_id="exp1",
    connection_id="con1",
    reversal_id="r1",
    kind="CHARGEBACK",
    amount=Decimal("12.50"),
    currency="NZD",
    reason="disputed",
    reversed_on=date(2026, 11, 22),
    xero_status="QUEUED",
    due_at=AT,
    created_at=AT,
    updated_at=AT,
)
DRAFT = PaymentDraft(
    xero_invoice_id="i1", xero_account_id="bank", paid_on=date(2026, 11, 20), amount=Decimal("12.50"), reference="TIE1"
)
STEP = Step(
    id="stp1", connection_id="con1", export_id="exp1", number=1, draft=DRAFT, marker="TIE123456789", state="PLANNED"
)
LINE = DraftLine(description="Refund", unit_amount=Decimal("12.50"), tax_amount=Decimal("1.63"), tracking=(("a", "b"),))


def changed(export: PaymentExport, **changes: Any) -> PaymentExport:  # noqa: ANN401 - any field
    return msgspec.structs.replace(export, **changes)


def other(name: str, *lines: PaymentLine, **changes: Any) -> PaymentExport:  # noqa: ANN401 - any field
    pays = msgspec.structs.replace(PAYMENT, payment_id=f"payment {name}", lines=lines or PAYMENT.lines)
    return changed(QUEUED, id=name, payment=pays, **changes)


@pytest.fixture(autouse=True)
async def _connections(database: Database) -> None:
    await add_connection(database, "con1")
    await add_connection(database, "con2")


async def keep(database: Database, *found: PaymentExport) -> None:
    async with database.write() as tx:
        for one in found:
            assert await exports.insert(tx, one, FINGERPRINT)


async def test_an_export_comes_back_as_it_was_kept(database: Database) -> None:
    await keep(database, QUEUED)
    whole = changed(
        QUEUED,
        xero_status="ERROR",
        error=ERROR,
        records=(RECORD,),
        attempts=3,
        due_at=None,
        updated_at=AT + SECOND,
        exported_at=AT + SECOND,
        verified_at=AT + 2 * SECOND,
        dismissal_note="paid by hand",
        dismissed_by="caller",
    )
    async with database.write() as tx:
        await exports.put(tx, whole)
    async with database.read() as tx:
        assert await exports.get(tx, "exp1") == whole
        assert await exports.of_payment(tx, "con1", "p1") == (whole, FINGERPRINT)
        assert await exports.get(tx, "exp2") is None
        assert await exports.of_payment(tx, "con2", "p1") is None
        assert await exports.has_any(tx, "con1")
        assert not await exports.has_any(tx, "con2")


async def test_an_export_knows_the_short_code_of_its_organisation(database: Database) -> None:
    books = Organisation(xero_tenant_id="t", name="Kiwi", base_currency="NZD", short_code="!kiwi")
    async with database.write() as tx:
        named = connections.update().where(connections.c.id == "con1")
        await tx.execute(named.values(organisation=msgspec.json.encode(books).decode()))
    await keep(database, QUEUED)
    async with database.write() as tx:
        export = await exports.get(tx, "exp1", lock=True)
    assert export is not None
    assert export.short_code == "!kiwi"


async def test_a_payment_is_kept_once_per_connection(database: Database) -> None:
    await keep(database, QUEUED, changed(QUEUED, id="exp2", connection_id="con2"))
    async with database.write() as tx:
        assert not await exports.insert(tx, changed(QUEUED, id="exp3"), "another fingerprint")
    async with database.read() as tx:
        assert await exports.get(tx, "exp3") is None
        assert await exports.of_payment(tx, "con1", "p1") == (QUEUED, FINGERPRINT)


async def test_history_is_in_order_and_only_where_it_is_asked_for(database: Database) -> None:
    await keep(database, QUEUED, other("exp2"))
    happened = [
        ExportEvent(xero_status="QUEUED", sentence="Accepted.", actor="caller", occurred_at=AT),
        ExportEvent(xero_status="ERROR", sentence="Refused.", actor="tieout", occurred_at=AT, error=ERROR),
        ExportEvent(xero_status="DISMISSED", sentence="Dismissed.", actor="caller", occurred_at=AT),
    ]
    async with database.write() as tx:
        for one in happened:
            await exports.add_events(tx, {"exp1": one})
    async with database.read() as tx:
        assert await exports.get(tx, "exp1", history=True) == changed(QUEUED, history=tuple(happened))
        assert await exports.get(tx, "exp1") == QUEUED
        assert await exports.get(tx, "exp2", history=True) == other("exp2")
    async with database.write() as tx:
        told = await exports.add_events(tx, {"exp1": happened[0], "exp2": happened[1]})
        assert told == {"exp1": (*happened, happened[0]), "exp2": (happened[1],)}
        assert await exports.add_events(tx, {}) == {}


async def test_pages_are_newest_first_and_of_what_was_asked_for(database: Database) -> None:
    kept = [other(f"exp{n}", created_at=AT + n * SECOND) for n in range(4)]
    await keep(database, *kept, changed(QUEUED, id="exp9", connection_id="con2"))
    in_error = changed(kept[2], xero_status="ERROR", error=ERROR)
    async with database.write() as tx:
        await exports.put(tx, in_error)
    async with database.read() as tx:
        first, following = await exports.page(tx, "con1", ExportQuery(), Span(3))
        assert following is not None
        rest, end = await exports.page(tx, "con1", ExportQuery(), following)
        assert [*first, *rest] == [kept[3], in_error, kept[1], kept[0]]
        assert end is None
        for wanted in (ExportQuery(statuses=("ERROR",)), ExportQuery(reasons=("ACCOUNT_NOT_CHOSEN",))):
            assert await exports.page(tx, "con1", wanted, Span(3)) == ([in_error], None)
        wanted = ExportQuery(statuses=("QUEUED",), reasons=("ACCOUNT_NOT_CHOSEN",))
        assert await exports.page(tx, "con1", wanted, Span(3)) == ([], None)


async def test_what_waits_is_due_in_the_order_of_its_instants(database: Database) -> None:
    late, early = other("late", due_at=AT), other("early", due_at=AT - SECOND)
    await keep(
        database,
        late,
        early,
        other("later", due_at=AT + SECOND),
        other("never", due_at=None),
        other("sending", due_at=AT, xero_status="SENDING"),
        changed(early, id="elsewhere", connection_id="con2"),
    )
    async with database.read() as tx:
        assert await exports.due(tx, "con1", AT, 9) == [early, late]
        assert await exports.due(tx, "con1", AT, 1) == [early]
        assert await exports.next_due_at(tx, "con1") == AT - SECOND


async def test_a_reversal_and_an_unknown_outcome_are_due_too(database: Database) -> None:
    await keep(database, other("lost", xero_status="OUTCOME_UNKNOWN", due_at=AT + 2 * SECOND))
    await keep(database, changed(QUEUED, xero_status="VERIFIED", due_at=None))
    async with database.read() as tx:
        assert await exports.next_due_at(tx, "con1") == AT + 2 * SECOND
    async with database.write() as tx:
        await reversals.insert(tx, REVERSAL, FINGERPRINT)
    async with database.read() as tx:
        assert await exports.next_due_at(tx, "con1") == AT
        assert await exports.next_due_at(tx, "con2") is None
        assert await reversals.due(tx, "con1", AT, 9) == [REVERSAL]
        assert await reversals.due(tx, "con1", AT - SECOND, 9) == []


async def test_what_is_to_be_looked_for_is_told_until_it_is_not(database: Database) -> None:
    await keep(database, QUEUED)
    exported = changed(QUEUED, xero_status="EXPORTED", due_at=None)
    async with database.write() as tx:
        await exports.put(tx, exported, verify_at=AT + SECOND)
        await exports.put(tx, exported)
    async with database.read() as tx:
        assert await exports.to_verify(tx, "con1", AT, 9) == []
        assert await exports.to_verify(tx, "con1", AT + SECOND, 9) == [exported]
        assert await exports.next_verify_at(tx, "con1") == AT + SECOND
    async with database.write() as tx:
        await exports.put(tx, exported, verify_at=None)
    async with database.read() as tx:
        assert await exports.to_verify(tx, "con1", AT + SECOND, 9) == []
        assert await exports.next_verify_at(tx, "con1") is None


async def test_a_snapshot_leaves_out_what_is_over(database: Database) -> None:
    statuses = ["QUEUED", "VERIFIED", "ERROR", "DISMISSED", "REVERSED", "ALREADY_RECORDED", "EXPORTED"]
    await keep(database, *(other(status, xero_status=status) for status in statuses))
    async with database.read() as tx:
        left, _ = await exports.page(tx, "con1", ExportQuery(statuses=exports.UNSEEN), Span(9))
        assert [one.xero_status for one in left] == ["ERROR", "EXPORTED", "QUEUED"]


async def test_exports_are_found_by_status_and_reason_and_locked_in_order(database: Database) -> None:
    await keep(database, other("b"), other("a"), other("c"))
    async with database.write() as tx:
        for name in "ab":
            await exports.put(tx, other(name, xero_status="ERROR", error=ERROR))
        await exports.put(tx, other("c", xero_status="ERROR", error=msgspec.structs.replace(ERROR, reason="OTHER")))
    async with database.write() as tx:
        found = await exports.with_status(tx, "con1", ("ERROR",), ("ACCOUNT_NOT_CHOSEN",), limit=9)
        assert [one.id for one in found] == ["a", "b"]
        assert [one.id for one in await exports.with_status(tx, "con1", ("ERROR",), limit=2)] == ["a", "b"]
        assert list(await exports.lock_all(tx, ["c", "a", "missing"])) == ["a", "c"]


async def test_payments_under_way_are_found_by_their_invoices(database: Database) -> None:
    numbered = PaymentLine(invoice_number="inv-2", amount=Decimal(1))
    await keep(
        database,
        QUEUED,
        other("by_number", numbered),
        other("over", PaymentLine(xero_invoice_id="i3", amount=Decimal(1)), xero_status="VERIFIED"),
        other("unseen", PaymentLine(xero_invoice_id="i4", amount=Decimal(1)), xero_status="EXPORTED"),
        other("refused", PaymentLine(xero_invoice_id="i6", amount=Decimal(1)), xero_status="ERROR"),
        other("removed", PaymentLine(xero_invoice_id="i7", amount=Decimal(1)), xero_status="REMOVED_IN_XERO"),
        other("given_up", PaymentLine(xero_invoice_id="i8", amount=Decimal(1)), xero_status="DISMISSED"),
        changed(other("elsewhere", PaymentLine(xero_invoice_id="i5", amount=Decimal(1))), connection_id="con2"),
    )
    async with database.write() as tx:
        documents = [invoice(f"i{n}", number=f"INV-{n}") for n in range(1, 9)]
        await mirror.save(tx, "con1", documents, seen_in=1, at=AT)
    async with database.read() as tx:
        found = await exports.pending_of(tx, "con1", [f"i{n}" for n in range(1, 9)])
        assert found == {"i1": "exp1", "i2": "by_number", "i4": "unseen", "i6": "refused", "i7": "removed"}
        assert await exports.pending_of(tx, "con1", ["i4"]) == {"i4": "unseen"}
        assert await exports.pending_of(tx, "con1", []) == {}


@pytest.mark.parametrize(
    "draft",
    [
        DRAFT,
        BatchDraft(
            xero_account_id="bank",
            paid_on=date(2026, 11, 20),
            reference="TIE",
            parts=(BatchPart(xero_invoice_id="i1", amount=Decimal("1.10"), reference="TIE a"),),
        ),
        OverpaymentDraft(
            xero_contact_id="c", xero_account_id="b", paid_on=AT.date(), amount=Decimal(5), currency="NZD", text="TIE"
        ),
        CreditNoteDraft(
            xero_contact_id="c", currency="NZD", issued_on=AT.date(), reference="T", line_amount_types="NoTax",
            lines=(LINE,),
        ),
        RefundDraft(
            entity=Entity.OVERPAYMENTS, xero_credit_id="o", xero_account_id="b", paid_on=AT.date(), amount=Decimal(5),
            reference="T",
        ),
        InvoiceDraft(
            xero_contact_id="c", currency="EUR", rate=Decimal("1.2345"), issued_on=AT.date(), due_on=AT.date(),
            reference="T", lines=(LINE,),
        ),
        SpentMoneyDraft(
            xero_contact_id="c", xero_account_id="b", paid_on=AT.date(), currency="NZD", reference="T", lines=(LINE,)
        ),
        Deletion(record=RecordKind.BATCH_PAYMENT, xero_id="b1"),
    ],
    ids=lambda draft: type(draft).__name__,
)  # fmt: skip
async def test_a_step_of_every_kind_comes_back_as_it_was_kept(database: Database, draft: Draft) -> None:
    await keep(database, QUEUED)
    step = msgspec.structs.replace(STEP, draft=draft)
    sent = msgspec.structs.replace(
        step,
        state="DONE",
        idempotency_key="k",
        sent_at=AT,
        look_from=AT - SECOND,
        xero_id="x",
        parts=(("i1", "xp1"),),
        reversal_id="rev1",
    )
    async with database.write() as tx:
        await export_steps.add(tx, [step])
        assert await export_steps.of_exports(tx, ["exp1", "exp2"]) == {"exp1": [step], "exp2": []}
        await export_steps.put(tx, sent)
        assert await export_steps.of_exports(tx, ["exp1"]) == {"exp1": [sent]}
        assert await export_steps.linked(tx, "con1", ["x", "xp1"]) == set(), "a reversal's step makes no payment"


async def test_steps_are_found_by_state_and_by_marker_oldest_first(database: Database) -> None:
    await keep(database, QUEUED)
    first, second = (
        msgspec.structs.replace(STEP, id=f"stp{n}", marker=f"TIE{n}", state="UNKNOWN", sent_at=AT - n * SECOND)
        for n in (2, 1)
    )
    async with database.write() as tx:
        await export_steps.add(tx, [second, first, msgspec.structs.replace(STEP, id="stp3")])
        await export_steps.add(tx, [])
    async with database.read() as tx:
        assert await export_steps.in_state(tx, "con1", ("UNKNOWN", "SENDING"), 9) == [first, second]
        assert await export_steps.in_state(tx, "con1", ("UNKNOWN",), 1) == [first]
        assert await export_steps.in_state(tx, "con2", ("UNKNOWN",), 9) == []
        assert await export_steps.with_marker(tx, "con1", ["TIE1", "TIE9"]) == [second]


async def exported_in_a_batch(database: Database) -> Step:
    """An export in Xero: a batch of two payments; and one that is linked to somebody's payment."""
    await keep(database, QUEUED, other("twin"))
    done = msgspec.structs.replace(STEP, state="DONE", xero_id="batch", parts=(("i1", "xp1"), ("i2", "xp2")))
    async with database.write() as tx:
        await export_steps.add(tx, [STEP])
        await export_steps.put(tx, done)
        await exports.put(tx, changed(QUEUED, xero_status="VERIFIED"))
        record = msgspec.structs.replace(RECORD, xero_id="human", is_ours=False)
        await exports.put(tx, other("twin", xero_status="ALREADY_RECORDED", records=(record,)))
    return done


async def mirrored(database: Database, **statuses: str) -> None:
    documents = [payment(name, status=status, updated_at=AT + SECOND) for name, status in statuses.items()]
    async with database.write() as tx:
        await mirror.save(tx, "con1", documents, seen_in=1, at=AT)


async def test_what_an_export_made_or_is_linked_to_is_known(database: Database) -> None:
    await exported_in_a_batch(database)
    async with database.read() as tx:
        all_of_them = ["batch", "xp1", "xp2", "human", "unknown"]
        assert await export_steps.linked(tx, "con1", all_of_them) == {"batch", "xp1", "xp2", "human"}
        assert await export_steps.linked(tx, "con2", all_of_them) == set()


async def test_payments_that_were_deleted_in_xero_are_found_until_that_is_settled(database: Database) -> None:
    done = await exported_in_a_batch(database)
    await mirrored(database, xp1="AUTHORISED", xp2="DELETED", human="DELETED", other="DELETED")
    async with database.read() as tx:
        assert await export_steps.removed_in_mirror(tx, "con1", 9) == [("exp1", "xp2"), ("twin", "human")]
        assert await export_steps.removed_in_mirror(tx, "con1", 1) == [("exp1", "xp2")]
    async with database.write() as tx:
        await export_steps.put(tx, msgspec.structs.replace(done, state="GONE"))
        record = msgspec.structs.replace(RECORD, xero_id="human", is_ours=False, removed=True)
        await exports.put(tx, other("twin", xero_status="ALREADY_RECORDED", records=(record,)))
    async with database.read() as tx:
        assert await export_steps.removed_in_mirror(tx, "con1", 9) == [], "both may be exported again meanwhile"


async def test_payments_that_bear_the_marker_of_a_step_given_up_are_found(database: Database) -> None:
    await keep(database, QUEUED)
    given_up = msgspec.structs.replace(STEP, state="DROPPED", sent_at=AT)
    bearing = {"late": STEP.marker, "deleted": STEP.marker, "known": STEP.marker, "other": "TIE987654321"}
    async with database.write() as tx:
        documents = [
            payment(name, reference=f"{marker} Card", status="DELETED" if name == "deleted" else "AUTHORISED")
            for name, marker in bearing.items()
        ]
        await mirror.save(tx, "con1", documents, seen_in=1, at=AT)
        assert await export_steps.dropped_in_mirror(tx, "con1", AT) == {}, "nothing was given up"
        await export_steps.add(tx, [given_up])
        await export_steps.link(tx, "con1", "exp1", {"known": False})
    async with database.read() as tx:
        assert await export_steps.dropped_in_mirror(tx, "con1", AT) == {"late": given_up}
        assert await export_steps.dropped_in_mirror(tx, "con1", AT + SECOND) == {}, "it was sent before"
        assert await export_steps.dropped_in_mirror(tx, "con2", AT) == {}


@pytest.mark.parametrize(("kind", "told"), [("CHARGEBACK", []), ("REFUND", [("exp1", "xp2")])])
async def test_what_a_chargeback_deletes_is_not_taken_for_somebody_elses_deletion(
    database: Database, kind: str, told: list[tuple[str, str]]
) -> None:
    await exported_in_a_batch(database)
    await mirrored(database, xp2="DELETED")
    deletion = Deletion(record=RecordKind.BATCH_PAYMENT, xero_id="batch")
    async with database.write() as tx:
        await reversals.insert(tx, msgspec.structs.replace(REVERSAL, kind=kind), FINGERPRINT)
        undone = msgspec.structs.replace(STEP, id="stp2", reversal_id="rev1", draft=deletion, state="SENDING")
        await export_steps.add(tx, [undone])
        assert await export_steps.removed_in_mirror(tx, "con1", 9) == told


async def test_reversals_come_with_their_export(database: Database) -> None:
    await keep(database, QUEUED, other("exp2"))
    second = msgspec.structs.replace(REVERSAL, id="rev2", reversal_id="r2", created_at=AT + SECOND)
    settled = msgspec.structs.replace(
        second, xero_status="ERROR", error=ERROR, records=(RECORD,), due_at=None, completed_at=AT
    )
    async with database.write() as tx:
        await reversals.insert(tx, second, FINGERPRINT)
        await reversals.insert(tx, REVERSAL, FINGERPRINT)
        await reversals.put(tx, settled)
    async with database.read() as tx:
        export = await exports.get(tx, "exp1")
        assert export == changed(QUEUED, reversals=(REVERSAL, settled))
        assert await exports.get(tx, "exp2") == other("exp2")
        assert await reversals.get(tx, "rev2") == settled
        assert await reversals.get(tx, "rev3") is None
        assert await reversals.of_caller_id(tx, "con1", "r2") == (settled, FINGERPRINT)
        assert await reversals.of_caller_id(tx, "con2", "r2") is None


async def test_settings_are_those_of_the_last_update(database: Database) -> None:
    async with database.write() as tx:
        assert await export_settings.get(tx, "con1", lock=True) == ExportSettings(connection_id="con1")
        for revision in (1, 2):
            settings = ExportSettings(
                connection_id="con1",
                accounts={"EUR": "bank", "NZD": f"bank {revision}"},
                overpayment_policy="SPLIT",
                refund_xero_account_id="refunds",
                refund_tax_type="OUTPUT2",
                revision=revision,
                updated_at=AT,
            )
            await export_settings.put(tx, settings)
            assert await export_settings.get(tx, "con1") == settings
        assert await export_settings.get(tx, "con2") == ExportSettings(connection_id="con2")


async def test_a_note_is_due_until_it_is_done(database: Database) -> None:
    await keep(database, QUEUED)
    note = ExportNote(
        connection_id="con1", export_id="exp1", xero_invoice_id="i1", text="Paid.", idempotency_key="k", due_at=AT
    )
    later = msgspec.structs.replace(note, due_at=AT + SECOND, first_tried_at=AT)
    async with database.write() as tx:
        await export_notes.add(tx, [note])
        await export_notes.add(tx, [msgspec.structs.replace(note, text="Twice.")])
        await export_notes.add(tx, [])
        assert await export_notes.due(tx, "con1", AT, 9) == [note]
        await export_notes.put(tx, later)
        assert await export_notes.due(tx, "con1", AT, 9) == []
        assert await export_notes.next_due_at(tx, "con1") == AT + SECOND
        assert await export_notes.due(tx, "con1", AT + SECOND, 9) == [later]
        await export_notes.done(tx, later)
        assert await export_notes.next_due_at(tx, "con1") is None


async def test_the_connections_with_most_exports_that_do_not_move_are_named_first(database: Database) -> None:
    await add_connection(database, "con3")
    stuck = [
        other(f"{connection_id} {number}", connection_id=connection_id, xero_status="ERROR")
        for connection_id, count in (("con1", 1), ("con2", 3), ("con3", 2))
        for number in range(count)
    ]
    just_now = other("just now", connection_id="con1", xero_status="ERROR", updated_at=AT + SECOND)
    await keep(database, *stuck, just_now, other("under way", connection_id="con1"))
    async with database.read() as tx:
        named = await condition.connections_of_exports(tx, ("ERROR",), AT + SECOND, 2)
        assert named == [("con2", 3), ("con3", 2)]
        assert ("con1", 1) in await condition.connections_of_exports(tx, ("ERROR",), AT + SECOND, 3)
        assert await condition.connections_of_exports(tx, ("QUEUED",), AT, 3) == []
