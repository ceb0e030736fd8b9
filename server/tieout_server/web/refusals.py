"""What a person reads when consent came to nothing: one page for each way in which it can."""

import re

from tieout_server import errors
from tieout_server.connections.state import ConnectionState
from tieout_server.ledger.links import Link
from tieout_server.web.page import Mood, Page

_ERROR_WORD = re.compile(r"[a-z_]{1,40}")
"""What Xero's `error` looks like (RFC 6749, 4.1.2.1). Anything else is not shown: it comes with the address."""


def page_of(error: errors.TieoutError, link: Link | None) -> Page:
    """The page of this refusal; `link` is the connection that the error names."""
    match error:
        case errors.ConsentStateError():
            return _of_state(error.facts.get("fault", ""), link)
        case errors.OrganisationAlreadyConnectedError():
            return _organisation_taken(link)
        case errors.AuthorizationFailedError():
            return _xero_failed(error.facts.get("error", ""))
        case errors.WrongOrganisationError():
            return _wrong_organisation(error.facts.get("expected", ""), error.facts.get("given", ""))
        case errors.NotAdministratorError():
            return _not_administrator(error.sentence)
        case _:
            return next((_PAGES[kind] for kind in type(error).__mro__ if kind in _PAGES), _NOT_CONNECTED)


def _of_state(fault: str, link: Link | None) -> Page:
    """For a link that no longer works. It may be in anybody's hands by now, so no names are told."""
    if fault == "used" and link:
        return _OF_STATES.get(ConnectionState(link.state), _USED)
    return _OF_FAULTS.get(fault, _UNKNOWN)


def _organisation_taken(holder: Link | None) -> Page:
    name = holder.organisation.name if holder and holder.organisation else "Your organisation"
    return Page(
        status=409,
        mood=Mood.ATTENTION,
        heading=f"{name} is connected already",
        happened="This organisation already has a connection to this platform, so no second one was made.",
        next="If this is the one you meant, there is nothing to do. "
        "If you meant another, start again from the page that sent you to Xero, and select that one there.",
    )


def _xero_failed(word: str) -> Page:
    said = f" It said only: {word}." if _ERROR_WORD.fullmatch(word) else ""
    return Page(
        status=502,
        mood=Mood.ATTENTION,
        heading="Xero could not finish",
        happened=f"Xero sent you back with an error instead of your consent.{said} Nothing was changed.",
        next=_START_AGAIN,
    )


def _wrong_organisation(ours: str, theirs: str) -> Page:
    return Page(
        status=409,
        mood=Mood.FAILURE,
        heading="That is another organisation",
        happened=f"This connection belongs to {ours}, but consent was given for {theirs}. Nothing was changed.",
        next=f"Start again from the page that sent you to Xero, and select {ours} when Xero asks.",
    )


def _not_administrator(sentence: str) -> Page:
    return Page(
        status=403,
        mood=Mood.FAILURE,
        heading="Your role in Xero is not enough",
        happened=sentence,
        next="Ask somebody who has one of these roles to connect, or have your own changed, and start again.",
    )


_RELOAD = (
    "Reload this page in a moment to try again. If that does not help, start again from the page that sent you to Xero."
)
_START_AGAIN = "Start again from the page that sent you to Xero. It gives you a fresh link."

_UNKNOWN = Page(
    status=400,
    mood=Mood.FAILURE,
    heading="This link leads nowhere",
    happened="We do not know this link, or a newer one has replaced it. Nothing was changed.",
    next=_START_AGAIN,
)
_USED = Page(
    status=410,
    mood=Mood.ATTENTION,
    heading="This link was used before",
    happened="Each link from Xero works once. What it did the first time stands; nothing was changed now.",
    next="Start again from the page that sent you to Xero, unless you see there that you are connected.",
)
_EXPIRED = Page(
    status=410,
    mood=Mood.ATTENTION,
    heading="This link has expired",
    happened="For your safety a link to Xero is good for 30 minutes. Nothing was changed.",
    next=_START_AGAIN,
)
_OF_FAULTS = {"unknown": _UNKNOWN, "used": _USED, "expired": _EXPIRED}
"""By the fault of a consent's state."""

_OF_STATES = {
    ConnectionState.CONNECTED: Page(
        status=200,
        mood=Mood.SUCCESS,
        heading="You are connected already",
        happened="This link was used before, and each works once. What it did stands; nothing was changed now.",
        next="There is nothing left to do here. The import runs by itself.",
        result="connected",
    ),
    ConnectionState.PENDING_ORGANISATION: Page(
        status=200,
        mood=Mood.ATTENTION,
        heading="One more step: choose an organisation",
        happened="This link was used before, and your consent has reached us. It covers several organisations.",
        next="Go back to the page that sent you to Xero. There you will be asked which of them to connect.",
        result="choose_organisation",
    ),
}
"""By the state of the connection, for who opens again the page on which a consent ended well."""

_NOT_CONNECTED = Page(
    status=403,
    mood=Mood.FAILURE,
    heading="Nothing was connected",
    happened="Xero did not accept this consent, so nothing was changed.",
    next=_START_AGAIN,
)

_PAGES: dict[type, Page] = {
    errors.NotPermittedNowError: Page(
        status=409,
        mood=Mood.ATTENTION,
        heading="The connection has changed meanwhile",
        happened="While you were at Xero, the connection that you consented for was ended or became another "
        "organisation's, so your consent was not used.",
        next="If it is to be connected all the same, start again from the page that sent you to Xero.",
    ),
    errors.ConsentDeniedError: Page(
        status=403,
        mood=Mood.ATTENTION,
        heading="Consent was declined",
        happened="You did not allow access in Xero, so nothing was connected and nothing was read.",
        next="If that was not intended, start again from the page that sent you to Xero and allow access there.",
    ),
    errors.NoOrganisationError: Page(
        status=403,
        mood=Mood.ATTENTION,
        heading="No organisation was selected",
        happened="You signed in to Xero, but consent was given for none of your organisations.",
        next="Start again from the page that sent you to Xero, and select an organisation when Xero asks.",
    ),
    errors.ConsentExpiredError: Page(
        status=410,
        mood=Mood.ATTENTION,
        heading="Consent came back too late",
        happened="Your consent took too long to come back. Xero gives it five minutes. Nothing was changed.",
        next=_START_AGAIN,
    ),
    errors.ScopeMissingError: Page(
        status=403,
        mood=Mood.FAILURE,
        heading="A permission is missing",
        happened="Xero accepted your consent, but it does not cover all that is needed. Nothing was changed.",
        next="Start again from the page that sent you to Xero, and allow everything that Xero lists there.",
    ),
    errors.AccessRevokedError: Page(
        status=403,
        mood=Mood.FAILURE,
        heading="Xero does not let us in",
        happened="Xero accepted your consent and then refused the organisation's books. Nothing was changed.",
        next="See in Xero whether you can open the organisation and its subscription runs. "
        "Then start again from the page that sent you to Xero.",
    ),
    errors.OperatorMustActError: Page(
        status=500,
        mood=Mood.FAILURE,
        heading="This service is not set up correctly",
        happened="It could not use your consent. This is not a fault of yours, and nothing was changed.",
        next="Whoever runs this service has to correct it. Please tell the platform that sent you here.",
    ),
    errors.StorageUnavailableError: Page(
        status=503,
        mood=Mood.ATTENTION,
        heading="We cannot go on right now",
        happened="Your consent reached us, but we could not write down what came of it. This is not a fault of yours.",
        next=_RELOAD,
    ),
    errors.DrainingError: Page(
        status=503,
        mood=Mood.ATTENTION,
        heading="This server is being replaced",
        happened="Your consent reached us as this server stopped, and another one goes on with it. Nothing is lost.",
        next=_RELOAD,
    ),
    errors.CallLimitError: Page(
        status=503,
        mood=Mood.ATTENTION,
        heading="Xero is busy right now",
        happened="Your consent reached us, but Xero answers no more questions for the moment. Nothing is lost.",
        next="Reload this page in a few minutes to try again. "
        "If that does not help, start again later from the page that sent you to Xero.",
    ),
    errors.TryAgainError: Page(
        status=503,
        mood=Mood.ATTENTION,
        heading="Xero does not answer right now",
        happened="Your consent reached us, but Xero did not answer in time. Nothing is lost.",
        next=_RELOAD,
    ),
}
"""The page of each class of refusals; the others say no more than that nothing was connected."""
