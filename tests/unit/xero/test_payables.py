"""Invoices as payments meet them, read leniently where Xero leaves open what stands there."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_server.ledger.books import IDS_AT_ONCE
from tieout_server.ledger.writes import DraftLine, PaymentSeen
from tieout_server.xero.payables import in_lists, read_lines, read_payables

SERVED = "/Date(1795338000000)/"
INVOICE = {
    "Type": "ACCREC",
    "InvoiceID": "inv",
    "Status": "AUTHORISED",
    "Contact": {"ContactID": "c"},
    "CurrencyCode": "NZD",
    "Total": 100.00,
    "AmountDue": 80.00,
    "UpdatedDateUTC": "/Date(1795337000000+0000)/",
}


def body(*invoices: object, **more: object) -> bytes:
    return json.dumps({"DateTimeUTC": SERVED, "Invoices": invoices} | more).encode()


def test_payments_inside_an_invoice_may_lack_reference_and_batch_and_deleted_ones_do_not_count() -> None:
    payments = [
        {
            "PaymentID": "p1",
            "Amount": 15.00,
            "Date": "/Date(1795305600000+0000)/",
            "Reference": "T",
            "BatchPaymentID": "b",
        },
        {"PaymentID": "p2", "Amount": "5.00"},
        {"PaymentID": "p3", "Amount": 9, "Status": "DELETED"},
    ]
    page = read_payables(body(INVOICE | {"Payments": payments}, INVOICE | {"Type": "ACCPAY"}), page=1, page_size=1000)
    (payable,) = page.payables
    assert (payable.invoice.due, payable.as_of, page.page_count) == (
        Decimal("80.00"),
        datetime(2026, 11, 22, 9, 0, tzinfo=UTC),
        1,
    )
    assert payable.payments == (
        PaymentSeen(
            xero_payment_id="p1",
            amount=Decimal("15.00"),
            paid_on=date(2026, 11, 22),
            reference="T",
            xero_batch_payment_id="b",
        ),
        PaymentSeen(xero_payment_id="p2", amount=Decimal("5.00"), paid_on=None),
    )


def test_an_invoice_without_payments_has_none_and_pages_are_counted() -> None:
    answer = body(INVOICE, INVOICE | {"Payments": None}, pagination={"pageCount": 3, "itemCount": 2001})
    page = read_payables(answer, page=1, page_size=1000)
    assert [one.payments for one in page.payables] == [(), ()]
    assert page.page_count == 3


def lines_of(*lines: object) -> tuple[DraftLine, ...]:
    found = read_lines(body({"LineAmountTypes": "Inclusive", "LineItems": lines}))
    assert found
    assert found.line_amount_types == "Inclusive"
    return found.lines


def test_lines_are_repeated_as_they_are() -> None:
    line = {
        "Description": "Hops",
        "Quantity": 3.0000,
        "UnitAmount": 3.3333,
        "LineAmount": 9.50,
        "AccountCode": "200",
        "TaxType": "OUTPUT2",
        "TaxAmount": 1.24,
        "DiscountRate": 5.00,
        "ItemCode": "HOP",
        "Tracking": [{"Name": "Region", "Option": "North", "TrackingCategoryID": "x"}],
    }
    assert lines_of(line, {"Description": "Thank you"}) == (
        DraftLine(
            description="Hops",
            quantity=Decimal(3),
            unit_amount=Decimal("3.3333"),
            account_code="200",
            tax_type="OUTPUT2",
            tax_amount=Decimal("1.24"),
            discount_rate=Decimal(5),
            item_code="HOP",
            tracking=(("Region", "North"),),
        ),
    )


@pytest.mark.parametrize(
    "line",
    [
        {"Quantity": 3, "UnitAmount": 3.33, "LineAmount": 10.00, "ItemCode": "HOP"},
        {"Quantity": 2, "UnitAmount": 6, "LineAmount": 10.00, "DiscountAmount": 2},
        {"LineAmount": 10.00},
    ],
    ids=["rounded", "discount-amount", "amount-alone"],
)
def test_a_line_whose_amount_does_not_follow_from_price_and_quantity_is_repeated_as_its_amount(
    line: dict[str, object],
) -> None:
    (found,) = lines_of(line)
    assert (found.quantity, found.unit_amount, found.discount_rate, found.item_code) == (
        Decimal(1),
        Decimal(10),
        None,
        "",
    )
    assert found.description


def test_an_answer_without_an_invoice_has_no_lines() -> None:
    assert read_lines(body()) is None


@given(st.lists(st.text(st.characters(exclude_characters=",", codec="utf-8"), min_size=1, max_size=255), max_size=200))
def test_names_are_asked_for_each_once_in_lists_that_fit_an_address(names: list[str]) -> None:
    lists = list(in_lists(names))
    assert [name for some in lists for name in some] == names
    for some in lists:
        assert 0 < len(some) <= IDS_AT_ONCE


def test_forty_ids_go_into_one_list_and_forty_long_numbers_do_not() -> None:
    ids = ["00000000-0000-4000-8000-000000000000"] * IDS_AT_ONCE
    assert len(list(in_lists(ids))) == 1
    assert len(list(in_lists(["€" * 100] * 4))) == 4
