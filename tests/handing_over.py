"""A place where payments are handed over for export, with a Xero that says what a test wants; nothing is sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from sqlalchemy import select

from documents import account
from fakes import VAULT, SettableClock, Xero, connecting
from places import alone
from tieout_server.clock import from_micros
from tieout_server.connections.means import AFTER_CONSENT
from tieout_server.connections.messages import Connect, Return
from tieout_server.connections.service import Connections
from tieout_server.events.feed import Feed
from tieout_server.exports.means import EXPORT, UPKEEP, Means
from tieout_server.exports.messages import Accepted, ExportPayment
from tieout_server.exports.preflight import Preflight
from tieout_server.exports.service import Exports
from tieout_server.exports.settings import SettingsOfExports
from tieout_server.exports.watch import ExportWatch
from tieout_server.ledger.documents import Account, Entity
from tieout_server.ledger.exports import ExportError, PaymentExport, PaymentLine, PlatformPayment
from tieout_server.storage import exports, tables
from tieout_server.storage.database import Database
from tieout_server.syncs.means import NEWS
from tieout_server.work.engine import Engine, Job, Lane
from tieout_server.work.requests import Requests


def paid(payment_id: str = "p1", amount: str = "12.50", **fields: Any) -> PlatformPayment:  # noqa: ANN401 - any field
    """A payment of one invoice."""
    lines = (PaymentLine(xero_invoice_id="i1", amount=Decimal(amount)),)
    said: dict[str, Any] = {"currency": "NZD", "lines": lines, "paid_on": date(2026, 11, 20)} | fields
    return PlatformPayment(payment_id=payment_id, amount=Decimal(amount), **said)


@dataclass
class Desk:
    """Where payments are handed over."""

    database: Database
    xero: Xero
    clock: SettableClock
    feed: Feed
    engine: Engine
    links: Connections
    exports: Exports
    settings: SettingsOfExports
    watch: ExportWatch
    connection_id: str = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database) -> AsyncIterator["Desk"]:
        """A desk with one organisation that is connected."""
        clock = SettableClock()
        xero, requests = Xero(clock), Requests(VAULT, clock)
        feed, engine = Feed(database, clock), alone(database, clock)
        for kind in (AFTER_CONSENT, NEWS, EXPORT, UPKEEP):
            engine.register(kind, Lane.WRITE, _nothing)
        links = connecting(xero, database, feed, engine, requests)
        means = Means(database, feed, clock, engine, lambda _: xero.allowance)
        preflight = Preflight(means)
        handed = Exports(means, links, requests, preflight)
        settings = SettingsOfExports(means, links, requests, preflight)
        desk = cls(database, xero, clock, feed, engine, links, handed, settings, ExportWatch(feed, handed))
        await feed.start()
        running = asyncio.create_task(feed.run())
        try:
            desk.connection_id = await desk.connect()
            yield desk
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def connect(self, merchant_id: str = "acme") -> str:
        """Connect an organisation; answers the connection's id."""
        started = await self.links.connect(Connect(merchant_id))
        state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
        return (await self.links.complete(Return(state, merchant_id))).link.id

    async def hand_over(self, payment: PlatformPayment | None = None, request_id: str = "") -> Accepted:
        """Hand a payment over."""
        return await self.exports.export(ExportPayment(self.connection_id, payment or paid(), request_id))

    async def handed_over(self, payment: PlatformPayment | None = None, **became: Any) -> PaymentExport:  # noqa: ANN401 - any field
        """A payment that was handed over, and what became of it since."""
        export = (await self.hand_over(payment)).export
        changed = msgspec.structs.replace(export, **({"due_at": None} | became))
        async with self.database.write() as tx:
            await exports.put(tx, changed)
        return changed

    def in_error(self, reason: str = "ACCOUNT_NOT_CHOSEN") -> dict[str, Any]:
        """What an export is that cannot go on."""
        error = ExportError(
            reason=reason, sentence="It failed.", remedy="", owner="MERCHANT", occurred_at=self.clock.now()
        )
        return {"xero_status": "ERROR", "error": error}

    def show(self, xero_id: str, **fields: Any) -> Account:  # noqa: ANN401 - any field of an account
        """Have Xero show this account, a bank account of the base currency unless it says otherwise."""
        shown = account(
            xero_id,
            **(
                {"kind": "BANK", "status": "ACTIVE", "currency": "NZD", "takes_payments": True, "name": xero_id}
                | {"updated_at": self.clock.now()}
                | fields
            ),
        )
        self.xero.documents[(Entity.ACCOUNTS, xero_id)] = shown
        return shown

    async def woken_at(self, kind: str = EXPORT) -> datetime | None:
        """When this work of the connection is due."""
        of = (tables.work.c.kind == kind) & (tables.work.c.connection_id == self.connection_id)
        async with self.database.read() as tx:
            micros = (await tx.execute(select(tables.work.c.due_at).where(of))).scalar_one_or_none()
        return None if micros is None else from_micros(micros)

    async def asleep(self, kind: str = EXPORT) -> None:
        """Take it that this work of the connection is done."""
        async with self.database.write() as tx:
            await tx.execute(tables.work.update().where(tables.work.c.kind == kind).values(due_at=None))


async def _nothing(_: Job) -> None:
    return None
