"""What callers did: one row for each call that changes something, and for each that was not permitted."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Row, bindparam, select, update

from tieout_server.clock import from_micros, to_micros
from tieout_server.storage.caller_tables import audit_events
from tieout_server.storage.database import Transaction
from tieout_server.storage.pages import Span, paged


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One call: who made it, how we knew them, what it was about, and what came of it."""

    id: str
    at: datetime
    caller: str
    authenticated_by: str
    method: str
    """`Service.Method`."""
    merchant_id: str = ""
    connection_id: str = ""
    subject: str = ""
    request_id: str = ""
    peer: str = ""
    status: str = ""
    """A gRPC status by name. Empty: it has not ended, or its process ended before it was known."""
    reason: str = ""


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are meant: those that meet every condition that is given."""

    connection_id: str = ""
    merchant_id: str = ""
    caller: str = ""
    since: datetime | None = None
    until: datetime | None = None
    merchants: Collection[str] | None = None
    """Only events of these merchants; None: of all, and those that are of none."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of the call with this event."""

    id: str
    status: str
    reason: str


async def insert(tx: Transaction, events: Sequence[AuditEvent]) -> None:
    """Put these on record."""
    rows = [{**msgspec.structs.asdict(event), "at": to_micros(event.at)} for event in events]
    await tx.execute(audit_events.insert(), rows)


async def settle(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
    """Note what came of these."""
    query = (
        update(audit_events)
        .where(audit_events.c.id == bindparam("of"))
        .values(status=bindparam("new_status"), reason=bindparam("new_reason"))
    )
    await tx.execute(query, [{"of": it.id, "new_status": it.status, "new_reason": it.reason} for it in outcomes])


async def page(tx: Transaction, asked: AuditQuery, span: Span) -> tuple[Sequence[AuditEvent], Span | None]:
    """A page of events, newest first, and the span of the next one."""
    events, query = audit_events.c, select(audit_events)
    for column, value in ((events.connection_id, asked.connection_id), (events.caller, asked.caller)):
        if value:
            query = query.where(column == value)
    if asked.merchant_id:
        query = query.where(events.merchant_id == asked.merchant_id)
    if asked.merchants is not None:
        query = query.where(events.merchant_id.in_(sorted(asked.merchants)))
    if asked.since is not None:
        query = query.where(events.at >= to_micros(asked.since))
    if asked.until is not None:
        query = query.where(events.at < to_micros(asked.until))
    rows, following = await paged(tx, query, (events.at, events.id), span, newest_first=True)
    return [_event(row) for row in rows], following


def _event(row: Row[tuple[object, ...]]) -> AuditEvent:
    r = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return AuditEvent(
        **{name: r[name] for name in AuditEvent.__struct_fields__ if name != "at"}, at=from_micros(r["at"])
    )
