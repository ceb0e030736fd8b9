"""xero-node 20.0.0, Xero's own SDK for Node.js: from OpenID discovery to revocation, reads, writes."""

from datetime import datetime
from decimal import Decimal

import pytest

from third_party import LISTED, Facts, Ran, differences

COLLECTIONS = LISTED.keys() - {"batch_payments"}


def test_openid_connect_leads_from_discovery_to_the_organisations(facts: Facts, ran: Ran) -> None:
    found = facts("connections")
    assert found["consentUrl"] == "https://login.xero.com/identity/connect/authorize"
    assert (found["email"], found["type"]) == ("ada.adviser@example.com", "Bearer")
    assert found["tenants"] == [["Harbour & Vine Ltd", "NZD"], ["Koru Cycles Pty Ltd", "AUD"]]
    assert found["left"] == [ran.sandbox.organisations[0].id]


def test_a_token_set_is_renewed_in_both_ways_of_the_sdk(facts: Facts, ran: Ran) -> None:
    found = facts("token_refresh")
    assert found["rotated"] == 3
    assert (found["expired"]["status"], found["expired"]["body"]["Title"]) == (401, "Unauthorized")
    assert found["after"] == ran.sandbox.organisations[0].id


def test_settings_are_those_of_the_organisation(facts: Facts, ran: Ran) -> None:
    found = facts("settings")
    active = [key for key, account in ran.before["accounts"].items() if account["status"] == "ACTIVE"]
    assert found["accounts"] == sorted(active)
    assert found["actions"]["CreateInvoicePayment"] == "ALLOWED"
    assert ["ada.adviser@example.com", "FINANCIALADVISER"] in found["users"]
    assert found["currencies"] == ["EUR", "GBP", "NZD", "USD"]


@pytest.mark.parametrize("collection", sorted(COLLECTIONS))
def test_every_document_is_listed_as_it_is_in_the_books(facts: Facts, ran: Ran, collection: str) -> None:
    assert differences(facts("documents")[collection], ran.before, collection) == []


def test_a_single_document_is_the_one_of_the_list(facts: Facts) -> None:
    found = facts("single_documents")
    assert len(found) == 7
    assert all(found.values()), found


def test_filters_choose_what_the_books_say(facts: Facts, ran: Ran) -> None:
    found, invoices = facts("filters"), ran.before["invoices"]
    newest = datetime.fromisoformat(found["newest"]).replace(microsecond=0)
    assert found["pagination"] == [2, 100, len(invoices)]
    assert found["page"] == sorted(invoice["number"] for invoice in invoices.values())[100:200]
    assert found["byIds"]
    assert found["open"] == sorted(
        key for key, each in invoices.items() if (each["type"], each["status"]) == ("ACCREC", "AUTHORISED")
    )
    assert sorted(found["since"]) == sorted(
        key for key, each in ran.before["payments"].items() if datetime.fromisoformat(each["updated"]) >= newest
    )


def test_contacts_are_made_changed_and_archived(facts: Facts, ran: Ran) -> None:
    found = facts("contacts")
    assert ran.after["contacts"][found["id"]]["name"] == "Node Ltd"
    assert found["email"] == ran.sandbox.books.contacts[found["id"]].email == "two@example.com"
    assert found["archived"][1] == ran.after["contacts"][found["archived"][0]]["status"] == "ARCHIVED"


def test_invoices_are_made_once_changed_and_voided(facts: Facts, ran: Ran) -> None:
    found = facts("invoices")
    invoice = ran.after["invoices"][found["id"]]
    assert found["once"]
    assert (Decimal(invoice["total"]), invoice["reference"]) == (found["total"], found["reference"]) == (115, "PO 1")
    assert found["mixed"] == ["OK", "ERROR"]
    assert found["voided"][1] == ran.after["invoices"][found["voided"][0]]["status"] == "VOIDED"
    assert found["history"] == ["Called them"]
    assert found["online"].startswith("https://in.xero.com/")
    assert found["report"] == "Aged Receivables By Contact"


def test_payments_are_made_refused_and_deleted(facts: Facts, ran: Ran) -> None:
    found, payments = facts("payments"), ran.after["payments"]
    kept, deleted = found["kept"][0], found["deleted"][0]
    (element,) = found["tooMuch"]["body"]["Elements"]
    assert (payments[kept]["amount"], payments[kept]["reference"]) == ("10.00", "NODE-1")
    assert payments[deleted]["status"] == "DELETED"
    assert found["tooMuch"]["status"] == 400
    assert element["ValidationErrors"] == [
        {"Message": "Payment amount exceeds the amount outstanding on this document"}
    ]


def test_a_batch_is_paid_known_to_its_payments_and_undone(facts: Facts, ran: Ran) -> None:
    found = facts("batches")
    assert (found["total"], found["of"]) == (3, found["id"])
    assert found["gone"] == ran.after["batch_payments"][found["id"]]["status"] == "DELETED"


def test_credits_are_made_allocated_and_refunded(facts: Facts, ran: Ran) -> None:
    found = facts("customer_credits")
    assert ran.after["credit_notes"][found["note"]]["total"] == "23.00"
    assert found["refund"][1] == "ARCREDITPAYMENT"
    assert ran.after["payments"][found["refund"][0]]["target_id"] == found["note"]
    assert ran.after["overpayments"][found["overpayment"]]["total"] == "20.00"


def test_a_removed_allocation_is_gone_though_the_sdk_reads_only_a_bare_one(facts: Facts, ran: Ran) -> None:
    assert facts("removed_allocations") == {"bare": True, "enveloped": "not told"}
    note = ran.after["credit_notes"][facts("customer_credits")["note"]]
    assert note["remaining_credit"] == "21.00"  # 2.00 were refunded


@pytest.mark.parametrize(
    ("name", "status"),
    [("validation", 400), ("missing", 404), ("stranger", 403), ("minute", 429), ("nonsense", 401), ("grant", 400)],
)
def test_each_refusal_comes_with_its_status(facts: Facts, name: str, status: int) -> None:
    assert facts("errors")[name]["status"] == status


def test_each_refusal_says_why(facts: Facts) -> None:
    found = facts("errors")
    assert found["validation"]["body"]["Type"] == "ValidationException"
    assert found["stranger"]["body"]["Detail"] == "AuthenticationUnsuccessful"
    assert found["minute"]["headers"]["x-rate-limit-problem"] == "minute"
    assert int(found["minute"]["headers"]["retry-after"]) <= 60
    assert found["grant"]["body"] == {"error": "invalid_grant"}


def test_revoking_the_token_ends_every_connection(facts: Facts) -> None:
    assert facts("revocation") == {"connections": []}


def test_the_books_add_up_after_all_of_it(ran: Ran) -> None:
    ran.sandbox.books.check()
