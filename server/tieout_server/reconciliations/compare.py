"""Two sides of the same books, document by document: pure, so that every case can be tested."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from tieout_server.ledger.documents import DocumentStatus, Entity
from tieout_server.reconciliations.items import Item, Items, Key


class Cause(StrEnum):
    """Why two balances differ."""

    MISSING_DOCUMENT = "MISSING_DOCUMENT"
    """Xero counts a document that is not here."""
    STALE_DOCUMENT = "STALE_DOCUMENT"
    """A document here is an older version than Xero's."""
    MISSED_DELETION = "MISSED_DELETION"
    """A document here is voided, deleted or gone in Xero."""
    UNALLOCATED_CREDIT = "UNALLOCATED_CREDIT"
    """A credit is applied on one side and not on the other."""
    ALLOCATION_ON_OTHER_CONTACT = "ALLOCATION_ON_OTHER_CONTACT"
    """A credit is applied to an invoice of another contact."""
    ROUNDING = "ROUNDING"
    """Totals were overridden within 0.10, or lines round otherwise than their sum."""
    FOREIGN_CURRENCY_MIX = "FOREIGN_CURRENCY_MIX"
    """Xero's figure mixes currencies or is converted at another rate."""
    FUTURE_DATED = "FUTURE_DATED"
    """Xero's figure leaves out, or counts, what is dated in the future."""
    DRAFT_COUNTED = "DRAFT_COUNTED"
    """Xero's figure counts a draft, or what waits for approval."""
    PAYMENT_REMOVED_IN_XERO = "PAYMENT_REMOVED_IN_XERO"
    """A payment that counts here was removed in Xero."""
    UNEXPLAINED = "UNEXPLAINED"
    """Nothing that any API of Xero shows explains it."""


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """A document on which the two sides do not agree."""

    cause: Cause
    ours: Item | None
    xero: Item | None

    @property
    def item(self) -> Item:
        """The document, as Xero has it where Xero does."""
        found = self.xero or self.ours
        assert found is not None, "a mismatch is of a document that somebody has"
        return found

    @property
    def keys(self) -> frozenset[Key]:
        """The contacts and currencies whose balances it moves: two where the contact or the currency changed."""
        sides = (self.ours, self.xero)
        return frozenset((side.xero_contact_id, side.currency) for side in sides if side is not None)

    def share(self, key: Key) -> Decimal:
        """Its part of `ours less xero` for this contact and currency."""
        return _open(self.ours, key) - _open(self.xero, key)


def mismatches(ours: Items, xero: Items) -> list[Mismatch]:
    """Where the sides differ, by document. Each side holds every document that is open on either of them.

    A document that is absent from Xero's side altogether is one that Xero does not know (any more).
    """
    found = []
    for xero_id in sorted(ours.keys() | xero.keys()):
        mine, theirs = ours.get(xero_id), xero.get(xero_id)
        if (cause := _cause(mine, theirs)) is not None:
            found.append(Mismatch(cause=cause, ours=mine, xero=theirs))
    return found


def difference(found: list[Mismatch], key: Key) -> Decimal:
    """What these mismatches add up to for a contact and currency: `ours less xero`."""
    return sum((mismatch.share(key) for mismatch in found), Decimal(0))


def _cause(ours: Item | None, xero: Item | None) -> Cause | None:
    if ours is None:
        return Cause.MISSING_DOCUMENT if xero is not None and xero.open else None
    if xero is None or xero.status in (DocumentStatus.VOIDED, DocumentStatus.DELETED):
        return Cause.MISSED_DELETION if ours.open else None
    if _value(ours) == _value(xero):
        return None
    if ours.xero_contact_id == xero.xero_contact_id and ours.currency == xero.currency:
        return _moved(ours, xero)
    return Cause.STALE_DOCUMENT


def _moved(ours: Item, xero: Item) -> Cause | None:
    """Which of its parts moved; nothing is the matter where no balance did."""
    if ours.open == xero.open:
        return None
    if ours.entity is not Entity.INVOICES or (ours.credited != xero.credited and ours.paid == xero.paid):
        return Cause.UNALLOCATED_CREDIT if ours.total == xero.total else Cause.STALE_DOCUMENT
    if ours.paid > xero.paid and ours.credited == xero.credited and ours.total == xero.total:
        return Cause.PAYMENT_REMOVED_IN_XERO
    return Cause.STALE_DOCUMENT


def _value(item: Item) -> tuple[str, str, Decimal]:
    return item.xero_contact_id, item.currency, item.open


def _open(item: Item | None, key: Key) -> Decimal:
    if item is None or (item.xero_contact_id, item.currency) != key:
        return Decimal(0)
    return item.open


def by_owner(mismatch: Mismatch, owners: Mapping[str, str]) -> Mismatch:
    """The same with the contacts that those merged away are now."""
    return msgspec.structs.replace(mismatch, ours=_owned(mismatch.ours, owners), xero=_owned(mismatch.xero, owners))


def _owned(item: Item | None, owners: Mapping[str, str]) -> Item | None:
    if item is None or item.xero_contact_id not in owners:
        return item
    return msgspec.structs.replace(item, xero_contact_id=owners[item.xero_contact_id])
