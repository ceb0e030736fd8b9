"""Links that open a record in Xero, in the right organisation.

They go by the organisation's short code (Xero, Deep linking to Xero); without one there is no link.
"""

from urllib.parse import quote

from tieout_server.ledger.documents import Entity

_LOGIN = "https://go.xero.com/organisationlogin/default.aspx?shortcode={}&redirecturl={}"
_PLACES = {
    Entity.CONTACTS: "/Contacts/View/{}",
    Entity.INVOICES: "/AccountsReceivable/View.aspx?InvoiceID={}",
    Entity.CREDIT_NOTES: "/AccountsReceivable/ViewCreditNote.aspx?creditNoteID={}",
    Entity.OVERPAYMENTS: "/Bank/ViewTransaction.aspx?bankTransactionID={}",
    Entity.PREPAYMENTS: "/Bank/ViewTransaction.aspx?bankTransactionID={}",
    Entity.PAYMENTS: "/Bank/ViewTransaction.aspx?bankTransactionID={}",
}


def customer(short_code: str, xero_contact_id: str) -> str:
    """Where Xero shows a contact; empty without a short code."""
    return document(short_code, Entity.CONTACTS, xero_contact_id)


def document(short_code: str, entity: Entity, xero_id: str) -> str:
    """Where Xero shows a record; empty without a short code, or for one that has no page of its own."""
    place = _PLACES.get(entity, "")
    if not short_code or not xero_id or not place:
        return ""
    return _LOGIN.format(quote(short_code, safe=""), quote(place.format(xero_id), safe=""))
