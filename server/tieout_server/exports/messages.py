"""What callers ask of payment exports, and what they are answered."""

from datetime import date, datetime

import msgspec

from tieout_server.ledger.exports import ExportError, ExportSettings, PaymentExport, PlatformPayment, XeroRecord
from tieout_server.ledger.money import Money


class ExportPayment(msgspec.Struct, frozen=True):
    """A payment to be recorded in Xero."""

    connection_id: str
    payment: PlatformPayment
    request_id: str = ""


class Accepted(msgspec.Struct, frozen=True):
    """The export that answers a request; `existing` if it was there before."""

    export: PaymentExport
    existing: bool


class Reexport(msgspec.Struct, frozen=True):
    """A request to try one export again."""

    export_id: str
    request_id: str = ""


class ReexportAll(msgspec.Struct, frozen=True):
    """A request to try again what is in ERROR, or what is for one of these reasons."""

    connection_id: str
    reasons: tuple[str, ...] = ()
    request_id: str = ""


class Dismiss(msgspec.Struct, frozen=True):
    """Somebody handled a payment elsewhere."""

    export_id: str
    note: str
    request_id: str = ""


class Reverse(msgspec.Struct, frozen=True, kw_only=True):
    """A request to take a payment back."""

    export_id: str
    kind: str
    """A ReversalKind."""
    reversal_id: str
    """The caller's own."""
    reason: str = ""
    amount: Money | None = None
    """None: all of the payment."""
    reversed_on: date | None = None
    """None: today, by the organisation's calendar."""
    request_id: str = ""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What examining a payment found, as of an instant. With findings there is no plan."""

    findings: tuple[ExportError, ...]
    plan: tuple[XeroRecord, ...]
    twins: tuple[XeroRecord, ...]
    as_of: datetime
    short_code: str = ""
    """The organisation's, for links into Xero."""


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """New settings in place of what is there."""

    connection_id: str
    accounts: tuple[tuple[str, str], ...] = ()
    """Currency and Xero's id of the account, in the order in which they were given."""
    overpayment_policy: str = "HOLD"
    refund_xero_account_id: str = ""
    refund_tax_type: str = ""
    revision: str = ""
    """The revision that was read; empty: whatever is there is replaced."""
    request_id: str = ""


class SettingsNow(msgspec.Struct, frozen=True):
    """The settings, and what is wrong with them as far as is known here."""

    settings: ExportSettings
    problems: tuple[ExportError, ...] = ()


class Updated(msgspec.Struct, frozen=True):
    """The settings after an update, and how many exports it set going again."""

    now: SettingsNow
    woken: int
