"""ReceivablesService: what is here, on the wire."""
# ruff: noqa: ARG002, N802 - grpc names the methods and passes a context to each

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from grpc import aio

from tieout.v1 import receivables_service_pb2 as pb
from tieout.v1 import receivables_service_pb2_grpc as pb_grpc
from tieout_server.clock import Clock
from tieout_server.ledger.documents import CREDITS, IN_LEDGER, DocumentStatus, Entity
from tieout_server.receivables import place
from tieout_server.receivables.changes import Changes, Seen
from tieout_server.receivables.service import Receivables
from tieout_server.rpc import convert_receivables as convert
from tieout_server.rpc import paging
from tieout_server.rpc.convert import day, entity_of, heartbeat, instant
from tieout_server.storage.customers import CustomerOrder, CustomerQuery
from tieout_server.storage.receivables import CreditQuery, InvoiceQuery, PaymentQuery

_Context = aio.ServicerContext[Any, Any]

_ENTITIES = {kind: entity for entity, kind in convert.CREDIT_KINDS.items()}


class ReceivablesServicer(pb_grpc.ReceivablesServiceServicer):
    """Answers the calls of ReceivablesService."""

    def __init__(self, receivables: Receivables, changes: Changes, clock: Clock) -> None:
        self._receivables = receivables
        self._changes = changes
        self._clock = clock

    async def GetCustomer(self, request: pb.GetCustomerRequest, context: _Context) -> pb.GetCustomerResponse:
        """One customer with its balances."""
        found = await self._receivables.get_customer(request.connection_id, request.customer_id)
        return pb.GetCustomerResponse(customer=convert.customer(found))

    async def ListCustomers(self, request: pb.ListCustomersRequest, context: _Context) -> pb.ListCustomersResponse:
        """A page of customers in the order asked for."""
        by_change = request.order == pb.CUSTOMER_ORDER_UPDATED_AT
        query = CustomerQuery(
            search=request.search,
            updated_after=instant(request, "updated_after"),
            off_balance_only=request.off_balance_only,
            order=CustomerOrder.BY_CHANGE if by_change else CustomerOrder.BY_NAME,
        )
        page = await self._receivables.list_customers(request.connection_id, query, paging.span_of(request))
        return pb.ListCustomersResponse(
            customers=[convert.customer(view) for view in page.items],
            next_page_token=paging.next_token(request, page.following),
        )

    async def GetInvoice(self, request: pb.GetInvoiceRequest, context: _Context) -> pb.GetInvoiceResponse:
        """One invoice with its payments and allocations."""
        found = await self._receivables.get_invoice(request.connection_id, request.invoice_id)
        return pb.GetInvoiceResponse(invoice=convert.invoice(found))

    async def ListInvoices(self, request: pb.ListInvoicesRequest, context: _Context) -> pb.ListInvoicesResponse:
        """A page of invoices, those due first first."""
        query = InvoiceQuery(
            customer_id=request.customer_id,
            statuses=_statuses(request),
            due_before=day(request.due_before),
            number=request.number,
            currency=request.currency_code,
            updated_after=instant(request, "updated_after"),
        )
        page = await self._receivables.list_invoices(request.connection_id, query, paging.span_of(request))
        return pb.ListInvoicesResponse(
            invoices=[convert.invoice(view) for view in page.items],
            next_page_token=paging.next_token(request, page.following),
        )

    async def ListCreditNotes(
        self, request: pb.ListCreditNotesRequest, context: _Context
    ) -> pb.ListCreditNotesResponse:
        """A page of credit notes, newest first."""
        query = CreditQuery(
            customer_id=request.customer_id,
            entities=(Entity.CREDIT_NOTES,),
            statuses=_statuses(request),
            updated_after=instant(request, "updated_after"),
        )
        page = await self._receivables.list_credits(request.connection_id, query, paging.span_of(request))
        return pb.ListCreditNotesResponse(
            credit_notes=[convert.credit_note(view) for view in page.items],
            next_page_token=paging.next_token(request, page.following),
        )

    async def ListPayments(self, request: pb.ListPaymentsRequest, context: _Context) -> pb.ListPaymentsResponse:
        """A page of payments, newest first."""
        query = PaymentQuery(
            customer_id=request.customer_id,
            xero_document_id=request.invoice_id,
            paid_from=day(request.paid_from),
            updated_after=instant(request, "updated_after"),
        )
        page = await self._receivables.list_payments(request.connection_id, query, paging.span_of(request))
        return pb.ListPaymentsResponse(
            payments=[convert.payment(view) for view in page.items],
            next_page_token=paging.next_token(request, page.following),
        )

    async def ListUnappliedCredits(
        self, request: pb.ListUnappliedCreditsRequest, context: _Context
    ) -> pb.ListUnappliedCreditsResponse:
        """A page of credits with something left, newest first."""
        query = CreditQuery(
            customer_id=request.customer_id,
            entities=tuple(_ENTITIES[kind] for kind in request.kinds) or CREDITS,
            unapplied_only=True,
        )
        page = await self._receivables.list_credits(request.connection_id, query, paging.span_of(request))
        return pb.ListUnappliedCreditsResponse(
            credits=[convert.unapplied_credit(view) for view in page.items],
            next_page_token=paging.next_token(request, page.following),
        )

    async def WatchChanges(
        self, request: pb.WatchChangesRequest, context: _Context
    ) -> AsyncIterator[pb.WatchChangesResponse]:
        """A snapshot if asked for, what was missed, and then every change."""
        entities = {entity_of(number) for number in request.entities}
        following = self._changes.follow(
            request.connection_id, entities, after=request.after, from_start=request.from_start
        )
        async with aclosing(following) as everything:
            async for seen in everything:
                yield self._told(request.connection_id, seen)

    def _told(self, connection_id: str, seen: Seen) -> pb.WatchChangesResponse:
        resume_token = place.encode(connection_id, seen.bookmark)
        if seen.change is None:
            return pb.WatchChangesResponse(resume_token=resume_token, heartbeat=heartbeat(self._clock))
        told = convert.change(seen.change)
        if seen.bookmark.in_snapshot:
            return pb.WatchChangesResponse(resume_token=resume_token, snapshot=told)
        return pb.WatchChangesResponse(resume_token=resume_token, change=told)


def _statuses(request: pb.ListInvoicesRequest | pb.ListCreditNotesRequest) -> tuple[DocumentStatus, ...]:
    asked = (pb.InvoiceStatus.Name(number).removeprefix("INVOICE_STATUS_") for number in request.statuses)
    return tuple(DocumentStatus(name) for name in asked) or IN_LEDGER
