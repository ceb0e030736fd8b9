"""The where language, without any books."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tieout_sandbox import SandboxSettings, make_sandbox
from tieout_sandbox.accounting.collections import COLLECTIONS
from tieout_sandbox.accounting.query import parse_modified_since
from tieout_sandbox.accounting.where import QueryParseError, Value, guid, kind_of, parse_where

DOCUMENT: dict[str, Value] = {
    "type": "ACCREC",
    "status": "AUTHORISED",
    "contact.contactid": "0a1b2c3d-0000-4000-8000-000000000000",
    "date": datetime(2026, 3, 31, tzinfo=UTC),
    "amountdue": Decimal("115.00"),
    "reference": None,
    "iscustomer": True,
    "name": "O'Brien \\ Sons",
}
FIELDS = {name: lambda document, name=name: document[name] for name in DOCUMENT}


@pytest.mark.parametrize(
    "expression",
    [
        'Type=="ACCREC"',
        'Type = "ACCREC" && Status != "PAID"',
        'Status=="PAID" OR Status=="AUTHORISED"',
        'Status=="PAID" || (Type=="ACCREC" AND AmountDue > 100)',
        'Type=="X" AND Type=="X" OR Status=="AUTHORISED"',
        'Contact.ContactID==guid("0A1B2C3D-0000-4000-8000-000000000000")',
        'contact.contactid == Guid("0a1b2c3d000040008000000000000000")',
        "Date >= DateTime(2026, 03, 31) AND Date < DateTime(2026,4,1)",
        'Date == DateTime.Parse("2026-03-31")',
        "Date <= DateTime(2026, 3, 31, 0, 0, 0)",
        "AmountDue >= 115.0 and AmountDue<=115.00",
        "Reference == null",
        'Reference != "x"',
        "IsCustomer == true",
        "IsCustomer",
        'Name.Contains("Brien")',
        'Name.StartsWith("O\'B") AND Name.EndsWith("\\ Sons")',
        'Name > "N"',
    ],
)
def test_an_expression_that_holds_selects_the_document(expression: str) -> None:
    assert parse_where(expression, FIELDS)(DOCUMENT) is True


@pytest.mark.parametrize(
    "expression",
    [
        'Type=="ACCPAY"',
        'Status=="AUTHORISED" AND Type=="ACCPAY"',
        "AmountDue < 115",
        "Date > DateTime(2026,3,31)",
        "Reference != null",
        'Reference.Contains("x")',
        "IsCustomer == false",
    ],
)
def test_an_expression_that_does_not_hold_leaves_the_document_out(expression: str) -> None:
    assert parse_where(expression, FIELDS)(DOCUMENT) is False


@pytest.mark.parametrize(
    "expression",
    [
        "Nonsense==1",
        "Type==",
        'Type=="ACCREC" AND',
        '(Type=="ACCREC"',
        'Type=="ACCREC")',
        'Type=="ACCREC',
        "Date > DateTime(2026,13,1)",
        "Date > DateTime(2026,1)",
        "Date > DateTime(2026,1,2.5)",
        'Date > DateTime.Parse("yesterday")',
        'Name=="O\'Brien \\"Sons\\""',
        'Contact.ContactID==guid("0a1b")',
        "Name",
        'Date.Contains("2026")',
        "Type ~ 1",
        "Type==ACCREC",
        "(" * 100 + 'Type=="ACCREC"' + ")" * 100,
    ],
)
def test_what_is_not_of_the_language_is_refused(expression: str) -> None:
    with pytest.raises(QueryParseError):
        parse_where(expression, FIELDS)


@pytest.mark.parametrize(
    ("expression", "sign", "kinds"),
    [
        ('Contact.ContactID=="0a1b2c3d-0000-4000-8000-000000000000"', "==", "'Guid' and 'String'"),
        ('Date > "2026-01-01"', ">", "'DateTime?' and 'String'"),
        ('AmountDue==guid("0a1b2c3d-0000-4000-8000-000000000000")', "==", "'Decimal?' and 'Guid'"),
        ("AmountDue > true", ">", "'Decimal?' and 'Boolean'"),
        ("AmountDue > null", ">", "'Decimal?' and 'Object'"),
        ('IsCustomer=="true"', "==", "'Boolean?' and 'String'"),
        ("IsCustomer > true", ">", "'Boolean?' and 'Boolean'"),
        ("Reference==5", "==", "'String' and 'Decimal'"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_xeros_words(expression: str, sign: str, kinds: str) -> None:
    with pytest.raises(QueryParseError) as refused:
        parse_where(expression, FIELDS)
    assert str(refused.value) == f"Operator '{sign}' incompatible with operand types {kinds}"


def test_every_field_is_of_the_kind_that_where_takes_it_for() -> None:
    organisation = make_sandbox(SandboxSettings(contacts=12, invoices=40)).organisations[0]
    types = {"Guid": str, "String": str, "DateTime?": datetime, "Decimal?": Decimal, "Boolean?": bool}
    for collection in COLLECTIONS.values():
        for name, read in collection.fields.items():
            values = [read(document) for document in collection.documents(organisation).values()]
            kind = kind_of(name)
            assert all(value is None or isinstance(value, types[kind]) for value in values), (collection.name, name)
            assert kind != "Guid" or [guid(str(value)) for value in values] == values, (collection.name, name)


@pytest.mark.parametrize(
    "spelling",
    [
        "2020-02-06T12:17:43",
        "2020-02-06T12:17:43Z",
        "2020-02-06T12:17:43.202",
        "2020-02-06 12:17:43",
        "2020-02-06T04:17:43.202-08:00",
        "Thu, 06 Feb 2020 12:17:43 GMT",
    ],
)
def test_if_modified_since_is_read_in_six_spellings(spelling: str) -> None:
    assert parse_modified_since(spelling) == datetime(2020, 2, 6, 12, 17, 43, tzinfo=UTC)


@pytest.mark.parametrize("spelling", ["/Date(1580991463000)/", "tomorrow", "", None, "2020-13-01T00:00:00"])
def test_if_modified_since_that_cannot_be_read_counts_as_not_sent(spelling: str | None) -> None:
    assert parse_modified_since(spelling) is None
