"""An organisation's books as they are read from the sandbox agree with the sandbox's own, to the digit."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

import tieout_sandbox
from sandbox_books import SandboxTokens, opened
from tieout_sandbox import InvoiceType, Sandbox, SandboxSettings, Status
from tieout_sandbox.books.documents import Credit as SandboxCredit
from tieout_server.errors import AccessRevokedError, ScopeMissingError
from tieout_server.ledger.books import IDS_AT_ONCE, Order, Page, Purpose, Query
from tieout_server.ledger.calls import CallsInMemory
from tieout_server.ledger.documents import (
    CREDITS,
    Account,
    Contact,
    Credit,
    Document,
    Entity,
    Invoice,
    Organisation,
    OrganisationUser,
    Payment,
)
from tieout_server.syncs.intake import id_of
from tieout_server.xero.books import XeroBooks, XeroLibrary

NOBODYS = "00000000-0000-4000-8000-000000000000"
"""An id that no document has."""
SPEED = 100.0
"""A minute of Xero's limits takes 0.6 s here, for the sandbox and for us."""


@dataclass
class Reader:
    """The first organisation's books, and how they are read."""

    sandbox: Sandbox
    library: XeroLibrary
    books: XeroBooks
    calls: CallsInMemory

    async def pages(self, query: Query) -> list[Page]:
        first = await self.books.read(query, Purpose.FIRST_SYNC)
        rest = (
            Query(
                entity=query.entity,
                page=number,
                page_size=query.page_size,
                order=query.order,
                since=query.since,
                open_only=query.open_only,
            )
            for number in range(2, first.page_count + 1)
        )
        return [first, *await asyncio.gather(*(self.books.read(one, Purpose.FIRST_SYNC) for one in rest))]

    async def all(self, entity: Entity, page_size: int = 1000) -> list[Document]:
        return documents(await self.pages(Query(entity=entity, page_size=page_size)))


def documents(pages: Iterable[Page]) -> list[Document]:
    return [document for page in pages for document in page.documents]


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    settings = SandboxSettings(contacts=40, invoices=200, speed=SPEED, latency_ms=2)
    async with tieout_sandbox.serve(settings) as sandbox, opened(sandbox, speed=SPEED) as found:
        yield Reader(sandbox, found.library, found.books, found.calls)


def to_the_millisecond(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


@pytest.mark.parametrize("page_size", [1000, 30])
async def test_invoices_agree_with_the_sandboxs(reader: Reader, page_size: int) -> None:
    read = await reader.all(Entity.INVOICES, page_size)
    sales = [one for one in reader.sandbox.books.invoices.values() if one.type is InvoiceType.ACCREC]
    assert len(read) == len(sales)
    by_id = {one.xero_invoice_id: one for one in read if isinstance(one, Invoice)}
    for truth in sales:
        invoice = by_id[truth.id]
        assert (invoice.total, invoice.due, invoice.paid, invoice.credited, invoice.subtotal, invoice.tax) == (
            truth.total,
            truth.amount_due,
            truth.amount_paid,
            truth.amount_credited,
            truth.sub_total,
            truth.total_tax,
        )
        assert (invoice.issued_on, invoice.due_on, invoice.expected_payment_on, invoice.fully_paid_on) == (
            truth.on,
            truth.due_on,
            truth.expected_payment_on,
            truth.fully_paid_on,
        )
        assert (invoice.currency, invoice.rate, invoice.status, invoice.number, invoice.reference) == (
            truth.currency,
            truth.rate,
            truth.status,
            truth.number,
            truth.reference,
        )
        assert (invoice.xero_contact_id, invoice.updated_at) == (truth.contact.id, to_the_millisecond(truth.updated_at))


async def test_payments_agree_with_the_sandboxs(reader: Reader) -> None:
    read = {one.xero_payment_id: one for one in await reader.all(Entity.PAYMENTS) if isinstance(one, Payment)}
    assert read.keys() == reader.sandbox.books.payments.keys()
    for truth in reader.sandbox.books.payments.values():
        payment = read[truth.id]
        assert (payment.amount, payment.bank_amount, payment.status) == (truth.amount, truth.bank_amount, truth.status)
        assert (payment.xero_document_id, payment.xero_contact_id) == (truth.target.id, truth.target.contact.id)
        assert (payment.paid_on, payment.xero_account_id) == (truth.on, truth.account.id)
        assert (payment.currency, payment.rate) == (truth.target.currency, truth.target.rate)
        assert payment.updated_at == to_the_millisecond(truth.updated_at)


async def test_credits_agree_with_the_sandboxs_down_to_their_allocations(reader: Reader) -> None:
    books = reader.sandbox.books
    kinds: dict[Entity, dict[str, SandboxCredit]] = {
        Entity.CREDIT_NOTES: books.credit_notes,
        Entity.OVERPAYMENTS: books.overpayments,
        Entity.PREPAYMENTS: books.prepayments,
    }
    for entity, held in kinds.items():
        truths = {one.id: one for one in held.values() if not one.of_supplier}
        assert truths.keys() < held.keys()
        read = {one.xero_credit_id: one for one in await reader.all(entity) if isinstance(one, Credit)}
        assert read.keys() == truths.keys()
        for truth in truths.values():
            credit = read[truth.id]
            assert (credit.entity, credit.total, credit.remaining) == (entity, truth.total, truth.remaining_credit)
            assert (credit.status, credit.currency, credit.issued_on) == (truth.status, truth.currency, truth.on)
            assert {(part.xero_invoice_id, part.amount, part.allocated_on) for part in credit.allocations} == {
                (part.invoice.id, part.amount, part.on) for part in truth.allocations
            }


async def test_contacts_come_with_the_archived_and_merged_ones(reader: Reader) -> None:
    read = {one.xero_contact_id: one for one in await reader.all(Entity.CONTACTS) if isinstance(one, Contact)}
    assert read.keys() == reader.sandbox.books.contacts.keys()
    for truth in reader.sandbox.books.contacts.values():
        contact = read[truth.id]
        is_erased = truth.status == "GDPRREQUEST"  # of them nothing is taken, whatever Xero keeps
        name, email, phones = ("", "", ()) if is_erased else (truth.name, truth.email, truth.phones)
        assert (contact.name, contact.email, contact.status) == (name, email, truth.status)
        assert (contact.is_customer, contact.is_supplier) == (truth.is_customer, truth.is_supplier)
        assert contact.merged_into == (truth.merged_to_id or "")
        assert [phone.number for phone in contact.phones] == [phone.number for phone in phones if phone.number]
    assert {contact.status for contact in read.values()} >= {"ACTIVE", "ARCHIVED"}
    assert any(contact.merged_into for contact in read.values())


async def test_accounts_say_whether_they_take_payments(reader: Reader) -> None:
    page = await reader.books.read(Query(entity=Entity.ACCOUNTS), Purpose.SETTINGS)
    read = {one.xero_account_id: one for one in page.documents if isinstance(one, Account)}
    assert (page.page_count, page.item_count) == (1, len(reader.sandbox.books.accounts))
    for truth in reader.sandbox.books.accounts.values():
        assert read[truth.id].takes_payments == truth.is_payable
        assert (read[truth.id].name, read[truth.id].kind, read[truth.id].code) == (
            truth.name,
            truth.type,
            truth.code or "",
        )


async def test_open_invoices_only_are_those_that_can_be_chased(reader: Reader) -> None:
    read = documents(await reader.pages(Query(entity=Entity.INVOICES, open_only=True)))
    assert {one.xero_invoice_id for one in read if isinstance(one, Invoice)} == {
        truth.id
        for truth in reader.sandbox.books.invoices.values()
        if truth.type is InvoiceType.ACCREC and truth.status is Status.AUTHORISED
    }


@pytest.mark.parametrize("status", [Status.DRAFT, Status.SUBMITTED])
async def test_drafts_of_credit_notes_are_found_by_their_contacts(reader: Reader, status: Status) -> None:
    draft, *others = reader.sandbox.books.credit_notes.values()
    draft.status = status
    of = tuple({draft.contact.id, others[0].contact.id})
    read = documents(await reader.pages(Query(entity=Entity.CREDIT_NOTES, drafts_only=True, of=of)))
    assert [one.xero_credit_id for one in read if isinstance(one, Credit)] == [draft.id]


async def test_documents_are_read_by_their_ids_as_they_are_in_listings(reader: Reader) -> None:
    for entity in (one for one in Entity if one is not Entity.ACCOUNTS):
        listed = await reader.all(entity)
        wanted = listed[::2][: 3 if entity in (*CREDITS, Entity.PAYMENTS) else IDS_AT_ONCE]
        before = reader.sandbox.requests.count("/api.xro/")
        page = await reader.books.by_ids(entity, [id_of(one) for one in wanted], Purpose.WEBHOOK)
        calls = reader.sandbox.requests.count("/api.xro/") - before
        assert {id_of(one): listed_form(one) for one in page.documents} == {id_of(one): one for one in wanted}
        assert calls == (1 if entity in (Entity.CONTACTS, Entity.INVOICES) else len(wanted))
        assert page.bytes_wire > 0


def listed_form(document: Document) -> Document:
    """A document as lists show it: there, allocations have no ids."""
    if not isinstance(document, Credit):
        return document
    parts = [msgspec.structs.replace(part, xero_allocation_id="") for part in document.allocations]
    return msgspec.structs.replace(document, allocations=tuple(parts))


async def test_payables_are_named_and_what_is_not_shown_is_left_out(reader: Reader) -> None:
    bill = next(one.id for one in reader.sandbox.books.invoices.values() if one.type is InvoiceType.ACCPAY)
    sale = next(one.id for one in reader.sandbox.books.invoices.values() if one.type is InvoiceType.ACCREC)
    page = await reader.books.by_ids(Entity.INVOICES, [bill, sale, NOBODYS], Purpose.WEBHOOK)
    assert ([id_of(one) for one in page.documents], list(page.skipped_ids)) == ([sale], [bill])
    for entity in (Entity.PAYMENTS, *CREDITS):
        page = await reader.books.by_ids(entity, [NOBODYS], Purpose.WEBHOOK)
        assert (list(page.documents), list(page.skipped_ids)) == ([], [])


async def test_each_order_is_kept_over_all_pages(reader: Reader) -> None:
    by_id = await reader.pages(Query(entity=Entity.INVOICES, page_size=30, order=Order.BY_ID))
    ids = [one.xero_invoice_id for one in documents(by_id) if isinstance(one, Invoice)]
    assert ids == sorted(ids)
    by_change = await reader.pages(Query(entity=Entity.INVOICES, page_size=30, order=Order.BY_CHANGE))
    changes = [one.updated_at for one in documents(by_change) if isinstance(one, Invoice)]
    assert changes == sorted(changes)
    assert [page.last_change_at for page in by_change] == [max(changes[n : n + 30]) for n in range(0, len(changes), 30)]


async def test_only_what_changed_since_is_read_again(reader: Reader) -> None:
    page = await reader.books.read(Query(entity=Entity.PAYMENTS), Purpose.POLL)
    since = page.served_at + timedelta(seconds=1)
    await asyncio.sleep(2 / SPEED)
    invoice = next(one for one in reader.sandbox.books.invoices.values() if one.status is Status.AUTHORISED)
    payment = reader.sandbox.books.pay(invoice.id, Decimal("1.00"))
    changed = await reader.books.read(Query(entity=Entity.PAYMENTS, since=since), Purpose.POLL)
    assert [one.xero_payment_id for one in changed.documents if isinstance(one, Payment)] == [payment.id]
    assert changed.last_change_at == to_the_millisecond(payment.updated_at)
    assert abs(changed.served_at - reader.sandbox.clock.now()) < timedelta(seconds=30)
    later = Query(entity=Entity.PAYMENTS, since=reader.sandbox.clock.now() + timedelta(days=1))
    nothing = await reader.books.read(later, Purpose.POLL)
    assert (list(nothing.documents), nothing.last_change_at) == ([], None)


async def test_the_organisation_describes_itself_its_people_and_what_they_may_do(reader: Reader) -> None:
    truth = reader.sandbox.organisations[0]
    assert await reader.books.organisation(Purpose.CONNECT) == Organisation(
        xero_tenant_id=truth.id,
        name=truth.name,
        base_currency=truth.base_currency,
        country_code=truth.country_code,
        short_code=truth.short_code,
        period_lock_on=truth.period_lock_on,
        end_of_year_lock_on=truth.end_of_year_lock_on,
        status="ACTIVE",
        time_zone="Pacific/Auckland",
    )
    users = await reader.books.users(Purpose.CONNECT)
    ada = next(user for user in users if user.email == "ada.adviser@example.com")
    assert ada == OrganisationUser(
        xero_user_id=ada.xero_user_id, email=ada.email, name="Ada Adviser", role="FINANCIALADVISER"
    )
    assert (await reader.books.actions(Purpose.CONNECT))["CreateInvoicePayment"] is True


async def test_more_calls_than_a_minute_holds_are_paced_without_a_single_refusal(reader: Reader) -> None:
    organisation = reader.sandbox.organisations[0].id
    pages = await reader.pages(Query(entity=Entity.INVOICES, page_size=2))
    assert len(documents(pages)) == pages[0].item_count
    requests = reader.sandbox.requests.find(organisation_id=organisation)
    assert len(requests) == len(pages) >= 100
    assert {entry.status for entry in requests} == {200}
    assert 4 <= max(entry.in_flight for entry in requests) <= 5
    (booked,) = reader.calls.take(organisation)
    assert (booked.purpose, booked.status, booked.calls) == (Purpose.FIRST_SYNC, 200, len(pages))
    assert 0 < booked.wire_bytes < booked.body_bytes
    assert sum(page.bytes_wire for page in pages) == booked.wire_bytes
    assert reader.library.allowance(organisation).left_today == 5_000 - len(pages)


async def test_books_that_are_disconnected_and_scopes_that_are_missing_are_told_apart(reader: Reader) -> None:
    organisation = reader.sandbox.organisations[0]
    (ada_email, scopes) = ("ada.adviser@example.com", ("openid", "offline_access", "accounting.contacts.read"))
    narrow = SandboxTokens(reader.sandbox, scopes, email="stan.standard@example.com")
    books = reader.library.open(organisation.id, narrow)
    with pytest.raises(ScopeMissingError):
        await books.read(Query(entity=Entity.INVOICES), Purpose.PROBE)
    stranger = reader.library.open(reader.sandbox.organisations[1].id, SandboxTokens(reader.sandbox, scopes, ada_email))
    with pytest.raises(AccessRevokedError):
        await stranger.organisation(Purpose.PROBE)
