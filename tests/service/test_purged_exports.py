"""What is in flight while a connection is ended and its data is erased brings nothing of it back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from sqlalchemy import func, select

from exporters import Exporter, start
from servers import ROOMY
from tieout_sandbox import Sandbox, SandboxSettings, serve
from tieout_sandbox.books.documents import Invoice
from tieout_server.connections.messages import Disconnect
from tieout_server.errors import ConnectionNotUsableError
from tieout_server.exports.means import EXPORT
from tieout_server.exports.messages import ExportPayment, UpdateSettings
from tieout_server.ledger.exports import PaymentLine, PlatformPayment
from tieout_server.storage import exports, tables


@dataclass
class Counter:
    """Two processes of the service on one database, and an invoice that is paid."""

    sandbox: Sandbox
    one: Exporter
    two: Exporter
    connection_id: str
    invoice: Invoice

    @property
    def payment(self) -> PlatformPayment:
        line = PaymentLine(xero_invoice_id=self.invoice.id, amount=Decimal(100))
        today = self.sandbox.clock.now().date()
        return PlatformPayment(payment_id="p1", paid_on=today, currency="NZD", amount=Decimal(100), lines=(line,))

    async def hands_over(self) -> None:
        await self.one.exports.export(ExportPayment(self.connection_id, self.payment))

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
        yield Counter(sandbox, one, two, connection_id, invoice)
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
