"""What an evidence pack proves: both sides of customers' balances, what they are made of, and what was known when."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

import msgspec

from tieout_server.ledger.documents import Entity
from tieout_server.storage.discrepancies import Discrepancy, Values


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """A payment of a document."""

    xero_id: str
    amount: Decimal
    paid_on: date | None = None
    reference: str = ""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A document of a customer with what each side has of it; None where a side does not have it."""

    entity: Entity
    xero_id: str
    number: str
    currency: str
    due_on: date | None = None
    cause: str = ""
    """reconciliations.compare.Cause; empty where both sides agree."""
    ours: Values | None
    xero: Values | None
    ours_counts: Decimal
    """What it adds to our balance, in the account's currency: credits are below zero."""
    xero_counts: Decimal
    """What it adds to Xero's."""
    part: Decimal = Decimal(0)
    """Its part of the difference when that was found; nothing of it counts any more once the difference is over."""
    payments: tuple[Paid, ...] = ()
    xero_url: str = ""

    @property
    def difference(self) -> Decimal:
        """Its part of `ours less xero`."""
        return self.ours_counts - self.xero_counts


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Both balances from an instant on."""

    at: datetime
    ours: Decimal
    xero: Decimal


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One customer in one currency."""

    xero_contact_id: str
    customer: str
    currency: str
    ours: Decimal
    xero: Decimal
    source: str = ""
    """How Xero's side was learnt (`BalanceSource`); empty where nothing was compared."""
    as_of: datetime
    """When both sides were last compared."""
    discrepancy: Discrepancy | None = None
    documents: tuple[Compared, ...] = ()
    """Whatever is open on a side or part of the difference, oldest first."""
    over_time: tuple[Point, ...] = ()
    """Oldest first."""
    xero_url: str = ""

    @property
    def difference(self) -> Decimal:
        """`ours` less `xero`."""
        return self.ours - self.xero

    @property
    def is_compared(self) -> bool:
        """Whether Xero's side is known; else `xero` says what ours does."""
        return bool(self.source)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was known or done at an instant."""

    at: datetime
    what: str
    """`compared`, `discrepancy`, `sync`, `document` or `case`."""
    about: str
    """The customer, document or sync."""
    sentence: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a pack is made from."""

    title: str
    """What it is about: a customer's name, or the organisation's where there are several."""
    organisation: str
    description: str = ""
    """Of a case: what was said."""
    finding: str = ""
    """Of a case: what was found at once."""
    accounts: Sequence[Account]
    timeline: Sequence[Moment]
    """Oldest first."""
    made_at: datetime
