"""ReceivablesService: what is here, to be read and followed. The protos say what each call promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from datetime import datetime

from grpc.aio import Channel

from tieout.calls import Calls, instant
from tieout.paging import Pages
from tieout.v1.receivables_service_pb2 import (
    CreditKind,
    CreditNote,
    Customer,
    CustomerOrder,
    GetCustomerRequest,
    GetInvoiceRequest,
    Invoice,
    InvoiceStatus,
    ListCreditNotesRequest,
    ListCreditNotesResponse,
    ListCustomersRequest,
    ListCustomersResponse,
    ListInvoicesRequest,
    ListInvoicesResponse,
    ListPaymentsRequest,
    ListPaymentsResponse,
    ListUnappliedCreditsRequest,
    ListUnappliedCreditsResponse,
    Payment,
    UnappliedCredit,
    WatchChangesRequest,
    WatchChangesResponse,
)
from tieout.v1.receivables_service_pb2_grpc import ReceivablesServiceStub
from tieout.v1.types_pb2 import Entity


class Receivables:
    """Reads the copy of a connection's receivables; calls nothing at Xero and changes nothing."""

    def __init__(self, channel: Channel, calls: Calls) -> None:
        self._stub = ReceivablesServiceStub(channel)
        self._calls = calls

    async def get_customer(self, connection_id: str, customer_id: str) -> Customer:
        """Read one customer."""
        request = GetCustomerRequest(connection_id=connection_id, customer_id=customer_id)
        return (await self._calls.unary(self._stub.GetCustomer, request)).customer

    def list_customers(
        self,
        connection_id: str,
        *,
        off_balance_only: bool = False,
        search: str = "",
        updated_after: datetime | None = None,
        order: CustomerOrder.ValueType = CustomerOrder.CUSTOMER_ORDER_UNSPECIFIED,
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListCustomersResponse, Customer]:
        """List customers with their balances."""
        request = ListCustomersRequest(
            connection_id=connection_id,
            off_balance_only=off_balance_only,
            search=search,
            updated_after=instant(updated_after),
            order=order,
            page_size=page_size,
        )
        return self._calls.pages(self._stub.ListCustomers, request, lambda page: page.customers, page_token)

    async def get_invoice(self, connection_id: str, invoice_id: str) -> Invoice:
        """Read one invoice with its payments and allocations."""
        request = GetInvoiceRequest(connection_id=connection_id, invoice_id=invoice_id)
        return (await self._calls.unary(self._stub.GetInvoice, request)).invoice

    def list_invoices(
        self,
        connection_id: str,
        *,
        customer_id: str = "",
        statuses: Iterable[InvoiceStatus.ValueType] = (),
        due_before: str = "",
        number: str = "",
        currency_code: str = "",
        updated_after: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListInvoicesResponse, Invoice]:
        """List invoices, those due first first."""
        request = ListInvoicesRequest(
            connection_id=connection_id,
            customer_id=customer_id,
            statuses=statuses,
            due_before=due_before,
            number=number,
            currency_code=currency_code,
            updated_after=instant(updated_after),
            page_size=page_size,
        )
        return self._calls.pages(self._stub.ListInvoices, request, lambda page: page.invoices, page_token)

    def list_credit_notes(
        self,
        connection_id: str,
        *,
        customer_id: str = "",
        statuses: Iterable[InvoiceStatus.ValueType] = (),
        updated_after: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListCreditNotesResponse, CreditNote]:
        """List credit notes, newest first."""
        request = ListCreditNotesRequest(
            connection_id=connection_id,
            customer_id=customer_id,
            statuses=statuses,
            updated_after=instant(updated_after),
            page_size=page_size,
        )
        return self._calls.pages(self._stub.ListCreditNotes, request, lambda page: page.credit_notes, page_token)

    def list_payments(
        self,
        connection_id: str,
        *,
        customer_id: str = "",
        invoice_id: str = "",
        paid_from: str = "",
        updated_after: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListPaymentsResponse, Payment]:
        """List payments, newest first."""
        request = ListPaymentsRequest(
            connection_id=connection_id,
            customer_id=customer_id,
            invoice_id=invoice_id,
            paid_from=paid_from,
            updated_after=instant(updated_after),
            page_size=page_size,
        )
        return self._calls.pages(self._stub.ListPayments, request, lambda page: page.payments, page_token)

    def list_unapplied_credits(
        self,
        connection_id: str,
        *,
        customer_id: str = "",
        kinds: Iterable[CreditKind.ValueType] = (),
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListUnappliedCreditsResponse, UnappliedCredit]:
        """List what customers have to their credit, newest first."""
        request = ListUnappliedCreditsRequest(
            connection_id=connection_id, customer_id=customer_id, kinds=kinds, page_size=page_size
        )
        return self._calls.pages(self._stub.ListUnappliedCredits, request, lambda page: page.credits, page_token)

    def watch_changes(
        self,
        connection_id: str,
        *,
        entities: Iterable[Entity.ValueType] = (),
        after: str = "",
        from_start: bool = False,
    ) -> AsyncGenerator[WatchChangesResponse, None]:
        """Follow what changes in the copy for ever, resuming by itself."""
        request = WatchChangesRequest(connection_id=connection_id, entities=entities, from_start=from_start)
        return self._calls.watch(self._stub.WatchChanges, request, after)
