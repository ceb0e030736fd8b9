"""Money as the bank sees it: spent and received transactions, and the notes in a document's history."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from tieout_sandbox.books.documents import (
    ZERO,
    Account,
    Contact,
    Credit,
    CreditKind,
    Line,
    LineAmounts,
    Status,
)


@dataclass(slots=True, eq=False)
class BankTransaction:
    """Money spent or received that no invoice asked for; an over- or prepayment is one, too."""

    id: str
    type: str
    account: Account
    updated_at: datetime
    """Whole seconds, as recorded from Xero."""
    credit: Credit | None = None
    """The over- or prepayment that this is the bank's side of: contact, date, lines and amounts are its own."""
    contact_of_its_own: Contact | None = None
    dated_on: date | None = None
    lines_of_its_own: tuple[Line, ...] = ()
    line_amounts: LineAmounts = LineAmounts.INCLUSIVE
    sub_total: Decimal = ZERO
    total_tax: Decimal = ZERO
    reference: str = ""
    currency: str = ""
    rate: Decimal = Decimal(1)
    is_reconciled: bool = False
    own_status: Status = Status.AUTHORISED

    @property
    def contact(self) -> Contact:
        """Whose money it is."""
        contact = self.credit.contact if self.credit else self.contact_of_its_own
        assert contact is not None
        return contact

    @property
    def on(self) -> date:
        """The day at the bank."""
        on = self.credit.on if self.credit else self.dated_on
        assert on is not None
        return on

    @property
    def lines(self) -> tuple[Line, ...]:
        """What it was for."""
        return self.credit.lines if self.credit else self.lines_of_its_own

    @property
    def total(self) -> Decimal:
        """What moved, tax included."""
        return self.sub_total + self.total_tax

    @property
    def status(self) -> Status:
        """AUTHORISED, VOIDED with its over- or prepayment, or DELETED."""
        if self.credit is None:
            return self.own_status
        return Status.VOIDED if self.credit.status is Status.VOIDED else Status.AUTHORISED


@dataclass(frozen=True, slots=True)
class Note:
    """One record of a document's history."""

    changes: str
    at: datetime
    user: str
    details: str


def received_as(credit: Credit, account: Account) -> BankTransaction:
    """The bank's side of an over- or prepayment; its id follows from the credit's."""
    assert credit.kind is not CreditKind.CREDIT_NOTE
    return BankTransaction(
        id=f"{int(credit.id[:8], 16) ^ 0xFFFFFFFF:08x}{credit.id[8:]}",
        type=credit.type,
        account=account,
        updated_at=credit.updated_at.replace(microsecond=0),
        credit=credit,
        line_amounts=credit.line_amounts,
        sub_total=credit.sub_total,
        total_tax=credit.total_tax,
        reference=credit.reference,
        currency=credit.currency,
        rate=credit.rate,
    )
