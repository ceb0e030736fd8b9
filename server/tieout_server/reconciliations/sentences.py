"""What is said of a difference to a person: what differs, why, and what to do."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from tieout_server.ledger.documents import Entity
from tieout_server.ledger.links import Owner
from tieout_server.ledger.money import readable
from tieout_server.reconciliations.compare import Cause
from tieout_server.reconciliations.items import Item

FEW = 3
"""Documents that are named in a sentence; of more, how many there are."""

BY_DOCUMENTS = "Xero's side is here what its documents add up to."
AGREE = "Both sides agree again."
HEALED = "What was stale here was read again from Xero; both sides agree."
KNOWN = "What is left is the difference that was acknowledged."

KINDS: Mapping[Entity, str] = {
    Entity.INVOICES: "invoice",
    Entity.CREDIT_NOTES: "credit note",
    Entity.OVERPAYMENTS: "overpayment",
    Entity.PREPAYMENTS: "prepayment",
}


def differs(ours: Decimal, xero: Decimal, currency: str) -> str:
    """What differs, in a sentence."""
    size = readable(abs(ours - xero), currency)
    more = "more here than in Xero" if ours > xero else "less here than in Xero"
    return f"{readable(ours, currency)} here, {readable(xero, currency)} in Xero: {size} {more}."


def stated(figure: str, how: Sequence[str]) -> str:
    """What Xero states with a contact, where that is not the balance in one currency; empty where it is."""
    return f"With the contact Xero states {figure}, {' and '.join(how)}." if how else ""


def named(items: Sequence[Item]) -> str:
    """These documents, by kind and number: `invoice INV-1 and credit note CN-7`."""
    names = [f"{KINDS[item.entity]} {item.number}".strip() for item in items[:FEW]]
    if len(items) > FEW:
        names.append(f"{len(items) - FEW} more")
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def why(cause: Cause, amount: Decimal, currency: str, items: Sequence[Item]) -> str:
    """What one cause explains, in a sentence."""
    return _WHY[cause].format(part=readable(abs(amount), currency), what=named(items) or "a document")


def remedy(cause: Cause) -> tuple[str, Owner]:
    """What is to be done about it once it stays, and by whom."""
    return _REMEDIES.get(cause, _COMPARE_AGAIN)


_WHY: Mapping[Cause, str] = {
    Cause.MISSING_DOCUMENT: "Xero counts {what}, which was not here ({part}).",
    Cause.STALE_DOCUMENT: "What was here of {what} was older than what Xero has ({part}).",
    Cause.MISSED_DELETION: "Still counted here, voided or deleted in Xero: {what} ({part}).",
    Cause.UNALLOCATED_CREDIT: "A credit is applied on one side and not on the other: {what} ({part}).",
    Cause.ALLOCATION_ON_OTHER_CONTACT: "{part} of {what} is applied to a document of another contact.",
    Cause.ROUNDING: "{part} is what totals that were overridden, or lines that were rounded, leave over.",
    Cause.FOREIGN_CURRENCY_MIX: (
        "Xero's figure takes {what} in another currency, or at another rate, than the document says ({part})."
    ),
    Cause.FUTURE_DATED: "Xero's figure does not count what is dated in the future: {what} ({part}).",
    Cause.DRAFT_COUNTED: "Xero's figure counts what is not approved yet: {what} ({part}).",
    Cause.PAYMENT_REMOVED_IN_XERO: "A payment of {what} that counted here was removed in Xero ({part}).",
    Cause.UNEXPLAINED: (
        "Nothing that Xero's API shows explains {part}; it may be a conversion balance or a manual journal, "
        "which are not documents."
    ),
}

_COMPARE_AGAIN = ("Xero shows it in a report and not as a document; compare again later.", Owner.XERO)
_REMEDIES: Mapping[Cause, tuple[str, Owner]] = {
    Cause.UNALLOCATED_CREDIT: ("Apply or refund the credit in Xero, or acknowledge it.", Owner.MERCHANT),
    Cause.ALLOCATION_ON_OTHER_CONTACT: (
        "Undo the allocation in Xero and apply the credit to the customer that it belongs to.",
        Owner.MERCHANT,
    ),
    Cause.ROUNDING: ("Acknowledge it, or correct the total in Xero.", Owner.MERCHANT),
    Cause.FOREIGN_CURRENCY_MIX: (
        "The documents are right in their own currencies; acknowledge it.",
        Owner.MERCHANT,
    ),
    Cause.FUTURE_DATED: ("It goes by itself on the day of the document.", Owner.NOBODY),
    Cause.DRAFT_COUNTED: ("Approve the draft in Xero, or delete it.", Owner.MERCHANT),
    Cause.UNEXPLAINED: ("Ask whoever keeps the books to look at the customer's activity in Xero.", Owner.MERCHANT),
}
