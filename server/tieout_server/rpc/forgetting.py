"""Forgetting on the wire: what is older than it is kept, and one person."""

from google.protobuf.duration_pb2 import Duration

from tieout.v1 import connection_service_pb2 as pb
from tieout_server.retention import SETTINGS, Prune, Prunings
from tieout_server.syncs.erasures import EraseCustomer, Erasures


async def pruned(prunings: Prunings, request: pb.PruneExpiredRequest) -> pb.PruneExpiredResponse:
    """What was forgotten, or would be."""
    rows = await prunings.prune(Prune(request.dry_run, request.request_id))
    return pb.PruneExpiredResponse(
        counts=[
            pb.PruneCount(
                kind=kind.value,
                rows=number,
                kept_for=Duration(seconds=round(prunings.kept[kind].total_seconds())),
                setting=f"TIEOUT_{SETTINGS[kind].upper()}",
            )
            for kind, number in rows.items()
        ]
    )


async def erased(erasures: Erasures, request: pb.EraseCustomerRequest) -> pb.EraseCustomerResponse:
    """What was erased of one person, or would be."""
    asked = EraseCustomer(request.connection_id, request.customer_id, request.dry_run, request.request_id)
    rows = await erasures.erase(asked)
    return pb.EraseCustomerResponse(counts=[pb.PurgeCount(kind=kind, rows=rows[kind]) for kind in sorted(rows)])
