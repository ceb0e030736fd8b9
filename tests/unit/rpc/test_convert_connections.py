"""Connections, their reasons and their history as messages."""

from datetime import UTC, datetime, timedelta

import msgspec

from tieout.v1 import connection_service_pb2 as pb
from tieout.v1.types_pb2 import OWNER_NOBODY
from tieout_server.ledger.links import (
    AuthorisedBy,
    Gap,
    Link,
    LinkChange,
    LinkChangeKind,
    LinkEvent,
    Observation,
    OrganisationChoice,
    Owner,
    Reason,
    ReasonCode,
)
from tieout_server.rpc import convert_connections as convert
from tieout_server.storage.events import Event

AT = datetime(2026, 11, 22, 14, 2, tzinfo=UTC)
SEEN = Observation("GET /Organisation", "429 day", AT, is_trouble=True)
REASON = Reason(
    code=ReasonCode.DAY_LIMIT_REACHED,
    sentence="The calls of the day are used.",
    owner=Owner.NOBODY,
    observed_at=AT,
    evidence=(Observation("token refresh", "200", AT), SEEN),
    retry_at=AT + timedelta(hours=3),
)
LINK = Link(
    id="con_1",
    merchant_id="acme",
    state="CONNECTED",
    health="DEGRADED",
    reason=REASON,
    authorised_by=AuthorisedBy(xero_user_id="u1", email="ada@acme.example"),
    scopes=("offline_access", "accounting.contacts"),
    created_at=AT,
    updated_at=AT,
)


def told(link: Link = LINK, **fields: object) -> pb.ConnectionChange:
    stated = {"kind": LinkChangeKind.STATE_CHANGED, "link": link, "occurred_at": AT} | fields
    happened = msgspec.convert(stated, LinkChange)
    return convert.change(Event(7, link.id, "connection", link.id, AT, b""), happened, ())


def test_a_reason_has_its_evidence_in_order_and_says_when_it_is_tried_again() -> None:
    reason = convert.connection(LINK, None, ()).reason
    assert reason.code == pb.CONNECTION_REASON_CODE_DAY_LIMIT_REACHED
    assert reason.owner == OWNER_NOBODY
    assert [(o.subject, o.finding, o.is_trouble) for o in reason.evidence] == [
        ("token refresh", "200", False),
        ("GET /Organisation", "429 day", True),
    ]
    assert reason.evidence[0].observed_at.ToDatetime(UTC) == AT
    assert reason.retry_at.ToDatetime(UTC) == AT + timedelta(hours=3)


def test_a_reason_that_is_not_tried_again_has_no_such_time() -> None:
    link = msgspec.structs.replace(LINK, reason=msgspec.structs.replace(REASON, retry_at=None))
    assert not convert.connection(link, None, ()).reason.HasField("retry_at")


def test_a_scope_is_missing_where_neither_it_nor_a_broader_one_was_granted() -> None:
    asked = ("offline_access", "accounting.contacts.read", "accounting.invoices")
    message = convert.connection(LINK, None, asked)
    assert list(message.missing_scopes) == ["accounting.invoices"]
    assert list(message.missing_capabilities) == ["reading invoices and credit notes"]


def test_before_there_is_a_consent_nothing_is_missing() -> None:
    link = msgspec.structs.replace(LINK, authorised_by=None, scopes=())
    message = convert.connection(link, None, ("accounting.invoices",))
    assert not message.missing_scopes
    assert not message.missing_capabilities


def test_an_organisation_that_is_taken_names_the_connection_that_has_it() -> None:
    offered = (
        OrganisationChoice(xero_tenant_id="t1", name="Hops", membership_id="m1", connected_as="con_9"),
        OrganisationChoice(xero_tenant_id="t2", name="Malt", membership_id="m2"),
    )
    link = msgspec.structs.replace(LINK, state="PENDING_ORGANISATION", choices=offered)
    choices = convert.connection(link, None, ()).organisation_choices
    assert [(c.name, c.connected_as) for c in choices] == [("Hops", "con_9"), ("Malt", "")]


def test_a_change_and_the_history_tell_the_same_event() -> None:
    gap = Gap(from_at=AT, to_at=AT + timedelta(hours=2), changes=37)
    kept = LinkEvent(
        id=7,
        connection_id="con_1",
        kind=LinkChangeKind.GAP_CLOSED,
        from_state="CONNECTED",
        to_state="CONNECTED",
        health="DEGRADED",
        reason=None,
        actor="tieout",
        gap=gap,
        occurred_at=AT,
    )
    now = told(kind=LinkChangeKind.GAP_CLOSED, from_state="CONNECTED", gap=gap).event
    assert now == convert.event(kept)
    assert (now.id, now.kind, now.health) == (
        "evt_7",
        pb.CONNECTION_EVENT_KIND_GAP_CLOSED,
        pb.CONNECTION_HEALTH_DEGRADED,
    )
    assert now.gap.to_at.ToDatetime(UTC) - now.gap.from_at.ToDatetime(UTC) == timedelta(hours=2)
    assert now.gap.changes == 37


def test_only_what_is_connected_has_a_health() -> None:
    broken = msgspec.structs.replace(LINK, state="RECONNECT_REQUIRED")
    change = told(broken, from_state="CONNECTED", reason=REASON, actor="ada@acme.example")
    assert (change.event.health, change.connection.health) == (
        pb.CONNECTION_HEALTH_UNSPECIFIED,
        pb.CONNECTION_HEALTH_UNSPECIFIED,
    )
    assert (change.event.from_state, change.event.to_state) == (
        pb.CONNECTION_STATE_CONNECTED,
        pb.CONNECTION_STATE_RECONNECT_REQUIRED,
    )
    assert change.event.actor == "ada@acme.example"
    assert not change.event.HasField("gap")
