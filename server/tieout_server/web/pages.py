"""What a person reads after consenting at Xero: for each outcome what happened, and what comes next."""

import base64
import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from html import escape
from http import HTTPStatus
from importlib import resources
from string import Template
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from tieout_server import errors
from tieout_server.connections.messages import Completed
from tieout_server.connections.state import ConnectionState
from tieout_server.ledger.links import Link

_FILES = resources.files(__package__)
_TEMPLATE = Template((_FILES / "page.html").read_text())
_STYLE = (_FILES / "page.css").read_text()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address of the page holds Xero's code
    "Cache-Control": "no-store",
}
"""No script, nothing from elsewhere, in nobody's frame, kept and passed on by no one."""


class Mood(StrEnum):
    """How the outcome looks."""

    SUCCESS = "success"
    ATTENTION = "attention"
    FAILURE = "failure"


_MARKS = {
    Mood.SUCCESS: '<path d="m5 12.5 4.5 4.5L19 7.5"/>',
    Mood.ATTENTION: '<path d="M12 6.5v7"/><path d="M12 17.5v.01"/>',
    Mood.FAILURE: '<path d="m7 7 10 10"/><path d="M17 7 7 17"/>',
}

_ERROR_WORD = re.compile(r"[a-z_]{1,40}")
"""What Xero's `error` looks like (RFC 6749, 4.1.2.1). Anything else is not shown: it comes with the address."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome as a page; texts are plain and escaped when it is rendered."""

    status: int
    """HTTP status."""
    mood: Mood
    heading: str
    happened: str
    items: tuple[str, ...] = ()
    """What `happened` lists."""
    next: str
    result: str = ""
    """What the link onward tells the platform."""
    connection_id: str = ""
    return_url: str = ""


def render(page: Page) -> str:
    """The page as HTML."""
    return _TEMPLATE.substitute(
        style=_STYLE,
        mood=page.mood.value,
        mark=_MARKS[page.mood],
        heading=escape(page.heading),
        happened=f"<p>{escape(page.happened)}</p>" + _list(page.items),
        lead="What happens next" if page.mood is Mood.SUCCESS else "What you can do",
        next=f"<p>{escape(page.next)}</p>",
        onward=_onward(page),
    )


def connected(completed: Completed) -> Page:
    """Consent was given and used; several organisations still have to be chosen from."""
    link = completed.link
    return _choice(link, completed.return_url) if link.choices else _success(link, completed.return_url)


def refused(error: errors.TieoutError, link: Link | None = None) -> Page:
    """Consent came to nothing, for this reason; `link` is the connection that the error names."""
    page = _refusal(error, link)
    return msgspec.structs.replace(page, result=page.result or error.reason.lower(), **_way_back(error))


def fault(request_id: str, error: Exception) -> Page:
    """Something broke here."""
    page = Page(
        status=500,
        mood=Mood.FAILURE,
        heading="Something went wrong on our side",
        happened="Your consent could not be processed. This is a fault of ours and not of anything that you did.",
        next=f"Please start again from the page that sent you to Xero. If it happens again, mention {request_id}.",
        result="internal",
    )
    return msgspec.structs.replace(page, **_way_back(error))


def _way_back(error: Exception) -> dict[str, str]:
    """Where the person came from, as far as the error knows."""
    facts = error.facts if isinstance(error, errors.TieoutError) else {}
    return {name: facts.get(name, "") for name in ("connection_id", "return_url")}


def _success(link: Link, return_url: str) -> Page:
    onward = "You can go on right away" if return_url else "You can close this page"
    return Page(
        status=200,
        mood=Mood.SUCCESS,
        heading=f"{_name(link)} is connected",
        happened="Xero has confirmed your consent, and the import of your invoices and customers has begun.",
        next=f"{onward}. The import runs by itself and begins with what is still to be paid.",
        result="connected",
        connection_id=link.id,
        return_url=return_url,
    )


def _choice(link: Link, return_url: str) -> Page:
    return Page(
        status=200,
        mood=Mood.ATTENTION,
        heading="One more step: choose an organisation",
        happened="Your consent covers several organisations, and a connection is for one. Nothing is imported yet.",
        items=tuple(choice.name for choice in link.choices),
        next="Go back to the page that sent you to Xero. There you will be asked which of these to connect.",
        result="choose_organisation",
        connection_id=link.id,
        return_url=return_url,
    )


def _name(link: Link | None) -> str:
    return link.organisation.name if link and link.organisation else "Your organisation"


def _refusal(error: errors.TieoutError, link: Link | None) -> Page:
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
    if fault == "used" and link and link.state == ConnectionState.CONNECTED:
        return _connected_before(link)
    return _OF_FAULTS.get(fault, _UNKNOWN)


def _connected_before(link: Link) -> Page:
    """For who opens the page of success again."""
    return Page(
        status=200,
        mood=Mood.SUCCESS,
        heading=f"{_name(link)} is connected already",
        happened="This link was used before, and each works once. What it did stands; nothing was changed now.",
        next="There is nothing left to do here. The import runs by itself.",
        result="connected",
    )


def _organisation_taken(holder: Link | None) -> Page:
    return Page(
        status=409,
        mood=Mood.ATTENTION,
        heading=f"{_name(holder)} is connected already",
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
_NOT_CONNECTED = Page(
    status=403,
    mood=Mood.FAILURE,
    heading="Nothing was connected",
    happened="Xero did not accept this consent, so nothing was changed.",
    next=_START_AGAIN,
)

_PAGES: dict[type, Page] = {
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
    errors.OperatorMustActError: Page(
        status=500,
        mood=Mood.FAILURE,
        heading="This service is not set up correctly",
        happened="It could not use your consent. This is not a fault of yours, and nothing was changed.",
        next="Whoever runs this service has to correct it. Please tell the platform that sent you here.",
    ),
    errors.TryAgainError: Page(
        status=503,
        mood=Mood.ATTENTION,
        heading="Xero does not answer right now",
        happened="Your consent reached us, but Xero did not answer in time. Nothing is lost.",
        next="Reload this page in a moment to try again. "
        "If that does not help, start again from the page that sent you to Xero.",
    ),
}
"""The page of each class of refusals; the others say no more than that nothing was connected."""


def _list(items: Iterable[str]) -> str:
    rows = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{rows}</ul>" if rows else ""


def _onward(page: Page) -> str:
    if not page.return_url:
        return ""
    url = _with_result(page.return_url, page.connection_id, page.result)
    verb = "Continue to" if page.status == HTTPStatus.OK else "Back to"
    host = urlsplit(page.return_url).netloc
    return f'<a class="button" href="{escape(url)}">{verb} {escape(host)}</a>'


def _with_result(return_url: str, connection_id: str, result: str) -> str:
    """The caller's address, what it already asks kept, with `connection_id` and `result` appended."""
    parts = urlsplit(return_url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("connection_id", connection_id), ("result", result)]
    return urlunsplit(parts._replace(query=urlencode(query)))
