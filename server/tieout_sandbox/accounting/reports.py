"""Reports/AgedReceivablesByContact: every figure a text, every document a row (Xero, OpenAPI example)."""

from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from tieout_sandbox.accounting.wire import plain_instant, pretty
from tieout_sandbox.books.balances import in_base
from tieout_sandbox.books.documents import ZERO, Contact, Credit, Invoice, Status
from tieout_sandbox.organisations import Organisation

_HEADINGS = ("Date", "Number", "Due Date", "", "Total", "Paid", "Credited", "Due")
_COUNTED = frozenset({Status.AUTHORISED, Status.PAID})


class BadReportError(Exception):
    """The parameters do not say which report is wanted."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A document as it stood on the report's day, in the base currency."""

    document: Invoice | Credit
    due_on: date
    total: Decimal
    paid: Decimal
    credited: Decimal

    @property
    def due(self) -> Decimal:
        return self.total - self.paid - self.credited


def aged_receivables(organisation: Organisation, params: Mapping[str, str], now_at: datetime) -> str:
    """What a contact owed on a day, document by document; unapplied credits are rows below zero (assumed).

    Raises:
        BadReportError: no contact, an unknown one, or a date that is none.
    """
    given = {name.lower(): value for name, value in params.items()}
    contact = organisation.books.contacts.get(given.get("contactid", "").lower())
    if contact is None:
        raise BadReportError("The parameter contactId must be the id of a contact")
    today = organisation.books.today()
    month_ends_on = today.replace(day=monthrange(today.year, today.month)[1])
    day = _day(given, "date") or month_ends_on  # the default is not documented
    to = _day(given, "todate") or day
    rows = sorted(_rows(contact, day, to), key=lambda row: (row.document.on, row.document.number))
    start = _day(given, "fromdate") or min((row.document.on for row in rows), default=day)
    earlier = [row for row in rows if row.document.on < start]
    return _report(contact, earlier, [row for row in rows if row.document.on >= start], (start, to, day), now_at)


def _day(given: Mapping[str, str], name: str) -> date | None:
    text = given.get(name)
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        raise BadReportError(f"The parameter {name} is not a date") from None


def _rows(contact: Contact, day: date, to: date) -> Iterator[_Row]:
    """The documents up to a date of which something was open on the report's day."""
    for document in contact.documents:
        if document.status not in _COUNTED or document.on > to:
            continue
        if document.of_supplier:
            continue
        row = _row(document, day)
        if row.due:
            yield row


def _row(document: Invoice | Credit, day: date) -> _Row:
    paid = sum((payment.amount for payment in document.payments if payment.on <= day), ZERO)
    used = sum((made.amount for made in document.allocations if made.on <= day), ZERO)
    total, paid, used = (in_base(amount, document.rate) for amount in (document.total, paid, used))
    if isinstance(document, Invoice):
        return _Row(document, document.due_on, total, paid, used)
    return _Row(document, document.on, -total, -paid, -used)


def _report(
    contact: Contact, earlier: list[_Row], rows: list[_Row], days: tuple[date, date, date], now_at: datetime
) -> str:
    start, to, day = days
    opening = sum((row.due for row in earlier), ZERO) + contact.stated_otherwise_by
    first = (f"{start}T00:00:00", "Opening Balance", "", "", "", "", "", str(opening))
    listed = [_row_of(_cells(row, day), row.document.id) for row in rows]
    total = _row_of(("Total", "", "", "", *_sums(rows)), kind="SummaryRow")
    *sums, _ = _sums(earlier + rows)
    due = str(sum((row.due for row in rows), opening))
    closing = _row_of(("Closing Balance", "", "", "", *sums, due), kind="SummaryRow")
    sections = ([_row_of(first)], [*listed, total], [closing])
    return pretty(
        {
            "ReportName": "Aged Receivables By Contact",
            "ReportType": "AgedReceivablesByContact",
            "ReportTitles": [
                "Invoices",
                contact.name,
                f"From {_in_words(start)} to {_in_words(to)}",
                f"Showing payments to {_in_words(day)}",
            ],
            "ReportDate": _in_words(day),
            "UpdatedDateUTC": plain_instant(now_at, offset=False),
            "Fields": [],
            "Rows": [
                _row_of(_HEADINGS, kind="Header"),
                *({"RowType": "Section", "Title": "", "Rows": section} for section in sections),
            ],
        }
    )


def _cells(row: _Row, day: date) -> tuple[str, ...]:
    late = (day - row.due_on).days
    overdue = f"{late} days overdue" if late > 0 and row.due > 0 else ""
    dates = (f"{row.document.on}T00:00:00", row.document.number, f"{row.due_on}T00:00:00")
    return (*dates, overdue, str(row.total), str(row.paid), str(row.credited), str(row.due))


def _sums(rows: list[_Row]) -> tuple[str, str, str, str]:
    total, paid = sum((row.total for row in rows), ZERO), sum((row.paid for row in rows), ZERO)
    credited, due = sum((row.credited for row in rows), ZERO), sum((row.due for row in rows), ZERO)
    return str(total), str(paid), str(credited), str(due)


def _row_of(cells: tuple[str, ...], invoice_id: str | None = None, kind: str = "Row") -> dict[str, Any]:
    """Cells that, in a document's row, each tell its id."""
    attributes = {"Attributes": [{"Value": invoice_id, "Id": "invoiceID"}]} if invoice_id else {}
    return {"RowType": kind, "Cells": [{"Value": value} | attributes for value in cells]}


def _in_words(on: date) -> str:
    return f"{on.day} {on:%B %Y}"
