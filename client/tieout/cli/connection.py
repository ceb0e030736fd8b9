"""How a connection looks to a person: its state, why it is so, who acts, and what happened to it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.table import Table

from tieout.cli.show import ago, moment, table, word
from tieout.v1.connection_service_pb2 import (
    Connection,
    ConnectionChange,
    ConnectionEvent,
    ConnectionEventKind,
    ConnectionHealth,
    ConnectionReason,
    ConnectionReasonCode,
    ConnectionState,
    Gap,
)
from tieout.v1.types_pb2 import Observation, Owner


def named(connection: Connection) -> str:
    """Which connection it is: its organisation and merchant, or merchant and id while it has none."""
    organisation = connection.organisation.name
    return (
        f"{organisation} ({connection.merchant_id})" if organisation else f"{connection.merchant_id} ({connection.id})"
    )


def state(connection: Connection) -> str:
    """What can be done with it, and whether it works as it should."""
    return _state(connection.state, connection.health)


def who_acts(connection: Connection) -> str:
    """Who has to do what about the connection's reason; empty where there is none."""
    reason = connection.reason
    again = f" It is tried again at {moment(reason.retry_at)}." if reason.HasField("retry_at") else ""
    match reason.owner:
        case Owner.OWNER_MERCHANT if _is_mended_in_xero(connection):
            return "The merchant acts, in Xero."
        case Owner.OWNER_MERCHANT:
            return f"The merchant acts: {way(connection)} gives the address."
        case Owner.OWNER_OPERATOR:
            return "Whoever runs the service acts; its log has more."
        case Owner.OWNER_XERO:
            return f"Xero has to answer again; nobody else acts.{again}"
        case Owner.OWNER_NOBODY:
            return f"Nobody has to act.{again}"
        case _:
            return ""


def way(connection: Connection) -> str:
    """The command that leads the merchant to a new consent: what never had an organisation is begun anew."""
    had_one = connection.HasField("organisation")
    return f"`tieout reconnect {connection.id}`" if had_one else f"`tieout connect {connection.merchant_id}`"


def line(change: ConnectionChange, health_before: "ConnectionHealth.ValueType | None" = None) -> str:
    """Something that happened, as one line: when, to which connection, what, why, and who acts."""
    event, connection = change.event, change.connection
    told = f"{moment(event.occurred_at)}  {named(connection)}  {happened(event, health_before)}"
    # A consent that was refused while the connection has another reason, or none, leaves it to whom it was.
    acts = who_acts(connection) if event.HasField("reason") and event.reason == connection.reason else ""
    return f"{told} {acts}".rstrip()


def line_now(connection: Connection) -> str:
    """The connection as it is, in the same form."""
    why = _because(state(connection), connection.reason)
    return f"{moment(connection.updated_at)}  {named(connection)}  {why} {who_acts(connection)}".rstrip()


def line_of_history(event: ConnectionEvent, before: ConnectionEvent | None = None) -> str:
    """Something that happened to a connection that the reader knows, and to which `before` had happened before.

    When, what, why, and who caused it.
    """
    by = f"  [{event.actor}]" if event.actor else ""  # a purge erases who it was
    return f"{moment(event.occurred_at)}  {happened(event, before.health if before else None)}{by}"


def happened(event: ConnectionEvent, health_before: "ConnectionHealth.ValueType | None" = None) -> str:
    """What happened, and why; the health before tells what changed where the state did not."""
    match event.kind:
        case ConnectionEventKind.CONNECTION_EVENT_KIND_AUTHORISATION_STARTED:
            return "consent asked for"
        case ConnectionEventKind.CONNECTION_EVENT_KIND_AUTHORISATION_REFUSED:
            return _because("consent refused", event.reason)
        case ConnectionEventKind.CONNECTION_EVENT_KIND_GAP_CLOSED:
            return _caught_up(event.gap)
        case ConnectionEventKind.CONNECTION_EVENT_KIND_DETAILS_CHANGED if changed := _what_changed(
            event, health_before
        ):
            return changed
        case _:
            return _because(_state(event.to_state, event.health), event.reason)


def evidence(observations: Iterable[Observation]) -> Table:
    """What was looked at, and what was seen."""
    made = table("looked at", "", "seen")
    for it in observations:
        made.add_row(it.subject, "✗ trouble" if it.is_trouble else "✓ fine", it.finding)
    return made


def listing(connections: Sequence[Connection]) -> Table:
    """Several connections, a row each."""
    made = table("merchant", "organisation", "state", "why", "synced", "id")
    now = datetime.now(UTC)
    for it in connections:
        why = word(ConnectionReasonCode, it.reason.code, "CONNECTION_REASON_CODE_")
        made.add_row(it.merchant_id, it.organisation.name, state(it), why, ago(it.last_synced_at, now), it.id)
    return made


def card(connection: Connection) -> Table:
    """One connection with all that a person may want to know of it."""
    made = table("", "")
    made.show_header = False
    organisation, user = connection.organisation, connection.authorised_by
    rows = {
        "connection": connection.id,
        "merchant": connection.merchant_id,
        "state": state(connection),
        "why": connection.reason.sentence,
        "who acts": who_acts(connection),
        "organisation": " ".join(filter(None, (organisation.name, organisation.base_currency))),
        "time zone": organisation.time_zone,
        "connected by": " ".join(filter(None, (user.name, user.email, user.organisation_role))),
        "missing scopes": " ".join(connection.missing_scopes),
        "so there is no": ", ".join(connection.missing_capabilities),
        "choose from": "\n".join(
            f"{it.name}  {it.xero_tenant_id}{'  (connected already)' if it.connected_as else ''}"
            for it in connection.organisation_choices
        ),
        "consent lapses": moment(connection.credentials_expire_at),
        "last synced": moment(connection.last_synced_at),
    }
    for label, value in rows.items():
        if value:
            made.add_row(label, value)
    return made


def _state(stated: ConnectionState.ValueType, health: ConnectionHealth.ValueType) -> str:
    words = word(ConnectionState, stated, "CONNECTION_STATE_")
    return f"{words}, degraded" if health == ConnectionHealth.CONNECTION_HEALTH_DEGRADED else words


def _because(what: str, reason: ConnectionReason) -> str:
    return f"{what}: {reason.sentence}" if reason.sentence else what


def _is_mended_in_xero(connection: Connection) -> bool:
    """Whether nobody has to consent anew; a consent that was given for no organisation has not found one yet."""
    is_unavailable = connection.reason.code == ConnectionReasonCode.CONNECTION_REASON_CODE_ORGANISATION_UNAVAILABLE
    return is_unavailable and connection.HasField("organisation")


def _what_changed(event: ConnectionEvent, health_before: "ConnectionHealth.ValueType | None") -> str:
    """What changed although the state did not; empty where state and reason say it all."""
    if event.to_state == ConnectionState.CONNECTION_STATE_DISCONNECTED:
        return "data being erased" if event.actor == "caller" else "data erased"
    if event.reason.sentence or event.to_state != ConnectionState.CONNECTION_STATE_CONNECTED:
        return ""
    if event.actor not in {"", "caller", "tieout"}:
        return "consent renewed"
    if health_before is None:
        return ""
    was_well = health_before == ConnectionHealth.CONNECTION_HEALTH_OK
    return "particulars changed" if was_well else "well again"


def _caught_up(gap: Gap) -> str:
    changes = f"{gap.changes:,} change" if gap.changes == 1 else f"{gap.changes:,} changes"
    start, end = gap.from_at.ToDatetime(UTC), gap.to_at.ToDatetime(UTC)
    form = "%H:%M" if start.date() == end.date() else "%Y-%m-%d %H:%M"
    form = "%H:%M:%S" if start.strftime(form) == end.strftime(form) else form
    return f"caught up {start.strftime(form)} → {end.strftime(form)}, {changes}"
