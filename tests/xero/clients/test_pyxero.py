"""pyxero 0.9.5: OAuth 2.0 from the consent on, lists without pages, RFC 1123 dates, and writes in XML."""

from datetime import datetime
from decimal import Decimal

import pytest

from third_party import LISTED, Facts, Ran, differences

FIRST = "Harbour & Vine Ltd"


def test_a_consent_leads_to_the_organisation(facts: Facts, ran: Ran) -> None:
    found, organisation = facts("connections"), ran.sandbox.organisations[0]
    assert found["tenants"] == [[organisation.id, "ORGANISATION", FIRST]]
    assert (found["by_event"], found["default"], found["expired"]) == (1, organisation.id, False)


def test_an_expired_token_is_told_and_renewed(facts: Facts, ran: Ran) -> None:
    found = facts("token_refresh")
    assert (found["expired"]["kind"], found["expired"]["problem"]) == ("XeroUnauthorized", "TokenExpired")
    assert found["rotated"]
    assert found["after"] == ran.sandbox.organisations[0].id


def test_settings_are_those_of_the_organisation(facts: Facts, ran: Ran) -> None:
    found = facts("settings")
    assert found["accounts"] == sorted(ran.before["accounts"])
    assert found["actions"]["CreateInvoicePayment"] == "ALLOWED"
    assert "ada.adviser@example.com" in found["users"]
    assert found["currencies"] == ["EUR", "GBP", "NZD", "USD"]


@pytest.mark.parametrize("collection", LISTED)
def test_every_document_is_listed_as_it_is_in_the_books(facts: Facts, ran: Ran, collection: str) -> None:
    assert differences(facts("documents")[collection], ran.before, collection) == []


def test_a_single_document_is_the_one_of_the_list(facts: Facts) -> None:
    found = facts("single_documents")
    assert len(found) == 7
    assert all(found.values()), found


def test_filters_choose_what_the_books_say(facts: Facts, ran: Ran) -> None:
    found, invoices = facts("filters"), ran.before["invoices"]
    contact = ran.before["contacts"][found["contact"]]["name"]
    assert found["page"] == sorted(invoice["number"] for invoice in invoices.values())[100:200]
    assert found["by_ids"]
    assert found["status"] == sorted(
        key for key, each in invoices.items() if (each["type"], each["status"]) == ("ACCREC", "AUTHORISED")
    )
    assert found["of_contact"] == sorted(
        key for key, each in invoices.items() if each["contact_id"] == found["contact"]
    )
    assert found["named"] == [
        key
        for key, each in ran.before["contacts"].items()
        if each["name"].startswith(contact) and each["status"] == "ACTIVE"
    ]
    assert found["due"] == sorted(
        key for key, each in invoices.items() if each["due_on"] >= "2026-11-22" and Decimal(each["amount_due"]) > 0
    )


def test_what_changed_since_a_date_in_rfc_1123_is_listed(facts: Facts, ran: Ran) -> None:
    found = facts("filters")
    newest = datetime.fromisoformat(found["newest"]).replace(microsecond=0)
    assert sorted(found["since"]) == sorted(
        key for key, each in ran.before["payments"].items() if datetime.fromisoformat(each["updated"]) >= newest
    )
    assert found["none_since"] == 0


def test_a_contact_in_xml_comes_in_whole(facts: Facts, ran: Ran) -> None:
    found = facts("contacts")
    contact = ran.sandbox.books.contacts[found["id"]]
    assert (contact.name, contact.email) == ("Py & Xero <Ltd>", "two@example.com") == (found["name"], found["email"])
    assert found["city"] == "Ōtautahi"
    assert [phone.number for phone in contact.phones if phone.kind == "MOBILE"] == ["1"]
    assert found["archived"][1] == ran.after["contacts"][found["archived"][0]]["status"] == "ARCHIVED"


def test_invoices_in_xml_are_made_saved_back_sent_and_voided(facts: Facts, ran: Ran) -> None:
    found = facts("invoices")
    invoice = ran.sandbox.books.invoices[found["id"]]
    assert (invoice.total, invoice.due_on.isoformat(), invoice.sent) == (Decimal(115), "2026-12-12", True)
    assert invoice.reference == found["reference"] == "saved back"
    assert found["mixed"] == ["OK", "ERROR"]
    assert found["history"] == ["Called them"]
    assert found["online"].startswith("https://in.xero.com/")
    assert found["voided"][1] == ran.after["invoices"][found["voided"][0]]["status"] == "VOIDED"
    assert found["pdf"] == "%PDF-"


def test_payments_in_xml_are_made_refused_and_deleted(facts: Facts, ran: Ran) -> None:
    found, payments = facts("payments"), ran.after["payments"]
    kept, deleted = found["kept"][0], found["deleted"][0]
    assert (payments[kept]["amount"], payments[kept]["reference"]) == ("10.00", "PY-1")
    assert payments[deleted]["status"] == "DELETED"
    assert found["too_much"]["kind"] == "XeroBadRequest"
    assert found["too_much"]["problem"] == "Payment amount exceeds the amount outstanding on this document"


def test_a_batch_in_xml_is_paid_and_known_to_its_payments(facts: Facts, ran: Ran) -> None:
    found = facts("batches")
    assert (found["total"], found["of"]) == (3, found["id"])
    assert ran.after["batch_payments"][found["id"]]["status"] == "AUTHORISED"


def test_credits_in_xml_are_made_and_allocated(facts: Facts, ran: Ran) -> None:
    found = facts("customer_credits")
    assert ran.after["credit_notes"][found["credit"]]["total"] == "115.00"
    assert ran.after["overpayments"][found["overpayment"]]["total"] == "5.00"


def test_a_removed_allocation_is_gone_though_pyxero_reads_only_an_envelope(facts: Facts, ran: Ran) -> None:
    found, credit = facts("removed_allocations"), facts("customer_credits")["credit"]
    assert (found["bare"], found["left"]) == ("KeyError: 'Status'", 0)
    assert found["enveloped"] == "OK"
    assert ran.after["credit_notes"][credit]["remaining_credit"] == "115.00"


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("validation", 400, "XeroBadRequest"),
        ("query", 400, "XeroBadRequest"),
        ("nonsense", 401, "XeroUnauthorized"),
        ("missing", 404, "XeroNotFound"),
        ("unavailable", 503, "XeroNotAvailable"),
        ("minute", 429, "XeroRateLimitExceeded"),
        ("disconnected", 403, "XeroForbidden"),
    ],
)
def test_each_refusal_is_the_exception_that_pyxero_has_for_it(facts: Facts, name: str, status: int, kind: str) -> None:
    found = facts("errors")[name]
    assert (found["status"], found["kind"]) == (status, kind)


def test_each_refusal_says_why(facts: Facts) -> None:
    found = facts("errors")
    assert "QueryParseException" in found["query"]["said"]
    assert found["minute"]["problem"] == "rate limit exceeded: minute"
    assert found["unavailable"]["said"] == "The Xero API is temporarily unavailable"
    assert "AuthenticationUnsuccessful" in found["disconnected"]["said"]


def test_the_books_add_up_after_all_of_it(ran: Ran) -> None:
    ran.sandbox.books.check()
