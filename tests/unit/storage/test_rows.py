"""A document becomes a row in the order of its table's columns, and the same document again."""

from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents import AT, account, contact, credit, invoice, payment
from tieout_server.ledger.documents import ContactPerson, Invoice, Phone
from tieout_server.storage import documents
from tieout_server.storage.rows import KINDS, NEVER, Kind, Stamp, name_key

STAMP = Stamp("con1", 7, 42, 3)
STORED = st.decimals(min_value=-(10**14), max_value=10**14, places=4)


def _row(kind: Kind, document: Any) -> SimpleNamespace:  # noqa: ANN401 - a document of any kind
    (row,) = kind.rows([document], STAMP)
    return SimpleNamespace(**dict(zip(kind.table.columns.keys(), row, strict=True)))


@pytest.mark.parametrize("document", [contact(), invoice(), credit(), payment(), account()])
def test_every_kind_fills_each_column_of_its_table_with_its_type(document: Any) -> None:  # noqa: ANN401 - any kind
    kind = KINDS[type(document)]
    row = _row(kind, document)
    for column in kind.table.columns:
        value = getattr(row, column.name)
        wanted = int if column.type.python_type is bool else column.type.python_type  # see the module's docstring
        assert value is None if column.nullable and value is None else type(value) is wanted
    assert (row.connection_id, row.seen_in, row.changed_at) == ("con1", 7, 42)


@given(
    amounts=st.lists(STORED, min_size=6, max_size=6), due_on=st.none() | st.dates(date(1970, 1, 1), date(2100, 1, 1))
)
def test_an_invoice_comes_back_exactly(amounts: list[Decimal], due_on: date | None) -> None:
    fields = dict(zip(("total", "due", "paid", "credited", "subtotal", "tax"), amounts, strict=True))
    document = invoice(due_on=due_on, **fields)
    assert documents.invoice(_row(KINDS[Invoice], document)) == document


@given(amount=STORED, bank=st.none() | STORED)
def test_a_payment_comes_back_exactly(amount: Decimal, bank: Decimal | None) -> None:
    document = payment(amount=amount, bank_amount=bank, paid_on=date(2026, 10, 1))
    assert documents.payment(_row(KINDS[type(document)], document)) == document


@given(name=st.text(), phone=st.text(), person=st.text())
def test_a_contact_comes_back_exactly(name: str, phone: str, person: str) -> None:
    document = contact(name=name, phones=(Phone("MOBILE", phone),), persons=(ContactPerson(person, email=person),))
    assert documents.contact(_row(KINDS[type(document)], document)) == document


def test_an_invoice_without_a_due_date_sorts_behind_all_others() -> None:
    assert _row(KINDS[Invoice], invoice()).due_on == NEVER
    assert date(2999, 12, 31).isoformat() < NEVER


def test_rows_come_in_the_order_of_their_ids_and_each_id_once() -> None:
    page = [invoice("b"), invoice("a", number="new", updated_at=AT.replace(day=2)), invoice("a", number="old")]
    assert [(row[1], row[3]) for row in KINDS[Invoice].rows(page, STAMP)] == [("a", "new"), ("b", "")]


def test_names_are_compared_without_case() -> None:
    assert name_key("Straße GmbH") == name_key("STRASSE gmbh")
