"""Reading one customer's side of Xero afresh: what it states, and every document that is open on either side."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

import msgspec

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.errors import BugError, ScopeMissingError
from tieout_server.ledger.books import IDS_AT_ONCE, AgedReport, Books, Order, Page, Purpose, Query
from tieout_server.ledger.documents import CREDITS, Contact, Credit, Document, Entity, Invoice
from tieout_server.reconciliations.items import Item, of_credit, of_invoice
from tieout_server.storage.open_items import Kept, OpenDocument

logger = log.get("reconciliations")

PAGE_SIZE = 1000
"""Xero's largest page (Requests and responses, Paging)."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """Xero's side of one customer, as it was read between two instants."""

    contacts: Sequence[Contact]
    """The customer and what was merged into it."""
    documents: Mapping[str, OpenDocument]
    """What is open there, and what is open here, by id."""
    asked: frozenset[str]
    """What was asked for by its id; what of it is not among `documents` Xero does not show."""
    began_at: datetime

    @property
    def stated(self) -> Decimal | None:
        """What Xero states as outstanding; None where it states nothing, as of a contact without documents."""
        figures = [c.stated_outstanding for c in self.contacts if c.stated_outstanding is not None]
        return sum(figures, Decimal(0)) if figures else None

    @property
    def gone(self) -> frozenset[str]:
        """What is open here and not shown there."""
        return self.asked - self.documents.keys()


Book = Callable[[int], Awaitable[None]]
"""Books so many calls before they are made, or raises `BudgetSpentError`."""


class BudgetSpentError(Exception):
    """The calls that somebody permitted do not suffice for the next one, which was not made."""


class Afresh:
    """Reads of one organisation's books that count their calls. Every method raises what `Books` and `book` do."""

    def __init__(self, books: Books, clock: Clock, book: Book | None = None) -> None:
        self._books = books
        self._clock = clock
        self._book = book
        self.calls = 0

    async def side(self, family: Collection[str], ours: Iterable[Kept]) -> Side:
        """Xero's side of the customer that these contacts are, over merges; `ours` is what is open here."""
        began_at = self._clock.now()
        contacts = await self.contacts(family)
        of = tuple(sorted({contact.xero_contact_id for contact in contacts} | set(family)))
        found = await self._listed(Query(entity=Entity.INVOICES, open_only=True, of=of))
        for entity in CREDITS:
            found += await self._listed(Query(entity=entity, open_only=True, of=of))
        documents = {_id(one): one for one in found if isinstance(one, Invoice | Credit)}
        missing = [kept.document for kept in ours if _id(kept.document) not in documents]
        for entity in (Entity.INVOICES, *CREDITS):
            ids = sorted(_id(one) for one in missing if _entity(one) is entity)
            documents |= {_id(one): one for one in await self.by_ids(entity, ids) if isinstance(one, Invoice | Credit)}
        asked = frozenset(_id(one) for one in missing)
        return Side(contacts=contacts, documents=documents, asked=asked, began_at=began_at)

    async def contacts(self, ids: Collection[str]) -> list[Contact]:
        """These contacts, and those into which they were merged."""
        found: dict[str, Contact] = {}
        wanted = set(ids)
        while wanted:
            read = [one for one in await self.by_ids(Entity.CONTACTS, sorted(wanted)) if isinstance(one, Contact)]
            found |= {contact.xero_contact_id: contact for contact in read}
            wanted = {contact.merged_into for contact in read if contact.merged_into} - found.keys() - wanted
        return [found[name] for name in sorted(found)]

    async def drafts(self, family: Collection[str]) -> list[Item]:
        """Its invoices and credit notes that are drafts or wait for approval."""
        found: list[Document] = []
        for entity in (Entity.INVOICES, Entity.CREDIT_NOTES):
            found += await self._listed(Query(entity=entity, drafts_only=True, of=tuple(sorted(family))))
        return [item_of(one) for one in found if isinstance(one, Invoice | Credit)]

    async def report(self, xero_contact_id: str, items: Sequence[Item], today: date) -> AgedReport | None:
        """What Xero reports as owed by a contact, all of these documents counted; None if reports are closed to us."""
        on = max([today, *(item.issued_on for item in items if item.issued_on)])
        await self._call()
        try:
            return await self._books.aged_receivables(xero_contact_id, on, Purpose.RECONCILIATION)
        except ScopeMissingError:  # an older consent without reports: nothing is wrong with the connection
            return None
        except BugError:  # nobody documented what it looks like: it tells nothing
            logger.exception("report is not understood", customer=xero_contact_id)
            return None

    async def by_ids(self, entity: Entity, ids: Sequence[str]) -> list[Document]:
        """These documents, as far as Xero shows them."""
        found: list[Document] = []
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            await self._call(len(some) if entity in CREDITS else 1)
            found += (await self._books.by_ids(entity, some, Purpose.RECONCILIATION)).documents
        return found

    async def _call(self, count: int = 1) -> None:
        if self._book:
            await self._book(count)
        self.calls += count

    async def _listed(self, query: Query) -> list[Document]:
        """A listing to its end; whoever compares finds out if a row slipped through between two pages."""
        found: list[Document] = []
        page = Page(documents=(), page_count=1, item_count=0, served_at=self._clock.now())
        number = 0
        while number < page.page_count:
            number += 1
            asked = msgspec.structs.replace(query, page=number, page_size=PAGE_SIZE, order=Order.BY_ID)
            await self._call()
            page = await self._books.read(asked, Purpose.RECONCILIATION)
            found += page.documents
        return found


def item_of(document: OpenDocument) -> Item:
    """What a document does to a balance."""
    return of_invoice(document) if isinstance(document, Invoice) else of_credit(document)


def _id(document: OpenDocument | Document) -> str:
    if isinstance(document, Invoice):
        return document.xero_invoice_id
    return document.xero_credit_id if isinstance(document, Credit) else ""


def _entity(document: OpenDocument) -> Entity:
    return Entity.INVOICES if isinstance(document, Invoice) else document.entity
