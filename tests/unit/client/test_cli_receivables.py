"""The commands of ReceivablesService."""

import json
import re
from collections.abc import Callable

import grpc
import pytest
from google.protobuf.message import Message
from typer.testing import Result

from tieout.v1.receivables_service_pb2 import (
    CreditKind,
    Customer,
    GetCustomerRequest,
    GetCustomerResponse,
    GetInvoiceRequest,
    GetInvoiceResponse,
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


def invoice(customer_id: str) -> Invoice:
    due = Money(currency_code="NZD", amount="99.95")
    status = InvoiceStatus.INVOICE_STATUS_AUTHORISED
    return Invoice(id="i1", number="INV-1", status=status, amount_due=due, total=due, customer_id=customer_id)


class Service:
    """A service with three customers and an invoice."""

    def __init__(self, *customer_ids: str) -> None:
        self.requests: list[Message] = []
        self.owing = customer_ids or ("k1",)
        self.calls: dict[str, Callable[..., object]] = {
            "ReceivablesService/GetCustomer": self.get_customer,
            "ReceivablesService/ListCustomers": self.list_customers,
            "ReceivablesService/ListInvoices": self.list_invoices,
            "ReceivablesService/GetInvoice": self.get_invoice,
        }

    def list_customers(self, request: ListCustomersRequest, _context: Context) -> ListCustomersResponse:
        self.requests.append(request)
        owes = [Money(currency_code="NZD", amount="230.50"), Money(currency_code="EUR", amount="10.00")]
        found = [Customer(id=f"k{n}", name=f"Customer {n}", outstanding=owes, off_balance=n == 0) for n in range(3)]
        found[0].off_balance_sentence = "INV-1 is voided in Xero."
        if request.search == "twin":
            found = [Customer(id=f"k{n}", name=name) for n, name in enumerate(("Twin", "Twin", "Twins"))]
        return ListCustomersResponse(customers=found)

    def get_customer(self, request: GetCustomerRequest, context: Context) -> GetCustomerResponse:
        self.requests.append(request)
        if request.customer_id not in {"k0", "k1", "k2"}:
            context.abort(grpc.StatusCode.NOT_FOUND, "There is no such customer.")
        return GetCustomerResponse(customer=Customer(id=request.customer_id, name=f"Customer {request.customer_id[1]}"))

    def list_invoices(self, request: ListInvoicesRequest, _context: Context) -> ListInvoicesResponse:
        self.requests.append(request)
        return ListInvoicesResponse(invoices=map(invoice, self.owing))

    def get_invoice(self, request: GetInvoiceRequest, _context: Context) -> GetInvoiceResponse:
        found, nzd = invoice("k1"), Money(currency_code="NZD", amount="20.00")
        found.id = request.invoice_id
        found.payments.add(reference="order 7", paid_on="2026-11-20", amount=nzd, xero_payment_id="xp-1")
        found.allocations.add(
            kind=CreditKind.CREDIT_KIND_CREDIT_NOTE, credit_number="CN-3", applied_on="2026-11-21", amount=nzd
        )
        return GetInvoiceResponse(invoice=found)

    def asked(self, kind: type[Message]) -> int:
        return sum(isinstance(it, kind) for it in self.requests)


def documents(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_customers_are_listed_with_each_currency(cli: Cli) -> None:
    result = cli(Service().calls, "customers", "acme")
    assert re.search(r"Customer 0 .* 230\.50 NZD .*off balance", result.stdout)
    assert "10.00 EUR" in result.stdout


def test_customers_that_are_off_balance_are_listed_with_the_reason(cli: Cli) -> None:
    shown = cli(Service().calls, "customers", "acme", "--off-balance").stdout
    assert "Customer 0: INV-1 is voided in Xero." in shown
    assert "Customer 0:" not in cli(Service().calls, "customers", "acme").stdout


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
    (request,) = (it for it in service.requests if isinstance(it, ListInvoicesRequest))
    assert (request.customer_id, request.due_before, request.number) == ("k1", "2026-12-01", "INV-1")
    assert list(request.statuses) == [InvoiceStatus.INVOICE_STATUS_AUTHORISED]


def test_an_invoice_that_is_named_is_shown_with_what_settled_it(cli: Cli) -> None:
    named = ("invoices", "acme", "--number", "INV-1")
    shown = cli(Service().calls, *named).stdout
    assert re.search(r"payment order 7 +2026-11-20 +20\.00 NZD +xp-1", shown)
    assert re.search(r"credit note CN-3 +2026-11-21 +20\.00 NZD", shown)
    assert "settled by" not in cli(Service().calls, "invoices", "acme").stdout
    (document,) = documents(cli(Service().calls, *named, "--json"))
    assert document["payments"]


def test_invoices_name_their_customers(cli: Cli) -> None:
    service = Service("k1", "k1", "gone")
    shown = cli(service.calls, "invoices", "acme").stdout.splitlines()
    assert re.fullmatch(r"number +issued +due date +expected +status +total +amount due +customer", shown[0])
    assert [line.rpartition("NZD ")[-1] for line in shown[1:]] == ["Customer 1", "Customer 1", "gone"]
    assert service.asked(GetCustomerRequest) == 2


def test_the_names_of_many_customers_are_read_in_one_call(cli: Cli) -> None:
    service = Service("k0", "k1", "k2", "gone")
    shown = cli(service.calls, "invoices", "acme").stdout.splitlines()
    assert [line.rpartition("NZD ")[-1] for line in shown[1:]] == ["Customer 0", "Customer 1", "Customer 2", "gone"]
    assert (service.asked(GetCustomerRequest), service.asked(ListCustomersRequest)) == (0, 1)


@pytest.mark.parametrize("named", ["k2", "customer 2"])
def test_invoices_are_listed_of_a_customer_by_id_or_by_name(cli: Cli, named: str) -> None:
    service = Service("k2")
    assert cli(service.calls, "invoices", "acme", "--customer", named).exit_code == 0
    (request,) = (it for it in service.requests if isinstance(it, ListInvoicesRequest))
    assert request.customer_id == "k2"


def test_a_customer_whose_name_others_have_is_refused_with_their_ids(cli: Cli) -> None:
    result = cli(Service().calls, "invoices", "acme", "--customer", "twin")
    assert result.exit_code == 2
    assert "Several customers are called 'twin': k0, k1." in result.stderr


def test_a_customer_that_is_not_there_is_told_where_to_look(cli: Cli) -> None:
    result = cli(Service().calls, "invoices", "acme", "--customer", "nobody")
    assert result.exit_code == 2
    assert "`tieout customers CONNECTION --ids` lists them." in result.stderr


def test_customers_are_listed_with_their_ids_where_asked_for(cli: Cli) -> None:
    lines = cli(Service().calls, "customers", "acme", "--ids").stdout.splitlines()
    assert lines[0].endswith("id")
    assert lines[1].endswith("k0")
    assert "k0" not in cli(Service().calls, "customers", "acme").stdout
