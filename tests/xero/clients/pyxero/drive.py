"""pyxero: OAuth 2.0 from the consent on, reads and filters, and writes, which it sends as XML."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from xero.api import Xero
from xero.auth import OAuth2Credentials
from xero.exceptions import XeroException

from third_party_flows import (
    CLIENT_ID,
    CLIENT_SECRET,
    REDIRECT_URI,
    SCOPES,
    advance,
    consented,
    control,
    first_organisation,
    main,
    minute_limit,
)

TODAY = date(2026, 11, 22)
credentials = OAuth2Credentials(CLIENT_ID, CLIENT_SECRET, callback_uri=REDIRECT_URI, scope=SCOPES)
xero = Xero(credentials)
made: dict[str, str] = {}
"""Ids that later flows go on with."""


def refused(call: Callable[[], object]) -> dict[str, object]:
    """How pyxero tells of an error."""
    try:
        call()
    except XeroException as error:
        problem = getattr(error, "problem", None)
        return {
            "kind": type(error).__name__,
            "said": str(error),
            "problem": problem,
            "status": error.response.status_code,
        }
    return {"kind": "nothing"}


def connections() -> object:
    """From the address of the consent page to the organisation."""
    credentials.verify(consented(credentials.generate_url()))
    tenants = credentials.get_tenants()
    credentials.set_default_tenant()
    return {
        "tenants": [(tenant["tenantId"], tenant["tenantType"], tenant["tenantName"]) for tenant in tenants],
        "by_event": len(credentials.get_tenants(auth_event_id=tenants[0]["authEventId"])),
        "default": credentials.tenant_id,
        "expired": credentials.expired(),
    }


def token_refresh() -> object:
    """An expired token is told as such, and renewed."""
    before = dict(credentials.token)
    advance(31 * 60)
    expired = refused(xero.organisations.all)
    credentials.refresh()
    after = credentials.token
    rotated = after["access_token"] != before["access_token"] and after["refresh_token"] != before["refresh_token"]
    return {"expired": expired, "rotated": rotated, "after": xero.organisations.all()[0]["OrganisationID"]}


def settings() -> object:
    """What there is of an organisation beside its documents."""
    accounts = xero.accounts.all()
    made["bank"] = next(found["AccountID"] for found in accounts if found["Type"] == "BANK")
    return {
        "accounts": sorted(found["AccountID"] for found in accounts),
        "actions": {found["Name"]: found["Status"] for found in xero.organisations.actions()["Actions"]},
        "users": sorted(found["EmailAddress"] for found in xero.users.all()),
        "currencies": sorted(found["Code"] for found in xero.currencies.all()),
    }


_CREDIT = ("Status", "Total", "RemainingCredit")
_KINDS = {
    "contacts": ("ContactID", "ContactStatus"),
    "invoices": ("InvoiceID", "Status", "Total", "AmountDue"),
    "credit_notes": ("CreditNoteID", *_CREDIT),
    "overpayments": ("OverpaymentID", *_CREDIT),
    "prepayments": ("PrepaymentID", *_CREDIT),
    "payments": ("PaymentID", "Status", "Amount"),
    "batch_payments": ("BatchPaymentID", "Status"),
    "bank_transactions": ("BankTransactionID", "Status"),
}


def documents() -> object:
    """Every document, in lists without pages."""
    return {
        kind: {each[key]: (each["UpdatedDateUTC"].isoformat(), *(each[name] for name in names)) for each in _all(kind)}
        for kind, (key, *names) in _KINDS.items()
    }


def single_documents() -> object:
    """One document of each kind by its id has the instant that the list told."""
    same = {}
    for kind, (key, *_) in _KINDS.items():
        for listed in _all(kind)[:1]:
            (found,) = _of(kind).get(listed[key])
            same[kind] = (found[key], found["UpdatedDateUTC"]) == (listed[key], listed["UpdatedDateUTC"])
    return same


def filters() -> object:
    """Conditions, lists of ids without hyphens, pages, and dates as RFC 1123 writes them."""
    some = xero.invoices.filter(page=2, pageSize=100, order="InvoiceNumber ASC")
    wanted = [found["InvoiceID"] for found in some[:3]]
    contact = some[0]["Contact"]
    newest = max(found["UpdatedDateUTC"] for found in xero.payments.all())
    return {
        "page": [found["InvoiceNumber"] for found in some],
        "by_ids": {found["InvoiceID"] for found in xero.invoices.filter(IDs=wanted)} == set(wanted),
        "status": _ids(xero.invoices.filter(Status="AUTHORISED", Type="ACCREC")),
        "contact": contact["ContactID"],
        "of_contact": _ids(xero.invoices.filter(Contact_ContactID=contact["ContactID"])),
        "named": [found["ContactID"] for found in xero.contacts.filter(Name__startswith=contact["Name"])],
        "due": _ids(xero.invoices.filter(DueDate__gte=TODAY, raw="AmountDue>0")),
        "newest": newest.isoformat(),
        "since": [found["PaymentID"] for found in xero.payments.filter(since=newest)],
        "none_since": len(xero.payments.filter(since=newest + timedelta(days=1))),
    }


def contacts() -> object:
    """Makes one with phones and addresses, changes and archives it."""
    phones, addresses = [{"PhoneType": "MOBILE", "PhoneNumber": "1"}], [{"AddressType": "STREET", "City": "Ōtautahi"}]
    named = {"Name": "Py & Xero <Ltd>", "EmailAddress": "py@example.com"}
    (new,) = xero.contacts.put(named | {"Phones": phones, "Addresses": addresses})
    made["contact"] = new["ContactID"]
    (changed,) = xero.contacts.save({"ContactID": made["contact"], "EmailAddress": "two@example.com"})
    (other,) = xero.contacts.put({"Name": "Gone Ltd"})
    (archived,) = xero.contacts.save({"ContactID": other["ContactID"], "ContactStatus": "ARCHIVED"})
    street = next(found for found in changed["Addresses"] if found["AddressType"] == "STREET")
    return {
        "id": made["contact"], "name": changed["Name"], "email": changed["EmailAddress"], "city": street["City"],
        "archived": (archived["ContactID"], archived["ContactStatus"]),
    }  # fmt: skip


def invoices() -> object:
    """Makes one and several, saves one back whole, e-mails, notes upon, links to and voids."""
    (one,) = xero.invoices.put(_invoice())
    made["invoice"] = one["InvoiceID"]
    first, other = xero.invoices.put([_invoice(), _invoice()])
    one["Reference"] = "saved back"
    (saved,) = xero.invoices.save(one)
    mixed = xero.invoices.put([_invoice(), {"Type": "ACCREC"}], summarize_errors=False)
    xero.invoices.email(made["invoice"])
    xero.invoices.put_history(made["invoice"], "Called them")
    (voided,) = xero.invoices.save({"InvoiceID": other["InvoiceID"], "Status": "VOIDED"})
    return {
        "id": made["invoice"],
        "first": first["InvoiceID"],
        "reference": saved["Reference"],
        "mixed": [found["StatusAttributeString"] for found in mixed],
        "sent": xero.invoices.get(made["invoice"])[0]["SentToContact"],
        "history": [found["Details"] for found in xero.invoices.get_history(made["invoice"])["HistoryRecords"]],
        "online": xero.invoices.online_invoice(made["invoice"])["OnlineInvoices"][0]["OnlineInvoiceUrl"],
        "voided": (voided["InvoiceID"], voided["Status"]),
        "pdf": xero.invoices.get(made["invoice"], headers={"Accept": "application/pdf"})[:5].decode(),
    }


def payments() -> object:
    """Pays, pays too much, takes back."""
    (kept,) = xero.payments.put(_payment("10.00", Reference="PY-1"))
    (undone,) = xero.payments.put(_payment("5.00"))
    (deleted,) = xero.payments.delete(undone["PaymentID"])
    return {
        "kept": (kept["PaymentID"], kept["Reference"]),
        "deleted": (deleted["PaymentID"], deleted["Status"]),
        "too_much": refused(lambda: xero.payments.put(_payment("5000.00"))),
    }


def batches() -> object:
    """Pays as one sum at the bank, and finds it again at the payment."""
    part = {"Invoice": {"InvoiceID": made["invoice"]}, "Amount": "3.00"}
    run = {"Account": {"AccountID": made["bank"]}, "Date": TODAY, "Reference": "run", "Payments": [part]}
    (batch,) = xero.batchpayments.put(run)
    (read,) = xero.batchpayments.get(batch["BatchPaymentID"])
    (payment,) = xero.payments.get(batch["Payments"][0]["PaymentID"])
    return {"id": read["BatchPaymentID"], "total": read["TotalAmount"], "of": payment["BatchPayment"]["BatchPaymentID"]}


def customer_credits() -> object:
    """A credit note that is allocated, and an overpayment."""
    note = {"Type": "ACCRECCREDIT", "Contact": {"ContactID": made["contact"]}, "Date": TODAY, "Status": "AUTHORISED"}
    (credit,) = xero.creditnotes.put(note | {"LineItems": [_line()]})
    made["credit"] = credit["CreditNoteID"]
    xero.creditnotes.put_allocation(made["credit"], {"Invoice": {"InvoiceID": made["invoice"]}, "Amount": "7.00"})
    received = {
        "Type": "RECEIVE-OVERPAYMENT", "Contact": {"ContactID": made["contact"]}, "LineAmountTypes": "NoTax",
        "BankAccount": {"AccountID": made["bank"]}, "LineItems": [{"Description": "Too much", "LineAmount": "5.00"}],
    }  # fmt: skip
    (over,) = xero.banktransactions.put(received)
    return {"credit": made["credit"], "overpayment": over["OverpaymentID"]}


def removed_allocations() -> object:
    """At a bare allocation pyxero stumbles, though it is done; an envelope it can read."""
    try:
        xero.creditnotes.delete_allocation(made["credit"], _first_allocation())
        bare = "read"
    except Exception as error:  # noqa: BLE001 any stumbling is what is reported
        bare = f"{type(error).__name__}: {error}"
    left = len(xero.creditnotes.get(made["credit"])[0]["Allocations"])
    xero.creditnotes.put_allocation(made["credit"], {"Invoice": {"InvoiceID": made["invoice"]}, "Amount": "6.00"})
    control("POST", "switches", {"removed_allocations_have_envelope": True})
    gone = xero.creditnotes.delete_allocation(made["credit"], _first_allocation())
    return {"bare": bare, "left": left, "enveloped": gone["Status"]}


def errors() -> object:
    """Every kind of refusal, as pyxero's own exceptions."""
    found = {
        "validation": refused(lambda: xero.invoices.put({"Type": "ACCREC"})),
        "query": refused(lambda: xero.invoices.filter(raw="Colour==1")),
        "missing": refused(lambda: xero.invoices.get("00000000-0000-4000-8000-000000000000")),
    }
    control("POST", "faults", {"kind": "unavailable"})
    found["unavailable"] = refused(xero.organisations.all)
    minute_limit(1)
    advance(60)
    xero.currencies.all()
    found["minute"] = refused(xero.currencies.all)
    minute_limit(1_000)
    good = credentials.token
    credentials._init_oauth(good | {"access_token": "nonsense"})
    found["nonsense"] = refused(xero.organisations.all)
    credentials._init_oauth(good)
    control("POST", f"organisations/{first_organisation()}/disconnect")
    found["disconnected"] = refused(xero.organisations.all)
    return found


def _of(kind: str) -> Any:  # noqa: ANN401 pyxero has no types
    return getattr(xero, kind.replace("_", ""))


def _all(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _of(kind).filter(includeArchived=True) if kind == "contacts" else _of(kind).all()
    return found


def _ids(found: list[dict[str, Any]]) -> list[str]:
    return sorted(each["InvoiceID"] for each in found)


def _line() -> dict[str, object]:
    return {"Description": "Work", "Quantity": 2, "UnitAmount": "50.00", "AccountCode": "200"}


def _invoice() -> dict[str, object]:
    return {
        "Type": "ACCREC", "Contact": {"ContactID": made["contact"]}, "Date": TODAY, "DueDate": datetime(2026, 12, 12),  # noqa: DTZ001 a day
        "Status": "AUTHORISED", "LineAmountTypes": "Exclusive", "LineItems": [_line()],
    }  # fmt: skip


def _payment(amount: str, **more: str) -> dict[str, object]:
    account, invoice = {"AccountID": made["bank"]}, {"InvoiceID": made["invoice"]}
    return {"Invoice": invoice, "Account": account, "Date": TODAY, "Amount": amount, **more}


def _first_allocation() -> str:
    return str(xero.creditnotes.get(made["credit"])[0]["Allocations"][0]["AllocationID"])


if __name__ == "__main__":
    minute_limit(1_000)
    main(
        connections, token_refresh, settings, documents, single_documents, filters, contacts, invoices, payments,
        batches, customer_credits, removed_allocations, errors,
    )  # fmt: skip
