"""Which consent may become which connection: the rules, and the words of their refusals."""

from collections.abc import Sequence

from tieout_server.connections.state import ConnectionState, check_can_choose_organisation
from tieout_server.errors import (
    AuthorizationFailedError,
    ConsentDeniedError,
    InvalidRequestError,
    NotPermittedNowError,
    OrganisationAlreadyConnectedError,
    TieoutError,
    Violation,
    WrongOrganisationError,
)
from tieout_server.ledger.books import Membership
from tieout_server.ledger.links import Link, OrganisationChoice
from tieout_server.storage import connections
from tieout_server.storage.database import Transaction
from tieout_server.storage.leavings import Leaving


def choice_of(link: Link, xero_tenant_id: str) -> OrganisationChoice:
    """The organisation of this id among those that the connection's consent gave.

    Raises:
        NotPermittedNowError: there is nothing to choose from.
        InvalidRequestError: it is none of the choices.
    """
    check_can_choose_organisation(link)
    for choice in link.choices:
        if choice.xero_tenant_id == xero_tenant_id:
            return choice
    names = ", ".join(f"{c.xero_tenant_id} ({c.name})" for c in link.choices)
    raise InvalidRequestError(Violation("xero_tenant_id", f"must be one of the organisations offered: {names}"))


async def check_is_free(tx: Transaction, link: Link, chosen: OrganisationChoice) -> None:
    """Check that this connection, as it is locked now, may become that organisation's.

    Raises:
        NotPermittedNowError: it has become another organisation's meanwhile.
        OrganisationAlreadyConnectedError: another connection has the organisation.
    """
    if link.xero_tenant_id not in ("", chosen.xero_tenant_id):
        raise NotPermittedNowError(f"Connection {link.id} belongs to another organisation by now.", state=link.state)
    holder = await connections.holder_of(tx, chosen.xero_tenant_id)
    if holder not in ("", link.id):
        raise OrganisationAlreadyConnectedError(
            f"{chosen.name} is connected already, by another connection. Use that one, or disconnect it first.",
            connection_id=holder,
        )


def refusal_of(error: str) -> TieoutError:
    """What Xero's `error` parameter means (RFC 6749, 4.1.2.1)."""
    if error == "access_denied":
        return ConsentDeniedError("Consent was refused at Xero, so nothing was connected.")
    return AuthorizationFailedError(f"Xero could not finish the consent ({error or 'no code'}).", error=error)


def same_organisation(link: Link, given: Sequence[Membership]) -> Membership:
    """The membership of the organisation that this connection belongs to."""
    for membership in given:
        if membership.xero_tenant_id == link.xero_tenant_id:
            return membership
    ours = link.organisation.name if link.organisation else link.xero_tenant_id
    theirs = ", ".join(m.name for m in given) or "none"
    raise WrongOrganisationError(
        f"This connection belongs to {ours}, but consent was given for {theirs}. Nothing was changed.",
        expected=ours,
        given=theirs,
    )


def linked(link: Link) -> Sequence[Leaving]:
    """All that this connection has linked at Xero, as what to remove there: nothing, if nobody ever consented."""
    if link.authorised_by is None:
        return []
    memberships = {link.membership_id, *(choice.membership_id for choice in link.choices)} - {""} or {""}
    return [
        Leaving(xero_user_id=link.authorised_by.xero_user_id, membership_id=membership_id)
        for membership_id in sorted(memberships)
    ]


def check_was_not_ended(before: Link, link: Link) -> None:
    """Check that this connection, as it is locked now, was not disconnected since somebody began to settle it.

    Raises:
        NotPermittedNowError: it was; the consent came too late.
    """
    if link.state == ConnectionState.DISCONNECTED != before.state:
        raise NotPermittedNowError(f"Connection {link.id} was disconnected meanwhile.", state=link.state)
