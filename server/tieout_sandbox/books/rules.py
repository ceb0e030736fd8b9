"""The arithmetic and the wording that every move in the books follows."""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from tieout_sandbox.books.balances import in_base
from tieout_sandbox.books.documents import CENT, ZERO, Account, Contact, CreditKind, Invoice, Line, Status, Target
from tieout_sandbox.switches import Switches

_TOO_MUCH = Decimal(10) ** 12
TOO_MUCH_ALLOCATED = {
    kind: f"{name} cannot be allocated as amount is greater than amount outstanding"
    for kind, name in {
        CreditKind.CREDIT_NOTE: "Credit Note",
        CreditKind.OVERPAYMENT: "Overpayment",
        CreditKind.PREPAYMENT: "Prepayment",
    }.items()
}
"""Seen by an integrator for credit notes (calcinai/xero-php #251); assumed for the others."""


class NotAllowedError(Exception):
    """The books do not allow this move; the message is Xero's own where it is known."""


class NotFoundError(NotAllowedError):
    """The document with the supplied id was not found for this endpoint."""


def one_line(description: str, total: Decimal) -> tuple[Line, ...]:
    """The lines of a document that has one, without tax."""
    return (Line(description, 1, total, total, ZERO),)


def checked(amount: Decimal) -> Decimal:
    """The amount with two decimal places.

    Raises:
        NotAllowedError: it is not above zero, absurdly large, or has fractions of a cent.
    """
    if not amount.is_finite() or not 0 < amount < _TOO_MUCH or amount != amount.quantize(ZERO):
        raise NotAllowedError("The amount must be greater than zero, with two decimal places.")
    return amount.quantize(ZERO)


def roles_of(contact: Contact, switches: Switches) -> tuple[bool, bool]:
    """Whether a contact is a customer, and a supplier: by its invoices and bills and, if switched, by its credits."""
    counted = [one for one in contact.documents if isinstance(one, Invoice) or switches.credits_make_customers]
    return any(not one.of_supplier for one in counted), any(one.of_supplier for one in counted)


def count_payment(target: Target, amount: Decimal) -> None:
    """Add a payment (or, negative, take one away) to what its document has received or given back."""
    if isinstance(target, Invoice):
        target.amount_paid += amount
    else:
        target.amount_refunded += amount


def open_amount(target: Target) -> Decimal:
    """What can still be paid on an invoice, or used of a credit."""
    return target.amount_due if isinstance(target, Invoice) else target.remaining_credit


def conclude(target: Target) -> None:
    """Let the status follow the amounts: PAID when nothing is open, and since when; AUTHORISED when something is."""
    if target.status not in {Status.AUTHORISED, Status.PAID}:
        return
    if open_amount(target) == 0:
        target.status = Status.PAID
        target.fully_paid_on = last_settled_on(target)
    else:
        target.status = Status.AUTHORISED
        target.fully_paid_on = None


def last_settled_on(target: Target) -> date:
    """The day of the last payment or allocation."""
    days = [payment.on for payment in target.payments] + [allocation.on for allocation in target.allocations]
    return max(days, default=target.on)


def bank_amount(amount: Decimal, target: Target, account: Account, rate: Decimal | None = None) -> Decimal:
    """A payment's amount in the bank account's currency: amount / rate where that differs (Xero, Payments)."""
    return amount if account.currency == target.currency else in_base(amount, rate or target.rate)


def line_amount(line: Line) -> Decimal:
    """What a line comes to: quantity times unit amount, less the discount, in whole cents."""
    return (line.quantity * line.unit_amount * (100 - line.discount_rate) / 100).quantize(CENT, ROUND_HALF_UP)


def credit_number(kind: CreditKind, count: int) -> str:
    """The number of the n-th credit of its kind; overpayments have none."""
    prefix = {CreditKind.CREDIT_NOTE: "CN", CreditKind.PREPAYMENT: "PRE", CreditKind.OVERPAYMENT: ""}[kind]
    return f"{prefix}-{count:04d}" if prefix else ""
