"""What exports write into an organisation's books: made once, refused in Xero's words, deleted, found by its marker."""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from decimal import Decimal

import pytest

from sandbox_books import Opened, opened
from sandbox_caller import Caller
from sandbox_writer import Writer
from tieout_sandbox import CreditKind, Sandbox, Status
from tieout_sandbox.books.documents import Account, Invoice
from tieout_server.errors import RejectedError
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.writes import (
    BatchDraft,
    BatchPart,
    CreditNoteDraft,
    Deletion,
    DraftLine,
    InvoiceDraft,
    OverpaymentDraft,
    PaymentDraft,
    PaymentSeen,
    RecordKind,
    RefundDraft,
    SpentMoneyDraft,
    Written,
)
from tieout_server.xero import writes

PAID_ON = date(2026, 11, 20)
EXCEEDS = "Payment amount exceeds the amount outstanding on this document"
NOT_AUTHORISED = "Payments can only be made against Authorised documents"
NOBODYS = "00000000-0000-4000-8000-000000000000"
SPEED = 20.0


@pytest.fixture
async def xero(sandbox: Sandbox) -> AsyncIterator[Opened]:
    async with opened(sandbox, speed=SPEED) as found:
        yield found


def payment(
    xero: Opened, invoice: Invoice, amount: str = "10.00", reference: str = "TIEPAYMENT01 po 7"
) -> PaymentDraft:
    return PaymentDraft(
        xero_invoice_id=invoice.id,
        xero_account_id=bank(xero, invoice).id,
        paid_on=PAID_ON,
        amount=Decimal(amount),
        reference=reference,
    )


def bank(xero: Opened, invoice: Invoice) -> Account:
    """The account in an invoice's currency; the sandbox's first organisation has one in NZD and one in EUR."""
    return xero.sandbox.books.bank_account(invoice.currency)


@pytest.fixture
def owed(sandbox: Sandbox) -> list[Invoice]:
    """Three invoices over 100.00, of one customer."""
    books = sandbox.books
    contact = Writer(Caller(sandbox, None)).customer()  # type: ignore[arg-type] # makes no call
    return [books.create_invoice(contact.id, Decimal("100.00")) for _ in range(3)]


async def made(xero: Opened, *drafts: PaymentDraft | BatchDraft | OverpaymentDraft | CreditNoteDraft) -> Sequence[str]:
    written = await xero.books.write(drafts, "key-of-something-made")
    assert not [one.messages for one in written if one.messages]
    return [one.xero_id for one in written]


# Payments


async def test_payments_are_made_to_the_digit_and_told_in_the_order_of_the_drafts(
    xero: Opened, owed: list[Invoice]
) -> None:
    drafts = [payment(xero, invoice, f"{number}.05", f"TIE{number}") for number, invoice in enumerate(owed, start=1)]
    written = await xero.books.write(drafts, "key-1")
    for draft, one in zip(drafts, written, strict=True):
        there = xero.sandbox.books.payments[one.xero_id]
        assert (there.target.id, there.amount, there.reference) == (
            draft.xero_invoice_id,
            draft.amount,
            draft.reference,
        )
        assert (there.on, there.account.id) == (PAID_ON, draft.xero_account_id)
    xero.sandbox.books.check()


async def test_the_same_write_with_the_same_key_does_nothing_and_answers_the_same(
    xero: Opened, owed: list[Invoice]
) -> None:
    drafts = [payment(xero, owed[0]), payment(xero, owed[1], "1000.00", "TIE2")]
    first = await xero.books.write(drafts, "key-1")
    assert await xero.books.write(drafts, "key-1") == first
    assert len(owed[0].payments) == 1


async def test_each_payment_is_made_or_refused_by_itself(xero: Opened, owed: list[Invoice]) -> None:
    unknown = PaymentDraft(
        xero_invoice_id=NOBODYS,
        xero_account_id=bank(xero, owed[0]).id,
        paid_on=PAID_ON,
        amount=Decimal(1),
        reference="TIE0",
    )
    drafts = [payment(xero, owed[0], "100.01", "TIE1"), unknown, payment(xero, owed[1], "100.00", "TIE2")]
    refused, lost, good = await xero.books.write(drafts, "key-1")
    assert (refused, lost.messages) == (Written(messages=(EXCEEDS,)), ("Invoice could not be found",))
    assert xero.sandbox.books.payments[good.xero_id].target is owed[1]
    assert (owed[1].status, owed[0].payments) == (Status.PAID, [])


async def test_an_invoice_in_euros_is_paid_into_the_account_in_euros(xero: Opened, owed: list[Invoice]) -> None:
    invoice = xero.sandbox.books.create_invoice(owed[0].contact.id, Decimal("80.00"), currency="EUR")
    (payment_id,) = await made(xero, payment(xero, invoice, "80.00"))
    assert xero.sandbox.books.payments[payment_id].bank_amount == Decimal("80.00")
    assert invoice.status is Status.PAID


async def test_a_payment_is_deleted_once_and_a_second_deletion_is_refused(xero: Opened, owed: list[Invoice]) -> None:
    (payment_id,) = await made(xero, payment(xero, owed[0]))
    deletion = Deletion(record=RecordKind.PAYMENT, xero_id=payment_id)
    assert await xero.books.write([deletion], "key-2") == [Written(xero_id=payment_id)]
    assert await xero.books.write([deletion], "key-2") == [Written(xero_id=payment_id)]
    (again,) = await xero.books.write([deletion], "key-3")
    assert again.messages == ("Payment has already been deleted",)
    found = await xero.books.status_of(RecordKind.PAYMENT, payment_id)
    assert found
    assert not found.is_there
    assert owed[0].amount_due == Decimal("100.00")


async def test_what_cannot_be_deleted_is_refused_in_xeros_words(xero: Opened, owed: list[Invoice]) -> None:
    (payment_id,) = await made(xero, payment(xero, owed[0]))
    xero.sandbox.books.payments[payment_id].is_reconciled = True
    (refused,) = await xero.books.write([Deletion(record=RecordKind.PAYMENT, xero_id=payment_id)], "key-2")
    assert refused.messages == ("This payment cannot be deleted as it has been reconciled.",)
    (absent,) = await xero.books.write([Deletion(record=RecordKind.PAYMENT, xero_id=NOBODYS)], "key-3")
    assert absent.messages == ("The resource you're looking for cannot be found",)


# Batches


def batch(xero: Opened, *invoices: Invoice, amount: str = "10.00") -> BatchDraft:
    parts = [
        BatchPart(xero_invoice_id=one.id, amount=Decimal(amount), reference=f"TIEBATCH0001 {one.number}")
        for one in invoices
    ]
    return BatchDraft(
        xero_account_id=bank(xero, invoices[0]).id, paid_on=PAID_ON, reference="TIEBATCH0001", parts=tuple(parts)
    )


async def test_a_batch_tells_the_payment_of_each_of_its_invoices(xero: Opened, owed: list[Invoice]) -> None:
    (written,) = await xero.books.write([batch(xero, *owed)], "key-1")
    there = xero.sandbox.books.batches[written.xero_id]
    assert (there.reference, there.total) == ("TIEBATCH0001", Decimal("30.00"))
    assert written.parts == tuple((part.target.id, part.id) for part in there.payments)
    assert [part.reference for part in there.payments] == [f"TIEBATCH0001 {one.number}" for one in owed]
    found = await xero.books.status_of(RecordKind.BATCH_PAYMENT, written.xero_id)
    assert found
    assert (found.parts, found.texts, found.is_there) == (written.parts, ("TIEBATCH0001",), True)
    (refused,) = await xero.books.write([Deletion(record=RecordKind.PAYMENT, xero_id=there.payments[0].id)], "key-2")
    assert refused.messages == ("This payment is part of a batch payment and cannot be deleted by itself.",)
    deletion = Deletion(record=RecordKind.BATCH_PAYMENT, xero_id=written.xero_id)
    assert await xero.books.write([deletion], "key-3") == [Written(xero_id=written.xero_id)]
    gone = await xero.books.status_of(RecordKind.BATCH_PAYMENT, written.xero_id)
    assert gone
    assert (gone.is_there, gone.parts) == (False, ())


async def test_a_batch_of_which_one_part_is_too_much_is_refused_whole(xero: Opened, owed: list[Invoice]) -> None:
    xero.sandbox.books.pay(owed[1].id)
    refused, good = await xero.books.write([batch(xero, *owed), batch(xero, owed[0], owed[2])], "key-1")
    assert refused.messages == (EXCEEDS, NOT_AUTHORISED)
    assert len(good.parts) == 2
    assert len(owed[1].payments) == 1


# Credits


async def test_an_overpayment_is_made_found_by_its_line_and_refunded(xero: Opened, owed: list[Invoice]) -> None:
    since = xero.sandbox.clock.now()
    draft = OverpaymentDraft(
        xero_contact_id=owed[0].contact.id,
        xero_account_id=bank(xero, owed[0]).id,
        paid_on=PAID_ON,
        amount=Decimal("20.00"),
        currency="NZD",
        text="TIEOVER00001 rest of pay-7",
    )
    (overpayment_id,) = await made(xero, draft)
    assert xero.sandbox.books.overpayments[overpayment_id].remaining_credit == Decimal("20.00")
    (found,) = await xero.books.records_since(RecordKind.OVERPAYMENT, since)
    assert (found.xero_id, found.texts, found.is_there) == (overpayment_id, (draft.text,), True)
    refund = RefundDraft(
        entity=Entity.OVERPAYMENTS,
        xero_credit_id=overpayment_id,
        xero_account_id=draft.xero_account_id,
        paid_on=PAID_ON,
        amount=Decimal("20.00"),
        reference="TIEREFUND001",
    )
    (refunded,) = await xero.books.write([refund], "key-2")
    assert xero.sandbox.books.overpayments[overpayment_id].status is Status.PAID
    (seen,) = await xero.books.records_since(RecordKind.REFUND, since)
    assert (seen.xero_id, seen.texts) == (refunded.xero_id, ("TIEREFUND001",))
    assert refunded.xero_id not in {one.xero_id for one in await xero.books.records_since(RecordKind.PAYMENT, since)}
    now = await xero.books.status_of(RecordKind.OVERPAYMENT, overpayment_id)
    assert now
    assert (now.xero_id, now.status) == (overpayment_id, "PAID")
    (too_much,) = await xero.books.write([refund], "key-3")
    assert NOT_AUTHORISED in too_much.messages


async def test_a_credit_note_repeats_an_invoices_lines_and_is_refunded(xero: Opened, owed: list[Invoice]) -> None:
    books, since = xero.sandbox.books, xero.sandbox.clock.now()
    invoice = next(
        one for one in books.invoices.values() if one.total_tax and one.currency == "NZD" and not one.payments
    )
    invoice = invoice if invoice.contact.status == "ACTIVE" else owed[0]
    lines = await xero.books.invoice_lines(invoice.id, Purpose.PAYMENT_EXPORT)
    assert lines
    draft = CreditNoteDraft(
        xero_contact_id=owed[0].contact.id,
        currency="NZD",
        issued_on=PAID_ON,
        reference="TIECREDIT001 pay-7",
        line_amount_types=lines.line_amount_types,
        lines=lines.lines,
    )
    (note_id,) = await made(xero, draft)
    note = books.credit_notes[note_id]
    assert (note.total, note.total_tax, note.status) == (invoice.total, invoice.total_tax, Status.AUTHORISED)
    (found,) = await xero.books.records_since(RecordKind.CREDIT_NOTE, since)
    assert (found.xero_id, found.texts) == (note_id, (draft.reference,))
    refund = RefundDraft(
        entity=Entity.CREDIT_NOTES,
        xero_credit_id=note_id,
        xero_account_id=bank(xero, invoice).id,
        paid_on=PAID_ON,
        amount=note.total,
        reference="TIEREFUND002",
    )
    (refunded,) = await xero.books.write([refund], "key-2")
    assert refunded.xero_id in books.payments
    assert note.fully_paid_on == PAID_ON
    assert await xero.books.write([Deletion(record=RecordKind.REFUND, xero_id=refunded.xero_id)], "key-3") == [
        Written(xero_id=refunded.xero_id)
    ]
    assert note.status is Status.AUTHORISED


async def test_what_is_owed_again_and_money_that_left_come_to_nothing_on_their_account(
    xero: Opened, owed: list[Invoice]
) -> None:
    since = xero.sandbox.clock.now()
    sales = next(one for one in xero.sandbox.books.accounts.values() if one.code == "200")
    line = DraftLine(description="Chargeback of pay-7", unit_amount=Decimal("99.95"), xero_account_id=sales.id)
    invoice = InvoiceDraft(
        xero_contact_id=owed[0].contact.id,
        currency="NZD",
        issued_on=PAID_ON,
        due_on=PAID_ON,
        reference="TIEOWED00001",
        lines=(line,),
    )
    spent = SpentMoneyDraft(
        xero_contact_id=owed[0].contact.id,
        xero_account_id=bank(xero, owed[0]).id,
        paid_on=PAID_ON,
        currency="NZD",
        reference="TIESPENT0001",
        lines=(line,),
    )
    (owed_again,) = await xero.books.write([invoice], "key-1")
    (left,) = await xero.books.write([spent], "key-2")
    there = xero.sandbox.books.invoices[owed_again.xero_id]
    assert (there.total, there.total_tax, there.status) == (Decimal("99.95"), Decimal("0.00"), Status.AUTHORISED)
    entry = xero.sandbox.books.bank_transactions[left.xero_id]
    assert (entry.type, entry.total, entry.lines[0].account_code) == ("SPEND", Decimal("99.95"), "200")
    for kind, made_id, text in (
        (RecordKind.INVOICE, owed_again.xero_id, "TIEOWED00001"),
        (RecordKind.SPENT_MONEY, left.xero_id, "TIESPENT0001"),
    ):
        listed = {one.xero_id: one for one in await xero.books.records_since(kind, since)}
        assert text in listed[made_id].texts
        assert listed[made_id] == await xero.books.status_of(kind, made_id)


# What may be paid


async def test_payables_come_by_id_and_by_number_with_the_payments_that_count(
    xero: Opened, owed: list[Invoice]
) -> None:
    (batch_written,) = await xero.books.write([batch(xero, owed[0], owed[1])], "key-1")
    (payment_id,) = await made(xero, payment(xero, owed[0], "5.00", "TIE5"))
    undone = xero.sandbox.books.pay(owed[0].id, Decimal("1.00"))
    xero.sandbox.books.delete_payment(undone.id)
    owed[2].number = "2026\\11, second"
    bill = next(one for one in xero.sandbox.books.invoices.values() if one.type == "ACCPAY")
    ids, numbers = (
        [owed[0].id, bill.id, NOBODYS, "no id, surely"],
        [owed[0].number, owed[1].number, owed[2].number, bill.number, "none", '1, the "other" one'],
    )
    found = {one.invoice.xero_invoice_id: one for one in await xero.books.payable(ids, numbers, Purpose.PAYMENT_EXPORT)}
    assert found.keys() == {one.id for one in owed}
    payable = found[owed[0].id]
    assert (payable.invoice.due, payable.invoice.number) == (Decimal("85.00"), owed[0].number)
    assert payable.payments == (
        PaymentSeen(
            xero_payment_id=dict(batch_written.parts)[owed[0].id],
            amount=Decimal("10.00"),
            paid_on=PAID_ON,
            reference=f"TIEBATCH0001 {owed[0].number}",
            xero_batch_payment_id=batch_written.xero_id,
        ),
        PaymentSeen(xero_payment_id=payment_id, amount=Decimal("5.00"), paid_on=PAID_ON, reference="TIE5"),
    )
    assert abs(payable.as_of - xero.sandbox.clock.now()).total_seconds() < 1


async def test_payables_may_tell_neither_references_nor_batches(xero: Opened, owed: list[Invoice]) -> None:
    xero.sandbox.books.switches.nested_payments_are_brief = True
    (written,) = await xero.books.write([batch(xero, owed[0])], "key-1")
    (payable,) = await xero.books.payable([owed[0].id], [], Purpose.PAYMENT_EXPORT)
    (_, payment_id), *_ = written.parts
    seen = PaymentSeen(xero_payment_id=payment_id, amount=Decimal("10.00"), paid_on=PAID_ON)
    assert payable.payments == (seen,)


async def test_payables_cost_a_call_for_every_forty(xero: Opened) -> None:
    ids = [one.id for one in xero.sandbox.books.invoices.values() if one.type == "ACCREC"][:80]
    before = xero.sandbox.requests.count("/api.xro/")
    assert len(await xero.books.payable(ids, [], Purpose.PAYMENT_EXPORT)) == 80
    assert xero.sandbox.requests.count("/api.xro/") - before == 2


async def test_an_invoice_that_is_not_there_has_no_lines_and_a_record_that_is_not_there_no_status(xero: Opened) -> None:
    assert await xero.books.invoice_lines(NOBODYS, Purpose.PAYMENT_EXPORT) is None
    for kind in RecordKind:
        assert await xero.books.status_of(kind, NOBODYS) is None


# Looking for what was made


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"modified_since_inclusive": False},
        {"nothing_modified_answers_304": True, "batches_in_payments_have_texts": True},
        {"modified_since_cut_to_seconds": False, "nested_credits_are_brief": True},
    ],
    ids=["assumed", "exclusive", "304-and-texts", "fractions"],
)
async def test_records_are_found_since_the_very_second_they_were_made(
    xero: Opened, owed: list[Invoice], switches: dict[str, bool]
) -> None:
    for name, value in switches.items():
        setattr(xero.sandbox.books.switches, name, value)
    since = xero.sandbox.clock.now()
    assert [one for one in await xero.books.records_since(RecordKind.BATCH_PAYMENT, since) if one.texts] == []
    (batch_written,) = await xero.books.write([batch(xero, *owed)], "key-1")
    (payment_id,) = await made(xero, payment(xero, owed[0], reference="TIEPAYMENT01 po 7"))
    await xero.books.write([Deletion(record=RecordKind.PAYMENT, xero_id=payment_id)], "key-2")
    batches = await xero.books.records_since(RecordKind.BATCH_PAYMENT, since)
    assert [(one.xero_id, one.texts, one.parts) for one in batches] == [
        (batch_written.xero_id, ("TIEBATCH0001",), batch_written.parts)
    ]
    payments = {one.xero_id: one for one in await xero.books.records_since(RecordKind.PAYMENT, since)}
    assert (payments[payment_id].texts, payments[payment_id].is_there) == (("TIEPAYMENT01 po 7",), False)
    assert {part for _, part in batch_written.parts} <= payments.keys()


async def test_records_are_found_on_every_page(xero: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "_PAGE_SIZE", 7)
    books = xero.sandbox.books
    books.create_credit(CreditKind.OVERPAYMENT, Writer(Caller(xero.sandbox, None)).customer().id, Decimal(1))  # type: ignore[arg-type] # makes no call
    since = min(one.updated_at for one in books.payments.values())
    payments = await xero.books.records_since(RecordKind.PAYMENT, since)
    refunds = await xero.books.records_since(RecordKind.REFUND, since)
    assert {one.xero_id for one in (*payments, *refunds)} == books.payments.keys()
    overpayments = await xero.books.records_since(RecordKind.OVERPAYMENT, since)
    assert {one.xero_id for one in overpayments} == {
        one.id for one in books.overpayments.values() if not one.of_supplier
    }


# Notes, and whose calls these are


async def test_a_note_is_added_once_and_every_call_is_booked_to_its_purpose(xero: Opened, owed: list[Invoice]) -> None:
    for _ in range(2):
        await xero.books.note(owed[0].id, "Payment pay-7 recorded by Tieout", "key-1")
    (note,) = [one for one in xero.sandbox.books.history[owed[0].id] if one.details]
    assert note.details == "Payment pay-7 recorded by Tieout"
    with pytest.raises(RejectedError):
        await xero.books.note(NOBODYS, "Of nothing", "key-2")
    with pytest.raises(RejectedError) as refused:
        await xero.books.note(owed[0].id, "", "key-3")
    assert refused.value.messages == ("Details must be specified",)
    await made(xero, payment(xero, owed[0]))
    await xero.books.status_of(RecordKind.PAYMENT, NOBODYS)
    booked = xero.calls.take(xero.sandbox.organisations[0].id)
    assert {row.purpose: row.calls for row in booked if row.status == 200} == {
        Purpose.NOTE: 2,
        Purpose.PAYMENT_EXPORT: 1,
    }
    assert {row.purpose for row in booked} == {Purpose.NOTE, Purpose.PAYMENT_EXPORT}
