"""The states of a connection: which there are, what moves them, and what each permits."""

from enum import StrEnum
from typing import assert_never

from tieout_server.errors import (
    ConnectionNotUsableError,
    NotPermittedNowError,
)
from tieout_server.ledger.links import Link


class ConnectionState(StrEnum):
    """Where a connection stands."""

    PENDING_AUTHORISATION = "PENDING_AUTHORISATION"
    """Somebody has to consent at Xero."""
    PENDING_ORGANISATION = "PENDING_ORGANISATION"
    """The consent gave several organisations; one has to be chosen."""
    CONNECTED = "CONNECTED"
    """The link works, as far as we know at this moment."""
    RECONNECT_REQUIRED = "RECONNECT_REQUIRED"
    """The link is broken; somebody has to consent again. Data and settings are kept."""
    DISCONNECTED = "DISCONNECTED"
    """The link was ended on purpose. Data and settings are kept unless they were purged."""


class ConnectionHealth(StrEnum):
    """Whether a connected connection does its work."""

    OK = "OK"
    """It does."""
    DEGRADED = "DEGRADED"
    """It is usable, or will be by itself; the reason says what is the matter."""


class Happening(StrEnum):
    """What moves a connection."""

    SEVERAL_ORGANISATIONS = "SEVERAL_ORGANISATIONS"
    """A consent came back with several organisations."""
    ORGANISATION_SETTLED = "ORGANISATION_SETTLED"
    """A consent came back, and it is clear for which organisation."""
    ACCESS_REGAINED = "ACCESS_REGAINED"
    """Xero lets us in again without a new consent: a user got back their role, an organisation is active again."""
    ACCESS_LOST = "ACCESS_LOST"
    """Xero refuses us, and only a person can change that."""
    ENDED = "ENDED"
    """The caller ended the connection."""


HAS_ACCESS = (ConnectionState.CONNECTED, ConnectionState.RECONNECT_REQUIRED)
"""The states in which access can be lost or regained without anybody asking for it."""


def move(state: ConnectionState, happening: Happening) -> ConnectionState:
    """The state that follows.

    Raises:
        NotPermittedNowError: nothing of the kind can happen to a connection in this state.
    """
    match happening:
        case Happening.SEVERAL_ORGANISATIONS:
            return ConnectionState.PENDING_ORGANISATION
        case Happening.ORGANISATION_SETTLED:
            return ConnectionState.CONNECTED
        case Happening.ENDED:
            return ConnectionState.DISCONNECTED
        case Happening.ACCESS_REGAINED:
            if state in HAS_ACCESS:
                return ConnectionState.CONNECTED
            raise NotPermittedNowError(f"A connection that is {state} has no access to regain.", state=state)
        case Happening.ACCESS_LOST:
            if state in HAS_ACCESS:
                return ConnectionState.RECONNECT_REQUIRED
            raise NotPermittedNowError(f"A connection that is {state} has no access to lose.", state=state)
        case _:
            assert_never(happening)


def check_can_choose_organisation(link: Link) -> None:
    """Whether an organisation can be chosen now.

    Raises:
        NotPermittedNowError: there is nothing to choose from.
    """
    match ConnectionState(link.state):
        case ConnectionState.PENDING_ORGANISATION:
            return
        case (
            ConnectionState.PENDING_AUTHORISATION
            | ConnectionState.CONNECTED
            | ConnectionState.RECONNECT_REQUIRED
            | ConnectionState.DISCONNECTED
        ) as state:
            raise NotPermittedNowError(
                f"Connection {link.id} is {state}: an organisation is chosen only after a consent that gave several.",
                connection_id=link.id,
                state=state,
            )
        case _ as never:
            assert_never(never)


def check_can_reconnect(link: Link) -> None:
    """Whether somebody may consent anew: a connection that never worked is begun again with Connect instead.

    Raises:
        NotPermittedNowError: it was never connected.
    """
    if not link.xero_tenant_id:
        raise NotPermittedNowError(
            f"Connection {link.id} is {link.state} and was never connected. Call Connect for a new one.",
            connection_id=link.id,
            state=link.state,
        )


def check_can_read(link: Link) -> None:
    """Whether its books can be read now.

    Raises:
        ConnectionNotUsableError: somebody has to act first; the sentence says who and how.
    """
    state = ConnectionState(link.state)
    match state:
        case ConnectionState.CONNECTED:
            return
        case ConnectionState.PENDING_AUTHORISATION:
            todo = "somebody at the merchant has to consent at Xero; Connect gave the link"
        case ConnectionState.PENDING_ORGANISATION:
            todo = "choose one of its organisations with ChooseOrganisation"
        case ConnectionState.RECONNECT_REQUIRED | ConnectionState.DISCONNECTED:
            todo = "somebody at the merchant has to consent at Xero again; Reconnect gives a link"
        case _:
            assert_never(state)
    facts = {"connection_id": link.id, "state": link.state}
    if link.reason:
        facts |= {"connection_reason": link.reason.code.value, "owner": link.reason.owner.value}
    raise ConnectionNotUsableError(f"Connection {link.id} is {link.state}: {todo}.", **facts)


def is_over(now: Link, since: Link) -> bool:
    """Whether the connection has ended, or was connected anew, since this: nothing of what was read then is kept."""
    return now.state == ConnectionState.DISCONNECTED or now.consented_at != since.consented_at


def check_is_not_over(now: Link, since: Link | None = None) -> None:
    """Whether what is about to be kept of it may be: it has not ended, nor was it connected anew `since` this.

    The row is locked until the commit. What a purge erases must not come back by what was in flight.

    Raises:
        ConnectionNotUsableError: it has, or was.
    """
    if now.state == ConnectionState.DISCONNECTED:
        check_can_read(now)
    if since is not None and is_over(now, since):
        raise ConnectionNotUsableError(
            f"Connection {now.id} was connected anew while this was under way: ask again.",
            connection_id=now.id,
            state=now.state,
        )
