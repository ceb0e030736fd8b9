"""Promise: who was erased in Xero is erased here, with all that names or describes them, and nobody else is."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal

import pytest
from sqlalchemy import select

from databases import METADATA
from off_balance import ALL_STATES, customer_with_everything
from servers import ROOMY, Service, service
from tieout import errors
from tieout.v1 import reconciliation_service_pb2 as pb
from tieout.v1.connection_service_pb2 import Connection, EraseCustomerResponse
from tieout.v1.receivables_service_pb2 import Invoice
from tieout.v1.sync_service_pb2 import ContactVerdict, ExplainContactResponse, SyncMode
from tieout.v1.types_pb2 import Money
from tieout_sandbox import FaultKind, FaultRule, Sandbox, SandboxSettings, serve
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.causes import Cause, bring_about
from tieout_sandbox.books.documents import Contact, Person, Phone
from tieout_server.events import feed
from tieout_server.storage import erasure
from tieout_server.storage.database import Database
from tieout_server.syncs.erasures import Erasures
from tieout_server.work.engine import Job, LostLeaseError

pytestmark = [pytest.mark.timeout(90), pytest.mark.in_turn]

QUICK = 60.0
BOOKS = SandboxSettings(contacts=12, invoices=40, speed=QUICK)
WORDS = ("quartermaine", "wilhelmina", "minnie", "55 66 77", "qm-0815", "acc-4711", "moved to the coast")
"""What names or describes the person, or the contact that was merged into her, in small letters."""
HER_NOTE = "Wilhelmina Quartermaine moved to the coast."


@pytest.fixture(autouse=True)
def quiet_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watch say soon that this was all."""
    monkeypatch.setattr(feed, "HEARTBEAT", 0.2)


@dataclass
class Around:
    """A connection with two customers who are off balance, of whom one is to be erased."""

    sandbox: Sandbox
    database_url: str
    running: Service
    connection: Connection
    her: Contact
    loser: Contact
    other: Contact
    resume: str = ""
    """A token of before any discrepancy."""
    discrepancies: dict[str, str] = field(default_factory=dict)
    """By contact."""
    case: str = ""

    async def read_again(self) -> None:
        """Read everything anew."""
        await self.running.sync(self.connection.id, mode=SyncMode.SYNC_MODE_FULL)

    async def told(self) -> str:
        """All that stands in any table, and all that is answered about this connection, in small letters."""
        return f"{await self._stored()}\n{await self._answered()}".lower()

    async def _stored(self) -> str:
        database = Database(self.database_url)
        async with database.read() as tx:
            rows = [(table.name, *row) for table in METADATA.sorted_tables for row in await tx.execute(select(table))]
        await database.close()
        return "\n".join(map(str, rows))

    async def _answered(self) -> str:
        client, of = self.running.client, self.connection.id
        answers = [
            [one async for one in client.receivables.list_customers(of)],
            [one async for one in client.receivables.list_invoices(of)],
            [one async for one in client.receivables.list_payments(of)],
            [one async for one in client.reconciliations.list_discrepancies(of, states=ALL_STATES)],
            await self.explain(self.her),
            await self.explain(self.loser),
            await self.heard(after=self.resume),
            await self.heard(from_start=True),
            [one async for one in client.connections.list_audit_events()],
            await self._evidence(),
        ]
        return "\n".join(map(str, answers))

    async def explain(self, contact: Contact) -> ExplainContactResponse:
        """Why this contact is or is not here."""
        return await self.running.client.syncs.explain_contact(self.connection.id, xero_contact_id=contact.id)

    async def heard(self, *, after: str = "", from_start: bool = False) -> list[pb.WatchDiscrepanciesResponse]:
        """What a watch tells until it is quiet."""
        watch = self.running.client.reconciliations.watch_discrepancies(
            self.connection.id, after=after, from_start=from_start
        )
        heard: list[pb.WatchDiscrepanciesResponse] = []
        async with aclosing(watch) as messages:
            async for message in messages:
                if message.HasField("heartbeat"):
                    return heard
                heard.append(message)
        raise AssertionError("a watch has no end")

    async def _evidence(self) -> str:
        parts = [one async for one in self.running.client.reconciliations.export_evidence(case_id=self.case)]
        with zipfile.ZipFile(io.BytesIO(b"".join(part.chunk for part in parts))) as archive:
            return "\n".join(archive.read(name).decode("utf-8-sig") for name in archive.namelist())

    async def left(self) -> list[str]:
        """The words that are still told."""
        told = await self.told()
        return [word for word in WORDS if word in told]

    async def erased(self) -> None:
        """Wait until nothing is left."""
        async with asyncio.timeout(40):
            while await self.left():  # noqa: ASYNC110 - it is told in many places, and no event says so of all
                await asyncio.sleep(0.1)

    async def of_other(self) -> list[str]:
        """The customer who is not to be erased, as they are told of, but for when."""
        client = self.running.client
        customer = await client.receivables.get_customer(self.connection.id, self.other.id)
        found = await client.reconciliations.get_discrepancy(self.discrepancies[self.other.id])
        customer.ClearField("updated_at")
        found.ClearField("updated_at")
        return [*str(customer).splitlines(), *str(found).splitlines()]


def described(books: Books) -> tuple[Contact, Contact]:
    """A person with everything that a contact can say of one, and one who was merged into her."""
    her = customer_with_everything(books)
    books.rename_contact(her.id, "Wilhelmina Quartermaine")
    her.first_name, her.last_name, her.email = "Wilhelmina", "Quartermaine", "w@quartermaine.example"
    her.contact_number, her.account_number = "QM-0815", "ACC-4711"
    her.phones = (Phone("MOBILE", "55 66 77"),)
    her.persons = (Person("Minnie", "Quartermaine", "minnie@quartermaine.example", include_in_emails=True),)
    loser = books.create_contact("Minnie Quartermaine", email="old@quartermaine.example")
    books.create_invoice(loser.id, Decimal("12.50"))
    return her, loser


@asynccontextmanager
async def open_books(**switches: bool) -> AsyncIterator[Sandbox]:
    """A sandbox with these switches, and limits that nobody meets."""
    async with serve(BOOKS) as sandbox:
        sandbox.limits.quota = ROOMY
        for name, value in switches.items():
            setattr(sandbox.switches, name, value)
        yield sandbox


@asynccontextmanager
async def noted(sandbox: Sandbox, database_url: str) -> AsyncIterator[Around]:
    """Two customers of whom something is noted everywhere."""
    her, loser = described(sandbox.books)
    other = customer_with_everything(sandbox.books)
    async with service(sandbox, database_url, clock_speed=QUICK) as running:
        around = Around(sandbox, database_url, running, await running.connected(), her, loser, other)
        sandbox.books.merge_contact(loser.id, her.id)
        await around.read_again()
        async with aclosing(running.client.reconciliations.watch_discrepancies(around.connection.id)) as messages:
            around.resume = (await anext(messages)).resume_token
        await note(around, her, HER_NOTE)
        await note(around, other, "This one is known.")
        await submit_balances(around)
        yield around


async def note(around: Around, contact: Contact, words: str) -> None:
    """Have a discrepancy of this customer, with a note and a case."""
    calls, of = around.running.client.reconciliations, around.connection.id
    bring_about(around.sandbox.books, Cause.DRAFT_COUNTED, contact.id)
    found = (await calls.reconcile_customer(of, contact.id)).discrepancies[0]
    await calls.acknowledge_discrepancy(found.id, note=words)
    around.discrepancies[contact.id] = found.id
    case = await calls.report_discrepancy(of, words, customer_ids=[contact.id])
    around.case = around.case or case.id


async def submit_balances(around: Around) -> None:
    """Hand over what both owe by the caller's own books."""
    nzd = Money(currency_code="NZD", amount="77.10")
    both = [pb.PlatformBalance(customer_id=one.id, balance=nzd) for one in (around.her, around.other)]
    stated = pb.SubmitPlatformBalancesRequest(connection_id=around.connection.id, balances=both)
    stated.as_of.GetCurrentTime()

    async def once() -> AsyncIterator[pb.SubmitPlatformBalancesRequest]:
        yield stated

    await around.running.client.reconciliations.submit_platform_balances(once())


def back_as_she_was(around: Around) -> Callable[[], None]:
    """What makes the sandbox show her again as it did before, in the same version: an answer that is late."""
    was = {it.name: getattr(around.her, it.name) for it in fields(around.her)}

    def show() -> None:
        for name, value in was.items():
            setattr(around.her, name, value)

    return show


async def invoices_of(around: Around, contact: Contact) -> list[Invoice]:
    listed = around.running.client.receivables.list_invoices(around.connection.id)
    return [one async for one in listed if one.customer_id == contact.id]


async def is_told_as_over(around: Around) -> None:
    """Whoever watches hears that her discrepancy is over, and of what it was nothing."""
    hers = around.discrepancies[around.her.id]
    with pytest.raises(errors.NotFoundError):
        await around.running.client.reconciliations.get_discrepancy(hers)
    heard = [it.change for it in await around.heard(after=around.resume) if it.change.discrepancy.id == hers]
    assert heard[-1].event.state == pb.DISCREPANCY_STATE_RESOLVED
    assert {it.event.sentence for it in heard} == {erasure.ERASED}
    (explained,) = (await around.explain(around.loser)).explanations
    assert (explained.verdict, explained.customer_id) == (ContactVerdict.CONTACT_VERDICT_ERASED, "")


@pytest.mark.parametrize("is_plain", [True, False], ids=["redacted and told", "kept by law and silent"])
async def test_who_is_erased_in_xero_is_erased_here_and_stays_so(database_url: str, *, is_plain: bool) -> None:
    switches = {"erased_contacts_are_redacted": is_plain, "erasing_moves_updated": is_plain}
    async with open_books(**switches) as sandbox, noted(sandbox, database_url) as around:
        assert await around.left() == list(WORDS), "or nothing would be erased"
        other, invoices = await around.of_other(), await invoices_of(around, around.her)
        show_again = back_as_she_was(around)
        around.sandbox.books.erase_contact(around.her.id)
        await around.read_again()
        await around.erased()
        await is_told_as_over(around)
        show_again()
        around.sandbox.books.moved(around.loser)
        await around.read_again()
        await around.erased()
        assert await around.of_other() == other
        assert [it.id for it in await invoices_of(around, around.her)] == [it.id for it in invoices]


async def test_an_erasure_that_a_dead_process_left_is_done_by_the_next(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = asyncio.Event()

    async def die(_erasures: Erasures, _job: Job) -> None:
        taken.set()
        raise LostLeaseError("this process counts as dead")

    async with open_books() as sandbox:
        with monkeypatch.context() as patch:
            patch.setattr(Erasures, "perform", die)
            async with noted(sandbox, sqlite_url) as around:
                sandbox.books.erase_contact(around.her.id)
                await around.read_again()
                async with asyncio.timeout(30):
                    await taken.wait()
                assert HER_NOTE.lower() in await around.told()
        async with service(sandbox, sqlite_url, clock_speed=QUICK) as running:
            await replace(around, running=running).erased()


async def test_at_once_where_xero_has_erased_them_and_never_before(database_url: str) -> None:
    async with open_books() as sandbox, noted(sandbox, database_url) as around:
        client, of, her = around.running.client, around.connection.id, around.her
        before = await around.left()
        with pytest.raises(errors.ContactNotErasedError, match="erased in Xero first"):
            await client.connections.erase_customer(of, her.id)
        del sandbox.books.contacts[her.id]  # Xero no longer knows her
        sandbox.books.silent(around.other)  # what was answered before is written anew
        would = await client.connections.erase_customer(of, her.id, dry_run=True)
        assert await around.left() == before
        done = await client.connections.erase_customer(of, around.loser.id, request_id="r1")
        assert await around.left() == []
        assert counts(done) == counts(would) | {"comparisons": counts(done)["comparisons"]}
        assert counts(done).items() >= EVERYTHING.items()
        assert await client.connections.erase_customer(of, around.loser.id, request_id="r1") == done
        again = counts(await client.connections.erase_customer(of, her.id))
        assert [again[kind] for kind in EVERYTHING] == [0] * len(EVERYTHING)
        on_record = [it.method async for it in client.connections.list_audit_events()]
        assert on_record.count("ConnectionService.EraseCustomer") == 4
        with pytest.raises(errors.NotFoundError):
            await client.connections.erase_customer(of, "nobody")
        other = await around.of_other()
        sandbox.faults.add(FaultRule(FaultKind.LIMIT_DAY, "/Contacts$", times=1_000))
        with pytest.raises(errors.CallLimitError):
            await client.connections.erase_customer(of, around.other.id)
        assert await around.of_other() == other


def counts(answer: EraseCustomerResponse) -> dict[str, int]:
    return {it.kind: it.rows for it in answer.counts}


EVERYTHING = {"cases": 1, "customers": 2, "discrepancies": 1, "platform_balances": 1}
"""Beside what was compared, which goes on by itself."""
