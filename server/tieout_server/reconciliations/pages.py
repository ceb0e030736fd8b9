"""Taking a page of documents into the mirror while an organisation is compared: what had been missed is noted first."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from tieout_server.ledger.documents import Credit, Document, Entity, Invoice
from tieout_server.ledger.links import Link
from tieout_server.reconciliations import findings
from tieout_server.reconciliations.afresh import item_of
from tieout_server.reconciliations.compare import Mismatch, by_owner, difference, mismatches
from tieout_server.reconciliations.findings import ReadAt
from tieout_server.reconciliations.items import Key, balances
from tieout_server.reconciliations.record import Record, Whose
from tieout_server.reconciliations.take_in import is_missed
from tieout_server.storage import customers, open_items, watermarks
from tieout_server.storage.database import Transaction
from tieout_server.syncs import doubts, followers
from tieout_server.syncs.intake import id_of


class Page:
    """A page in the transaction that takes it in, which has woken the news: `save`, then `tell` last of all."""

    def __init__(self, tx: Transaction, link: Link, ordinal: int, now: datetime) -> None:
        self._tx = tx
        self._link = link
        self._ordinal = ordinal
        self._now = now
        self.records: list[Record] = []

    async def save(self, documents: Sequence[Document], removed: dict[Entity, int]) -> int:
        """Make the mirror what these documents of one kind are; answers how many of its rows are other now.

        While a gate holds what was removed, or after somebody discarded it, what counts here goes on counting.
        `removed` is how many rows of each entity left before these, and then with them.

        Raises:
            DoubtedError: that is more than is believed unasked; nothing of the transaction may count.
        """
        if await doubts.is_open(self._tx, self._link.id, self._now):
            leaving = await doubts.leaving(self._tx, self._link.id, documents)
            documents = [document for document in documents if id_of(document) not in leaving]
        removed |= await doubts.leave(self._tx, self._link.id, documents, removed)
        own = [document for document in documents if isinstance(document, Invoice | Credit)]
        await self._note_missed(own)
        return await followers.save(self._tx, self._link.id, documents, seen_in=self._ordinal, at=self._now)

    async def _note_missed(self, documents: Sequence[Invoice | Credit]) -> None:
        theirs = {item_of(document).xero_id: item_of(document) for document in documents}
        kept = await open_items.with_ids(self._tx, self._link.id, theirs.keys())
        ours = {item_of(one.document).xero_id: item_of(one.document) for one in kept}
        for name, item in ours.items():
            if item.updated_at > theirs[name].updated_at:
                theirs[name] = item  # it came here after the page was served
        marks = await watermarks.every(self._tx, self._link.id)
        missed = [one for one in mismatches(ours, theirs) if is_missed(one, marks)]
        contacts = {contact for one in missed for contact, _ in one.keys}
        owners = await customers.merges(self._tx, self._link.id, contacts)
        missed = [by_owner(one, owners) for one in missed]
        read = ReadAt({item_of(one.document).xero_id: one.read_at for one in kept}, self._now)
        for key in sorted({key for one in missed for key in one.keys if difference(missed, key)}):
            await self._note(key, missed, read)

    async def _note(self, key: Key, missed: Sequence[Mismatch], read: ReadAt) -> None:
        customer, _ = key
        family = await customers.families(self._tx, self._link.id, [customer])
        kept = await open_items.of_contacts(self._tx, self._link.id, family)
        before = balances((item_of(one.document) for one in kept), family).get(key, Decimal(0))
        name = await open_items.contact_name(self._tx, self._link.id, customer)
        record = await Record.of(self._tx, Whose(self._link, customer, name, family), self._now)
        await record.seen(findings.repaired(missed, key, before, read))
        self.records.append(record)
