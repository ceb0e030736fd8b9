"""Taking a page into the mirror: what counts and what does not, what has left, and whether to believe it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from tieout_server.ledger.books import Page
from tieout_server.ledger.documents import Account, Contact, Credit, Document, Entity, Invoice, Payment
from tieout_server.storage import live, mirror
from tieout_server.storage.database import Transaction
from tieout_server.storage.mirror import Saved
from tieout_server.syncs import gates, person, skips
from tieout_server.syncs.gates import Doubt
from tieout_server.syncs.plan import Line


class DoubtedError(Exception):
    """A page is too strange to be committed unasked; nothing of its transaction may count."""

    def __init__(self, doubt: Doubt) -> None:
        super().__init__(doubt.sentence)
        self.doubt = doubt


class Origin(msgspec.Struct, frozen=True):
    """Whose mirror a page belongs to, and what brought it when: a sync, or none (an empty id)."""

    connection_id: str
    ordinal: int
    at: datetime
    sync_id: str = ""


async def take_in(tx: Transaction, origin: Origin, line: Line, page: Page, *, is_first: bool = False) -> int:
    """Save a page and count it in its line; answers how many rows were new or changed.

    `is_first` says that it is the first page of a listing of all there is, which should not be empty all at once.

    Raises:
        DoubtedError: a gate closed, and the line was not confirmed.
        InexactAmountError: an amount has more than four decimal places.
    """
    await person.foresee(tx, origin.connection_id, page.documents, origin.at)
    wanted, unwanted = _sorted_out(page.documents)
    left = [id_of(document) for _, document in unwanted]
    removed = len(await live.among(tx, origin.connection_id, line.entity, left))
    if not line.confirmed:
        await _check(tx, origin, line, removed, is_empty=is_first and not page.item_count)
    saved = await _save(tx, origin, wanted)
    beside = await _save(tx, origin, [document for _, document in unwanted])
    line.removed += removed
    _count(line, saved, page.skipped, [reason for reason, _ in unwanted])
    return saved.changed + beside.changed


def id_of(document: Document) -> str:
    """The document's id at Xero."""
    if isinstance(document, Contact):
        return document.xero_contact_id
    if isinstance(document, Invoice):
        return document.xero_invoice_id
    if isinstance(document, Credit):
        return document.xero_credit_id
    return document.xero_account_id if isinstance(document, Account) else document.xero_payment_id


def entity_of(document: Document) -> Entity:
    """What the document is."""
    return document.entity if isinstance(document, Credit) else _ENTITIES[type(document)]


_ENTITIES: Mapping[type[Document], Entity] = {
    Contact: Entity.CONTACTS,
    Invoice: Entity.INVOICES,
    Payment: Entity.PAYMENTS,
    Account: Entity.ACCOUNTS,
}


async def _check(tx: Transaction, origin: Origin, line: Line, removed: int, *, is_empty: bool) -> None:
    doubt: Doubt | None = None
    total = line.removed + removed
    if is_empty:
        now = await live.count(tx, origin.connection_id, line.entity, open_only=line.open_only)
        doubt = gates.of_listing(line.entity, listed=0, live=now)
    elif removed and total > gates.MANY:  # counting costs a look at all rows: only where it can matter
        now = await live.count(tx, origin.connection_id, line.entity)
        doubt = gates.of_removals(line.entity, removed=total, live=now + line.removed)
    if doubt:
        raise DoubtedError(doubt)


async def _save(tx: Transaction, origin: Origin, documents: Sequence[Document]) -> Saved:
    return await mirror.save(
        tx, origin.connection_id, documents, seen_in=origin.ordinal, at=origin.at, sync_id=origin.sync_id
    )


def _sorted_out(documents: Sequence[Document]) -> tuple[list[Document], list[tuple[str, Document]]]:
    """The receivables of a page, and what is kept beside them with the reason why it is none."""
    wanted: list[Document] = []
    unwanted: list[tuple[str, Document]] = []
    for document in documents:
        if reason := skips.reason(document):
            unwanted.append((reason, document))
        else:
            wanted.append(document)
    return wanted, unwanted


def _count(line: Line, saved: Saved, skipped: Mapping[str, int], reasons: Sequence[str]) -> None:
    line.upserted += saved.changed
    if unchanged := saved.received - saved.changed:
        line.skipped[skips.UNCHANGED] = line.skipped.get(skips.UNCHANGED, 0) + unchanged
    for reason in reasons:
        line.skipped[reason] = line.skipped.get(reason, 0) + 1
    if payables := sum(skipped.values()):
        line.skipped[skips.NOT_RECEIVABLE] = line.skipped.get(skips.NOT_RECEIVABLE, 0) + payables
