"""ReceivablesService from a client's side: what is listed is what the sandbox's books hold, to the cent."""

import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from servers import SMALL, Service, service
from tieout import errors
from tieout.v1 import receivables_service_pb2 as pb
from tieout.v1.types_pb2 import (
    ENTITY_ACCOUNTS,
    ENTITY_CONTACTS,
    ENTITY_CREDIT_NOTES,
    ENTITY_INVOICES,
    ENTITY_PAYMENTS,
    Money,
)
from tieout_sandbox import InvoiceType, Sandbox, Status, serve
from tieout_sandbox.books.documents import Contact, ContactStatus, Credit, Invoice

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

IN_LEDGER = (Status.AUTHORISED, Status.PAID)
Amounts = dict[str, Decimal]


@dataclass
class Mirrored:
    """A server that has read these books."""

    running: Service
    sandbox: Sandbox
    connection_id: str

    @property
    def sales(self) -> list[Invoice]:
        return [i for i in self.sandbox.books.invoices.values() if i.type is InvoiceType.ACCREC]

    @property
    def credits(self) -> list[Credit]:
        books = self.sandbox.books
        every = (*books.credit_notes.values(), *books.overpayments.values(), *books.prepayments.values())
        return [credit for credit in every if not credit.of_supplier]

    def owner(self, contact: Contact) -> Contact:
        """The contact that this one is now, over merges."""
        while contact.merged_to_id:
            contact = self.sandbox.books.contacts[contact.merged_to_id]
        return contact

    def balances(self, today: date) -> dict[str, tuple[Amounts, Amounts, Amounts]]:
        """Outstanding, overdue and unapplied by customer and currency; what is nothing is left out."""
        sums: dict[str, tuple[Amounts, Amounts, Amounts]] = defaultdict(
            lambda: (defaultdict(Decimal), defaultdict(Decimal), defaultdict(Decimal))
        )
        for invoice in self.sales:
            if invoice.status is Status.AUTHORISED:
                outstanding, overdue, _ = sums[self.owner(invoice.contact).id]
                outstanding[invoice.currency] += invoice.amount_due
                overdue[invoice.currency] += invoice.amount_due if invoice.due_on < today else 0
        for credit in self.credits:
            if credit.status is Status.AUTHORISED:
                outstanding, _, unapplied = sums[self.owner(credit.contact).id]
                outstanding[credit.currency] -= credit.remaining_credit
                unapplied[credit.currency] += credit.remaining_credit
        return {key: tuple({c: v for c, v in part.items() if v} for part in parts) for key, parts in sums.items()}  # type: ignore[misc] # three parts again

    def customers(self) -> set[str]:
        """The contacts that are customers here: see the service's comment."""
        documents: list[Invoice | Credit] = [*self.sales, *self.credits]
        owning = {d.contact.id for d in documents if d.status in IN_LEDGER}
        owing = {i.contact.id for i in self.sales if i.status is Status.AUTHORISED and i.amount_due} | {
            c.contact.id for c in self.credits if c.status is Status.AUTHORISED and c.remaining_credit
        }
        return {
            c.id
            for c in self.sandbox.books.contacts.values()
            if not c.merged_to_id
            and (
                (c.status is ContactStatus.ACTIVE and (c.is_customer or c.id in owning))
                or (c.status is ContactStatus.ARCHIVED and c.id in owing)
            )
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mirrored(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mirrored]:
    """One server for all tests here, which only read; a customer was merged into another before."""
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path_factory.mktemp('mirrored') / 'tieout.db')}"
    async with serve(SMALL) as sandbox, service(sandbox, url) as running:
        owing = [i.contact for i in sandbox.books.invoices.values() if i.type is InvoiceType.ACCREC and i.amount_due]
        active = list(dict.fromkeys(c.id for c in owing if c.status is ContactStatus.ACTIVE and c.is_customer))
        sandbox.books.merge_contact(active[0], active[1])
        connection = await running.connected()
        yield Mirrored(running, sandbox, connection.id)


def amounts(moneys: Iterable[Money]) -> Amounts:
    return {money.currency_code: Decimal(money.amount) for money in moneys}


def exact(money: Money) -> tuple[str, Decimal]:
    return money.currency_code, Decimal(money.amount)


async def test_customers_and_their_balances_are_xeros_to_the_cent(mirrored: Mirrored) -> None:
    found = [c async for c in mirrored.running.client.receivables.list_customers(mirrored.connection_id)]
    truth = mirrored.balances(mirrored.sandbox.books.today())
    assert {c.id for c in found} == mirrored.customers()
    for customer in found:
        stated = truth.get(customer.xero_contact_id, ({}, {}, {}))
        ours = amounts(customer.outstanding), amounts(customer.overdue), amounts(customer.unapplied)
        assert ours == stated, customer.name
    assert len({code for c in found for code in amounts(c.outstanding)}) > 1, "one currency shows little"


async def test_what_xero_says_of_a_contact_is_said_of_the_customer(mirrored: Mirrored) -> None:
    async for customer in mirrored.running.client.receivables.list_customers(mirrored.connection_id):
        contact = mirrored.sandbox.books.contacts[customer.xero_contact_id]
        assert (customer.name, customer.email, customer.is_supplier) == (
            contact.name, contact.email, contact.is_supplier,
        )  # fmt: skip
        mobile = next((p for p in contact.phones if p.kind == "MOBILE" and p.number), None)
        assert bool(customer.mobile_phone) == bool(mobile)
        assert mobile is None or mobile.number in customer.mobile_phone


async def test_an_archived_customer_stays_only_while_it_has_a_balance(mirrored: Mirrored) -> None:
    found = [c async for c in mirrored.running.client.receivables.list_customers(mirrored.connection_id)]
    archived = {c.id for c in mirrored.sandbox.books.contacts.values() if c.status is ContactStatus.ARCHIVED}
    marked = {c.id for c in found if c.archived_with_balance}
    assert marked
    assert marked == archived & mirrored.customers()


async def test_a_merged_contact_leads_to_the_one_that_it_became_with_both_balances(mirrored: Mirrored) -> None:
    books = mirrored.sandbox.books
    merged = [c for c in books.contacts.values() if c.merged_to_id]
    assert merged
    for contact in merged:
        now = mirrored.owner(contact)
        found = await mirrored.running.client.receivables.get_customer(mirrored.connection_id, contact.id)
        assert found.id == now.id
        truth = mirrored.balances(mirrored.sandbox.books.today()).get(now.id, ({}, {}, {}))
        assert amounts(found.outstanding) == truth[0]
        invoices = [
            i async for i in mirrored.running.client.receivables.list_invoices(
                mirrored.connection_id, customer_id=contact.id
            )
        ]  # fmt: skip
        family = {c.id for c in books.contacts.values() if mirrored.owner(c) is now}
        assert {i.id for i in invoices} == {
            i.id for i in mirrored.sales if i.status in IN_LEDGER and i.contact.id in family
        }
        assert {i.customer_id for i in invoices} <= {now.id}


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_paging_to_the_end_loses_and_doubles_nothing(mirrored: Mirrored, size: int) -> None:
    reads = mirrored.running.client.receivables
    sales = {i.id for i in mirrored.sales if i.status in IN_LEDGER}
    wanted = {c.id for c in mirrored.credits if c.status is Status.AUTHORISED and c.remaining_credit}
    customers = [c.id async for c in reads.list_customers(mirrored.connection_id, page_size=size)]
    assert len(customers) == len(set(customers))
    assert set(customers) == mirrored.customers()
    if size > 1:  # 300 calls show no more than 40
        invoices = [i.id async for i in reads.list_invoices(mirrored.connection_id, page_size=size)]
        assert len(invoices) == len(set(invoices))
        assert set(invoices) == sales
    unapplied = [c.id async for c in reads.list_unapplied_credits(mirrored.connection_id, page_size=size)]
    assert len(unapplied) == len(set(unapplied))
    assert set(unapplied) == wanted


async def test_customers_are_found_by_name_and_listed_in_the_order_asked_for(mirrored: Mirrored) -> None:
    reads = mirrored.running.client.receivables
    everybody = [c async for c in reads.list_customers(mirrored.connection_id)]
    assert [c.name.casefold() for c in everybody] == sorted(c.name.casefold() for c in everybody)
    part = everybody[3].name[:5].upper()
    found = [c.name async for c in reads.list_customers(mirrored.connection_id, search=part)]
    assert found
    assert all(part.casefold() in name.casefold() or "@" in name for name in found)
    order = pb.CUSTOMER_ORDER_UPDATED_AT
    changed = [c.updated_at.ToNanoseconds() async for c in reads.list_customers(mirrored.connection_id, order=order)]
    assert changed == sorted(changed)
    assert len(changed) == len(everybody)


async def test_invoices_are_listed_by_due_date_with_xeros_amounts(mirrored: Mirrored) -> None:
    found = [i async for i in mirrored.running.client.receivables.list_invoices(mirrored.connection_id)]
    assert [(i.due_on, i.id) for i in found] == sorted((i.due_on, i.id) for i in found)
    for invoice in found:
        theirs = mirrored.sandbox.books.invoices[invoice.id]
        assert exact(invoice.total) == (theirs.currency, theirs.total)
        assert exact(invoice.amount_due) == (theirs.currency, theirs.amount_due)
        assert exact(invoice.amount_paid) == (theirs.currency, theirs.amount_paid)
        assert exact(invoice.amount_credited) == (theirs.currency, theirs.amount_credited)
        assert invoice.due_on == theirs.due_on.isoformat()
        expected = theirs.expected_payment_on
        assert invoice.expected_payment_date == (expected.isoformat() if expected else "")


async def test_each_filter_of_invoices_gives_what_it_says(mirrored: Mirrored) -> None:
    reads, today = mirrored.running.client.receivables, datetime.now(UTC).date().isoformat()
    sales = [i for i in mirrored.sales if i.status in IN_LEDGER]
    some = sales[7]
    cases = [
        ({"statuses": [pb.INVOICE_STATUS_AUTHORISED]}, [i for i in sales if i.status is Status.AUTHORISED]),
        ({"statuses": [pb.INVOICE_STATUS_PAID]}, [i for i in sales if i.status is Status.PAID]),
        ({"due_before": today}, [i for i in sales if i.due_on.isoformat() < today]),
        ({"number": some.number}, [i for i in sales if i.number == some.number]),
        ({"currency_code": some.currency}, [i for i in sales if i.currency == some.currency]),
        ({"updated_after": datetime.now(UTC) + timedelta(days=1)}, []),
    ]
    for asked, truth in cases:
        found = {i.id async for i in reads.list_invoices(mirrored.connection_id, **asked)}  # type: ignore[arg-type] # a table
        assert found == {i.id for i in truth}, asked


async def test_an_invoice_comes_with_all_that_settled_it(mirrored: Mirrored) -> None:
    paid = next(i for i in mirrored.sales if i.payments and i.status in IN_LEDGER)
    credited = next(i for i in mirrored.sales if i.allocations and i.status in IN_LEDGER)
    for theirs in (paid, credited):
        found = await mirrored.running.client.receivables.get_invoice(mirrored.connection_id, theirs.id)
        live = [p for p in theirs.payments if p.status is Status.AUTHORISED]
        assert {(p.id, Decimal(p.amount.amount)) for p in found.payments} == {(p.id, p.amount) for p in live}
        assert sum((Decimal(a.amount.amount) for a in found.allocations), Decimal()) == theirs.amount_credited
        assert sum((Decimal(p.amount.amount) for p in found.payments), Decimal()) == theirs.amount_paid


async def test_credit_notes_and_payments_are_those_in_the_books(mirrored: Mirrored) -> None:
    reads, books = mirrored.running.client.receivables, mirrored.sandbox.books
    notes = {n.id: n async for n in reads.list_credit_notes(mirrored.connection_id)}
    assert notes.keys() == {n.id for n in books.credit_notes.values() if n.status in IN_LEDGER and not n.of_supplier}
    payments = {p.id: p async for p in reads.list_payments(mirrored.connection_id)}
    sales = {i.id for i in mirrored.sales}
    truth = {
        p.id: p.amount
        for p in books.payments.values()
        if p.status is Status.AUTHORISED and (not isinstance(p.target, Invoice) or p.target.id in sales)
    }
    assert {key: Decimal(p.amount.amount) for key, p in payments.items()} == truth
    invoice = next(i for i in mirrored.sales if i.payments)
    of_one = [p.id async for p in reads.list_payments(mirrored.connection_id, invoice_id=invoice.id)]
    assert set(of_one) == {p.id for p in invoice.payments if p.status is Status.AUTHORISED}


async def test_unapplied_credits_are_told_apart_by_kind(mirrored: Mirrored) -> None:
    reads, books = mirrored.running.client.receivables, mirrored.sandbox.books
    for kind, held in (
        (pb.CREDIT_KIND_CREDIT_NOTE, books.credit_notes),
        (pb.CREDIT_KIND_OVERPAYMENT, books.overpayments),
        (pb.CREDIT_KIND_PREPAYMENT, books.prepayments),
    ):
        found = {c.id: c async for c in reads.list_unapplied_credits(mirrored.connection_id, kinds=[kind])}
        open_ones = [c for c in held.values() if c.status is Status.AUTHORISED and not c.of_supplier]
        assert found.keys() == {c.id for c in open_ones}
        assert {c.kind for c in found.values()} <= {kind}


async def test_what_is_not_here_is_not_found_by_name(mirrored: Mirrored) -> None:
    reads, here = mirrored.running.client.receivables, mirrored.connection_id
    supplier = next(
        c for c in mirrored.sandbox.books.contacts.values() if not c.merged_to_id and c.id not in mirrored.customers()
    )
    for call, kind in (
        (reads.get_customer(here, "nobody"), "customer"),
        (reads.get_customer(here, supplier.id), "customer"),
        (reads.get_invoice(here, "nothing"), "invoice"),
        (reads.get_customer("con_none", "nobody"), "connection"),
        (reads.get_invoice("con_none", "nothing"), "connection"),
        (reads.list_customers("con_none").first(1), "connection"),
        (reads.list_invoices("con_none").first(1), "connection"),
        (reads.list_credit_notes("con_none").first(1), "connection"),
        (reads.list_payments("con_none").first(1), "connection"),
        (reads.list_unapplied_credits("con_none").first(1), "connection"),
    ):
        with pytest.raises(errors.NotFoundError) as refusal:
            await call
        assert refusal.value.code == "NOT_FOUND"
        assert refusal.value.metadata["kind"] == kind


async def test_all_that_is_wrong_with_a_list_is_named_at_once(mirrored: Mirrored) -> None:
    with pytest.raises(errors.InvalidRequestError) as refusal:
        await mirrored.running.client.receivables.list_invoices(
            "", due_before="22/11/2026", currency_code="dollars", page_size=-1,
            statuses=[pb.INVOICE_STATUS_DRAFT],
        )  # fmt: skip
    named = {violation.field for violation in refusal.value.violations}
    assert named == {"connection_id", "due_before", "currency_code", "page_size", "statuses[0]"}


async def test_a_page_token_serves_the_list_that_gave_it_and_no_other(mirrored: Mirrored) -> None:
    reads = mirrored.running.client.receivables
    first = await reads.list_invoices(mirrored.connection_id, page_size=3)
    second = await reads.list_invoices(mirrored.connection_id, page_size=5, page_token=first.next_page_token)
    assert len(second.invoices) == 5
    for pages in (
        reads.list_invoices(mirrored.connection_id, number="x", page_token=first.next_page_token),
        reads.list_customers(mirrored.connection_id, page_token=first.next_page_token),
        reads.list_invoices(mirrored.connection_id, page_token="made up"),
    ):
        with pytest.raises(errors.InvalidRequestError) as refusal:
            await pages.first(1)
        assert [violation.field for violation in refusal.value.violations] == ["page_token"]


async def test_a_watch_from_the_start_tells_what_the_lists_hold_and_then_that_this_was_all(mirrored: Mirrored) -> None:
    reads, here = mirrored.running.client.receivables, mirrored.connection_id
    told: dict[int, dict[str, pb.Change]] = defaultdict(dict)
    async with aclosing(reads.watch_changes(here, from_start=True)) as messages:
        async for message in messages:
            if message.HasField("heartbeat"):
                break
            assert message.snapshot.kind == pb.CHANGE_KIND_UPSERTED
            assert message.snapshot.HasField("committed_at")
            told[message.snapshot.entity][message.snapshot.id] = message.snapshot
    customers = {c.id: c async for c in reads.list_customers(here)}
    assert {name: change.customer for name, change in told[ENTITY_CONTACTS].items()} == customers
    notes = {c.id: c async for c in reads.list_credit_notes(here)}
    assert {name: change.credit_note for name, change in told[ENTITY_CREDIT_NOTES].items()} == notes
    payments = {p.id: p async for p in reads.list_payments(here)}
    assert {name: change.payment for name, change in told[ENTITY_PAYMENTS].items()} == payments
    assert told[ENTITY_INVOICES].keys() == {i.id async for i in reads.list_invoices(here)}
    for name, change in list(told[ENTITY_INVOICES].items())[::20]:
        assert change.invoice == await reads.get_invoice(here, name)
    accounts = mirrored.sandbox.books.accounts
    assert {c.account.id: c.account.name for c in told[ENTITY_ACCOUNTS].values()} == {
        a.id: a.name for a in accounts.values()
    }


async def test_a_watch_that_cannot_begin_says_why(mirrored: Mirrored) -> None:
    reads, here = mirrored.running.client.receivables, mirrored.connection_id
    with pytest.raises(errors.NotFoundError) as refusal:
        await anext(reads.watch_changes("con_none"))
    assert refusal.value.metadata["kind"] == "connection"
    for asked in ({"after": "made up"}, {"entities": [99]}, {"entities": [0]}):
        with pytest.raises(errors.InvalidRequestError):
            await anext(reads.watch_changes(here, **asked))
