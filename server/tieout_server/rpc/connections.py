"""ConnectionService: the link between a merchant and a Xero organisation, on the wire."""
# ruff: noqa: ARG002, N802 - grpc names the methods and passes a context to each

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from grpc import aio

from tieout.v1 import connection_service_pb2 as pb
from tieout.v1 import connection_service_pb2_grpc as pb_grpc
from tieout_server.callers.audit import AuditLog
from tieout_server.clock import Clock
from tieout_server.connections.messages import Choose, Connect, Disconnect, PurgeMerchant, Reconnect, Return, Started
from tieout_server.connections.service import Connections
from tieout_server.errors import NotFoundError
from tieout_server.events import token
from tieout_server.events.feed import CONNECTION, Feed, Wanted
from tieout_server.ledger.links import Link, LinkChange
from tieout_server.retention import Prunings
from tieout_server.rpc import audit, forgetting, paging
from tieout_server.rpc.callers import merchants
from tieout_server.rpc.convert import heartbeat, timestamp
from tieout_server.rpc.convert_connections import change, connection, event, observation
from tieout_server.storage.connections import Scope
from tieout_server.storage.events import Event
from tieout_server.syncs.erasures import Erasures

_Context = aio.ServicerContext[Any, Any]

_SHARED = 256
"""Changes whose message is kept, so that one event for many watchers is put together once."""

_AT_ONCE = 500
"""Connections of a snapshot that are made into messages before others have their turn."""


@dataclass(frozen=True)
class ConnectionSubjects:
    """What ConnectionService is answered from."""

    connections: Connections
    audit_log: AuditLog
    prunings: Prunings
    erasures: Erasures


class ConnectionServicer(pb_grpc.ConnectionServiceServicer):
    """Answers the calls of ConnectionService."""

    def __init__(self, subjects: ConnectionSubjects, feed: Feed, clock: Clock, asked_scopes: Sequence[str]) -> None:
        self._audit_log = subjects.audit_log
        self._connections = subjects.connections
        self._prunings = subjects.prunings
        self._erasures = subjects.erasures
        self._feed = feed
        self._clock = clock
        self._asked_scopes = frozenset(asked_scopes)
        self._told: Callable[[Event], pb.WatchConnectionsResponse] = lru_cache(_SHARED)(self._tell)

    async def Connect(self, request: pb.ConnectRequest, context: _Context) -> pb.ConnectResponse:
        """A connection that waits for consent, and where to consent."""
        started = await self._connections.connect(
            Connect(request.merchant_id, request.return_url, request.request_id),
        )
        return pb.ConnectResponse(**await self._consent(started))

    async def Reconnect(self, request: pb.ReconnectRequest, context: _Context) -> pb.ReconnectResponse:
        """Where to consent anew."""
        started = await self._connections.reconnect(
            Reconnect(request.connection_id, request.return_url, request.request_id)
        )
        return pb.ReconnectResponse(**await self._consent(started))

    async def CompleteAuthorization(
        self, request: pb.CompleteAuthorizationRequest, context: _Context
    ) -> pb.CompleteAuthorizationResponse:
        """The connection after consent."""
        completed = await self._connections.complete(
            Return(request.state, request.code, request.error, request.request_id)
        )
        return pb.CompleteAuthorizationResponse(
            connection=await self._message(completed.link), return_url=completed.return_url
        )

    async def ChooseOrganisation(
        self, request: pb.ChooseOrganisationRequest, context: _Context
    ) -> pb.ChooseOrganisationResponse:
        """The connection after the choice."""
        link = await self._connections.choose(Choose(request.connection_id, request.xero_tenant_id, request.request_id))
        return pb.ChooseOrganisationResponse(connection=await self._message(link))

    async def Disconnect(self, request: pb.DisconnectRequest, context: _Context) -> pb.DisconnectResponse:
        """The connection after its end."""
        link = await self._connections.disconnect(
            Disconnect(request.connection_id, request.purge_data, request.request_id)
        )
        return pb.DisconnectResponse(connection=await self._message(link))

    async def PurgeMerchant(self, request: pb.PurgeMerchantRequest, context: _Context) -> pb.PurgeMerchantResponse:
        """What is being erased."""
        purged = await self._connections.purge_merchant(
            PurgeMerchant(request.merchant_id, request.disconnect, request.request_id)
        )
        counts = [pb.PurgeCount(kind=kind, rows=rows) for kind, rows in sorted(purged.rows.items())]
        return pb.PurgeMerchantResponse(connection_ids=purged.connection_ids, counts=counts)

    async def EraseCustomer(self, request: pb.EraseCustomerRequest, context: _Context) -> pb.EraseCustomerResponse:
        """What was erased of one person."""
        return await forgetting.erased(self._erasures, request)

    async def GetConnection(self, request: pb.GetConnectionRequest, context: _Context) -> pb.GetConnectionResponse:
        """The connection as it is now."""
        link = await self._connections.get(request.connection_id)
        return pb.GetConnectionResponse(connection=await self._message(link))

    async def ListConnections(
        self, request: pb.ListConnectionsRequest, context: _Context
    ) -> pb.ListConnectionsResponse:
        """A page of connections, oldest first."""
        states = tuple(pb.ConnectionState.Name(s).removeprefix("CONNECTION_STATE_") for s in request.states)
        size = paging.size_of(request)
        links = await self._connections.page(
            Scope(merchant_id=request.merchant_id, states=states, merchants=merchants()),
            after=paging.key_of(request, request.page_token, tuple[datetime, str]),
            limit=size + 1,
        )
        page, more = links[:size], len(links) > size
        return pb.ListConnectionsResponse(
            connections=await self._messages(page),
            next_page_token=paging.token_after(request, (page[-1].created_at, page[-1].id)) if more else "",
        )

    async def CheckConnection(
        self, request: pb.CheckConnectionRequest, context: _Context
    ) -> pb.CheckConnectionResponse:
        """What an examination now found, and the connection since."""
        checked = await self._connections.check(request.connection_id)
        return pb.CheckConnectionResponse(
            connection=await self._message(checked.link), evidence=[observation(seen) for seen in checked.evidence]
        )

    async def ListConnectionEvents(
        self, request: pb.ListConnectionEventsRequest, context: _Context
    ) -> pb.ListConnectionEventsResponse:
        """A page of what happened to the connection, newest first."""
        size = paging.size_of(request)
        happened = await self._connections.history(
            request.connection_id, before=paging.key_of(request, request.page_token, int), limit=size + 1
        )
        page, more = happened[:size], len(happened) > size
        return pb.ListConnectionEventsResponse(
            events=[event(it) for it in page],
            next_page_token=paging.token_after(request, page[-1].id) if more else "",
        )

    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, context: _Context
    ) -> pb.ListAuditEventsResponse:
        """A page of what callers did, newest first."""
        return await audit.listed(self._audit_log, request, merchants())

    async def PruneExpired(self, request: pb.PruneExpiredRequest, context: _Context) -> pb.PruneExpiredResponse:
        """What was older than it is kept."""
        return await forgetting.pruned(self._prunings, request)

    async def WatchConnections(
        self, request: pb.WatchConnectionsRequest, context: _Context
    ) -> AsyncIterator[pb.WatchConnectionsResponse]:
        """What the request begins with, and then every change."""
        ids = frozenset(request.connection_ids)
        scope = Scope(merchant_id=request.merchant_id, ids=tuple(sorted(ids)), merchants=merchants())
        await self._check_known(scope)
        if request.after:
            position = await self._feed.position_of(request.after)
        else:
            snapshot = await self._connections.snapshot(scope, empty=not request.from_start)
            position = snapshot.position
            for start in range(0, len(snapshot.links), _AT_ONCE):
                for message in await self._messages(snapshot.links[start : start + _AT_ONCE]):
                    # Without a token: a snapshot that was cut off is begun anew.
                    yield pb.WatchConnectionsResponse(snapshot=message)
            yield self._quiet(position)
        async with aclosing(self._feed.follow(position, self._wanted(request.merchant_id, ids))) as happenings:
            async for item in happenings:
                yield self._told(item) if isinstance(item, Event) else self._quiet(item)

    async def _check_known(self, scope: Scope) -> None:
        """Refuse ids of connections that do not exist: a watch of them would be silent for ever."""
        if scope.ids:
            found = {link.id for link in await self._connections.page(scope, after=None, limit=len(scope.ids))}
            for connection_id in scope.ids:
                if connection_id not in found:
                    raise NotFoundError("connection", connection_id)

    def _wanted(self, merchant_id: str, ids: frozenset[str]) -> Wanted:
        """Whether an event concerns a watch of this scope, by whoever makes the call in hand."""
        only = frozenset((merchant_id,)) if merchant_id else merchants()

        def wanted(event: Event) -> bool:
            if event.topic != CONNECTION or (ids and event.connection_id not in ids):
                return False
            return only is None or self._told(event).change.connection.merchant_id in only

        return wanted

    def _tell(self, event: Event) -> pb.WatchConnectionsResponse:
        happened = msgspec.json.decode(event.payload, type=LinkChange)
        return pb.WatchConnectionsResponse(
            resume_token=token.encode(event.position), change=change(event, happened, self._asked_scopes)
        )

    def _quiet(self, position: int) -> pb.WatchConnectionsResponse:
        return pb.WatchConnectionsResponse(resume_token=token.encode(position), heartbeat=heartbeat(self._clock))

    async def _consent(self, started: Started) -> dict[str, Any]:
        return {
            "connection": await self._message(started.link),
            "authorization_url": started.consent.authorization_url,
            "expires_at": timestamp(started.consent.expires_at),
        }

    async def _message(self, link: Link) -> pb.Connection:
        return (await self._messages((link,)))[0]

    async def _messages(self, links: Sequence[Link]) -> list[pb.Connection]:
        expiries = await self._connections.credentials_expire_at(links)
        return [connection(link, expiries.get(link.id), self._asked_scopes) for link in links]
