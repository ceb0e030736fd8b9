"""The audit log on the wire."""

from collections.abc import Collection

from tieout.v1 import connection_service_pb2 as pb
from tieout_server.callers.audit import AuditLog
from tieout_server.rpc import paging
from tieout_server.rpc.convert import instant, timestamp
from tieout_server.storage.audit import AuditEvent, AuditQuery


async def listed(
    log: AuditLog, request: pb.ListAuditEventsRequest, merchants: Collection[str] | None
) -> pb.ListAuditEventsResponse:
    """The page that is asked for, of these merchants only; None: of all."""
    asked = AuditQuery(
        connection_id=request.connection_id,
        merchant_id=request.merchant_id,
        caller=request.caller,
        since=instant(request, "since"),
        until=instant(request, "until"),
        merchants=merchants,
    )
    found, following = await log.page(asked, paging.span_of(request))
    return pb.ListAuditEventsResponse(
        events=[_event(one) for one in found], next_page_token=paging.next_token(request, following)
    )


def _event(one: AuditEvent) -> pb.AuditEvent:
    return pb.AuditEvent(
        at=timestamp(one.at),
        caller=one.caller,
        authenticated_by=one.authenticated_by,
        method=one.method,
        merchant_id=one.merchant_id,
        connection_id=one.connection_id,
        subject_id=one.subject,
        request_id=one.request_id,
        peer=one.peer,
        status=one.status,
        reason=one.reason,
    )
