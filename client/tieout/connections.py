"""ConnectionService: the link between a merchant and a Xero organisation. The protos say what each call promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from datetime import datetime

from grpc.aio import Channel

from tieout.calls import Calls, instant
from tieout.paging import Pages
from tieout.v1.connection_service_pb2 import (
    AuditEvent,
    CheckConnectionRequest,
    CheckConnectionResponse,
    ChooseOrganisationRequest,
    CompleteAuthorizationRequest,
    CompleteAuthorizationResponse,
    Connection,
    ConnectionEvent,
    ConnectionState,
    ConnectRequest,
    ConnectResponse,
    DisconnectRequest,
    EraseCustomerRequest,
    EraseCustomerResponse,
    GetConnectionRequest,
    ListAuditEventsRequest,
    ListAuditEventsResponse,
    ListConnectionEventsRequest,
    ListConnectionEventsResponse,
    ListConnectionsRequest,
    ListConnectionsResponse,
    PruneExpiredRequest,
    PruneExpiredResponse,
    PurgeMerchantRequest,
    PurgeMerchantResponse,
    ReconnectRequest,
    ReconnectResponse,
    WatchConnectionsRequest,
    WatchConnectionsResponse,
)
from tieout.v1.connection_service_pb2_grpc import ConnectionServiceStub


class Connections:
    """Connects merchants to their books in Xero, and knows why a connection broke."""

    def __init__(self, channel: Channel, calls: Calls) -> None:
        self._stub = ConnectionServiceStub(channel)
        self._calls = calls

    async def connect(self, merchant_id: str, *, return_url: str = "", request_id: str = "") -> ConnectResponse:
        """Start a connection; the merchant consents at the answer's `authorization_url`."""
        request = ConnectRequest(merchant_id=merchant_id, return_url=return_url, request_id=request_id)
        return await self._calls.unary(self._stub.Connect, request)

    async def reconnect(self, connection_id: str, *, return_url: str = "", request_id: str = "") -> ReconnectResponse:
        """Get an address for a new consent; data, settings and history stay."""
        request = ReconnectRequest(connection_id=connection_id, return_url=return_url, request_id=request_id)
        return await self._calls.unary(self._stub.Reconnect, request)

    async def complete_authorization(
        self, state: str, *, code: str = "", error: str = "", request_id: str = ""
    ) -> CompleteAuthorizationResponse:
        """Hand over what Xero appended to a redirect address that the caller hosts."""
        request = CompleteAuthorizationRequest(state=state, code=code, error=error, request_id=request_id)
        return await self._calls.unary(self._stub.CompleteAuthorization, request)

    async def choose_organisation(self, connection_id: str, xero_tenant_id: str, *, request_id: str = "") -> Connection:
        """Pick one of the connection's `organisation_choices`."""
        request = ChooseOrganisationRequest(
            connection_id=connection_id, xero_tenant_id=xero_tenant_id, request_id=request_id
        )
        return (await self._calls.unary(self._stub.ChooseOrganisation, request)).connection

    async def disconnect(self, connection_id: str, *, purge_data: bool = False, request_id: str = "") -> Connection:
        """End a connection; what was read stays unless `purge_data` is set."""
        request = DisconnectRequest(connection_id=connection_id, purge_data=purge_data, request_id=request_id)
        return (await self._calls.unary(self._stub.Disconnect, request)).connection

    async def purge_merchant(
        self, merchant_id: str, *, disconnect: bool = False, request_id: str = ""
    ) -> PurgeMerchantResponse:
        """Erase all that is kept of a merchant; what is still connected is ended first where `disconnect` says so."""
        request = PurgeMerchantRequest(merchant_id=merchant_id, disconnect=disconnect, request_id=request_id)
        return await self._calls.unary(self._stub.PurgeMerchant, request)

    async def erase_customer(
        self, connection_id: str, customer_id: str, *, dry_run: bool = False, request_id: str = ""
    ) -> EraseCustomerResponse:
        """Erase one person who is erased in Xero already; only count what there is with `dry_run`."""
        request = EraseCustomerRequest(
            connection_id=connection_id, customer_id=customer_id, dry_run=dry_run, request_id=request_id
        )
        return await self._calls.unary(self._stub.EraseCustomer, request)

    async def prune_expired(self, *, dry_run: bool = False, request_id: str = "") -> PruneExpiredResponse:
        """Forget now what is older than it is kept, of all merchants; only count it with `dry_run`."""
        request = PruneExpiredRequest(dry_run=dry_run, request_id=request_id)
        return await self._calls.unary(self._stub.PruneExpired, request)

    async def get(self, connection_id: str) -> Connection:
        """Read one connection."""
        request = GetConnectionRequest(connection_id=connection_id)
        return (await self._calls.unary(self._stub.GetConnection, request)).connection

    def list(
        self,
        *,
        merchant_id: str = "",
        states: Iterable[ConnectionState.ValueType] = (),
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListConnectionsResponse, Connection]:
        """List connections, oldest first."""
        request = ListConnectionsRequest(merchant_id=merchant_id, states=states, page_size=page_size)
        return self._calls.pages(self._stub.ListConnections, request, lambda page: page.connections, page_token)

    async def check(self, connection_id: str) -> CheckConnectionResponse:
        """Find out now whether a connection works."""
        request = CheckConnectionRequest(connection_id=connection_id)
        return await self._calls.unary(self._stub.CheckConnection, request)

    def list_events(
        self, connection_id: str, *, page_size: int = 0, page_token: str = ""
    ) -> Pages[ListConnectionEventsResponse, ConnectionEvent]:
        """List every transition of a connection, newest first."""
        request = ListConnectionEventsRequest(connection_id=connection_id, page_size=page_size)
        return self._calls.pages(self._stub.ListConnectionEvents, request, lambda page: page.events, page_token)

    def list_audit_events(
        self,
        *,
        connection_id: str = "",
        merchant_id: str = "",
        caller: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListAuditEventsResponse, AuditEvent]:
        """List what callers did, newest first; it takes the role operator."""
        request = ListAuditEventsRequest(
            connection_id=connection_id,
            merchant_id=merchant_id,
            caller=caller,
            since=instant(since),
            until=instant(until),
            page_size=page_size,
        )
        return self._calls.pages(self._stub.ListAuditEvents, request, lambda page: page.events, page_token)

    def watch(
        self,
        *,
        merchant_id: str = "",
        connection_ids: Iterable[str] = (),
        after: str = "",
        from_start: bool = False,
    ) -> AsyncGenerator[WatchConnectionsResponse, None]:
        """Follow connections for ever, resuming by itself."""
        request = WatchConnectionsRequest(merchant_id=merchant_id, connection_ids=connection_ids, from_start=from_start)
        return self._calls.watch(self._stub.WatchConnections, request, after)
