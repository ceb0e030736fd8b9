"""A payment is examined: everything that Xero would refuse it for is found, and what is left becomes a plan."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from documents import account
from payments_known import (
    NOW,
    ORGANISATION,
    PAID_ON,
    ground,
    line,
    payable,
    payment,
    seen,
    situation,
    step,
)
from tieout_server.exports.checks import NOTHING, Examined, Settled, Situation, after, examine, pending, settled
from tieout_server.ledger.exports import PlatformPayment, XeroRecord
from tieout_server.ledger.writes import BatchDraft, OverpaymentDraft, PaymentDraft, RecordKind

SPLIT = ground(overpayment_policy="SPLIT")


def reasons(payment: PlatformPayment, situation: Situation, before: Settled = NOTHING) -> list[str]:
    examined = examine(payment, situation, before)
    assert not examined.plan or not examined.findings
    return [finding.reason for finding in examined.findings]


def only(payment: PlatformPayment, situation: Situation) -> tuple[str, str, str, int | None]:
    """The only finding: reason, sentence, remedy and line."""
    [found] = examine(payment, situation).findings
    assert found.owner == "MERCHANT"
    assert found.occurred_at == NOW
    assert not found.retries_by_itself
    return found.reason, found.sentence, found.remedy, found.line


def drafts(examined: Examined) -> list[Any]:
    assert not examined.findings
    return [write.draft for write in examined.plan]


# What a payment becomes


def test_one_line_becomes_a_payment_with_our_marker() -> None:
    [draft] = drafts(examine(payment(), situation()))
    assert draft == PaymentDraft(
        xero_invoice_id="i1",
        xero_account_id="bank-nzd",
        paid_on=PAID_ON,
        amount=Decimal("100.00"),
        reference="TIE000000001 Card 4242",
    )


def test_several_lines_in_base_currency_become_a_batch() -> None:
    examined = examine(payment(line("i1"), line("i2", "40.00")), situation(payable("i1"), payable("i2")))
    [draft] = drafts(examined)
    assert isinstance(draft, BatchDraft)
    assert draft.reference == "TIE000000001"
    assert [(part.xero_invoice_id, part.amount) for part in draft.parts] == [("i1", Decimal(100)), ("i2", Decimal(40))]
    assert {part.reference for part in draft.parts} == {"TIE000000001 Card 4242"}
    [record] = examined.records
    assert (record.kind, record.amount, record.xero_invoice_id) == (RecordKind.BATCH_PAYMENT, Decimal(140), "")


def test_several_lines_in_foreign_currency_become_single_payments() -> None:
    books = situation(payable("i1", currency="EUR"), payable("i2", currency="EUR"))
    examined = examine(payment(line("i1"), line("i2", "40.00"), currency="EUR"), books)
    assert [type(draft) for draft in drafts(examined)] == [PaymentDraft, PaymentDraft]
    assert len({write.marker for write in examined.plan}) == 2
    assert [(record.invoice_number, record.currency) for record in examined.records] == [("I1", "EUR"), ("I2", "EUR")]


def test_several_lines_to_an_account_that_is_no_bank_become_single_payments() -> None:
    books = situation(payable("i1"), payable("i2"), ground=ground(accounts={"NZD": "clearing"}))
    assert [type(draft) for draft in drafts(examine(payment(line("i1"), line("i2")), books))] == [PaymentDraft] * 2


@pytest.mark.parametrize(("count", "writes"), [(200, 1), (201, 201)])
def test_a_batch_has_at_most_200_parts(count: int, writes: int) -> None:
    names = [f"i{number}" for number in range(count)]
    examined = examine(payment(*map(line, names)), situation(*map(payable, names)))
    assert len(examined.plan) == writes


def test_an_invoice_on_two_lines_is_paid_once_however_it_is_named() -> None:
    [draft] = drafts(examine(payment(line("i1", "60.00"), line("I1", "40.00", by_number=True)), situation()))
    assert draft.amount == Decimal(100)


def test_an_invoice_is_meant_by_its_number_in_capitals_or_not() -> None:
    books = situation(payable("i1", number="Inv-1"))
    [draft] = drafts(examine(payment(line("INV-1", by_number=True)), books))
    assert draft.xero_invoice_id == "i1"


def test_of_numbers_alike_the_very_one_is_meant() -> None:
    books = situation(payable("i1", number="Inv-1"), payable("i2", number="INV-1"))
    [draft] = drafts(examine(payment(line("INV-1", by_number=True)), books))
    assert draft.xero_invoice_id == "i2"
    assert reasons(payment(line("inv-1", by_number=True)), books) == ["INVOICE_NOT_PAYABLE"]


def test_a_payment_may_lie_in_the_future() -> None:
    assert reasons(payment(paid_on=date(2027, 2, 1)), situation()) == []


def test_a_reference_is_cut_to_what_xero_takes() -> None:
    [draft] = drafts(examine(payment(reference="x" * 200), situation()))
    assert len(draft.reference) == 50


# The account


def test_a_currency_without_an_account_is_named() -> None:
    books = situation(payable(currency="EUR"), ground=ground(accounts={"NZD": "bank-nzd"}))
    reason, sentence, remedy, at = only(payment(currency="EUR"), books)
    assert (reason, at) == ("ACCOUNT_NOT_CHOSEN", None)
    assert sentence == "No account is chosen for payments in EUR."
    assert remedy == "Choose the bank account for EUR."


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (account("other"), "ACCOUNT_ARCHIVED"),
        (account("bank-nzd", status="ARCHIVED", takes_payments=True, currency="NZD"), "ACCOUNT_ARCHIVED"),
        (account("bank-nzd", kind="REVENUE"), "ACCOUNT_NOT_PAYABLE"),
        (account("bank-nzd", takes_payments=True, currency="EUR"), "CURRENCY_MISMATCH"),
    ],
    ids=["gone", "archived", "takes no payments", "other currency"],
)
def test_an_account_that_cannot_take_it_is_named(kept: Any, reason: str) -> None:  # noqa: ANN401 - an account
    found, sentence, remedy, at = only(payment(), situation(ground=ground(kept)))
    assert (found, at) == (reason, None)
    assert "NZD" in sentence
    assert "NZD" in remedy


def test_an_account_without_a_currency_takes_the_base_currency() -> None:
    books = ground(accounts={"NZD": "clearing"})
    assert reasons(payment(), situation(ground=books)) == []


# The day and the amounts


@pytest.mark.parametrize("lock", ["period_lock_on", "end_of_year_lock_on"])
def test_a_locked_day_is_named_with_the_lock_date(lock: str) -> None:
    books = situation(organisation=replace(ORGANISATION, **{lock: PAID_ON}))
    reason, sentence, remedy, _ = only(payment(), books)
    assert reason == "PERIOD_LOCKED"
    assert sentence == "This is of 20 November 2026, and the books are locked up to 20 November 2026."
    assert ("adviser" in remedy) == (lock == "period_lock_on")
    assert reasons(payment(paid_on=date(2026, 11, 21)), books) == []


@pytest.mark.parametrize(("amount", "currency"), [("10.005", "NZD"), ("1000.50", "JPY")])
def test_an_amount_finer_than_its_currency_is_named(amount: str, currency: str) -> None:
    books = situation(
        payable(currency=currency, due="5000.00"),
        ground=ground(account("bank", currency=currency, takes_payments=True), accounts={currency: "bank"}),
    )
    named = payment(line("i1", amount), currency=currency)
    found = examine(named, books).findings
    assert [(finding.reason, finding.line) for finding in found] == [
        ("CURRENCY_MISMATCH", None),
        ("CURRENCY_MISMATCH", 0),
    ]
    assert all(finding.remedy.startswith("Dismiss this one") for finding in found), "or its invoice waits for ever"
    assert reasons(payment(line("i1", "1000.00"), currency=currency), books) == []


# The invoices


@pytest.mark.parametrize(
    ("status", "due", "said"),
    [
        ("DRAFT", "100.00", "Invoice I1 is a draft."),
        ("SUBMITTED", "100.00", "Invoice I1 waits for approval."),
        ("PAID", "0.00", "Invoice I1 is settled: nothing is due on it."),
        ("AUTHORISED", "0.00", "Invoice I1 is settled: nothing is due on it."),
        ("VOIDED", "0.00", "Invoice I1 was voided."),
        ("DELETED", "0.00", "Invoice I1 was deleted."),
        ("NEW_WORD", "100.00", "Invoice I1 takes no payment as it stands in Xero."),
    ],
)
def test_an_invoice_that_takes_no_payment_is_named(status: str, due: str, said: str) -> None:
    reason, sentence, _, at = only(payment(), situation(payable(due=due, status=status)))
    assert (reason, sentence, at) == ("INVOICE_NOT_PAYABLE", said, 0)


@pytest.mark.parametrize("by_number", [False, True])
def test_an_unknown_invoice_is_named(by_number: bool) -> None:  # noqa: FBT001 - a parameter of the test
    reason, sentence, _, at = only(payment(line("i1"), line("I9", by_number=by_number)), situation())
    assert (reason, sentence, at) == ("INVOICE_NOT_PAYABLE", "There is no sales invoice I9 in Xero.", 1)


def test_a_number_that_several_invoices_have_is_refused() -> None:
    books = situation(payable("i1", number="A-1"), payable("i2", number="A-1"))
    reason, sentence, _, at = only(payment(line("A-1", by_number=True)), books)
    assert (reason, sentence, at) == ("INVOICE_NOT_PAYABLE", "2 invoices have the number A-1.", 0)


def test_a_number_of_a_voided_invoice_that_was_given_again_is_the_new_one() -> None:
    books = situation(payable("i1", number="A-1", status="VOIDED"), payable("i2", number="A-1"))
    [draft] = drafts(examine(payment(line("A-1", by_number=True)), books))
    assert draft.xero_invoice_id == "i2"


def test_an_invoice_in_another_currency_is_named() -> None:
    reason, sentence, _, at = only(payment(), situation(payable(currency="EUR")))
    assert (reason, at) == ("CURRENCY_MISMATCH", 0)
    assert sentence == "Invoice I1 is in EUR, and its payment in NZD."


def test_everything_is_found_at_once_and_the_most_decisive_comes_first() -> None:
    books = situation(
        payable("i1", due="10.00"),
        payable("i2", status="DRAFT"),
        payable("i3", currency="EUR"),
        ground=ground(accounts={}),
        organisation=replace(ORGANISATION, period_lock_on=PAID_ON),
    )
    examined = examine(payment(line("i1"), line("i2"), line("i3"), line("i4"), amount=Decimal(500)), books)
    assert [(finding.reason, finding.line) for finding in examined.findings] == [
        ("ACCOUNT_NOT_CHOSEN", None),
        ("CURRENCY_MISMATCH", 2),
        ("INVOICE_NOT_PAYABLE", 1),
        ("INVOICE_NOT_PAYABLE", 3),
        ("PERIOD_LOCKED", None),
        ("AMOUNT_EXCEEDS_DUE", None),
        ("AMOUNT_EXCEEDS_DUE", 0),
    ]
    assert (examined.plan, examined.records) == ((), ())


# What is left over


def test_more_than_is_due_is_held() -> None:
    reason, sentence, _, at = only(payment(line("i1", "120.00")), situation())
    assert (reason, at) == ("AMOUNT_EXCEEDS_DUE", 0)
    assert sentence == "120.00 NZD is paid on invoice I1, of which 100.00 NZD is due."


def test_what_pays_no_invoice_is_held() -> None:
    reason, sentence, _, at = only(payment(amount=Decimal("120.00")), situation())
    assert (reason, sentence, at) == ("AMOUNT_EXCEEDS_DUE", "20.00 NZD of the payment pays no invoice.", None)


@pytest.mark.parametrize(("on_line", "amount"), [("120.00", "120.00"), ("100.00", "120.00"), ("110.00", "120.00")])
def test_more_than_is_due_is_split_where_the_settings_say_so(on_line: str, amount: str) -> None:
    examined = examine(payment(line("i1", on_line), amount=Decimal(amount)), situation(ground=SPLIT))
    paid, over = drafts(examined)
    assert paid.amount == Decimal(100)
    assert isinstance(over, OverpaymentDraft)
    assert (over.amount, over.xero_contact_id, over.currency) == (Decimal(20), "c1", "NZD")
    assert over.text == "TIE000000002 Overpayment Card 4242"
    assert [write.number for write in examined.plan] == [1, 2]


def test_what_is_settled_is_not_split() -> None:
    assert reasons(payment(), situation(payable(due="0.00", status="PAID"), ground=SPLIT)) == ["INVOICE_NOT_PAYABLE"]


def test_a_rest_needs_a_bank_account() -> None:
    books = ground(overpayment_policy="SPLIT", accounts={"NZD": "clearing"})
    reason, sentence, remedy, _ = only(payment(line("i1", "120.00")), situation(ground=books))
    assert reason == "ACCOUNT_NOT_PAYABLE"
    assert "Clearing" in sentence
    assert remedy == "Choose a bank account for NZD."


def test_a_rest_of_several_customers_is_nobodys() -> None:
    books = situation(payable("i1"), payable("i2", xero_contact_id="c2"), ground=SPLIT)
    reason, sentence, _, _ = only(payment(line("i1"), line("i2", "120.00")), books)
    assert reason == "AMOUNT_EXCEEDS_DUE"
    assert sentence.startswith("20.00 NZD is paid beyond what is due")


def test_an_archived_customer_is_paid_for_but_cannot_be_credited() -> None:
    statuses = {"c1": "ARCHIVED"}
    assert reasons(payment(), situation(contact_statuses=statuses)) == []
    over = situation(contact_statuses=statuses, ground=SPLIT)
    assert reasons(payment(line("i1", "120.00")), over) == ["CONTACT_ARCHIVED"]


# What somebody recorded already


def test_a_payment_that_somebody_recorded_is_linked_and_not_paid_twice() -> None:
    books = situation(payable("i1", "0.00", seen("p1", "100.00"), status="PAID"), ground=ground(accounts={}))
    examined = examine(payment(), books)
    assert (examined.findings, examined.plan) == ((), ())
    [twin] = examined.twins
    assert (twin.xero_id, twin.amount, twin.invoice_number, twin.is_ours) == ("p1", Decimal(100), "I1", False)


@pytest.mark.parametrize(
    "other",
    [seen("p1", "99.99"), seen("p1", "100.00", date(2026, 11, 19))],
    ids=["another amount", "another day"],
)
def test_another_payment_is_no_twin(other: Any) -> None:  # noqa: ANN401 - a payment
    examined = examine(payment(), situation(payable("i1", "100.00", other)))
    assert examined.twins == ()
    assert len(examined.plan) == 1


def test_a_payment_that_an_export_has_is_no_twin() -> None:
    books = situation(payable("i1", "100.00", seen("p1", "100.00")), linked={"p1"})
    assert examine(payment(), books).twins == ()


def test_a_payment_with_a_marker_that_no_export_waits_for_is_a_twin() -> None:
    books = situation(payable("i1", "100.00", seen("p1", "100.00", reference="TIE0000000ZZ Card 4242")))
    assert [twin.xero_id for twin in examine(payment(), books).twins] == ["p1"]


def test_an_amount_in_another_currency_is_no_twin() -> None:
    books = situation(payable("i1", "100.00", seen("p1", "100.00"), currency="EUR"))
    examined = examine(payment(), books)
    assert examined.twins == ()
    assert [finding.reason for finding in examined.findings] == ["CURRENCY_MISMATCH"]


def test_one_payment_in_xero_is_linked_to_one_export_only() -> None:
    first = situation(payable("i1", "100.00", seen("p1", "50.00")))
    named = payment(line("i1", "50.00"))
    examined = examine(named, first)
    second = examine(named, after(first, examined))
    assert [twin.xero_id for twin in examined.twins] == ["p1"]
    assert (examined.plan, second.twins) == ((), ())
    assert len(second.plan) == 1


def test_lines_that_were_recorded_one_by_one_are_linked_one_by_one() -> None:
    books = situation(payable("i1", "70.00", seen("p1", "30.00")))
    examined = examine(payment(line("i1", "30.00"), line("i1", "20.00")), books)
    assert [twin.xero_id for twin in examined.twins] == ["p1"]
    assert [draft.amount for draft in drafts(examined)] == [Decimal(20)]


def test_one_recorded_payment_is_linked_to_one_line_only() -> None:
    books = situation(payable("i1", "70.00", seen("p1", "30.00")))
    examined = examine(payment(line("i1", "30.00"), line("i1", "30.00")), books)
    assert [twin.xero_id for twin in examined.twins] == ["p1"]
    assert [draft.amount for draft in drafts(examined)] == [Decimal(30)]


def test_what_a_refused_payment_would_have_linked_is_there_for_the_next() -> None:
    books = situation(payable("i1", "0.00", seen("p1", "100.00"), status="PAID"))
    refused = examine(payment(line("i1"), line("i9")), books)
    assert refused.findings
    assert [twin.xero_id for twin in refused.twins] == ["p1"]
    assert [twin.xero_id for twin in examine(payment(), after(books, refused)).twins] == ["p1"]


def test_what_is_recorded_leaves_the_other_invoices_to_be_paid() -> None:
    books = situation(payable("i1", "0.00", seen("p1", "100.00"), status="PAID"), payable("i2"))
    examined = examine(payment(line("i1"), line("i2")), books)
    assert [draft.xero_invoice_id for draft in drafts(examined)] == ["i2"]
    assert [twin.xero_invoice_id for twin in examined.twins] == ["i1"]


def test_a_rest_beside_a_recorded_payment_is_for_a_person_to_see() -> None:
    books = situation(payable("i1", "0.00", seen("p1", "100.00"), status="PAID"), ground=SPLIT)
    examined = examine(payment(amount=Decimal(120)), books)
    assert [finding.reason for finding in examined.findings] == ["AMOUNT_EXCEEDS_DUE"]
    assert "20.00 NZD" in examined.findings[0].sentence


# Other exports that are under way


def lost(marker: str = "TIE00000000B", amount: str = "100.00") -> PaymentDraft:
    return PaymentDraft(
        xero_invoice_id="i1",
        xero_account_id="bank-nzd",
        paid_on=PAID_ON,
        amount=Decimal(amount),
        reference=f"{marker} Card",
    )


def test_a_payment_with_words_of_somebody_else_is_no_other_exports() -> None:
    waiting = pending([step(lost(), "UNKNOWN", marker="TIE00000000B")])
    by_hand = seen("p1", "100.00", reference="from the bank statement")
    examined = examine(payment(), situation(payable("i1", "100.00", by_hand), pending=waiting))
    assert [twin.xero_id for twin in examined.twins] == ["p1"]
    assert not examined.waits


@pytest.mark.parametrize("state", ["SENDING", "UNKNOWN"])
def test_a_payment_whose_answer_another_export_waits_for_is_not_linked(state: str) -> None:
    waiting = pending([step(lost(), state, marker="TIE00000000B")])
    theirs = seen("p1", "100.00", reference="TIE00000000B Card")
    examined = examine(payment(), situation(payable("i1", "100.00", theirs), pending=waiting))
    assert examined.twins == ()
    assert not examined.waits
    assert len(examined.plan) == 1


def test_a_payment_that_may_be_another_exports_is_waited_for() -> None:
    waiting = pending([step(lost(), "UNKNOWN", marker="TIE00000000B")])
    books = situation(payable("i1", "100.00", seen("p1", "100.00")), pending=waiting)
    examined = examine(payment(), books)
    assert examined.waits
    assert examined.plan == ()
    assert examine(payment(), after(books, examined)).waits  # and not paid because the first might be linked to it


def test_what_is_settled_is_not_pending() -> None:
    states = ["PLANNED", "DONE", "REFUSED", "GONE", "DROPPED"]
    assert pending([step(lost(), state) for state in states]) == ()


def test_two_exports_of_one_invoice_do_not_go_together_beyond_what_is_due() -> None:
    first = situation()
    named = payment(line("i1", "60.00"))
    then = after(first, examine(named, first))
    assert examine(named, then).waits
    assert not examine(payment(line("i1", "40.00")), then).waits
    assert examine(named, after(first, examine(named, situation(ground=ground(accounts={}))))).plan


# Plans that were done in part


def test_what_is_done_is_not_planned_again() -> None:
    done = settled([step(lost()), step(lost(), "REFUSED"), step(lost(), reversal_id="rev_1")], ())
    assert done == Settled(paid={"i1": Decimal(100)})
    books = situation(payable("i1", "0.00", seen("x1", "100.00"), status="PAID"), payable("i2"), linked={"x1"})
    examined = examine(payment(line("i1"), line("i2")), books, done)
    assert [draft.xero_invoice_id for draft in drafts(examined)] == ["i2"]


def test_the_rest_of_a_split_payment_follows_when_its_payment_is_done() -> None:
    books = situation(payable("i1", "0.00", status="PAID"), ground=SPLIT)
    [draft] = drafts(examine(payment(line("i1", "120.00")), books, settled([step(lost())], ())))
    assert isinstance(draft, OverpaymentDraft)
    assert draft.amount == Decimal(20)


def test_an_overpayment_that_is_done_is_not_held_afterwards() -> None:
    over = OverpaymentDraft(
        xero_contact_id="c1", xero_account_id="b", paid_on=PAID_ON, amount=Decimal(20), currency="NZD", text="TIE"
    )
    done = settled([step(lost()), step(over)], ())
    assert done == Settled(paid={"i1": Decimal(100)}, overpaid=Decimal(20))
    books = situation(payable("i1", "0.00", status="PAID"), payable("i2"))
    [draft] = drafts(examine(payment(line("i1", "120.00"), line("i2")), books, done))
    assert (draft.xero_invoice_id, draft.amount) == ("i2", Decimal(100))


def test_an_overpayment_is_counted_for_one_invoice_only() -> None:
    before = Settled(paid={"i1": Decimal(100), "i2": Decimal(30)}, overpaid=Decimal(20))
    books = situation(payable("i1", "0.00", status="PAID"), payable("i2", "70.00"))
    [draft] = drafts(examine(payment(line("i1", "120.00"), line("i2", "50.00")), books, before))
    assert (draft.xero_invoice_id, draft.amount) == ("i2", Decimal(20))


def test_what_is_linked_counts_until_somebody_removes_it() -> None:
    twin = XeroRecord(
        kind=RecordKind.PAYMENT, xero_id="p1", xero_invoice_id="i1", amount=Decimal(100), currency="NZD", is_ours=False
    )
    removed = XeroRecord(
        kind=RecordKind.PAYMENT,
        xero_id="p1",
        xero_invoice_id="i1",
        amount=Decimal(100),
        currency="NZD",
        is_ours=False,
        removed=True,
    )
    assert settled((), (twin,)) == Settled(paid={"i1": Decimal(100)}, has_twins=True)
    assert settled((), (removed,)) == NOTHING


def test_a_payment_that_is_in_xero_as_a_whole_needs_nothing() -> None:
    assert (
        examine(payment(), situation(payable("i1", "0.00", status="PAID")), Settled(paid={"i1": Decimal(100)}))
        == Examined()
    )
