"""A sync as the official SDK's users write it: page after page of each list, then what was modified since it began."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import reading
from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient
from xero_python.api_client.configuration import Configuration
from xero_python.api_client.oauth2 import OAuth2Token

from third_party_flows import CLIENT_ID, CLIENT_SECRET, authorization_url, consented, exchanged, first_organisation

PAGE_SIZE = int(sys.argv[1])
LISTS: dict[str, tuple[str, str, dict[str, object]]] = {
    "contacts": ("get_contacts", "contact_id", {"include_archived": True}),
    "invoices": ("get_invoices", "invoice_id", {"where": 'Type=="ACCREC"'}),
    "payments": ("get_payments", "payment_id", {}),
    "credit_notes": ("get_credit_notes", "credit_note_id", {}),
    "overpayments": ("get_overpayments", "overpayment_id", {}),
    "prepayments": ("get_prepayments", "prepayment_id", {}),
}
tokens: dict[str, Any] = {}


def api() -> AccountingApi:
    """The SDK, set up with its own settings for proxy and certificate."""
    token = OAuth2Token(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    configuration = Configuration(oauth2_token=token)
    reading.through_the_proxy(configuration)
    client = ApiClient(
        configuration, pool_threads=1, oauth2_token_saver=tokens.update, oauth2_token_getter=lambda: tokens
    )
    client.set_oauth2_token(exchanged(consented(authorization_url())))
    return AccountingApi(client)


def read(name: str, since: datetime | None) -> dict[str, str]:
    """What one list shows, by id, with the instant of the last change."""
    method, key, options = LISTS[name]
    seen: dict[str, str] = {}
    page = 1
    while True:
        more = {"if_modified_since": since} if since else {}
        found = getattr(getattr(xero, method)(tenant, page=page, page_size=PAGE_SIZE, **options, **more), name)
        seen |= {getattr(row, key): row.updated_date_utc.isoformat() for row in found}
        if len(found) < PAGE_SIZE:
            return seen
        page += 1


xero, tenant = api(), first_organisation()
began_at = reading.sandbox_now() - timedelta(seconds=1)
reading.first({name: read(name, None) for name in LISTS})
reading.second({name: read(name, began_at.astimezone(UTC)) for name in LISTS})
