"""The read side: who is a customer, what they owe, and their documents, page by page."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from databases import add_connection
from documents import AT, contact, credit, invoice, payment
from tieout_server.clock import SystemClock
from tieout_server.errors import InvalidRequestError, NotFoundError
from tieout_server.ledger.documents import Allocation, ContactPerson, ContactStatus, DocumentStatus, Entity, Phone
from tieout_server.ledger.money import Money
from tieout_server.receivables.service import Receivables
from tieout_server.receivables.views import Customer
from tieout_server.storage import customers, mirror
from tieout_server.storage.customers import BalanceUnits, CustomerOrder, CustomerQuery
from tieout_server.storage.database import Database
from tieout_server.storage.pages import Span
from tieout_server.storage.receivables import CreditQuery, InvoiceQuery, PaymentQuery

HERE = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY = HERE.date()
YESTERDAY = TODAY - timedelta(days=1)
EVERYTHING = Span(1_000)
HOUR = timedelta(hours=1)


class Noon(SystemClock):
    """A clock that stands still."""

    def now(self) -> datetime:
        return HERE


@pytest.fixture
async def here(database: Database) -> Receivables:
    await add_connection(database, "con1")
    await add_connection(database, "con2")
    return Receivables(database, Noon())


async def _save(database: Database, *documents: Any, at: datetime = HERE, into: str = "con1") -> None:  # noqa: ANN401 - documents of any kinds
    async with database.write() as tx:
        for document in documents:
            await mirror.save(tx, into, [document], seen_in=1, at=at)


async def _names(here: Receivables, query: CustomerQuery | None = None) -> list[str]:
    page = await here.list_customers("con1", query or CustomerQuery(), EVERYTHING)
    return [customer.customer_id for customer in page.items]


def _money(**amounts: str) -> tuple[Money, ...]:
    return tuple(Money(currency, Decimal(amount)) for currency, amount in sorted(amounts.items()))


async def test_a_balance_is_what_is_due_less_what_is_unapplied_per_currency(
    database: Database, here: Receivables
) -> None:
    await _save(
        database,
        contact(),
        invoice("i1", due=Decimal("100.10"), due_on=YESTERDAY),
        invoice("i2", due=Decimal("0.20"), due_on=TODAY),
        invoice("i3", due=Decimal(5)),
        invoice("i4", due=Decimal(7), currency="USD", due_on=YESTERDAY),
        invoice("i5", due=Decimal(0), status="PAID", due_on=YESTERDAY),
        *(invoice(f"x{s}", due=Decimal(999), status=s) for s in ("DRAFT", "SUBMITTED", "VOIDED", "DELETED")),
        credit("k1", remaining=Decimal("30.05")),
        credit("k2", remaining=Decimal(7), currency="USD", entity=Entity.OVERPAYMENTS),
        credit("k3", remaining=Decimal(999), status="VOIDED"),
    )
    customer = await here.get_customer("con1", "c1")
    assert customer.outstanding == _money(NZD="75.25")
    assert customer.overdue == _money(NZD="100.10", USD="7")
    assert customer.unapplied == _money(NZD="30.05", USD="7")


@pytest.mark.usefixtures("here")
async def test_the_balances_of_a_whole_organisation_come_in_one_pass(database: Database) -> None:
    await _save(database, invoice("i1"), invoice("i2", xero_contact_id="c2", due_on=YESTERDAY), credit("k1"))
    await _save(database, invoice("i9"), into="con2")
    async with database.read() as tx:
        assert await customers.balances(tx, "con1", today=TODAY) == [
            BalanceUnits("c1", "NZD", 2_305_000, 0, 200_000),
            BalanceUnits("c2", "NZD", 2_305_000, 2_305_000, 0),
        ]


async def test_sums_are_exact_beyond_what_a_float_holds(database: Database, here: Receivables) -> None:
    huge = Decimal("90071992547409.9301")
    await _save(database, contact(), *(invoice(f"i{n}", due=huge) for n in range(10)))
    assert (await here.get_customer("con1", "c1")).outstanding == (Money("NZD", huge * 10),)


@pytest.mark.parametrize(
    ("fields", "documents"),
    [
        ({"is_customer": True}, []),
        ({"is_customer": False}, [invoice()]),
        ({"is_customer": False}, [credit()]),
        ({"is_customer": True, "is_supplier": True}, []),
        ({"status": ContactStatus.ARCHIVED}, [invoice()]),
        ({"status": ContactStatus.ARCHIVED, "is_customer": False}, [credit()]),
    ],
)
async def test_these_contacts_are_customers(
    database: Database, here: Receivables, fields: dict[str, Any], documents: Sequence[Any]
) -> None:
    await _save(database, contact(**fields), *documents)
    customer = await here.get_customer("con1", "c1")
    assert customer.archived_with_balance is ("status" in fields)
    assert await _names(here) == ["c1"]


@pytest.mark.parametrize(
    ("fields", "documents"),
    [
        ({"is_customer": False}, []),
        ({"is_customer": False, "is_supplier": True}, []),
        ({"is_customer": False}, [invoice(status="DRAFT")]),
        ({"status": ContactStatus.ARCHIVED}, []),
        ({"status": ContactStatus.ARCHIVED}, [invoice(status="PAID", due=Decimal(0))]),
        ({"status": ContactStatus.ARCHIVED}, [credit(remaining=Decimal(0))]),
        ({"status": ContactStatus.GDPRREQUEST}, [invoice()]),
    ],
)
async def test_these_contacts_are_not_customers(
    database: Database, here: Receivables, fields: dict[str, Any], documents: Sequence[Any]
) -> None:
    await _save(database, contact(**fields), *documents)
    with pytest.raises(NotFoundError):
        await here.get_customer("con1", "c1")
    assert await _names(here) == []


async def test_merged_contacts_lead_to_the_one_they_became(database: Database, here: Receivables) -> None:
    away = {"status": ContactStatus.ARCHIVED}
    await _save(
        database,
        contact("old", merged_into="mid", **away),
        contact("mid", merged_into="new", **away),
        contact("new"),
        invoice("i1", xero_contact_id="old"),
        invoice("i2", xero_contact_id="mid"),
        invoice("i3", xero_contact_id="new"),
    )
    for name in ("old", "mid", "new"):
        customer = await here.get_customer("con1", name)
        assert (customer.customer_id, customer.outstanding) == ("new", _money(NZD="691.50"))
        page = await here.list_invoices("con1", InvoiceQuery(customer_id=name), EVERYTHING)
        assert [(view.invoice.xero_invoice_id, view.customer_id) for view in page.items] == [
            ("i1", "new"),
            ("i2", "new"),
            ("i3", "new"),
        ]
    assert await _names(here) == ["new"]


async def test_a_ring_of_merges_ends(database: Database, here: Receivables) -> None:
    await _save(database, contact("a", merged_into="b"), contact("b", merged_into="a"), invoice(xero_contact_id="a"))
    with pytest.raises(NotFoundError):
        await here.get_customer("con1", "a")
    assert len((await here.list_invoices("con1", InvoiceQuery(), EVERYTHING)).items) == 1


async def test_a_customer_comes_back_as_it_was_saved(database: Database, here: Receivables) -> None:
    full = contact(
        name="Ünïcode & Söhne",
        first_name="Ada",
        last_name="Lovelace",
        email="ada@example.com",
        contact_number="C-1",
        account_number="A-1",
        default_currency="EUR",
        phones=(Phone("DEFAULT", "555"), Phone("MOBILE", "1234567", "21", "64"), Phone("FAX", "")),
        persons=(ContactPerson("Bob", "Roe", "bob@example.com", included_in_emails=True),),
        stated_outstanding=Decimal("230.50"),
    )
    await _save(database, full)
    found = await here.get_customer("con1", "c1")
    assert found.contact == full
    assert found.mobile_phone == "+64 21 1234567"
    assert found.updated_at == HERE


async def test_a_change_of_a_document_is_a_change_of_its_customer(database: Database, here: Receivables) -> None:
    await _save(database, contact("c1"), contact("c2"))
    await _save(database, invoice(), at=HERE + 2 * HOUR)
    await _save(database, credit(xero_contact_id="c2"), at=HERE + HOUR)
    assert (await here.get_customer("con1", "c1")).updated_at == HERE + 2 * HOUR
    assert await _names(here, CustomerQuery(order=CustomerOrder.BY_CHANGE)) == ["c2", "c1"]
    assert await _names(here, CustomerQuery(updated_after=HERE + HOUR)) == ["c1"]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("ACME", ["c1"]),
        ("söhne", ["c2"]),
        ("billing@", ["c1"]),
        ("a-77", ["c2"]),
        ("100%", ["c3"]),
        ("_", []),
        ("", ["c1", "c2", "c3"]),
    ],
)
async def test_search_finds_names_addresses_and_numbers_without_case(
    database: Database, here: Receivables, search: str, found: list[str]
) -> None:
    await _save(
        database,
        contact("c1", name="Acme", email="Billing@acme.example"),
        contact("c2", name="Beck SÖHNE", account_number="A-77"),
        contact("c3", name="Cent 100% Limited"),
    )
    assert await _names(here, CustomerQuery(search=search)) == found


@pytest.mark.parametrize("order", CustomerOrder)
async def test_pages_of_customers_are_whole_while_others_come_and_go(
    database: Database, here: Receivables, order: CustomerOrder
) -> None:
    for number in range(7):
        await _save(database, contact(f"c{number}", name=f"name {number // 2}"), at=HERE + number // 2 * HOUR)
    read: list[Customer] = []
    span: Span | None = Span(2)
    while span is not None:
        page = await here.list_customers("con1", CustomerQuery(order=order), span)
        assert len(page.items) <= 2
        read += page.items
        span = page.following
        late = "0 first" if order is CustomerOrder.BY_NAME else "zz"
        await _save(database, contact(f"{late} {len(read)}", name=late), at=HERE - HOUR)
        await _save(database, contact("c0", name="name 0", is_customer=False, updated_at=AT + HOUR), at=HERE)
    assert [customer.customer_id for customer in read] == [f"c{number}" for number in range(7)]


async def test_an_invoice_comes_with_what_settled_it(database: Database, here: Receivables) -> None:
    whole = invoice(
        number="INV-1",
        reference="PO",
        issued_on=date(2026, 9, 1),
        due_on=YESTERDAY,
        expected_payment_on=TODAY,
        fully_paid_on=TODAY,
        rate=Decimal("1.2345678901"),
        subtotal=Decimal("200.43"),
        tax=Decimal("30.07"),
        sent_to_contact=True,
    )
    part = Allocation(xero_invoice_id="i1", amount=Decimal(30), allocated_on=YESTERDAY, xero_allocation_id="al1")
    paid = payment("p2", paid_on=YESTERDAY, bank_amount=Decimal("99.5"), reference="R", is_reconciled=True)
    await _save(
        database,
        whole,
        payment("p1", paid_on=TODAY),
        paid,
        payment("p3", status="DELETED"),
        payment("p4", xero_document_id="i2"),
        credit("k1", number="CN-1", allocations=(Allocation(xero_invoice_id="i2", amount=Decimal(1)), part)),
        credit("k2", status="VOIDED", allocations=(part,)),
    )
    view = await here.get_invoice("con1", "i1")
    assert view.invoice == whole
    assert [(p.payment.xero_payment_id, p.invoice_number) for p in view.payments] == [("p2", "INV-1"), ("p1", "INV-1")]
    assert view.payments[0].payment == paid
    (allocation,) = view.allocations
    assert (allocation.xero_credit_id, allocation.credit_number) == ("k1", "CN-1")
    assert (allocation.amount, allocation.allocated_on) == (Money("NZD", Decimal(30)), YESTERDAY.isoformat())


async def test_invoices_are_listed_by_due_date_and_those_without_one_come_last(
    database: Database, here: Receivables
) -> None:
    await _save(
        database,
        invoice("i1"),
        invoice("i2", due_on=TODAY),
        invoice("i3", due_on=YESTERDAY, status="PAID"),
        *(invoice(f"x{s}", status=s) for s in ("DRAFT", "SUBMITTED", "VOIDED", "DELETED")),
    )
    read = []
    span: Span | None = Span(1)
    while span is not None:
        page = await here.list_invoices("con1", InvoiceQuery(), span)
        read += [(view.invoice.xero_invoice_id, view.invoice.due_on) for view in page.items]
        span = page.following
    assert read == [("i3", YESTERDAY), ("i2", TODAY), ("i1", None)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (InvoiceQuery(customer_id="c2"), ["i2"]),
        (InvoiceQuery(customer_id="nobody"), []),
        (InvoiceQuery(statuses=(DocumentStatus.VOIDED,)), ["i3"]),
        (InvoiceQuery(due_before=TODAY), ["i1"]),
        (InvoiceQuery(number="INV-2"), ["i2"]),
        (InvoiceQuery(currency="USD"), ["i2"]),
        (InvoiceQuery(updated_after=HERE), ["i2"]),
    ],
)
async def test_invoices_are_narrowed(
    database: Database, here: Receivables, query: InvoiceQuery, found: list[str]
) -> None:
    await _save(database, invoice("i1", number="INV-1", due_on=YESTERDAY), invoice("i3", status="VOIDED"))
    other = invoice("i2", number="INV-2", xero_contact_id="c2", due_on=TODAY, currency="USD")
    await _save(database, other, at=HERE + HOUR)
    page = await here.list_invoices("con1", query, EVERYTHING)
    assert [view.invoice.xero_invoice_id for view in page.items] == found


async def test_credits_come_newest_first_with_their_allocations(database: Database, here: Receivables) -> None:
    part = Allocation(xero_invoice_id="i1", amount=Decimal(30), allocated_on=TODAY, xero_allocation_id="al1")
    newest = credit("k3", issued_on=TODAY, number="CN-3", reference="R", allocations=(part, part))
    await _save(
        database,
        credit("k1"),
        credit("k2", issued_on=YESTERDAY, remaining=Decimal(0), status="PAID"),
        newest,
        credit("k4", status="VOIDED"),
        credit("o1", entity=Entity.OVERPAYMENTS, issued_on=YESTERDAY),
    )
    notes = CreditQuery(entities=(Entity.CREDIT_NOTES,))
    first = await here.list_credits("con1", notes, Span(2))
    assert first.items[0].credit == newest
    assert first.following is not None
    second = await here.list_credits("con1", notes, first.following)
    assert [v.credit.xero_credit_id for v in (*first.items, *second.items)] == ["k3", "k2", "k1"]
    unapplied = await here.list_credits("con1", CreditQuery(unapplied_only=True), EVERYTHING)
    assert [v.credit.xero_credit_id for v in unapplied.items] == ["k3", "o1", "k1"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (PaymentQuery(), ["p2", "p1", "p4"]),
        (PaymentQuery(customer_id="c2"), ["p2"]),
        (PaymentQuery(xero_document_id="i2"), ["p2"]),
        (PaymentQuery(paid_from=TODAY), ["p2"]),
        (PaymentQuery(statuses=(DocumentStatus.DELETED,)), ["p3"]),
        (PaymentQuery(updated_after=HERE), []),
    ],
)
async def test_payments_are_narrowed_and_come_newest_first(
    database: Database, here: Receivables, query: PaymentQuery, found: list[str]
) -> None:
    await _save(
        database,
        payment("p1", paid_on=YESTERDAY),
        payment("p2", paid_on=TODAY, xero_document_id="i2", xero_contact_id="c2"),
        payment("p3", status="DELETED"),
        payment("p4"),
    )
    page = await here.list_payments("con1", query, EVERYTHING)
    assert [view.payment.xero_payment_id for view in page.items] == found


async def test_what_is_not_here_is_not_found(database: Database, here: Receivables) -> None:
    await _save(database, contact(), invoice())
    with pytest.raises(NotFoundError, match="customer 'c9'"):
        await here.get_customer("con1", "c9")
    with pytest.raises(NotFoundError, match="invoice 'i9'"):
        await here.get_invoice("con1", "i9")
    with pytest.raises(NotFoundError, match="invoice 'i1'"):
        await here.get_invoice("con2", "i1")
    with pytest.raises(NotFoundError, match="connection 'con9'"):
        await here.list_customers("con9", CustomerQuery(), EVERYTHING)


@pytest.mark.parametrize(
    ("order", "place"),
    [(CustomerOrder.BY_NAME, 5), (CustomerOrder.BY_CHANGE, "name"), (CustomerOrder.BY_CHANGE, 2**63)],
)
async def test_a_place_that_the_order_does_not_have_is_refused(
    here: Receivables, order: CustomerOrder, place: str | int
) -> None:
    with pytest.raises(InvalidRequestError, match="page_token"):
        await here.list_customers("con1", CustomerQuery(order=order), Span(10, (place, "c1")))
