"""Reports/AgedReceivablesByContact: a contact's open documents on a day."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from sandbox_caller import Caller
from sandbox_writer import Writer
from tieout_sandbox import CreditKind
from tieout_sandbox.books.balances import balances_of
from tieout_sandbox.books.documents import Contact


async def report(writer: Writer, contact: Contact, **params: str) -> dict[str, Any]:
    query = "".join(f"&{name}={value}" for name, value in params.items())
    answer = await writer.send("GET", "Reports/AgedReceivablesByContact", query=f"?contactId={contact.id}{query}")
    assert answer.status == 200, answer.text
    (found,) = answer.body["Reports"]
    return dict(found)


def values(row: dict[str, Any]) -> list[str]:
    return [cell["Value"] for cell in row["Cells"]]


async def test_each_open_document_is_a_row_and_the_sections_add_up(writer: Writer) -> None:
    books = writer.books
    contact = books.create_contact("Aged Ltd")
    first = books.create_invoice(contact.id, Decimal("100.00"), on=date(2026, 10, 1), due_on=date(2026, 11, 12))
    second = books.create_invoice(contact.id, Decimal("50.00"), on=date(2026, 11, 20), due_on=date(2026, 12, 20))
    books.pay(first.id, Decimal("30.00"), on=date(2026, 11, 1))
    credit = books.create_credit(CreditKind.CREDIT_NOTE, contact.id, Decimal("20.00"), on=date(2026, 11, 5))
    books.allocate(credit.id, second.id, Decimal("5.00"))
    found = await report(writer, contact, date="2026-11-22")
    assert (found["ReportName"], found["ReportType"]) == ("Aged Receivables By Contact", "AgedReceivablesByContact")
    assert found["ReportTitles"] == [
        "Invoices", "Aged Ltd", "From 1 October 2026 to 22 November 2026", "Showing payments to 22 November 2026",
    ]  # fmt: skip
    assert [row["RowType"] for row in found["Rows"]] == ["Header", "Section", "Section", "Section"]
    assert values(found["Rows"][0]) == ["Date", "Number", "Due Date", "", "Total", "Paid", "Credited", "Due"]
    opening, documents, closing = (section["Rows"] for section in found["Rows"][1:])
    assert values(opening[0]) == ["2026-10-01T00:00:00", "Opening Balance", "", "", "", "", "", "0.00"]
    assert [values(row) for row in documents] == [
        [
            "2026-10-01T00:00:00",
            first.number,
            "2026-11-12T00:00:00",
            "10 days overdue",
            "100.00",
            "30.00",
            "0.00",
            "70.00",
        ],
        ["2026-11-05T00:00:00", credit.number, "2026-11-05T00:00:00", "", "-20.00", "0.00", "-5.00", "-15.00"],
        ["2026-11-20T00:00:00", second.number, "2026-12-20T00:00:00", "", "50.00", "0.00", "5.00", "45.00"],
        ["Total", "", "", "", "130.00", "30.00", "0.00", "100.00"],
    ]
    assert documents[0]["Cells"][3]["Attributes"] == [{"Value": first.id, "Id": "invoiceID"}]
    assert documents[-1]["RowType"] == "SummaryRow"
    assert values(closing[0]) == ["Closing Balance", "", "", "", "130.00", "30.00", "0.00", "100.00"]


async def test_what_came_before_is_the_opening_balance_and_later_payments_do_not_count(writer: Writer) -> None:
    books = writer.books
    contact = books.create_contact("Aged Ltd")
    early = books.create_invoice(contact.id, Decimal("100.00"), on=date(2026, 9, 1))
    books.create_invoice(contact.id, Decimal("50.00"), on=date(2026, 10, 20))
    books.pay(early.id, Decimal("40.00"), on=date(2026, 11, 1))
    found = await report(writer, contact, fromDate="2026-10-01", toDate="2026-10-31", date="2026-10-31")
    opening, documents, closing = (section["Rows"] for section in found["Rows"][1:])
    assert values(opening[0])[-1] == "100.00"
    assert [values(row)[-1] for row in documents] == ["50.00", "50.00"]
    assert values(closing[0])[-1] == "150.00"


async def test_the_closing_balance_is_what_the_contact_s_balance_says(writer: Writer) -> None:
    today = writer.books.today()
    for contact in list(writer.books.contacts.values()):
        balances = balances_of(contact, today, writer.books.switches)
        found = await report(writer, contact, date="2027-12-31")
        closing = Decimal(values(found["Rows"][-1]["Rows"][0])[-1])
        assert closing == (balances.receivable_outstanding if balances else 0)


async def test_the_report_wants_a_contact_and_dates(writer: Writer) -> None:
    path = "Reports/AgedReceivablesByContact"
    for query in ("", "?contactId=nobody", f"?contactId={writer.customer().id}&date=soon"):
        answer = await writer.send("GET", path, query=query)
        assert (answer.status, answer.body["ErrorNumber"]) == (400, 10)
    assert (await writer.send("GET", "Reports/BalanceSheet")).status == 404


async def test_the_report_has_a_scope_of_its_own(caller: Caller) -> None:
    answer = await Writer(caller).send("GET", "Reports/AgedReceivablesByContact")
    assert (answer.status, answer.body["Detail"]) == (401, "AuthorizationUnsuccessful")


@pytest.mark.parametrize("path", ["reports/agedreceivablesbycontact", "Reports/AgedReceivablesByContact"])
async def test_its_path_is_known_in_any_case(writer: Writer, path: str) -> None:
    assert (await writer.send("GET", path, query=f"?contactid={writer.customer().id}")).status == 200
