"""A connected organisation whose books a test writes itself, and everything that compares it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

import fakes
from databases import take
from documents import contact, invoice
from fakes import Xero
from open_books import OpenBooks, engine_with_news
from tieout_server.connections.messages import Connect, Return
from tieout_server.errors import TieoutError
from tieout_server.ledger.documents import Contact, Document, Entity
from tieout_server.reconciliations.changed import Changed
from tieout_server.reconciliations.messages import StartReconciliation
from tieout_server.reconciliations.service import WORK, Reconciliations
from tieout_server.reconciliations.work import ReconciliationWork
from tieout_server.storage import connections, discrepancies, mirror, watermarks, work
from tieout_server.storage.reconciliations import ReconciliationRecord
from tieout_server.storage.watermarks import Watermark
from tieout_server.storage.work import Task
from tieout_server.syncs.means import COMPARE, Means
from tieout_server.work.engine import Job

AT = datetime(2026, 11, 22, 11, tzinfo=UTC)
OFF = Decimal("0.07")


@dataclass
class Around:
    """A connected organisation whose first sync has ended, and its books."""

    world: fakes.World
    books: OpenBooks
    connection_id: str
    means: Means
    changed: Changed
    work: ReconciliationWork

    @property
    def service(self) -> Reconciliations:
        return self.world.subjects.reconciliation.reconciliations

    async def both(self, *documents: Document) -> None:
        """Have these in the books and in the mirror."""
        self.world.clock.time += timedelta(seconds=1)
        self.books.put(*documents)
        for document in documents:
            shown = self.books.shown(document) if isinstance(document, Contact) else document
            await self.here(shown)

    async def here(self, *documents: Document) -> None:
        """Have these in the mirror."""
        async with self.world.database.write() as tx:
            for document in documents:
                await mirror.save(tx, self.connection_id, [document], seen_in=1, at=self.world.clock.now())

    async def job(self, kind: str) -> Job:
        """The connection's work of this kind, in hand."""
        now, task = self.world.clock.now(), Task(kind, self.connection_id, "read")
        async with self.world.database.write() as tx:
            await work.wake(tx, task, priority=1, due_at=now)
            await work.free(tx, "the test", now)
        lease = await take(self.world.database, task, now=now)
        assert lease
        return Job(lease)

    async def compare_changed(self) -> datetime | None:
        """Compare what changed, once; answers when to look again."""
        return await self.changed.perform(await self.job(COMPARE))

    async def reconcile(self) -> ReconciliationRecord:
        """A whole reconciliation."""
        asked = await self.service.start(StartReconciliation(self.connection_id))
        while await self.work.perform(await self.job(WORK)):
            pass
        return await self.service.get(asked.reconciliation.id)

    async def off_balance(self) -> set[str]:
        """Who is off balance."""
        async with self.world.database.read() as tx:
            return await discrepancies.off_balance(tx, self.connection_id)

    def refuse(self, trouble: TieoutError) -> None:
        """Have every call refused."""

        def refuse(_: str) -> None:
            raise trouble.with_traceback(None)  # the same one each time: what it drags along must not grow

        self.books.before_call = refuse


@pytest.fixture
async def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Around]:
    async with fakes.world(tmp_path) as world:
        books = OpenBooks(world.clock)
        monkeypatch.setattr(Xero, "open", lambda *_: books)
        started = await world.connections.connect(Connect("acme"))
        state = parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]
        link = (await world.connections.complete(Return(state, "code"))).link
        means = Means(world.database, world.subjects.feed, world.clock, engine_with_news(world.database, world.clock))
        async with world.database.write() as tx:
            await connections.save(tx, msgspec.structs.replace(link, last_synced_at=AT))
            for entity in Entity:
                await watermarks.put(tx, link.id, entity, Watermark(AT, AT))
        made = Around(
            world,
            books,
            link.id,
            means,
            Changed(means, world.connections, lambda _: world.xero.allowance),
            ReconciliationWork(means, world.connections),
        )
        for n in range(3):
            made.books.put(invoice(f"i{n}", xero_contact_id=f"c{n}"))
            await made.here(invoice(f"i{n}", xero_contact_id=f"c{n}"))
            await made.both(contact(f"c{n}"))
        yield made
