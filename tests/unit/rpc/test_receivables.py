"""ReceivablesService over a real socket: what is in the mirror comes out exact, field by field and page by page."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from documents import AT, contact, credit, invoice, payment
from fakes import World
from tieout.v1 import receivables_service_pb2 as pb
from tieout.v1.receivables_service_pb2_grpc import ReceivablesServiceStub
from tieout.v1.types_pb2 import Money
from tieout_server.connections.messages import Connect
from tieout_server.ledger.documents import Allocation, ContactPerson, Document, Entity, Phone
from tieout_server.storage import mirror

ARRIVED_AT = datetime(2026, 11, 20, tzinfo=UTC)

PAGES: tuple[tuple[Document, ...], ...] = (
    (
        contact(
            "c1",
            name="Kiwi Cafe",
            email="kiwi@example.nz",
            phones=(Phone("MOBILE", "1234567", "21", "64"), Phone("DDI", "555", "9")),
            persons=(ContactPerson("Ana", "Tui", "ana@example.nz", included_in_emails=True),),
        ),
        contact("c2", name="Zebra"),
    ),
    (
        invoice(
            "i1",
            number="INV-1",
            due_on=date(2026, 11, 1),
            issued_on=date(2026, 10, 1),
            expected_payment_on=date(2026, 12, 1),
            paid=Decimal(100),
            due=Decimal("130.50"),
            currency="USD",
            rate=Decimal("0.612500"),
        ),
        invoice("i2", number="INV-2", due_on=date(2026, 12, 24), status="PAID", due=Decimal(0)),
        invoice("i3", number="INV-3", status="DRAFT"),
        invoice("i4", number="INV-4", xero_contact_id="c2", total=Decimal("99999999999.9999"), due=Decimal("0.0001")),
    ),
    (
        credit(
            "k1",
            number="CN-1",
            issued_on=date(2026, 11, 2),
            currency="USD",
            allocations=(Allocation(xero_invoice_id="i1", amount=Decimal(30), allocated_on=date(2026, 11, 3)),),
        ),
        credit("k2", entity=Entity.OVERPAYMENTS, xero_contact_id="c2", issued_on=date(2026, 11, 5)),
    ),
    (payment("p1", xero_document_id="i1", paid_on=date(2026, 11, 4), currency="USD", reference="EFT 7"),),
)


@pytest_asyncio.fixture
async def connection_id(around: World) -> str:
    link = (await around.connections.connect(Connect("m-1"))).link
    async with around.database.write() as tx:
        for page in PAGES:
            await mirror.save(tx, link.id, page, seen_in=1, at=ARRIVED_AT)
    return link.id


@pytest_asyncio.fixture
async def receivables(channel: aio.Channel) -> AsyncIterator[Any]:
    yield ReceivablesServiceStub(channel)


async def test_a_customer_comes_with_phones_people_and_balances(receivables: Any, connection_id: str) -> None:  # noqa: ANN401
    answer = await receivables.GetCustomer(pb.GetCustomerRequest(connection_id=connection_id, customer_id="c1"))
    customer = answer.customer
    assert (customer.name, customer.mobile_phone) == ("Kiwi Cafe", "+64 21 1234567")
    assert [(phone.type, phone.number) for phone in customer.phones] == [
        (pb.PHONE_TYPE_MOBILE, "+64 21 1234567"),
        (pb.PHONE_TYPE_DIRECT_DIAL, "9 555"),
    ]
    assert customer.contact_persons[0] == pb.ContactPerson(
        first_name="Ana", last_name="Tui", email="ana@example.nz", include_in_emails=True
    )
    assert list(customer.outstanding) == [Money(currency_code="USD", amount="110.50")]
    assert list(customer.overdue) == [Money(currency_code="USD", amount="130.50")]
    assert list(customer.unapplied) == [Money(currency_code="USD", amount="20.00")]
    assert customer.updated_at.ToDatetime(UTC) == ARRIVED_AT
    assert customer.xero_updated_at.ToDatetime(UTC) == AT


async def test_an_invoice_comes_with_its_payments_and_allocations(receivables: Any, connection_id: str) -> None:  # noqa: ANN401
    answer = await receivables.GetInvoice(pb.GetInvoiceRequest(connection_id=connection_id, invoice_id="i1"))
    found = answer.invoice
    assert (found.number, found.status) == ("INV-1", pb.INVOICE_STATUS_AUTHORISED)
    assert (found.due_on, found.expected_payment_date, found.fully_paid_on) == ("2026-11-01", "2026-12-01", "")
    assert (found.currency_code, found.currency_rate) == ("USD", "0.6125")
    assert found.amount_due == Money(currency_code="USD", amount="130.50")
    assert [(p.id, p.kind, p.invoice_number, p.reference) for p in found.payments] == [
        ("p1", pb.PAYMENT_KIND_INVOICE, "INV-1", "EFT 7")
    ]
    assert [(a.kind, a.credit_number, a.amount.amount, a.applied_on) for a in found.allocations] == [
        (pb.CREDIT_KIND_CREDIT_NOTE, "CN-1", "30.00", "2026-11-03")
    ]


async def test_the_largest_and_the_smallest_amounts_are_exact(receivables: Any, connection_id: str) -> None:  # noqa: ANN401
    answer = await receivables.GetInvoice(pb.GetInvoiceRequest(connection_id=connection_id, invoice_id="i4"))
    assert answer.invoice.total.amount == "99999999999.9999"
    assert answer.invoice.amount_due.amount == "0.0001"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["i1", "i2", "i4"]),
        ({"statuses": [pb.INVOICE_STATUS_PAID]}, ["i2"]),
        ({"customer_id": "c2"}, ["i4"]),
        ({"due_before": "2026-12-24"}, ["i1"]),
        ({"number": "INV-2"}, ["i2"]),
        ({"currency_code": "USD"}, ["i1"]),
        ({"updated_after": Timestamp(seconds=int(ARRIVED_AT.timestamp()))}, []),
    ],
    ids=["all", "status", "customer", "due", "number", "currency", "updated"],
)
async def test_invoices_are_listed_by_due_date_and_filter(
    receivables: Any,  # noqa: ANN401
    connection_id: str,
    filters: dict[str, Any],
    found: list[str],
) -> None:
    page = await receivables.ListInvoices(pb.ListInvoicesRequest(connection_id=connection_id, **filters))
    assert [one.id for one in page.invoices] == found


async def test_a_list_is_read_on_with_its_token(receivables: Any, connection_id: str) -> None:  # noqa: ANN401
    request = pb.ListInvoicesRequest(connection_id=connection_id, page_size=2)
    first = await receivables.ListInvoices(request)
    request.page_token = first.next_page_token
    second = await receivables.ListInvoices(request)
    assert [one.id for one in (*first.invoices, *second.invoices)] == ["i1", "i2", "i4"]
    assert not second.next_page_token


async def test_customers_are_searched_and_ordered(receivables: Any, connection_id: str) -> None:  # noqa: ANN401
    everybody = await receivables.ListCustomers(pb.ListCustomersRequest(connection_id=connection_id))
    assert [one.name for one in everybody.customers] == ["Kiwi Cafe", "Zebra"]
    some = await receivables.ListCustomers(
        pb.ListCustomersRequest(connection_id=connection_id, search="ZEB", order=pb.CUSTOMER_ORDER_UPDATED_AT)
    )
    assert [one.name for one in some.customers] == ["Zebra"]


async def test_credits_and_payments_are_listed_newest_first(receivables: Any, connection_id: str) -> None:  # noqa: ANN401
    notes = await receivables.ListCreditNotes(pb.ListCreditNotesRequest(connection_id=connection_id))
    assert [(one.number, one.remaining_credit.amount) for one in notes.credit_notes] == [("CN-1", "20.00")]
    unapplied = await receivables.ListUnappliedCredits(pb.ListUnappliedCreditsRequest(connection_id=connection_id))
    assert [(one.id, one.kind) for one in unapplied.credits] == [
        ("k2", pb.CREDIT_KIND_OVERPAYMENT),
        ("k1", pb.CREDIT_KIND_CREDIT_NOTE),
    ]
    payments = await receivables.ListPayments(pb.ListPaymentsRequest(connection_id=connection_id, invoice_id="i1"))
    assert [(one.id, one.paid_on, one.amount.amount) for one in payments.payments] == [("p1", "2026-11-04", "100.00")]


async def test_what_is_not_there_is_not_found(receivables: Any, connection_id: str) -> None:  # noqa: ANN401
    for call in (
        receivables.GetCustomer(pb.GetCustomerRequest(connection_id=connection_id, customer_id="nobody")),
        receivables.GetInvoice(pb.GetInvoiceRequest(connection_id=connection_id, invoice_id="none")),
        receivables.ListPayments(pb.ListPaymentsRequest(connection_id="con_none")),
    ):
        with pytest.raises(aio.AioRpcError) as refusal:
            await call
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
