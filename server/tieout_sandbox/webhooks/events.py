"""What a webhook says: events about documents, the body they are sent in, and its signature."""

import base64
import hashlib
import hmac
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from tieout_sandbox.books.documents import Contact, Credit, CreditKind, Invoice, Payment
from tieout_sandbox.books.ledger import Change
from tieout_sandbox.switches import Switches

_Document: TypeAlias = Contact | Invoice | Credit | Payment
_ENTROPY_LETTERS = 20


class Category(StrEnum):
    """What an event is about (Xero, webhooks overview; SUBSCRIPTION is about the app store and never sent here)."""

    CONTACT = "CONTACT"
    INVOICE = "INVOICE"
    """Sales invoices and bills; the event does not say which."""
    CREDITNOTE = "CREDITNOTE"
    PREPAYMENT = "PREPAYMENT"
    OVERPAYMENT = "OVERPAYMENT"
    PAYMENT = "PAYMENT"
    """Sent only when the switch `payment_webhooks` says so."""


ALL_CATEGORIES = frozenset(Category)
_OF_CREDITS = {
    CreditKind.CREDIT_NOTE: Category.CREDITNOTE,
    CreditKind.PREPAYMENT: Category.PREPAYMENT,
    CreditKind.OVERPAYMENT: Category.OVERPAYMENT,
}
_ENDPOINTS = {
    Category.CONTACT: "Contacts",
    Category.INVOICE: "Invoices",
    Category.CREDITNOTE: "CreditNotes",
    Category.PREPAYMENT: "Prepayments",
    Category.OVERPAYMENT: "Overpayments",
    Category.PAYMENT: "Payments",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one document."""

    category: Category
    type: str
    resource_id: str
    organisation_id: str
    at: datetime
    data: dict[str, str] | None = None

    def wire(self, api_url: str) -> dict[str, Any]:
        """The event in Xero's key order; its instant has milliseconds and no Z."""
        wired: dict[str, Any] = {
            "resourceUrl": f"{api_url}/api.xro/2.0/{_ENDPOINTS[self.category]}/{self.resource_id}",
            "resourceId": self.resource_id,
            "tenantId": self.organisation_id,
            "tenantType": "ORGANISATION",
            "eventCategory": self.category,
            "eventType": self.type,
            "eventDateUtc": self.at.replace(tzinfo=None).isoformat(timespec="milliseconds"),
        }
        return wired if self.data is None else wired | {"data": self.data}


def event_of(
    organisation_id: str, document: _Document, change: Change, at: datetime, switches: Switches
) -> Event | None:
    """The event that a change raises, or None for one that nobody is told of."""
    category = _category(document)
    if category is Category.INVOICE and change is Change.SETTLED and not switches.payments_fire_invoice_update:
        return None
    if category is Category.PAYMENT and not switches.payment_webhooks:
        return None
    type_ = "CREATE" if change is Change.CREATED else "UPDATE"
    return Event(category, type_, document.id, organisation_id, at, _data(category, document, at, switches))


def body_of(events: Sequence[dict[str, Any]], first: int, last: int, entropy: str) -> bytes:
    """The body of a delivery, compact, in the key order of Xero's example."""
    return msgspec.json.encode(
        {"events": events, "lastEventSequence": last, "firstEventSequence": first, "entropy": entropy}
    )


def signature(key: str, body: bytes) -> str:
    """The header x-xero-signature: base64 of HMAC-SHA256 over the raw body (Xero, configuring your server)."""
    return base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()


def entropy(rng: random.Random) -> str:
    """Twenty capital letters that make each body different."""
    return "".join(rng.choices(string.ascii_uppercase, k=_ENTROPY_LETTERS))


def _category(document: _Document) -> Category:
    if isinstance(document, Contact):
        return Category.CONTACT
    if isinstance(document, Invoice):
        return Category.INVOICE
    if isinstance(document, Payment):
        return Category.PAYMENT
    return _OF_CREDITS[document.kind]


def _data(category: Category, document: _Document, at: datetime, switches: Switches) -> dict[str, str] | None:
    """Type and status as they are now, for the categories that came in 2026; PAYMENT's shape is a guess (U2)."""
    if isinstance(document, Contact | Invoice):
        return None
    if category is Category.OVERPAYMENT and not switches.overpayment_events_have_data:
        return None
    data = {"Type": document.type, "Status": str(document.status)}
    if category is Category.CREDITNOTE:
        return data
    return data | {"UpdatedDateUTCString": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
