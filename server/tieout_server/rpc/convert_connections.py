"""Connections and what happens to them, as messages."""

from collections.abc import Collection
from datetime import datetime

from tieout.v1 import connection_service_pb2 as pb
from tieout.v1 import types_pb2
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.links import AuthorisedBy, Link, LinkChange, LinkChangeKind, Reason
from tieout_server.rpc.convert import iso, timestamp
from tieout_server.storage.events import Event

_CONNECTED = "CONNECTED"
_PENDING_ORGANISATION = "PENDING_ORGANISATION"


def connection(link: Link, expires_at: datetime | None, asked: Collection[str]) -> pb.Connection:
    """The connection; what of the scopes asked for was not granted is told once there is a consent."""
    return pb.Connection(
        id=link.id,
        merchant_id=link.merchant_id,
        state=_state(link.state),
        health=_health(link),
        reason=_reason(link.reason),
        organisation=_organisation(link.organisation),
        authorised_by=_authorised_by(link.authorised_by),
        scopes=sorted(link.scopes),
        missing_scopes=sorted(set(asked) - set(link.scopes)) if link.authorised_by else (),
        credentials_expire_at=timestamp(expires_at),
        last_synced_at=timestamp(link.last_synced_at),
        created_at=timestamp(link.created_at),
        updated_at=timestamp(link.updated_at),
        organisation_choices=[
            pb.OrganisationChoice(xero_tenant_id=choice.xero_tenant_id, name=choice.name)
            for choice in (link.choices if link.state == _PENDING_ORGANISATION else ())
        ],
    )


def change(event: Event, happened: LinkChange, asked: Collection[str]) -> pb.ConnectionChange:
    """What happened to a connection, and what it was right after."""
    link = happened.link
    return pb.ConnectionChange(
        event=pb.ConnectionEvent(
            id=f"evt_{event.position}",
            connection_id=link.id,
            kind=pb.ConnectionEventKind.Value(f"CONNECTION_EVENT_KIND_{happened.kind}"),
            from_state=_state(happened.from_state),
            to_state=_state(link.state),
            health=_health(link),
            reason=_reason(happened.reason),
            occurred_at=timestamp(event.at),
            actor=_actor(happened),
        ),
        connection=connection(link, happened.credentials_expire_at, asked),
    )


def _actor(happened: LinkChange) -> str:
    """Who caused it: callers start consents, people give them, and all else is ours."""
    if happened.kind is LinkChangeKind.AUTHORISATION_STARTED:
        return "caller"
    consented = happened.kind is LinkChangeKind.STATE_CHANGED and happened.link.state in (
        _CONNECTED,
        _PENDING_ORGANISATION,
    )
    user = happened.link.authorised_by
    return (user.email or user.xero_user_id) if consented and user else "tieout"


def _state(state: str) -> "pb.ConnectionState.ValueType":
    return pb.ConnectionState.Value(f"CONNECTION_STATE_{state or 'UNSPECIFIED'}")


def _health(link: Link) -> "pb.ConnectionHealth.ValueType":
    return pb.ConnectionHealth.Value(f"CONNECTION_HEALTH_{link.health if link.state == _CONNECTED else 'UNSPECIFIED'}")


def _reason(reason: Reason | None) -> pb.ConnectionReason | None:
    if reason is None:
        return None
    observed_at = timestamp(reason.observed_at)
    return pb.ConnectionReason(
        code=pb.ConnectionReasonCode.Value(f"CONNECTION_REASON_CODE_{reason.code}"),
        sentence=reason.sentence,
        evidence=[types_pb2.Observation(finding=finding, observed_at=observed_at) for finding in reason.evidence],
        owner=types_pb2.Owner.Value(f"OWNER_{reason.owner}"),
        observed_at=observed_at,
    )


def _organisation(books: Organisation | None) -> pb.Organisation | None:
    if books is None:
        return None
    return pb.Organisation(
        xero_tenant_id=books.xero_tenant_id,
        name=books.name,
        base_currency=books.base_currency,
        country_code=books.country_code,
        short_code=books.short_code,
        period_lock_date=iso(books.period_lock_on),
        end_of_year_lock_date=iso(books.end_of_year_lock_on),
    )


def _authorised_by(user: AuthorisedBy | None) -> pb.AuthorisedBy | None:
    if user is None:
        return None
    return pb.AuthorisedBy(
        xero_user_id=user.xero_user_id, email=user.email, name=user.name, organisation_role=user.organisation_role
    )
