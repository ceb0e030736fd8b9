"""What can happen to payments on their way into Xero, by a name and a number: for tests that do it in any order.

Two processes of the service share a database; callers repeat themselves, people work in Xero, calls fail, time passes,
processes stand still and are killed. `once.py` says what must hold in the end.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select

import exporters
from exporters import Exporter, KilledError
from servers import ROOMY
from tieout.v1 import payment_export_service_pb2 as pb
from tieout.v1 import types_pb2
from tieout_sandbox import FaultKind, FaultRule, Sandbox, Status
from tieout_sandbox.books.documents import Account, Contact, Invoice
from tieout_sandbox.books.rules import NotAllowedError
from tieout_server.clock import from_micros
from tieout_server.connections.messages import Disconnect
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import (
    InvalidRequestError,
    NotPermittedNowError,
    PaymentIdReusedError,
    PersonMustActError,
    TryAgainError,
)
from tieout_server.events import token
from tieout_server.events.feed import EXPORT as EXPORTS
from tieout_server.exports.means import EXPORT, NOTES, UPKEEP
from tieout_server.exports.messages import Dismiss, ExportPayment, Reexport, ReexportAll, Reverse, UpdateSettings
from tieout_server.exports.watch import Told
from tieout_server.ledger.exports import PaymentExport, PaymentLine, PlatformPayment
from tieout_server.ledger.money import Money
from tieout_server.rpc.convert_exports import payment_of
from tieout_server.storage import connections, export_notes, exports, replica_tables, tables
from tieout_server.storage.database import Transaction

SECOND = timedelta(seconds=1)
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (1, 5, 40, 100, 7 * 60, 31 * 60, 86_400))
DRAGS = tuple(timedelta(seconds=seconds) for seconds in (8, 31, 58))
LOSES = (
    FaultKind.DROP, FaultKind.DROP_AFTER, FaultKind.TRUNCATED, FaultKind.SLOW, FaultKind.DROP_AFTER,
    FaultKind.UNAVAILABLE, FaultKind.UNAVAILABLE_HTML, FaultKind.ANSWER, FaultKind.LIMIT_MINUTE,
    FaultKind.ELEMENT_ERROR, FaultKind.BOOKKEEPER_PAYS, FaultKind.ORGANISATION_OFFLINE, FaultKind.LIMIT_DAY,
)  # fmt: skip
WHERE = ("", "/Payments", "/BatchPayments", "/BankTransactions", "/Invoices", "/CreditNotes", "/Invoices/.+/history")
METHODS = ("PUT", "PUT", "POST", "GET", None)
WELCOME = (TryAgainError, PersonMustActError)
"""What callers may be told while things go wrong."""
Doing = Callable[[Exporter], Awaitable[Any]]


@dataclass
class Watcher:
    """Somebody who follows the exports over any number of streams: each change once, in order."""

    token: str = ""
    changes: list[tuple[str, str, str, datetime]] = field(default_factory=list)
    """Export, status, sentence and instant of each."""

    def take(self, told: Told) -> None:
        """Be told something, and remember how far everything was told."""
        assert told.position is not None, "a snapshot came behind a token"
        self.token = token.encode(told.position)
        if told.change:
            event = told.change.event
            self.changes.append((told.change.export.id, event.xero_status, event.sentence, event.occurred_at))


@dataclass(frozen=True)
class Chosen:
    """Accounts by currency, and between which instants of ours they came to be chosen."""

    began_at: datetime
    answered_at: datetime
    accounts: Mapping[str, str]


def _money(amount: Decimal, invoice: Invoice) -> types_pb2.Money:
    return types_pb2.Money(currency_code=invoice.currency, amount=f"{amount:f}")


@dataclass
class Story:
    """A story while it is told."""

    sandbox: Sandbox
    database_url: str
    ahead: timedelta = timedelta()
    """How far our clocks are ahead of Xero's."""
    connection_id: str = ""
    exporters: list[Exporter] = field(default_factory=list)
    asked: list[ExportPayment] = field(default_factory=list)
    """The payments that were handed over."""
    invoices: list[Invoice] = field(default_factory=list)
    """Those that payments pay."""
    twins: list[str] = field(default_factory=list)
    """The ids of payments that a bookkeeper recorded of money that the platform also handed over, and that Xero did
    not show yet."""
    removed: set[str] = field(default_factory=set)
    """The ids of payments and batches that a bookkeeper deleted."""
    chosen: list[Chosen] = field(default_factory=list)
    """The accounts that were chosen, one choice after the other."""
    patience: int = 80
    """How often it is looked whether everything has come to rest."""
    watcher: Watcher = field(default_factory=Watcher)
    clearing: str = ""
    """An account that is no bank account, and takes payments."""
    sales: list[str] = field(default_factory=list)
    """Accounts for what is taken back."""
    _asked: int = 0

    async def begin(self) -> None:
        """Connect, read the books, and choose accounts."""
        self.sandbox.limits.quota = ROOMY
        self.clearing = self._account("Clearing", "CURRENT", takes_payments=True)
        self.sales = [self._account(name, "REVENUE") for name in ("Sales in shops", "Sales at fairs")]
        for _ in range(2):
            self.exporters.append(await exporters.start(self.sandbox, self.database_url, ahead=self.ahead))
        first = self.exporters[0]
        self.connection_id = await first.connect()
        await first.work()
        await self.choose(0)

    def _account(self, name: str, type_: str, *, takes_payments: bool = False) -> str:
        """The id of a new account."""
        books, code = self.sandbox.books, str(900 + len(self.sandbox.books.accounts))
        kind = "REVENUE" if type_ == "REVENUE" else "ASSET"
        made = Account(books.ids.new(), code, name, type_, kind, "NONE", books.stamp(), takes_payments=takes_payments)
        books.accounts[made.id] = made
        return made.id

    async def end(self) -> None:
        """Give everything back."""
        for one in self.exporters:
            await one.close()

    # Who does it

    async def by(self, number: int, doing: Doing) -> Any:  # noqa: ANN401 - whatever is done answers
        """Have a process do this that does not stand still; if it is killed, it is asked of the next."""
        for _ in range(4):
            place = number % len(self.exporters)
            if self.exporters[place].stalled is not None:
                place = (place + 1) % len(self.exporters)
            try:
                return await doing(self.exporters[place])
            except KilledError:
                await self._replace(place)
        raise AssertionError("it is killed whenever it does this")

    async def _replace(self, place: int) -> None:
        """Start a process in the place of one that was killed."""
        await self.exporters[place].close()
        self.exporters[place] = await exporters.start(self.sandbox, self.database_url, ahead=self.ahead)

    async def tx(self, asking: Callable[[Transaction], Awaitable[Any]]) -> Any:  # noqa: ANN401 - whatever is asked
        """What the database says, asked of a process that is well."""

        async def ask(one: Exporter) -> Any:  # noqa: ANN401 - likewise
            async with one.database.read() as tx:
                return await asking(tx)

        return await self.by(0, ask)

    async def every(self) -> list[PaymentExport]:
        """All exports, with their history."""
        found = []
        for asked in self.asked:
            payment_id = asked.payment.payment_id
            there = await self.tx(lambda tx: exports.of_payment(tx, self.connection_id, payment_id))  # noqa: B023 - at once
            assert there is not None, f"{payment_id} was accepted and forgotten"
            found.append(await self.by(0, lambda one: one.exports.get(there[0].id)))  # noqa: B023 - at once
        return found

    async def one(self, number: int) -> PaymentExport | None:
        """One of the exports."""
        if not self.asked:
            return None
        payment_id = self.asked[number % len(self.asked)].payment.payment_id
        found: PaymentExport = await self.by(0, lambda it: it.exports.of_payment(self.connection_id, payment_id))
        return found

    def request_id(self) -> str:
        """A request_id that nobody has used."""
        self._asked += 1
        return f"request-{self._asked}"

    # What callers do

    async def pay(self, number: int) -> ExportPayment:
        """A payment is handed over: of one invoice, or several, in euros, of more than is due, of a paid one."""
        kind, size = number % 12, number // 12 % 3 + 2
        currency = "EUR" if kind in (3, 4) else "NZD"
        if kind in (8, 9) and self.invoices:  # what another payment pays, too
            paid = [self.invoices[number % len(self.invoices)]]
        else:
            paid = [self._owed(number + n, currency) for n in range(size if kind in (2, 4, 10) else 1)]
        lines = [self._line(kind, invoice, number) for invoice in paid]
        over = Decimal(20) if kind in (5, 10) else Decimal(0)
        whole = sum((Decimal(line.amount.amount) for line in lines), over)
        stated = pb.PlatformPayment(
            payment_id=f"pay-{len(self.asked)}",
            paid_on=self.today.isoformat(),
            amount=_money(whole, paid[0]),
            lines=lines,
            reference=f"till {number}",
        )
        payment = payment_of(stated)
        asked = ExportPayment(self.connection_id, payment, self.request_id() if number % 2 else "")
        self.asked.append(asked)
        self.invoices += [one for one in paid if one not in self.invoices]
        await self.by(number, lambda one: one.exports.export(asked))
        return asked

    @property
    def today(self) -> date:
        """The day of all payments, so that some look alike."""
        return self.asked[0].payment.paid_on if self.asked else self.sandbox.organisations[0].books.today()

    def _owed(self, number: int, currency: str) -> Invoice:
        kauri = self._kauri()
        return self.sandbox.books.create_invoice(kauri.id, Decimal(number % 7 * 10 + 60), currency=currency)

    def _kauri(self) -> Contact:
        books = self.sandbox.books
        found = next((one for one in books.contacts.values() if one.name == "Kauri & Co"), None)
        return found or books.create_contact("Kauri & Co")

    def _line(self, kind: int, invoice: Invoice, number: int) -> pb.PaymentLine:
        due = invoice.amount_due or invoice.total
        amount = _money({1: Decimal(25), 6: due + 15}.get(kind, due), invoice)
        if number // 36 % 3 == 1:
            return pb.PaymentLine(invoice_number=invoice.number, amount=amount)
        name = invoice.id.upper() if number // 36 % 3 == 2 else invoice.id
        return pb.PaymentLine(xero_invoice_id=name, amount=amount)

    def paid_by(self, line: PaymentLine) -> Invoice:
        """The invoice that a line names."""
        named = (line.xero_invoice_id.lower(), line.invoice_number)
        return next(one for one in self.invoices if one.id == named[0] or one.number == named[1])

    async def repeat(self, number: int) -> None:
        """A request comes again, twice at once: as it was, under another request_id, or with other content."""
        if not self.asked:
            return
        asked = self.asked[number % len(self.asked)]
        if number % 3 == 1:
            asked = ExportPayment(self.connection_id, asked.payment, self.request_id())

        async def both(one: Exporter) -> None:
            first, second = await asyncio.gather(one.exports.export(asked), one.exports.export(asked))
            assert first.export.id == second.export.id
            assert first.existing or asked.request_id, "it was accepted twice"

        await self.by(number, both)
        if number % 3 == 2:
            other = PlatformPayment(
                payment_id=asked.payment.payment_id, paid_on=self.today, currency="NZD", amount=Decimal(1), lines=()
            )
            with contextlib.suppress(PaymentIdReusedError):
                await self.by(number, lambda one: one.exports.export(ExportPayment(self.connection_id, other)))
                raise AssertionError("one payment_id stands for two payments")

    async def again(self, number: int) -> None:
        """What failed is to be exported again."""
        if number % 3 == 0:
            every = ReexportAll(self.connection_id, request_id=self.request_id())
            await self.by(number, lambda one: one.exports.reexport_all(every))
        elif export := await self.one(number):
            asked = Reexport(export.id, self.request_id())
            with contextlib.suppress(NotPermittedNowError):
                await self.by(number, lambda one: one.exports.reexport(asked))

    async def dismiss(self, number: int) -> None:
        if export := await self.one(number):
            asked = Dismiss(export.id, "handled elsewhere", self.request_id())
            with contextlib.suppress(NotPermittedNowError):
                await self.by(number, lambda one: one.exports.dismiss(asked))

    async def reverse(self, number: int) -> None:
        """A payment is charged back, or refunded, in part or in full."""
        if (export := await self.one(number)) is None:
            return
        kind = ("CHARGEBACK", "REFUND", "LATE_FAILURE", "REFUND")[number % 4]
        part = Money(export.payment.currency, Decimal(10)) if number % 8 == 3 else None
        if kind != "REFUND" and (taken := [one.amount for one in export.reversals if one.xero_status != "ERROR"]):
            part = Money(export.payment.currency, export.payment.amount - sum(taken, Decimal(0)))
        name = f"reversal-{len(export.reversals)}-{export.payment.payment_id}"
        asked = Reverse(export_id=export.id, kind=kind, reversal_id=name, amount=part, request_id=self.request_id())
        with contextlib.suppress(NotPermittedNowError, InvalidRequestError):
            await self.by(number, lambda one: one.exports.reverse(asked))
            await self.by(number + 1, lambda one: one.exports.reverse(asked))  # the same request once more

    async def choose(self, number: int) -> None:
        """Other settings are chosen: accounts for each currency and for refunds, and what becomes of a rest."""
        books = self.sandbox.books
        chosen = {"NZD": self.clearing if number // 24 % 3 == 1 else books.bank_account("NZD").id}
        chosen |= {"EUR": books.bank_account("EUR").id} if number % 3 != 1 else {}
        asked = UpdateSettings(
            connection_id=self.connection_id,
            accounts=tuple(chosen.items()),
            overpayment_policy=("SPLIT", "HOLD")[number % 2],
            refund_xero_account_id="" if number // 6 % 4 == 1 else self.sales[number // 96 % 2],
            request_id=self.request_id(),
        )
        began_at = self._tick()
        with contextlib.suppress(InvalidRequestError, *WELCOME):
            await self.by(number, lambda one: one.settings.update(asked))
            self.chosen.append(Chosen(began_at, self.exporters[0].clock.now(), chosen))
            self._tick()

    def _tick(self) -> datetime:
        """Let a second pass, so that it can be told what came before."""
        self.sandbox.clock.advance(SECOND)
        return self.exporters[0].clock.now()

    async def watch(self, number: int) -> None:
        """Somebody goes on watching where they left off, and leaves again."""

        of_exports = tables.events.c.topic == EXPORTS
        ends = await self.tx(lambda tx: tx.execute(select(func.max(tables.events.c.position)).where(of_exports)))
        last, after = ends.scalar_one() or 0, token.decode(self.watcher.token, last=2**62) if self.watcher.token else 0

        async def read(one: Exporter) -> None:
            await one.feed._advance()
            async with contextlib.aclosing(one.watch.follow(self.connection_id, token.encode(after))) as told:
                async for item in told:
                    self.watcher.take(item)
                    if item.position == last:
                        return

        if after < last:
            await self.by(number, read)

    # What happens to us

    async def work(self, number: int) -> None:
        """A process does what is due: exports and their upkeep, or everything."""
        kinds = ((EXPORT,), (UPKEEP,), (EXPORT, UPKEEP), ())[number % 4]
        await self.by(number // 4, lambda one: one.work(*kinds))

    async def race(self, _number: int) -> None:
        """Both processes do what is due at the same time."""
        places = [place for place, one in enumerate(self.exporters) if one.stalled is None]
        doing = [self.exporters[place].work(EXPORT, UPKEEP) for place in places]
        for place, came in zip(places, await asyncio.gather(*doing, return_exceptions=True), strict=True):
            if isinstance(came, KilledError):
                await self._replace(place)
            elif came is not None:
                raise came

    async def kill(self, number: int) -> None:
        """A process will be killed at one of its next commits, and does what is due."""
        place = number % 2
        if self.exporters[place].stalled is None:
            self.exporters[place].database.dies_in(number // 4 % 20 + 1, before=number // 2 % 2 == 1)
            await self.by(place, lambda one: one.work(EXPORT, UPKEEP))

    async def stall(self, number: int) -> None:
        """A process stands still in the middle of what is due, or when Xero has got a write; others take it over."""
        if any(one.stalled for one in self.exporters):
            return
        one, transactions = self.exporters[number % 2], itertools.count()
        enough, arrived = number // 6 % 25, self._arrived()
        when = (lambda: next(transactions) >= enough, lambda: self._arrived() > arrived + enough % 3)[
            number // 2 % 3 > 0
        ]
        try:
            await one.stall(lambda: one.work(EXPORT, UPKEEP), when)
        except KilledError:
            await self._replace(number % 2)

    def _arrived(self) -> int:
        """How many writes have arrived at Xero."""
        return sum(entry.method != "GET" for entry in self.sandbox.requests.find(path="/api.xro/"))

    async def wake(self, _number: int) -> None:
        """Who stood still goes on as if nothing had happened."""
        for place, one in enumerate(self.exporters):
            if one.stalled is not None:
                try:
                    await one.go_on()
                except KilledError:
                    await self._replace(place)

    async def wait(self, number: int) -> None:
        """Time passes."""
        self.sandbox.clock.advance(PAUSES[number % len(PAUSES)])

    async def fail(self, number: int) -> None:
        """The next calls of a kind fail in one of Xero's ways."""
        kind = LOSES[number % len(LOSES)]
        method = METHODS[number // 13 % len(METHODS)]
        where = WHERE[number // 65 % len(WHERE)]
        seconds = exporters.PATIENCE.total_seconds() * 1.2
        self.sandbox.faults.add(
            FaultRule(kind, rf"/api\.xro/2\.0{where}", method=method, times=number // 2 % 4 + 1, seconds=seconds)
        )

    async def drag(self, number: int) -> None:
        """One of the next calls to Xero takes long."""
        for one in self.exporters:
            one.clock.drags[:] = [DRAGS[number % len(DRAGS)], *[timedelta()] * (number // 3 % 6)]

    async def expire(self, _number: int) -> None:
        """All access tokens expire."""
        self.sandbox.clock.advance(timedelta(minutes=31))

    async def disconnect(self, number: int) -> None:
        """The merchant ends the connection, here or at Xero."""
        if number % 2:
            with contextlib.suppress(*WELCOME):
                await self.by(number, lambda one: one.links.disconnect(Disconnect(self.connection_id)))
        else:
            for user in list(self.sandbox.authority.users):
                self.sandbox.authority.revoke_user(user)

    async def reconnect(self, number: int) -> None:
        """Somebody consents again."""
        with contextlib.suppress(NotPermittedNowError, *WELCOME):
            await self.by(number, lambda one: one.reconnect(self.connection_id))

    # What people do in Xero

    async def twin(self, number: int) -> None:
        """A bookkeeper records a payment that the platform hands over, too, and that Xero does not show yet."""
        if any(one.stalled for one in self.exporters) or (export := await self.one(number)) is None:
            return
        line = export.payment.lines[number % len(export.payment.lines)]
        invoice = self.paid_by(line)
        is_open = export.xero_status in ("QUEUED", "ERROR", "OUTCOME_UNKNOWN", "CHECKED")
        if not is_open or export.records or any("TIE" in one.reference for one in invoice.payments):
            return
        with contextlib.suppress(NotAllowedError):
            paid = self.sandbox.books.pay(invoice.id, line.amount, on=self.today, reference="by hand")
            self.twins.append(paid.id)

    async def keep_books(self, number: int) -> None:
        """A bookkeeper does something to invoices, payments, accounts or periods."""
        books, organisation = self.sandbox.books, self.sandbox.organisations[0]
        with contextlib.suppress(NotAllowedError):
            match number % 8:
                case 0 if self.invoices:
                    books.pay(self.invoices[number % len(self.invoices)].id, Decimal(5), reference="part")
                case 1 if self.invoices:
                    books.void(self.invoices[number % len(self.invoices)].id)
                case 2:
                    made = [one for one in books.payments.values() if "TIE" in one.reference and one.batch is None]
                    if made:
                        self.removed.add(books.delete_payment(made[number % len(made)].id).id)
                case 3 if books.batches:
                    self.removed.add(books.delete_batch(list(books.batches)[number % len(books.batches)]).id)
                case 4 | 5:
                    account = books.bank_account(("NZD", "EUR")[number // 8 % 2])
                    books.edit_account(account.id, status="ACTIVE" if account.status == "ARCHIVED" else "ARCHIVED")
                case 6:
                    lock = None if organisation.period_lock_on else self.today + timedelta(days=number // 8 % 2)
                    organisation.period_lock_on = lock
                case 7:
                    made = [one for one in books.payments.values() if "TIE" in one.reference]
                    if made:
                        made[number % len(made)].is_reconciled = True

    # And in the end

    async def settle(self) -> None:
        """Nothing goes wrong any more, and time passes until nothing is to be done."""
        self.sandbox.faults.clear()
        for one in self.exporters:
            if one.stalled is None:
                one.database.spare()
        await self.wake(0)
        for one in self.exporters:
            one.database.spare()
            one.clock.drags.clear()
        for _ in range(3):  # somebody may have removed what is proven: that is seen when the books are read again
            await self._come_to_rest()
            self.sandbox.clock.advance(timedelta(hours=7))
        await self._come_to_rest()
        await self.watch(0)

    async def _come_to_rest(self) -> None:
        for turn in range(self.patience):
            await self._work_all()
            if (due_at := await self._due_at()) is None:
                return
            now = self.exporters[0].clock.now()
            self.sandbox.clock.advance(max(due_at - now, 2 * SECOND, (turn - 20) * timedelta(minutes=1)))
        stuck = [(one.payment.payment_id, one.xero_status, one.due_at) for one in await self.every()]
        raise AssertionError(f"it never comes to rest: {stuck}")

    async def _work_all(self) -> None:
        """Both do what is due; if it turns out that nobody may, somebody consents again."""
        for place in range(len(self.exporters)):
            await self.by(place, lambda one: one.work())
        link = await self.tx(lambda tx: connections.get(tx, self.connection_id))
        if link.state != ConnectionState.CONNECTED:
            await self.reconnect(0)
            await self.by(0, lambda one: one.work())

    async def _due_at(self) -> datetime | None:
        """When something is to be done next for an export, a reversal, a proof or a note; None if nothing is left."""
        found = [
            await self.tx(lambda tx: asked(tx, self.connection_id))  # noqa: B023 - at once
            for asked in (exports.next_due_at, exports.next_verify_at, export_notes.next_due_at)
        ]
        due_at = min((at for at in found if at is not None), default=None)
        if due_at is None or due_at > self.exporters[0].clock.now():
            return due_at
        c, owners = tables.work.c, replica_tables.replicas  # it was due, and put off
        next_at = (
            select(func.min(func.coalesce(owners.c.alive_until, c.due_at)))
            .select_from(tables.work.outerjoin(owners, owners.c.id == c.owner))
            .where(c.kind.in_((EXPORT, UPKEEP, NOTES)))
        )
        put_off = (await self.tx(lambda tx: tx.execute(next_at))).scalar_one()
        assert put_off is not None, "nobody will look at what is left to be done"
        return from_micros(put_off)


DEEDS: Mapping[str, Callable[[Story, int], Awaitable[Any]]] = {
    "pay": Story.pay,
    "repeat": Story.repeat,
    "again": Story.again,
    "dismiss": Story.dismiss,
    "reverse": Story.reverse,
    "choose": Story.choose,
    "watch": Story.watch,
    "work": Story.work,
    "race": Story.race,
    "kill": Story.kill,
    "stall": Story.stall,
    "wake": Story.wake,
    "wait": Story.wait,
    "fail": Story.fail,
    "drag": Story.drag,
    "expire": Story.expire,
    "disconnect": Story.disconnect,
    "reconnect": Story.reconnect,
    "twin": Story.twin,
    "keep books": Story.keep_books,
}
"""Whatever can happen, by name."""

__all__ = ["DEEDS", "Status", "Story"]
