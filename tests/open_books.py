"""Books that a test writes itself: what Xero would show of a few customers, and every call that was made."""
# ruff: noqa: ARG002 - a fake need not look at all that it is given

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import msgspec

from fakes import SettableClock
from places import alone
from tieout_server.ledger.books import AgedItem, AgedReport, HeldUp, Page, Purpose, Query
from tieout_server.ledger.documents import (
    Contact,
    Credit,
    Document,
    Entity,
    Invoice,
    Organisation,
    OrganisationUser,
    Payment,
)
from tieout_server.storage.database import Database
from tieout_server.syncs.means import NEWS
from tieout_server.work.engine import Engine, Job, Lane


@dataclass
class OpenBooks:
    """The books of one organisation. Balances are stated as its documents make them, but for what `stated` says."""

    clock: SettableClock
    documents: dict[str, Document] = field(default_factory=dict)
    stated: dict[str, Decimal] = field(default_factory=dict)
    """By contact: what is stated beside what its documents make."""
    hidden: dict[str, Sequence[AgedItem]] = field(default_factory=dict)
    """By contact: what only the report shows."""
    calls: list[str] = field(default_factory=list)
    reported_on: list[date] = field(default_factory=list)
    """The days for which the report was asked."""
    before_call: Callable[[str], None] = lambda _: None
    """Somebody else at work in the books."""

    def put(self, *documents: Document) -> None:
        """Write these into the books, in place of what has their ids."""
        self.documents |= {id_of(document): document for document in documents}

    def drop(self, *ids: str) -> None:
        """Have these shown no more."""
        for name in ids:
            del self.documents[name]

    def shown(self, contact: Contact) -> Contact:
        """The contact with the balance that is stated of it."""
        return msgspec.structs.replace(contact, stated_outstanding=self.figure(contact.xero_contact_id))

    def figure(self, xero_contact_id: str) -> Decimal:
        """What is stated as outstanding."""
        return self._owed(xero_contact_id) + self.stated.get(xero_contact_id, Decimal(0))

    async def read(self, query: Query, purpose: Purpose) -> Page:
        """A listing."""
        self._called(query.entity.value)
        found = [d for d in self.documents.values() if _entity(d) is query.entity and _is_wanted(d, query)]
        return self._page([self.shown(d) if isinstance(d, Contact) else d for d in sorted(found, key=id_of)], query)

    async def by_ids(self, entity: Entity, ids: Sequence[str], purpose: Purpose) -> Page:
        """These documents, as far as they are shown."""
        for _ in ids if entity not in (Entity.CONTACTS, Entity.INVOICES) else ids[:1]:
            self._called(f"{entity} by ids")
        found = [self.documents[name] for name in ids if name in self.documents]
        return self._page([self.shown(d) if isinstance(d, Contact) else d for d in found])

    async def contacts_like(self, text: str, purpose: Purpose) -> Page:
        """Nobody."""
        return self._page([])

    async def aged_receivables(self, xero_contact_id: str, on: date, purpose: Purpose) -> AgedReport:
        """What its documents make, and what only the report shows."""
        self._called("report")
        self.reported_on.append(on)
        hidden = self.hidden.get(xero_contact_id, ())
        items = [
            AgedItem(id_of(d), d.number, _open(d))
            for d in self.documents.values()
            if isinstance(d, Invoice | Credit) and d.xero_contact_id == xero_contact_id and _open(d)
        ]
        extra = sum((item.due for item in hidden), Decimal(0))
        return AgedReport(self._owed(xero_contact_id) + extra, [*items, *hidden])

    async def organisation(self, purpose: Purpose) -> Organisation:
        """Southern Hops."""
        self.before_call("organisation")
        return Organisation(xero_tenant_id="t", name="Southern Hops Ltd", base_currency="NZD")

    async def users(self, purpose: Purpose) -> Sequence[OrganisationUser]:
        """Nobody."""
        return []

    async def actions(self, purpose: Purpose) -> Mapping[str, bool]:
        """Nothing."""
        return {}

    def held_up(self) -> HeldUp | None:
        """Nothing."""
        return None

    def _called(self, what: str) -> None:
        self.calls.append(what)
        self.before_call(what)

    def _owed(self, xero_contact_id: str) -> Decimal:
        of = [d for d in self.documents.values() if isinstance(d, Invoice | Credit)]
        return sum((_in_base(d) for d in of if d.xero_contact_id == xero_contact_id), Decimal(0))

    def _page(self, documents: Sequence[Document], query: Query | None = None) -> Page:
        size, number = (query.page_size, query.page) if query else (1000, 1)
        return Page(
            documents=documents[(number - 1) * size : number * size],
            page_count=-(-len(documents) // size) or 1,
            item_count=len(documents),
            served_at=self.clock.now(),
            last_change_at=max((d.updated_at for d in documents), default=None),
        )


def engine_with_news(database: Database, clock: SettableClock) -> Engine:
    """An engine that does not run, to which the news can be left."""
    engine = alone(database, clock)
    engine.register(NEWS, Lane.NEWS, _nothing)
    return engine


async def _nothing(job: Job) -> None:
    """Done."""


def id_of(document: Document) -> str:
    """Xero's id of a contact, an invoice, a credit or a payment."""
    if isinstance(document, Payment):
        return document.xero_payment_id
    if isinstance(document, Contact):
        return document.xero_contact_id
    if isinstance(document, Invoice):
        return document.xero_invoice_id
    assert isinstance(document, Credit)
    return document.xero_credit_id


def _entity(document: Document) -> Entity:
    if isinstance(document, Contact):
        return Entity.CONTACTS
    if isinstance(document, Payment):
        return Entity.PAYMENTS
    return document.entity if isinstance(document, Credit) else Entity.INVOICES


def _is_wanted(document: Document, query: Query) -> bool:
    if isinstance(document, Contact):
        return True
    assert isinstance(document, Invoice | Credit)
    if query.of and document.xero_contact_id not in query.of:
        return False
    if query.open_only:
        return document.status == "AUTHORISED"
    return not query.drafts_only or document.status in ("DRAFT", "SUBMITTED")


def _open(document: Invoice | Credit) -> Decimal:
    if document.status != "AUTHORISED":
        return Decimal(0)
    return document.due if isinstance(document, Invoice) else -document.remaining


def _in_base(document: Invoice | Credit) -> Decimal:
    return _open(document) if document.rate == 1 else (_open(document) / document.rate).quantize(Decimal("0.01"))
