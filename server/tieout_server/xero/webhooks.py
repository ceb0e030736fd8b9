"""Webhooks as Xero sends them: the signature that proves them, and the events in them that concern us."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import field

from tieout_server import log
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.notices import Notice
from tieout_server.settings import Settings
from tieout_server.xero.bounds import within_books

logger = log.get("xero")

_ENTITIES = {
    "CONTACT": Entity.CONTACTS,
    "INVOICE": Entity.INVOICES,  # sales invoices and bills: an event does not say which
    "CREDITNOTE": Entity.CREDIT_NOTES,
    "OVERPAYMENT": Entity.OVERPAYMENTS,
    "PREPAYMENT": Entity.PREPAYMENTS,
    "PAYMENT": Entity.PAYMENTS,
}
"""Xero's categories that concern us; SUBSCRIPTION and what may come are ignored (Xero, Webhooks overview)."""
_ORGANISATION = "ORGANISATION"
_LONGEST_KIND = 20
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Xero's ids are GUIDs: nothing else may become a part of an address."""


class _Event(msgspec.Struct, frozen=True):
    category: str = field(name="eventCategory")
    kind: str = field(name="eventType")
    resource_id: str = field(name="resourceId")
    tenant_id: str = field(name="tenantId")
    at: str = field(name="eventDateUtc")
    tenant_type: str = field(name="tenantType", default=_ORGANISATION)


class _Delivery(msgspec.Struct, frozen=True):
    events: list[msgspec.Raw] = []


_DELIVERY = msgspec.json.Decoder(_Delivery)
_EVENT = msgspec.json.Decoder(_Event)


class XeroDeliveries:
    """Tells deliveries that Xero signed with one of our keys from all others."""

    def __init__(self, settings: Settings) -> None:
        keys = settings.xero_webhook_key.get_secret_value().split(",")
        self._keys = [key.strip().encode() for key in keys if key.strip()]

    @property
    def are_on(self) -> bool:
        """Whether there is a key to tell them by."""
        return bool(self._keys)

    def read(self, body: bytes, signature: str) -> Sequence[Notice] | None:
        """What a delivery says, as far as it concerns us; None if none of our keys signed exactly these bytes.

        What is signed and not understood is logged and passed over: another answer would only bring it again.
        """
        if not self._is_signed(body, signature):
            return None
        try:
            return list(_notices(_DELIVERY.decode(body).events))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            logger.exception("a signed webhook is not understood", bytes=len(body))
            return ()

    def _is_signed(self, body: bytes, signature: str) -> bool:
        given = signature.encode("utf-8", "surrogateescape")
        good = [signature_of(body, key) for key in self._keys]
        return any([hmac.compare_digest(given, one) for one in good])  # noqa: C419 - every key takes its time


def signature_of(body: bytes, key: bytes) -> bytes:
    """`x-xero-signature`: base64 of HMAC-SHA256 over the raw body, keyed by the key's text (Xero, Webhooks)."""
    return base64.b64encode(hmac.digest(key, body, hashlib.sha256))


def _notices(events: Sequence[msgspec.Raw]) -> Iterator[Notice]:
    for raw in events:
        try:
            event = _EVENT.decode(raw)
            entity, xero_id = _ENTITIES.get(event.category), event.resource_id.lower()
            is_told = event.tenant_id.isprintable() and event.kind.isprintable()
            if entity and is_told and event.tenant_type == _ORGANISATION and _ID.fullmatch(xero_id):
                yield Notice(
                    xero_tenant_id=event.tenant_id,
                    entity=entity,
                    xero_id=xero_id,
                    kind=event.kind[:_LONGEST_KIND],
                    at=_instant(event.at),
                )
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
            logger.warning("an event of a signed webhook is not understood", exc_info=True)


def _instant(text: str) -> datetime:
    """`2025-10-21T01:15:39.902`: UTC, though it does not say so (Xero, Webhooks overview)."""
    at = datetime.fromisoformat(text)
    return within_books(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
