"""Xero's report "Aged Receivables by Contact": every figure is a text in a cell (Xero, OpenAPI example)."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec
from msgspec import field

from tieout_server.errors import UnexpectedAnswerError
from tieout_server.ledger.books import AgedItem, AgedReport
from tieout_server.xero.bounds import check

_ID = "invoiceID"
_NUMBER = 1
"""The column of a document's number; what is due comes last."""


class _Attribute(msgspec.Struct, frozen=True):
    value: str = field(name="Value", default="")
    id: str = field(name="Id", default="")


class _Cell(msgspec.Struct, frozen=True):
    value: str = field(name="Value", default="")
    attributes: tuple[_Attribute, ...] = field(name="Attributes", default=())


class _Row(msgspec.Struct, frozen=True):
    kind: str = field(name="RowType", default="")
    cells: tuple[_Cell, ...] = field(name="Cells", default=())
    rows: tuple["_Row", ...] = field(name="Rows", default=())


class _Report(msgspec.Struct, frozen=True):
    rows: tuple[_Row, ...] = field(name="Rows", default=())


class _Reports(msgspec.Struct, frozen=True):
    reports: tuple[_Report, ...] = field(name="Reports", default=())


_decode = msgspec.json.Decoder(_Reports).decode


def aged_report(body: bytes) -> AgedReport:
    """The report in an answer.

    Raises:
        UnexpectedAnswerError: it has no closing balance, or a figure that is none.
    """
    rows = [row for report in _decode(body).reports for row in _flat(report.rows)]
    closing = [row for row in rows if row.cells and row.cells[0].value == "Closing Balance"]
    if not closing:
        raise UnexpectedAnswerError("Xero's aged report has no closing balance.")
    items = [AgedItem(_id(row), _number(row), _due(row)) for row in rows if row.kind == "Row" and _id(row)]
    return AgedReport(_due(closing[-1]), items)


def _flat(rows: Sequence[_Row]) -> Iterator[_Row]:
    for row in rows:
        yield row
        yield from _flat(row.rows)


def _id(row: _Row) -> str:
    """The document that a row is about; empty where it is about none, as an opening balance is."""
    named = (one.value for cell in row.cells for one in cell.attributes if one.id == _ID)
    return next(named, "")


def _number(row: _Row) -> str:
    if len(row.cells) <= _NUMBER:
        raise UnexpectedAnswerError("Xero's aged report has a document without a number.")
    return row.cells[_NUMBER].value


def _due(row: _Row) -> Decimal:
    text = row.cells[-1].value
    try:
        due = Decimal(text)
        check(due)
    except (ValueError, ArithmeticError):
        raise UnexpectedAnswerError(f"Xero's aged report has a figure that is none: {text[:100]!r}.") from None
    return due
