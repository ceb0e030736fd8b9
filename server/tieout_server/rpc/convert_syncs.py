"""Syncs, their progress, and how fresh the copy is, as messages."""

from collections.abc import Sequence

from tieout.v1 import sync_service_pb2 as pb
from tieout.v1 import types_pb2
from tieout_server.ledger.calls import Allowance
from tieout_server.rpc.convert import entity, timestamp
from tieout_server.storage.calls import Usage
from tieout_server.storage.syncs import SyncFault, SyncRecord
from tieout_server.syncs.freshness import EntityFreshness, Freshness
from tieout_server.syncs.progress import LineProgress, Progress


def sync(record: SyncRecord) -> pb.Sync:
    """The sync as it stands."""
    return pb.Sync(
        id=record.id,
        connection_id=record.connection_id,
        mode=pb.SyncMode.Value(f"SYNC_MODE_{record.mode}"),
        state=pb.SyncState.Value(f"SYNC_STATE_{record.state}"),
        phase=_phase(record),
        entities=[entity(name) for name in record.entities],
        requested_by=record.requested_by,
        started_at=timestamp(record.started_at),
        ended_at=timestamp(record.ended_at),
        created_at=timestamp(record.created_at),
        error=_fault(record.fault),
        percent=record.percent,
        milestones=_milestones(record),
        calls=record.calls,
        bytes_wire=record.bytes_wire,
    )


def progress(now: Progress, resume_token: str) -> pb.SyncProgress:
    """How far the sync has come."""
    record = now.sync
    return pb.SyncProgress(
        sync=sync(record),
        phase=_phase(record),
        entities=[_line(line) for line in now.lines],
        percent=record.percent,
        eta=timestamp(record.eta_at),
        milestones=_milestones(record),
        milestone=_milestone(now.milestone),
        waiting_on=_waiting_on(record),
        resume_token=resume_token,
    )


def freshness(found: Freshness) -> pb.GetFreshnessResponse:
    """How fresh the copy is and what it has cost."""
    return pb.GetFreshnessResponse(
        connection_id=found.connection_id,
        entities=[_freshness(one, found) for one in found.entities],
        calls=_budget(found.allowance, found),
        today=_usage(found.today),
        this_month=_usage(found.this_month),
        projected_month_bytes=found.projected_month_bytes,
        as_of=timestamp(found.as_of),
    )


def _phase(record: SyncRecord) -> "pb.SyncPhase.ValueType":
    return pb.SyncPhase.Value(f"SYNC_PHASE_{record.phase or 'UNSPECIFIED'}")


def _milestone(name: str) -> "pb.Milestone.ValueType":
    return pb.Milestone.Value(f"MILESTONE_{name or 'UNSPECIFIED'}")


def _milestones(record: SyncRecord) -> list[pb.MilestoneReached]:
    reached = sorted(record.milestones.items(), key=lambda item: item[1])
    return [pb.MilestoneReached(milestone=_milestone(name), reached_at=timestamp(at)) for name, at in reached]


def _fault(fault: SyncFault | None) -> pb.SyncError | None:
    if fault is None:
        return None
    return pb.SyncError(
        reason=fault.reason, sentence=fault.sentence, owner=types_pb2.Owner.Value(f"OWNER_{fault.owner}")
    )


def _waiting_on(record: SyncRecord) -> pb.WaitingOn | None:
    if not record.waiting_by:
        return None
    return pb.WaitingOn(
        what=pb.WaitReason.Value(f"WAIT_REASON_{record.waiting_by}"), until=timestamp(record.waiting_until)
    )


def _line(line: LineProgress) -> pb.EntityProgress:
    return pb.EntityProgress(
        entity=entity(line.entity),
        open_only=line.open_only,
        catch_up=line.catch_up,
        state=pb.EntityState.Value(f"ENTITY_STATE_{line.state}"),
        fetched=line.fetched,
        expected=line.expected,
        upserted=line.upserted,
        skipped=[
            pb.SkippedCount(reason=pb.SkipReason.Value(f"SKIP_REASON_{reason}"), count=count)
            for reason, count in sorted(line.skipped.items())
        ],
        removed=line.removed,
        pages_read=line.pages_read,
        pages_expected=line.pages_expected,
    )


def _freshness(one: EntityFreshness, found: Freshness) -> pb.EntityFreshness:
    lag = None if one.last_read_at is None else (found.as_of - one.last_read_at).total_seconds()
    return pb.EntityFreshness(
        entity=entity(one.entity),
        watermark=timestamp(one.watermark_at),
        last_read_at=timestamp(one.last_read_at),
        rows=one.rows,
        lag_seconds=lag,
        next_read_at=timestamp(one.next_read_at),
    )


def _budget(allowance: Allowance, found: Freshness) -> pb.CallBudget:
    return pb.CallBudget(
        used_this_minute=allowance.used_this_minute,
        left_this_minute=allowance.left_this_minute,
        minute_resets_at=timestamp(allowance.minute_resets_at),
        used_today=sum(usage.call_count for usage in found.today),
        left_today=allowance.left_today,
        day_resets_at=timestamp(allowance.day_resets_at),
        day_limit=allowance.day_limit,
    )


def _usage(rows: Sequence[Usage]) -> list[pb.Usage]:
    return [
        pb.Usage(
            purpose=pb.CallPurpose.Value(f"CALL_PURPOSE_{row.purpose.upper()}"),
            calls=row.call_count,
            bytes_wire=row.bytes_wire,
            bytes_body=row.bytes_body,
        )
        for row in rows
    ]
