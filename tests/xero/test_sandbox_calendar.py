"""The dates of an organisation's books are those of its time zone."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from sandbox_writer import WRITING_SCOPES, Writer

ELSEWHERE = [
    ("2026-11-22T10:30", "NEWZEALANDSTANDARDTIME", 22),
    ("2026-11-22T11:30", "NEWZEALANDSTANDARDTIME", 23),
    ("2026-11-23T07:30", "PACIFICSTANDARDTIME", 22),
    ("2026-11-23T08:30", "PACIFICSTANDARDTIME", 23),
    ("2026-11-22T23:30", "GMTSTANDARDTIME", 22),
    ("2026-11-23T00:30", "GMTSTANDARDTIME", 23),
    ("2026-11-22T23:30", "ASTRAKHANSTANDARDTIME", 22),  # which the sandbox takes for UTC
]
"""Instants of UTC, time zones, and the day of November that it is there."""


async def be(writer: Writer, at: str, timezone: str) -> None:
    """Have the organisation be there, then."""
    clock = writer.caller.sandbox.clock
    clock.advance(datetime.fromisoformat(at).replace(tzinfo=UTC) - clock.now())
    writer.books.timezone = timezone
    await writer.caller.connect(scope=WRITING_SCOPES)  # earlier tokens have expired


@pytest.mark.parametrize(("at", "timezone", "today"), ELSEWHERE)
async def test_what_is_due_today_is_not_overdue_and_what_was_due_yesterday_is(
    writer: Writer, at: str, timezone: str, today: int
) -> None:
    contact = writer.books.create_contact("Timely Ltd")
    for day in (today - 1, today, today + 1):
        writer.books.create_invoice(
            contact.id, Decimal(day), on=date(2026, 11, 1), due_on=date(2026, 11, day), currency="NZD"
        )
    await be(writer, at, timezone)
    (listed,) = await writer.caller.rows("Contacts", {"IDs": contact.id})
    for found in (listed, await writer.one(f"Contacts/{contact.id}")):
        assert found["Balances"]["AccountsReceivable"]["Overdue"] == today - 1


@pytest.mark.parametrize(("at", "timezone", "today"), ELSEWHERE)
async def test_an_invoice_without_a_date_is_of_today(writer: Writer, at: str, timezone: str, today: int) -> None:
    await be(writer, at, timezone)
    line = {"Description": "Acme Tires", "Quantity": 1, "UnitAmount": 20, "AccountCode": "200", "TaxType": "NONE"}
    body = {"Type": "ACCREC", "Contact": {"ContactID": writer.customer().id}, "LineItems": [line], "Status": "DRAFT"}
    answer = await writer.put("Invoices", body)
    assert answer.body["Invoices"][0]["DateString"] == f"2026-11-{today}T00:00:00"
    assert writer.books.create_invoice(writer.customer().id, Decimal(1)).on == date(2026, 11, today)


@pytest.mark.parametrize(
    ("at", "timezone", "until"),
    [
        ("2026-11-30T10:30", "NEWZEALANDSTANDARDTIME", "30 November 2026"),
        ("2026-11-30T11:30", "NEWZEALANDSTANDARDTIME", "31 December 2026"),
        ("2026-12-01T07:30", "PACIFICSTANDARDTIME", "30 November 2026"),
    ],
)
async def test_a_report_without_a_date_is_for_the_month_that_it_is_there(
    writer: Writer, at: str, timezone: str, until: str
) -> None:
    await be(writer, at, timezone)
    query = f"?contactId={writer.customer().id}"
    answer = await writer.send("GET", "Reports/AgedReceivablesByContact", query=query)
    assert answer.body["Reports"][0]["ReportDate"] == until
