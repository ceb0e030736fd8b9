"""ReconciliationService: do both sides agree? The protos say what each call promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from grpc.aio import Channel

from tieout.calls import Calls
from tieout.paging import Pages
from tieout.v1.reconciliation_service_pb2 import (
    AcknowledgeDiscrepancyRequest,
    Case,
    CheckChaseRequest,
    CheckChaseResponse,
    Discrepancy,
    DiscrepancyCause,
    DiscrepancyState,
    ExportEvidenceRequest,
    ExportEvidenceResponse,
    GetDiscrepancyRequest,
    GetReconciliationRequest,
    InvoiceReference,
    ListDiscrepanciesRequest,
    ListDiscrepanciesResponse,
    ReconcileCustomerRequest,
    ReconcileCustomerResponse,
    Reconciliation,
    ReconciliationState,
    ReportDiscrepancyRequest,
    StartReconciliationRequest,
    StartReconciliationResponse,
    SubmitPlatformBalancesRequest,
    SubmitPlatformBalancesResponse,
    WatchDiscrepanciesRequest,
    WatchDiscrepanciesResponse,
    WatchReconciliationRequest,
    WatchReconciliationResponse,
)
from tieout.v1.reconciliation_service_pb2_grpc import ReconciliationServiceStub

ENDED = frozenset({ReconciliationState.RECONCILIATION_STATE_SUCCEEDED, ReconciliationState.RECONCILIATION_STATE_FAILED})
"""The states that a reconciliation never leaves."""


class Reconciliations:
    """Compares what is here with what Xero states, and with what the caller's own books say."""

    def __init__(self, channel: Channel, calls: Calls) -> None:
        self._stub = ReconciliationServiceStub(channel)
        self._calls = calls

    async def reconcile_customer(self, connection_id: str, customer_id: str) -> ReconcileCustomerResponse:
        """Read one customer afresh, repair what was stale, and say what is still off."""
        request = ReconcileCustomerRequest(connection_id=connection_id, customer_id=customer_id)
        return await self._calls.unary(self._stub.ReconcileCustomer, request)

    async def start(
        self, connection_id: str, *, max_calls: int = 0, request_id: str = ""
    ) -> StartReconciliationResponse:
        """Compare the whole organisation within `max_calls`; one that runs is joined."""
        request = StartReconciliationRequest(connection_id=connection_id, max_calls=max_calls, request_id=request_id)
        return await self._calls.unary(self._stub.StartReconciliation, request)

    async def get(self, reconciliation_id: str) -> Reconciliation:
        """Read one reconciliation."""
        request = GetReconciliationRequest(reconciliation_id=reconciliation_id)
        return (await self._calls.unary(self._stub.GetReconciliation, request)).reconciliation

    def watch(self, reconciliation_id: str, *, after: str = "") -> AsyncGenerator[WatchReconciliationResponse, None]:
        """Follow one reconciliation to its end, resuming by itself; state now comes first."""
        request = WatchReconciliationRequest(reconciliation_id=reconciliation_id)
        return self._calls.watch(self._stub.WatchReconciliation, request, after, until=_ended)

    def list_discrepancies(
        self,
        connection_id: str,
        *,
        states: Iterable[DiscrepancyState.ValueType] = (),
        causes: Iterable[DiscrepancyCause.ValueType] = (),
        customer_id: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListDiscrepanciesResponse, Discrepancy]:
        """List discrepancies, the largest difference of each currency first."""
        request = ListDiscrepanciesRequest(
            connection_id=connection_id, states=states, causes=causes, customer_id=customer_id, page_size=page_size
        )
        return self._calls.pages(self._stub.ListDiscrepancies, request, lambda page: page.discrepancies, page_token)

    async def get_discrepancy(self, discrepancy_id: str) -> Discrepancy:
        """Read one discrepancy with its documents and its history."""
        request = GetDiscrepancyRequest(discrepancy_id=discrepancy_id)
        return (await self._calls.unary(self._stub.GetDiscrepancy, request)).discrepancy

    def watch_discrepancies(
        self, connection_id: str, *, after: str = "", from_start: bool = False
    ) -> AsyncGenerator[WatchDiscrepanciesResponse, None]:
        """Follow discrepancies for ever, resuming by itself."""
        request = WatchDiscrepanciesRequest(connection_id=connection_id, from_start=from_start)
        return self._calls.watch(self._stub.WatchDiscrepancies, request, after)

    async def acknowledge_discrepancy(
        self, discrepancy_id: str, *, note: str = "", request_id: str = ""
    ) -> Discrepancy:
        """Record that a person knows of it."""
        request = AcknowledgeDiscrepancyRequest(discrepancy_id=discrepancy_id, note=note, request_id=request_id)
        return (await self._calls.unary(self._stub.AcknowledgeDiscrepancy, request)).discrepancy

    async def report_discrepancy(
        self,
        connection_id: str,
        description: str,
        *,
        customer_ids: Iterable[str] = (),
        invoices: Iterable[InvoiceReference] = (),
        payment_ids: Iterable[str] = (),
        request_id: str = "",
    ) -> Case:
        """Report a difference that was not flagged; the service gathers the evidence."""
        request = ReportDiscrepancyRequest(
            connection_id=connection_id,
            description=description,
            customer_ids=customer_ids,
            invoices=invoices,
            payment_ids=payment_ids,
            request_id=request_id,
        )
        return (await self._calls.unary(self._stub.ReportDiscrepancy, request)).case

    def export_evidence(
        self, *, discrepancy_id: str = "", case_id: str = ""
    ) -> AsyncGenerator[ExportEvidenceResponse, None]:
        """Stream the evidence of a discrepancy or of a case as a zip: header, chunks, checksum."""
        named = ExportEvidenceRequest(case_id=case_id) if case_id else None
        request = named or ExportEvidenceRequest(discrepancy_id=discrepancy_id)
        return self._calls.stream(self._stub.ExportEvidence, request)

    async def submit_platform_balances(
        self, requests: AsyncIterator[SubmitPlatformBalancesRequest]
    ) -> SubmitPlatformBalancesResponse:
        """Hand over the balances of the caller's own books; the first message names the connection."""
        return await self._calls.send(self._stub.SubmitPlatformBalances, requests)

    async def check_chase(self, connection_id: str, invoices: Iterable[InvoiceReference]) -> CheckChaseResponse:
        """Whether each invoice may be chased now, and as of when that is true."""
        request = CheckChaseRequest(connection_id=connection_id, invoices=invoices)
        return await self._calls.unary(self._stub.CheckChase, request)


def _ended(message: WatchReconciliationResponse) -> bool:
    return message.reconciliation.state in ENDED
