"""Connections and what happens to them, as messages."""

from collections.abc import Collection
from datetime import datetime

from tieout.v1 import connection_service_pb2 as pb
from tieout.v1 import types_pb2
from tieout_server.connections import scopes
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.links import AuthorisedBy, Gap, Link, LinkChange, LinkEvent, Observation, Reason
from tieout_server.rpc.convert import iso, timestamp
from tieout_server.storage.events import Event

_CONNECTED = "CONNECTED"
_DISCONNECTED = "DISCONNECTED"
_PENDING_ORGANISATION = "PENDING_ORGANISATION"


def connection(link: Link, expires_at: datetime | None, asked: Collection[str]) -> pb.Connection:
    """The connection; what of the scopes asked for was not granted is told once there is a consent."""
    return pb.Connection(
        id=link.id,
        merchant_id=link.merchant_id,
        state=_state(link.state),
        health=_health(link.state, link.health),
        reason=_reason(link.reason),
        organisation=_organisation(link.organisation),
        authorised_by=_authorised_by(link.authorised_by),
        scopes=sorted(link.scopes),
        missing_scopes=scopes.missing(asked, link.scopes) if link.authorised_by else (),
        missing_capabilities=_missing_capabilities(link, asked),
        credentials_expire_at=timestamp(expires_at) if link.state != _DISCONNECTED else None,
        last_synced_at=timestamp(link.last_synced_at),
        created_at=timestamp(link.created_at),
        updated_at=timestamp(link.updated_at),
        organisation_choices=[
            pb.OrganisationChoice(
                xero_tenant_id=choice.xero_tenant_id, name=choice.name, connected_as=choice.connected_as
            )
            for choice in (link.choices if link.state == _PENDING_ORGANISATION else ())
        ],
    )


def change(logged: Event, happened: LinkChange, asked: Collection[str]) -> pb.ConnectionChange:
    """What happened to a connection, and what it was right after."""
    link = happened.link
    told = LinkEvent(
        id=logged.position,
        connection_id=link.id,
        kind=happened.kind,
        from_state=happened.from_state,
        to_state=link.state,
        health=link.health,
        reason=happened.reason,
        actor=happened.actor,
        gap=happened.gap,
        occurred_at=happened.occurred_at,
    )
    return pb.ConnectionChange(event=event(told), connection=connection(link, happened.credentials_expire_at, asked))


def event(happened: LinkEvent) -> pb.ConnectionEvent:
    """What happened to a connection, as its history keeps it and as its watchers are told."""
    return pb.ConnectionEvent(
        id=f"evt_{happened.id}",
        connection_id=happened.connection_id,
        kind=pb.ConnectionEventKind.Value(f"CONNECTION_EVENT_KIND_{happened.kind}"),
        from_state=_state(happened.from_state),
        to_state=_state(happened.to_state),
        health=_health(happened.to_state, happened.health),
        reason=_reason(happened.reason),
        occurred_at=timestamp(happened.occurred_at),
        actor=happened.actor,
        gap=_gap(happened.gap),
    )


def observation(seen: Observation) -> types_pb2.Observation:
    """Something that was looked at, and what was seen."""
    return types_pb2.Observation(
        subject=seen.subject,
        finding=seen.finding,
        observed_at=timestamp(seen.observed_at),
        is_trouble=seen.is_trouble,
    )


def _missing_capabilities(link: Link, asked: Collection[str]) -> list[str]:
    """What cannot be done for want of scopes; before there is a consent nothing is missing."""
    return [it.name for it in scopes.lacking(asked, link.scopes)] if link.authorised_by else []


def _state(state: str) -> "pb.ConnectionState.ValueType":
    return pb.ConnectionState.Value(f"CONNECTION_STATE_{state or 'UNSPECIFIED'}")


def _health(state: str, health: str) -> "pb.ConnectionHealth.ValueType":
    """How well it works, which only what is connected does."""
    return pb.ConnectionHealth.Value(f"CONNECTION_HEALTH_{health if state == _CONNECTED else 'UNSPECIFIED'}")


def _gap(gap: Gap | None) -> pb.Gap | None:
    if gap is None:
        return None
    return pb.Gap(from_at=timestamp(gap.from_at), to_at=timestamp(gap.to_at), changes=gap.changes)


def _reason(reason: Reason | None) -> pb.ConnectionReason | None:
    if reason is None:
        return None
    return pb.ConnectionReason(
        code=pb.ConnectionReasonCode.Value(f"CONNECTION_REASON_CODE_{reason.code}"),
        sentence=reason.sentence,
        evidence=[observation(seen) for seen in reason.evidence],
        owner=types_pb2.Owner.Value(f"OWNER_{reason.owner}"),
        observed_at=timestamp(reason.observed_at),
        retry_at=timestamp(reason.retry_at),
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
        time_zone=books.time_zone,
    )


def _authorised_by(user: AuthorisedBy | None) -> pb.AuthorisedBy | None:
    if user is None:
        return None
    return pb.AuthorisedBy(
        xero_user_id=user.xero_user_id, email=user.email, name=user.name, organisation_role=user.organisation_role
    )
