"""How many of what made-up books contain: proportions for any size, exact for the reference organisation."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

FEWEST_CONTACTS = 12
FEWEST_INVOICES = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make: the same plan makes the same books, down to each id and millisecond.

    Args:
        seed: where the randomness comes from.
        contacts: how many contacts, of every kind together.
        invoices: how many sales invoices; payments are exactly as many, bills come on top (one per supplier).
        anchor_on: the day before which everything in the books happened.
        base_currency: the organisation's currency, in `rates` too.
        rates: foreign units for one base unit, per enabled currency.
        timezone: Xero's name of the time zone that the books' dates are of.
    """

    seed: int
    contacts: int
    invoices: int
    anchor_on: date
    base_currency: str
    rates: dict[str, Decimal]
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if self.contacts < FEWEST_CONTACTS or self.invoices < FEWEST_INVOICES:
            raise ValueError(f"Books need at least {FEWEST_CONTACTS} contacts and {FEWEST_INVOICES} invoices.")

    # Contacts

    @property
    def archived(self) -> int:
        """Archived contacts; the first quarter of them still owes."""
        return max(2, self.contacts * 4 // 100)

    @property
    def archived_owing(self) -> int:
        """Archived contacts with an open invoice."""
        return max(1, self.archived // 4)

    @property
    def suppliers(self) -> int:
        """Contacts with nothing but a bill."""
        return max(2, self.contacts * 8 // 100)

    @property
    def without_documents(self) -> int:
        """Contacts that were only ever entered; the first one asked to be forgotten (GDPRREQUEST)."""
        return max(2, self.contacts * 4 // 100)

    @property
    def merged(self) -> int:
        """Contacts that were merged into another one."""
        return max(1, self.contacts * 3 // 100)

    @property
    def customers(self) -> int:
        """Active customers: the rest."""
        return self.contacts - self.archived - self.suppliers - self.without_documents - self.merged

    # Invoices

    @property
    def open(self) -> int:
        """AUTHORISED invoices, about 12 %."""
        return self.invoices * 12 // 100

    @property
    def part_paid(self) -> int:
        """Those of the open ones on which something was paid."""
        return max(1, self.open // 3)

    @property
    def pending(self) -> int:
        """DRAFT and SUBMITTED invoices, half and half."""
        return max(2, self.invoices * 2 // 100)

    @property
    def gone(self) -> int:
        """VOIDED and DELETED invoices, half and half."""
        return max(2, self.invoices * 3 // 100)

    @property
    def paid(self) -> int:
        """PAID invoices: the rest."""
        return self.invoices - self.open - self.pending - self.gone

    # Money and credits

    @property
    def credit_notes(self) -> int:
        """Credit notes."""
        return max(5, self.invoices // 40)

    @property
    def overpayments(self) -> int:
        """Overpayments; prepayments are as many."""
        return max(5, self.invoices // 100)

    @property
    def deleted_payments(self) -> int:
        """Payments that were undone, about 1 %."""
        return max(1, self.invoices // 100)
