"""What callers ask of reconciliations, and what they are answered."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from tieout_server.ledger.documents import Entity
from tieout_server.storage.discrepancies import Discrepancy, Values
from tieout_server.storage.reconciliations import ReconciliationRecord


class BalanceSource(StrEnum):
    """How Xero's side of a balance was learnt."""

    CONTACT = "CONTACT"
    """The balance that Xero states with the contact."""
    OPEN_ITEMS = "OPEN_ITEMS"
    """The sum of the open items, read afresh."""
    AGED_RECEIVABLES = "AGED_RECEIVABLES"
    """The report "Aged Receivables by Contact"."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The balance of one customer in one currency on both sides."""

    xero_contact_id: str
    currency: str
    ours: Decimal
    xero: Decimal
    source: BalanceSource
    as_of: datetime

    @property
    def difference(self) -> Decimal:
        """`ours` less `xero`."""
        return self.ours - self.xero


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """A document that was put right here while comparing."""

    entity: Entity
    xero_id: str
    number: str
    currency: str
    cause: str
    before: Values | None
    after: Values | None


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing one customer found, after repair."""

    connection_id: str
    xero_contact_id: str
    """The customer: the winner, where a merged contact was named."""
    balances: tuple[Comparison, ...]
    """One per currency in which anything is open, by its code; the base currency where nothing is."""
    repairs: tuple[Repair, ...]
    discrepancies: tuple[Discrepancy, ...]
    """What is still off, with history."""
    calls: int


class StartReconciliation(msgspec.Struct, frozen=True):
    """A request to compare a whole organisation."""

    connection_id: str
    max_calls: int = 0
    """0: as many as it takes."""
    request_id: str = ""


class Asked(msgspec.Struct, frozen=True):
    """The reconciliation that answers a request; `joined` if it was under way before."""

    reconciliation: ReconciliationRecord
    joined: bool


class Acknowledge(msgspec.Struct, frozen=True):
    """Somebody knows of a discrepancy."""

    discrepancy_id: str
    note: str = ""
    request_id: str = ""


class InvoiceReference(msgspec.Struct, frozen=True):
    """Names an invoice: by its id (ours is Xero's), or by the number on it."""

    xero_invoice_id: str = ""
    number: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A difference that was not flagged, in the words of whoever noticed. At least one reference is there."""

    connection_id: str
    customer_ids: tuple[str, ...] = ()
    invoices: tuple[InvoiceReference, ...] = ()
    payment_ids: tuple[str, ...] = ()
    description: str = ""
    request_id: str = ""
