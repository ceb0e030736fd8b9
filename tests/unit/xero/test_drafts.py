"""What is sent to Xero to have something made: the right address, exact digits, plain dates, nothing unasked."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tieout_server.ledger.documents import Entity
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
from tieout_server.xero.drafts import letter_of, letter_of_note

ON = date(2026, 11, 20)


def payment(amount: str = "120.50") -> PaymentDraft:
    return PaymentDraft(
        xero_invoice_id="inv", xero_account_id="bank", paid_on=ON, amount=Decimal(amount), reference="TIE1 7"
    )


def said(*drafts: Draft) -> dict[str, Any]:
    (elements,) = json.loads(letter_of(drafts).content).values()
    return dict(elements[0])


@pytest.mark.parametrize(
    ("amount", "digits"),
    [("120.50", b"120.50"), ("5E+1", b"50"), ("0.10", b"0.10"), ("12345678901234.56", b"12345678901234.56")],
)
def test_an_amount_is_a_number_with_exactly_its_digits(amount: str, digits: bytes) -> None:
    assert b'"Amount":' + digits + b"," in letter_of([payment(amount)]).content


def test_payments_name_ids_alone_and_each_is_to_be_judged_by_itself() -> None:
    letter = letter_of([payment(), payment("1")])
    assert (letter.method, letter.path, letter.parameters) == ("PUT", "Payments", {"summarizeErrors": "false"})
    first, second = json.loads(letter.content)["Payments"]
    assert first == {
        "Invoice": {"InvoiceID": "inv"},
        "Account": {"AccountID": "bank"},
        "Date": "2026-11-20",
        "Amount": 120.5,
        "Reference": "TIE1 7",
    }
    assert second["Amount"] == 1


@pytest.mark.parametrize(
    ("entity", "target"),
    [
        (Entity.CREDIT_NOTES, {"CreditNote": {"CreditNoteID": "c"}}),
        (Entity.OVERPAYMENTS, {"Overpayment": {"OverpaymentID": "c"}}),
        (Entity.PREPAYMENTS, {"Prepayment": {"PrepaymentID": "c"}}),
    ],
)
def test_a_refund_is_a_payment_of_its_credit(entity: Entity, target: dict[str, object]) -> None:
    draft = RefundDraft(
        entity=entity, xero_credit_id="c", xero_account_id="b", paid_on=ON, amount=Decimal(2), reference="T"
    )
    assert letter_of([draft]).path == "Payments"
    assert said(draft).items() >= target.items()


def test_a_batch_names_its_parts() -> None:
    parts = (BatchPart(xero_invoice_id="i", amount=Decimal("1.10"), reference="T 1"),)
    draft = BatchDraft(xero_account_id="b", paid_on=ON, reference="T", parts=parts)
    assert letter_of([draft]).path == "BatchPayments"
    assert said(draft)["Payments"] == [{"Invoice": {"InvoiceID": "i"}, "Amount": 1.1, "Reference": "T 1"}]


def test_an_overpayment_is_one_line_without_tax_and_account() -> None:
    draft = OverpaymentDraft(
        xero_contact_id="c", xero_account_id="b", paid_on=ON, amount=Decimal(20), currency="EUR", text="T rest"
    )
    assert letter_of([draft]).path == "BankTransactions"
    assert said(draft) == {
        "Type": "RECEIVE-OVERPAYMENT",
        "Contact": {"ContactID": "c"},
        "BankAccount": {"AccountID": "b"},
        "Date": "2026-11-20",
        "CurrencyCode": "EUR",
        "LineAmountTypes": "NoTax",
        "LineItems": [{"Description": "T rest", "LineAmount": 20}],
    }


def test_lines_are_said_in_full_where_there_is_something_to_say() -> None:
    full = DraftLine(
        description="Hops",
        quantity=Decimal("1.2500"),
        unit_amount=Decimal("3.3333"),
        account_code="200",
        xero_account_id="a",
        tax_type="OUTPUT2",
        tax_amount=Decimal("0.63"),
        discount_rate=Decimal("5.00"),
        item_code="HOP",
        tracking=(("Region", "North"),),
    )
    bare = DraftLine(description="Refund", unit_amount=Decimal(10), xero_account_id="a")
    note = CreditNoteDraft(
        xero_contact_id="c",
        currency="NZD",
        rate=Decimal("0.91"),
        issued_on=ON,
        reference="T",
        line_amount_types="Inclusive",
        lines=(full, bare),
    )
    letter = letter_of([note])
    assert (letter.path, letter.parameters["unitdp"]) == ("CreditNotes", "4")
    assert said(note)["LineItems"] == [
        {
            "Description": "Hops",
            "Quantity": 1.25,
            "UnitAmount": 3.3333,
            "AccountCode": "200",
            "TaxType": "OUTPUT2",
            "TaxAmount": 0.63,
            "DiscountRate": 5,
            "ItemCode": "HOP",
            "Tracking": [{"Name": "Region", "Option": "North"}],
        },
        {"Description": "Refund", "Quantity": 1, "UnitAmount": 10, "AccountID": "a"},
    ]
    assert (said(note)["Status"], said(note)["CurrencyRate"], said(note)["LineAmountTypes"]) == (
        "AUTHORISED",
        0.91,
        "Inclusive",
    )


def test_what_is_owed_again_is_an_approved_invoice_and_what_left_is_spent_money_both_without_tax() -> None:
    line = DraftLine(description="Chargeback", unit_amount=Decimal(5), account_code="610")
    invoice = InvoiceDraft(
        xero_contact_id="c", currency="EUR", rate=Decimal(2), issued_on=ON, due_on=ON, reference="T", lines=(line,)
    )
    spent = SpentMoneyDraft(
        xero_contact_id="c", xero_account_id="b", paid_on=ON, currency="EUR", reference="T", lines=(line,)
    )
    assert said(invoice).items() >= {"Type": "ACCREC", "Status": "AUTHORISED", "DueDate": "2026-11-20"}.items()
    assert {said(invoice)["LineAmountTypes"], said(spent)["LineAmountTypes"]} == {"NoTax"}
    assert (said(spent)["Type"], "CurrencyCode" in said(spent)) == ("SPEND", False)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (RecordKind.PAYMENT, "Payments/x"),
        (RecordKind.REFUND, "Payments/x"),
        (RecordKind.BATCH_PAYMENT, "BatchPayments/x"),
    ],
)
def test_what_is_deleted_is_posted_as_deleted(kind: RecordKind, path: str) -> None:
    letter = letter_of([Deletion(record=kind, xero_id="x")])
    assert (letter.method, letter.path, letter.content) == ("POST", path, b'{"Status":"DELETED"}')


def test_a_note_goes_to_the_invoice() -> None:
    letter = letter_of_note("inv", "Seen")
    assert (letter.method, letter.path) == ("PUT", "Invoices/inv/History")
    assert json.loads(letter.content) == {"HistoryRecords": [{"Details": "Seen"}]}


@pytest.mark.parametrize(
    "drafts",
    [
        (),
        (payment(), Deletion(record=RecordKind.PAYMENT, xero_id="x")),
        (Deletion(record=RecordKind.PAYMENT, xero_id="x"), Deletion(record=RecordKind.PAYMENT, xero_id="y")),
        (Deletion(record=RecordKind.OVERPAYMENT, xero_id="x"),),
    ],
    ids=["nothing", "mixed", "two-deletions", "not-deletable"],
)
def test_what_does_not_go_into_one_call_is_not_sent(drafts: tuple[Draft, ...]) -> None:
    with pytest.raises(ValueError, match=r"."):
        letter_of(drafts)
