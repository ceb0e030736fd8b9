"""xero-python 15.2.0, Xero's own SDK: every endpoint about receivables, read and written, renewals and refusals."""

from datetime import datetime
from decimal import Decimal

import pytest

from third_party import LISTED, Facts, Ran, differences
from tieout_sandbox.books.documents import Status

FIRST, SECOND = "Harbour & Vine Ltd", "Koru Cycles Pty Ltd"


def test_connections_are_listed_filtered_and_deleted(facts: Facts, ran: Ran) -> None:
    found = facts("connections")
    organisation = ran.sandbox.organisations[0]
    assert found["first"] == [[FIRST, "ORGANISATION"], [SECOND, "ORGANISATION"]]
    assert found["left"] == [organisation.id, organisation.name, "2026-11-22T09:30:15.250000+00:00"]
    assert found["by_event"] == [organisation.id]


def test_a_token_is_renewed_before_it_expires_and_refused_after(facts: Facts) -> None:
    found = facts("token_refresh")
    assert found["renewed"]
    assert found["expired"]["status"] == 401
    assert "TokenExpired: token expired at 11/22/2026 10:00:15" in found["expired"]["body"]
    assert found["after"] == FIRST


def test_settings_are_those_of_the_organisation(facts: Facts, ran: Ran) -> None:
    found = facts("settings")
    active = [key for key, account in ran.before["accounts"].items() if account["status"] == "ACTIVE"]
    assert found["organisation"] == [ran.sandbox.organisations[0].id, "NZD", "NEWZEALANDSTANDARDTIME"]
    assert found["accounts"] == sorted(active)
    assert found["account"]
    assert found["currencies"] == ["EUR", "GBP", "NZD", "USD"]
    assert found["users"]["ada.adviser@example.com"] == "FINANCIALADVISER"
    assert found["user"] in found["users"]
    assert found["actions"]["CreateInvoicePayment"] == "ALLOWED"


@pytest.mark.parametrize("collection", LISTED)
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
    assert found["in_order"] == sorted(invoice["number"] for invoice in invoices.values())[100:200]
    assert found["by_ids"]
    assert found["open"] == sorted(key for key, each in invoices.items() if each["status"] == "AUTHORISED")
    assert found["of_contact"] == sorted(
        key for key, each in invoices.items() if each["contact_id"] == found["contact"]
    )
    assert found["where"] == sorted(
        key
        for key, each in invoices.items()
        if (each["type"], each["status"]) == ("ACCREC", "AUTHORISED") and Decimal(each["amount_due"]) >= 100
    )
    assert sorted(found["since"]) == sorted(
        key for key, each in ran.before["payments"].items() if datetime.fromisoformat(each["updated"]) >= newest
    )
    assert found["none_since"] == 0


def test_contacts_are_made_changed_and_archived(facts: Facts, ran: Ran) -> None:
    found = facts("contacts")
    assert found["email"] == "two@example.com"
    assert found["upserted"] == ["SDK Limited", "Gone Ltd"]
    assert ran.after["contacts"][found["id"]]["name"] == "SDK Limited"
    assert found["archived"][1] == ran.after["contacts"][found["archived"][0]]["status"] == "ARCHIVED"


def test_invoices_are_made_once_changed_sent_and_voided(facts: Facts, ran: Ran) -> None:
    found = facts("invoices")
    invoice = ran.after["invoices"][found["id"]]
    assert found["once"]
    assert (invoice["total"], invoice["reference"]) == ("115.00", "PO 1") == (found["total"], found["reference"])
    assert found["mixed"] == ["OK", "ERROR"]
    assert found["sent"]
    assert found["history"] == ["Called them"]
    assert found["online"].startswith("https://in.xero.com/")
    assert found["voided"][1] == ran.after["invoices"][found["voided"][0]]["status"] == "VOIDED"
    assert found["report"] == "Aged Receivables By Contact"


def test_payments_are_made_refused_and_deleted(facts: Facts, ran: Ran) -> None:
    found, payments = facts("payments"), ran.after["payments"]
    kept, deleted = found["kept"][0], found["deleted"][0]
    assert (payments[kept]["amount"], payments[kept]["reference"], payments[kept]["status"]) == (
        "10.00", "SDK-1", "AUTHORISED",
    )  # fmt: skip
    assert payments[found["single"]]["amount"] == "2.50"
    assert payments[deleted]["status"] == "DELETED"
    assert found["too_much"]["kind"] == "AccountingBadRequestException"
    assert found["too_much"]["reason"] == "Payment amount exceeds the amount outstanding on this document"
    assert found["payment_note"]["status"] == 400


def test_a_batch_is_paid_known_to_its_payments_and_undone(facts: Facts, ran: Ran) -> None:
    found = facts("batches")
    assert Decimal(found["total"]) == 3
    assert found["payment_knows_its_batch"]
    assert found["gone"] == ran.after["batch_payments"][found["id"]]["status"] == "DELETED"


def test_credits_are_made_allocated_and_refunded(facts: Facts, ran: Ran) -> None:
    found = facts("customer_credits")
    note, overpayment, prepayment = found["ids"]
    assert ran.after["credit_notes"][note]["total"] == "115.00"
    assert {ran.after["overpayments"][overpayment]["total"], ran.after["prepayments"][prepayment]["total"]} == {"20.00"}
    assert found["refund"][1] == "ARCREDITPAYMENT"
    assert ran.after["payments"][found["refund"][0]]["target_id"] == note


def test_a_removed_allocation_is_gone_whichever_answer_the_sdk_trips_over(facts: Facts, ran: Ran) -> None:
    """Its issue 159 quotes the words that it has for an envelope; for the bare allocation it has others."""
    facts("customer_credits")
    assert facts("removed_allocations") == {
        "credit_note": "Invalid value for `amount`, must not be `None`",
        "overpayment": "Invalid value for `invoice`, must not be `None`",
        "prepayment": "Invalid value for `invoice`, must not be `None`",
    }
    note, overpayment, prepayment = facts("customer_credits")["ids"]
    assert ran.after["credit_notes"][note]["remaining_credit"] == "113.00"  # 2.00 were refunded
    assert ran.after["overpayments"][overpayment]["remaining_credit"] == "20.00"
    assert ran.after["prepayments"][prepayment]["remaining_credit"] == "20.00"


def test_texts_in_the_batch_of_a_payment_are_more_than_the_sdk_can_read(facts: Facts) -> None:
    assert facts("batch_texts") == "Json parsed bool value expected. got 'false'"


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("validation", 400, "AccountingBadRequestException"),
        ("query", 400, "AccountingBadRequestException"),
        ("missing", 404, "NotFoundException"),
        ("stranger", 403, "HTTPStatusException"),
        ("nonsense", 401, "HTTPStatusException"),
        ("unavailable", 503, "HTTPStatusException"),
        ("minute", 429, "RateLimitException"),
        ("concurrent", 429, "RateLimitException"),
        ("grant", 400, "AccountingBadRequestException"),
    ],
)
def test_each_refusal_is_the_exception_that_the_sdk_has_for_it(facts: Facts, name: str, status: int, kind: str) -> None:
    found = facts("errors")[name]
    assert (found["status"], found["kind"]) == (status, kind)


def test_each_refusal_says_why(facts: Facts) -> None:
    found = facts("errors")
    assert "QueryParseException" in found["query"]["body"]
    assert "AuthenticationUnsuccessful" in found["stranger"]["body"]
    assert found["unavailable"]["body"] == "The Xero API is temporarily unavailable"
    assert found["minute"]["problem"] == "minute"
    assert int(found["minute"]["retry_after"]) <= 60
    assert (found["concurrent"]["problem"], found["concurrent"]["retry_after"]) == ("concurrent", None)
    assert found["slept"] == 4
    assert found["grant"]["body"] == '{"error":"invalid_grant"}'


def test_revoking_the_token_ends_every_connection(facts: Facts) -> None:
    assert facts("revocation") == {"revoked": True, "connections": []}


def test_the_books_add_up_after_all_of_it(ran: Ran) -> None:
    ran.sandbox.books.check()
    assert any(payment.status is Status.DELETED for payment in ran.sandbox.books.payments.values())
