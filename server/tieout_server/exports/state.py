"""Where an export stands, where each step of it stands, and what moves them."""

from collections.abc import Mapping
from enum import StrEnum

from tieout_server.errors import NotPermittedNowError


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
REVERSIBLE = (XeroStatus.EXPORTED, XeroStatus.VERIFIED)
"""It is in Xero, and we put it there."""

_FOLLOWS: Mapping[XeroStatus, tuple[XeroStatus, ...]] = {
    XeroStatus.QUEUED: (
        XeroStatus.CHECKED,
        XeroStatus.SENDING,
        XeroStatus.EXPORTED,  # what was missing of it turned out to be there
        XeroStatus.ERROR,
        XeroStatus.OUTCOME_UNKNOWN,  # it was sent before it was erased, and came again
        XeroStatus.ALREADY_RECORDED,
        XeroStatus.DISMISSED,  # it failed before it was sent, or somebody enters it by hand
    ),
    XeroStatus.CHECKED: (
        XeroStatus.QUEUED,
        XeroStatus.SENDING,
        XeroStatus.EXPORTED,
        XeroStatus.ERROR,
        XeroStatus.OUTCOME_UNKNOWN,
        XeroStatus.ALREADY_RECORDED,
        XeroStatus.DISMISSED,
    ),
    XeroStatus.SENDING: (
        XeroStatus.QUEUED,  # it is known that nothing was done
        XeroStatus.EXPORTED,
        XeroStatus.ERROR,
        XeroStatus.OUTCOME_UNKNOWN,
    ),
    XeroStatus.OUTCOME_UNKNOWN: (
        XeroStatus.QUEUED,
        XeroStatus.EXPORTED,
        XeroStatus.ERROR,
        XeroStatus.REMOVED_IN_XERO,
    ),
    XeroStatus.EXPORTED: (XeroStatus.VERIFIED, XeroStatus.REVERSED, XeroStatus.REMOVED_IN_XERO),
    XeroStatus.VERIFIED: (XeroStatus.REVERSED, XeroStatus.REMOVED_IN_XERO),
    XeroStatus.ALREADY_RECORDED: (XeroStatus.REMOVED_IN_XERO,),
    XeroStatus.ERROR: (XeroStatus.QUEUED, XeroStatus.DISMISSED),
    XeroStatus.REMOVED_IN_XERO: (
        XeroStatus.QUEUED,
        XeroStatus.DISMISSED,
        XeroStatus.REVERSED,  # it was to be taken back, and somebody was faster
    ),
    XeroStatus.REVERSED: (),
    XeroStatus.DISMISSED: (),
}


def move(status: str, to: XeroStatus) -> XeroStatus:
    """Where an export or a reversal stands that moves there; it may always stay where it is.

    Raises:
        NotPermittedNowError: it cannot move there from where it stands.
    """
    stands = XeroStatus(status)
    if to != stands and to not in _FOLLOWS[stands]:
        raise NotPermittedNowError(f"What is {stands} cannot become {to}.", state=stands)
    return to


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
    """Why a payment is not in Xero, or not as it should be."""

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
    RECORDED_TWICE = "RECORDED_TWICE"


class ReversalKind(StrEnum):
    """Why a payment is taken back."""

    REFUND = "REFUND"
    CHARGEBACK = "CHARGEBACK"
    LATE_FAILURE = "LATE_FAILURE"


class OverpaymentPolicy(StrEnum):
    """What happens where more is paid than is due."""

    HOLD = "HOLD"
    SPLIT = "SPLIT"
