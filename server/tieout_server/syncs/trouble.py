"""What stands in the way of reading, said in one word for a sync and as a reason for its connection."""

from datetime import datetime

from tieout_server.connections import reasons
from tieout_server.connections.reasons import Case
from tieout_server.errors import CallLimitError, OperatorMustActError, TryAgainError
from tieout_server.ledger.books import HeldUp, WaitingFor
from tieout_server.ledger.links import Link, Observation, Reason

Trouble = TryAgainError | OperatorMustActError
"""What passes without the merchant."""


def waiting_for(trouble: Trouble) -> WaitingFor:
    """What has to pass before reading can go on."""
    if isinstance(trouble, OperatorMustActError):
        return WaitingFor.OPERATOR
    if isinstance(trouble, CallLimitError):
        return WaitingFor.DAY_LIMIT if trouble.limit == "day" else WaitingFor.MINUTE_LIMIT
    return WaitingFor.XERO_UNAVAILABLE


def reason(link: Link, held: HeldUp, trouble: Trouble | None, at: datetime) -> Reason | None:
    """What is said of a connection whose reading is held up; None for what a minute mends."""
    finding = reasons.words_of(trouble) if trouble else f"waits for {held.by}"
    of = Case(link, at, (Observation("sync", finding, at, is_trouble=True),))
    match held.by:
        case WaitingFor.DAY_LIMIT:
            return reasons.day_limit(of, held.until)
        case WaitingFor.XERO_UNAVAILABLE:
            return reasons.unavailable(of)
        case WaitingFor.OPERATOR:
            return reasons.misconfigured(of)
        case _:
            return None
