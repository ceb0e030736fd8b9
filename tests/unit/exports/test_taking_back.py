"""A payment is taken back: deleted where Xero lets it be, otherwise refunded or owed again, each write once."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from documents import account
from payments_known import (
    BANK_NZD,
    CLEARING,
    NOW,
    ORGANISATION,
    PAID_ON,
    REFUNDED,
    ground,
    line,
    numbered,
    payable,
    payment,
    step,
)
from tieout_server.errors import BugError
from tieout_server.exports import plan
from tieout_server.exports.taking_back import Undoing, Undone, take_back
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.exports import PaymentExport, Reversal, Step, XeroRecord
from tieout_server.ledger.writes import (
    BatchDraft,
    BatchPart,
    CreditNoteDraft,
    Deletion,
    DraftLine,
    InvoiceDraft,
    InvoiceLines,
    OverpaymentDraft,
    PaymentDraft,
    RecordKind,
    RefundDraft,
    SpentMoneyDraft,
)

BACK_ON = date(2026, 11, 22)
PAID = PaymentDraft(
    xero_invoice_id="i1", xero_account_id="bank-nzd", paid_on=PAID_ON, amount=Decimal("100.00"), reference="TIE"
)
OVER = OverpaymentDraft(
    xero_contact_id="c1",
    xero_account_id="bank-nzd",
    paid_on=PAID_ON,
    amount=Decimal("20.00"),
    currency="NZD",
    text="TIE",
)
BATCH = BatchDraft(
    xero_account_id="bank-nzd",
    paid_on=PAID_ON,
    reference="TIE",
    parts=tuple(BatchPart(xero_invoice_id=name, amount=Decimal("100.00"), reference="TIE") for name in ("i1", "i2")),
)
OWN = InvoiceLines(
    line_amount_types="Exclusive",
    lines=(
        DraftLine(description="Rugs", quantity=Decimal(2), unit_amount=Decimal(40), tax_amount=Decimal(12)),
        DraftLine(description="Post", unit_amount=Decimal("8.00"), tax_amount=Decimal(0)),
    ),
)
BY_REFUNDS = ground(refund_xero_account_id="refunded", refund_tax_type="OUTPUT2")


def reversal(kind: str, amount: str = "100.00", **fields: Any) -> Reversal:  # noqa: ANN401 - any field of the reversal
    stated: dict[str, Any] = {"id": "rev_1", "reversal_id": "r-1", "currency": "NZD", "reversed_on": BACK_ON}
    ids = {"export_id": "exp_1", "connection_id": "con_1", "xero_status": "QUEUED", "reason": "fraud"}
    times = {"created_at": NOW, "updated_at": NOW}
    return Reversal(kind=kind, amount=Decimal(amount), **(stated | ids | times | fields))


def undoing(back: Reversal, *steps: Step, export: Mapping[str, Any] | None = None, **fields: Any) -> Undoing:  # noqa: ANN401 - any field
    """Of an export with these steps; its payment comes to what they do unless it is said."""
    paid = sum((plan.total(one.draft) for one in steps if not one.reversal_id), Decimal(0))
    stated: dict[str, Any] = {"payment": payment(line("i1"), amount=paid), "xero_status": "VERIFIED"}
    kept = PaymentExport(
        id="exp_1", connection_id="con_1", created_at=NOW, updated_at=NOW, **(stated | dict(export or {}))
    )
    known: dict[str, Any] = {
        "ground": ground(),
        "organisation": ORGANISATION,
        "payables": {name: payable(name, "0.00", status="PAID") for name in ("i1", "i2")},
        "new_marker": numbered(),
    }
    return Undoing(reversal=back, export=kept, steps=steps, **(known | fields))


def drafts(undone: Undone) -> list[Any]:
    assert undone.findings == ()
    assert undone.plan
    return [write.draft for write in undone.plan]


def reasons(undone: Undone) -> list[str]:
    assert undone.plan == ()
    return [finding.reason for finding in undone.findings]


# Chargebacks and late failures


@pytest.mark.parametrize("kind", ["CHARGEBACK", "LATE_FAILURE"])
def test_a_payment_is_deleted(kind: str) -> None:
    assert drafts(take_back(undoing(reversal(kind), step(PAID, xero_id="p1")))) == [
        Deletion(record=RecordKind.PAYMENT, xero_id="p1")
    ]


def test_a_batch_is_deleted_as_a_whole() -> None:
    assert drafts(take_back(undoing(reversal("CHARGEBACK", "200.00"), step(BATCH, xero_id="b1")))) == [
        Deletion(record=RecordKind.BATCH_PAYMENT, xero_id="b1")
    ]


def test_an_overpayment_is_refunded_since_xero_deletes_none() -> None:
    deleted, refunded = drafts(
        take_back(
            undoing(reversal("CHARGEBACK", "120.00"), step(PAID, xero_id="p1"), step(OVER, number=2, xero_id="o1"))
        )
    )
    assert deleted == Deletion(record=RecordKind.PAYMENT, xero_id="p1")
    assert refunded == RefundDraft(
        entity=Entity.OVERPAYMENTS,
        xero_credit_id="o1",
        xero_account_id="bank-nzd",
        paid_on=BACK_ON,
        amount=Decimal("20.00"),
        reference="TIE000000002 Chargeback of payment pay-1",
    )


@pytest.mark.parametrize(
    "known",
    [{"kept": {"p1"}}, {"organisation": replace(ORGANISATION, period_lock_on=PAID_ON)}],
    ids=["reconciled", "locked"],
)
def test_what_cannot_be_deleted_is_owed_again_in_the_open_period(known: dict[str, Any]) -> None:
    asked = undoing(reversal("CHARGEBACK"), step(PAID, xero_id="p1"), ground=BY_REFUNDS, **known)
    owed, spent = drafts(take_back(asked))
    assert isinstance(owed, InvoiceDraft)
    assert isinstance(spent, SpentMoneyDraft)
    assert (owed.xero_contact_id, owed.issued_on, owed.due_on) == ("c1", BACK_ON, BACK_ON)
    assert (spent.xero_account_id, spent.paid_on) == ("bank-nzd", BACK_ON)
    assert owed.lines == spent.lines
    assert plan.total(owed) == plan.total(spent) == Decimal(100)
    [said] = owed.lines
    assert said.account_code == "260"
    assert said.description == "Chargeback of payment pay-1 of invoice I1: fraud"
    assert [write.number for write in take_back(asked).plan] == [1, 2]


def test_the_invoices_of_each_customer_are_owed_by_them() -> None:
    payables = {"i1": payable("i1"), "i2": payable("i2", xero_contact_id="c2")}
    asked = undoing(
        reversal("CHARGEBACK", "200.00"), step(BATCH, xero_id="b1"), ground=BY_REFUNDS, kept={"b1"}, payables=payables
    )
    assert [(type(draft), draft.xero_contact_id, plan.total(draft)) for draft in drafts(take_back(asked))] == [
        (InvoiceDraft, "c1", Decimal(100)),
        (SpentMoneyDraft, "c1", Decimal(100)),
        (InvoiceDraft, "c2", Decimal(100)),
        (SpentMoneyDraft, "c2", Decimal(100)),
    ]


def test_what_somebody_else_recorded_is_not_deleted() -> None:
    theirs = XeroRecord(
        kind=RecordKind.PAYMENT, xero_id="p9", xero_invoice_id="i2", amount=Decimal(50), currency="NZD", is_ours=False
    )
    asked = undoing(
        reversal("CHARGEBACK", "150.00"), step(PAID, xero_id="p1"), export={"records": (theirs,)}, ground=BY_REFUNDS
    )
    deleted, owed, spent = drafts(take_back(asked))
    assert deleted.xero_id == "p1"
    assert plan.total(owed) == plan.total(spent) == Decimal(50)


def refunded(amount: str, *, entity: Entity = Entity.CREDIT_NOTES, credit: str = "cn0") -> Step:
    """What an earlier reversal gave back."""
    draft = RefundDraft(
        entity=entity,
        xero_credit_id=credit,
        xero_account_id="bank-nzd",
        paid_on=BACK_ON,
        amount=Decimal(amount),
        reference="TIE",
    )
    return step(draft, reversal_id="rev_0", xero_id="refund-0")


@pytest.mark.parametrize("kind", ["CHARGEBACK", "LATE_FAILURE"])
def test_after_a_refund_of_a_part_the_payment_stays_and_the_rest_is_owed_again(kind: str) -> None:
    asked = undoing(reversal(kind, "70.00"), step(PAID, xero_id="p1"), refunded("30.00"), ground=BY_REFUNDS)
    owed, spent = drafts(take_back(asked))
    assert (type(owed), type(spent)) == (InvoiceDraft, SpentMoneyDraft)
    assert plan.total(owed) == plan.total(spent) == Decimal(70)


def test_what_was_refunded_of_a_batch_is_taken_off_its_first_invoices() -> None:
    asked = undoing(reversal("CHARGEBACK", "80.00"), step(BATCH, xero_id="b1"), refunded("120.00"), ground=BY_REFUNDS)
    owed, spent = drafts(take_back(asked))
    assert [(line.description, line.unit_amount) for line in owed.lines] == [
        ("Chargeback of payment pay-1 of invoice I2: fraud", Decimal("80.00"))
    ]
    assert owed.lines == spent.lines


def test_after_a_refund_of_what_was_overpaid_the_payment_is_deleted_and_the_rest_of_it_refunded() -> None:
    given = refunded("15.00", entity=Entity.OVERPAYMENTS, credit="o1")
    asked = undoing(reversal("CHARGEBACK", "105.00"), step(PAID, xero_id="p1"), step(OVER, xero_id="o1"), given)
    deleted, refund = drafts(take_back(asked))
    assert deleted == Deletion(record=RecordKind.PAYMENT, xero_id="p1")
    assert (refund.entity, refund.amount) == (Entity.OVERPAYMENTS, Decimal("5.00"))


def test_a_refund_and_a_chargeback_of_the_rest_leave_nothing_of_an_overpayment() -> None:
    given = refunded("20.00", entity=Entity.OVERPAYMENTS, credit="o1")
    part, over = step(PAID, xero_id="p1"), step(OVER, xero_id="o1")
    asked = undoing(reversal("CHARGEBACK", "70.00"), part, over, given, refunded("30.00"), ground=BY_REFUNDS)
    owed, spent = drafts(take_back(asked))
    assert plan.total(owed) == plan.total(spent) == Decimal(70)


def test_nobody_says_whose_rest_of_several_customers_is_owed_again() -> None:
    payables = {"i1": payable("i1"), "i2": payable("i2", xero_contact_id="c2")}
    asked = undoing(
        reversal("CHARGEBACK", "170.00"),
        step(BATCH, xero_id="b1"),
        refunded("30.00"),
        ground=BY_REFUNDS,
        payables=payables,
    )
    assert reasons(take_back(asked)) == ["REJECTED_BY_XERO"]


def test_without_an_account_for_refunds_nothing_can_be_owed_again() -> None:
    undone = take_back(undoing(reversal("CHARGEBACK"), step(PAID, xero_id="p1"), kept={"p1"}))
    assert reasons(undone) == ["ACCOUNT_NOT_CHOSEN"]
    assert undone.findings[0].remedy == "Choose the account for refunds."


def test_money_is_spent_from_bank_accounts_only() -> None:
    paid = replace(PAID, xero_account_id="clearing")
    undone = take_back(undoing(reversal("CHARGEBACK"), step(paid, xero_id="p1"), kept={"p1"}, ground=BY_REFUNDS))
    assert reasons(undone) == ["ACCOUNT_NOT_PAYABLE"]


# Refunds


def test_a_whole_invoice_is_credited_by_its_own_lines_and_refunded() -> None:
    undone = take_back(undoing(reversal("REFUND"), step(PAID, xero_id="p1"), lines={"i1": OWN}))
    note, refund = drafts(undone)
    assert isinstance(note, CreditNoteDraft)
    assert (note.lines, note.line_amount_types, note.rate) == (OWN.lines, "Exclusive", None)
    assert note.reference == "TIE000000001 Refund of payment pay-1 of invoice I1"
    assert plan.total(note) == refund.amount == Decimal(100)
    assert (refund.entity, refund.xero_credit_id, refund.xero_account_id) == (Entity.CREDIT_NOTES, "", "bank-nzd")
    assert [write.number for write in undone.plan] == [1, 2]


@pytest.mark.parametrize(
    "lines",
    [{}, {"i1": InvoiceLines(line_amount_types="NoTax", lines=(DraftLine(description="-", unit_amount=Decimal(99)),))}],
    ids=["unknown", "not adding up"],
)
def test_lines_that_do_not_come_to_the_refund_are_replaced_by_one_that_does(lines: dict[str, InvoiceLines]) -> None:
    note, refund = drafts(
        take_back(undoing(reversal("REFUND"), step(PAID, xero_id="p1"), lines=lines, ground=BY_REFUNDS))
    )
    [said] = note.lines
    assert (said.account_code, said.tax_type, note.line_amount_types) == ("260", "OUTPUT2", "Inclusive")
    assert plan.total(note) == refund.amount == Decimal(100)


def test_a_payment_of_a_part_of_an_invoice_is_not_refunded_by_all_its_lines() -> None:
    paid = replace(PAID, amount=Decimal("60.00"))
    asked = undoing(reversal("REFUND", "60.00"), step(paid, xero_id="p1"), lines={"i1": OWN}, ground=BY_REFUNDS)
    note, refund = drafts(take_back(asked))
    assert plan.total(note) == refund.amount == Decimal(60)


def test_a_foreign_invoice_is_credited_at_its_own_rate() -> None:
    payables = {"i1": payable("i1", currency="EUR", rate=Decimal("0.55"))}
    asked = undoing(reversal("REFUND"), step(PAID, xero_id="p1"), ground=BY_REFUNDS, payables=payables)
    note, _ = drafts(take_back(asked))
    assert (note.currency, note.rate) == ("EUR", Decimal("0.55"))


def test_each_invoice_of_a_batch_is_credited_and_each_credit_refunded() -> None:
    asked = undoing(
        reversal("REFUND", "220.00"), step(BATCH, xero_id="b1"), step(OVER, xero_id="o1"), ground=BY_REFUNDS
    )
    undone = take_back(asked)
    assert [type(draft) for draft in drafts(undone)] == [
        CreditNoteDraft,
        RefundDraft,
        CreditNoteDraft,
        RefundDraft,
        RefundDraft,
    ]
    refunds = [write.draft.amount for write in undone.plan if isinstance(write.draft, RefundDraft)]
    assert sum(refunds) == Decimal(220)


def test_a_part_is_refunded_on_the_account_for_refunds() -> None:
    asked = undoing(reversal("REFUND", "30.00"), step(BATCH, xero_id="b1"), ground=BY_REFUNDS, lines={"i1": OWN})
    note, refund = drafts(take_back(asked))
    assert plan.total(note) == refund.amount == Decimal(30)
    assert note.lines[0].account_code == "260"


def test_a_part_of_a_payment_of_several_customers_is_refused() -> None:
    payables = {"i1": payable("i1"), "i2": payable("i2", xero_contact_id="c2")}
    asked = undoing(reversal("REFUND", "30.00"), step(BATCH, xero_id="b1"), ground=BY_REFUNDS, payables=payables)
    assert reasons(take_back(asked)) == ["REJECTED_BY_XERO"]


def test_what_was_overpaid_is_given_back_from_the_overpayment() -> None:
    asked = undoing(reversal("REFUND", "20.00"), step(PAID, xero_id="p1"), step(OVER, xero_id="o1"))
    [refund] = drafts(take_back(asked))
    assert (refund.entity, refund.xero_credit_id) == (Entity.OVERPAYMENTS, "o1")


def test_an_overpayment_is_not_given_back_twice() -> None:
    asked = undoing(reversal("REFUND", "20.00"), step(PAID, xero_id="p1"), step(OVER, xero_id="o1"))
    [given_back] = drafts(take_back(asked))
    earlier = {"reversals": (reversal("REFUND", "20.00", id="rev_0", reversal_id="r-0"),)}
    asked = undoing(
        reversal("REFUND", "20.00"),
        step(PAID, xero_id="p1"),
        step(OVER, xero_id="o1"),
        step(given_back, reversal_id="rev_0", xero_id="refund-1"),
        export=earlier,
        ground=BY_REFUNDS,
    )
    assert [type(draft) for draft in drafts(take_back(asked))] == [CreditNoteDraft, RefundDraft]


# What stands in the way


@pytest.mark.parametrize("kind", ["REFUND", "CHARGEBACK"])
def test_nothing_is_written_into_a_locked_period_but_deletions(kind: str) -> None:
    locked = replace(ORGANISATION, end_of_year_lock_on=BACK_ON)
    asked = undoing(reversal(kind), step(PAID, xero_id="p1"), organisation=locked, lines={"i1": OWN}, ground=BY_REFUNDS)
    assert reasons(take_back(asked)) == ["PERIOD_LOCKED"]


def test_money_cannot_leave_an_account_that_is_archived() -> None:
    closed = ground(replace(BANK_NZD, status="ARCHIVED"), CLEARING, REFUNDED, refund_xero_account_id="refunded")
    asked = undoing(reversal("REFUND"), step(PAID, xero_id="p1"), ground=closed)
    assert reasons(take_back(asked)) == ["ACCOUNT_ARCHIVED"]


def test_an_invoice_that_is_gone_is_named() -> None:
    asked = undoing(reversal("REFUND"), step(PAID, xero_id="p1"), ground=BY_REFUNDS, payables={})
    assert reasons(take_back(asked)) == ["INVOICE_NOT_PAYABLE"]


# What was tried before


def test_what_is_done_is_not_done_again() -> None:
    first = undoing(reversal("REFUND"), step(PAID, xero_id="p1"), lines={"i1": OWN})
    note, refund = take_back(first).plan
    made = step(note.draft, number=note.number, reversal_id="rev_1", xero_id="cn1")
    refused = step(refund.draft, "REFUSED", number=refund.number, reversal_id="rev_1")
    [again] = take_back(undoing(reversal("REFUND"), *first.steps, made, refused, lines={"i1": OWN})).plan
    assert again.number == refund.number
    fresh = step(again.draft, "PLANNED", number=again.number, reversal_id="rev_1")
    filled = plan.filled(fresh, (*first.steps, made, refused, fresh))
    assert isinstance(filled, RefundDraft)
    assert filled.xero_credit_id == "cn1"


def test_of_two_credits_that_are_alike_the_one_that_is_missing_is_made() -> None:
    half = replace(PAID, amount=Decimal("50.00"))
    theirs = XeroRecord(
        kind=RecordKind.PAYMENT,
        xero_id="p9",
        xero_invoice_id="i1",
        amount=Decimal("50.00"),
        currency="NZD",
        xero_account_id="bank-nzd",
        is_ours=False,
    )
    known: dict[str, Any] = {"export": {"records": (theirs,), "payment": payment()}, "ground": BY_REFUNDS}
    note, refund, *others = take_back(undoing(reversal("REFUND"), step(half, xero_id="p1"), **known)).plan
    done = [step(write.draft, number=write.number, reversal_id="rev_1") for write in (note, refund)]
    left = take_back(undoing(reversal("REFUND"), step(half, xero_id="p1"), *done, **known)).plan
    assert [(write.number, type(write.draft)) for write in left] == [(3, CreditNoteDraft), (4, RefundDraft)]
    assert [write.number for write in others] == [3, 4]


OTHER = account("other", name="Other refunds", kind="REVENUE", code="270")


def half_owed(**fields: Any) -> Undoing:  # noqa: ANN401 - any field of the plan's
    """A chargeback of which the invoice is made and the money not spent; since then another account was chosen."""
    stated: dict[str, Any] = {"kept": {"p1"}, "ground": BY_REFUNDS}
    owed, _ = take_back(undoing(reversal("CHARGEBACK"), step(PAID, xero_id="p1"), **stated)).plan
    made = step(owed.draft, number=owed.number, reversal_id="rev_1", xero_id="i9")
    anew = ground(BANK_NZD, CLEARING, REFUNDED, OTHER, refund_xero_account_id="other", refund_tax_type="OUTPUT2")
    return undoing(reversal("CHARGEBACK"), step(PAID, xero_id="p1"), made, **(stated | {"ground": anew} | fields))


def test_what_was_begun_on_an_account_is_finished_there() -> None:
    [spent] = drafts(take_back(half_owed()))
    assert isinstance(spent, SpentMoneyDraft)
    assert [(line.xero_account_id, line.account_code) for line in spent.lines] == [("refunded", "260")]


@pytest.mark.parametrize(
    ("kept", "said"), [((replace(REFUNDED, status="ARCHIVED"),), "Refunds, is archived"), ((), "no")]
)
def test_what_cannot_be_finished_on_the_account_it_was_begun_with_waits_for_that(kept: Any, said: str) -> None:  # noqa: ANN401 - accounts
    undone = take_back(half_owed(ground=ground(BANK_NZD, OTHER, *kept, refund_xero_account_id="other")))
    assert reasons(undone) == ["ACCOUNT_ARCHIVED"]
    assert said in undone.findings[0].sentence
    assert undone.findings[0].remedy.startswith("Restore that account in Xero")


def test_an_account_that_nothing_more_is_written_to_may_be_archived() -> None:
    first = undoing(reversal("REFUND"), step(PAID, xero_id="p1"), ground=BY_REFUNDS)
    note, _ = take_back(first).plan
    made = step(note.draft, number=note.number, reversal_id="rev_1", xero_id="cn1")
    closed = ground(BANK_NZD, replace(REFUNDED, status="ARCHIVED"), OTHER, refund_xero_account_id="other")
    [refund] = drafts(take_back(undoing(reversal("REFUND"), *first.steps, made, ground=closed)))
    assert isinstance(refund, RefundDraft)


def test_credit_notes_of_one_refund_are_on_one_account() -> None:
    first = undoing(reversal("REFUND", "200.00"), step(BATCH, xero_id="b1"), ground=BY_REFUNDS)
    made = [
        step(write.draft, number=write.number, reversal_id="rev_1", xero_id="x") for write in take_back(first).plan[:2]
    ]
    anew = ground(BANK_NZD, REFUNDED, OTHER, refund_xero_account_id="other", refund_tax_type="NONE")
    note, _ = drafts(take_back(undoing(reversal("REFUND", "200.00"), *first.steps, *made, ground=anew)))
    assert [(line.xero_account_id, line.tax_type) for line in note.lines] == [("refunded", "OUTPUT2")]


def test_what_was_owed_again_and_is_so_by_its_payment_too_waits_for_somebody() -> None:
    begun = half_owed()
    gone = replace(begun, steps=(replace(begun.steps[0], state="GONE"), *begun.steps[1:]))
    undone = take_back(gone)
    assert reasons(undone) == ["REJECTED_BY_XERO"]
    assert "recorded already" in undone.findings[0].sentence


def test_a_deletion_that_is_done_is_kept_while_another_is_found_another_way() -> None:
    other = replace(PAID, xero_invoice_id="i2")
    own = (step(PAID, xero_id="p1"), step(other, xero_id="p2"))
    deleted = step(Deletion(record=RecordKind.PAYMENT, xero_id="p1"), reversal_id="rev_1")
    asked = undoing(reversal("CHARGEBACK", "200.00"), *own, deleted, kept={"p2"}, ground=BY_REFUNDS)
    owed, spent = drafts(take_back(asked))
    assert plan.total(owed) == plan.total(spent) == Decimal(100)


def test_a_refund_is_not_sent_before_its_credit_note_is_made() -> None:
    note, refund = take_back(undoing(reversal("REFUND"), step(PAID, xero_id="p1"), lines={"i1": OWN})).plan
    unmade = step(note.draft, "UNKNOWN", number=note.number, reversal_id="rev_1")
    waiting = step(refund.draft, "PLANNED", number=refund.number, reversal_id="rev_1")
    with pytest.raises(BugError):
        plan.filled(waiting, (unmade, waiting))


# What callers see of it


@pytest.mark.parametrize(
    ("draft", "kind", "amount", "account"),
    [
        (PAID, "PAYMENT", "100.00", "bank-nzd"),
        (BATCH, "BATCH_PAYMENT", "200.00", "bank-nzd"),
        (OVER, "OVERPAYMENT", "20.00", "bank-nzd"),
        (
            CreditNoteDraft(
                xero_contact_id="c1",
                currency="NZD",
                issued_on=BACK_ON,
                reference="TIE",
                line_amount_types="Exclusive",
                lines=OWN.lines,
            ),
            "CREDIT_NOTE",
            "100.00",
            "",
        ),
    ],
)
def test_a_write_makes_one_record(draft: Any, kind: str, amount: str, account: str) -> None:  # noqa: ANN401 - a draft
    [made] = plan.records(draft, "NZD", {"i1": "INV-1"}, "x1")
    assert (made.kind, made.amount, made.xero_account_id, made.xero_id) == (kind, Decimal(amount), account, "x1")
    assert made.invoice_number == ("INV-1" if kind == "PAYMENT" else "")


def test_a_deletion_makes_no_record() -> None:
    assert plan.records(Deletion(record=RecordKind.PAYMENT, xero_id="p1"), "NZD", {}) == ()
