"""Xero's JSON, as recorded in the OpenAPI examples, becomes ledger documents exactly."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_server.clock import EPOCH
from tieout_server.ledger.books import Page
from tieout_server.ledger.documents import (
    Account,
    Allocation,
    Contact,
    Credit,
    Document,
    Entity,
    Invoice,
    Payment,
    Phone,
)
from tieout_server.xero.listings import LISTINGS
from tieout_server.xero.wire import InvoiceRow, Pagination, instant, on_date

CONTACT = {
    "ContactID": "af3ffcc1-c578-4658-82f3-5d8d458cc7af",
    "Name": "Daddy Warbucks",
    "Addresses": [],
    "Phones": [],
    "ContactGroups": [],
    "ContactPersons": [],
    "HasValidationErrors": False,
}
INVOICE = """{
  "Type": "ACCREC", "InvoiceID": "046d8a6d", "InvoiceNumber": "INV-0002", "Reference": "",
  "AmountDue": 0.10, "AmountPaid": 8765432109876.5432, "AmountCredited": "12.50", "CurrencyRate": 0.9167000001,
  "IsDiscounted": false, "SentToContact": true, "Contact": {"ContactID": "a3675fc4", "Name": "Barney"},
  "DateString": "2019-03-07T00:00:00", "Date": "\\/Date(1551916800000+0000)\\/",
  "DueDateString": "2019-03-13T00:00:00", "DueDate": "\\/Date(1552435200000+0000)\\/",
  "ExpectedPaymentDate": "\\/Date(1552521600000+0000)\\/",
  "Status": "AUTHORISED", "LineAmountTypes": "Exclusive", "SubTotal": 100, "TotalTax": 15.00, "Total": 115.00,
  "UpdatedDateUTC": "\\/Date(1551985168123+0000)\\/", "CurrencyCode": "NZD", "SomethingNew": {"a": [1]}
}"""


def read(entity: Entity, *rows: Mapping[str, Any] | str) -> Page:
    texts = [row if isinstance(row, str) else json.dumps(row).replace("/Date(", r"\/Date(") for row in rows]
    collection = LISTINGS[entity].path
    return LISTINGS[entity].read(
        f'{{"Id": "x", "Status": "OK", "DateTimeUTC": "\\/Date(1552431874205)\\/",'
        f'"pagination": {{"page": 1, "pageSize": 100, "pageCount": 3, "itemCount": 250}},'
        f'"{collection}": [{",".join(texts)}]}}'.encode()
    )


def only(page: Page) -> Document:
    assert len(page.documents) == 1
    return page.documents[0]


def test_an_invoice_keeps_every_digit_of_its_amounts() -> None:
    page = read(Entity.INVOICES, INVOICE)
    assert only(page) == Invoice(
        xero_invoice_id="046d8a6d",
        xero_contact_id="a3675fc4",
        status="AUTHORISED",
        currency="NZD",
        rate=Decimal("0.9167000001"),
        total=Decimal("115.00"),
        due=Decimal("0.10"),
        paid=Decimal("8765432109876.5432"),
        credited=Decimal("12.50"),
        updated_at=datetime(2019, 3, 7, 18, 59, 28, 123_000, tzinfo=UTC),
        number="INV-0002",
        issued_on=date(2019, 3, 7),
        due_on=date(2019, 3, 13),
        expected_payment_on=date(2019, 3, 14),
        subtotal=Decimal(100),
        tax=Decimal("15.00"),
        sent_to_contact=True,
    )
    assert page.served_at == datetime(2019, 3, 12, 23, 4, 34, 205_000, tzinfo=UTC)
    assert (page.page_count, page.item_count) == (3, 250)
    assert page.last_change_at == datetime(2019, 3, 7, 18, 59, 28, 123_000, tzinfo=UTC)


@given(st.decimals(-(10**13), 10**13, places=4), st.booleans())
def test_money_never_passes_through_float(amount: Decimal, as_text: bool) -> None:  # noqa: FBT001 - Hypothesis passes it so
    written = f'"{amount}"' if as_text else f"{amount:f}"
    row = msgspec.json.decode(INVOICE.replace("115.00", written), type=InvoiceRow)
    assert row.total == amount
    assert row.total.as_tuple() == amount.as_tuple()


@given(st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)))  # noqa: DTZ001
def test_an_instant_is_exact_to_the_millisecond(at: datetime) -> None:
    at = at.replace(microsecond=at.microsecond // 1_000 * 1_000)
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert instant(f"/Date({milliseconds}+0000)/") == at
    assert instant(f"/Date({milliseconds})/") == at
    assert instant(f"/Date({milliseconds}-0800)/") == at
    assert instant(f"/Date({milliseconds}+1300)/") == at


@given(st.dates(date(1900, 1, 1), date(2199, 1, 1)))
def test_both_spellings_of_a_date_agree_and_no_time_zone_moves_it(day: date) -> None:
    milliseconds = (day - date(1970, 1, 1)).days * 86_400_000
    assert on_date(f"/Date({milliseconds}+0000)/") == on_date(f"{day.isoformat()}T00:00:00") == day


@pytest.mark.parametrize(
    "text",
    ["", "/Date()/", "yesterday", "/Date(x+0000)/", "/Date(9e99)/", f"/Date({'9' * 20})/", f"/Date({'9' * 400})/"],
)
def test_what_is_no_date_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        instant(text)
    with pytest.raises(ValueError, match=r"."):
        on_date(text)


@pytest.mark.parametrize("amount", ['"NaN"', '"sNaN"', '"-Infinity"', "1e400", '"1e999999999"', "100000000000000"])
def test_what_is_no_amount_is_refused_wherever_it_stands(amount: str) -> None:
    for stated in (
        '"AmountDue": 0.10',
        '"AmountPaid": 8765432109876.5432',
        '"Total": 115.00',
        '"CurrencyRate": 0.9167000001',
    ):
        name = stated.partition(":")[0]
        with pytest.raises((ValueError, ArithmeticError)):
            read(Entity.INVOICES, INVOICE.replace(stated, f"{name}: {amount}"))


@pytest.mark.parametrize("rate", ["0", "-1", "1e-400"])
def test_a_rate_by_which_nothing_can_be_divided_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="no rate"):
        read(Entity.INVOICES, INVOICE.replace("0.9167000001", rate))


def test_a_document_without_its_id_or_its_contact_is_refused() -> None:
    credit = {"Type": "ACCRECCREDIT", "Status": "AUTHORISED", "CurrencyCode": "NZD", "Total": 1, "RemainingCredit": 1,
              "UpdatedDateUTC": "/Date(1551985168123+0000)/"}  # fmt: skip
    with pytest.raises(ValueError, match="without its id"):
        read(Entity.CREDIT_NOTES, credit | {"Contact": {"ContactID": "c"}})
    with pytest.raises(ValueError, match="nobody's"):
        read(Entity.CREDIT_NOTES, credit | {"Contact": {}, "CreditNoteID": "n"})
    with pytest.raises(ValueError, match=">= 1"):
        read(Entity.INVOICES, INVOICE.replace("046d8a6d", ""))


def test_a_name_that_no_index_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="<= 500"):
        read(Entity.CONTACTS, CONTACT | {"UpdatedDateUTC": "/Date(1551985168123)/", "Name": "x" * 501})


@pytest.mark.parametrize(
    ("pages", "items", "rows", "page"),
    [(0, 0, 100, 1), (1, 250, 100, 1), (2, 250, 100, 2), (3, 250, 0, 2), (10**15, 10**18, 0, 7)],
    ids=["says nothing", "ends too early", "ends too early later", "empty in the middle", "never ends"],
)
def test_a_page_that_contradicts_itself_is_refused(pages: int, items: int, rows: int, page: int) -> None:
    with pytest.raises(ValueError, match="page"):
        Pagination(pages, items).check(rows, page=page, page_size=100)


@pytest.mark.parametrize(
    ("pages", "items", "rows", "page"),
    [(0, 0, 0, 1), (1, 0, 0, 1), (1, 100, 100, 1), (3, 250, 100, 2), (3, 250, 50, 3), (3, 250, 0, 4), (0, 0, 99, 1)],
)
def test_other_pages_are_believed(pages: int, items: int, rows: int, page: int) -> None:
    Pagination(pages, items).check(rows, page=page, page_size=100)


def test_bills_are_skipped_and_counted_but_move_the_last_change() -> None:
    bill = INVOICE.replace("ACCREC", "ACCPAY").replace("1551985168123", "1551985169000")
    page = read(Entity.INVOICES, INVOICE, bill, bill)
    assert len(page.documents) == 1
    assert page.skipped == {"ACCPAY": 2}
    assert page.last_change_at == datetime(2019, 3, 7, 18, 59, 29, tzinfo=UTC)


OVERPAYMENT = {
    "OverpaymentID": "2a8bda49",
    "ID": "2a8bda49",
    "Type": "RECEIVE-OVERPAYMENT",
    "Reference": "Too much",
    "RemainingCredit": 20.5,
    "Allocations": [
        {"AllocationID": "a1", "Amount": 30, "Date": "/Date(1552348800000+0000)/", "Invoice": {"InvoiceID": "i1"}},
        {"AllocationID": "a2", "Amount": 1, "IsDeleted": True, "Invoice": {"InvoiceID": "i2"}},
    ],
    "Contact": CONTACT,
    "DateString": "2019-03-12T00:00:00",
    "Date": "/Date(1552348800000+0000)/",
    "Status": "AUTHORISED",
    "Total": 50.5,
    "UpdatedDateUTC": "/Date(1552428535123+0000)/",
    "CurrencyCode": "NZD",
}


def test_an_overpayment_brings_the_allocations_that_stand() -> None:
    page = read(Entity.OVERPAYMENTS, OVERPAYMENT, OVERPAYMENT | {"Type": "SPEND-OVERPAYMENT"})
    credit = only(page)
    assert isinstance(credit, Credit)
    assert (credit.entity, credit.xero_credit_id) == (Entity.OVERPAYMENTS, "2a8bda49")
    assert (credit.total, credit.remaining, credit.rate) == (Decimal("50.5"), Decimal("20.5"), Decimal(1))
    assert credit.allocations == (
        Allocation(xero_invoice_id="i1", amount=Decimal(30), allocated_on=date(2019, 3, 12), xero_allocation_id="a1"),
    )
    assert page.skipped == {"SPEND-OVERPAYMENT": 1}


@pytest.mark.parametrize(
    ("entity", "kind", "key", "number_key"),
    [
        (Entity.CREDIT_NOTES, "ACCRECCREDIT", "CreditNoteID", "CreditNoteNumber"),
        (Entity.PREPAYMENTS, "RECEIVE-PREPAYMENT", "PrepaymentID", "InvoiceNumber"),
    ],
)
def test_other_credits_differ_in_the_names_of_id_and_number(
    entity: Entity, kind: str, key: str, number_key: str
) -> None:
    credit = only(read(entity, OVERPAYMENT | {"Type": kind, key: "c1", number_key: "N-1"}))
    assert isinstance(credit, Credit)
    assert (credit.entity, credit.xero_credit_id, credit.number) == (entity, "c1", "N-1")


PAYMENT = {
    "PaymentID": "99ea7f6b",
    "BatchPaymentID": "b54aa50c",
    "BatchPayment": {"TotalAmount": "50.00", "IsReconciled": "false"},
    "Date": "/Date(1543449600000+0000)/",
    "BankAmount": 46.00,
    "Amount": 46.25,
    "Reference": "",
    "CurrencyRate": 1.0,
    "PaymentType": "ACCRECPAYMENT",
    "Status": "AUTHORISED",
    "UpdatedDateUTC": "/Date(1541176592690+0000)/",
    "HasAccount": True,
    "IsReconciled": True,
    "Account": {"AccountID": "5690f1e8", "Code": "970"},
    "Invoice": {"Type": "ACCREC", "InvoiceID": "046d8a6d", "Contact": CONTACT, "CurrencyCode": "NZD"},
}


def test_a_payment_names_its_document_contact_and_account() -> None:
    payment = only(read(Entity.PAYMENTS, PAYMENT))
    assert isinstance(payment, Payment)
    assert (payment.xero_document_id, payment.xero_contact_id) == ("046d8a6d", CONTACT["ContactID"])
    assert (payment.amount, payment.bank_amount, payment.currency) == (Decimal("46.25"), Decimal("46.0"), "NZD")
    assert (payment.paid_on, payment.xero_account_id) == (date(2018, 11, 29), "5690f1e8")
    assert (payment.xero_batch_payment_id, payment.is_reconciled) == ("b54aa50c", True)


@pytest.mark.parametrize("own", ["Invoice", "CreditNote", "Overpayment", "Prepayment"])
@pytest.mark.parametrize("others", [{}, {"Invoice": [], "CreditNote": [], "Overpayment": [], "Prepayment": []}])
def test_a_refund_counts_whether_its_credit_stands_in_the_invoices_place_or_under_its_own_key(
    own: str, others: Mapping[str, object]
) -> None:
    """What it is not for is left out, or an empty list."""
    target = {f"{own}ID": "d", "Contact": {"ContactID": "c"}, "CurrencyCode": "EUR"}
    undecided = {name: value for name, value in PAYMENT.items() if name != "Invoice"}
    payment = only(read(Entity.PAYMENTS, {**undecided, "PaymentType": "ARCREDITPAYMENT", **others, own: target}))
    assert isinstance(payment, Payment)
    assert (payment.xero_document_id, payment.xero_contact_id, payment.currency) == ("d", "c", "EUR")


def test_an_account_that_is_not_dated_is_read_all_the_same() -> None:
    bank = {"AccountID": "a", "Name": "Savings", "Type": "BANK", "EnablePaymentsToAccount": False}  # OpenAPI, Accounts
    page = read(Entity.ACCOUNTS, bank)
    assert only(page) == Account(
        xero_account_id="a", name="Savings", kind="BANK", status="ACTIVE", updated_at=EPOCH, takes_payments=True
    )


def test_payments_to_suppliers_and_kinds_to_come_are_skipped_by_name() -> None:
    page = read(Entity.PAYMENTS, PAYMENT | {"PaymentType": "ACCPAYPAYMENT"}, PAYMENT | {"PaymentType": "NEWPAYMENT"})
    assert page.skipped == {"ACCPAYPAYMENT": 1, "NEWPAYMENT": 1}


def test_a_contact_keeps_the_phones_that_are_filled_in_and_what_xero_says_is_owed() -> None:
    contact = only(
        read(
            Entity.CONTACTS,
            CONTACT
            | {
                "ContactStatus": "ARCHIVED",
                "UpdatedDateUTC": "/Date(1541176592690+0000)/",
                "MergedToContactID": "winner",
                "IsCustomer": True,
                "Phones": [
                    {"PhoneType": "DEFAULT", "PhoneNumber": "", "PhoneAreaCode": "", "PhoneCountryCode": ""},
                    {"PhoneType": "MOBILE", "PhoneNumber": "555", "PhoneAreaCode": "21", "PhoneCountryCode": "64"},
                ],
                "ContactPersons": [{"FirstName": "Ann", "IncludeInEmails": True}],
                "Balances": {"AccountsReceivable": {"Outstanding": 118.90, "Overdue": 136.9}, "AccountsPayable": {}},
            },
        )
    )
    assert isinstance(contact, Contact)
    assert contact.phones == (Phone("MOBILE", "555", "21", "64"),)
    assert (contact.merged_into, contact.is_customer, contact.persons[0].first_name) == ("winner", True, "Ann")
    assert (contact.stated_outstanding, contact.stated_overdue) == (Decimal("118.9"), Decimal("136.9"))


@pytest.mark.parametrize("body", [b"{}", b'{"DateTimeUTC": "/Date(0)/"}', b"[]"])
def test_an_answer_without_its_collection_is_no_empty_page(body: bytes) -> None:
    for listing in LISTINGS.values():
        with pytest.raises(msgspec.ValidationError):
            listing.read(body)
