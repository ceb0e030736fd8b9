"""An organisation's books at Xero, and the library they come from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from http import HTTPStatus

import aiohttp
import msgspec

from tieout_server.clock import Clock
from tieout_server.errors import UnexpectedAnswerError
from tieout_server.ledger.books import IDS_AT_ONCE, AccessTokens, AgedReport, HeldUp, Order, Page, Purpose, Query
from tieout_server.ledger.calls import Allowance, CallsInMemory, Pacing
from tieout_server.ledger.documents import Entity, Organisation, OrganisationUser
from tieout_server.settings import Settings
from tieout_server.xero import wire
from tieout_server.xero.listings import LISTINGS, Listing
from tieout_server.xero.reports import aged_report
from tieout_server.xero.time_zones import time_zone
from tieout_server.xero.transport import Access, Request, Transport
from tieout_server.xero.writes import Writes

_ORGANISATIONS = msgspec.json.Decoder(wire.Organisations)
_USERS = msgspec.json.Decoder(wire.Users)
_ACTIONS = msgspec.json.Decoder(wire.Actions)


class XeroLibrary:
    """All organisations that are connected to the app; they share its limits."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: Settings,
        clock: Clock,
        calls: CallsInMemory,
        pacing: Pacing,
    ) -> None:
        self._transport = Transport(session, settings, clock, calls, pacing)
        self._clock = clock

    def open(self, xero_tenant_id: str, tokens: AccessTokens) -> "XeroBooks":
        """The books of one organisation. Opening makes no call."""
        return XeroBooks(self._transport, Access(xero_tenant_id, tokens), self._clock)

    def allowance(self, xero_tenant_id: str) -> Allowance:
        """What Xero's limits leave for this organisation at this moment."""
        return self._transport.allowance(xero_tenant_id)


class XeroBooks(Writes):
    """One organisation's books. Every method raises what `Transport.fetch` does."""

    async def read(self, query: Query, purpose: Purpose) -> Page:
        """One page of a listing. Accounts come in one page, whatever is asked (Xero, Accounts)."""
        listing = LISTINGS[query.entity]

        def read(body: bytes) -> Page:
            if body:
                return _checked(listing.read(body), query) if listing.is_paged else listing.read(body)
            # 304, nothing changed since: known up to then, by Xero's clock; ours says nothing about Xero's.
            return Page(documents=(), page_count=1, item_count=0, served_at=query.since or self._clock.now())

        request = Request(path=listing.path, purpose=purpose, parameters=_parameters(query), since=query.since)
        fetched = await self._transport.fetch(self._access, request, read)
        page_count = max(fetched.content.page_count, 1)  # a listing that is not paged says nothing of pages
        return msgspec.structs.replace(fetched.content, page_count=page_count, bytes_wire=fetched.wire_bytes)

    async def by_ids(self, entity: Entity, ids: Sequence[str], purpose: Purpose) -> Page:
        """The documents with these ids, `IDS_AT_ONCE` at most; what Xero does not show now is left out."""
        listing = LISTINGS[entity]
        if listing.id_list is None:
            found = [await self._one(listing, one, purpose) for one in ids]
            return _put_together([page for page in found if page], served_at=self._clock.now())
        paging = {"page": "1", "pageSize": str(IDS_AT_ONCE)}  # without a page Xero leaves out most of a contact
        request = Request(
            path=listing.path, purpose=purpose, parameters=dict(listing.id_list) | {"IDs": ",".join(ids)} | paging
        )
        fetched = await self._transport.fetch(self._access, request, listing.read)
        return msgspec.structs.replace(fetched.content, bytes_wire=fetched.wire_bytes)

    async def contacts_like(self, text: str, purpose: Purpose) -> Page:
        """Contacts in whose name, number or email address this text occurs, archived ones too; 100 at most.

        `searchTerm` is Xero's own, quick and without regard to case (Xero, Contacts, High volume threshold).
        """
        listing = LISTINGS[Entity.CONTACTS]
        asked = {"searchTerm": text, "order": "ContactID ASC", "page": "1", "pageSize": "100"}
        request = Request(path=listing.path, purpose=purpose, parameters=dict(listing.parameters) | asked)
        fetched = await self._transport.fetch(self._access, request, listing.read)
        return msgspec.structs.replace(fetched.content, bytes_wire=fetched.wire_bytes)

    async def _one(self, listing: Listing, document_id: str, purpose: Purpose) -> Page | None:
        """The document with this id; None if Xero does not show it."""
        request = Request(path=f"{listing.path}/{document_id}", purpose=purpose)
        try:
            fetched = await self._transport.fetch(self._access, request, listing.read)
        except UnexpectedAnswerError as refusal:
            if refusal.facts.get("status") == str(HTTPStatus.NOT_FOUND.value):
                return None
            raise
        return msgspec.structs.replace(fetched.content, bytes_wire=fetched.wire_bytes)

    async def aged_receivables(self, xero_contact_id: str, on: date, purpose: Purpose) -> AgedReport:
        """What is reported as owed by this contact on this day (Xero, Reports, AgedReceivablesByContact)."""
        asked = {"contactId": xero_contact_id, "date": on.isoformat()}
        request = Request(path="Reports/AgedReceivablesByContact", purpose=purpose, parameters=asked)
        return (await self._transport.fetch(self._access, request, aged_report)).content

    async def organisation(self, purpose: Purpose) -> Organisation:
        """What the books say of themselves: name, currency, time zone, lock dates. Costs no egress (Xero, Pricing)."""
        request = Request(path="Organisation", purpose=purpose)
        fetched = await self._transport.fetch(self._access, request, _ORGANISATIONS.decode)
        if not fetched.content.rows:
            raise UnexpectedAnswerError("Xero describes no organisation.")
        row = fetched.content.rows[0]
        return Organisation(
            xero_tenant_id=row.organisation_id,
            name=row.name,
            base_currency=row.base_currency,
            country_code=row.country_code or "",
            short_code=row.short_code or "",
            period_lock_on=_date(row.period_lock),
            end_of_year_lock_on=_date(row.end_of_year_lock),
            status=row.status or "",
            is_demo=row.is_demo,
            time_zone=time_zone(row.time_zone or ""),
        )

    async def users(self, purpose: Purpose) -> Sequence[OrganisationUser]:
        """Who has access, with their roles."""
        fetched = await self._transport.fetch(self._access, Request(path="Users", purpose=purpose), _USERS.decode)
        return [
            OrganisationUser(
                xero_user_id=row.user_id,
                email=row.email or "",
                name=" ".join(filter(None, (row.first_name, row.last_name))),
                role=row.role,
            )
            for row in fetched.content.rows
        ]

    async def actions(self, purpose: Purpose) -> Mapping[str, bool]:
        """What the authorising user may do there, by Xero's action name (for example CreateInvoicePayment)."""
        request = Request(path="Organisation/Actions", purpose=purpose)
        fetched = await self._transport.fetch(self._access, request, _ACTIONS.decode)
        return {row.name: row.status == "ALLOWED" for row in fetched.content.rows}

    def held_up(self) -> HeldUp | None:
        """What calls to these books are waiting for at this moment, if for anything."""
        return self._transport.held_up(self._access.xero_tenant_id)


def _checked(page: Page, query: Query) -> Page:
    rows = len(page.documents) + len(page.skipped_ids)
    wire.Pagination(page.page_count, page.item_count).check(rows, page=query.page, page_size=query.page_size)
    return page


def _parameters(query: Query) -> dict[str, str]:
    listing = LISTINGS[query.entity]
    parameters = dict(listing.parameters)
    if query.entity is Entity.INVOICES:
        parameters |= _narrowed_invoices(query)
    elif where := _conditions(query):
        parameters["where"] = " AND ".join(filter(None, (parameters.get("where"), *where)))
    if listing.is_paged:
        order = listing.primary_id if query.order is Order.BY_ID else "UpdatedDateUTC"
        parameters |= {"order": f"{order} ASC", "page": str(query.page), "pageSize": str(query.page_size)}
    return parameters


def _narrowed_invoices(query: Query) -> dict[str, str]:
    """Lists of statuses and contacts: filters that Xero has for invoices, and that are optimised."""
    narrowed = {"ContactIDs": ",".join(query.of)} if query.of else {}
    if query.open_only:
        narrowed["Statuses"] = "AUTHORISED"
    elif query.drafts_only:
        narrowed["Statuses"] = "DRAFT,SUBMITTED"
    return narrowed


def _conditions(query: Query) -> list[str]:
    """The same for credits, which have no such lists."""
    conditions = ['Status=="AUTHORISED"'] if query.open_only else []
    if query.drafts_only:
        conditions.append('(Status=="DRAFT" OR Status=="SUBMITTED")')
    if query.of:
        contacts = " OR ".join(f'Contact.ContactID==guid("{contact}")' for contact in query.of)
        conditions.append(f"({contacts})" if len(query.of) > 1 else contacts)
    return conditions


def _put_together(pages: Sequence[Page], *, served_at: datetime) -> Page:
    """Pages of one document each as one page."""
    return Page(
        documents=[document for page in pages for document in page.documents],
        page_count=1,
        item_count=len(pages),
        served_at=min((page.served_at for page in pages), default=served_at),
        skipped=Counter(reason for page in pages for reason in page.skipped),
        skipped_ids=[skipped for page in pages for skipped in page.skipped_ids],
        bytes_wire=sum(page.bytes_wire for page in pages),
    )


def _date(text: str | None) -> date | None:
    return wire.on_date(text) if text else None
