"""What a contact owes and is owed, as Xero states it in `Balances`."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from tieout_sandbox.books.documents import CENT, ZERO, Contact, Credit, Invoice, InvoiceType, Misreading, Status
from tieout_sandbox.switches import Switches


@dataclass(slots=True)
class Balances:
    """The four figures of a contact."""

    receivable_outstanding: Decimal = ZERO
    receivable_overdue: Decimal = ZERO
    payable_outstanding: Decimal = ZERO
    payable_overdue: Decimal = ZERO


def in_base(amount: Decimal, rate: Decimal) -> Decimal:
    """An amount in the base currency; a rate is foreign units for one base unit (inferred from Xero's examples)."""
    return amount if rate == 1 else (amount / rate).quantize(CENT)


def balances_of(contact: Contact, today: date, switches: Switches) -> Balances | None:
    """The contact's balances, or None where it has no documents: Xero then leaves the key out."""
    if not contact.documents:
        return None
    found = Balances(receivable_outstanding=ZERO + contact.stated_otherwise_by)
    for document in contact.documents:
        if not _counts(document, today):
            continue
        is_converted = switches.balances_in_base_currency is not (document.misread is Misreading.OTHER_CURRENCY)
        rate = document.rate if is_converted else Decimal(1)
        crossed = sum((made.amount for made in document.allocations if made.crosses_contacts), ZERO)
        if not isinstance(document, Invoice):
            if switches.balances_net_credits:
                _net(found, document, in_base(document.remaining_credit + crossed, rate))
            continue
        _add_open(found, document, in_base(document.amount_due + crossed, rate), today)
    return found


def _counts(document: Invoice | Credit, today: date) -> bool:
    """Whether the figure counts it: what is authorised, unless it is misread."""
    match document.misread:
        case Misreading.AS_DRAFT:
            return document.status in {Status.DRAFT, Status.SUBMITTED, Status.AUTHORISED}
        case Misreading.NOT_BEFORE_ITS_DATE:
            return document.status is Status.AUTHORISED and document.on <= today
        case Misreading.LEFT_OUT:
            return False
    return document.status is Status.AUTHORISED


def _net(found: Balances, credit: Credit, left: Decimal) -> None:
    if credit.of_supplier:
        found.payable_outstanding -= left
    else:
        found.receivable_outstanding -= left


def _add_open(found: Balances, invoice: Invoice, due: Decimal, today: date) -> None:
    overdue = due if invoice.due_on < today else ZERO
    if invoice.type is InvoiceType.ACCREC:
        found.receivable_outstanding += due
        found.receivable_overdue += overdue
    else:
        found.payable_outstanding += due
        found.payable_overdue += overdue
