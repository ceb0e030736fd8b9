"""What stands in the way of reading, said in one word for a sync and as a reason for its connection."""

from datetime import datetime, timedelta

from tieout_server.connections import reasons
from tieout_server.connections.reasons import Case
from tieout_server.errors import (
    BugError,
    CallLimitError,
    OperatorMustActError,
    RejectedError,
    TryAgainError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import HeldUp, WaitingFor
from tieout_server.ledger.links import Link, Observation, Reason
from tieout_server.ledger.money import InexactAmountError
from tieout_server.syncs.schedule import OFTEN

PASSING = (TryAgainError, OperatorMustActError)
"""What passes without the merchant."""
Trouble = TryAgainError | OperatorMustActError | BugError
"""What holds reading up; a BugError where it `may_pass`."""

AGAIN_AFTER = timedelta(minutes=1)
"""After trouble of which nobody says when it ends; the calls themselves were repeated for a minute before."""
AT_LATEST = timedelta(hours=1)
"""After a refusal that lasts: each costs a call, and five more to find out that the connection is in order."""


def after_refusal(link: Link, now: datetime, *, read_at: datetime | None = None) -> datetime:
    """When to read again what is refused though the connection is connected: the longer it lasts, the less often.

    It lasts since that was noted of the connection, or since it was last read (`read_at`).
    """
    since = link.reason.observed_at if reasons.only_reading_tells(link.reason) and link.reason else now
    return now + _as_long_as(max(since, read_at or since), now, AT_LATEST)


def after_outage(link: Link, now: datetime) -> datetime:
    """When to read again after trouble of which nobody says when it ends: likewise."""
    since = link.reason.observed_at if reasons.passes(link.reason) and link.reason else now
    return now + _as_long_as(since, now, OFTEN)


def _as_long_as(since: datetime, now: datetime, at_most: timedelta) -> timedelta:
    return min(max(now - since, AGAIN_AFTER), at_most)


def may_pass(bug: BugError) -> bool:
    """Whether the same request may be answered otherwise; one that Xero refuses as it is stays refused."""
    is_odd = isinstance(bug, UnexpectedAnswerError | InexactAmountError)
    return is_odd and not isinstance(bug, RejectedError)


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
    if isinstance(trouble, BugError):
        return of_a_part(link, trouble, at)
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


def of_a_part(link: Link, trouble: BugError | XeroUnavailableError, at: datetime) -> Reason:
    """What is said of a connection of whose books a part cannot be read, while the rest can."""
    subject, said = (
        (reasons.ODD_ANSWER, reasons.odd) if isinstance(trouble, BugError) else (reasons.REFUSED_CALL, reasons.refused)
    )
    return said(Case(link, at, (Observation(subject, reasons.words_of(trouble), at, is_trouble=True),)))
