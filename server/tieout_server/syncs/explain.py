"""Why a contact of Xero is or is not a customer here, in a word and in a sentence that can be read out.

The copy answers where it can know. Whether Xero calls a contact a customer changes without a trace (Xero, Contacts:
IsCustomer does not move UpdatedDateUTC), so of a contact that is no customer here Xero is asked once.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

import msgspec

from tieout_server.clock import Clock
from tieout_server.connections.service import Connections
from tieout_server.connections.state import check_can_read
from tieout_server.errors import NotFoundError, OperatorMustActError, PersonMustActError, TryAgainError
from tieout_server.ledger.books import Books, Page, Purpose
from tieout_server.ledger.documents import Contact, ContactStatus, Entity
from tieout_server.ledger.links import Link
from tieout_server.storage import connections, customers, watermarks
from tieout_server.storage.customers import ContactField
from tieout_server.storage.database import Database

MOST = 20
"""Contacts that are explained at a time."""
_PURPOSE = Purpose.RECONCILIATION


class Verdict(StrEnum):
    """Why a contact is or is not here."""

    IMPORTED = "IMPORTED"
    """It is a customer here."""
    SUPPLIER_ONLY = "SUPPLIER_ONLY"
    """Xero has it as a supplier only."""
    ARCHIVED = "ARCHIVED"
    """It is archived, and owes nothing."""
    NO_RECEIVABLES_YET = "NO_RECEIVABLES_YET"
    """It has no sales document yet."""
    MERGED = "MERGED"
    """It was merged into another contact."""
    ERASED = "ERASED"
    """It was erased by a GDPR request."""
    NOT_FOUND_IN_XERO = "NOT_FOUND_IN_XERO"
    """Xero does not know it."""
    NOT_SYNCED_YET = "NOT_SYNCED_YET"
    """Xero has it as a customer, and it is not here yet."""


KNOWN_HERE = (Verdict.IMPORTED, Verdict.MERGED, Verdict.ERASED)
"""Verdicts that the copy can give by itself: what moves UpdatedDateUTC, or is final."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why one contact is or is not here."""

    verdict: Verdict
    sentence: str
    customer_id: str = ""
    """The customer here: itself, or the one it was merged into; empty where there is none."""
    contact: Contact | None = None
    """What Xero says of it."""
    asked_xero: bool = False
    as_of: datetime
    """When `contact` was true."""


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """What the copy knows of some contacts and of those that they became."""

    customers: frozenset[str] = frozenset()
    """Which of them are customers."""
    became: Mapping[str, str] = {}
    """What those that were merged away are now."""
    names: Mapping[str, str] = {}


class Explanations:
    """Explains contacts."""

    def __init__(self, database: Database, links: Connections, clock: Clock) -> None:
        self._database = database
        self._links = links
        self._clock = clock

    async def contact(self, connection_id: str, field: ContactField, value: str) -> Sequence[Explanation]:
        """Of each contact with this id, name, number or email address, why it is or is not here; 20 at most.

        One explanation says that there is none where nobody knows it.

        Raises:
            NotFoundError: there is no such connection.
            ConnectionNotUsableError: Xero would have to be asked, and somebody has to act first.
            TryAgainError: Xero would have to be asked, and cannot be at this moment.
        """
        async with self._database.read() as tx:
            link = await connections.get(tx, connection_id)
            if link is None:
                raise NotFoundError("connection", connection_id)
            found = await customers.contacts_with(tx, connection_id, field, value, limit=MOST)
            known = [listed.contact for listed in found]
            mark = (await watermarks.every(tx, connection_id)).get(Entity.CONTACTS)
        read_at = mark.last_read_at if mark else max((f.updated_at for f in found), default=self._clock.now())
        explained = await self._explain(connection_id, known, as_of=read_at, asked_xero=False)
        if explained and all(one.verdict in KNOWN_HERE for one in explained):
            return explained
        try:
            stated = await self._ask(link, field, value, known)
        except (PersonMustActError, TryAgainError):
            if explained:
                return explained
            raise
        if not stated:
            return explained or [_unknown(field, value, self._clock.now())]
        return await self._explain(connection_id, stated[:MOST], as_of=self._clock.now(), asked_xero=True)

    async def _explain(
        self, connection_id: str, contacts: Sequence[Contact], *, as_of: datetime, asked_xero: bool
    ) -> list[Explanation]:
        here = await self._here(connection_id, contacts)
        return [
            Explanation(
                verdict=verdict,
                sentence=sentence,
                customer_id=customer if (customer := _now(contact, here)) in here.customers else "",
                contact=contact,
                asked_xero=asked_xero,
                as_of=as_of,
            )
            for contact in contacts
            for verdict, sentence in [judge(contact, here)]
        ]

    async def _here(self, connection_id: str, contacts: Sequence[Contact]) -> Here:
        """What the copy knows of these contacts; a merge that it does not know yet is taken from them."""
        ids = {contact.xero_contact_id for contact in contacts}
        async with self._database.read() as tx:
            into = {contact.xero_contact_id: contact.merged_into for contact in contacts if contact.merged_into}
            later = await customers.merges(tx, connection_id, set(into.values()))
            became = {loser: later.get(winner, winner) for loser, winner in into.items()}
            concerned = ids | set(became.values())
            listed = await customers.contacts_named(tx, connection_id, concerned)
            found = await customers.customers_named(tx, connection_id, concerned)
        return Here(
            customers=frozenset(customer.contact.xero_contact_id for customer in found),
            became=became,
            names={one.contact.xero_contact_id: one.contact.name for one in listed},
        )

    async def _ask(self, link: Link, field: ContactField, value: str, known: Sequence[Contact]) -> Sequence[Contact]:
        """What Xero says now of the contacts that are known here, or else of those that have the value; one call."""
        ids = [contact.xero_contact_id for contact in known]
        if field is ContactField.ID and not known:
            if not _is_id(value):
                return ()
            ids = [value]
        if ids:
            return await stated(self._links, link, lambda books: books.by_ids(Entity.CONTACTS, ids, _PURPOSE))
        found = await stated(self._links, link, lambda books: books.contacts_like(value, _PURPOSE))
        return [contact for contact in found if _has(contact, field, value)]


async def stated(links: Connections, link: Link, ask: Callable[[Books], Awaitable[Page]]) -> Sequence[Contact]:
    """The contacts that Xero answers.

    Raises:
        ConnectionNotUsableError: somebody has to act first.
        TryAgainError: Xero cannot be asked at this moment.
    """
    books = links.books(link)
    try:
        page = await ask(books)
    except OperatorMustActError:
        raise
    except PersonMustActError as refusal:
        check_can_read(await links.access_lost(link.id, refusal))
        raise
    return [document for document in page.documents if isinstance(document, Contact)]


def judge(contact: Contact, here: Here) -> tuple[Verdict, str]:
    """Why this contact, as Xero states it, is or is not a customer here; and that as it can be read out."""
    name = f'"{contact.name}"'
    is_archived = contact.status == ContactStatus.ARCHIVED
    if contact.status == ContactStatus.GDPRREQUEST:
        return Verdict.ERASED, "This contact was erased in Xero on request (GDPR), so it is not here."
    if contact.merged_into:
        return Verdict.MERGED, _merged(name, _now(contact, here), here)
    if contact.xero_contact_id in here.customers:
        but = "archived in Xero, and still here as a customer because its balance is not settled"
        return Verdict.IMPORTED, f"{name} is {but if is_archived else 'here as a customer'}."
    return _absent(name, contact, is_archived=is_archived)


def _absent(name: str, contact: Contact, *, is_archived: bool) -> tuple[Verdict, str]:
    """Why a contact that is as it ever was in Xero is no customer here."""
    if is_archived and not contact.stated_outstanding:
        return Verdict.ARCHIVED, f"{name} is archived in Xero and owes nothing, so it is not here. {_RESTORE}"
    if contact.is_customer or is_archived:
        return Verdict.NOT_SYNCED_YET, f"{name} is a customer in Xero and not here yet; it comes with the next sync."
    if contact.is_supplier:
        return Verdict.SUPPLIER_ONLY, f"{name} is only a supplier in Xero, so it is not here. {_FIRST}"
    return Verdict.NO_RECEIVABLES_YET, f"{name} is in Xero but has no sales invoice, so it is not here. {_FIRST}"


_FIRST = "It comes with its first approved sales invoice."
_RESTORE = "Restored in Xero, it comes back."


def _merged(name: str, winner: str, here: Here) -> str:
    called = f'"{here.names[winner]}"' if winner in here.names else f"another contact ({winner})"
    if winner in here.customers:
        return f"{name} was merged into {called} in Xero. Its invoices and credits are with {called} here."
    return f"{name} was merged into {called} in Xero, which is no customer here."


def _now(contact: Contact, here: Here) -> str:
    """The contact that it is now, over any merges."""
    return here.became.get(contact.xero_contact_id, contact.xero_contact_id)


def _unknown(field: ContactField, value: str, at: datetime) -> Explanation:
    what = {
        ContactField.ID: "id",
        ContactField.NAME: "name",
        ContactField.NUMBER: "contact number",
        ContactField.EMAIL: "email address",
    }[field]
    said = f'Xero has no contact with the {what} "{value}", neither active nor archived.'
    return Explanation(verdict=Verdict.NOT_FOUND_IN_XERO, sentence=said, asked_xero=True, as_of=at)


def _has(contact: Contact, field: ContactField, value: str) -> bool:
    """Whether this is a contact that was asked for: Xero finds every one in which the text occurs."""
    match field:
        case ContactField.NAME:
            return contact.name.casefold() == value.casefold()
        case ContactField.NUMBER:
            return contact.contact_number == value
        case ContactField.EMAIL:
            return contact.email.casefold() == value.casefold()
        case ContactField.ID:
            return contact.xero_contact_id == value
        case _ as never:
            assert_never(never)


def _is_id(text: str) -> bool:
    """Whether Xero can have a contact with this id."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True
