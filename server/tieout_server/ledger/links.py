"""The values of a connection: who is linked to which books, by whose consent, and what is wrong with it."""

from datetime import datetime
from enum import StrEnum

import msgspec

from tieout_server.ledger.documents import Organisation

CALLER = "caller"
"""The actor of what a caller asked for, as long as callers have no names of their own."""
TIEOUT = "tieout"
"""The actor of what this service found out or did by itself."""


class ReasonCode(StrEnum):
    """Why a connection is not simply well."""

    MANUALLY_DISCONNECTED = "MANUALLY_DISCONNECTED"
    DISCONNECTED_IN_XERO = "DISCONNECTED_IN_XERO"
    AUTHORISING_USER_REMOVED = "AUTHORISING_USER_REMOVED"
    AUTHORISING_USER_DOWNGRADED = "AUTHORISING_USER_DOWNGRADED"
    CREDENTIALS_EXPIRED = "CREDENTIALS_EXPIRED"
    SCOPE_MISSING = "SCOPE_MISSING"
    ORGANISATION_UNAVAILABLE = "ORGANISATION_UNAVAILABLE"
    WRONG_ORGANISATION = "WRONG_ORGANISATION"
    NOT_ADMINISTRATOR = "NOT_ADMINISTRATOR"
    CONSENT_DENIED = "CONSENT_DENIED"
    XERO_UNAVAILABLE = "XERO_UNAVAILABLE"
    DAY_LIMIT_REACHED = "DAY_LIMIT_REACHED"
    SERVICE_MISCONFIGURED = "SERVICE_MISCONFIGURED"


class Owner(StrEnum):
    """Who must act on a reason."""

    MERCHANT = "MERCHANT"
    OPERATOR = "OPERATOR"
    XERO = "XERO"
    NOBODY = "NOBODY"


class Observation(msgspec.Struct, frozen=True):
    """Something that was looked at, and what was seen, in words."""

    subject: str
    """What was asked: `token refresh`, `GET /connections`, `GET /Organisation`, …"""
    finding: str
    """What came back: `403 AuthenticationUnsuccessful`."""
    observed_at: datetime
    is_trouble: bool = False
    """Whether this is not as it should be: of a connection that works, nothing is."""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a connection is as it is, said for a person, with what was observed."""

    code: ReasonCode
    sentence: str
    owner: Owner
    observed_at: datetime
    """When it was first seen."""
    evidence: tuple[Observation, ...] = ()
    retry_at: datetime | None = None
    """When it is tried again or ends by itself."""
    covers: "Reason | None" = None
    """The warning that stands besides a trouble that passes: it is told again afterwards."""


class AuthorisedBy(msgspec.Struct, frozen=True, kw_only=True):
    """The Xero user on whose consent the connection stands."""

    xero_user_id: str
    email: str = ""
    name: str = ""
    organisation_role: str = ""


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """A consent whose code has become tokens: by whom it was given, for what, and how its memberships are marked."""

    user: AuthorisedBy
    scopes: tuple[str, ...]
    authentication_event_id: str


class OrganisationChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One of several organisations that a consent gave, to choose from."""

    xero_tenant_id: str
    name: str
    membership_id: str
    connected_as: str = ""
    """The connection that has this organisation already; empty while it is free."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, as it stands."""

    id: str
    merchant_id: str
    state: str
    """connections.state.ConnectionState"""
    health: str = "OK"
    """connections.state.ConnectionHealth"""
    reason: Reason | None = None
    xero_tenant_id: str = ""
    membership_id: str = ""
    organisation: Organisation | None = None
    authorised_by: AuthorisedBy | None = None
    scopes: tuple[str, ...] = ()
    choices: tuple[OrganisationChoice, ...] = ()
    last_synced_at: datetime | None = None
    consented_at: datetime | None = None
    """When the consent that it stands on was given: what was seen before says nothing of it."""
    gap_from_at: datetime | None = None
    """Since access is back: everything up to this instant was known before. None once what was missed has been read."""
    created_at: datetime
    updated_at: datetime


class LinkChangeKind(StrEnum):
    """What can happen to a connection."""

    AUTHORISATION_STARTED = "AUTHORISATION_STARTED"
    AUTHORISATION_REFUSED = "AUTHORISATION_REFUSED"
    STATE_CHANGED = "STATE_CHANGED"
    DETAILS_CHANGED = "DETAILS_CHANGED"
    GAP_CLOSED = "GAP_CLOSED"


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which the books could not be read, and what was caught up afterwards."""

    from_at: datetime
    """Everything up to this instant was known before, by the accounting system's clock."""
    to_at: datetime
    changes: int
    """Records read that were new or had changed."""


class LinkChange(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a connection, and what the connection was right after it."""

    kind: LinkChangeKind
    from_state: str = ""
    """Empty for the first event of a connection."""
    reason: Reason | None = None
    """Why; a refused consent has one even where the connection keeps its own."""
    link: Link
    credentials_expire_at: datetime | None = None
    actor: str = TIEOUT
    """Who caused it: the caller, the e-mail of the person at Xero, or this service."""
    gap: Gap | None = None
    """What was caught up; with GAP_CLOSED only."""
    occurred_at: datetime


class LinkEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a connection, as its history keeps it for ever."""

    id: int
    """The position of the event that told of it: later ones have greater ids."""
    connection_id: str
    kind: LinkChangeKind
    from_state: str
    to_state: str
    health: str
    """The health right after."""
    reason: Reason | None
    actor: str
    gap: Gap | None
    occurred_at: datetime
