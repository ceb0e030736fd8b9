"""What is in flight while a connection is ended and its data is erased brings nothing of it back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from sqlalchemy import func, select

from exporters import Exporter, start
from servers import ROOMY
from tieout_sandbox import FaultKind, FaultRule, Sandbox, SandboxSettings, serve
from tieout_sandbox.books.documents import CreditKind, Invoice
from tieout_server.connections.messages import Disconnect
from tieout_server.errors import ConnectionNotUsableError
from tieout_server.exports.means import EXPORT, UPKEEP
from tieout_server.exports.messages import ExportPayment, UpdateSettings
from tieout_server.ledger.exports import PaymentExport, PaymentLine, PlatformPayment
from tieout_server.storage import exports, tables

pytestmark = pytest.mark.in_turn


@dataclass
class Counter:
    """Two processes of the service on one database, and an invoice that is paid."""

    sandbox: Sandbox
    one: Exporter
    two: Exporter
    connection_id: str
    invoice: Invoice
    bank: str

    @property
    def payment(self) -> PlatformPayment:
        line = PaymentLine(xero_invoice_id=self.invoice.id, amount=Decimal(100))
        today = self.sandbox.organisations[0].books.today()
        return PlatformPayment(payment_id="p1", paid_on=today, currency="NZD", amount=Decimal(100), lines=(line,))

    async def hands_over(self) -> None:
        await self.one.exports.export(ExportPayment(self.connection_id, self.payment))

    async def hands_over_too_much(self) -> PaymentExport:
        """A payment of more than its invoice is due."""
        payment = msgspec.structs.replace(self.payment, payment_id="too much", amount=Decimal(130))
        return (await self.one.exports.export(ExportPayment(self.connection_id, payment))).export

    async def splits(self) -> None:
        """What is paid beyond what is due is to become an overpayment."""
        chosen = (("NZD", self.bank),)
        await self.one.settings.update(
            UpdateSettings(connection_id=self.connection_id, accounts=chosen, overpayment_policy="SPLIT")
        )

    async def sends(self) -> None:
        await self.one.work(EXPORT)

    async def checks(self) -> None:
        with pytest.raises(ConnectionNotUsableError):
            await self.one.exports.check(self.connection_id, self.payment)

    async def is_purged(self) -> None:
        await self.two.links.disconnect(Disconnect(self.connection_id, purge_data=True))
        await self.two.work()

    async def kept(self) -> tuple[int, bool]:
        """How many invoices are kept here, and whether any export is."""
        async with self.two.database.read() as tx:
            count = (await tx.execute(select(func.count()).select_from(tables.invoices))).scalar_one()
            return count, await exports.has_any(tx, self.connection_id)


@pytest.fixture
async def counter(sqlite_url: str) -> AsyncIterator[Counter]:
    async with serve(SandboxSettings(contacts=12, invoices=40)) as sandbox:
        sandbox.limits.quota = ROOMY
        one, two = await start(sandbox, sqlite_url), await start(sandbox, sqlite_url)
        connection_id = await one.connect()
        await one.work()
        bank = next(
            it.account.xero_account_id
            for it in await one.settings.accounts(connection_id, "NZD")
            if it.usable and it.account.kind == "BANK"
        )
        await one.settings.update(UpdateSettings(connection_id=connection_id, accounts=(("NZD", bank),)))
        invoice = sandbox.books.create_invoice(sandbox.books.create_contact("Kauri & Co").id, Decimal(100))
        yield Counter(sandbox, one, two, connection_id, invoice, bank)
        await one.close()
        await two.close()


@pytest.mark.parametrize("is_sent", [True, False])
async def test_an_invoice_that_was_asked_for_is_not_kept_after_a_purge(counter: Counter, *, is_sent: bool) -> None:
    if is_sent:
        await counter.hands_over()
    before = counter.sandbox.requests.count("/Invoices", method="GET")
    doing = counter.sends if is_sent else counter.checks
    await counter.one.stall(doing, lambda: counter.sandbox.requests.count("/Invoices", method="GET") > before)
    assert counter.one.stalled is not None
    await counter.is_purged()
    assert await counter.kept() == (0, False)
    await counter.one.go_on()
    assert await counter.kept() == (0, False)
    assert not counter.invoice.payments


@pytest.mark.parametrize(
    ("what", "lost", "ends"),
    [
        ("Payments", FaultKind.DROP, "VERIFIED"),
        ("Payments", FaultKind.DROP_AFTER, "VERIFIED"),
        ("BankTransactions", FaultKind.DROP, "ERROR"),  # who had recorded the rest cannot be told any more
        ("BankTransactions", FaultKind.DROP_AFTER, "VERIFIED"),
    ],
)
async def test_what_was_on_its_way_when_it_was_erased_is_looked_for_when_it_comes_again(
    counter: Counter, what: str, lost: FaultKind, ends: str
) -> None:
    """The answer to a payment of more than is due, or its overpayment, is lost; all is erased; it comes again."""
    await counter.splits()
    counter.sandbox.faults.add(FaultRule(lost, rf"/api\.xro/2\.0/{what}", method="PUT", times=3))
    before = await counter.hands_over_too_much()
    await counter.sends()
    assert (await counter.one.exports.get(before.id)).xero_status == "OUTCOME_UNKNOWN"
    await counter.is_purged()
    assert await counter.kept() == (0, False)
    await counter.one.reconnect(counter.connection_id)
    await counter.splits()
    written = counter.sandbox.requests.count(method="PUT")
    again = await counter.hands_over_too_much()
    await counter.sends()
    told = [event for event in (await counter.one.exports.get(again.id)).history if "erased" in event.sentence]
    assert [event.xero_status for event in told] == ["OUTCOME_UNKNOWN"]
    assert counter.sandbox.requests.count(method="PUT") - written <= (lost is FaultKind.DROP_AFTER)
    for _ in range(12):
        counter.sandbox.clock.advance(timedelta(minutes=1))
        await counter.one.work(EXPORT, UPKEEP)
    done = await counter.one.exports.get(again.id)
    assert done.xero_status == ends
    made = counter.sandbox.books.credits_of(CreditKind.OVERPAYMENT).values()
    overpaid = [one.total for one in made if one.contact is counter.invoice.contact]
    assert overpaid == ([Decimal(30)] if ends == "VERIFIED" else [])
    assert [one.amount for one in counter.invoice.payments] == [Decimal(100)]
    assert (done.error is not None) == (ends == "ERROR")
