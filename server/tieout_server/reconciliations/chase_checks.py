"""Chase checks: invoices looked up, judged, and read from Xero where what is here does not tell.

What is too old is not read whole: of an invoice and its customer's balance, read at one moment, the balance tells
whether every other document of the customer here is still as it was, too.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.connections.state import is_over
from tieout_server.errors import NotFoundError, PersonMustActError, TieoutError
from tieout_server.ledger.books import IDS_AT_ONCE, Books, Page, Purpose
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import IN_LEDGER, Contact, Document, Entity, Invoice
from tieout_server.ledger.links import Link
from tieout_server.reconciliations import chase
from tieout_server.reconciliations.chase import ChaseCheck, ChaseVerdict, Standing
from tieout_server.reconciliations.figures import Figure, figures_of
from tieout_server.reconciliations.known import known_up_to
from tieout_server.reconciliations.messages import InvoiceReference
from tieout_server.storage import connections, discrepancies, exports, receivables
from tieout_server.storage.database import Transaction
from tieout_server.storage.discrepancies import Discrepancy
from tieout_server.syncs import followers
from tieout_server.syncs.means import Means

logger = log.get("chase")

WITHIN = 15.0
"""Seconds in which Xero has to answer for an invoice that is too old here; a caller is waiting."""


class _Judged(NamedTuple):
    """An answer, and what it is about: Xero's id of the invoice, empty where there is none, and its customer."""

    check: ChaseCheck
    xero_invoice_id: str = ""
    figure: Figure | None = None


class _Read(NamedTuple):
    """What was read from Xero this moment, by id."""

    at: datetime
    invoices: Collection[str] = ()
    contacts: Collection[str] = ()

    def covers(self, xero_invoice_id: str, figure: Figure) -> bool:
        """Whether all of a customer is known as of now: with the invoice, and a balance that its documents make."""
        return xero_invoice_id in self.invoices and figure.is_net and figure.members <= set(self.contacts)


class ChaseChecks:
    """Answers whether invoices may be chased. Nothing is sent to anybody."""

    def __init__(self, means: Means, links: Connections, allowance: Callable[[str], Awaitable[Allowance]]) -> None:
        """`allowance` tells the calls that an organisation has left."""
        self._means = means
        self._links = links
        self._allowance = allowance

    async def check(self, connection_id: str, asked: Sequence[InvoiceReference]) -> list[ChaseCheck]:
        """The answer for each of these invoices, in their order.

        Those that would be chased but are too old here, or whose customer's balance is not what Xero last stated, are
        read from Xero first with that balance, as far as calls are left now.

        Raises:
            NotFoundError: there is no such connection.
        """
        async with self._means.database.read() as tx:
            link = await connections.get(tx, connection_id)
            if link is None:
                raise NotFoundError("connection", connection_id)
            judged = await self._judge(tx, connection_id, asked, None)
        if read := await self._read_again(link, [one for one in judged if _may_change(one.check)]):
            async with self._means.database.read() as tx:
                judged = await self._judge(tx, connection_id, asked, read)
        return [one.check for one in judged]

    async def _judge(
        self, tx: Transaction, connection_id: str, asked: Sequence[InvoiceReference], read: _Read | None
    ) -> list[_Judged]:
        """The answers from what is here, of which this was just read."""
        now = self._means.clock.now()
        known_at = await known_up_to(tx, connection_id)
        meant = await _invoices_meant(tx, connection_id, asked)
        found = {one.xero_invoice_id: one for one in meant if isinstance(one, Invoice)}
        figures = await figures_of(tx, connection_id, {one.xero_contact_id for one in found.values()})
        off = await _discrepancies_of(tx, connection_id, found.values(), figures)
        pending = await exports.pending_of(tx, connection_id, found)
        judged = []
        for one in meant:
            if not isinstance(one, Invoice):
                judged.append(_Judged(chase.unknown(one, known_at)))
                continue
            name, figure = one.xero_invoice_id, figures[one.xero_contact_id]
            standing = Standing(
                invoice=one,
                known_at=read.at if read and known_at and read.covers(name, figure) else known_at,
                discrepancy=off.get(name),
                is_balanced=figure.is_balanced,
                payment_export_id=pending.get(name, ""),
                unapplied=figure.unapplied.get(one.currency, Decimal(0)),
            )
            judged.append(_Judged(chase.check(standing, now), name, figure))
        return judged

    async def _read_again(self, link: Link, wanted: Sequence[_Judged]) -> _Read | None:
        """Read these invoices and their customers' balances from Xero, as far as calls are left in this minute.

        What Xero does not answer in time, or refuses, is left out.
        """
        slices = _slices(wanted, await self._calls_left(link))
        if not slices:
            return None
        asked_at = self._means.clock.now()
        pages = await self._pages(link, slices)
        documents = [document for page in pages for document in page.documents]
        invoices = [document for document in documents if isinstance(document, Invoice)]
        contacts = [document for document in documents if isinstance(document, Contact)]
        async with self._means.database.write(durable=False) as tx:
            if is_over(await connections.get(tx, link.id, lock=True) or link, since=link):
                return None
            await self._means.wake_news(tx, link.id)
            now, ordinal = self._means.clock.now(), await connections.sync_ordinal(tx, link.id)
            kinds: tuple[Sequence[Document], ...] = (contacts, invoices)
            if any([await followers.save(tx, link.id, kind, seen_in=ordinal, at=now) for kind in kinds]):
                await self._means.feed.tell_of_changes(tx, link.id)
        return _Read(asked_at, {one.xero_invoice_id for one in invoices}, {one.xero_contact_id for one in contacts})

    async def _calls_left(self, link: Link) -> int:
        allowance = await self._allowance(link.xero_tenant_id)
        today = allowance.left_today
        return max(allowance.left_this_minute if today is None else min(allowance.left_this_minute, today), 0)

    async def _pages(self, link: Link, slices: Sequence[tuple[Entity, Sequence[str]]]) -> list[Page]:
        """What Xero answers in time."""
        pages: list[Page] = []
        troubles: list[TieoutError] = []

        async def read(books: Books, entity: Entity, ids: Sequence[str]) -> None:
            try:
                pages.append(await books.by_ids(entity, ids, Purpose.RECONCILIATION))
            except TieoutError as trouble:
                troubles.append(trouble)

        try:
            books = self._links.books(link)
        except PersonMustActError:
            return []  # somebody has to act first, and has been told
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as tasks:
                for entity, ids in slices:
                    tasks.create_task(read(books, entity, ids))
        await self._note(link, troubles)
        return pages

    async def _note(self, link: Link, troubles: Sequence[TieoutError]) -> None:
        for trouble in troubles:
            logger.warning("left stale", connection_id=link.id, trouble=trouble.sentence)
        if refusal := next((one for one in troubles if isinstance(one, PersonMustActError)), None):
            await self._links.access_lost(link.id, refusal)


def _may_change(check: ChaseCheck) -> bool:
    """Whether reading the invoice and its customer's balance may lead to another answer."""
    is_unexamined = check.verdict is ChaseVerdict.OFF_BALANCE and not check.discrepancy_id
    return (check.verdict is ChaseVerdict.STALE and check.as_of is not None) or is_unexamined


def _slices(wanted: Iterable[_Judged], most: int) -> list[tuple[Entity, Sequence[str]]]:
    """The ids to be read in each call, so many calls at most: no invoice without its customer."""
    invoices = sorted({one.xero_invoice_id: one.figure for one in wanted if one.figure}.items(), key=_by_customer)
    slices: list[tuple[Entity, Sequence[str]]] = []
    known: set[str] = set()
    for start in range(0, len(invoices), IDS_AT_ONCE):
        some = invoices[start : start + IDS_AT_ONCE]
        contacts = sorted({member for _, figure in some for member in figure.members} - known)
        parts = [contacts[first : first + IDS_AT_ONCE] for first in range(0, len(contacts), IDS_AT_ONCE)]
        if len(slices) + len(parts) + 1 > most:
            break
        slices += [(Entity.CONTACTS, part) for part in parts]
        slices.append((Entity.INVOICES, [name for name, _ in some]))
        known.update(contacts)
    return slices


def _by_customer(item: tuple[str, Figure]) -> tuple[str, str]:
    return item[1].xero_contact_id, item[0]


async def _invoices_meant(
    tx: Transaction, connection_id: str, asked: Sequence[InvoiceReference]
) -> list[Invoice | str]:
    """The invoice that each reference means, or why it means none."""
    ids = {one.xero_invoice_id for one in asked if one.xero_invoice_id}
    numbers = {one.number for one in asked if one.number}
    found = await receivables.invoices_meant(tx, connection_id, ids, numbers)
    by_id = {one.xero_invoice_id: one for one in found}
    by_number: dict[str, list[Invoice]] = {}
    for one in found:
        by_number.setdefault(one.number, []).append(one)
    return [
        by_id.get(one.xero_invoice_id, "There is no such invoice here.")
        if one.xero_invoice_id
        else _with_number(by_number.get(one.number, ()))
        for one in asked
    ]


def _with_number(found: Sequence[Invoice]) -> Invoice | str:
    """The only one, or the only one in the ledger: a number is free again once its invoice was voided or deleted."""
    in_ledger = [one for one in found if one.status in IN_LEDGER]
    if len(in_ledger) > 1:
        return f"{len(in_ledger)} invoices have this number: name one by its id."
    return next(iter(in_ledger or found), "There is no invoice with this number here.")


async def _discrepancies_of(
    tx: Transaction, connection_id: str, invoices: Collection[Invoice], figures: Mapping[str, Figure]
) -> Mapping[str, Discrepancy]:
    """Of these invoices those whose customer is off balance, each with the difference in its currency before others."""
    owners = {contact: figure.xero_contact_id for contact, figure in figures.items()}
    found = await discrepancies.open_of(tx, connection_id, set(owners.values()))
    off: dict[str, Discrepancy] = {}
    for one in invoices:
        own = found.get(owners[one.xero_contact_id], ())
        if nearest := next(iter(sorted(own, key=lambda it: it.currency != one.currency)), None):
            off[one.xero_invoice_id] = nearest
    return off
