"""What Xero's words mean: every message that is known has its reason, and none is ever lost."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments_known import NOW
from tieout_sandbox.accounting import call, write_payments
from tieout_server.exports.refusals import Refused, classify, says_undeletable
from tieout_server.exports.state import ExportReason
from tieout_server.ledger.links import Owner

REFUSED = Refused(
    currency="EUR", paid_on=date(2026, 3, 1), account="Euro", invoice="INV-1", amount="12.00 EUR", line=2, at=NOW
)
# As seen by others: xero-platform notes of the OpenAPI examples, SDK issues and vendors' help pages.
KNOWN = [
    ("Payment amount exceeds the amount outstanding on this document", "AMOUNT_EXCEEDS_DUE"),
    ("Payments can only be made against Authorised documents", "INVOICE_NOT_PAYABLE"),
    ("Account type is invalid for making a payment to/from", "ACCOUNT_NOT_PAYABLE"),
    ("BankAccount must be an account of the Type BANK", "ACCOUNT_NOT_PAYABLE"),
    ("Account could not be found", "ACCOUNT_ARCHIVED"),
    ("Account code '090' is not a valid code for this document.", "ACCOUNT_ARCHIVED"),
    ("Account code '090' has been archived or has been deleted.", "ACCOUNT_ARCHIVED"),
    ("Invoice could not be found", "INVOICE_NOT_PAYABLE"),
    ("Document could not be found", "INVOICE_NOT_PAYABLE"),
    ("Invoice not of valid status for modification", "INVOICE_NOT_PAYABLE"),
    ("Organisation accounts are locked on the specified payment date", "PERIOD_LOCKED"),
    (
        "The document date cannot be before the end of year lock date, currently set at 30-Sep-2021",
        "PERIOD_LOCKED",
    ),
    ("The document date cannot be before the period lock date, currently set at 30-Sep-2026", "PERIOD_LOCKED"),
    (call.ARCHIVED_CONTACT, "CONTACT_ARCHIVED"),
    ("The User specified does not have the correct permissions to perform this action", "SCOPE_MISSING"),
    ("Organisation is not subscribed to currency EUR", "CURRENCY_MISMATCH"),
    ("The account's currency must be EUR or NZD", "CURRENCY_MISMATCH"),
    ("Batch payments can only be made in the organisation's base currency", "CURRENCY_MISMATCH"),
    ("You have reached the limit of invoices you can approve", "REJECTED_BY_XERO"),
    ("The TaxType code 'x' cannot be used with account code 'y'", "REJECTED_BY_XERO"),
    ("Payment date cannot be in the future", "REJECTED_BY_XERO"),
    ("Idempotency Key: abc is used with a different request.", "REJECTED_BY_XERO"),
    ("Something that nobody ever read", "REJECTED_BY_XERO"),
]


@pytest.mark.parametrize(("message", "reason"), KNOWN)
def test_a_message_has_its_reason_in_any_case(message: str, reason: str) -> None:
    for words in (message, message.upper()):
        error = classify([words], REFUSED)
        assert (error.reason, error.xero_messages, error.line) == (reason, (words,), 2)


@pytest.mark.parametrize(
    "message",
    [write_payments.EXCEEDS, write_payments.NOT_AUTHORISED, write_payments.WRONG_ACCOUNT, write_payments.LOCKED],
)
def test_what_the_sandbox_says_is_known(message: str) -> None:
    assert classify([message], REFUSED).reason != "REJECTED_BY_XERO"


def test_an_invoice_that_was_paid_meanwhile_is_not_payable_and_not_overpaid() -> None:
    error = classify([write_payments.EXCEEDS, write_payments.NOT_AUTHORISED], REFUSED)
    assert error.reason == "INVOICE_NOT_PAYABLE"
    assert error.xero_messages == (write_payments.EXCEEDS, write_payments.NOT_AUTHORISED)


def test_unknown_words_are_repeated_without_the_preamble() -> None:
    error = classify(["A validation exception occurred", "The moon is full"], REFUSED)
    assert error.sentence == "Xero refused it: The moon is full"
    assert error.xero_messages == ("A validation exception occurred", "The moon is full")


@pytest.mark.parametrize("messages", [[], ["A validation exception occurred"]])
def test_a_refusal_without_words_says_so(messages: list[str]) -> None:
    assert classify(messages, REFUSED).sentence == "Xero refused it without saying why."


def test_a_sentence_names_what_it_is_about() -> None:
    assert classify([write_payments.EXCEEDS], REFUSED).sentence == (
        "12.00 EUR is paid on invoice INV-1, of which less is due."
    )
    assert classify(["Account could not be found"], REFUSED).remedy == "Choose another account for EUR."
    assert "1 March 2026" in classify([write_payments.LOCKED], REFUSED).sentence


def test_what_is_known_to_help_is_said_of_words_without_a_reason() -> None:
    assert "tax type" in classify(["The TaxType code 'x' cannot be used with account code 'y'"], REFUSED).remedy


@given(st.lists(st.text() | st.sampled_from([message for message, _ in KNOWN])))
def test_every_refusal_has_a_reason_and_keeps_its_words(messages: list[str]) -> None:
    error = classify(messages, REFUSED)
    assert ExportReason(error.reason)
    assert Owner(error.owner) is Owner.MERCHANT
    assert error.sentence
    assert error.remedy
    assert not error.retries_by_itself
    assert error.xero_messages == tuple(messages)


@pytest.mark.parametrize(
    ("message", "undeletable"),
    [
        ("This payment cannot be deleted as it has been reconciled.", True),
        ("Organisation accounts are locked on the specified payment date", True),
        ("The User specified does not have the correct permissions to perform this action", False),
        ("The document with the supplied id was not found for this endpoint.", False),
    ],
)
def test_what_cannot_be_deleted_is_told_from_what_may_be_later(message: str, undeletable: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert says_undeletable([message]) is undeletable
