"""Payments that somebody made in Xero for the same invoice, amount and date: they are linked, and not paid again."""

from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from tieout_server.exports import markers
from tieout_server.ledger.writes import Payable, PaymentSeen


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that another export has sent, or may have, and whose answer is not known."""

    marker: str
    xero_invoice_id: str
    amount: Decimal
    paid_on: date


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What a payment would pay of an invoice, and what is no twin of it."""

    payable: Payable
    paid_on: date
    amounts: tuple[Decimal, ...]
    """One for each line of the payment that names the invoice."""
    linked: frozenset[str]
    pending: Sequence[Pending]
    theirs: Collection[str] = frozenset()
    """The markers of all that other exports made, or tried to."""


class Twins(msgspec.Struct, frozen=True, kw_only=True):
    """The payments found, each once."""

    payments: tuple[PaymentSeen, ...] = ()
    uncertain: bool = False
    """True: one of them may be what another export's lost answer was about."""


def find(sought: Sought) -> Twins:
    """The payment of the whole amount, or else those of single lines."""
    free = [seen for seen in sought.payable.payments if _is_free(seen, sought)]
    found = _matched(free, (sum(sought.amounts, Decimal(0)),)) or _matched(free, sought.amounts)
    return Twins(payments=found, uncertain=any(_may_be_pending(seen, sought) for seen in found))


def _is_free(seen: PaymentSeen, sought: Sought) -> bool:
    """Whether it is of the day, and no other export's. What this export tried and gave up is its own."""
    theirs = {pending.marker for pending in sought.pending}.union(sought.theirs)
    return (
        seen.paid_on == sought.paid_on
        and sought.linked.isdisjoint({seen.xero_payment_id, seen.xero_batch_payment_id} - {""})
        and theirs.isdisjoint(markers.within((seen.reference,)))
    )


def _matched(free: Sequence[PaymentSeen], amounts: Sequence[Decimal]) -> tuple[PaymentSeen, ...]:
    left, found = list(free), []
    for amount in amounts:
        if (seen := next((seen for seen in left if seen.amount == amount), None)) is not None:
            left.remove(seen)
            found.append(seen)
    return tuple(found)


def _may_be_pending(seen: PaymentSeen, sought: Sought) -> bool:
    """Ours always have a reference; but Xero may leave it out where an invoice shows its payments."""
    return not seen.reference and any(
        pending.xero_invoice_id == sought.payable.invoice.xero_invoice_id
        and pending.amount == seen.amount
        and pending.paid_on == sought.paid_on
        for pending in sought.pending
    )
