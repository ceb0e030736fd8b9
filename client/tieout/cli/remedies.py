"""What to do about an error, in a sentence for whoever sits at the command line."""

from collections.abc import Mapping
from math import ceil
from types import MappingProxyType

from tieout import errors

_RECONNECT = "`tieout reconnect {connection}` gives the address where the merchant mends it."
_START_AGAIN = "Start again with `tieout connect`, or `tieout reconnect` where there was a connection."

_BY_CLASS: Mapping[type[errors.TieoutError], str] = MappingProxyType(
    {
        errors.InvalidRequestError: "Correct what is listed; `--help` shows the forms.",
        errors.NotFoundError: "`tieout connections` lists what there is.",
        errors.ContactNotErasedError: "The merchant has the contact erased in Xero; here it follows by itself.",
        errors.PaymentIdReusedError: "`tieout payments list CONNECTION --id ID` shows what it was used for.",
        errors.ChangedMeanwhileError: "Read it again, and decide anew.",
        errors.ResumeTokenTooOldError: "Start again without --after.",
        errors.CallerUnauthenticatedError: "Give a valid token by TIEOUT_TOKEN, or a certificate by --cert-file.",
        errors.CallerNotPermittedError: "Ask whoever runs the service for the role or the merchant.",
        errors.NotServedYetError: "Ask whoever runs the service for a newer version.",
        errors.ConsentStateError: _START_AGAIN,
        errors.AuthorizationFailedError: _START_AGAIN,
        errors.ConsentDeniedError: _START_AGAIN,
        errors.ConsentExpiredError: _START_AGAIN,
        errors.NoOrganisationError: _START_AGAIN,
        errors.NotAdministratorError: "Start again as a user whom Xero has as Standard or Adviser.",
        errors.WrongOrganisationError: "Reconnect, and choose the organisation that the connection had.",
        errors.ConnectionNotUsableError: _RECONNECT,
        errors.CredentialsExpiredError: _RECONNECT,
        errors.AccessRevokedError: _RECONNECT,
        errors.ScopeMissingError: _RECONNECT,
        errors.AppRejectedError: "Whoever runs the service corrects its client id and secret for Xero.",
        errors.UnreachableError: (
            "Is the server running, is --target (TIEOUT_TARGET) the host:port where it listens, and does it speak TLS, "
            "as --tls says, or not?"
        ),
        errors.DeadlineError: "It may have happened: look before you repeat it. --timeout waits longer.",
        errors.TryAgainError: "Repeat it in a moment.",
        errors.BugError: "Tell whoever runs the service; its log has more.",
    }
)
_BY_STATE = MappingProxyType(
    {
        "PENDING_AUTHORISATION": "`tieout connect MERCHANT` gives a new address.",
        "PENDING_ORGANISATION": (
            "`tieout choose {connection} ORGANISATION` picks one of those that `tieout connections {connection}` shows."
        ),
        "RECONNECT_REQUIRED": _RECONNECT,
        "DISCONNECTED": _RECONNECT,
    }
)
"""By the metadata `state` of what a connection does not permit now."""
_NEW = "`tieout connect MERCHANT` makes a new connection."
_BY_KIND = MappingProxyType(
    {
        "customer": "`tieout customers CONNECTION --ids` lists them.",
        "invoice": "`tieout invoices CONNECTION` lists them.",
        "sync": "`tieout syncs CONNECTION` lists them.",
        "discrepancy": "`tieout discrepancies CONNECTION` lists them.",
        "payment": "`tieout payments list CONNECTION` lists them.",
        "payment export": "`tieout payments list CONNECTION` lists them.",
        "case": "`tieout discrepancies CONNECTION` lists discrepancies; a case is named when it is reported.",
    }
)
"""By the metadata `kind` of what was not found."""


def remedy(error: errors.TieoutError) -> str:
    """What to do about it; empty where the error itself says it all."""
    if isinstance(error, errors.TryAgainError) and error.reason:
        return f"Repeat it in {_span(error.retry_after.total_seconds())}."
    by_class = next((_BY_CLASS[kind] for kind in type(error).__mro__ if kind in _BY_CLASS), "")
    advice = _special(error) or by_class
    return advice.format(connection=error.metadata.get("connection_id", "CONNECTION"))


def _span(seconds: float) -> str:
    """How long that is, in the unit that people would say it in, rounded up."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds > 2 * size:
            return f"{ceil(seconds / size)} {unit}"
    return f"{ceil(seconds)} s"


def _special(error: errors.TieoutError) -> str | None:
    match error:
        case errors.NotPermittedNowError() if error.metadata.get("state") == "DISCONNECTED":
            return _NEW  # what was connected once can be reconnected in any state
        case errors.ConnectionNotUsableError() | errors.NotPermittedNowError():
            return _BY_STATE.get(error.metadata.get("state", ""))
        case errors.NotFoundError():
            return _BY_KIND.get(error.metadata.get("kind", ""))
        case _:
            return None
