"""What became of a write is believed only where Xero's answer leaves no doubt, element by element."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_server.ledger.writes import (
    BatchDraft,
    BatchPart,
    Deletion,
    Draft,
    OverpaymentDraft,
    PaymentDraft,
    RecordKind,
    Written,
)
from tieout_server.xero.written import read_noted, read_written

ON = date(2026, 11, 20)
NO_ID = "00000000-0000-0000-0000-000000000000"
EXCEEDS = "Payment amount exceeds the amount outstanding on this document"


def payment(number: int, amount: str = "10.00", invoice: str | None = None) -> PaymentDraft:
    return PaymentDraft(
        xero_invoice_id=invoice or f"inv-{number}",
        xero_account_id="bank",
        paid_on=ON,
        amount=Decimal(amount),
        reference=f"TIE{number} ref",
    )


def good(draft: PaymentDraft, **more: object) -> dict[str, object]:
    """As Xero tells of a payment that it made."""
    told: dict[str, object] = {
        "PaymentID": f"pay-of-{draft.reference}",
        "Amount": float(draft.amount),
        "Reference": draft.reference,
        "Status": "AUTHORISED",
        "Invoice": {"InvoiceID": draft.xero_invoice_id.upper(), "AmountDue": 0.0},
        "HasValidationErrors": False,
        "StatusAttributeString": "OK",
    }
    return told | more


def bad(draft: PaymentDraft, *messages: str, **more: object) -> dict[str, object]:
    """As Xero gives a payment back that it refused."""
    return {
        "PaymentID": NO_ID,
        "Invoice": {"InvoiceID": draft.xero_invoice_id},
        "Amount": float(draft.amount),
        "Reference": draft.reference,
        "HasValidationErrors": True,
        "StatusAttributeString": "ERROR",
        "ValidationErrors": [{"Message": message} for message in messages],
    } | more


def answer(*elements: object, name: str = "Payments") -> bytes:
    return json.dumps({"Status": "OK", name: elements}).encode()


def read(drafts: list[PaymentDraft], *elements: object) -> list[Written]:
    return list(read_written(drafts, answer(*elements)))


def test_elements_are_told_one_by_one() -> None:
    one, two, three = payment(1), payment(2), payment(3)
    assert read([one, two, three], good(one), bad(two, EXCEEDS, "And more"), good(three)) == [
        Written(xero_id="pay-of-TIE1 ref"),
        Written(messages=(EXCEEDS, "And more")),
        Written(xero_id="pay-of-TIE3 ref"),
    ]


def test_what_is_wrong_with_what_is_inside_an_element_is_told_too() -> None:
    draft = payment(1)
    inside = {"InvoiceID": "inv-1", "ValidationErrors": [{"Message": "Invoice could not be found"}, {"Message": ""}]}
    refused = bad(draft, EXCEEDS, Invoice=inside, Account={"ValidationErrors": [{"Message": EXCEEDS}]})
    assert read([draft], refused) == [Written(messages=(EXCEEDS, "Invoice could not be found"))]
    assert read([draft], bad(draft)) == [Written(messages=("Xero refused this without saying why.",))]


def test_a_refusal_is_seen_without_its_attribute_and_numbers_and_flags_may_be_texts() -> None:
    draft = payment(1)
    plain = bad(draft, EXCEEDS, Amount="10.00", HasValidationErrors="true")
    del plain["StatusAttributeString"]
    assert read([draft], plain) == [Written(messages=(EXCEEDS,))]
    only_inside: dict[str, object] = {"Invoice": {"ValidationErrors": [{"Message": "No"}]}, "Account": []}
    assert read([draft], only_inside) == [Written(messages=("No",))]
    warned = good(draft, StatusAttributeString="WARNING", Warnings=[{"Message": "Odd rate"}], ValidationErrors=[])
    assert read([draft], warned) == [Written(xero_id="pay-of-TIE1 ref")]


@pytest.mark.parametrize(
    "element",
    [
        good(payment(1), PaymentID=NO_ID),
        good(payment(1), PaymentID=""),
        good(payment(1), ValidationErrors=[{"Message": EXCEEDS}]),
        good(payment(1), HasValidationErrors=True),
        bad(payment(1), EXCEEDS, PaymentID="pay-1"),
        good(payment(2)),
        good(payment(1), Amount=10.01),
        good(payment(1), Amount=None),
        good(payment(1), Invoice=[]),
        good(payment(1), Reference="somebody's"),
        bad(payment(2), EXCEEDS),
        {},
        "what?",
        good(payment(1), Invoice="inv-1"),
    ],
    ids=[
        *("no-id", "empty-id", "good-with-errors", "good-with-flag", "bad-with-id", "another", "other-amount"),
        *("no-amount", "no-invoice", "other-reference", "another-refused", "nothing", "no-object", "odd-shape"),
    ],
)
def test_an_answer_that_contradicts_itself_or_the_draft_is_none(element: object) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError)):
        read([payment(1)], element)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"", b'{"Payments": {}}', b'{"Payments": []}', answer(1, 2)])
def test_an_answer_without_the_elements_is_none(body: bytes) -> None:
    with pytest.raises((ValueError, msgspec.DecodeError)):
        read_written([payment(1)], body)


def test_elements_in_another_order_are_no_answer() -> None:
    one, two = payment(1), payment(2)
    with pytest.raises(ValueError, match="place"):
        read([one, two], good(two), good(one))


def test_a_reference_may_be_missing_unless_it_alone_tells_payments_apart() -> None:
    one, two = payment(1, invoice="same"), payment(2, invoice="same")
    assert read([one], good(one, Reference=None)) == [Written(xero_id="pay-of-TIE1 ref")]
    assert [found.xero_id for found in read([one, two], good(one), good(two))] == ["pay-of-TIE1 ref", "pay-of-TIE2 ref"]
    with pytest.raises(ValueError, match="reference"):
        read([one, two], good(one), good(two, Reference=""))
    with pytest.raises(ValueError, match="reference"):
        read([one, two], good(two), good(one))


@given(st.permutations(range(4)), st.lists(st.booleans(), min_size=4, max_size=4))
def test_whatever_order_elements_come_in_none_is_ever_taken_for_another(order: list[int], are_good: list[bool]) -> None:
    drafts = [payment(number, amount="10.00", invoice=f"inv-{number % 2}") for number in range(4)]
    told: list[dict[str, Any]] = [
        good(d) if fine else bad(d, d.reference) for d, fine in zip(drafts, are_good, strict=True)
    ]
    try:
        written = read(drafts, *(told[number] for number in order))
    except ValueError:
        return
    for draft, one in zip(drafts, written, strict=True):
        assert one in (Written(xero_id=f"pay-of-{draft.reference}"), Written(messages=(draft.reference,)))


def batch_element(**more: object) -> dict[str, object]:
    parts = [{"Invoice": {"InvoiceID": f"INV-{n}"}, "PaymentID": f"pay-{n}", "Amount": 5.0} for n in (2, 1)]
    return {
        "BatchPaymentID": "batch",
        "Reference": "TIE1",
        "TotalAmount": "10.00",
        "IsReconciled": "false",
        "Status": "AUTHORISED",
        "Payments": parts,
    } | more


BATCH = BatchDraft(
    xero_account_id="bank",
    paid_on=ON,
    reference="TIE1",
    parts=tuple(BatchPart(xero_invoice_id=f"inv-{n}", amount=Decimal("5.00"), reference=f"TIE1 {n}") for n in (1, 2)),
)


def test_a_batch_tells_its_parts_by_invoice_and_must_hold_them_all() -> None:
    (written,) = read_written([BATCH], answer(batch_element(), name="BatchPayments"))
    assert written == Written(xero_id="batch", parts=(("inv-1", "pay-1"), ("inv-2", "pay-2")))
    for wrong in ([], [{"Invoice": {"InvoiceID": "inv-1"}, "Amount": 5}], [{"Invoice": {"InvoiceID": "x"}}] * 2):
        with pytest.raises(ValueError, match="place"):
            read_written([BATCH], answer(batch_element(Payments=wrong), name="BatchPayments"))
    echo = batch_element(BatchPaymentID=NO_ID, StatusAttributeString="ERROR", ValidationErrors=[{"Message": "No"}])
    bare = echo | {"Payments": [{"ValidationErrors": [{"Message": "No"}]}]}
    for refused in (echo, bare, echo | {"Payments": []}):
        assert list(read_written([BATCH], answer(refused, name="BatchPayments"))) == [Written(messages=("No",))]
    with pytest.raises(ValueError, match="place"):
        read_written([BATCH], answer(echo | {"Payments": [{"Invoice": {"InvoiceID": "x"}}]}, name="BatchPayments"))


def test_an_overpayment_is_the_credit_and_not_the_bank_transaction() -> None:
    draft: Draft = OverpaymentDraft(
        xero_contact_id="c", xero_account_id="b", paid_on=ON, amount=Decimal(20), currency="NZD", text="TIE1 rest"
    )
    element: dict[str, object] = {
        "BankTransactionID": "entry",
        "OverpaymentID": "credit",
        "Contact": {"ContactID": "c"},
        "Total": 20.0,
        "LineItems": [{"Description": "TIE1 rest"}],
    }
    assert list(read_written([draft], answer(element, name="BankTransactions"))) == [Written(xero_id="credit")]
    doubtful: list[dict[str, object]] = [
        {"OverpaymentID": ""},
        {"Total": 19.0},
        {"LineItems": [{"Description": "TIE2"}]},
        {"Contact": {}},
    ]
    for wrong in doubtful:
        with pytest.raises(ValueError, match="element"):
            read_written([draft], answer(element | wrong, name="BankTransactions"))


def test_a_deletion_is_believed_where_the_record_itself_is_shown_deleted() -> None:
    deletion = Deletion(record=RecordKind.PAYMENT, xero_id="pay-1")
    shown: dict[str, object] = {"PaymentID": "PAY-1", "Status": "DELETED"}
    assert list(read_written([deletion], answer(shown))) == [Written(xero_id="pay-1")]
    refused = shown | {"Status": "AUTHORISED", "HasValidationErrors": True, "ValidationErrors": [{"Message": "No"}]}
    assert list(read_written([deletion], answer(refused))) == [Written(messages=("No",))]
    for wrong in (shown | {"Status": "AUTHORISED"}, shown | {"PaymentID": "pay-2"}):
        with pytest.raises(ValueError, match="record"):
            read_written([deletion], answer(wrong))
    with pytest.raises(ValueError, match="unpack"):
        read_written([deletion], answer(shown, shown))


def test_a_note_is_refused_inside_a_good_answer_too() -> None:
    assert read_noted(answer({"Details": "Seen", "ValidationErrors": []}, name="HistoryRecords")) == ()
    refused = answer({"ValidationErrors": [{"Message": "No"}]}, name="HistoryRecords")
    assert read_noted(refused) == ("No",)
