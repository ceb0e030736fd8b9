"""xero-python, Xero's own SDK: every endpoint about receivables."""

import time
from datetime import timedelta
from typing import Any

from xero_python import accounting as models

from third_party_flows import (
    advance,
    authorization_url,
    consented,
    control,
    exchanged,
    first_organisation,
    main,
    minute_limit,
)
from xero.clients.xero_python import writing
from xero.clients.xero_python.session import EVERY, client, identity, made, refused, tenant, token, tokens, xero

# Identity


def connections() -> object:
    """Two organisations by one consent; one of them is disconnected again."""
    organisations = [found["name"] for found in control("GET")["organisations"]]
    tokens.update(exchanged(consented(authorization_url(), organisations=organisations)))
    tokens["scope"] = tokens["scope"].split()
    first = identity.get_connections()
    gone = next(found for found in first if found.tenant_id != first_organisation())
    identity.delete_connection(gone.id)
    (left,) = identity.get_connections()
    by_event = identity.get_connections(auth_event_id=left.auth_event_id)
    made["tenant"] = left.tenant_id
    return {
        "first": sorted((found.tenant_name, found.tenant_type) for found in first),
        "left": (left.tenant_id, left.tenant_name, left.created_date_utc.isoformat()),
        "by_event": [found.tenant_id for found in by_event],
    }


def token_refresh() -> object:
    """The SDK renews a token that is about to expire, and one that has expired is answered with 401."""
    before = dict(tokens)
    tokens["expires_at"] = time.time() + 10
    xero.get_organisations(tenant())
    renewed = tokens["access_token"] != before["access_token"] and tokens["refresh_token"] != before["refresh_token"]
    advance(31 * 60)
    expired = refused(lambda: xero.get_organisations(tenant()))
    tokens["expires_at"] = time.time()
    return {"renewed": renewed, "expired": expired, "after": xero.get_organisations(tenant()).organisations[0].name}


# Reading


def settings() -> object:
    """What there is of an organisation beside its documents."""
    organisation = xero.get_organisations(tenant()).organisations[0]
    actions = xero.get_organisation_actions(tenant()).actions
    users = xero.get_users(tenant()).users
    accounts = xero.get_accounts(tenant(), where='Status=="ACTIVE"').accounts
    made["bank"] = next(found.account_id for found in accounts if found.type.value == "BANK")
    return {
        "organisation": (organisation.organisation_id, organisation.base_currency.value, organisation.timezone.value),
        "actions": {found.name: found.status for found in actions},
        "users": {found.email_address: found.organisation_role for found in users},
        "user": xero.get_user(tenant(), users[0].user_id).users[0].email_address,
        "accounts": sorted(found.account_id for found in accounts),
        "account": xero.get_account(tenant(), made["bank"]).accounts[0].account_id == made["bank"],
        "currencies": sorted(found.code.value for found in xero.get_currencies(tenant()).currencies),
    }


_CREDIT = ("status", "total", "remaining_credit")
_KINDS = {
    "contact": ("contact_status",),
    "invoice": ("status", "total", "amount_due"),
    "credit_note": _CREDIT,
    "overpayment": _CREDIT,
    "prepayment": _CREDIT,
    "payment": ("status", "amount"),
    "batch_payment": ("status",),
    "bank_transaction": ("status",),
}


def documents() -> object:
    """Every document, in lists: by id the instant and what else is compared."""
    return {
        f"{kind}s": {
            getattr(each, f"{kind}_id"): [each.updated_date_utc.isoformat(), *(_plain(each, name) for name in names)]
            for each in _listed(kind)
        }
        for kind, names in _KINDS.items()
    }


def single_documents() -> object:
    """One document of each kind by its id is the one in the list."""
    same = {}
    for kind in _KINDS:
        for listed in _listed(kind)[:1]:
            key = f"{kind}_id"
            (found,) = getattr(getattr(xero, f"get_{kind}")(tenant(), getattr(listed, key)), f"{kind}s")
            same[kind] = all(getattr(found, name) == getattr(listed, name) for name in (key, "updated_date_utc"))
    return same


def filters() -> object:
    """Paging, conditions, lists of ids, and what was modified since."""
    page = xero.get_invoices(tenant(), page=2, page_size=100, order="InvoiceNumber ASC")
    wanted = [found.invoice_id for found in page.invoices[:3]]
    contact = page.invoices[0].contact.contact_id
    newest = max(found.updated_date_utc for found in xero.get_payments(tenant(), **EVERY).payments)
    where = 'Type=="ACCREC" AND Status=="AUTHORISED" AND AmountDue>=100'
    return {
        "pagination": (page.pagination.page, page.pagination.page_size, page.pagination.item_count),
        "in_order": [found.invoice_number for found in page.invoices],
        "by_ids": {found.invoice_id for found in xero.get_invoices(tenant(), i_ds=wanted).invoices} == set(wanted),
        "of_contact": _ids(xero.get_invoices(tenant(), contact_i_ds=[contact], **EVERY).invoices),
        "contact": contact,
        "open": _ids(xero.get_invoices(tenant(), statuses=["AUTHORISED"], summary_only="true", **EVERY).invoices),
        "where": _ids(xero.get_invoices(tenant(), where=where, **EVERY).invoices),
        "newest": newest.isoformat(),
        "since": [
            found.payment_id for found in xero.get_payments(tenant(), if_modified_since=newest, **EVERY).payments
        ],
        "none_since": len(xero.get_payments(tenant(), if_modified_since=newest + timedelta(days=1)).payments),
    }


# What goes wrong


def errors() -> object:
    """Every kind of refusal, as the SDK's own exceptions."""
    found: dict[str, object] = {
        "validation": refused(
            lambda: xero.create_invoices(tenant(), models.Invoices(invoices=[models.Invoice(type="ACCREC")]))
        ),
        "query": refused(lambda: xero.get_invoices(tenant(), where="Colour==1", page=1)),
        "missing": refused(lambda: xero.get_invoice(tenant(), "00000000-0000-4000-8000-000000000000")),
        "stranger": refused(lambda: xero.get_organisations("00000000-0000-4000-8000-000000000000")),
    }
    control("POST", "faults", {"kind": "unavailable"})
    found["unavailable"] = refused(lambda: xero.get_organisations(tenant()))
    minute_limit(1)
    advance(60)
    xero.get_currencies(tenant())
    post = models.Contacts(contacts=[models.Contact(name="Too soon")])
    found["minute"] = refused(lambda: xero.update_or_create_contacts(tenant(), post))  # of reads, it sleeps it off
    minute_limit(1_000)
    control("POST", "faults", {"kind": "limit_concurrent"})
    found["concurrent"] = refused(lambda: xero.get_currencies(tenant()))
    control("POST", "faults", {"kind": "limit_minute", "retry_after": "1"})
    found["slept"] = len(xero.get_currencies(tenant()).currencies)
    good = dict(tokens)
    tokens["access_token"] = "nonsense"
    found["nonsense"] = refused(lambda: xero.get_organisations(tenant()))
    tokens.update(good)
    tokens["refresh_token"], tokens["expires_at"] = "nonsense", 0.0
    found["grant"] = refused(lambda: xero.get_organisations(tenant()))
    tokens.update(good)
    return found


def revocation() -> object:
    """The SDK revokes its token, and with that every connection of its user is gone."""
    token.update_token(**tokens)
    return {"revoked": token.revoke_access_token(client), "connections": control("GET")["connections"]}


# Pieces


def _listed(kind: str) -> list[Any]:
    pages: dict[str, object] = {} if kind == "batch_payment" else EVERY
    more = {"include_archived": "true"} if kind == "contact" else {}
    found: list[Any] = getattr(getattr(xero, f"get_{kind}s")(tenant(), **pages, **more), f"{kind}s")
    return found


def _plain(document: object, name: str) -> str:
    value = getattr(document, name)
    return str(getattr(value, "value", value))


def _ids(found: list[Any]) -> list[str]:
    return sorted(each.invoice_id for each in found)


if __name__ == "__main__":
    minute_limit(1_000)
    main(
        connections, token_refresh, settings, documents, single_documents, filters,
        writing.contacts, writing.invoices, writing.payments, writing.batches, writing.customer_credits,
        writing.removed_allocations, writing.batch_texts, errors, revocation,
    )  # fmt: skip
