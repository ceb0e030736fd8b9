"""What stands in the way of reading, said in one word for a sync and as a reason for its connection."""

from datetime import datetime

from tieout_server.errors import CallLimitError, OperatorMustActError, TryAgainError
from tieout_server.ledger.books import WaitingFor
from tieout_server.ledger.links import Owner, Reason, ReasonCode


def waiting_for(trouble: TryAgainError | OperatorMustActError) -> WaitingFor:
    """What has to pass before reading can go on."""
    if isinstance(trouble, OperatorMustActError):
        return WaitingFor.OPERATOR
    if isinstance(trouble, CallLimitError):
        return WaitingFor.DAY_LIMIT if trouble.limit == "day" else WaitingFor.MINUTE_LIMIT
    return WaitingFor.XERO_UNAVAILABLE


def reason(by: str, until: datetime | None, observed_at: datetime) -> Reason | None:
    """What is said of a connection whose reading waits for this; None for what a minute mends."""
    match by:
        case WaitingFor.DAY_LIMIT:
            code, owner = ReasonCode.DAY_LIMIT_REACHED, Owner.NOBODY
            sentence = "Xero's calls for the day are used up for this organisation; reading goes on by itself."
        case WaitingFor.XERO_UNAVAILABLE:
            code, owner = ReasonCode.XERO_UNAVAILABLE, Owner.XERO
            sentence = "Xero does not answer at the moment; it is tried again by itself."
        case WaitingFor.OPERATOR:
            code, owner = ReasonCode.SERVICE_MISCONFIGURED, Owner.OPERATOR
            sentence = "This service's own settings keep it from reading; an operator has to act, no merchant can."
        case _:
            return None
    evidence = (f"next try at {until.isoformat()}",) if until else ()
    return Reason(code=code, sentence=sentence, owner=owner, observed_at=observed_at, evidence=evidence)
