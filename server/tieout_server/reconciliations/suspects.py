"""What could make Xero's figure for a contact differ from its own documents: the parts that `diagnose` chooses from."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from tieout_server.ledger.documents import Entity
from tieout_server.reconciliations.compare import Cause
from tieout_server.reconciliations.convention import Convention
from tieout_server.reconciliations.diagnose import Part
from tieout_server.reconciliations.items import Item


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """A credit of one contact that is applied to an invoice of another, as happens when an invoice changes hands."""

    credit: Item
    invoice_contact_id: str
    amount: Decimal


class Suspects(msgspec.Struct, frozen=True, kw_only=True):
    """Everything around one contact that its balance could hang on."""

    xero_contact_id: str
    items: Sequence[Item]
    """Its documents in the ledger, equal on both sides."""
    drafts: Sequence[Item] = ()
    """Its invoices and credit notes that are drafts or wait for approval."""
    crossings: Sequence[Crossing] = ()


def offered(suspects: Suspects, convention: Convention, today: date) -> Mapping[Cause, Sequence[Part]]:
    """The parts by cause, likeliest first. Amounts are of `ours less xero` as the convention counts it."""

    def counted(item: Item, amount: Decimal | None = None) -> Decimal:
        own = item.open if amount is None else amount
        return item.in_base(own) if convention.in_base else own

    drafts = [item for item in suspects.drafts if convention.nets_credits or item.entity is Entity.INVOICES]
    ahead = [item for item in suspects.items if item.issued_on and item.issued_on > today]
    unapplied = [item for item in suspects.items if item.open < 0] if convention.nets_credits else []
    uneven = [item for item in suspects.items if not item.adds_up]
    foreign = [item for item in suspects.items if item.rate != 1 and item.open]
    return {
        Cause.DRAFT_COUNTED: _parts(
            Cause.DRAFT_COUNTED, [(-counted(item, _once_approved(item)), item) for item in drafts]
        ),
        Cause.FUTURE_DATED: _parts(Cause.FUTURE_DATED, [(counted(item), item) for item in ahead]),
        Cause.UNALLOCATED_CREDIT: _parts(Cause.UNALLOCATED_CREDIT, [(counted(item), item) for item in unapplied]),
        Cause.ALLOCATION_ON_OTHER_CONTACT: _parts(
            Cause.ALLOCATION_ON_OTHER_CONTACT,
            [(counted(one.credit, _crossed(one, suspects)), one.credit) for one in suspects.crossings],
        ),
        Cause.FOREIGN_CURRENCY_MIX: _parts(
            Cause.FOREIGN_CURRENCY_MIX, [(counted(item) - _otherwise(item, convention), item) for item in foreign]
        ),
        Cause.ROUNDING: _parts(Cause.ROUNDING, [(counted(item, _left_over(item)), item) for item in uneven]),
    }


def _left_over(item: Item) -> Decimal:
    """What is due beyond the total less what was paid and credited: such an invoice contradicts itself."""
    return item.due - (item.total - item.paid - item.credited)


def _parts(cause: Cause, amounts: Sequence[tuple[Decimal, Item]]) -> list[Part]:
    return [Part(cause=cause, amount=amount, item=item) for amount, item in amounts if amount]


def _once_approved(item: Item) -> Decimal:
    """What a draft would add to the balance."""
    return item.total if item.entity is Entity.INVOICES else -item.total


def _crossed(crossing: Crossing, suspects: Suspects) -> Decimal:
    """Xero still counts the amount with the contact that it came from, or has begun to count it with the other."""
    is_theirs = crossing.credit.xero_contact_id == suspects.xero_contact_id
    return crossing.amount if is_theirs else -crossing.amount


def _otherwise(item: Item, convention: Convention) -> Decimal:
    """What the other reading of currencies makes of it."""
    return item.open if convention.in_base else item.open_in_base
