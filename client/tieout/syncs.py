"""SyncService: from Xero to here. The protos say what each call promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from grpc.aio import Channel

from tieout.calls import Calls
from tieout.paging import Pages
from tieout.v1.sync_service_pb2 import (
    CancelSyncRequest,
    ExplainContactRequest,
    ExplainContactResponse,
    GetFreshnessRequest,
    GetFreshnessResponse,
    GetSyncRequest,
    HeldSyncDecision,
    ListSyncsRequest,
    ListSyncsResponse,
    ResolveHeldSyncRequest,
    StartSyncRequest,
    StartSyncResponse,
    Sync,
    SyncMode,
    SyncState,
    WatchSyncRequest,
    WatchSyncResponse,
)
from tieout.v1.sync_service_pb2_grpc import SyncServiceStub
from tieout.v1.types_pb2 import Entity

ENDED = frozenset({SyncState.SYNC_STATE_SUCCEEDED, SyncState.SYNC_STATE_FAILED, SyncState.SYNC_STATE_CANCELLED})
"""The states that a sync never leaves."""


class Syncs:
    """Reads receivables from Xero and shows how far it has come."""

    def __init__(self, channel: Channel, calls: Calls) -> None:
        self._stub = SyncServiceStub(channel)
        self._calls = calls

    async def start(
        self,
        connection_id: str,
        *,
        mode: SyncMode.ValueType = SyncMode.SYNC_MODE_UNSPECIFIED,
        entities: Iterable[Entity.ValueType] = (),
        request_id: str = "",
    ) -> StartSyncResponse:
        """Ask for a sync; one that runs is joined, never doubled."""
        request = StartSyncRequest(connection_id=connection_id, mode=mode, entities=entities, request_id=request_id)
        return await self._calls.unary(self._stub.StartSync, request)

    async def get(self, sync_id: str) -> Sync:
        """Read one sync."""
        return (await self._calls.unary(self._stub.GetSync, GetSyncRequest(sync_id=sync_id))).sync

    def list(
        self,
        connection_id: str,
        *,
        states: Iterable[SyncState.ValueType] = (),
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListSyncsResponse, Sync]:
        """List the syncs of a connection, newest first."""
        request = ListSyncsRequest(connection_id=connection_id, states=states, page_size=page_size)
        return self._calls.pages(self._stub.ListSyncs, request, lambda page: page.syncs, page_token)

    async def cancel(self, sync_id: str, *, request_id: str = "") -> Sync:
        """End a sync before its time; what was read stays."""
        request = CancelSyncRequest(sync_id=sync_id, request_id=request_id)
        return (await self._calls.unary(self._stub.CancelSync, request)).sync

    async def resolve_held(
        self, sync_id: str, decision: HeldSyncDecision.ValueType, *, note: str = "", request_id: str = ""
    ) -> Sync:
        """Decide about a sync that is HELD."""
        request = ResolveHeldSyncRequest(sync_id=sync_id, decision=decision, note=note, request_id=request_id)
        return (await self._calls.unary(self._stub.ResolveHeldSync, request)).sync

    def watch(self, sync_id: str, *, after: str = "") -> AsyncGenerator[WatchSyncResponse, None]:
        """Follow one sync to its end, resuming by itself; state now comes first."""
        return self._calls.watch(self._stub.WatchSync, WatchSyncRequest(sync_id=sync_id), after, until=_ended)

    def watch_connection(self, connection_id: str, *, after: str = "") -> AsyncGenerator[WatchSyncResponse, None]:
        """Follow all syncs of a connection for ever, resuming by itself; state now comes first."""
        return self._calls.watch(self._stub.WatchSync, WatchSyncRequest(connection_id=connection_id), after)

    async def freshness(self, connection_id: str) -> GetFreshnessResponse:
        """How fresh the copy is, and what it has cost."""
        return await self._calls.unary(self._stub.GetFreshness, GetFreshnessRequest(connection_id=connection_id))

    async def explain_contact(
        self,
        connection_id: str,
        *,
        xero_contact_id: str | None = None,
        name: str | None = None,
        contact_number: str | None = None,
        email: str | None = None,
    ) -> ExplainContactResponse:
        """Why a contact, named in one of four ways, is or is not here."""
        request = ExplainContactRequest(connection_id=connection_id)
        named = {"xero_contact_id": xero_contact_id, "name": name, "contact_number": contact_number, "email": email}
        for field, value in named.items():
            if value is not None:
                setattr(request, field, value)
        return await self._calls.unary(self._stub.ExplainContact, request)


def _ended(message: WatchSyncResponse) -> bool:
    return message.progress.sync.state in ENDED
