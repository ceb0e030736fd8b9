"""What sightings of a connection prove: the reason, and whether it is proven, a warning, or passes by itself.

Xero's connections never expire: only a disconnection, here or in Xero, or a taken back consent removes one. A removed
or downgraded user and a reset demo company stay listed, and every call is refused (Xero, Tenants; Troubleshooting).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from tieout_server.connections import reasons, scopes
from tieout_server.connections.administrator import ADMINISTRATORS, NEEDED_ACTION, find_user
from tieout_server.connections.reasons import Case
from tieout_server.connections.standing import REMOVED
from tieout_server.errors import (
    AccessRevokedError,
    BugError,
    CallLimitError,
    CredentialsExpiredError,
    OperatorMustActError,
    PersonMustActError,
    ScopeMissingError,
    TieoutError,
)
from tieout_server.ledger.books import Membership
from tieout_server.ledger.documents import Organisation, OrganisationUser
from tieout_server.ledger.links import Link, Observation, Reason

ACTIVE = "ACTIVE"
"""The OrganisationStatus of an organisation that can be used through the API (Xero, Organisation)."""


@dataclass(frozen=True)
class Sightings:
    """What came of looking at a connection, step by step; a step that was not taken is None."""

    refresh: TieoutError | None = None
    """Why the tokens could not be refreshed; None where they could, or need not be."""
    memberships: Sequence[Membership] | TieoutError | None = None
    organisation: Organisation | TieoutError | None = None
    users: Sequence[OrganisationUser] | TieoutError | None = None
    actions: Mapping[str, bool] | TieoutError | None = None
    observations: tuple[Observation, ...] = ()


class Certainty(StrEnum):
    """What a verdict means for the connection."""

    WORKS = "WORKS"
    """Nothing is the matter."""
    WARNING = "WARNING"
    """It was seen that something is not as it should be, while calls still succeed."""
    TEMPORARY = "TEMPORARY"
    """Nothing was proven: Xero, a limit or this service itself stood in the way. No reason: not even that is told."""
    LOST = "LOST"
    """Xero refuses us, and only a person can change that."""


class Verdict(msgspec.Struct, frozen=True):
    """What sightings prove, and in which words."""

    certainty: Certainty
    reason: Reason | None = None


class Circumstances(msgspec.Struct, frozen=True):
    """What is known besides: when it was looked, what consent was asked for, and why somebody looked."""

    at: datetime
    asked_scopes: tuple[str, ...] = ()
    credentials_expire_at: datetime | None = None
    cause: PersonMustActError | None = None
    """The refusal that made somebody look."""


@dataclass(frozen=True)
class _Looked:
    """The case with all that was seen of it."""

    case: Case
    seen: Sightings
    known: Circumstances

    @property
    def link(self) -> Link:
        return self.case.link

    @property
    def is_demo(self) -> bool:
        return bool(self.link.organisation and self.link.organisation.is_demo)

    @property
    def was_refused(self) -> bool:
        """Whether Xero refused a call to these books, before or while it was looked at."""
        return any(
            isinstance(error, AccessRevokedError) for error in (self.known.cause, self.seen.users, self.seen.actions)
        )


def diagnose(link: Link, seen: Sightings, known: Circumstances) -> Verdict:
    """What these sightings prove of the connection."""
    looked = _Looked(Case(link, known.at, seen.observations), seen, known)
    questions: tuple[Callable[[_Looked], Verdict | None], ...] = (_tokens, _memberships, _organisation, _user, _cause)
    verdicts = (question(looked) for question in questions)
    return next((verdict for verdict in verdicts if verdict), Verdict(Certainty.WORKS))


def _tokens(looked: _Looked) -> Verdict | None:
    error = looked.seen.refresh
    return _trouble(looked, error) if error else None


def _memberships(looked: _Looked) -> Verdict | None:
    found = looked.seen.memberships
    return _trouble(looked, found) if isinstance(found, TieoutError) else None


def _organisation(looked: _Looked) -> Verdict | None:
    found = looked.seen.organisation
    if isinstance(found, AccessRevokedError):
        return _lost(_why_shut_out(looked))
    if isinstance(found, TieoutError):
        return _trouble(looked, found)
    if found is None or found.status in ("", ACTIVE):
        return None
    reason = reasons.closed(looked.case, found.status)
    return _lost(reason) if looked.was_refused else Verdict(Certainty.WARNING, reason)


def _why_shut_out(looked: _Looked) -> Reason:
    listed = looked.seen.memberships
    if looked.is_demo:
        return reasons.demo_reset(looked.case)
    if listed is None or isinstance(listed, TieoutError):
        return reasons.shut_out(looked.case)
    membership = membership_of(looked.link, listed)
    if membership is None:
        return reasons.disconnected_in_xero(looked.case)
    return reasons.shut_out(looked.case) if membership.name else reasons.gone(looked.case)


def _user(looked: _Looked) -> Verdict | None:
    users, actions = looked.seen.users, looked.seen.actions
    for found in (users, actions):
        if isinstance(found, AccessRevokedError):
            return _lost(reasons.downgraded(looked.case, ""))
        if isinstance(found, TieoutError):
            return _trouble(looked, found)
    role = role_seen(looked.link, users) if users is not None and not isinstance(users, TieoutError) else ""
    if role == REMOVED:
        return _proven_or_warning(looked, reasons.user_removed(looked.case))
    if role and role not in ADMINISTRATORS:
        return _proven_or_warning(looked, reasons.downgraded(looked.case, role))
    if isinstance(actions, Mapping) and not actions.get(NEEDED_ACTION, True):
        return _proven_or_warning(looked, reasons.downgraded(looked.case, ""))
    return None


def _cause(looked: _Looked) -> Verdict | None:
    """What the refusal proves that made somebody look, where all that was seen since is as it should be."""
    cause = looked.known.cause
    if isinstance(cause, AccessRevokedError):
        return Verdict(Certainty.TEMPORARY, reasons.refused(looked.case))
    return _trouble(looked, cause) if isinstance(cause, ScopeMissingError) else None


def _trouble(looked: _Looked, error: TieoutError) -> Verdict:
    """What an error proves that is no refusal of the books. Each step may have to refresh the tokens first."""
    case = looked.case
    if isinstance(error, CredentialsExpiredError):
        return _expired(looked)
    if isinstance(error, ScopeMissingError):
        return _lost(reasons.scope_missing(case, scopes.lacking(looked.known.asked_scopes, looked.link.scopes)))
    if isinstance(error, OperatorMustActError):
        return Verdict(Certainty.TEMPORARY, reasons.misconfigured(case))
    if isinstance(error, CallLimitError):  # only a day is long enough to be told of
        is_day = error.limit == "day"
        return Verdict(Certainty.TEMPORARY, reasons.day_limit(case, error.retry_at) if is_day else None)
    if isinstance(error, BugError):
        return Verdict(Certainty.TEMPORARY, reasons.not_understood(case))
    return Verdict(Certainty.TEMPORARY, reasons.unavailable(case))


def _expired(looked: _Looked) -> Verdict:
    expires_at = looked.known.credentials_expire_at
    is_lapsed = expires_at is not None and expires_at <= looked.case.at
    return _lost(reasons.lapsed(looked.case) if is_lapsed else reasons.revoked(looked.case))


def _lost(reason: Reason) -> Verdict:
    return Verdict(Certainty.LOST, reason)


def _proven_or_warning(looked: _Looked, reason: Reason) -> Verdict:
    return Verdict(Certainty.LOST if looked.was_refused else Certainty.WARNING, reason)


def membership_of(link: Link, listed: Sequence[Membership]) -> Membership | None:
    """The membership of the connection's organisation, if it is listed."""
    return next((m for m in listed if m.xero_tenant_id == link.xero_tenant_id), None)


def role_seen(link: Link, users: Sequence[OrganisationUser]) -> str:
    """The authorising user's role in this list; empty where it cannot be told.

    Somebody who was found before and is not there among others was removed; of somebody who never was found, as Xero
    does not promise equal ids (UNSURE register, U12), an absence says nothing.
    """
    user = link.authorised_by
    if user is None:
        return ""
    if known := find_user(users, user):
        return known.role
    return REMOVED if users and user.organisation_role else ""
