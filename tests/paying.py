"""Books that take payments and lose answers, and processes that export to them and are killed.

The books behave as Xero does where it matters: a key makes a call happen once for 6 minutes, each draft is taken or
refused by itself, an invoice takes no more than is due, and who asks for records gets them with their markers.
"""
# ruff: noqa: ARG002 - a fake need not look at all that it is given

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from databases import show_life, take
from documents import invoice, payment
from fakes import VAULT, BooksOf, SettableClock, Xero, connecting
from places import alone
from tieout_server.errors import AnswerLostError, CallLimitError, RejectedError, TieoutError
from tieout_server.events.feed import Feed
from tieout_server.exports.means import EXPORT, NOTES, UPKEEP, Means
from tieout_server.exports.messages import ExportPayment, Reexport
from tieout_server.exports.preflight import Preflight
from tieout_server.exports.service import Exports
from tieout_server.exports.settings import SettingsOfExports
from tieout_server.exports.work import ExportWork
from tieout_server.ledger.books import AccessTokens, Page, Purpose, Query, WritableBooks
from tieout_server.ledger.documents import Account, Entity, Organisation
from tieout_server.ledger.exports import ExportSettings, PaymentExport, PaymentLine, PlatformPayment
from tieout_server.ledger.links import AuthorisedBy, Link
from tieout_server.ledger.writes import (
    BatchDraft,
    Deletion,
    Draft,
    Found,
    InvoiceLines,
    OverpaymentDraft,
    Payable,
    PaymentDraft,
    PaymentSeen,
    RecordKind,
    Written,
)
from tieout_server.storage import connections, export_settings, exports, mirror, work
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.work import Task
from tieout_server.syncs.means import Means as SyncMeans
from tieout_server.syncs.news import News
from tieout_server.syncs.service import Syncs
from tieout_server.work.engine import Engine, Job, Lane, LostLeaseError
from tieout_server.work.requests import Requests

CONNECTION = "con_1"
BANK = "bank-nzd"
PAID_ON = date(2026, 11, 20)
KEY_LIVES = timedelta(minutes=6)
EXCEEDS = "Payment amount exceeds the amount outstanding on this document"


class KilledError(Exception):
    """The process is gone."""


class MortalDatabase(Database):
    """A database whose process is killed right before or right after one of its commits."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.commits = 0
        self.dies_before: int | None = None
        self.dies_after: int | None = None

    @asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator[Transaction]:
        async with super().write(durable=durable) as tx:
            yield tx
            self.commits += 1
            if self.commits == self.dies_before:
                raise KilledError
        if self.commits == self.dies_after:
            raise KilledError


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A record in these books."""

    xero_id: str
    kind: RecordKind
    draft: Draft
    text: str
    status: str = "AUTHORISED"
    xero_invoice_id: str = ""
    amount: Decimal = Decimal(0)
    batch: str = ""


@dataclass
class PayingXero(Xero):
    """A Xero whose books take payments."""

    records: dict[str, Kept] = field(default_factory=dict)
    keys: dict[str, tuple[datetime, Sequence[Written]]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    """The keys of all writes that arrived."""
    faults: list[str | TieoutError | Callable[[], Any]] = field(default_factory=list)
    """What happens to the next writes: `before` and `after` lose the answer, an error is raised with nothing done, a
    function is called before the write arrives."""
    refusals: dict[str, str] = field(default_factory=dict)
    """What is said to drafts whose marked text has this in it."""
    notes: list[str] = field(default_factory=list)
    notes_wait_until: datetime | None = None
    """Until when a day's limit refuses them."""
    calls_left: int | None = None
    """How many records may be asked for one by one before the day has no more calls."""
    is_silent_about_deletions: bool = False
    """Whether listings leave out what is deleted."""
    unaskable: str = ""
    """The invoice for which a call is refused as a whole."""
    shows_references: bool = True
    """Whether invoices show the references of their payments."""
    shows_new: bool = True
    names_overpayments: bool = True
    """Whether the bank's side of an overpayment tells its id yet."""
    """Whether invoices show payments yet."""
    ids: Any = field(default_factory=lambda: itertools.count(1))
    listings: list[tuple[RecordKind, datetime]] = field(default_factory=list)

    def open(self, xero_tenant_id: str, tokens: AccessTokens) -> WritableBooks:
        return PayingBooks(self, xero_tenant_id)

    def paid(self, xero_invoice_id: str) -> list[Kept]:
        """The payments that count on this invoice."""
        return [
            one
            for one in self.records.values()
            if one.xero_invoice_id == xero_invoice_id and one.status == "AUTHORISED" and one.kind is RecordKind.PAYMENT
        ]

    def due(self, xero_invoice_id: str) -> Decimal:
        document = self.documents[Entity.INVOICES, xero_invoice_id]
        total: Decimal = document.total  # type: ignore[union-attr] # an invoice has one
        return total - sum((one.amount for one in self.paid(xero_invoice_id)), Decimal(0))

    def somebody_pays(self, xero_invoice_id: str, amount: str, text: str = "by hand") -> str:
        """A bookkeeper records a payment."""
        draft = PaymentDraft(
            xero_invoice_id=xero_invoice_id,
            xero_account_id=BANK,
            paid_on=PAID_ON,
            amount=Decimal(amount),
            reference=text,
        )
        return self._make(draft).xero_id

    def arrive(self, drafts: Sequence[Draft], key: str) -> Sequence[Written]:
        """A write reaches Xero."""
        self.calls.append(key)
        known = self.keys.get(key)
        if known and self.clock.now() - known[0] < KEY_LIVES:
            return known[1]
        answers = [self._make(draft) for draft in drafts]
        self.keys[key] = (self.clock.now(), answers)
        return answers

    def _make(self, draft: Draft) -> Written:  # noqa: PLR0911 - one for each kind of draft
        if said := next((said for words, said in self.refusals.items() if words in repr(draft)), ""):
            return Written(messages=(said,))
        if isinstance(draft, Deletion):
            for name, one in list(self.records.items()):
                if draft.xero_id in (name, one.batch):
                    self.records[name] = msgspec.structs.replace(one, status="DELETED")
            return Written(xero_id=draft.xero_id)
        if isinstance(draft, PaymentDraft):
            if draft.amount > self.due(draft.xero_invoice_id):
                return Written(messages=(EXCEEDS,))
            return Written(xero_id=self._pay(draft, draft.xero_invoice_id, draft.amount, draft.reference))
        if isinstance(draft, BatchDraft):
            if any(part.amount > self.due(part.xero_invoice_id) for part in draft.parts):
                return Written(messages=(EXCEEDS,))
            batch = self._keep(RecordKind.BATCH_PAYMENT, draft, draft.reference)
            parts = [
                (p.xero_invoice_id, self._pay(draft, p.xero_invoice_id, p.amount, p.reference, batch))
                for p in draft.parts
            ]
            return Written(xero_id=batch, parts=tuple(parts))
        if isinstance(draft, OverpaymentDraft):
            return Written(xero_id=self._keep(RecordKind.OVERPAYMENT, draft, draft.text))
        kind = RecordKind(type(draft).__struct_config__.tag)  # type: ignore[arg-type] # a text, as it is declared
        return Written(xero_id=self._keep(kind, draft, draft.reference))

    def _pay(self, draft: Draft, invoice_id: str, amount: Decimal, text: str, batch: str = "") -> str:
        name = f"payment-{next(self.ids)}"
        self.records[name] = Kept(
            xero_id=name,
            kind=RecordKind.PAYMENT,
            draft=draft,
            text=text,
            xero_invoice_id=invoice_id,
            amount=amount,
            batch=batch,
        )
        return name

    def _keep(self, kind: RecordKind, draft: Draft, text: str) -> str:
        name = f"{kind.lower()}-{next(self.ids)}"
        self.records[name] = Kept(xero_id=name, kind=kind, draft=draft, text=text)
        return name


@dataclass
class PayingBooks(BooksOf):
    """The books of one organisation that takes payments."""

    xero: PayingXero

    async def read(self, query: Query, purpose: Purpose) -> Page:
        return await self.xero.shown(query.entity)

    async def payable(self, ids: Sequence[str], numbers: Sequence[str], purpose: Purpose) -> Sequence[Payable]:
        self._check()
        if self.xero.unaskable in ids:
            raise RejectedError("Xero refused it.", ("A GUID is expected.",))
        found = [d for (kind, _), d in self.xero.documents.items() if kind is Entity.INVOICES]
        return [self._payable(one) for one in found if one.xero_invoice_id in ids or one.number in numbers]  # type: ignore[union-attr] # invoices

    def _payable(self, document: Any) -> Payable:  # noqa: ANN401 - an invoice
        name = document.xero_invoice_id
        due = self.xero.due(name) if self.xero.shows_new else document.total
        status = "AUTHORISED" if due and document.status in ("AUTHORISED", "PAID") else document.status
        shown = msgspec.structs.replace(
            document, due=due, paid=document.total - due, status=status if due else "PAID", updated_at=self._now()
        )
        seen = tuple(
            PaymentSeen(
                xero_payment_id=one.xero_id,
                amount=one.amount,
                paid_on=PAID_ON,
                reference=one.text if self.xero.shows_references else "",
                xero_batch_payment_id=one.batch,
            )
            for one in (self.xero.paid(name) if self.xero.shows_new else ())
        )
        return Payable(invoice=shown, payments=seen, as_of=self._now())

    def _now(self) -> datetime:
        return self.xero.clock.now()

    async def invoice_lines(self, xero_invoice_id: str, purpose: Purpose) -> InvoiceLines | None:
        return None

    async def write(self, drafts: Sequence[Draft], idempotency_key: str) -> Sequence[Written]:
        fault = self.xero.faults.pop(0) if self.xero.faults else None
        if isinstance(fault, TieoutError):
            raise fault
        if fault == "before":
            raise AnswerLostError("Xero did not answer.")
        if callable(fault) and (coming := fault()) is not None:
            await coming
        answers = self.xero.arrive(drafts, idempotency_key)
        if fault == "after":
            raise AnswerLostError("Xero did not answer.")
        return answers

    async def records_since(self, kind: RecordKind, since: datetime) -> Sequence[Found]:
        self._check()
        self.xero.listings.append((kind, since))
        shown = [one for one in self.xero.records.values() if one.kind is kind]
        hides = self.xero.is_silent_about_deletions
        return [self._found(one) for one in shown if not hides or one.status != "DELETED"]

    def _found(self, one: Kept) -> Found:
        parts = tuple(
            (part.xero_invoice_id, part.xero_id) for part in self.xero.records.values() if part.batch == one.xero_id
        )
        is_sure = self.xero.names_overpayments or one.kind is not RecordKind.OVERPAYMENT
        name = one.xero_id if is_sure else f"bank-transaction-of-{one.xero_id}"
        return Found(kind=one.kind, xero_id=name, status=one.status, texts=(one.text,), parts=parts, is_sure=is_sure)

    async def status_of(self, kind: RecordKind, xero_id: str) -> Found | None:
        if self.xero.calls_left is not None:
            if not self.xero.calls_left:
                raise CallLimitError("No calls left.", "day", self._now() + timedelta(days=1))
            self.xero.calls_left -= 1
        one = self.xero.records.get(xero_id)
        return self._found(one) if one else None

    async def note(self, xero_invoice_id: str, text: str, idempotency_key: str) -> None:
        if self.xero.notes_wait_until:
            raise CallLimitError("Half of a day's calls is kept for others.", "day", self.xero.notes_wait_until)
        self.xero.notes.append(f"{xero_invoice_id}: {text}")

    async def organisation(self, purpose: Purpose) -> Organisation:
        self._check()
        return Organisation(xero_tenant_id="tenant-1", name="Southern Hops Ltd", base_currency="NZD")


def books_with(clock: SettableClock, invoices: dict[str, str]) -> PayingXero:
    """Books with a bank account, and with these invoices of these totals."""
    xero = PayingXero(clock, scopes=("offline_access", "accounting.transactions", "accounting.settings.read"))
    for name, total in invoices.items():
        amount = Decimal(total)
        xero.documents[Entity.INVOICES, name] = invoice(name, number=name.upper(), total=amount, due=amount)
    xero.documents[Entity.ACCOUNTS, BANK] = Account(
        xero_account_id=BANK,
        name="Business account",
        kind="BANK",
        status="ACTIVE",
        updated_at=clock.now(),
        currency="NZD",
        takes_payments=True,
    )
    return xero


@dataclass
class Process:
    """One process of the service on a database that others may use, too; a test turns its wheels."""

    xero: PayingXero
    clock: SettableClock
    database: MortalDatabase
    engine: Engine
    exports: Exports
    preflight: Preflight
    work: ExportWork

    @property
    def performs(self) -> dict[str, Callable[[Job], Any]]:
        return {kind: one.perform for kind, one in self.engine._kinds.items()}

    async def take(self, kind: str = EXPORT) -> Job | None:
        """Take the work as the engine does, if it is due and free."""
        task = Task(kind, CONNECTION, Lane.WRITE)
        lease = await take(self.database, task, now=self.clock.now(), owner=str(id(self)))
        return Job(lease) if lease else None

    async def slice(self, kind: str = EXPORT) -> datetime | None:
        """Do what is due once, and give it back; answers when it is due next."""
        job = await self.take(kind)
        return await self._do(kind, job) if job else None

    async def turn(self) -> bool:
        """Do once all that is due, taken together (a commit for each takes long); says whether anything was."""
        kinds, now, owner = (EXPORT, UPKEEP, NOTES), self.clock.now(), str(id(self))
        async with self.database.write() as tx:
            await show_life(tx, owner, now)
            taken = [await work.take(tx, Task(kind, CONNECTION, Lane.WRITE), owner=owner, now=now) for kind in kinds]
        for kind, lease in zip(kinds, taken, strict=True):
            if lease:
                await self._do(kind, Job(lease))
        return any(taken)

    async def _do(self, kind: str, job: Job) -> datetime | None:
        again_at: datetime | None = await self.performs[kind](job)
        async with self.database.write() as tx:
            await work.finish(tx, job._lease, again_at=again_at)
        return again_at

    async def run(self, until: timedelta = timedelta(hours=1)) -> None:
        """Do everything that is due, and let time pass up to what is due next, for so long."""
        ends_at = self.clock.now() + until
        for _ in range(200):
            was_due = await self.turn()
            async with self.database.read() as tx:
                due = [await exports.next_due_at(tx, CONNECTION), await exports.next_verify_at(tx, CONNECTION)]
            coming = [at for at in due if at is not None]
            if was_due and not coming:
                continue  # what it has woken
            if not coming or min(coming) > ends_at:
                return
            self.clock.time = max(self.clock.time + timedelta(seconds=1), min(coming))
        raise AssertionError("something stays due")

    async def pay(self, payment_id: str, amount: str, *lines: tuple[str, str], reference: str = "") -> PaymentExport:
        """Hand over a payment of these amounts of these invoices."""
        paid = PlatformPayment(
            payment_id=payment_id,
            paid_on=PAID_ON,
            currency="NZD",
            amount=Decimal(amount),
            lines=tuple(PaymentLine(xero_invoice_id=name, amount=Decimal(of)) for name, of in lines),
            reference=reference,
        )
        accepted = await self.exports.export(ExportPayment(connection_id=CONNECTION, payment=paid))
        return accepted.export

    async def now(self, export: PaymentExport) -> PaymentExport:
        """The export as it is now, with its history."""
        return await self.exports.get(export.id)

    async def again(self, export: PaymentExport) -> PaymentExport:
        """Have it exported again."""
        return await self.exports.reexport(Reexport(export_id=export.id))

    async def dies(self) -> None:
        """Give back what the operating system would."""
        await self.database.close()


def process(url: str, xero: PayingXero) -> Process:
    """A new process of the service on this database."""
    clock, database = xero.clock, MortalDatabase(url)
    feed, engine, requests = Feed(database, clock), alone(database, clock), Requests(VAULT, clock)
    links = connecting(xero, database, feed, engine, requests)
    reading = SyncMeans(database, feed, clock, engine)
    Syncs(reading, links, requests)
    News(reading, links, lambda _: xero.allowance)
    means = Means(database, feed, clock, engine, lambda _: xero.allowance)
    preflight = Preflight(means)
    accepting = Exports(means, links, requests, preflight)
    settings = SettingsOfExports(means, links, requests, preflight)
    sending = ExportWork(means, links, preflight, settings.revalidate)
    return Process(xero, clock, database, engine, accepting, preflight, sending)


async def connect(one: Process, **settings: Any) -> None:  # noqa: ANN401 - any field of the settings
    """A connection that may write, with an account for New Zealand dollars."""
    now = one.clock.now()
    link = Link(
        id=CONNECTION,
        merchant_id="m1",
        state="CONNECTED",
        xero_tenant_id="tenant-1",
        membership_id="membership-1",
        organisation=Organisation(xero_tenant_id="tenant-1", name="Southern Hops Ltd", base_currency="NZD"),
        authorised_by=AuthorisedBy(xero_user_id="user-1", email="ruth@southern-hops.example"),
        scopes=("offline_access", "accounting.transactions", "accounting.settings.read"),
        last_synced_at=now,
        created_at=now,
        updated_at=now,
    )
    chosen = ExportSettings(connection_id=CONNECTION, accounts={"NZD": BANK}, revision=1, updated_at=now)
    async with one.database.write() as tx:
        if await connections.get(tx, CONNECTION):
            await connections.save(tx, link)
        else:
            await connections.insert(tx, link)
        await export_settings.put(tx, msgspec.structs.replace(chosen, **settings))


async def mirrored_deletion(one: Process, xero_payment_id: str) -> None:
    """Polling brings a payment that somebody deleted."""
    async with one.database.write() as tx:
        document = payment(xero_payment_id, status="DELETED", xero_document_id="i1")
        await mirror.save(tx, CONNECTION, [document], seen_in=0, at=one.clock.now())


__all__ = [
    "CONNECTION",
    "EXCEEDS",
    "KilledError",
    "LostLeaseError",
    "Process",
    "books_with",
    "connect",
    "mirrored_deletion",
    "process",
]
