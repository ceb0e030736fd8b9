"""Which accounts payments may go to, what is wrong with those that were chosen, and what a change unblocks."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from tieout_server.errors import Violation
from tieout_server.exports import sentences
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import ExportReason, OverpaymentPolicy, XeroStatus
from tieout_server.ledger.documents import Account
from tieout_server.ledger.exports import ExportError, ExportSettings, PaymentExport, Reversal

ACTIVE = "ACTIVE"
BANK = "BANK"
REFUNDS = "refunds"
"""What the account of the settings that has no currency is for."""

_OF_ACCOUNTS = (
    ExportReason.ACCOUNT_NOT_CHOSEN,
    ExportReason.ACCOUNT_NOT_PAYABLE,
    ExportReason.ACCOUNT_ARCHIVED,
    ExportReason.CURRENCY_MISMATCH,
)
"""Reasons that another account, or the same one mended, may put right."""


class ExportAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account that payments may go to, or might if `problem` were mended."""

    account: Account
    currency: str
    """What it takes: a bank account's own currency, otherwise the base currency."""
    problem: ExportError | None
    chosen: bool

    @property
    def usable(self) -> bool:
        """Whether payments may go to it now."""
        return self.problem is None


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What payments go by: the settings, and the accounts as they are in the books."""

    settings: ExportSettings
    accounts: Mapping[str, Account]
    """By Xero's id, archived ones too."""
    base_currency: str

    def account_for(self, currency: str) -> Account | None:
        """The account that is chosen for a currency; None where none is, or where it is gone."""
        return self.accounts.get(self.settings.accounts.get(currency, ""))

    def refund_account(self) -> Account | None:
        """The account that is chosen for refunds; None where none is, or where it is gone."""
        return self.accounts.get(self.settings.refund_xero_account_id)

    def takes(self, account: Account) -> str:
        """The currency in which an account takes payments."""
        return account.currency or self.base_currency


class NewSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings as they are asked for, before anything is known of them."""

    accounts: tuple[tuple[str, str], ...]
    """Currency and account, in the order of the request."""
    refund_xero_account_id: str = ""
    refund_tax_type: str = ""


# What there is to choose from


def views(ground: Ground, now: datetime) -> Sequence[ExportAccount]:
    """All accounts that take payments or are chosen: usable ones first, then by name."""
    chosen = set(ground.settings.accounts.values())
    seen = [
        ExportAccount(
            account=account,
            currency=ground.takes(account),
            problem=closed(account, ground.takes(account), Case(now)),
            chosen=account.xero_account_id in chosen,
        )
        for account in ground.accounts.values()
        if account.takes_payments or account.xero_account_id in chosen
    ]
    return sorted(seen, key=lambda view: (not view.usable, view.account.name.casefold(), view.account.xero_account_id))


def closed(account: Account, purpose: str, case: Case) -> ExportError | None:
    """Why no payment may go to this account, whatever its currency."""
    if account.status != ACTIVE:
        return sentences.account_archived(case, account, purpose)
    if not account.takes_payments:
        return sentences.account_not_payable(case, account.name, purpose)
    return None


# What was chosen


def problem_of(currency: str, ground: Ground, now: datetime) -> ExportError | None:
    """Why payments in this currency have no account that takes them; None where they have."""
    case = Case(now)
    if currency not in ground.settings.accounts:
        return sentences.account_not_chosen(case, currency)
    account = ground.account_for(currency)
    if account is None:
        return sentences.account_gone(case, currency)
    if problem := closed(account, currency, case):
        return problem
    if ground.takes(account) != currency:
        return sentences.account_in_other_currency(case, account, ground.takes(account), currency)
    return None


def refund_problem(ground: Ground, now: datetime) -> ExportError | None:
    """Why nothing can be written to the account for refunds; None where it can."""
    case = Case(now)
    if not ground.settings.refund_xero_account_id:
        return sentences.refund_account_not_chosen(case)
    account = ground.refund_account()
    if account is None:
        return sentences.account_gone(case, REFUNDS)
    if account.status != ACTIVE:
        return sentences.account_archived(case, account, REFUNDS)
    return None


def problems(ground: Ground, now: datetime) -> Sequence[ExportError]:
    """What is wrong with the settings now, by currency; to have chosen nothing yet is not wrong."""
    found = [problem_of(currency, ground, now) for currency in sorted(ground.settings.accounts)]
    if ground.settings.refund_xero_account_id:
        found.append(refund_problem(ground, now))
    return [problem for problem in found if problem is not None]


# New settings


def violations(new: NewSettings, accounts: Mapping[str, Account], base_currency: str) -> Sequence[Violation]:
    """Everything that is wrong with new settings."""
    return [*_of_currencies(new, accounts, base_currency), *_of_refunds(new, accounts)]


def _of_currencies(new: NewSettings, accounts: Mapping[str, Account], base_currency: str) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, (currency, account_id) in enumerate(new.accounts):
        if currency in seen:
            yield Violation(f"accounts[{index}].currency_code", f"names {currency} again: a currency has one account")
        seen.add(currency)
        if fault := _fault(accounts.get(account_id), currency, base_currency):
            yield Violation(f"accounts[{index}].xero_account_id", fault)


def _fault(account: Account | None, currency: str, base_currency: str) -> str:
    """Why payments in a currency cannot go to an account; empty where they can."""
    if account is None:
        return "is no account of these books"
    if account.status != ACTIVE:
        return f"is archived: {account.name}"
    if not account.takes_payments:
        return f"takes no payments: {account.name} is no bank account, and payments to it are not enabled in Xero"
    if (takes := account.currency or base_currency) != currency:
        return f"takes {takes}, not {currency}: {account.name}"
    return ""


def _of_refunds(new: NewSettings, accounts: Mapping[str, Account]) -> Iterator[Violation]:
    if not new.refund_xero_account_id:
        if new.refund_tax_type:
            yield Violation("refund_tax_type", "needs a refund_xero_account_id")
        return
    account = accounts.get(new.refund_xero_account_id)
    if account is None:
        yield Violation("refund_xero_account_id", "is no account of these books")
    elif account.status != ACTIVE:
        yield Violation("refund_xero_account_id", f"is archived: {account.name}")
    elif account.kind == BANK:
        yield Violation("refund_xero_account_id", f"must not be a bank account, as {account.name} is")


# What a change unblocks


def unblocks(export: PaymentExport, before: Ground, after: Ground) -> bool:
    """Whether this export in ERROR may go now that settings or accounts have changed.

    Only what has changed counts: what Xero refused although the account looked right is not tried again for ever.
    """
    if export.xero_status != XeroStatus.ERROR or export.error is None:
        return False
    if export.error.reason == ExportReason.AMOUNT_EXCEEDS_DUE:
        return _splits(after) and not _splits(before)
    return export.error.reason in _OF_ACCOUNTS and _is_better(export.payment.currency, before, after, export.updated_at)


def _splits(ground: Ground) -> bool:
    return ground.settings.overpayment_policy == OverpaymentPolicy.SPLIT


def _is_better(currency: str, before: Ground, after: Ground, now: datetime) -> bool:
    """Whether a currency has an account that takes it, and had another one or none that did."""
    if problem_of(currency, after, now) is not None:
        return False
    return before.settings.accounts.get(currency) != after.settings.accounts[currency] or (
        problem_of(currency, before, now) is not None
    )


def unblocks_reversal(reversal: Reversal, before: Ground, after: Ground) -> bool:
    """Whether this reversal in ERROR may go now that settings or accounts have changed."""
    if reversal.xero_status != XeroStatus.ERROR or reversal.error is None:
        return False
    if reversal.error.reason not in _OF_ACCOUNTS or refund_problem(after, reversal.updated_at) is not None:
        return False
    return (
        before.settings.refund_xero_account_id != after.settings.refund_xero_account_id
        or refund_problem(before, reversal.updated_at) is not None
        or _is_better(reversal.currency, before, after, reversal.updated_at)
    )
