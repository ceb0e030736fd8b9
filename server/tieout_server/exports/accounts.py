"""Which accounts payments may go to, what is wrong with those that were chosen, and what a change unblocks."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from tieout_server.errors import Violation
from tieout_server.ledger.documents import Account
from tieout_server.ledger.exports import ExportError, ExportSettings, PaymentExport, Reversal


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


class NewSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings as they are asked for, before anything is known of them."""

    accounts: tuple[tuple[str, str], ...]
    """Currency and account, in the order of the request."""
    refund_xero_account_id: str = ""
    refund_tax_type: str = ""


def views(ground: Ground, now: datetime) -> Sequence[ExportAccount]:
    """All accounts that take payments or are chosen: usable ones first, then by name."""
    raise NotImplementedError


def problem_of(currency: str, ground: Ground, now: datetime) -> ExportError | None:
    """Why payments in this currency have no account that takes them; None where they have."""
    raise NotImplementedError


def problems(ground: Ground, now: datetime) -> Sequence[ExportError]:
    """What is wrong with the settings now, most decisive first."""
    raise NotImplementedError


def violations(new: NewSettings, accounts: Mapping[str, Account], base_currency: str) -> Sequence[Violation]:
    """Everything that is wrong with new settings."""
    raise NotImplementedError


def unblocks(export: PaymentExport, before: Ground, after: Ground) -> bool:
    """Whether this export in ERROR may go now that settings or accounts have changed."""
    raise NotImplementedError


def unblocks_reversal(reversal: Reversal, before: Ground, after: Ground) -> bool:
    """Whether this reversal in ERROR may go now that settings or accounts have changed."""
    raise NotImplementedError
