"""What Xero states of customers, held against what their documents here make: in one query, and without a call.

The figure here may be older than the documents: balances move no date of a contact. So agreement here tells nothing
about documents that are not here yet; a figure that was read this moment does.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import aclosing
from decimal import Decimal

import msgspec

from tieout_server.ledger.money import from_units
from tieout_server.reconciliations.overview import agreeing_of
from tieout_server.storage import customers, open_items
from tieout_server.storage.database import Transaction
from tieout_server.storage.open_items import Standing, Sum


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's figure beside its documents."""

    xero_contact_id: str
    """The customer, over merges."""
    members: frozenset[str]
    """It and what was merged into it."""
    is_balanced: bool
    """Whether documents make the figure under some reading; where Xero states nothing there is nothing to disagree."""
    is_net: bool
    """Whether they do with credits netted: such a figure cannot hide a credit, or money that was paid ahead."""
    unapplied: Mapping[str, Decimal]
    """What credits have remaining here, by currency."""


async def figures_of(tx: Transaction, connection_id: str, contacts: Collection[str]) -> Mapping[str, Figure]:
    """The figure of the customer that each of these contacts is."""
    merged = await customers.merges(tx, connection_id, contacts)
    owners = {contact: merged.get(contact, contact) for contact in contacts}
    family = await customers.families(tx, connection_id, set(owners.values()))
    found: dict[str, list[Standing]] = {owner: [] for owner in owners.values()}
    async with aclosing(open_items.standings(tx, connection_id, family)) as standings:
        async for one in standings:
            found[family[one.xero_contact_id]].append(one)
    members: dict[str, set[str]] = {}
    for member, owner in family.items():
        members.setdefault(owner, set()).add(member)
    figures = {owner: _figure(owner, members[owner], own) for owner, own in found.items()}
    return {contact: figures[owner] for contact, owner in owners.items()}


def _figure(owner: str, members: Collection[str], found: Collection[Standing]) -> Figure:
    stated = [one.stated for one in found if one.stated is not None]
    sums: list[Sum] = [each for one in found for each in one.sums]
    agreeing = agreeing_of(sum(stated), sums) if stated else ()
    remaining: defaultdict[str, int] = defaultdict(int)
    for each in sums:
        remaining[each.currency] += each.remaining
    return Figure(
        xero_contact_id=owner,
        members=frozenset(members),
        is_balanced=bool(agreeing) or not stated,
        is_net=any(reading.nets_credits for reading in agreeing),
        unapplied={currency: from_units(units) for currency, units in remaining.items()},
    )
