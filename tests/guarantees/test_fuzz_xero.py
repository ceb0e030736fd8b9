"""Promise: whatever Xero answers ends as one of our errors or as exactly what it says, soon; then a good answer works.

Every read and write is made against a server that spoils what the sandbox answers: structure, bytes, HTTP itself.
"""

import asyncio
import contextlib
import json
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psutil
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import SecretStr

from databases import add_connection
from fuzzing import damaged, examples, lasting, spoiled
from hostile_xero import LEFT, HostileXero, Reply, Spoil, hostile_xero
from sandbox_caller import Caller
from sandbox_writer import Writer
from tieout_sandbox import Sandbox, SandboxSettings, serve
from tieout_server.clock import SystemClock
from tieout_server.errors import TieoutError
from tieout_server.ledger.books import Page, Purpose, Query, TokenSet
from tieout_server.ledger.calls import CallsInMemory
from tieout_server.ledger.documents import Entity, Invoice
from tieout_server.ledger.writes import (
    BatchDraft,
    BatchPart,
    Deletion,
    Draft,
    OverpaymentDraft,
    PaymentDraft,
    RecordKind,
)
from tieout_server.settings import Settings
from tieout_server.storage import mirror
from tieout_server.storage.database import Database
from tieout_server.xero.books import XeroBooks, XeroLibrary
from tieout_server.xero.limits import Limits
from tieout_server.xero.listings import LISTINGS
from tieout_server.xero.oauth import XeroIdentity
from tieout_server.xero.transport import ATTEMPTS, open_session

pytestmark = pytest.mark.timeout(120)

SPEED = 1_000.0
"""Pauses between attempts take milliseconds."""
SOON = 20.0
"""Seconds of ours that a call may take at most, on a machine that is busy with other things."""
CONNECTION = "con_fuzz"
VERIFIER = "a-code-verifier-of-at-least-forty-three-characters"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Around:
    """Our half of Xero, a hostile Xero, and the sandbox whose answers it spoils."""

    sandbox: Sandbox
    xero: HostileXero
    books: XeroBooks
    identity: XeroIdentity
    database: Database
    access_token: str
    refresh_token: str
    contact: str
    invoices: list[str]
    """Ids of invoices that take payments."""
    answers: dict[str, list[bytes]]
    """By call: what the sandbox answers to its requests."""

    @property
    def bank(self) -> str:
        return self.sandbox.books.bank_account("NZD").id

    def payment(self, *, number: int = 0) -> PaymentDraft:
        return PaymentDraft(
            xero_invoice_id=self.invoices[number], xero_account_id=self.bank, paid_on=date(2026, 11, 20),
            amount=Decimal("1.05"), reference=f"TIEFUZZ{number}",
        )  # fmt: skip

    async def write(self, *drafts: Draft) -> object:
        return await self.books.write(drafts, "key-of-the-fuzz")


Call = Callable[[Around], Awaitable[object]]


def read(entity: Entity) -> Call:
    return lambda around: around.books.read(Query(entity=entity, page_size=30), Purpose.POLL)


def by_ids(entity: Entity) -> Call:
    return lambda around: around.books.by_ids(entity, [around.contact, around.invoices[0]], Purpose.WEBHOOK)


def records(kind: RecordKind) -> Call:
    return lambda around: around.books.records_since(kind, SINCE)


def status(kind: RecordKind) -> Call:
    return lambda around: around.books.status_of(kind, around.invoices[0])


def batch(around: Around) -> Awaitable[object]:
    parts = tuple(
        BatchPart(xero_invoice_id=one, amount=Decimal("1.00"), reference="TIE") for one in around.invoices[:2]
    )
    return around.write(
        BatchDraft(xero_account_id=around.bank, paid_on=date(2026, 11, 20), reference="TIEFUZZ9", parts=parts)
    )


def overpayment(around: Around) -> Awaitable[object]:
    return around.write(
        OverpaymentDraft(
            xero_contact_id=around.contact,
            xero_account_id=around.bank,
            paid_on=date(2026, 11, 20),
            amount=Decimal("5.00"),
            currency="NZD",
            text="TIEFUZZ8",
        )
    )


CALLS: Mapping[str, Call] = {
    **{f"read {entity}": read(entity) for entity in Entity},
    **{f"{entity} by ids": by_ids(entity) for entity in (Entity.CONTACTS, Entity.INVOICES, Entity.CREDIT_NOTES)},
    **{f"records {kind}": records(kind) for kind in RecordKind},
    **{f"status {kind}": status(kind) for kind in RecordKind},
    "contacts like": lambda around: around.books.contacts_like("a", Purpose.PROBE),
    "report": lambda around: around.books.aged_receivables(around.contact, date(2026, 11, 22), Purpose.RECONCILIATION),
    "organisation": lambda around: around.books.organisation(Purpose.PROBE),
    "users": lambda around: around.books.users(Purpose.PROBE),
    "actions": lambda around: around.books.actions(Purpose.PROBE),
    "payable": lambda around: around.books.payable(around.invoices, ["INV-1"], Purpose.PAYMENT_EXPORT),
    "lines": lambda around: around.books.invoice_lines(around.invoices[0], Purpose.PAYMENT_EXPORT),
    "pay": lambda around: around.write(around.payment(), around.payment(number=1)),
    "pay a batch": batch,
    "overpay": overpayment,
    "delete": lambda around: around.write(Deletion(record=RecordKind.PAYMENT, xero_id=around.invoices[0])),
    "note": lambda around: around.books.note(around.invoices[0], "Paid.", "key-of-a-note"),
    "refresh": lambda around: around.identity.refresh(around.refresh_token),
    "exchange": lambda around: around.identity.exchange(code="a-code", code_verifier=VERIFIER),
    "keys": lambda around: around.identity._fetch_keys(),
    "memberships": lambda around: around.identity.memberships(around.access_token),
    "disconnect": lambda around: around.identity.disconnect(around.access_token, around.contact),
    "revoke": lambda around: around.identity.revoke("a-refresh-token"),
}
"""Everything that is ever asked of Xero."""


@pytest.fixture(scope="module")
def around(loop: asyncio.Runner, lasting_database_url: str) -> Iterator[Around]:
    with lasting(loop, lambda stack: opened(stack, lasting_database_url)) as made:
        yield made


async def opened(stack: AsyncExitStack, database_url: str) -> Around:
    sandbox = await stack.enter_async_context(serve(SandboxSettings(contacts=20, invoices=60)))
    xero = await stack.enter_async_context(hostile_xero(sandbox.url))
    settings = Settings(
        xero_api_url=xero.url, xero_identity_url=xero.url, xero_client_id="tieout-sandbox-app",
        xero_client_secret=SecretStr("sandbox-secret"), xero_timeout=timedelta(seconds=5),
    )  # fmt: skip
    session, clock = await stack.enter_async_context(open_session(settings)), SystemClock(SPEED)
    library = XeroLibrary(session, settings, clock, CallsInMemory(), Limits(clock))
    database = Database(database_url)
    stack.push_async_callback(database.close)
    await add_connection(database, CONNECTION)
    (app,) = sandbox.authority.apps.values()
    user = sandbox.authority.user_by_email("ada.adviser@example.com")
    assert user is not None
    scopes = (*settings.xero_scopes.split(), "offline_access")
    code = sandbox.authority.consent(app, user, sandbox.organisations[:1], scopes, ("http://localhost/", None))
    given = sandbox.authority.redeem(app, code, "http://localhost/", None)
    tokens = _Fixed(str(given["access_token"]))
    books = library.open(sandbox.organisations[0].id, tokens)
    contact = Writer(Caller(sandbox, session)).customer()
    invoices = [sandbox.books.create_invoice(contact.id, Decimal("100.00")).id for _ in range(3)]
    made = Around(
        sandbox=sandbox, xero=xero, books=books, identity=XeroIdentity(session, settings, clock), database=database,
        access_token=tokens.token, refresh_token=str(given["refresh_token"]), contact=contact.id, invoices=invoices,
        answers={},
    )  # fmt: skip
    for name, call in CALLS.items():
        before = len(xero.answered)
        await settled(call(made))
        made.answers[name] = list(dict.fromkeys(xero.answered[before:]))
    return made


@dataclass
class _Fixed:
    token: str

    async def access_token(self, *, refused: str | None = None) -> str:  # noqa: ARG002 - there is one
        return self.token


async def settled(call: Awaitable[object]) -> object:
    """What a call answers, or the error of ours that it ends with; any other error is a fault."""
    try:
        async with asyncio.timeout(SOON):
            return await call
    except TieoutError as refusal:
        assert_told(refusal)
        return refusal


def assert_told(error: TieoutError) -> None:
    """What an error says can be kept and shown: it is short, and without what no text may hold."""
    told = f"{error.sentence} {dict(error.facts)}"
    assert len(told) < 4_000
    assert "\x00" not in error.sentence
    assert not any("\x00" in fact for fact in error.facts.values())
    told.encode()


async def spoiling(around: Around, name: str, spoil: Spoil) -> object:
    """What this call comes to while Xero answers so; and that a good answer works right afterwards."""
    around.xero.spoil = spoil
    asked = len(around.xero.requests)
    answered = len(around.xero.answered)
    try:
        outcome = await settled(CALLS[name](around))
    except BaseException:
        replies = [spoil(genuine) for genuine in around.xero.answered[answered:]]
        print(name, *(f"{reply!r:.3000}" for reply in replies), sep="\n")  # noqa: T201 - what nobody may see again
        raise
    finally:
        around.xero.spoil = None
    assert len(around.xero.requests) - asked <= 4 * ATTEMPTS, "it is asked again and again"
    await around.books.organisation(Purpose.PROBE)
    return outcome


@given(name=st.sampled_from(sorted(CALLS)), data=st.data())
@examples(100)
def test_another_structure_is_an_error_or_taken_as_it_is(
    around: Around, loop: asyncio.Runner, name: str, data: st.DataObject
) -> None:
    genuine = data.draw(st.sampled_from(around.answers[name]))
    body = data.draw(spoiled(genuine) if genuine.startswith((b"{", b"[")) else damaged(genuine))

    async def case() -> None:
        outcome = await spoiling(around, name, lambda answer: Reply(body) if answer == genuine else None)
        event(type(outcome).__name__)
        if isinstance(outcome, Page):
            if name.startswith("read"):
                assert_as_said(outcome, LISTINGS[Entity(name.removeprefix("read "))].path, body)
            await assert_can_be_kept(around.database, outcome)
        if isinstance(outcome, TokenSet):
            assert outcome.refresh_token not in {"None", ""}

    loop.run(case())


def assert_as_said(page: Page, collection: str, body: bytes) -> None:
    """A page has every row of the answer that it was read from, and every digit."""
    rows = json.loads(body, parse_float=Decimal, parse_int=Decimal)[collection]
    assert len(page.documents) + len(page.skipped_ids) == len(rows)
    told = {str(row.get("InvoiceID", "")): row for row in rows}
    for document in page.documents:
        if isinstance(document, Invoice) and len(told) == len(rows) and document.xero_invoice_id in told:
            row = told[document.xero_invoice_id]
            assert (document.due, document.total) == (Decimal(row["AmountDue"]), Decimal(row["Total"]))


class _UndoneError(Exception):
    pass


async def assert_can_be_kept(database: Database, page: Page) -> None:
    """It can be saved, or is refused as what it is; either way nothing stays."""
    with contextlib.suppress(_UndoneError, TieoutError):
        async with database.write() as tx:
            await mirror.save(tx, CONNECTION, page.documents, seen_in=1, at=datetime.now(UTC))
            raise _UndoneError


STATUSES = ("200 OK", "204 No Content", "304 Not Modified", "400 Bad Request", "401 Unauthorized", "403 Forbidden",
            "404 Not Found", "408 Timeout", "409 Conflict", "418 Teapot", "500 Oops", "503 Away", "999 x")  # fmt: skip


BEFORE = (b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", b"\r\n", b"\0")


@st.composite
def replies(draw: st.DrawFn, genuine: bytes) -> Reply:
    """An answer whose bytes, status and framing do not fit."""
    body = draw(damaged(genuine))
    gzipped = draw(st.integers(0, 3))
    headers: tuple[tuple[str, str], ...] = LEFT
    if gzipped:
        headers = (*LEFT, ("Content-Encoding", draw(st.sampled_from(["gzip", "gzip", "br", "GZIP, gzip"]))))
        packed = zlib.compressobj(wbits=31)
        body = packed.compress(body) + packed.flush() if gzipped > 1 else body
        body = body[: draw(st.integers(0, len(body)))] if gzipped > 2 else body
    length = draw(st.sampled_from([None, None, None, len(body) + 7, max(0, len(body) - 7), -1]))
    before = draw(st.sampled_from(BEFORE))
    return Reply(body, draw(st.sampled_from(STATUSES)), headers, before, length)


@given(name=st.sampled_from(sorted(CALLS)), data=st.data())
@examples(40)
def test_other_bytes_are_an_error(around: Around, loop: asyncio.Runner, name: str, data: st.DataObject) -> None:
    genuine = data.draw(st.sampled_from(around.answers[name]))
    reply = data.draw(replies(genuine))
    outcome = loop.run(spoiling(around, name, lambda answer: reply if answer == genuine else None))
    event(type(outcome).__name__)


def test_what_was_fuzzed_left_nothing_behind(around: Around, loop: asyncio.Runner) -> None:
    """Tasks, threads and open files are as many after 80 spoiled answers as they were after 20."""

    async def spoil(times: int) -> tuple[int, int, int]:
        for number in range(times):
            name = sorted(CALLS)[number % len(CALLS)]
            await spoiling(around, name, lambda _: Reply(b'{"a": [', length=99))
        async with asyncio.timeout(SOON):
            while around.xero.connections:  # noqa: ASYNC110 - of the server's, which set no event
                await asyncio.sleep(0.01)
        ours = psutil.Process()
        return len(asyncio.all_tasks()), ours.num_fds(), ours.num_threads()

    async def case() -> None:
        before, after = await spoil(20), await spoil(60)
        assert all(now <= then + 2 for now, then in zip(after, before, strict=True)), (before, after)

    loop.run(case())
