"""Looking at a connection in Xero: does the token refresh, is the organisation linked, does a cheap call succeed."""

import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from tieout_server.clock import Clock
from tieout_server.connections import reasons
from tieout_server.connections.administrator import ADMINISTRATORS, NEEDED_ACTION, find_user
from tieout_server.connections.diagnosis import ACTIVE, Sightings, membership_of, role_seen
from tieout_server.connections.patience import HeldUpBy, in_time
from tieout_server.connections.tokens import Tokens, TokensOf
from tieout_server.errors import DrainingError, StorageUnavailableError, TieoutError
from tieout_server.ledger.books import Identity, Library, Membership, Purpose
from tieout_server.ledger.documents import Organisation, OrganisationUser
from tieout_server.ledger.links import Link, Observation

Seen = TypeVar("Seen")
Found = TypeVar("Found")

PATIENCE = 20.0
"""Seconds that one step may take, repeats included: somebody may be waiting for what comes of it."""


class Probe:
    """Looks at connections, and keeps what was seen; what it proves is `diagnosis`'s business."""

    def __init__(self, tokens: Tokens, identity: Identity, library: Library, clock: Clock) -> None:
        self._tokens = tokens
        self._identity = identity
        self._library = library
        self._clock = clock

    async def examine(self, link: Link) -> Sightings:
        """Look at everything that tells causes apart; a step that fails for no reason of the next one is the last."""
        steps = _Steps(self._clock)
        token = await self._renewed(link, steps)
        if isinstance(token, TieoutError):
            return steps.seen(refresh=token)
        words = functools.partial(_membership_words, link)
        memberships = await steps.take("GET /connections", self._identity.memberships(token), words)
        if isinstance(memberships, TieoutError):
            return steps.seen(memberships=memberships)
        return replace(await self._inside(link, steps, Purpose.PROBE), memberships=memberships)

    async def glance(self, link: Link, *, idle: bool) -> Sightings:
        """Look at the organisation and its users only, as one does daily; tokens that lie idle are refreshed first."""
        steps = _Steps(self._clock)
        token = await self._renewed(link, steps) if idle else ""
        if isinstance(token, TieoutError):
            return steps.seen(refresh=token)
        return await self._inside(link, steps, Purpose.SETTINGS)

    async def _renewed(self, link: Link, steps: "_Steps") -> str | TieoutError:
        return await steps.take(
            "token refresh", self._tokens.renew(_user_of(link)), lambda _: _Finding("200, refreshed")
        )

    async def _inside(self, link: Link, steps: "_Steps", purpose: Purpose) -> Sightings:
        """What the organisation says of itself, of its users, and of what ours may do."""
        books = self._library.open(link.xero_tenant_id, TokensOf(self._tokens, _user_of(link)))
        steps.held_up = books.held_up
        organisation = await steps.take("GET /Organisation", books.organisation(purpose), _organisation_words)
        if isinstance(organisation, TieoutError):
            return steps.seen(organisation=organisation)
        users = await steps.take("GET /Users", books.users(purpose), functools.partial(_user_words, link))
        if isinstance(users, TieoutError) or not _may_suffice(role_seen(link, users)):
            return steps.seen(organisation=organisation, users=users)
        actions = await steps.take("GET /Organisation/Actions", books.actions(purpose), _action_words)
        return steps.seen(organisation=organisation, users=users, actions=actions)


class _Finding(NamedTuple):
    """What was seen, in words, and whether it is not as it should be."""

    words: str
    is_trouble: bool = False


class _Steps:
    """The steps of one look, and what was observed at each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._observations: list[Observation] = []
        self.held_up: HeldUpBy = lambda: None
        """What the calls of the next steps wait for, if for anything."""

    async def take(
        self, subject: str, look: Coroutine[Any, Any, Seen], words: Callable[[Seen], _Finding]
    ) -> Seen | TieoutError:
        """What was found, or the error in its place, unless it is our own."""
        try:
            found = await in_time(look, PATIENCE, self.held_up)
        except (StorageUnavailableError, DrainingError):
            raise
        except TieoutError as error:
            return self._observed(subject, _Finding(reasons.words_of(error), is_trouble=True), error)
        return self._observed(subject, words(found), found)

    def seen(self, **found: Any) -> Sightings:  # noqa: ANN401 - any field of Sightings
        """All that was seen."""
        return Sightings(**found, observations=tuple(self._observations))

    def _observed(self, subject: str, finding: _Finding, found: Found) -> Found:
        self._observations.append(Observation(subject, finding.words, self._clock.now(), finding.is_trouble))
        return found


def _user_of(link: Link) -> str:
    return link.authorised_by.xero_user_id if link.authorised_by else ""


def _may_suffice(role: str) -> bool:
    """Whether it depends on what else is known of a user with this role; where it is unknown, too."""
    return not role or role in ADMINISTRATORS


def _membership_words(link: Link, listed: Sequence[Membership]) -> _Finding:
    membership = membership_of(link, listed)
    if membership is None:
        return _Finding("200, the organisation is not listed", is_trouble=True)
    if not membership.name:
        return _Finding("200, the organisation is listed without a name", is_trouble=True)
    return _Finding("200, the organisation is listed")


def _organisation_words(found: Organisation) -> _Finding:
    return _Finding(f"200, {found.status or 'described'}", is_trouble=found.status not in ("", ACTIVE))


def _user_words(link: Link, users: Sequence[OrganisationUser]) -> _Finding:
    known = link.authorised_by and find_user(users, link.authorised_by)
    seen = f"has the role {known.role}" if known else "is not listed"
    return _Finding(f"200, the authorising user {seen}", is_trouble=not _may_suffice(role_seen(link, users)))


def _action_words(actions: Mapping[str, bool]) -> _Finding:
    allowed = actions.get(NEEDED_ACTION)
    stated = {True: "ALLOWED", False: "NOT-ALLOWED", None: "not stated"}[allowed]
    return _Finding(f"200, {NEEDED_ACTION} {stated}", is_trouble=allowed is False)
