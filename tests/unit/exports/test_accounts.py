"""Which accounts payments may go to, what is wrong with the settings, and what a change unblocks."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from documents import account
from payments_known import BANK_EUR, BANK_NZD, CLEARING, NOW, REFUNDED, ground, payment
from tieout_server.exports.accounts import (
    Ground,
    NewSettings,
    problem_of,
    problems,
    refund_problem,
    unblocks,
    unblocks_reversal,
    views,
    violations,
)
from tieout_server.ledger.exports import ExportError, PaymentExport, Reversal

ARCHIVED = account("bank-nzd", name="Everyday", currency="NZD", takes_payments=True, status="ARCHIVED")
ACCOUNTS = {one.xero_account_id: one for one in (BANK_NZD, BANK_EUR, CLEARING, REFUNDED)}


def reason_of(error: ExportError | None) -> str:
    return error.reason if error else ""


def test_accounts_that_take_payments_are_listed_usable_ones_first() -> None:
    old = account("old", name="A closed one", status="ARCHIVED", takes_payments=True)
    seen = views(ground(old, BANK_EUR, CLEARING, REFUNDED, accounts={"EUR": "bank-eur"}), NOW)
    assert [(view.account.name, view.currency, view.usable, view.chosen) for view in seen] == [
        ("Clearing", "NZD", True, False),
        ("Euro", "EUR", True, True),
        ("A closed one", "NZD", False, False),
    ]
    assert [reason_of(view.problem) for view in seen] == ["", "", "ACCOUNT_ARCHIVED"]


def test_a_chosen_account_is_listed_even_where_it_takes_payments_no_more() -> None:
    [view] = views(ground(account("bank-nzd", kind="REVENUE")), NOW)
    assert (reason_of(view.problem), view.chosen) == ("ACCOUNT_NOT_PAYABLE", True)


def test_settings_without_accounts_have_no_problems() -> None:
    assert problems(ground(accounts={}), NOW) == []


def test_every_problem_of_the_settings_is_named() -> None:
    found = problems(ground(ARCHIVED, refund_xero_account_id="gone"), NOW)
    assert [(problem.reason, problem.sentence) for problem in found] == [
        ("ACCOUNT_ARCHIVED", "The account that was chosen for EUR is no longer in Xero."),
        ("ACCOUNT_ARCHIVED", "The account for NZD, Everyday, is archived in Xero."),
        ("ACCOUNT_ARCHIVED", "The account that was chosen for refunds is no longer in Xero."),
    ]


def test_good_settings_have_no_problems() -> None:
    assert problems(ground(refund_xero_account_id="refunded"), NOW) == []


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [("", "ACCOUNT_NOT_CHOSEN"), ("gone", "ACCOUNT_ARCHIVED"), ("bank-nzd", "ACCOUNT_ARCHIVED"), ("refunded", "")],
)
def test_the_account_for_refunds_is_there_and_in_use(chosen: str, reason: str) -> None:
    assert reason_of(refund_problem(ground(ARCHIVED, REFUNDED, refund_xero_account_id=chosen), NOW)) == reason


# New settings


def broken(new: NewSettings) -> list[tuple[str, str]]:
    accounts = ACCOUNTS | {"old": account("old", status="ARCHIVED", takes_payments=True)}
    return [(violation.field, violation.rule) for violation in violations(new, accounts, "NZD")]


def test_good_settings_are_taken() -> None:
    new = NewSettings(
        accounts=(("NZD", "clearing"), ("EUR", "bank-eur")),
        refund_xero_account_id="refunded",
        refund_tax_type="OUTPUT2",
    )
    assert broken(new) == []


def test_every_violation_of_new_settings_is_named() -> None:
    new = NewSettings(
        accounts=(("NZD", "gone"), ("EUR", "old"), ("NZD", "refunded"), ("USD", "bank-eur")),
        refund_xero_account_id="bank-nzd",
    )
    assert broken(new) == [
        ("accounts[0].xero_account_id", "is no account of these books"),
        ("accounts[1].xero_account_id", "is archived: old"),
        ("accounts[2].currency_code", "names NZD again: a currency has one account"),
        (
            "accounts[2].xero_account_id",
            "takes no payments: Refunds is no bank account, and payments to it are not enabled in Xero",
        ),
        ("accounts[3].xero_account_id", "takes EUR, not USD: Euro"),
        ("refund_xero_account_id", "must not be a bank account, as Everyday is"),
    ]


@pytest.mark.parametrize(
    ("refund", "tax", "field"),
    [
        ("", "OUTPUT2", "refund_tax_type"),
        ("gone", "", "refund_xero_account_id"),
        ("old", "", "refund_xero_account_id"),
    ],
)
def test_a_refund_account_that_cannot_be_is_named(refund: str, tax: str, field: str) -> None:
    [(named, _)] = broken(NewSettings(accounts=(), refund_xero_account_id=refund, refund_tax_type=tax))
    assert named == field


# What a change unblocks


def error(reason: str) -> ExportError:
    return ExportError(reason=reason, sentence="", remedy="", owner="MERCHANT", occurred_at=NOW)


def stuck(reason: str, **fields: Any) -> PaymentExport:  # noqa: ANN401 - any field of the export
    stated: dict[str, Any] = {"xero_status": "ERROR", "error": error(reason)}
    named = payment(currency=fields.pop("currency", "EUR"))
    return PaymentExport(
        id="exp_1", connection_id="con_1", payment=named, created_at=NOW, updated_at=NOW, **(stated | fields)
    )


WITHOUT_EUR = ground(accounts={"NZD": "bank-nzd"})


@pytest.mark.parametrize(
    "reason", ["ACCOUNT_NOT_CHOSEN", "ACCOUNT_NOT_PAYABLE", "ACCOUNT_ARCHIVED", "CURRENCY_MISMATCH"]
)
def test_choosing_an_account_unblocks_what_waits_for_it(reason: str) -> None:
    assert unblocks(stuck(reason), WITHOUT_EUR, ground())
    assert not unblocks(stuck(reason, currency="NZD"), WITHOUT_EUR, ground())
    assert not unblocks(stuck(reason), ground(), ground())


@pytest.mark.parametrize("reason", ["PERIOD_LOCKED", "INVOICE_NOT_PAYABLE", "REJECTED_BY_XERO", "AMOUNT_EXCEEDS_DUE"])
def test_choosing_an_account_does_not_touch_what_failed_otherwise(reason: str) -> None:
    assert not unblocks(stuck(reason), WITHOUT_EUR, ground())


@pytest.mark.parametrize("status", ["DISMISSED", "QUEUED", "VERIFIED", "REMOVED_IN_XERO"])
def test_only_errors_are_unblocked(status: str) -> None:
    assert not unblocks(stuck("ACCOUNT_NOT_CHOSEN", xero_status=status), WITHOUT_EUR, ground())


def test_another_account_that_is_no_good_unblocks_nothing() -> None:
    bad = ground(accounts={"EUR": "bank-nzd"})
    assert not unblocks(stuck("ACCOUNT_NOT_CHOSEN"), WITHOUT_EUR, bad)


def test_an_account_that_is_restored_unblocks_what_it_held_up() -> None:
    export = stuck("ACCOUNT_ARCHIVED", currency="NZD")
    assert unblocks(export, ground(ARCHIVED), ground())
    assert not unblocks(export, ground(), ground(ARCHIVED))


def test_splitting_unblocks_what_exceeded_its_due() -> None:
    hold, split = ground(), ground(overpayment_policy="SPLIT")
    assert unblocks(stuck("AMOUNT_EXCEEDS_DUE"), hold, split)
    assert not unblocks(stuck("AMOUNT_EXCEEDS_DUE"), split, split)
    assert not unblocks(stuck("AMOUNT_EXCEEDS_DUE"), split, hold)


@pytest.mark.parametrize(
    ("before", "after", "unblocked"),
    [
        (ground(), ground(refund_xero_account_id="refunded"), True),
        (ground(refund_xero_account_id="refunded"), ground(refund_xero_account_id="refunded"), False),
        (ground(refund_xero_account_id="refunded"), ground(), False),
        (
            ground(REFUNDED, accounts={}, refund_xero_account_id="refunded"),
            ground(refund_xero_account_id="refunded"),
            True,
        ),
    ],
    ids=["refund account chosen", "nothing changed", "refund account taken away", "account chosen"],
)
def test_a_reversal_waits_for_its_accounts(before: Ground, after: Ground, unblocked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    reversal = Reversal(
        id="rev_1",
        export_id="exp_1",
        connection_id="con_1",
        reversal_id="r-1",
        kind="REFUND",
        amount=Decimal(1),
        currency="NZD",
        reversed_on=date(2026, 11, 22),
        xero_status="ERROR",
        error=error("ACCOUNT_NOT_CHOSEN"),
        created_at=NOW,
        updated_at=NOW,
    )
    assert unblocks_reversal(reversal, before, after) is unblocked


def test_an_account_is_asked_for_by_its_currency() -> None:
    assert reason_of(problem_of("USD", ground(), NOW)) == "ACCOUNT_NOT_CHOSEN"
    assert problem_of("EUR", ground(), NOW) is None
