"""What a person reads after consenting at Xero: for each outcome what happened, and what comes next."""

import msgspec

from tieout_server import errors
from tieout_server.connections.messages import Completed
from tieout_server.ledger.links import Link, OrganisationChoice
from tieout_server.web.page import Mood, Page
from tieout_server.web.refusals import page_of


def connected(completed: Completed) -> Page:
    """Consent was given and used; several organisations still have to be chosen from."""
    link, return_url = completed.link, completed.return_url
    page = _choice(link) if link.choices else _connected(link, may_go_on=bool(return_url))
    return msgspec.structs.replace(page, connection_id=link.id, return_url=return_url)


def refused(error: errors.TieoutError, link: Link | None = None) -> Page:
    """Consent came to nothing, for this reason; `link` is the connection that the error names."""
    page = page_of(error, link)
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


def too_many() -> Page:
    """Whoever asks does so too often, or too many do; nothing was looked at."""
    return Page(
        status=429,
        mood=Mood.ATTENTION,
        heading="One moment, please",
        happened="Too many visits came at once, so this one was not looked at. Your link is still good.",
        next="Wait a little, and reload this page.",
    )


def _way_back(error: Exception) -> dict[str, str]:
    """Where the person came from, as far as the error knows; never the id of another's connection."""
    facts = error.facts if isinstance(error, errors.TieoutError) else {}
    ours = "started_for" if isinstance(error, errors.OrganisationAlreadyConnectedError) else "connection_id"
    return {"connection_id": facts.get(ours, ""), "return_url": facts.get("return_url", "")}


def _connected(link: Link, *, may_go_on: bool) -> Page:
    """For the first time, or again: then there is something here already, and only the rest is read."""
    name = link.organisation.name if link.organisation else "Your organisation"
    onward = "You can go on right away." if may_go_on else "You can close this page."
    if link.last_synced_at:
        heading = f"Welcome back: {name} is connected again"
        happened = "Xero has confirmed your consent, and what was missed meanwhile is being read now."
        rest = "Nothing has to be set up anew: your data and settings are as they were."
    else:
        heading = f"{name} is connected"
        happened = "Xero has confirmed your consent, and the import of your invoices and customers has begun."
        rest = "The import runs by itself and begins with what is still to be paid."
    return Page(
        status=200,
        mood=Mood.SUCCESS,
        heading=heading,
        happened=happened,
        next=f"{onward} {rest}",
        result="connected",
    )


def _choice(link: Link) -> Page:
    return Page(
        status=200,
        mood=Mood.ATTENTION,
        heading="One more step: choose an organisation",
        happened="Your consent covers several organisations, and a connection is for one. Nothing is imported yet.",
        items=tuple(_offered(choice) for choice in link.choices),
        next="Go back to the page that sent you to Xero. There you will be asked which of these to connect.",
        result="choose_organisation",
    )


def _offered(choice: OrganisationChoice) -> str:
    return f"{choice.name} (connected already)" if choice.connected_as else choice.name
