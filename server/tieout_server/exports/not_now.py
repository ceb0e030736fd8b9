"""What is said to who asks of an export what cannot be done as it stands: why not, and what to do instead."""

from collections.abc import Mapping

from tieout_server.errors import NotPermittedNowError
from tieout_server.exports.state import XeroStatus
from tieout_server.ledger.exports import PaymentExport, Reversal

_WAITS = "The payment is not in Xero yet: dismiss it, and it never will be."
_ON_ITS_WAY = "The payment is on its way into Xero: ask again once it is known whether it is there."
_THERE = "The payment is in Xero already."
_OURS = "The payment is in Xero: take it back with ReversePayment."
_THEIRS = "Somebody else recorded this payment in Xero: take it back there."
_BACK = "All of the payment is taken back already."

AGAIN: Mapping[XeroStatus, str] = {
    XeroStatus.EXPORTED: _THERE,
    XeroStatus.VERIFIED: _THERE,
    XeroStatus.ALREADY_RECORDED: _THERE,
    XeroStatus.REVERSED: f"{_BACK} If it was paid anew, export that under another payment_id.",
    XeroStatus.DISMISSED: "The payment was dismissed. If it is to be recorded, export it under another payment_id.",
}
"""Why it is not tried again."""
DISMISSED: Mapping[XeroStatus, str] = {
    XeroStatus.SENDING: _ON_ITS_WAY,
    XeroStatus.OUTCOME_UNKNOWN: _ON_ITS_WAY,
    XeroStatus.EXPORTED: _OURS,
    XeroStatus.VERIFIED: _OURS,
    XeroStatus.ALREADY_RECORDED: _THEIRS,
    XeroStatus.REVERSED: _BACK,
}
"""Why it is not dismissed."""
TAKEN_BACK: Mapping[XeroStatus, str] = {
    XeroStatus.QUEUED: _WAITS,
    XeroStatus.CHECKED: _WAITS,
    XeroStatus.SENDING: _ON_ITS_WAY,
    XeroStatus.OUTCOME_UNKNOWN: _ON_ITS_WAY,
    XeroStatus.ERROR: "The payment is not in Xero, or not all of it: undo there what its records name, and dismiss it.",
    XeroStatus.REMOVED_IN_XERO: "Somebody removed the payment in Xero: undo there what is left of it, and dismiss it.",
    XeroStatus.ALREADY_RECORDED: _THEIRS,
    XeroStatus.REVERSED: _BACK,
    XeroStatus.DISMISSED: "The payment was dismissed: if it was recorded in Xero, take it back there.",
}
"""Why it is not taken back."""


def check(export: PaymentExport, refused: Mapping[XeroStatus, str]) -> None:
    """Check that this is not refused of an export that stands where it does.

    Raises:
        NotPermittedNowError: it is.
    """
    if sentence := refused.get(XeroStatus(export.xero_status)):
        raise refusal(export, sentence)


def until_its_end(export: PaymentExport, reversal: Reversal) -> NotPermittedNowError:
    """The refusal of anything else while this reversal is under way."""
    return refusal(export, f"Reversal {reversal.reversal_id!r} is under way: wait for its end.")


def refusal(export: PaymentExport, sentence: str) -> NotPermittedNowError:
    """The refusal that says this of an export."""
    return NotPermittedNowError(sentence, export_id=export.id, state=export.xero_status)
