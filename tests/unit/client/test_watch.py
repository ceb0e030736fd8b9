"""Watches go on by themselves over broken streams, and stop where somebody has to do something."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tieout import Client, errors
from tieout.v1.connection_service_pb2 import WatchConnectionsRequest, WatchConnectionsResponse
from tieout.v1.sync_service_pb2 import Sync, SyncProgress, SyncState, WatchSyncRequest, WatchSyncResponse
from tieout.v1.types_pb2 import Heartbeat
from tieout.watch import Patience

Context = grpc.aio.ServicerContext[WatchConnectionsRequest, WatchConnectionsResponse]
ClientOf = Callable[..., Awaitable[Client]]


@dataclass
class Stream:
    """One stream as the server gives it: messages with these tokens, and then an end."""

    tokens: str = ""
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    silent: bool = False

    async def end(self, context: Context) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.reason:
            await context.abort_with_status(rpc_status.to_status(self._status()))
        if self.code is not grpc.StatusCode.OK:
            await context.abort(self.code, "cut")

    def _status(self) -> status_pb2.Status:
        packed = Packed()
        packed.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain="tieout.v1"))
        return status_pb2.Status(code=self.code.value[0], message="Said the server.", details=[packed])


class Scripted:
    """Gives one stream after the other, and remembers how each was asked for."""

    def __init__(self, *streams: Stream) -> None:
        self.streams = list(streams)
        self.asked: list[WatchConnectionsRequest] = []
        self.shown: list[str | bytes | None] = []
        self.opened = asyncio.Event()
        self.left = asyncio.Event()
        self.calls = {"ConnectionService/WatchConnections": self.watch}

    async def watch(
        self, request: WatchConnectionsRequest, context: Context
    ) -> AsyncIterator[WatchConnectionsResponse]:
        self.asked.append(request)
        self.shown.append(dict(context.invocation_metadata() or ()).get("authorization"))
        self.opened.set()
        stream = self.streams.pop(0)
        try:
            for token in stream.tokens:
                yield WatchConnectionsResponse(resume_token=token, heartbeat=Heartbeat())
            await stream.end(context)
        finally:
            self.left.set()


async def tokens(client: Client, count: int, **scope: object) -> str:
    found = ""
    async with aclosing(client.connections.watch(**scope)) as messages:  # type: ignore[arg-type]
        async for message in messages:
            found += message.resume_token
            if len(found) == count:
                break
    return found


INTERRUPTIONS = [
    Stream(code=grpc.StatusCode.UNAVAILABLE),
    Stream(code=grpc.StatusCode.CANCELLED),
    Stream(code=grpc.StatusCode.DEADLINE_EXCEEDED),
    Stream(code=grpc.StatusCode.UNAVAILABLE, reason="DRAINING"),
    Stream(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="CALLER_RATE_LIMITED"),
    Stream(code=grpc.StatusCode.OK),
]


@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=lambda it: it.reason or it.code.name)
async def test_an_interrupted_watch_goes_on_behind_the_last_message(client_of: ClientOf, interruption: Stream) -> None:
    interruption = Stream("ab", interruption.code, interruption.reason)
    service = Scripted(interruption, Stream("cd", silent=True))
    assert await tokens(await client_of(service.calls), 4) == "abcd"
    assert [request.after for request in service.asked] == ["", "b"]


async def test_a_watch_says_once_that_it_goes_on(client_of: ClientOf) -> None:
    away = Stream(code=grpc.StatusCode.UNAVAILABLE)
    service = Scripted(Stream("a", grpc.StatusCode.UNAVAILABLE), away, away, Stream("bc", silent=True))
    told: list[str] = []

    async def lost(_seconds: float) -> None:
        told.append("lost")

    patience = Patience(sleep=lost, resumed=lambda: told.append("back"))
    assert await tokens(await client_of(service.calls, patience=patience), 3) == "abc"
    assert told == ["lost", "lost", "lost", "back"]


async def test_a_snapshot_is_asked_for_until_something_of_it_arrived(client_of: ClientOf) -> None:
    cut = Stream(code=grpc.StatusCode.UNAVAILABLE)
    service = Scripted(cut, Stream("a", grpc.StatusCode.UNAVAILABLE), Stream("b", silent=True))
    assert await tokens(await client_of(service.calls), 2, from_start=True, merchant_id="m") == "ab"
    asked = [(request.merchant_id, request.from_start, request.after) for request in service.asked]
    assert asked == [("m", True, ""), ("m", True, ""), ("m", False, "a")]


async def test_a_watch_starts_behind_the_token_that_it_is_given(client_of: ClientOf) -> None:
    service = Scripted(Stream("y", silent=True))
    assert await tokens(await client_of(service.calls), 1, after="x") == "y"
    assert service.asked[0].after == "x"


async def test_a_token_that_is_too_old_is_raised_as_such(client_of: ClientOf) -> None:
    service = Scripted(Stream(code=grpc.StatusCode.OUT_OF_RANGE, reason="RESUME_TOKEN_TOO_OLD"))
    with pytest.raises(errors.ResumeTokenTooOldError, match="Said the server"):
        await tokens(await client_of(service.calls), 1, after="x")


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (Stream("a", grpc.StatusCode.NOT_FOUND, "NOT_FOUND"), errors.NotFoundError),
        (Stream("a", grpc.StatusCode.UNAUTHENTICATED), errors.CallerUnauthenticatedError),
        (Stream("a", grpc.StatusCode.UNIMPLEMENTED, "NOT_SERVED_YET"), errors.NotServedYetError),
        (Stream("a", grpc.StatusCode.INTERNAL, "INTERNAL"), errors.BugError),
        (Stream("a", grpc.StatusCode.UNKNOWN), errors.BugError),
    ],
    ids=lambda value: value.code.name if isinstance(value, Stream) else "",
)
async def test_a_watch_stops_where_a_repeat_would_not_help(
    client_of: ClientOf, stream: Stream, expected: type[errors.TieoutError]
) -> None:
    service = Scripted(stream)
    with pytest.raises(expected):
        await tokens(await client_of(service.calls), 2)
    assert len(service.asked) == 1


EXPIRED = Stream("ab", grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED")


async def test_a_watch_whose_token_has_expired_goes_on_with_the_next_one(client_of: ClientOf) -> None:
    service = Scripted(EXPIRED, Stream("cd", silent=True))
    client = await client_of(service.calls, token=lambda: "tuesday" if service.shown else "monday")
    assert await tokens(client, 4) == "abcd"
    assert [request.after for request in service.asked] == ["", "b"]
    assert service.shown == ["Bearer monday", "Bearer tuesday"]


async def test_a_watch_stops_where_there_is_no_other_token(client_of: ClientOf) -> None:
    service = Scripted(EXPIRED)
    with pytest.raises(errors.CallerUnauthenticatedError):
        await tokens(await client_of(service.calls, token=lambda: "monday"), 4)
    assert len(service.asked) == 1


async def test_a_stream_that_falls_silent_is_taken_for_dead(client_of: ClientOf) -> None:
    async def pause(_seconds: float) -> None: ...

    patience = Patience(silence=timedelta(milliseconds=200), sleep=pause)
    service = Scripted(Stream("a", silent=True), Stream("b", silent=True))
    assert await tokens(await client_of(service.calls, patience=patience), 2) == "ab"


async def test_leaving_a_watch_ends_it_at_the_server(client_of: ClientOf) -> None:
    service = Scripted(Stream("abc", silent=True))
    await tokens(await client_of(service.calls), 1)
    await asyncio.wait_for(service.left.wait(), 5)


async def test_cancelling_the_task_ends_the_watch_and_is_not_swallowed(client_of: ClientOf) -> None:
    service = Scripted(Stream("a", silent=True))
    client = await client_of(service.calls)
    reading = asyncio.create_task(tokens(client, 2))
    await asyncio.wait_for(service.opened.wait(), 5)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.wait_for(service.left.wait(), 5)


async def test_attempts_are_counted_anew_after_each_message(client_of: ClientOf) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    cut = Stream(code=grpc.StatusCode.UNAVAILABLE)
    service = Scripted(cut, cut, Stream("a", grpc.StatusCode.UNAVAILABLE), cut, cut)
    with pytest.raises(errors.UnreachableError):
        await tokens(await client_of(service.calls, patience=Patience(attempts=3, sleep=pause)), 9)
    assert len(pauses) == 4
    assert pauses[2] <= 0.2 < pauses[3] * 2.0001


def test_pauses_double_up_to_a_limit_and_come_on_top_of_what_the_server_asks() -> None:
    patience = Patience(first_pause=timedelta(seconds=1), longest_pause=timedelta(seconds=10))
    error = errors.UnreachableError("away")
    for failures, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (5, 10.0), (500, 10.0)):
        pauses = {patience.pause(failures, error) for _ in range(50)}
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(pauses) > 1
    asked = errors.TryAgainError("later", errors.Facts(reason="DRAINING", retry_after=timedelta(seconds=60)))
    pauses = {patience.pause(1, asked) for _ in range(50)}
    assert all(60.5 <= pause <= 61 for pause in pauses)
    assert len(pauses) > 1, "all whom a server sends away would come back at once"


SyncContext = grpc.aio.ServicerContext[WatchSyncRequest, WatchSyncResponse]


class TwoStates:
    """A sync that runs, is cut, and then has ended; the stream stays open to show that the client leaves."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.calls = {"SyncService/WatchSync": self.watch}

    async def watch(self, request: WatchSyncRequest, context: SyncContext) -> AsyncIterator[WatchSyncResponse]:
        self.asked.append(request.after)
        if request.after == "end":
            return
        state = SyncState.SYNC_STATE_SUCCEEDED if request.after else SyncState.SYNC_STATE_RUNNING
        yield WatchSyncResponse(resume_token="1", progress=SyncProgress(sync=Sync(id=request.sync_id, state=state)))
        if not request.after:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        await asyncio.Event().wait()


async def test_a_watch_of_one_sync_ends_with_the_sync(client_of: ClientOf) -> None:
    service = TwoStates()
    client = await client_of(service.calls)
    states = [message.progress.sync.state async for message in client.syncs.watch("s1")]
    assert states == [SyncState.SYNC_STATE_RUNNING, SyncState.SYNC_STATE_SUCCEEDED]
    assert service.asked == ["", "1"]


async def test_a_watch_of_a_sync_that_has_nothing_more_to_tell_ends(client_of: ClientOf) -> None:
    client = await client_of(TwoStates().calls)
    assert [message async for message in client.syncs.watch("s1", after="end")] == []
