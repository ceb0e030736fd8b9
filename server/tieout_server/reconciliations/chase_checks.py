"""Chase checks: invoices looked up, judged, and read from Xero where what is here is too old to tell."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.errors import NotFoundError, PersonMustActError, TieoutError
from tieout_server.ledger.books import IDS_AT_ONCE, Books, Page, Purpose
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import IN_LEDGER, Entity, Invoice
from tieout_server.ledger.links import Link
from tieout_server.reconciliations import chase
from tieout_server.reconciliations.chase import ChaseCheck, ChaseVerdict, Standing
from tieout_server.reconciliations.known import known_up_to
from tieout_server.reconciliations.means import Means
from tieout_server.reconciliations.messages import InvoiceReference
from tieout_server.storage import connections, customers, discrepancies, mirror, receivables
from tieout_server.storage.database import Transaction
from tieout_server.storage.discrepancies import Discrepancy
from tieout_server.syncs.followers import follow

logger = log.get("chase")

WITHIN = 15.0
"""Seconds in which Xero has to answer for an invoice that is too old here; a caller is waiting."""


class PendingPayments(Protocol):
    """Where payments wait that are on their way into Xero."""

    async def pending(
        self, tx: Transaction, connection_id: str, xero_invoice_ids: Collection[str]
    ) -> Mapping[str, str]:
        """Of these invoices those of which a payment is on its way, each with the export that brings it."""
        ...


class ChaseChecks:
    """Answers whether invoices may be chased. Nothing is sent to anybody."""

    def __init__(
        self,
        means: Means,
        links: Connections,
        allowance: Callable[[str], Allowance],
        pending: PendingPayments | None = None,
    ) -> None:
        """`allowance` tells the calls that an organisation has left; without `pending` nothing is exported at all."""
        self._means = means
        self._links = links
        self._allowance = allowance
        self._pending = pending

    async def check(self, connection_id: str, asked: Sequence[InvoiceReference]) -> list[ChaseCheck]:
        """The answer for each of these invoices, in their order.

        Those that would be chased but are too old here are read from Xero first, as far as calls are left now.

        Raises:
            NotFoundError: there is no such connection.
        """
        async with self._means.database.read() as tx:
            link = await connections.get(tx, connection_id)
            if link is None:
                raise NotFoundError("connection", connection_id)
            judged = await self._judge(tx, connection_id, asked, {})
        stale = {name for name, check in judged if check.verdict is ChaseVerdict.STALE and check.as_of is not None}
        if read_at := await self._read_again(link, sorted(stale)):
            async with self._means.database.read() as tx:
                judged = await self._judge(tx, connection_id, asked, read_at)
        return [check for _, check in judged]

    async def _judge(
        self, tx: Transaction, connection_id: str, asked: Sequence[InvoiceReference], read_at: Mapping[str, datetime]
    ) -> list[tuple[str, ChaseCheck]]:
        """The answers from what is here, each with Xero's id of its invoice; `read_at` says what was just read."""
        now = self._means.clock.now()
        known_at = await known_up_to(tx, connection_id)
        meant = await _invoices_meant(tx, connection_id, asked)
        found = {one.xero_invoice_id: one for one in meant if isinstance(one, Invoice)}
        off = await _discrepancies_of(tx, connection_id, found.values())
        pending = await self._pending.pending(tx, connection_id, found) if self._pending else {}
        judged = []
        for one in meant:
            if not isinstance(one, Invoice):
                judged.append(("", chase.unknown(one, known_at)))
                continue
            name = one.xero_invoice_id
            standing = Standing(
                invoice=one,
                known_at=read_at.get(name, known_at),
                discrepancy=off.get(name),
                payment_export_id=pending.get(name, ""),
            )
            judged.append((name, chase.check(standing, now)))
        return judged

    async def _read_again(self, link: Link, ids: Sequence[str]) -> Mapping[str, datetime]:
        """Read these invoices from Xero, as far as calls are left in this minute; answers as of when each is known.

        What Xero does not answer in time, or refuses, is left out.
        """
        slices = [ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE)]
        slices = slices[: self._calls_left(link)]
        if not slices:
            return {}
        asked_at = self._means.clock.now()
        pages = await self._pages(link, slices)
        documents = [document for page in pages for document in page.documents if isinstance(document, Invoice)]
        async with self._means.database.write(durable=False) as tx:
            await self._means.wake_news(tx, link.id)
            now = self._means.clock.now()
            saved = await mirror.save(tx, link.id, documents, seen_in=0, at=now)
            if saved.changed:
                await follow(tx, link.id, documents, now)
                await self._means.feed.tell_of_changes(tx, link.id)
        return {document.xero_invoice_id: asked_at for document in documents}

    def _calls_left(self, link: Link) -> int:
        allowance = self._allowance(link.xero_tenant_id)
        today = allowance.left_today
        return max(allowance.left_this_minute if today is None else min(allowance.left_this_minute, today), 0)

    async def _pages(self, link: Link, slices: Sequence[Sequence[str]]) -> list[Page]:
        """What Xero answers in time."""
        pages: list[Page] = []
        troubles: list[TieoutError] = []

        async def read(books: Books, ids: Sequence[str]) -> None:
            try:
                pages.append(await books.by_ids(Entity.INVOICES, ids, Purpose.RECONCILIATION))
            except TieoutError as trouble:
                troubles.append(trouble)

        try:
            books = self._links.books(link)
        except PersonMustActError:
            return []  # somebody has to act first, and has been told
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as tasks:
                for ids in slices:
                    tasks.create_task(read(books, ids))
        await self._note(link, troubles)
        return pages

    async def _note(self, link: Link, troubles: Sequence[TieoutError]) -> None:
        for trouble in troubles:
            logger.warning("left stale", connection_id=link.id, trouble=trouble.sentence)
        if refusal := next((one for one in troubles if isinstance(one, PersonMustActError)), None):
            await self._links.access_lost(link.id, refusal)


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
    tx: Transaction, connection_id: str, invoices: Collection[Invoice]
) -> Mapping[str, Discrepancy]:
    """Of these invoices those whose customer is off balance, each with the difference in its currency before others."""
    contacts = {one.xero_contact_id for one in invoices}
    merged = await customers.merges(tx, connection_id, contacts)
    owners = {contact: merged.get(contact, contact) for contact in contacts}
    found = await discrepancies.open_of(tx, connection_id, set(owners.values()))
    off: dict[str, Discrepancy] = {}
    for one in invoices:
        own = found.get(owners[one.xero_contact_id], ())
        if nearest := next(iter(sorted(own, key=lambda it: it.currency != one.currency)), None):
            off[one.xero_invoice_id] = nearest
    return off
