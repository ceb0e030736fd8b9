"""What a document does to a balance: invoices raise it by what is due, credits lower it by what remains of them."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal

import msgspec

from tieout_server.ledger.documents import Credit, DocumentStatus, Entity, Invoice

CENT = Decimal("0.01")

Key = tuple[str, str]
"""A customer and a currency: what balances are compared by."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice or a credit as one side has it."""

    entity: Entity
    xero_id: str
    number: str
    xero_contact_id: str
    currency: str
    rate: Decimal
    """Foreign units for one unit of the base currency."""
    status: str
    total: Decimal
    due: Decimal
    """Of an invoice what is still to be paid, of a credit what remains; never negative."""
    paid: Decimal = Decimal(0)
    credited: Decimal = Decimal(0)
    issued_on: date | None = None
    updated_at: datetime

    @property
    def open(self) -> Decimal:
        """What it adds to the balance of its contact; nothing unless it is AUTHORISED."""
        if self.status != DocumentStatus.AUTHORISED:
            return Decimal(0)
        return self.due if self.entity is Entity.INVOICES else -self.due

    @property
    def open_in_base(self) -> Decimal:
        """The same in the base currency, at the document's own rate, to the cent."""
        return self.in_base(self.open)

    @property
    def converted(self) -> Decimal:
        """The same before it is rounded to the cent."""
        return self.open if self.rate == 1 else self.open / self.rate

    @property
    def slack(self) -> Decimal:
        """None: of one document it is known how it is rounded (`convention.Counted`)."""
        return Decimal(0)

    def in_base(self, amount: Decimal) -> Decimal:
        """An amount of this document in the base currency, to the cent."""
        return amount if self.rate == 1 else (amount / self.rate).quantize(CENT)

    @property
    def adds_up(self) -> bool:
        """Whether what is due is the total less what was paid and credited (Xero, Invoices). True of credits."""
        return self.entity is not Entity.INVOICES or self.due == self.total - self.paid - self.credited


Items = Mapping[str, Item]
"""By Xero's id."""


def of_invoice(invoice: Invoice) -> Item:
    """The item that an invoice is."""
    return Item(
        entity=Entity.INVOICES,
        xero_id=invoice.xero_invoice_id,
        number=invoice.number,
        xero_contact_id=invoice.xero_contact_id,
        currency=invoice.currency,
        rate=invoice.rate,
        status=invoice.status,
        total=invoice.total,
        due=invoice.due,
        paid=invoice.paid,
        credited=invoice.credited,
        issued_on=invoice.issued_on,
        updated_at=invoice.updated_at,
    )


def of_credit(credit: Credit) -> Item:
    """The item that a credit note, an overpayment or a prepayment is."""
    return Item(
        entity=credit.entity,
        xero_id=credit.xero_credit_id,
        number=credit.number,
        xero_contact_id=credit.xero_contact_id,
        currency=credit.currency,
        rate=credit.rate,
        status=credit.status,
        total=credit.total,
        due=credit.remaining,
        issued_on=credit.issued_on,
        updated_at=credit.updated_at,
    )


def balances(items: Iterable[Item], owners: Mapping[str, str]) -> dict[Key, Decimal]:
    """What the items add up to per customer and currency; `owners` leads from contacts merged away to who they are."""
    sums: dict[Key, Decimal] = {}
    for item in items:
        if item.open:
            key = (owners.get(item.xero_contact_id, item.xero_contact_id), item.currency)
            sums[key] = sums.get(key, Decimal(0)) + item.open
    return sums
