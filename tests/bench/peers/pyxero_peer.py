"""A sync with pyxero: page after page of each list, then what was modified since it began."""

from datetime import UTC, datetime, timedelta
from typing import Any

import reading
from xero.api import Xero
from xero.auth import OAuth2Credentials

from third_party_flows import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, SCOPES, consented

PAGE_SIZE = 1000
LISTS: dict[str, tuple[str, dict[str, object]]] = {
    "contacts": ("ContactID", {"includeArchived": True}),
    "invoices": ("InvoiceID", {"Type": "ACCREC"}),
    "payments": ("PaymentID", {}),
    "creditnotes": ("CreditNoteID", {}),
    "overpayments": ("OverpaymentID", {}),
    "prepayments": ("PrepaymentID", {}),
}
NAMES = {"creditnotes": "credit_notes"}


def read(name: str, since: datetime | None) -> dict[str, str]:
    """What one list shows, by id, with the instant of the last change."""
    key, options = LISTS[name]
    seen: dict[str, str] = {}
    page = 1
    while True:
        more: dict[str, Any] = {"since": since} if since else {}
        found = getattr(xero, name).filter(page=page, pageSize=PAGE_SIZE, **options, **more)
        seen |= {row[key]: row["UpdatedDateUTC"].replace(tzinfo=UTC).isoformat() for row in found}
        if len(found) < PAGE_SIZE:
            return seen
        page += 1


credentials = OAuth2Credentials(CLIENT_ID, CLIENT_SECRET, callback_uri=REDIRECT_URI, scope=SCOPES)
credentials.verify(consented(credentials.generate_url()))
credentials.set_default_tenant()
xero = Xero(credentials)
began_at = reading.sandbox_now() - timedelta(seconds=1)
reading.first({NAMES.get(name, name): read(name, None) for name in LISTS})
reading.second({NAMES.get(name, name): read(name, began_at.replace(tzinfo=None)) for name in LISTS})
