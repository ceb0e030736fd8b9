"""Documents for tests: each with what every document of its kind has, and whatever the test says."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tieout_server.ledger.documents import Account, Contact, Credit, Entity, Invoice, Payment

AT = datetime(2026, 11, 1, tzinfo=UTC)


def contact(xero_id: str = "c1", /, **fields: Any) -> Contact:  # noqa: ANN401 - any field of the document
    stated: dict[str, Any] = {"name": xero_id, "status": "ACTIVE", "updated_at": AT, "is_customer": True}
    return Contact(**(stated | {"xero_contact_id": xero_id} | fields))


def invoice(xero_id: str = "i1", /, **fields: Any) -> Invoice:  # noqa: ANN401 - any field of the document
    stated: dict[str, Any] = {
        "xero_contact_id": "c1",
        "status": "AUTHORISED",
        "currency": "NZD",
        "rate": Decimal(1),
        "updated_at": AT,
    }
    amounts: dict[str, Any] = dict.fromkeys(("total", "due"), Decimal("230.50")) | dict.fromkeys(
        ("paid", "credited"), Decimal(0)
    )
    return Invoice(**(stated | amounts | {"xero_invoice_id": xero_id} | fields))


def credit(xero_id: str = "k1", /, **fields: Any) -> Credit:  # noqa: ANN401 - any field of the document
    stated: dict[str, Any] = {
        "xero_contact_id": "c1",
        "status": "AUTHORISED",
        "currency": "NZD",
        "rate": Decimal(1),
        "updated_at": AT,
    }
    amounts: dict[str, Any] = {"total": Decimal(50), "remaining": Decimal(20)}
    return Credit(**(stated | amounts | {"xero_credit_id": xero_id, "entity": Entity.CREDIT_NOTES} | fields))


def payment(xero_id: str = "p1", /, **fields: Any) -> Payment:  # noqa: ANN401 - any field of the document
    links: dict[str, Any] = {
        "xero_document_id": "i1",
        "xero_contact_id": "c1",
        "kind": "ACCRECPAYMENT",
        "status": "AUTHORISED",
    }
    stated: dict[str, Any] = {"amount": Decimal(100), "currency": "NZD", "rate": Decimal(1), "updated_at": AT}
    return Payment(**(links | stated | {"xero_payment_id": xero_id} | fields))


def account(xero_id: str = "a1", /, **fields: Any) -> Account:  # noqa: ANN401 - any field of the document
    stated: dict[str, Any] = {"name": xero_id, "kind": "BANK", "status": "ACTIVE", "updated_at": AT}
    return Account(**(stated | {"xero_account_id": xero_id} | fields))
