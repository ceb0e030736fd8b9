"""ExplainContact from a client's side: every verdict about the sandbox's contacts, asking Xero only where it must."""

import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from servers import SMALL, Service, service
from tieout import errors
from tieout.v1 import sync_service_pb2 as pb
from tieout_sandbox import CreditKind, FaultKind, FaultRule, InvoiceType, Sandbox, serve
from tieout_sandbox.books.documents import Contact, ContactStatus

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@dataclass
class Support:
    """Somebody who is asked why a contact is or is not here."""

    running: Service
    sandbox: Sandbox
    connection_id: str

    async def ask(self, **named: str) -> Sequence[pb.ContactExplanation]:
        """What is answered."""
        return (await self.running.client.syncs.explain_contact(self.connection_id, **named)).explanations

    async def ask_one(self, contact: Contact) -> pb.ContactExplanation:
        (answer,) = await self.ask(xero_contact_id=contact.id)
        return answer

    @property
    def calls(self) -> int:
        """Calls that were made to Xero about contacts."""
        return len(self.sandbox.requests.find(path="/api.xro/2.0/Contacts"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def support(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Support]:
    """One server for all tests here, which has read these books."""
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path_factory.mktemp('explained') / 'tieout.db')}"
    async with serve(SMALL) as sandbox, service(sandbox, url) as running:
        books = sandbox.books
        supplier = books.create_contact("Paper Mill", "bills@mill.example")
        books.create_invoice(supplier.id, Decimal(10), type_=InvoiceType.ACCPAY)
        books.create_contact("Only Entered")
        books.archive_contact(books.create_contact("Long Gone").id)
        winner, loser = books.create_contact("Winner Ltd"), books.create_contact("Loser Ltd")
        for contact in (winner, loser):
            books.create_invoice(contact.id, Decimal(10))
        books.merge_contact(loser.id, winner.id)
        for name, makes_customers in (("Paid Ahead", False), ("Known For It", True)):
            sandbox.switches.credits_make_customers = makes_customers
            books.create_credit(CreditKind.OVERPAYMENT, books.create_contact(name).id, Decimal("12.50"))
        connection = await running.connected()
        yield Support(running, sandbox, connection.id)


async def test_a_customer_is_explained_from_the_copy(support: Support) -> None:
    before = support.calls
    (answer,) = await support.ask(name="WINNER ltd")
    assert answer.verdict == pb.CONTACT_VERDICT_IMPORTED
    assert (answer.sentence, answer.customer_id) == ('"Winner Ltd" is here as a customer.', answer.xero.xero_contact_id)
    assert (answer.asked_xero, answer.xero.is_customer, answer.xero.status) == (False, True, "ACTIVE")
    assert answer.HasField("as_of")
    assert support.calls == before


@pytest.mark.parametrize(("name", "is_customer"), [("Paid Ahead", False), ("Known For It", True)])
async def test_who_has_nothing_but_a_credit_is_here_whatever_xero_calls_them(
    support: Support, name: str, *, is_customer: bool
) -> None:
    (answer,) = await support.ask(name=name)
    assert (answer.verdict, answer.xero.is_customer) == (pb.CONTACT_VERDICT_IMPORTED, is_customer)
    customer = await support.running.client.receivables.get_customer(support.connection_id, answer.customer_id)
    assert [(one.currency_code, one.amount) for one in customer.unapplied] == [("NZD", "12.50")]


async def test_an_archived_customer_with_a_balance_is_here_and_the_sentence_says_so(support: Support) -> None:
    listed = [c async for c in support.running.client.receivables.list_customers(support.connection_id)]
    archived = next(c for c in listed if c.archived_with_balance)
    (answer,) = await support.ask(xero_contact_id=archived.xero_contact_id)
    assert (answer.verdict, answer.customer_id) == (pb.CONTACT_VERDICT_IMPORTED, archived.id)
    assert "balance is not settled" in answer.sentence


async def test_a_merged_contact_names_the_customer_that_it_is_now(support: Support) -> None:
    before = support.calls
    (answer,) = await support.ask(name="Loser Ltd")
    (winner,) = await support.ask(name="Winner Ltd")
    assert answer.verdict == pb.CONTACT_VERDICT_MERGED
    assert answer.customer_id == answer.xero.merged_to_xero_contact_id == winner.customer_id
    assert answer.sentence.startswith('"Loser Ltd" was merged into "Winner Ltd" in Xero.')
    assert support.calls == before


async def test_an_erased_contact_is_explained_without_asking(support: Support) -> None:
    erased = next(c for c in support.sandbox.books.contacts.values() if c.status is ContactStatus.GDPRREQUEST)
    before = support.calls
    answer = await support.ask_one(erased)
    assert (answer.verdict, answer.customer_id) == (pb.CONTACT_VERDICT_ERASED, "")
    assert "GDPR" in answer.sentence
    assert support.calls == before


@pytest.mark.parametrize(
    ("name", "verdict", "words"),
    [
        ("Paper Mill", pb.CONTACT_VERDICT_SUPPLIER_ONLY, "only a supplier"),
        ("Only Entered", pb.CONTACT_VERDICT_NO_RECEIVABLES_YET, "no sales invoice"),
        ("Long Gone", pb.CONTACT_VERDICT_ARCHIVED, "archived in Xero and owes nothing"),
    ],
)
async def test_of_what_is_no_customer_here_xero_is_asked_once(
    support: Support, name: str, verdict: pb.ContactVerdict.ValueType, words: str
) -> None:
    before = support.calls
    (answer,) = await support.ask(name=name.lower())
    assert (answer.verdict, answer.asked_xero, answer.customer_id) == (verdict, True, "")
    assert answer.sentence.startswith(f'"{name}"')
    assert words in answer.sentence
    assert support.calls == before + 1


async def test_a_contact_can_be_named_by_email_address_and_by_number(support: Support) -> None:
    (answer,) = await support.ask(email="Bills@Mill.example")
    assert answer.xero.name == "Paper Mill"
    numbered = next(c for c in support.sandbox.books.contacts.values() if c.contact_number and c.is_customer)
    (answer,) = await support.ask(contact_number=numbered.contact_number or "")
    assert answer.xero.xero_contact_id == numbered.id


async def test_what_xero_does_not_know_is_said_in_one_sentence(support: Support) -> None:
    for named, what in (
        ({"name": "Nobody"}, 'name "Nobody"'),
        ({"email": "no@body.example"}, 'email address "no@body.example"'),
        ({"contact_number": "N-1"}, 'contact number "N-1"'),
        ({"xero_contact_id": UNKNOWN_ID}, f'id "{UNKNOWN_ID}"'),
        ({"xero_contact_id": "no id"}, 'id "no id"'),
    ):
        (answer,) = await support.ask(**named)
        assert answer.verdict == pb.CONTACT_VERDICT_NOT_FOUND_IN_XERO
        assert answer.sentence == f"Xero has no contact with the {what}, neither active nor archived."
        assert not answer.HasField("xero")


async def test_what_is_in_xero_and_not_here_yet_comes_with_the_next_sync(support: Support) -> None:
    books = support.sandbox.books
    contact = books.create_contact("Brand New", "new@brand.example")
    books.create_invoice(contact.id, Decimal(10))
    before = support.calls
    (answer,) = await support.ask(email="new@brand.example")
    assert (answer.verdict, answer.asked_xero) == (pb.CONTACT_VERDICT_NOT_SYNCED_YET, True)
    assert support.calls == before + 1
    await support.running.sync(support.connection_id)
    (answer,) = await support.ask(name="Brand New")
    assert (answer.verdict, answer.customer_id) == (pb.CONTACT_VERDICT_IMPORTED, contact.id)


async def test_a_contact_that_became_a_customer_without_a_trace_is_noticed(support: Support) -> None:
    contact = next(c for c in support.sandbox.books.contacts.values() if c.name == "Only Entered")
    support.sandbox.books.create_invoice(contact.id, Decimal(10))  # moves IsCustomer, not UpdatedDateUTC
    (answer,) = await support.ask(name="Only Entered")
    assert (answer.verdict, answer.asked_xero) == (pb.CONTACT_VERDICT_NOT_SYNCED_YET, True)


async def test_while_xero_cannot_be_asked_the_copy_answers_as_far_as_it_can(support: Support) -> None:
    support.sandbox.faults.add(FaultRule(FaultKind.LIMIT_DAY, "/Contacts$", times=1_000))
    try:
        (answer,) = await support.ask(name="Paper Mill")
        assert (answer.verdict, answer.asked_xero) == (pb.CONTACT_VERDICT_SUPPLIER_ONLY, False)
        with pytest.raises(errors.TryAgainError):
            await support.ask(name="Nobody")
    finally:
        support.sandbox.faults.clear()


async def test_what_is_asked_has_to_be_stated_and_the_connection_has_to_exist(support: Support) -> None:
    with pytest.raises(errors.InvalidRequestError):
        await support.ask()
    with pytest.raises(errors.NotFoundError):
        await support.running.client.syncs.explain_contact("con_none", name="x")
