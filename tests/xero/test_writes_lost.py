"""Writes whose answers are lost, late, cut or refused on the way: never done twice, never misread."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest

from sandbox_books import Opened, opened
from sandbox_caller import Caller
from sandbox_writer import Writer
from servers import until
from tieout_sandbox import FaultKind, FaultRule, Sandbox
from tieout_sandbox.books.documents import Invoice
from tieout_server.errors import AnswerLostError, CallLimitError, ScopeMissingError, XeroUnavailableError
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.writes import (
    BatchDraft,
    BatchPart,
    CreditNoteDraft,
    Deletion,
    Draft,
    DraftLine,
    InvoiceDraft,
    OverpaymentDraft,
    PaymentDraft,
    RecordKind,
    SpentMoneyDraft,
    Written,
)

ON = date(2026, 11, 20)
MARKER = "TIE7Q3KM9ZXC"
SPEED = 20.0
PATIENCE = timedelta(seconds=1.5)
TOKEN_EXPIRED = '{"Title":"Unauthorized","Status":401,"Detail":"TokenExpired: token expired at 08/12/2022 07:00:40"}'


@pytest.fixture
async def xero(sandbox: Sandbox) -> AsyncIterator[Opened]:
    async with opened(sandbox, speed=SPEED, patience=PATIENCE) as found:
        await found.books.organisation(Purpose.CONNECT)  # the first call goes alone, whatever comes of it
        found.calls.take(sandbox.organisations[0].id)
        yield found


@pytest.fixture
def invoice(sandbox: Sandbox) -> Invoice:
    contact = Writer(Caller(sandbox, None)).customer()  # type: ignore[arg-type] # makes no call
    return sandbox.books.create_invoice(contact.id, Decimal("100.00"))


def draft_of(kind: RecordKind, xero: Opened, invoice: Invoice) -> Draft:
    """A draft with the marker where records of the kind bear it."""
    bank, contact, reference = xero.sandbox.books.bank_account("NZD").id, invoice.contact.id, f"{MARKER} pay-7"
    line = DraftLine(description="Refund", unit_amount=Decimal("10.00"), account_code="200")
    drafts: dict[RecordKind, Draft] = {
        RecordKind.PAYMENT: PaymentDraft(
            xero_invoice_id=invoice.id, xero_account_id=bank, paid_on=ON, amount=Decimal(10), reference=reference
        ),
        RecordKind.BATCH_PAYMENT: BatchDraft(
            xero_account_id=bank,
            paid_on=ON,
            reference=MARKER,
            parts=(BatchPart(xero_invoice_id=invoice.id, amount=Decimal(10), reference=reference),),
        ),
        RecordKind.OVERPAYMENT: OverpaymentDraft(
            xero_contact_id=contact,
            xero_account_id=bank,
            paid_on=ON,
            amount=Decimal(10),
            currency="NZD",
            text=reference,
        ),
        RecordKind.CREDIT_NOTE: CreditNoteDraft(
            xero_contact_id=contact,
            currency="NZD",
            issued_on=ON,
            reference=reference,
            line_amount_types="Exclusive",
            lines=(line,),
        ),
        RecordKind.INVOICE: InvoiceDraft(
            xero_contact_id=contact, currency="NZD", issued_on=ON, due_on=ON, reference=reference, lines=(line,)
        ),
        RecordKind.SPENT_MONEY: SpentMoneyDraft(
            xero_contact_id=contact,
            xero_account_id=bank,
            paid_on=ON,
            currency="NZD",
            reference=reference,
            lines=(line,),
        ),
    }
    return drafts[kind]


KINDS = [kind for kind in RecordKind if kind is not RecordKind.REFUND]


async def marked(xero: Opened, kind: RecordKind) -> list[str]:
    """The ids of the records with the marker."""
    since = xero.sandbox.clock.now() - timedelta(minutes=2)
    records = await xero.books.records_since(kind, since)
    return [one.xero_id for one in records if any(text.startswith(MARKER) for text in one.texts)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", [FaultKind.DROP_AFTER, FaultKind.TRUNCATED])
async def test_what_was_made_while_its_answer_was_lost_is_found_by_its_marker_and_told_again_by_its_key(
    xero: Opened, invoice: Invoice, kind: RecordKind, fault: FaultKind
) -> None:
    draft = draft_of(kind, xero, invoice)
    xero.sandbox.faults.add(FaultRule(fault, method="PUT"))
    with pytest.raises(AnswerLostError):
        await xero.books.write([draft], "key-1")
    assert xero.sandbox.requests.count("/api.xro/", method="PUT") == 1
    (found,) = await marked(xero, kind)
    (told,) = await xero.books.write([draft], "key-1")
    assert told.xero_id == found
    assert await marked(xero, kind) == [found]


@pytest.mark.parametrize("country", ["NZ", "AU", "GB"])
@pytest.mark.parametrize("all_texts", [False, True])
async def test_a_batch_whose_answer_was_lost_is_found_in_every_country(
    xero: Opened, invoice: Invoice, country: str, *, all_texts: bool
) -> None:
    """Its Reference is kept in New Zealand only, its Details elsewhere only (Xero, OpenAPI)."""
    xero.sandbox.organisations[0].country_code = country
    xero.sandbox.switches.batches_keep_all_texts = all_texts
    xero.sandbox.faults.add(FaultRule(FaultKind.DROP_AFTER, method="PUT"))
    with pytest.raises(AnswerLostError):
        await xero.books.write([draft_of(RecordKind.BATCH_PAYMENT, xero, invoice)], "key-1")
    assert await marked(xero, RecordKind.BATCH_PAYMENT) == list(xero.sandbox.books.batches)
    assert len(xero.sandbox.books.batches) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_not_made_while_its_answer_was_lost_is_not_found_and_is_made_by_a_repeat(
    xero: Opened, invoice: Invoice, kind: RecordKind
) -> None:
    draft = draft_of(kind, xero, invoice)
    xero.sandbox.faults.add(FaultRule(FaultKind.DROP, method="PUT"))
    xero.sandbox.faults.add(FaultRule(FaultKind.UNAVAILABLE, method="PUT"))
    for _ in range(2):
        with pytest.raises(AnswerLostError):
            await xero.books.write([draft], "key-1")
    assert await marked(xero, kind) == []
    (told,) = await xero.books.write([draft], "key-1")
    assert await marked(xero, kind) == [told.xero_id]


async def test_a_write_that_xero_carries_out_after_we_gave_up_is_lost_and_found_later(
    xero: Opened, invoice: Invoice
) -> None:
    draft = draft_of(RecordKind.PAYMENT, xero, invoice)
    xero.sandbox.faults.add(FaultRule(FaultKind.SLOW, method="PUT", seconds=2 * PATIENCE.total_seconds()))
    with pytest.raises(AnswerLostError):
        await xero.books.write([draft], "key-1")
    assert await marked(xero, RecordKind.PAYMENT) == []
    await until(lambda: bool(invoice.payments))
    assert len(await marked(xero, RecordKind.PAYMENT)) == 1


@pytest.mark.parametrize("waits", [True, False])
async def test_a_repeat_that_meets_its_first_copy_at_work_does_nothing_by_itself(
    xero: Opened, invoice: Invoice, *, waits: bool
) -> None:
    xero.sandbox.books.switches.idempotent_call_in_flight_waits = waits
    xero.sandbox.accounting.latency_ms = 200
    draft = draft_of(RecordKind.PAYMENT, xero, invoice)
    first = asyncio.ensure_future(xero.books.write([draft], "key-1"))
    await asyncio.sleep(0.1)
    try:
        again = await xero.books.write([draft], "key-1")
    except AnswerLostError:
        assert not waits
    else:
        assert again == await first
    await first
    assert len(invoice.payments) == 1


async def test_an_answer_in_another_order_is_no_answer(xero: Opened, invoice: Invoice) -> None:
    xero.sandbox.books.switches.written_elements_keep_their_order = False
    draft = draft_of(RecordKind.PAYMENT, xero, invoice)
    assert isinstance(draft, PaymentDraft)
    with pytest.raises(AnswerLostError):
        await xero.books.write([draft, msgspec.structs.replace(draft, amount=Decimal(5))], "key-1")
    assert len(await marked(xero, RecordKind.PAYMENT)) == 2


async def test_a_deletion_whose_answer_was_lost_is_told_by_the_records_status(xero: Opened, invoice: Invoice) -> None:
    for kind in (RecordKind.PAYMENT, RecordKind.BATCH_PAYMENT):
        (made,) = await xero.books.write([draft_of(kind, xero, invoice)], f"key-{kind}")
        deletion = Deletion(record=kind, xero_id=made.xero_id)
        xero.sandbox.faults.add(FaultRule(FaultKind.DROP_AFTER, method="POST"))
        with pytest.raises(AnswerLostError):
            await xero.books.write([deletion], f"key-of-deletion-{kind}")
        found = await xero.books.status_of(kind, made.xero_id)
        assert found
        assert not found.is_there
        assert await xero.books.write([deletion], f"key-of-deletion-{kind}") == [Written(xero_id=made.xero_id)]
    assert invoice.amount_due == Decimal("100.00")


async def test_a_page_of_the_edge_does_not_say_that_a_record_is_gone(xero: Opened, invoice: Invoice) -> None:
    (made,) = await xero.books.write([draft_of(RecordKind.PAYMENT, xero, invoice)], "key-1")
    xero.sandbox.faults.add(
        FaultRule(
            FaultKind.ANSWER, "/Payments/", times=None, status=404, body="<h1>Not Found</h1>", content_type="text/html"
        )
    )
    with pytest.raises(XeroUnavailableError):
        await xero.books.status_of(RecordKind.PAYMENT, made.xero_id)
    with pytest.raises(XeroUnavailableError):
        await xero.books.by_ids(Entity.PAYMENTS, [made.xero_id], Purpose.POLL)


async def test_an_expired_token_in_between_is_replaced_and_the_write_done_once(xero: Opened, invoice: Invoice) -> None:
    xero.sandbox.faults.add(
        FaultRule(FaultKind.ANSWER, method="PUT", status=401, body=TOKEN_EXPIRED, content_type="application/json")
    )
    before = xero.tokens.given
    (written,) = await xero.books.write([draft_of(RecordKind.PAYMENT, xero, invoice)], "key-1")
    assert [one.id for one in invoice.payments] == [written.xero_id]
    assert xero.tokens.given - before == 2


@pytest.mark.parametrize("limit", [FaultKind.LIMIT_MINUTE, FaultKind.LIMIT_CONCURRENT])
async def test_a_passing_limit_in_between_is_waited_out_and_the_write_done_once(
    xero: Opened, invoice: Invoice, limit: FaultKind
) -> None:
    xero.sandbox.faults.add(FaultRule(limit, method="PUT", retry_after="2"))
    (written,) = await xero.books.write([draft_of(RecordKind.PAYMENT, xero, invoice)], "key-1")
    assert [one.id for one in invoice.payments] == [written.xero_id]


async def test_limits_that_hold_a_write_up_for_long_mean_that_it_was_not_sent(xero: Opened, invoice: Invoice) -> None:
    draft = draft_of(RecordKind.PAYMENT, xero, invoice)
    for limit, retry_after in ((FaultKind.LIMIT_MINUTE, "61"), (FaultKind.LIMIT_DAY, "7200")):
        xero.sandbox.faults.add(FaultRule(limit, method="PUT", retry_after=retry_after))
        with pytest.raises(CallLimitError):
            await xero.books.write([draft], "key-1")
    assert invoice.payments == []
    assert xero.sandbox.requests.count("/api.xro/", method="PUT") == 2


async def test_elements_that_are_refused_in_a_good_answer_are_refused(xero: Opened, invoice: Invoice) -> None:
    for kind in KINDS:
        xero.sandbox.faults.add(FaultRule(FaultKind.ELEMENT_ERROR, method="PUT", body="Not today"))
        (refused,) = await xero.books.write([draft_of(kind, xero, invoice)], f"key-{kind}")
        assert refused == Written(messages=("Not today",))
        assert await marked(xero, kind) == []


@pytest.mark.parametrize("kind", [RecordKind.PAYMENT, RecordKind.BATCH_PAYMENT])
async def test_a_bookkeeper_who_pays_first_is_told_of_in_both_of_xeros_sentences(
    xero: Opened, invoice: Invoice, kind: RecordKind
) -> None:
    xero.sandbox.faults.add(FaultRule(FaultKind.BOOKKEEPER_PAYS))
    (refused,) = await xero.books.write([draft_of(kind, xero, invoice)], "key-1")
    assert refused.messages == (
        "Payment amount exceeds the amount outstanding on this document",
        "Payments can only be made against Authorised documents",
    )
    assert [one.reference for one in invoice.payments] == ["Paid by the bookkeeper"]


async def test_a_scope_that_is_missing_means_that_nothing_was_done(xero: Opened, invoice: Invoice) -> None:
    xero.tokens.email = "stan.standard@example.com"  # who agreed to nothing before
    xero.tokens.scopes = tuple(scope for scope in xero.tokens.scopes if scope != "accounting.banktransactions")
    with pytest.raises(ScopeMissingError):
        await xero.books.write([draft_of(RecordKind.OVERPAYMENT, xero, invoice)], "key-1")


async def test_reads_for_exports_are_repeated_like_all_reads(xero: Opened, invoice: Invoice) -> None:
    (made,) = await xero.books.write([draft_of(RecordKind.PAYMENT, xero, invoice)], "key-1")
    xero.sandbox.faults.add(FaultRule(FaultKind.UNAVAILABLE, method="GET"))
    xero.sandbox.faults.add(FaultRule(FaultKind.TRUNCATED, method="GET"))
    assert await marked(xero, RecordKind.PAYMENT) == [made.xero_id]
    xero.sandbox.faults.add(FaultRule(FaultKind.OFFLINE, method="GET", times=None))
    with pytest.raises(XeroUnavailableError) as trouble:
        await xero.books.status_of(RecordKind.PAYMENT, made.xero_id)
    assert not isinstance(trouble.value, AnswerLostError)
