"""Merchants of several replicas: they sync, are edited and paid, and are looked after, whatever happens to those."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select

import tieout
from fleet import LOOK_EVERY, Fleet, Replica, Watcher
from servers import differences, mirror_of, truth_of
from tieout.syncs import ENDED
from tieout.v1.payment_export_service_pb2 import PaymentLine, PlatformPayment
from tieout.v1.types_pb2 import Money
from tieout_sandbox import InvoiceType
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import Invoice
from tieout_sandbox.books.rules import NotAllowedError
from tieout_sandbox.organisations import Organisation
from tieout_server.storage import export_tables


@dataclass
class Merchant:
    """Somebody whose organisation is connected, and what they have handed over."""

    fleet: Fleet
    organisation: Organisation
    chance: random.Random
    connection_id: str = ""
    paid: dict[str, Invoice] = field(default_factory=dict)
    edits: int = 0

    @property
    def books(self) -> Books:
        return self.organisation.books

    def any(self) -> Replica:
        """A replica that a load balancer would choose."""
        return self.chance.choice(self.fleet.up or self.fleet.replicas)

    async def connect(self) -> None:
        """Start at one replica, consent, and be sent back to another one."""
        start = self.any().service
        started = await start.client.connections.connect(self.organisation.id)
        back = await start.browser.consent(started.authorization_url, organisations=[self.organisation.name])
        where = urlsplit(back)
        at = f"http://127.0.0.1:{self.any().process.web_port}{where.path}?{where.query}"
        async with start.browser.http.get(at) as page:
            assert page.status == 200, await page.text()
        self.connection_id = started.connection.id

    async def choose_account(self) -> None:
        """Say where payments go to."""
        currency = self.organisation.base_currency
        account = self.books.bank_account(currency).id
        await self.persist(lambda one: one.payment_exports.update_settings(self.connection_id, {currency: account}))

    def payment(self) -> PlatformPayment:
        """A part payment of a new invoice."""
        currency = self.organisation.base_currency
        invoice = self.books.create_invoice(self.someone(), Decimal(100), currency=currency)
        payment_id = f"{self.organisation.short_code}-{len(self.paid)}"
        amount = Money(currency_code=currency, amount="40.00")
        self.paid[payment_id] = invoice
        return PlatformPayment(
            payment_id=payment_id,
            paid_on=self.books.today().isoformat(),
            amount=amount,
            lines=[PaymentLine(xero_invoice_id=invoice.id, amount=amount)],
        )

    async def pay(self) -> None:
        """Hand one over, at whichever replica takes it."""
        payment = self.payment()
        await self.persist(lambda one: one.payment_exports.export(self.connection_id, payment))

    async def kept(self) -> Mapping[str, tuple[Any, ...]]:
        """What is known of each payment that was handed over."""
        c = export_tables.payment_exports.c
        query = select(c.payment_id, c.xero_status, c.records, c.attempts, c.exported_at)
        async with self.fleet.database.read() as tx:
            rows = await tx.execute(query.where(c.connection_id == self.connection_id))
            return {row.payment_id: tuple(row) for row in rows}

    async def persist(self, ask: Callable[[tieout.Client], Awaitable[Any]]) -> Any:  # noqa: ANN401 - whatever is asked for
        """Ask one replica after the other until one answers."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(tieout.TryAgainError, TimeoutError):
                    async with asyncio.timeout(5):
                        return await ask(self.any().service.client)
                await asyncio.sleep(LOOK_EVERY)

    def edit(self) -> None:
        """Somebody does something in Xero."""
        self.edits += 1
        owed = self.chance.choice([one for one in self.books.invoices.values() if one.type is InvoiceType.ACCREC])
        with contextlib.suppress(NotAllowedError):
            match self.edits % 3:
                case 0:
                    self.books.create_invoice(self.someone(), Decimal(self.edits))
                case 1:
                    self.books.edit_invoice(owed.id, reference=f"edited {self.edits}")
                case 2:
                    self.books.pay(owed.id, Decimal(1))

    def someone(self) -> str:
        return self.chance.choice([one.id for one in self.books.contacts.values() if one.status == "ACTIVE"])

    async def is_mirrored(self) -> list[str]:
        """What is different here from what is there."""
        return differences(truth_of(self.books), await mirror_of(self.fleet.database_url, self.connection_id))

    async def unverified(self) -> list[str]:
        """The payments that are not seen in Xero as yet."""
        c = export_tables.payment_exports.c
        query = select(c.payment_id, c.xero_status, c.error).where(c.connection_id == self.connection_id)
        async with self.fleet.database.read() as tx:
            known = {row.payment_id: f"{row.xero_status} {row.error}".strip() for row in await tx.execute(query)}
        return [f"{name}: {known.get(name)}" for name in self.paid if known.get(name) != "VERIFIED"]

    def each_payment_is_there_once(self) -> None:
        for name, invoice in self.paid.items():
            ours = [one for one in invoice.payments if "TIE" in one.reference]
            assert [one.amount for one in ours] == [Decimal(40)], (name, ours)


def syncs_of(connection_id: str, choose: Callable[[], Replica]) -> Watcher:
    """Somebody who watches a connection's syncs."""
    return Watcher(lambda client, after: client.syncs.watch_connection(connection_id, after=after), "progress", choose)


def has_ended(watcher: Watcher) -> bool:
    return bool(watcher.messages) and watcher.messages[-1].progress.sync.state in ENDED


def never_runs_backwards(watcher: Watcher) -> None:
    """Percent and every count of every listing only rise."""
    told = [message.progress for message in watcher.messages]
    for before, after in pairwise(told):
        assert after.percent >= before.percent
        for earlier, later in zip(before.entities, after.entities, strict=False):
            assert later.fetched >= earlier.fetched, (earlier, later)
            assert later.pages_read >= earlier.pages_read, (earlier, later)


async def nothing_left(look: Callable[[], Awaitable[Sequence[str]]], *, within: float = 60) -> None:
    """Wait until a look finds nothing any more."""
    left: Sequence[str] = ["nothing was looked at"]
    try:
        async with asyncio.timeout(within):
            while left := await look():  # noqa: ASYNC110 - see LOOK_EVERY
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        raise AssertionError(left) from None
