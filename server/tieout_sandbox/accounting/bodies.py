"""Request bodies: JSON, XML or a form with XML in it, one element or many, in whatever case the client writes names."""

import re
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree as ET

import msgspec

_NAMES = (
    "Account", "AccountCode", "AccountID", "AccountNumber", "Address", "Addresses", "AddressLine1",
    "AddressLine2", "AddressLine3", "AddressLine4", "AddressType", "Allocation", "AllocationID",
    "Allocations", "Amount", "AppliedAmount", "AttentionTo", "BankAccount", "BankAccountNumber", "BankAmount",
    "BankTransaction", "BankTransactionID", "BankTransactions", "BatchPayment", "BatchPaymentID",
    "BatchPayments", "BrandingThemeID", "City", "Code", "Contact", "ContactID", "ContactNumber",
    "ContactPerson", "ContactPersons", "ContactStatus", "Contacts", "Country", "CreditNote", "CreditNoteID",
    "CreditNoteNumber", "CreditNotes", "CurrencyCode", "CurrencyRate", "Date", "DateString",
    "DefaultCurrency", "Description", "Details", "DiscountAmount", "DiscountRate", "DueDate", "DueDateString",
    "EmailAddress", "ExpectedPaymentDate", "FirstName", "HistoryRecord", "HistoryRecords", "IncludeInEmails",
    "Invoice", "InvoiceID", "InvoiceNumber", "Invoices", "IsReconciled", "ItemCode", "LastName", "LineAmount",
    "LineAmountTypes", "LineItem", "LineItemID", "LineItems", "Name", "Narrative", "Overpayment",
    "OverpaymentID", "Overpayments", "Particulars", "Payment", "PaymentID", "Payments", "Phone",
    "PhoneAreaCode", "PhoneCountryCode", "PhoneNumber", "Phones", "PhoneType", "PlannedPaymentDate",
    "PostalCode", "Prepayment", "PrepaymentID", "Prepayments", "Quantity", "Reference", "Region",
    "SentToContact", "Status", "TaxAmount", "TaxNumber", "TaxType", "Tracking", "TrackingCategory", "Type",
    "UnitAmount", "Url",
)  # fmt: skip
_CANONICAL = {name.lower(): name for name in _NAMES}
_PLURALS = {
    "Addresses": "Address",
    "Allocations": "Allocation",
    "BankTransactions": "BankTransaction",
    "BatchPayments": "BatchPayment",
    "ContactPersons": "ContactPerson",
    "Contacts": "Contact",
    "CreditNotes": "CreditNote",
    "HistoryRecords": "HistoryRecord",
    "Invoices": "Invoice",
    "LineItems": "LineItem",
    "Overpayments": "Overpayment",
    "Payments": "Payment",
    "Phones": "Phone",
    "Prepayments": "Prepayment",
    "Tracking": "TrackingCategory",
}
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_DECLARATIONS = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)

Element = dict[str, Any]


class PostDataError(Exception):
    """A body that cannot be read; the message goes into a PostDataInvalidException."""


class NoDataError(Exception):
    """A body without a single element; Xero's sentence, misspelling included."""

    def __init__(self, collection: str) -> None:
        expected = f"This endpoint is expecting {_PLURALS.get(collection, collection)} data"
        super().__init__(
            f"No data has been processed for this endpoint. {expected} to be specifed in the request body."
        )


def read_elements(body: bytes, content_type: str, collection: str) -> list[Element]:
    """What a body posts to a collection: its elements, names in Xero's spelling, numbers as Decimal or int.

    Raises:
        PostDataError: neither JSON nor XML, or no object where one belongs.
        NoDataError: nothing in it.
    """
    found = _named(_read(body, content_type, collection))
    if isinstance(found, dict) and collection in found:
        found = found[collection]
    elements = found if isinstance(found, list) else [found]
    if any(not isinstance(element, dict) for element in elements):
        raise PostDataError(f"{collection} must be objects.")
    if not elements or elements == [{}]:
        raise NoDataError(collection)
    return elements


def _read(body: bytes, content_type: str, collection: str) -> Any:  # noqa: ANN401 any JSON value
    if content_type == "application/x-www-form-urlencoded":
        body = parse_qs(body.decode(errors="replace")).get("xml", [""])[0].encode()
    if not body.strip():
        raise NoDataError(collection)
    if body.lstrip().startswith(b"<"):
        return _xml(body)
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PostDataError(f"The request body could not be read: {error}") from error


def _xml(body: bytes) -> Any:  # noqa: ANN401 any JSON value
    if _DECLARATIONS.search(body):
        raise PostDataError("Document types and entities are not accepted.")
    try:
        root = ET.fromstring(body)  # noqa: S314 declarations, all that is dangerous, were refused above
    except ET.ParseError as error:
        raise PostDataError(f"The request body could not be read: {error}") from error
    return _value(root)


def _value(node: ET.Element) -> Any:  # noqa: ANN401 any JSON value
    """Text, an array where the name is a plural, else an object."""
    name = _CANONICAL.get(node.tag.lower(), node.tag)
    if name in _PLURALS:
        return [_value(child) for child in node]
    if len(node) == 0:
        return (node.text or "").strip()
    return {child.tag: _value(child) for child in node}


def _named(value: Any) -> Any:  # noqa: ANN401 any JSON value
    """The same with Xero's spelling of every name that is known, and without nulls."""
    if isinstance(value, dict):
        return {_CANONICAL.get(key.lower(), key): _named(item) for key, item in value.items() if item is not None}
    return [_named(item) for item in value] if isinstance(value, list) else value
