"""Every cause of a difference: what it does to Xero's figure and to the documents, and what nobody is told of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import aiohttp
import pytest

from sandbox_caller import Caller
from tieout_sandbox import CreditKind, Sandbox, Status
from tieout_sandbox.books.balances import balances_of
from tieout_sandbox.books.causes import (
    AHEAD,
    CROSSED,
    DRAFT,
    LATE,
    LATE_FEE,
    OVERRIDE,
    UNSEEN,
    Cause,
    Deed,
    bring_about,
    put_right,
)
from tieout_sandbox.books.documents import Contact, Invoice, InvoiceType, Target
from tieout_sandbox.books.rules import NotAllowedError, NotFoundError
from tieout_sandbox.state import dump, load

SILENT = [
    Cause.MISSING_DOCUMENT, Cause.STALE_DOCUMENT, Cause.MISSED_DELETION, Cause.UNALLOCATED_CREDIT,
    Cause.PAYMENT_REMOVED_IN_XERO,
]  # fmt: skip
MISREAD = [cause for cause in Cause if cause not in SILENT]


@dataclass
class World:
    """A customer that has every kind of document, all of them 20 minutes old."""

    sandbox: Sandbox
    kauri: Contact
    plain: Invoice
    part_paid: Invoice
    foreign: Invoice

    @property
    def stated(self) -> Decimal:
        return stated(self.sandbox, self.kauri)

    @property
    def documents(self) -> Decimal:
        """What the documents come to, in the base currency, all read as by everybody."""
        return added_up(self.kauri)

    def bring_about(self, cause: Cause) -> Deed:
        return bring_about(self.sandbox.books, cause, self.kauri.id)


def stated(sandbox: Sandbox, contact: Contact) -> Decimal:
    found = balances_of(contact, sandbox.books.today(), sandbox.switches)
    assert found is not None
    return found.receivable_outstanding


def added_up(contact: Contact) -> Decimal:
    def worth(one: Target) -> Decimal:
        amount = one.amount_due if isinstance(one, Invoice) else -one.remaining_credit
        return (amount / one.rate).quantize(Decimal("0.01"))

    sales = [one for one in contact.documents if not isinstance(one, Invoice) or one.type is InvoiceType.ACCREC]
    return sum((worth(one) for one in sales if one.status is Status.AUTHORISED), Decimal(0))


@pytest.fixture
def world(sandbox: Sandbox) -> Iterator[World]:
    books = sandbox.books
    kauri = books.create_contact("Kauri & Co")
    plain, part_paid = (books.create_invoice(kauri.id, Decimal(total)) for total in ("310.00", "200.00"))
    foreign = books.create_invoice(kauri.id, Decimal("80.00"), currency="EUR")
    books.pay(part_paid.id, Decimal("45.00"))
    books.create_credit(CreditKind.CREDIT_NOTE, kauri.id, Decimal("70.00"))
    sandbox.clock.advance(timedelta(minutes=20))
    made = World(sandbox, kauri, plain, part_paid, foreign)
    assert made.stated == made.documents
    yield made
    books.check()


@pytest.mark.parametrize("cause", SILENT)
async def test_a_silent_change_moves_the_figure_and_the_documents_and_nobody_is_told(
    caller: Caller, world: World, cause: Cause
) -> None:
    told: list[object] = []
    world.sandbox.books.observers.append(lambda document, _change, _at: told.append(document))
    before, since = world.stated, world.sandbox.clock.now()
    deed = world.bring_about(cause)
    loud = deed.documents[1:]  # an allocation is told of on the invoice's side
    assert told == list(loud)
    for name in ("Invoices", "CreditNotes", "Payments"):
        changed = await caller.rows(name, None, **{"If-Modified-Since": f"{since:%Y-%m-%dT%H:%M:%S}"})
        assert len(changed) == (len(loud) if name == "Invoices" else 0)
    assert world.stated == world.documents
    if cause is not Cause.UNALLOCATED_CREDIT:  # what the credit loses the invoice is less
        assert world.stated != before


def test_silent_changes_do_what_they_say(world: World) -> None:
    before = world.stated
    (fee,) = world.bring_about(Cause.STALE_DOCUMENT).documents
    assert (fee, world.stated) == (world.plain, before + LATE_FEE)
    (late,) = world.bring_about(Cause.MISSING_DOCUMENT).documents
    assert late.updated_at < world.sandbox.clock.now() - timedelta(days=1)
    assert world.stated == before + LATE_FEE + LATE
    (voided,) = world.bring_about(Cause.MISSED_DELETION).documents
    assert (voided, voided.status) == (late, Status.VOIDED), "the one that was changed longest ago"
    (open_again,) = world.bring_about(Cause.PAYMENT_REMOVED_IN_XERO).documents
    assert (open_again, world.part_paid.amount_due) == (world.part_paid, Decimal("200.00"))
    assert world.sandbox.switches.deleted_payments_in_delta is False
    credit, invoice = world.bring_about(Cause.UNALLOCATED_CREDIT).documents
    assert isinstance(invoice, Invoice)
    assert not isinstance(credit, Invoice)
    assert (credit.remaining_credit, invoice.amount_credited) == (Decimal("35.00"), Decimal("35.00"))


@pytest.mark.parametrize(
    ("cause", "moved"),
    [
        (Cause.ALLOCATION_ON_OTHER_CONTACT, -CROSSED),
        (Cause.CREDIT_NOT_NETTED, Decimal("70.00")),
        (Cause.ROUNDING, OVERRIDE),
        (Cause.FOREIGN_CURRENCY_MIX, Decimal("80.00") - Decimal("142.86")),
        (Cause.FUTURE_DATED, -AHEAD),
        (Cause.DRAFT_COUNTED, DRAFT),
        (Cause.UNEXPLAINED, UNSEEN),
    ],
)
def test_a_figure_reads_its_documents_otherwise_until_it_is_put_right(
    world: World, cause: Cause, moved: Decimal
) -> None:
    deed = world.bring_about(cause)
    assert world.stated == world.documents + moved
    assert deed.contact is world.kauri
    load(world.sandbox, dump(world.sandbox))
    books = world.sandbox.books
    world.kauri = books.contacts[world.kauri.id]
    assert world.stated == world.documents + moved, "a saved state knows it, too"
    assert put_right(books) == 1
    assert world.stated == world.documents


def test_an_allocation_that_crosses_contacts_moves_both_figures(world: World) -> None:
    credit, invoice = world.bring_about(Cause.ALLOCATION_ON_OTHER_CONTACT).documents
    assert credit.contact is world.kauri
    assert invoice.contact is not world.kauri
    assert stated(world.sandbox, invoice.contact) == added_up(invoice.contact) + CROSSED
    world.sandbox.books.remove_allocation(credit.allocations[0])
    assert stated(world.sandbox, invoice.contact) == added_up(invoice.contact)
    assert world.stated == world.documents


def test_a_figure_is_right_again_when_what_it_misreads_goes(world: World) -> None:
    books = world.sandbox.books
    (draft,) = world.bring_about(Cause.DRAFT_COUNTED).documents
    books.authorise(draft.id)
    assert world.stated == world.documents
    world.bring_about(Cause.FUTURE_DATED)
    world.sandbox.clock.advance(timedelta(days=29))
    assert world.stated == world.documents - AHEAD
    world.sandbox.clock.advance(timedelta(days=1))
    assert world.stated == world.documents
    world.bring_about(Cause.FOREIGN_CURRENCY_MIX)
    books.pay(world.foreign.id)
    assert world.stated == world.documents


@pytest.mark.parametrize("base", [True, False])
def test_currencies_are_mixed_under_either_reading(world: World, *, base: bool) -> None:
    world.sandbox.switches.balances_in_base_currency = base
    before = world.stated
    world.bring_about(Cause.FOREIGN_CURRENCY_MIX)
    raw, converted = Decimal("80.00"), Decimal("142.86")
    assert world.stated == before + (raw - converted if base else converted - raw)


async def test_the_aged_report_shows_what_no_document_does(caller: Caller, world: World) -> None:
    async def sections() -> list[list[str]]:
        response, _ = await caller.get("Reports/AgedReceivablesByContact", {"contactId": world.kauri.id})
        rows = (await response.json())["Reports"][0]["Rows"]
        return [[row["Cells"][-1]["Value"] for row in section["Rows"]] for section in rows[1:]]

    await caller.connect(scope="openid offline_access accounting.reports.aged.read accounting.contacts.read")
    opening, documents, closing = await sections()
    world.bring_about(Cause.UNEXPLAINED)
    later_opening, later_documents, later_closing = await sections()
    assert [Decimal(later_opening[0]), Decimal(later_closing[0])] == [
        Decimal(opening[0]) + UNSEEN, Decimal(closing[0]) + UNSEEN,
    ]  # fmt: skip
    assert later_documents == documents


@pytest.mark.parametrize("cause", Cause)
async def test_each_cause_is_one_call_and_finds_its_customer_itself(caller: Caller, cause: Cause) -> None:
    listed = await caller.control("GET", f"books/{caller.tenant_id}/causes")
    assert list(listed) == sorted(Cause, key=list(listed).index)
    answer = await caller.control("POST", f"books/{caller.tenant_id}/causes/{cause.lower()}")
    assert answer["cause"] == cause
    assert answer["said"].endswith(".")
    books = caller.sandbox.books
    contact = books.contacts[answer["contact_id"]]
    known = {one.id for found in books.contacts.values() for one in found.documents}
    assert (contact.name, contact.status) == (answer["contact"], "ACTIVE")
    assert {document["id"] for document in answer["documents"]} <= known
    differs = stated(caller.sandbox, contact) != added_up(contact)
    assert differs is (cause in MISREAD)
    answered = await caller.control("DELETE", f"books/{caller.tenant_id}/causes")
    assert (answered["put_right"] > 0) is differs
    books.check()


async def test_what_cannot_be_brought_about_is_said_and_changes_nothing(caller: Caller) -> None:
    books = caller.sandbox.books
    newcomer = books.create_contact("Nobody Yet")
    able = {Cause.MISSING_DOCUMENT, Cause.DRAFT_COUNTED, Cause.FUTURE_DATED, Cause.FOREIGN_CURRENCY_MIX,
            Cause.ALLOCATION_ON_OTHER_CONTACT}  # fmt: skip
    revision = books.revision
    for cause in set(Cause) - able:
        with pytest.raises(NotAllowedError):
            bring_about(books, cause, newcomer.id)
    with pytest.raises(NotFoundError):
        bring_about(books, Cause.ROUNDING, "nobody")
    assert books.revision == revision
    url = f"{caller.sandbox.url}/sandbox/books/{caller.tenant_id}/causes"
    assert await refusal(caller, f"{url}/ROUNDING", {"contact": "nobody"}) == 404
    assert await refusal(caller, f"{url}/ROUNDING", {"contact": newcomer.name.lower()}) == 400
    assert await refusal(caller, f"{url}/NONSENSE", {}) == 400


async def refusal(caller: Caller, url: str, body: object) -> int:
    answer: aiohttp.ClientResponse
    async with caller.http.post(url, json=body) as answer:
        assert (await answer.json())["error"]
        return answer.status


def test_where_no_figure_nets_credits_none_can_be_left_out(world: World) -> None:
    world.sandbox.switches.balances_net_credits = False
    with pytest.raises(NotAllowedError, match="nets credits"):
        world.bring_about(Cause.CREDIT_NOT_NETTED)
