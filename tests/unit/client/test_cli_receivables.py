"""The commands of ReceivablesService."""

import json
import re
from collections.abc import Callable

import grpc
from google.protobuf.message import Message
from typer.testing import Result

from tieout.v1.receivables_service_pb2 import (
    Customer,
    Invoice,
    InvoiceStatus,
    ListCustomersRequest,
    ListCustomersResponse,
    ListInvoicesRequest,
    ListInvoicesResponse,
)
from tieout.v1.types_pb2 import Money

Context = grpc.ServicerContext
Cli = Callable[..., Result]


class Service:
    """A service with three customers and an invoice."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.calls: dict[str, Callable[..., object]] = {
            "ReceivablesService/ListCustomers": self.list_customers,
            "ReceivablesService/ListInvoices": self.list_invoices,
        }

    def list_customers(self, request: ListCustomersRequest, _context: Context) -> ListCustomersResponse:
        self.requests.append(request)
        owes = [Money(currency_code="NZD", amount="230.50"), Money(currency_code="EUR", amount="10.00")]
        found = [Customer(id=f"k{n}", name=f"Customer {n}", outstanding=owes, off_balance=n == 0) for n in range(3)]
        return ListCustomersResponse(customers=found)

    def list_invoices(self, request: ListInvoicesRequest, _context: Context) -> ListInvoicesResponse:
        self.requests.append(request)
        due = Money(currency_code="NZD", amount="99.95")
        status = InvoiceStatus.INVOICE_STATUS_AUTHORISED
        return ListInvoicesResponse(invoices=[Invoice(number="INV-1", status=status, amount_due=due, total=due)])


def documents(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_customers_are_listed_with_each_currency(cli: Cli) -> None:
    result = cli(Service().calls, "customers", "acme")
    assert re.search(r"Customer 0 .* 230\.50 NZD .*off balance", result.stdout)
    assert "10.00 EUR" in result.stdout


def test_no_more_customers_are_listed_than_asked_for(cli: Cli) -> None:
    service = Service()
    result = cli(service.calls, "customers", "acme", "--limit", "2", "--off-balance", "--search", "cust")
    assert "Customer 1" in result.stdout
    assert "Customer 2" not in result.stdout
    assert "There are more" in result.stdout
    (request,) = service.requests
    assert isinstance(request, ListCustomersRequest)
    assert (request.page_size, request.off_balance_only, request.search) == (3, True, "cust")


def test_all_customers_are_listed_where_all_are_asked_for(cli: Cli) -> None:
    assert len(documents(cli(Service().calls, "customers", "acme", "--limit", "0", "--json"))) == 3


def test_invoices_are_listed_by_what_is_asked_for(cli: Cli) -> None:
    service = Service()
    filters = ("--customer", "k1", "--due-before", "2026-12-01", "--status", "authorised", "--number", "INV-1")
    result = cli(service.calls, "invoices", "acme", *filters)
    assert re.search(r"INV-1 .*authorised +99\.95 NZD +99\.95 NZD", result.stdout)
    (request,) = service.requests
    assert isinstance(request, ListInvoicesRequest)
    assert (request.customer_id, request.due_before, request.number) == ("k1", "2026-12-01", "INV-1")
    assert list(request.statuses) == [InvoiceStatus.INVOICE_STATUS_AUTHORISED]
