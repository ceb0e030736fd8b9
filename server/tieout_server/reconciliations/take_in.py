"""Taking Xero's side of a customer into the mirror, and comparing what was here with it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tieout_server.ledger.documents import Contact, Credit, Document, DocumentStatus, Entity, Invoice
from tieout_server.ledger.links import Link
from tieout_server.ledger.money import readable
from tieout_server.reconciliations import findings, sentences
from tieout_server.reconciliations.afresh import Side, item_of
from tieout_server.reconciliations.compare import Mismatch, by_owner, difference, mismatches
from tieout_server.reconciliations.convention import Convention
from tieout_server.reconciliations.findings import ReadAt
from tieout_server.reconciliations.items import Item, balances
from tieout_server.reconciliations.messages import Repair
from tieout_server.reconciliations.record import Finding, Whose
from tieout_server.reconciliations.suspects import Crossing
from tieout_server.storage import connections, customers, open_items, watermarks
from tieout_server.storage.database import Transaction
from tieout_server.storage.open_items import Kept, OpenDocument
from tieout_server.storage.watermarks import Watermark
from tieout_server.syncs import doubts, person
from tieout_server.syncs.followers import follow
from tieout_server.syncs.plan import OVERLAP

_KINDS = (Invoice, Credit)

_CONVERTED = "other currencies converted"
_ADDED_UP = "all currencies added up as they are"
_WITHOUT_CREDITS = "credits left out"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A customer after Xero's side of it was taken in."""

    whose: Whose
    stated: Decimal | None
    items: Sequence[Item]
    """What is open, the same on both sides now; all of it the customer's, over merges."""
    crossings: Sequence[Crossing]
    convention: Convention
    base_currency: str
    read: ReadAt
    missed: Sequence[Finding]
    """What had been off although it should have been here: by currency, before the repair."""
    repairs: Sequence[Repair]
    changed: int
    """Rows of the mirror that are other now."""
    removed: Mapping[Entity, int]
    """The rows of each entity that left in this reading up to now."""
    is_moving: bool
    """Something came here while Xero was read: it has to be read again."""

    @property
    def difference(self) -> Decimal:
        """What our documents make, less what Xero states."""
        if self.stated is None or self.convention.agrees(self.stated, self.items):
            return Decimal(0)
        return self.convention.expected(self.items) - self.stated

    @property
    def ours(self) -> Decimal:
        """What our documents in the currency of Xero's figure add up to; those in others are balances of their own."""
        return self.ours_in(self.currency)

    def ours_in(self, currency: str) -> Decimal:
        """What our documents in a currency add up to."""
        return sum((item.open for item in self.items if item.currency == currency), Decimal(0))

    @property
    def figure(self) -> str:
        """What Xero states, said with how it is made; empty where it is the balance in one currency as it stands."""
        is_mixed = any(item.currency != self.currency for item in self.items)
        how = [_CONVERTED if self.convention.in_base else _ADDED_UP] if is_mixed else []
        if not self.convention.nets_credits and any(item.open < 0 for item in self.items):
            how.append(_WITHOUT_CREDITS)
        stated = self.stated or Decimal(0)
        in_one = self.convention.in_base or not is_mixed
        return sentences.stated(readable(stated, self.currency if in_one else ""), how)

    @property
    def agrees(self) -> bool:
        """Whether both sides do."""
        return not self.difference

    @property
    def currency(self) -> str:
        """What Xero's figure is in: the base currency, unless it is not converted and everything is in another one."""
        currencies = {item.currency for item in self.items}
        return currencies.pop() if not self.convention.in_base and len(currencies) == 1 else self.base_currency

    def same_as(self, other: "Taken") -> bool:
        """Whether nothing happened between the two."""
        return (self.stated, self.versions) == (other.stated, other.versions)

    @property
    def versions(self) -> frozenset[tuple[str, Decimal, datetime]]:
        """What is open of which version of each document."""
        return frozenset((item.xero_id, item.open, item.updated_at) for item in self.items)


class Reading(msgspec.Struct, frozen=True):
    """Xero's side as it was read, how its figure is to be understood, and when it arrived here."""

    side: Side
    convention: Convention
    at: datetime
    removed: Mapping[Entity, int] = {}
    """The rows of each entity that left before it in the same reading."""


async def take_in(tx: Transaction, link: Link, customer: str, found: Reading) -> Taken:
    """Make the mirror what Xero showed, as far as it is not newer, and say what that changed.

    The transaction holds the connection and has woken the news; whoever calls tells of the changes.

    Raises:
        DoubtedError: more was removed than is believed unasked; nothing of the transaction may count.
    """
    side, now = found.side, found.at
    family = await customers.families(tx, link.id, [customer])
    here = await _here(tx, link.id, family, side)
    deleted = deleted_in([here[name] for name in side.gone & here.keys()], side.began_at)
    shown = [*side.contacts, *side.documents.values(), *deleted]
    removed = await doubts.leave(tx, link.id, shown, found.removed)
    changed = await _save(tx, link.id, side.contacts, side.documents.values(), now)
    changed += await _save(tx, link.id, (), deleted, now)
    now_is = (await customers.merges(tx, link.id, [customer])).get(customer, customer)  # merges may have come along
    family = await customers.families(tx, link.id, [now_is])
    ours, theirs = _items(here.values(), family), _side_items(side, here, family)
    moved = [by_owner(mismatch, family) for mismatch in mismatches(ours, theirs)]
    read = ReadAt({name: kept.read_at for name, kept in here.items()}, side.began_at)
    return Taken(
        whose=Whose(link, now_is, await open_items.contact_name(tx, link.id, now_is), family),
        stated=side.stated,
        items=_open(await open_items.of_contacts(tx, link.id, family), family),
        crossings=await _crossings(tx, link.id, family),
        convention=found.convention,
        base_currency=base_currency(link),
        read=read,
        missed=await _missed(tx, link.id, now_is, (ours, moved), read),
        repairs=findings.repairs(moved, read),
        changed=changed,
        removed=removed,
        is_moving=now_is != customer or _is_moving(here.values(), side),
    )


def base_currency(link: Link) -> str:
    """What an organisation keeps its books in."""
    return link.organisation.base_currency if link.organisation else ""


def deleted_in(gone: Iterable[Kept], began_at: datetime) -> list[OpenDocument]:
    """What Xero shows no more since `began_at`, as deleted: it counts no longer. Not so what came here only then."""
    settled = [kept.document for kept in gone if kept.read_at < began_at - OVERLAP]
    return [msgspec.structs.replace(document, status=DocumentStatus.DELETED.value) for document in settled]


def is_missed(mismatch: Mismatch, marks: Mapping[Entity, Watermark]) -> bool:
    """Whether it should have been here: Xero's version is older than what was read to its end."""
    mark = marks.get(mismatch.item.entity)
    return mark is not None and mismatch.item.updated_at < mark.watermark_at - OVERLAP


async def _here(tx: Transaction, connection_id: str, family: Iterable[str], side: Side) -> dict[str, Kept]:
    """What is here of all that is open on either side, by id."""
    kept = await open_items.of_contacts(tx, connection_id, set(family))
    kept += await open_items.with_ids(tx, connection_id, side.documents.keys() | side.asked)
    return {item_of(one.document).xero_id: one for one in kept}


async def _save(
    tx: Transaction,
    connection_id: str,
    contacts: Sequence[Contact],
    documents: Iterable[OpenDocument],
    now: datetime,
) -> int:
    found = list(documents)
    ordinal = await connections.sync_ordinal(tx, connection_id)  # a purge of what was read before leaves it
    kinds: list[Sequence[Document]] = [contacts, *([one for one in found if isinstance(one, k)] for k in _KINDS)]
    saved = [(kind, await person.save(tx, connection_id, kind, seen_in=ordinal, at=now)) for kind in kinds]
    for kind, one in saved:
        if one.changed:
            await follow(tx, connection_id, kind, now)
    return sum(one.changed for _, one in saved)


def _items(here: Iterable[Kept], owners: Mapping[str, str]) -> dict[str, Item]:
    return {item.xero_id: item for item in (_owned(item_of(kept.document), owners) for kept in here)}


def _side_items(side: Side, here: Mapping[str, Kept], owners: Mapping[str, str]) -> dict[str, Item]:
    """Xero's documents, but ours where it is newer; without what has just come and is not shown yet."""
    items = {}
    for name in side.documents.keys() | here.keys():
        theirs, mine = side.documents.get(name), here.get(name)
        if mine is not None and (
            mine.document.updated_at > theirs.updated_at
            if theirs is not None
            else name not in side.asked or mine.read_at >= side.began_at - OVERLAP
        ):
            items[name] = _owned(item_of(mine.document), owners)
        elif theirs is not None:
            items[name] = _owned(item_of(theirs), owners)
    return items


def _is_moving(here: Iterable[Kept], side: Side) -> bool:
    """Whether anything here is newer than what was read, or was not looked for."""
    for kept in here:
        item = item_of(kept.document)
        theirs = side.documents.get(item.xero_id)
        if theirs is not None and item.updated_at > theirs.updated_at:
            return True
        if theirs is None and item.open and (item.xero_id not in side.asked or kept.read_at >= side.began_at):
            return True
    return False


async def _missed(
    tx: Transaction,
    connection_id: str,
    customer: str,
    compared: tuple[Mapping[str, Item], Sequence[Mismatch]],
    read: ReadAt,
) -> list[Finding]:
    ours, found = compared
    marks = await watermarks.every(tx, connection_id)
    missed = [mismatch for mismatch in found if is_missed(mismatch, marks)]
    before = balances(ours.values(), {})
    keys = {key for mismatch in missed for key in mismatch.keys if key[0] == customer and difference(missed, key)}
    return [findings.repaired(missed, key, before.get(key, Decimal(0)), read) for key in sorted(keys)]


async def _crossings(tx: Transaction, connection_id: str, family: Mapping[str, str]) -> list[Crossing]:
    found = await open_items.crossings(tx, connection_id, set(family))
    crossings = [
        Crossing(
            credit=_owned(item_of(one.credit), family),
            invoice_contact_id=family.get(one.invoice_contact_id, one.invoice_contact_id),
            amount=one.amount,
        )
        for one in found
    ]
    return [one for one in crossings if one.credit.xero_contact_id != one.invoice_contact_id]


def _open(kept: Iterable[Kept], owners: Mapping[str, str]) -> list[Item]:
    items = (_owned(item_of(one.document), owners) for one in kept)
    return sorted((item for item in items if item.open), key=lambda item: item.xero_id)


def _owned(item: Item, owners: Mapping[str, str]) -> Item:
    owner = owners.get(item.xero_contact_id, item.xero_contact_id)
    return item if owner == item.xero_contact_id else msgspec.structs.replace(item, xero_contact_id=owner)
