"""Where an export stands, where each step of it stands, and what moves them."""

from enum import StrEnum


class XeroStatus(StrEnum):
    """Where an export or a reversal stands."""

    QUEUED = "QUEUED"
    CHECKED = "CHECKED"
    SENDING = "SENDING"
    EXPORTED = "EXPORTED"
    VERIFIED = "VERIFIED"
    ERROR = "ERROR"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    ALREADY_RECORDED = "ALREADY_RECORDED"
    REVERSED = "REVERSED"
    REMOVED_IN_XERO = "REMOVED_IN_XERO"
    DISMISSED = "DISMISSED"


UNDER_WAY = (XeroStatus.QUEUED, XeroStatus.CHECKED, XeroStatus.SENDING, XeroStatus.OUTCOME_UNKNOWN)
"""It will go on by itself."""
IN_XERO = (XeroStatus.EXPORTED, XeroStatus.VERIFIED, XeroStatus.ALREADY_RECORDED)
"""Xero shows the payment."""
STUCK = (XeroStatus.ERROR, XeroStatus.REMOVED_IN_XERO)
"""Somebody decides: export again, or dismiss."""
OVER = (XeroStatus.VERIFIED, XeroStatus.ALREADY_RECORDED, XeroStatus.REVERSED, XeroStatus.DISMISSED)
"""Nothing more is to be done; what a watcher's snapshot leaves out."""


class StepState(StrEnum):
    """Where one write to Xero stands. SENDING is committed before anything is sent."""

    PLANNED = "PLANNED"
    SENDING = "SENDING"
    UNKNOWN = "UNKNOWN"
    """It was sent, or may have been, and no answer is known: only looking in Xero settles it."""
    DONE = "DONE"
    REFUSED = "REFUSED"
    GONE = "GONE"
    """It was done, and somebody removed it in Xero."""
    DROPPED = "DROPPED"
    """Planned and never sent: another plan took its place."""


class ExportReason(StrEnum):
    """Why a payment is not in Xero."""

    ACCOUNT_NOT_CHOSEN = "ACCOUNT_NOT_CHOSEN"
    ACCOUNT_NOT_PAYABLE = "ACCOUNT_NOT_PAYABLE"
    ACCOUNT_ARCHIVED = "ACCOUNT_ARCHIVED"
    PERIOD_LOCKED = "PERIOD_LOCKED"
    INVOICE_NOT_PAYABLE = "INVOICE_NOT_PAYABLE"
    AMOUNT_EXCEEDS_DUE = "AMOUNT_EXCEEDS_DUE"
    CONTACT_ARCHIVED = "CONTACT_ARCHIVED"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    SCOPE_MISSING = "SCOPE_MISSING"
    CONNECTION_LOST = "CONNECTION_LOST"
    RATE_LIMITED = "RATE_LIMITED"
    XERO_UNAVAILABLE = "XERO_UNAVAILABLE"
    REJECTED_BY_XERO = "REJECTED_BY_XERO"


class ReversalKind(StrEnum):
    """Why a payment is taken back."""

    REFUND = "REFUND"
    CHARGEBACK = "CHARGEBACK"
    LATE_FAILURE = "LATE_FAILURE"


class OverpaymentPolicy(StrEnum):
    """What happens where more is paid than is due."""

    HOLD = "HOLD"
    SPLIT = "SPLIT"
