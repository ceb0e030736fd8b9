"""What comparing found, as it is kept: causes with their shares, documents with the values of both sides."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tieout_server.reconciliations import sentences
from tieout_server.reconciliations.compare import Cause, Mismatch, difference
from tieout_server.reconciliations.diagnose import Explanation, Part
from tieout_server.reconciliations.items import Item, Key
from tieout_server.reconciliations.messages import Repair
from tieout_server.reconciliations.record import Finding
from tieout_server.storage.discrepancies import Involved, Share, Values


class ReadAt(msgspec.Struct, frozen=True):
    """When documents were read: of ours, by id, when each came to be what it is here; of Xero's, one instant."""

    ours: Mapping[str, datetime]
    xero: datetime

    def of_ours(self, item: Item) -> Values:
        """What is here of a document."""
        return _values(item, self.ours.get(item.xero_id, self.xero))

    def of_xero(self, item: Item) -> Values:
        """What Xero has of it."""
        return _values(item, self.xero)


def repaired(found: Sequence[Mismatch], key: Key, ours: Decimal, read: ReadAt) -> Finding:
    """The difference that these mismatches made for a customer and currency, where our balance was `ours`."""
    own = [mismatch for mismatch in found if key in mismatch.keys]
    by_cause: dict[Cause, list[Mismatch]] = {}
    for mismatch in own:
        by_cause.setdefault(mismatch.cause, []).append(mismatch)
    shares = [
        (cause, difference(parts, key), [mismatch.item for mismatch in parts]) for cause, parts in by_cause.items()
    ]
    return Finding(
        currency=key[1],
        ours=ours,
        xero=ours - difference(own, key),
        causes=_shares(shares, key[1]),
        documents=tuple(_mismatched(mismatch, key, read) for mismatch in own),
        figure=sentences.BY_DOCUMENTS,
        owner="NOBODY",
    )


def explained(found: Explanation, key: tuple[str, Decimal], read: ReadAt, figure: str = "") -> Finding:
    """A difference that stays after all repairs, in a currency and from our balance in it.

    `figure` says how the figure is made that Xero states, where that is not `xero` as it stands.
    """
    currency, ours = key
    by_cause: dict[Cause, list[Part]] = {}
    for part in found.parts:
        by_cause.setdefault(part.cause, []).append(part)
    shares = [
        (cause, _sum(parts), [part.item for part in parts if part.item is not None])
        for cause, parts in by_cause.items()
    ]
    causes = _shares(shares, currency)
    todo, owner = sentences.remedy(Cause(causes[0].cause))
    return Finding(
        currency=currency,
        ours=ours,
        xero=ours - _sum(found.parts),
        figure=figure,
        causes=causes,
        documents=tuple(_part(part, part.item, read) for part in found.parts if part.item is not None),
        ruled_out=tuple(cause.value for cause in found.ruled_out),
        remedy=todo,
        owner=owner,
    )


def repairs(found: Sequence[Mismatch], read: ReadAt) -> list[Repair]:
    """The mismatches as repairs."""
    return [
        Repair(
            entity=mismatch.item.entity,
            xero_id=mismatch.item.xero_id,
            number=mismatch.item.number,
            currency=mismatch.item.currency,
            cause=mismatch.cause,
            before=read.of_ours(mismatch.ours) if mismatch.ours else None,
            after=read.of_xero(mismatch.xero) if mismatch.xero else None,
        )
        for mismatch in found
    ]


def _shares(found: Sequence[tuple[Cause, Decimal, list[Item]]], currency: str) -> tuple[Share, ...]:
    """The causes, that which explains most first."""
    ordered = sorted(found, key=lambda share: -abs(share[1]))
    return tuple(
        Share(cause=cause, amount=amount, sentence=sentences.why(cause, amount, currency, items))
        for cause, amount, items in ordered
    )


def _mismatched(mismatch: Mismatch, key: Key, read: ReadAt) -> Involved:
    item = mismatch.item
    return Involved(
        entity=item.entity,
        xero_id=item.xero_id,
        number=item.number,
        cause=mismatch.cause,
        currency=item.currency,
        ours=read.of_ours(mismatch.ours) if mismatch.ours else None,
        xero=read.of_xero(mismatch.xero) if mismatch.xero else None,
        difference=mismatch.share(key),
    )


def _part(part: Part, item: Item, read: ReadAt) -> Involved:
    """A document that is the same on both sides, but for one that only a report of Xero's names."""
    return Involved(
        entity=item.entity,
        xero_id=item.xero_id,
        number=item.number,
        cause=part.cause,
        currency=item.currency,
        ours=None if part.cause is Cause.MISSING_DOCUMENT else read.of_ours(item),
        xero=read.of_xero(item),
        difference=part.amount,
    )


def _values(item: Item, read_at: datetime) -> Values:
    return Values(
        status=item.status,
        issued_on=item.issued_on,
        total=item.total,
        due=item.due,
        paid=item.paid,
        credited=item.credited,
        xero_contact_id=item.xero_contact_id,
        xero_updated_at=item.updated_at,
        read_at=read_at,
    )


def _sum(parts: Sequence[Part]) -> Decimal:
    return sum((part.amount for part in parts), Decimal(0))
