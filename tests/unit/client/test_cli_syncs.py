"""The commands of SyncService: starting, following, listing, and how fresh all is."""

import json
import re
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import Result

from tieout.v1.sync_service_pb2 import (
    CallBudget,
    CallPurpose,
    CancelSyncRequest,
    CancelSyncResponse,
    EntityFreshness,
    GetFreshnessRequest,
    GetFreshnessResponse,
    HeldSyncDecision,
    ListSyncsRequest,
    ListSyncsResponse,
    ResolveHeldSyncRequest,
    ResolveHeldSyncResponse,
    StartSyncRequest,
    StartSyncResponse,
    Sync,
    SyncError,
    SyncMode,
    SyncProgress,
    SyncState,
    Usage,
    WatchSyncRequest,
    WatchSyncResponse,
)
from tieout.v1.types_pb2 import Entity

Context = grpc.ServicerContext
Cli = Callable[..., Result]


class Service:
    """A service with one sync, whose progress a test puts in."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.progress: list[WatchSyncResponse] = []
        self.calls_this_month = 47
        self.projected_month_bytes = 0
        self.calls: dict[str, Callable[..., object]] = {
            "SyncService/StartSync": self.start_sync,
            "SyncService/ListSyncs": self.list_syncs,
            "SyncService/CancelSync": self.cancel_sync,
            "SyncService/ResolveHeldSync": self.resolve_held_sync,
            "SyncService/WatchSync": self.watch_sync,
            "SyncService/GetFreshness": self.freshness,
        }

    def start_sync(self, request: StartSyncRequest, _context: Context) -> StartSyncResponse:
        self.requests.append(request)
        return StartSyncResponse(sync=Sync(id="s1", state=SyncState.SYNC_STATE_QUEUED))

    def list_syncs(self, request: ListSyncsRequest, _context: Context) -> ListSyncsResponse:
        self.requests.append(request)
        ended = [Sync(id=id_, state=SyncState.SYNC_STATE_SUCCEEDED, calls=52) for id_ in ("s1", "s0")]
        return ListSyncsResponse(syncs=ended)

    def cancel_sync(self, request: CancelSyncRequest, _context: Context) -> CancelSyncResponse:
        return CancelSyncResponse(sync=Sync(id=request.sync_id, state=SyncState.SYNC_STATE_CANCELLED))

    def resolve_held_sync(self, request: ResolveHeldSyncRequest, _context: Context) -> ResolveHeldSyncResponse:
        self.requests.append(request)
        is_confirmed = request.decision == HeldSyncDecision.HELD_SYNC_DECISION_CONFIRM
        state = SyncState.SYNC_STATE_RUNNING if is_confirmed else SyncState.SYNC_STATE_CANCELLED
        return ResolveHeldSyncResponse(sync=Sync(id=request.sync_id, state=state))

    def watch_sync(self, request: WatchSyncRequest, _context: Context) -> Iterator[WatchSyncResponse]:
        self.requests.append(request)
        yield from self.progress

    def freshness(self, request: GetFreshnessRequest, _context: Context) -> GetFreshnessResponse:
        invoices = EntityFreshness(
            entity=Entity.ENTITY_INVOICES, rows=20000, next_read_at=Timestamp(seconds=1_795_348_800)
        )
        usage = Usage(
            purpose=CallPurpose.CALL_PURPOSE_FIRST_SYNC, calls=47, bytes_wire=8_200_000, bytes_body=56_500_000
        )
        month = Usage()
        month.CopyFrom(usage)
        month.calls = self.calls_this_month
        calls = CallBudget(used_this_minute=12, left_this_minute=48, used_today=47, left_today=4953)
        if self.projected_month_bytes:
            calls.day_limit = 5000
            calls.day_resets_at.seconds = 1_795_435_200
        return GetFreshnessResponse(
            connection_id=request.connection_id,
            entities=[invoices],
            calls=calls,
            today=[usage],
            this_month=[month],
            projected_month_bytes=self.projected_month_bytes or None,
        )


def documents(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def states(*of: SyncState.ValueType) -> list[WatchSyncResponse]:
    percents = range(0, 101, 100 // max(len(of) - 1, 1))
    return [
        WatchSyncResponse(resume_token=str(percent), progress=SyncProgress(sync=Sync(state=state), percent=percent))
        for state, percent in zip(of, percents, strict=False)
    ]


def test_following_a_sync_prints_lines_where_there_is_no_terminal(cli: Cli) -> None:
    service = Service()
    service.progress = states(SyncState.SYNC_STATE_QUEUED, SyncState.SYNC_STATE_RUNNING, SyncState.SYNC_STATE_SUCCEEDED)
    result = cli(service.calls, "sync", "acme", "--follow", "--full")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["0.0", "%", "queued"],
        ["50.0", "%"],
        ["100.0", "%", "succeeded"],
    ]
    start = service.requests[0]
    assert isinstance(start, StartSyncRequest)
    assert start.mode == SyncMode.SYNC_MODE_FULL


def test_a_sync_that_failed_says_why_and_leaves_with_3(cli: Cli) -> None:
    service = Service()
    service.progress = states(SyncState.SYNC_STATE_RUNNING, SyncState.SYNC_STATE_FAILED)
    service.progress[1].progress.sync.error.CopyFrom(SyncError(sentence="The merchant must reconnect."))
    result = cli(service.calls, "sync", "c1", "--follow")
    assert result.exit_code == 3
    assert "The sync ended as failed. The merchant must reconnect." in result.stdout


def test_following_a_sync_as_json_prints_each_message(cli: Cli) -> None:
    service = Service()
    service.progress = states(SyncState.SYNC_STATE_RUNNING, SyncState.SYNC_STATE_SUCCEEDED)
    result = cli(service.calls, "sync", "c1", "--follow", "--json")
    assert [doc["resume_token"] for doc in documents(result)] == ["0", "100"]


def test_a_sync_is_started_and_left_alone(cli: Cli) -> None:
    result = cli(Service().calls, "sync", "c1")
    assert "Sync s1 has been started and is queued" in result.stdout


def test_syncs_are_listed_and_cancelled(cli: Cli) -> None:
    calls = Service().calls
    assert re.search(r"succeeded +0 +52 +0 B +s1", cli(calls, "syncs", "c1").stdout)
    one = cli(calls, "syncs", "c1", "--limit", "1").stdout
    assert ("s0" in one, "There are more" in one) == (False, True)
    assert "Sync s1 is cancelled." in cli(calls, "cancel-sync", "s1").stdout


def test_freshness_shows_rows_calls_and_bytes(cli: Cli) -> None:
    shown = cli(Service().calls, "freshness", "acme").stdout
    assert re.search(r"invoices +20,000 +never", shown)
    assert "Calls this minute: 12 used, 48 left" in shown
    assert "Calls today: 47 used, 4,953 left" in shown
    assert re.search(r"first sync +47 +8\.2 MB +56\.5 MB", shown)


def test_the_month_is_shown_only_where_it_is_not_the_same_as_today(cli: Cli) -> None:
    service = Service()
    assert "This month" not in cli(service.calls, "freshness", "acme").stdout
    service.calls_this_month = 4700
    assert re.search(r"This month.*\nfirst sync +4,700 ", cli(service.calls, "freshness", "acme").stdout)


def test_a_held_sync_is_not_waited_for_and_says_how_to_decide(cli: Cli) -> None:
    service = Service()
    service.progress = states(SyncState.SYNC_STATE_RUNNING, SyncState.SYNC_STATE_HELD, SyncState.SYNC_STATE_RUNNING)
    service.progress[1].progress.sync.error.CopyFrom(SyncError(sentence="Xero lists no invoices at all."))
    result = cli(service.calls, "sync", "c1", "--follow")
    assert result.exit_code == 3
    assert "The sync is held. Xero lists no invoices at all." in result.stdout
    assert "tieout resolve-sync s1 confirm" in result.stderr


@pytest.mark.parametrize(("decision", "state"), [("confirm", "running"), ("discard", "cancelled")])
def test_a_held_sync_is_decided_about(cli: Cli, decision: str, state: str) -> None:
    service = Service()
    assert f"Sync s1 is {state}." in cli(service.calls, "resolve-sync", "s1", decision, "--note", "so it is").stdout
    (request,) = service.requests
    assert isinstance(request, ResolveHeldSyncRequest)
    assert (request.note, bool(request.request_id)) == ("so it is", True)


def test_freshness_tells_what_comes_next_and_what_the_month_comes_to_beside_xeros_tiers(cli: Cli) -> None:
    service = Service()
    service.projected_month_bytes = 45_000_000
    shown = cli(service.calls, "freshness", "acme").stdout
    assert re.search(r"invoices +20,000 +never +2026-11-22 12:00:00Z", shown)
    assert "Calls today: 47 used, 4,953 left of 5,000; Xero's day ends by 2026-11-23 12:00:00Z" in shown
    assert "At this rate the month comes to 45.0 MB decompressed" in shown
    assert re.search(r"Core +50 +10\.0 GB +200\.0 MB", shown)
