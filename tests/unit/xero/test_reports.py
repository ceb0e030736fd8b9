"""The aged report: rows that name documents, and the closing balance."""

from decimal import Decimal

import pytest

from tieout_server.errors import UnexpectedAnswerError
from tieout_server.ledger.books import AgedItem, AgedReport
from tieout_server.xero.reports import aged_report

BODY = b"""{"Reports": [{"ReportName": "Aged Receivables By Contact", "Rows": [
  {"RowType": "Header", "Cells": [{"Value": "Date"}, {"Value": "Number"}, {"Value": "Due"}]},
  {"RowType": "Section", "Title": "", "Rows": [
    {"RowType": "Row", "Cells": [{"Value": "2017-10-10T00:00:00"}, {"Value": "Opening Balance"}, {"Value": "1.00"}]}]},
  {"RowType": "Section", "Title": "", "Rows": [
    {"RowType": "Row", "Cells": [
      {"Value": "2018-05-13T00:00:00", "Attributes": [{"Value": "40ebad47", "Id": "invoiceID"}]},
      {"Value": "INV-1", "Attributes": [{"Value": "40ebad47", "Id": "invoiceID"}]},
      {"Value": "100.00", "Attributes": [{"Value": "40ebad47", "Id": "invoiceID"}]}]},
    {"RowType": "SummaryRow", "Cells": [{"Value": "Total"}, {"Value": ""}, {"Value": "100.00"}]}]},
  {"RowType": "Section", "Title": "", "Rows": [
    {"RowType": "SummaryRow", "Cells": [{"Value": "Closing Balance"}, {"Value": ""}, {"Value": "%s"}]}]}]}]}"""


WITHOUT_NUMBER = b"""{"Reports": [{"Rows": [
  {"RowType": "Row", "Cells": [{"Value": "1.00", "Attributes": [{"Value": "40ebad47", "Id": "invoiceID"}]}]},
  {"RowType": "SummaryRow", "Cells": [{"Value": "Closing Balance"}, {"Value": "1.00"}]}]}]}"""


def test_a_report_has_its_documents_and_its_closing_balance() -> None:
    expected = AgedReport(Decimal("101.00"), [AgedItem("40ebad47", "INV-1", Decimal("100.00"))])

    assert aged_report(BODY % b"101.00") == expected


@pytest.mark.parametrize(
    "body",
    [
        BODY % b"much",
        BODY % b"NaN",
        BODY % b"1e999999999",
        WITHOUT_NUMBER,
        b'{"Reports": []}',
    ],
    ids=["no figure", "NaN", "huge", "a document without a number", "nothing"],
)
def test_a_report_that_is_none_is_not_guessed_at(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError):
        aged_report(body)
