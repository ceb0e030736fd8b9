"""tap-xero 2.6.0 (singer-io): discovery, a full sync and an incremental one, of every stream about receivables."""

from datetime import datetime
from decimal import Decimal

import pytest

from third_party import Facts, Ran, Truth

KEYS = {
    "accounts": "AccountID",
    "bank_transactions": "BankTransactionID",
    "contacts": "ContactID",
    "credit_notes": "CreditNoteID",
    "invoices": "InvoiceID",
    "overpayments": "OverpaymentID",
    "payments": "PaymentID",
    "prepayments": "PrepaymentID",
}


def changed_since(truth: Truth, stream: str, bookmark: str) -> set[str]:
    second = datetime.fromisoformat(bookmark).replace(microsecond=0)  # If-Modified-Since is cut to whole seconds
    return {key for key, found in truth[stream].items() if datetime.fromisoformat(found["updated"]) >= second}


def test_discovery_renews_the_token_and_knows_every_stream(facts: Facts) -> None:
    found = facts("discovery")
    assert found["token_rotated"]
    assert found["streams"].items() >= {stream: [key] for stream, key in KEYS.items()}.items()


@pytest.mark.parametrize("stream", KEYS)
def test_a_full_sync_brings_every_record_of_the_books_once(facts: Facts, ran: Ran, stream: str) -> None:
    records = facts("full_sync")[stream]
    assert sorted(record[KEYS[stream]] for record in records) == sorted(ran.before[stream])


@pytest.mark.parametrize("stream", KEYS)
def test_every_instant_and_status_is_that_of_the_books(facts: Facts, ran: Ran, stream: str) -> None:
    status = "ContactStatus" if stream == "contacts" else "Status"
    for record in facts("full_sync")[stream]:
        truth = ran.before[stream][record[KEYS[stream]]]
        assert datetime.fromisoformat(record["UpdatedDateUTC"]) == datetime.fromisoformat(truth["updated"])
        assert record[status] == truth["status"]


def test_every_amount_is_that_of_the_books(facts: Facts, ran: Ran) -> None:
    synced = facts("full_sync")
    for record in synced["invoices"]:
        truth = ran.before["invoices"][record["InvoiceID"]]
        assert Decimal(str(record["Total"])) == Decimal(truth["total"])
        assert Decimal(str(record["AmountDue"])) == Decimal(truth["amount_due"])
    for record in synced["payments"]:
        assert Decimal(str(record["Amount"])) == Decimal(ran.before["payments"][record["PaymentID"]]["amount"])
    for stream in ("credit_notes", "overpayments", "prepayments"):
        for record in synced[stream]:
            truth = ran.before[stream][record[KEYS[stream]]]
            assert Decimal(str(record["RemainingCredit"])) == Decimal(truth["remaining_credit"])


def test_lists_without_instants_come_whole(facts: Facts) -> None:
    synced = facts("full_sync")
    assert {found["Code"] for found in synced["currencies"]} == {"NZD", "USD", "EUR", "GBP"}
    assert len(synced["organisations"]) == 1
    assert {found["OrganisationRole"] for found in synced["users"]} >= {"FINANCIALADVISER", "STANDARD"}


@pytest.mark.parametrize("stream", KEYS)
def test_an_incremental_sync_brings_what_changed_since_its_state(facts: Facts, ran: Ran, stream: str) -> None:
    found = facts("incremental_sync")
    seen = [record[KEYS[stream]] for record in found["seen"].get(stream, [])]
    newest = max(truth["updated"] for truth in ran.before[stream].values())
    assert sorted(seen) == sorted(changed_since(ran.after, stream, newest))
    assert {found["changed"].get(stream)} - {None} <= set(seen)


def test_a_minute_limit_is_waited_for_as_long_as_xero_says(facts: Facts, ran: Ran) -> None:
    found = facts("errors")
    assert found["slept"]
    assert found["accounts_after_sleep"] == len(ran.before["accounts"])


def test_a_lost_organisation_and_a_revoked_token_are_told_apart(facts: Facts) -> None:
    found = facts("errors")
    assert "XeroForbiddenError: HTTP-error-code: 403" in found["forbidden"]
    assert "XeroBadRequestError: HTTP-error-code: 400, Error: invalid_grant" in found["revoked"]
