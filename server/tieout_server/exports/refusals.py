"""What Xero's words mean when it refuses a payment: a reason, a remedy, and who must act."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from tieout_server.ledger.exports import ExportError


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """What was refused, as a person knows it."""

    currency: str
    paid_on: date
    account: str = ""
    """The account's name."""
    invoice: str = ""
    """The invoice's number; empty where it was about several."""
    line: int | None = None
    at: datetime


def classify(messages: Sequence[str], refused: Refused) -> ExportError:
    """The reason that these words give; REJECTED_BY_XERO with the words where they are not known."""
    raise NotImplementedError
