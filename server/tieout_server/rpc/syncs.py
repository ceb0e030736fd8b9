"""SyncService: from Xero to here, on the wire."""
# ruff: noqa: ARG002, N802 - grpc names the methods and passes a context to each

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from grpc import aio

from tieout.v1 import sync_service_pb2 as pb
from tieout.v1 import sync_service_pb2_grpc as pb_grpc
from tieout_server.clock import Clock
from tieout_server.events import token
from tieout_server.ledger.links import CALLER
from tieout_server.rpc import convert_explain, convert_syncs, paging
from tieout_server.rpc.convert import entity_of, heartbeat
from tieout_server.storage.customers import ContactField
from tieout_server.syncs.explain import Explanations
from tieout_server.syncs.freshness import FreshnessOf
from tieout_server.syncs.service import ResolveHeldSync, StartSync, Syncs
from tieout_server.syncs.state import Decision, SyncMode, SyncState
from tieout_server.syncs.watch import Seen, SyncWatch

_Context = aio.ServicerContext[Any, Any]


class SyncServicer(pb_grpc.SyncServiceServicer):
    """Answers the calls of SyncService."""

    def __init__(
        self, syncs: Syncs, watch: SyncWatch, freshness: FreshnessOf, explanations: Explanations, clock: Clock
    ) -> None:
        self._syncs = syncs
        self._watch = watch
        self._freshness = freshness
        self._explanations = explanations
        self._clock = clock

    async def StartSync(self, request: pb.StartSyncRequest, context: _Context) -> pb.StartSyncResponse:
        """The sync that runs, new or joined."""
        full = request.mode == pb.SYNC_MODE_FULL
        asked = StartSync(
            connection_id=request.connection_id,
            mode=SyncMode.FULL if full else SyncMode.INCREMENTAL,
            entities=tuple(dict.fromkeys(entity_of(number) for number in request.entities)),
            requested_by=CALLER,
            request_id=request.request_id,
        )
        answer = await self._syncs.start(asked)
        return pb.StartSyncResponse(sync=convert_syncs.sync(answer.sync), joined=answer.joined)

    async def GetSync(self, request: pb.GetSyncRequest, context: _Context) -> pb.GetSyncResponse:
        """The sync as it is now."""
        return pb.GetSyncResponse(sync=convert_syncs.sync(await self._syncs.get(request.sync_id)))

    async def ListSyncs(self, request: pb.ListSyncsRequest, context: _Context) -> pb.ListSyncsResponse:
        """A page of syncs, newest first."""
        size = paging.size_of(request)
        found = await self._syncs.page(
            request.connection_id,
            states=[SyncState(pb.SyncState.Name(s).removeprefix("SYNC_STATE_")) for s in request.states],
            before=paging.key_of(request, request.page_token, int),
            limit=size + 1,
        )
        page, more = found[:size], len(found) > size
        return pb.ListSyncsResponse(
            syncs=[convert_syncs.sync(record) for record in page],
            next_page_token=paging.token_after(request, page[-1].ordinal) if more else "",
        )

    async def CancelSync(self, request: pb.CancelSyncRequest, context: _Context) -> pb.CancelSyncResponse:
        """The sync after it was cancelled."""
        sync = await self._syncs.cancel(request.sync_id, request.request_id)
        return pb.CancelSyncResponse(sync=convert_syncs.sync(sync))

    async def ResolveHeldSync(
        self, request: pb.ResolveHeldSyncRequest, context: _Context
    ) -> pb.ResolveHeldSyncResponse:
        """The sync after the decision."""
        decision = pb.HeldSyncDecision.Name(request.decision).removeprefix("HELD_SYNC_DECISION_")
        asked = ResolveHeldSync(request.sync_id, Decision(decision), request.note, request.request_id)
        return pb.ResolveHeldSyncResponse(sync=convert_syncs.sync(await self._syncs.resolve(asked)))

    async def WatchSync(self, request: pb.WatchSyncRequest, context: _Context) -> AsyncIterator[pb.WatchSyncResponse]:
        """State now, or what was missed, and then every change."""
        watched = (
            self._watch.of_sync(request.sync_id, request.after)
            if request.sync_id
            else self._watch.of_connection(request.connection_id, request.after)
        )
        async with aclosing(watched) as everything:
            async for seen in everything:
                yield self._message(seen)

    async def GetFreshness(self, request: pb.GetFreshnessRequest, context: _Context) -> pb.GetFreshnessResponse:
        """How fresh the copy is and what it has cost."""
        return convert_syncs.freshness(await self._freshness.connection(request.connection_id))

    async def ExplainContact(self, request: pb.ExplainContactRequest, context: _Context) -> pb.ExplainContactResponse:
        """Why contacts that are named so are or are not here."""
        field = ContactField(request.WhichOneof("contact") or ContactField.NAME)
        found = await self._explanations.contact(request.connection_id, field, getattr(request, field))
        return pb.ExplainContactResponse(explanations=[convert_explain.explanation(one) for one in found])

    def _message(self, seen: Seen) -> pb.WatchSyncResponse:
        resume_token = token.encode(seen.position)
        if seen.progress is None:
            return pb.WatchSyncResponse(resume_token=resume_token, heartbeat=heartbeat(self._clock))
        return pb.WatchSyncResponse(
            resume_token=resume_token, progress=convert_syncs.progress(seen.progress, resume_token)
        )
