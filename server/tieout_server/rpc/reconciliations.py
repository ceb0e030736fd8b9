"""ReconciliationService: do both sides agree, on the wire."""
# ruff: noqa: ARG002, N802 - grpc names the methods and passes a context to each

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from grpc import aio

from tieout.v1 import reconciliation_service_pb2 as pb
from tieout.v1 import reconciliation_service_pb2_grpc as pb_grpc
from tieout_server.clock import Clock
from tieout_server.errors import InvalidRequestError, NotFoundError, Violation
from tieout_server.events import token
from tieout_server.receivables.service import Receivables
from tieout_server.reconciliations.chase_checks import ChaseChecks
from tieout_server.reconciliations.discrepancies import Discrepancies
from tieout_server.reconciliations.evidence import Evidence
from tieout_server.reconciliations.messages import Acknowledge, InvoiceReference, Report, StartReconciliation
from tieout_server.reconciliations.pack import MEDIA_TYPE
from tieout_server.reconciliations.platform_balances import PlatformBalances, Submission
from tieout_server.reconciliations.service import Reconciliations
from tieout_server.reconciliations.watch import DiscrepancyWatch, ReconciliationWatch, Seen, Told
from tieout_server.rpc import convert_receivables, paging
from tieout_server.rpc import convert_reconciliations as convert
from tieout_server.rpc.convert import heartbeat, instant
from tieout_server.storage.discrepancies import DiscrepancyQuery
from tieout_server.storage.platform_balances import PlatformBalance

_Context = aio.ServicerContext[Any, Any]
_Submitted = AsyncIterator[pb.SubmitPlatformBalancesRequest]


@dataclass(frozen=True)
class ReconciliationSubjects:
    """What ReconciliationService is answered from."""

    reconciliations: Reconciliations
    reconciliation_watch: ReconciliationWatch
    discrepancies: Discrepancies
    discrepancy_watch: DiscrepancyWatch
    evidence: Evidence
    platform_balances: PlatformBalances
    chase_checks: ChaseChecks


LISTED_DOCUMENTS = 5
"""Documents that a list names of each discrepancy: with 1,000 of them it stays below the 4 MiB that clients take."""
ALL_DOCUMENTS, ALL_HISTORY = 5_000, 1_000
"""Documents, and what happened, that are told of one discrepancy by itself."""
MOST_REPAIRS = 2_000
"""Repairs that are told of one comparison."""


class ReconciliationServicer(pb_grpc.ReconciliationServiceServicer):
    """Answers the calls of ReconciliationService."""

    def __init__(self, subjects: ReconciliationSubjects, receivables: Receivables, clock: Clock) -> None:
        self._subjects = subjects
        self._receivables = receivables
        self._clock = clock

    async def ReconcileCustomer(
        self, request: pb.ReconcileCustomerRequest, context: _Context
    ) -> pb.ReconcileCustomerResponse:
        """Both sides after repair, and what is still off."""
        found = await self._subjects.reconciliations.reconcile_customer(request.connection_id, request.customer_id)
        platform = await self._subjects.platform_balances.of_customer(found.connection_id, found.xero_contact_id)
        answer = pb.ReconcileCustomerResponse(
            balances=[convert.comparison(one, platform) for one in found.balances],
            repairs=[convert.repair(one) for one in found.repairs[:MOST_REPAIRS]],
            discrepancies=[convert.discrepancy(one) for one in found.discrepancies],
            calls_used=found.calls,
        )
        try:
            customer = await self._receivables.get_customer(found.connection_id, found.xero_contact_id)
        except NotFoundError:
            return answer  # the repair showed that it is none: archived, and nothing is open
        answer.customer.CopyFrom(convert_receivables.customer(customer))
        return answer

    async def StartReconciliation(
        self, request: pb.StartReconciliationRequest, context: _Context
    ) -> pb.StartReconciliationResponse:
        """The reconciliation that runs, new or joined."""
        asked = StartReconciliation(request.connection_id, request.max_calls, request.request_id)
        answer = await self._subjects.reconciliations.start(asked)
        return pb.StartReconciliationResponse(
            reconciliation=convert.reconciliation(answer.reconciliation), joined=answer.joined
        )

    async def GetReconciliation(
        self, request: pb.GetReconciliationRequest, context: _Context
    ) -> pb.GetReconciliationResponse:
        """The reconciliation as it is now."""
        found = await self._subjects.reconciliations.get(request.reconciliation_id)
        return pb.GetReconciliationResponse(reconciliation=convert.reconciliation(found))

    async def WatchReconciliation(
        self, request: pb.WatchReconciliationRequest, context: _Context
    ) -> AsyncIterator[pb.WatchReconciliationResponse]:
        """State now, or what was missed, and then every change until its end."""
        watched = self._subjects.reconciliation_watch.follow(request.reconciliation_id, request.after)
        async with aclosing(watched) as everything:
            async for seen in everything:
                yield self._seen(seen)

    async def ListDiscrepancies(
        self, request: pb.ListDiscrepanciesRequest, context: _Context
    ) -> pb.ListDiscrepanciesResponse:
        """A page of discrepancies, the largest of each currency first."""
        states, causes = pb.DiscrepancyState, pb.DiscrepancyCause
        wanted = DiscrepancyQuery(
            states=tuple(states.Name(number).removeprefix("DISCREPANCY_STATE_") for number in request.states),
            causes=tuple(causes.Name(number).removeprefix("DISCREPANCY_CAUSE_") for number in request.causes),
            xero_contact_id=request.customer_id,
        )
        span = paging.span_of(request)
        found, following = await self._subjects.discrepancies.page(request.connection_id, wanted, span)
        return pb.ListDiscrepanciesResponse(
            discrepancies=[convert.discrepancy(one, LISTED_DOCUMENTS) for one in found],
            next_page_token=paging.next_token(request, following),
        )

    async def GetDiscrepancy(self, request: pb.GetDiscrepancyRequest, context: _Context) -> pb.GetDiscrepancyResponse:
        """The discrepancy with its history."""
        found = await self._subjects.discrepancies.get(request.discrepancy_id)
        return pb.GetDiscrepancyResponse(discrepancy=convert.discrepancy(found, ALL_DOCUMENTS, ALL_HISTORY))

    async def WatchDiscrepancies(
        self, request: pb.WatchDiscrepanciesRequest, context: _Context
    ) -> AsyncIterator[pb.WatchDiscrepanciesResponse]:
        """What the request begins with, and then every change."""
        watched = self._subjects.discrepancy_watch.follow(
            request.connection_id, request.after, from_start=request.from_start
        )
        async with aclosing(watched) as everything:
            async for told in everything:
                yield self._told(told)

    async def AcknowledgeDiscrepancy(
        self, request: pb.AcknowledgeDiscrepancyRequest, context: _Context
    ) -> pb.AcknowledgeDiscrepancyResponse:
        """The discrepancy of which somebody knows."""
        asked = Acknowledge(request.discrepancy_id, request.note, request.request_id)
        acknowledged = await self._subjects.discrepancies.acknowledge(asked)
        return pb.AcknowledgeDiscrepancyResponse(discrepancy=convert.discrepancy(acknowledged))

    async def ReportDiscrepancy(
        self, request: pb.ReportDiscrepancyRequest, context: _Context
    ) -> pb.ReportDiscrepancyResponse:
        """The case that was opened."""
        asked = Report(
            connection_id=request.connection_id,
            customer_ids=tuple(request.customer_ids),
            invoices=tuple(_reference(one) for one in request.invoices),
            payment_ids=tuple(request.payment_ids),
            description=request.description,
            request_id=request.request_id,
        )
        reported = await self._subjects.reconciliations.report(asked)
        return pb.ReportDiscrepancyResponse(case=convert.case(reported))

    async def ExportEvidence(
        self, request: pb.ExportEvidenceRequest, context: _Context
    ) -> AsyncIterator[pb.ExportEvidenceResponse]:
        """The file's name and size, its bytes, its checksum."""
        evidence = self._subjects.evidence
        if request.case_id:
            pack = await evidence.of_case(request.case_id)
        else:
            pack = await evidence.of_discrepancy(request.discrepancy_id)
        header = pb.EvidenceHeader(file_name=pack.file_name, media_type=MEDIA_TYPE, size_bytes=len(pack.content))
        yield pb.ExportEvidenceResponse(header=header)
        for chunk in pack.chunks():
            yield pb.ExportEvidenceResponse(chunk=chunk)
        yield pb.ExportEvidenceResponse(sha256=pack.sha256)

    async def SubmitPlatformBalances(
        self, request_iterator: _Submitted, context: _Context
    ) -> pb.SubmitPlatformBalancesResponse:
        """Who differs from whom, once all balances are in."""
        submission: Submission | None = None
        async for request in request_iterator:
            if submission is None:
                submission = await self._begun(request)
            elif request.connection_id not in ("", submission.connection_id):
                raise InvalidRequestError(Violation("connection_id", "is not that of the first message"))
            submission.add(_stated(one) for one in request.balances)
        if submission is None:
            raise InvalidRequestError(Violation("connection_id", "is required in the first message"))
        return convert.submitted(await self._subjects.platform_balances.submit(submission))

    async def CheckChase(self, request: pb.CheckChaseRequest, context: _Context) -> pb.CheckChaseResponse:
        """Whether each invoice may be chased, in the order of the request."""
        asked = [_reference(one) for one in request.invoices]
        found = await self._subjects.chase_checks.check(request.connection_id, asked)
        return pb.CheckChaseResponse(
            checks=[convert.chase_check(named, one) for named, one in zip(request.invoices, found, strict=True)]
        )

    async def _begun(self, first: pb.SubmitPlatformBalancesRequest) -> Submission:
        as_of = instant(first, "as_of")
        missing = [name for name, value in (("connection_id", first.connection_id), ("as_of", as_of)) if not value]
        if as_of is None or missing:
            raise InvalidRequestError(*(Violation(name, "is required in the first message") for name in missing))
        await self._subjects.platform_balances.check_known(first.connection_id)
        return Submission(first.connection_id, as_of, first.request_id)

    def _seen(self, seen: Seen) -> pb.WatchReconciliationResponse:
        resume_token = token.encode(seen.position)
        if seen.reconciliation is None:
            return pb.WatchReconciliationResponse(resume_token=resume_token, heartbeat=heartbeat(self._clock))
        return pb.WatchReconciliationResponse(
            resume_token=resume_token, reconciliation=convert.reconciliation(seen.reconciliation)
        )

    def _told(self, told: Told) -> pb.WatchDiscrepanciesResponse:
        if told.snapshot is not None:  # without a token: a snapshot that was cut off is begun anew
            return pb.WatchDiscrepanciesResponse(snapshot=convert.discrepancy(told.snapshot))
        resume_token = "" if told.position is None else token.encode(told.position)
        if told.change is not None:
            return pb.WatchDiscrepanciesResponse(resume_token=resume_token, change=convert.change(told.change))
        return pb.WatchDiscrepanciesResponse(resume_token=resume_token, heartbeat=heartbeat(self._clock))


def _reference(named: pb.InvoiceReference) -> InvoiceReference:
    """Which invoice is meant; our id of an invoice is Xero's."""
    return InvoiceReference(xero_invoice_id=named.invoice_id or named.xero_invoice_id, number=named.invoice_number)


def _stated(one: pb.PlatformBalance) -> PlatformBalance:
    """What the caller says of a customer; our id of a customer is Xero's."""
    return PlatformBalance(
        one.customer_id or one.xero_contact_id, one.balance.currency_code, Decimal(one.balance.amount)
    )
