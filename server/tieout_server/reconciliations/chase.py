"""Whether an invoice may be chased now: pure, so that every case can be tested."""

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import msgspec

from tieout_server.ledger.documents import IN_LEDGER, DocumentStatus, Invoice
from tieout_server.ledger.money import Money, readable
from tieout_server.storage.discrepancies import Discrepancy

FRESH_FOR = timedelta(minutes=10)
"""How old what is here may be for somebody to be reminded of money because of it."""


class ChaseVerdict(StrEnum):
    """Whether an invoice may be chased."""

    SAFE = "SAFE"
    """Yes: it is open, fresh, and both sides agree."""
    PAID = "PAID"
    """No: nothing is due any more."""
    STALE = "STALE"
    """Not now: what is here is too old to tell, and what Xero answered, if it did, does not settle it."""
    OFF_BALANCE = "OFF_BALANCE"
    """Not now: the customer is off balance, or Xero states another balance and nobody has examined that yet."""
    PAYMENT_PENDING = "PAYMENT_PENDING"
    """Not now: a payment of it is on its way into Xero, or waits for somebody before it is."""
    UNAPPLIED_CREDIT = "UNAPPLIED_CREDIT"
    """Not now: its customer has as much unapplied, which may be meant for it."""
    UNKNOWN_INVOICE = "UNKNOWN_INVOICE"
    """No such invoice, or one that was voided or deleted."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an invoice and of its customer."""

    invoice: Invoice
    known_at: datetime | None
    """The instant up to which it is known; None while the first sync is not at its end."""
    discrepancy: Discrepancy | None = None
    """What its customer is off balance by, in the invoice's currency first of all."""
    is_balanced: bool = True
    """Whether the customer's documents here make the balance that Xero last stated of it."""
    payment_export_id: str = ""
    """The export that is bringing a payment of it into Xero."""
    unapplied: Decimal = Decimal(0)
    """What its customer has unapplied in the invoice's currency."""


class ChaseCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one invoice may be chased, and as of when that is true."""

    verdict: ChaseVerdict
    sentence: str
    as_of: datetime | None
    """None while nothing is known."""
    due: Money | None = None
    """None with UNKNOWN_INVOICE."""
    discrepancy_id: str = ""
    payment_export_id: str = ""


def unknown(sentence: str, known_at: datetime | None) -> ChaseCheck:
    """The answer for what names no invoice that could be chased."""
    return ChaseCheck(verdict=ChaseVerdict.UNKNOWN_INVOICE, sentence=sentence, as_of=known_at)


def check(standing: Standing, now: datetime) -> ChaseCheck:
    """Whether this invoice may be chased. What forbids it for longest is what is said."""
    invoice = standing.invoice
    if invoice.status not in IN_LEDGER:
        return unknown(_why_not_in_ledger(invoice), standing.known_at)
    verdict, sentence = _verdict(standing, now)
    is_off = verdict is ChaseVerdict.OFF_BALANCE and standing.discrepancy is not None
    return ChaseCheck(
        verdict=verdict,
        sentence=sentence,
        as_of=standing.known_at,
        due=Money(invoice.currency, invoice.due),
        discrepancy_id=standing.discrepancy.id if is_off and standing.discrepancy else "",
        payment_export_id=standing.payment_export_id if verdict is ChaseVerdict.PAYMENT_PENDING else "",
    )


def is_stale(known_at: datetime | None, now: datetime) -> bool:
    """Whether what is known up to then is too old to chase anybody."""
    return known_at is None or now - known_at > FRESH_FOR


def _verdict(standing: Standing, now: datetime) -> tuple[ChaseVerdict, str]:
    invoice = standing.invoice
    if invoice.status == DocumentStatus.PAID or invoice.due <= 0:
        return ChaseVerdict.PAID, "Nothing is due any more."
    if standing.payment_export_id:
        return ChaseVerdict.PAYMENT_PENDING, "A payment of it was collected, and Xero does not show it yet."
    if standing.discrepancy is not None:
        why = standing.discrepancy.sentence
        return ChaseVerdict.OFF_BALANCE, f"Its customer is off balance. {why}".rstrip()
    if is_stale(standing.known_at, now):
        return ChaseVerdict.STALE, _why_stale(standing, now)
    if not standing.is_balanced:
        return ChaseVerdict.OFF_BALANCE, "Xero last stated another balance of its customer than its documents make."
    return _beside_credit(standing)


def _beside_credit(standing: Standing) -> tuple[ChaseVerdict, str]:
    """The last word: both sides agree on what is due, and on what the customer paid that is set against nothing."""
    unapplied = readable(standing.unapplied, standing.invoice.currency)
    if standing.unapplied >= standing.invoice.due:
        why = f"Its customer has {unapplied} unapplied in Xero, which may be meant for it: apply or refund it there."
        return ChaseVerdict.UNAPPLIED_CREDIT, why
    also = f" Its customer has {unapplied} unapplied." if standing.unapplied else ""
    return ChaseVerdict.SAFE, f"It is open, and both sides agree.{also}"


def _why_stale(standing: Standing, now: datetime) -> str:
    if standing.known_at is None:
        return "The books were not read to their end yet."
    minutes = int((now - standing.known_at) / timedelta(minutes=1))
    why = "Xero could not be asked about all of it" if standing.is_balanced else "Xero states another balance"
    return f"What is here of its customer is {minutes:,} minutes old, and {why}."


def _why_not_in_ledger(invoice: Invoice) -> str:
    if invoice.status in (DocumentStatus.VOIDED, DocumentStatus.DELETED):
        return f"It was {invoice.status.lower()} in Xero."
    return f"It is {'a draft' if invoice.status == DocumentStatus.DRAFT else 'not approved yet'} in Xero."
