"""What is said to a person when a payment is not in Xero: one sentence per cause, what to do, and who must act."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

import msgspec

from tieout_server.exports.state import ExportReason
from tieout_server.ledger.documents import Account, DocumentStatus
from tieout_server.ledger.exports import ExportError
from tieout_server.ledger.links import Owner
from tieout_server.ledger.money import readable

LONGEST_QUOTE = 300
"""Characters of Xero's words that a sentence repeats; all of them are in `xero_messages`."""


class Case(msgspec.Struct, frozen=True):
    """Of what a cause is said: since when it stands, and of which line where it is not about all."""

    at: datetime
    line: int | None = None

    def error(self, reason: ExportReason, sentence: str, remedy: str, owner: Owner = Owner.MERCHANT) -> ExportError:
        """This case's error; it waits for somebody."""
        return ExportError(
            reason=reason,
            sentence=sentence[0].upper() + sentence[1:],
            remedy=remedy,
            owner=owner,
            line=self.line,
            occurred_at=self.at,
        )

    def passing(self, reason: ExportReason, sentence: str, remedy: str, owner: Owner) -> ExportError:
        """This case's error; it goes on by itself."""
        return msgspec.structs.replace(self.error(reason, sentence, remedy, owner), retries_by_itself=True)


def day(on: date) -> str:
    """A day for people: 1 September 2027."""
    return f"{on.day} {on:%B %Y}"


# The account


def account_not_chosen(case: Case, currency: str) -> ExportError:
    """The settings name none for the currency."""
    said = f"No account is chosen for payments in {currency}."
    return case.error(ExportReason.ACCOUNT_NOT_CHOSEN, said, f"Choose the bank account for {currency}.")


def refund_account_not_chosen(case: Case) -> ExportError:
    """The settings name none for refunds."""
    said = "No account is chosen for what is taken back of payments."
    return case.error(ExportReason.ACCOUNT_NOT_CHOSEN, said, "Choose the account for refunds.")


def account_gone(case: Case, purpose: str) -> ExportError:
    """The chosen account is not in the books any more; `purpose` is a currency, or `refunds`."""
    said = f"The account that was chosen for {purpose} is no longer in Xero."
    return case.error(ExportReason.ACCOUNT_ARCHIVED, said, f"Choose another account for {purpose}.")


def account_archived(case: Case, account: Account, purpose: str) -> ExportError:
    """The chosen account is archived; `purpose` is a currency, or `refunds`."""
    said = f"The account for {purpose}, {account.name}, is archived in Xero."
    return case.error(
        ExportReason.ACCOUNT_ARCHIVED, said, f"Choose another account for {purpose}, or restore this one in Xero."
    )


def account_not_payable(case: Case, account: str, currency: str) -> ExportError:
    """Xero lets no payments go there."""
    said = f"Xero takes no payments on the account for {currency}{', ' + account if account else ''}."
    return case.error(
        ExportReason.ACCOUNT_NOT_PAYABLE,
        said,
        f"Enable payments to this account in Xero, or choose another account for {currency}.",
    )


def account_no_bank(case: Case, account: Account, currency: str, what: str) -> ExportError:
    """Xero takes payments there, but nothing that needs a bank account: `what` names it."""
    said = f"Xero takes {what} on bank accounts only, and the account for {currency}, {account.name}, is none."
    return case.error(ExportReason.ACCOUNT_NOT_PAYABLE, said, f"Choose a bank account for {currency}.")


def account_in_other_currency(case: Case, account: Account, takes: str, currency: str) -> ExportError:
    """The chosen account is kept in another currency."""
    said = f"The account for {currency}, {account.name}, takes {takes}."
    return case.error(ExportReason.CURRENCY_MISMATCH, said, f"Choose the bank account for {currency}.")


# The payment


def too_fine(case: Case, amount: Decimal, currency: str) -> ExportError:
    """The amount cannot be paid in this currency."""
    said = f"{amount:,} {currency} has more decimals than amounts in {currency} have in Xero."
    return case.error(
        ExportReason.CURRENCY_MISMATCH, said, "Dismiss this one, and export under another id what Xero can hold of it."
    )


def period_locked(
    case: Case, on: date, locked_up_to: date | None = None, *, is_open_to_advisers: bool = False
) -> ExportError:
    """The books are closed for that day; advisers may write before the period lock date (Xero, Permissions)."""
    until = f" up to {day(locked_up_to)}" if locked_up_to else " for that day"
    said = f"This is of {day(on)}, and the books are locked{until}."
    by_whom = (
        "have an adviser record it there for that day" if is_open_to_advisers else "record it there by a later date"
    )
    return case.error(
        ExportReason.PERIOD_LOCKED, said, f"Unlock the period in Xero and try again, or {by_whom} and dismiss it here."
    )


# The invoice


def invoice_unknown(case: Case, name: str) -> ExportError:
    """No sales invoice of the organisation is meant."""
    said = f"There is no sales invoice {name} in Xero." if name else "Xero does not find the invoice."
    return case.error(
        ExportReason.INVOICE_NOT_PAYABLE,
        said,
        "Look for the invoice in Xero; dismiss this one, and export the payment under another id for the one it pays.",
    )


def invoice_ambiguous(case: Case, number: str, count: int) -> ExportError:
    """The number does not say which invoice is meant."""
    said = f"{count} invoices have the number {number}."
    return case.error(
        ExportReason.INVOICE_NOT_PAYABLE,
        said,
        "Dismiss this one, and export the payment under another id, with Xero's id of the invoice.",
    )


def invoice_not_payable(case: Case, name: str, status: str) -> ExportError:
    """The invoice takes no payment as it stands; `status` is Xero's, empty where it is not known."""
    stands, remedy = _STANDS.get(status, _NOT_OPEN)
    return case.error(ExportReason.INVOICE_NOT_PAYABLE, f"{invoice(name)} {stands}.", remedy)


def invoice_in_other_currency(case: Case, name: str, invoiced: str, paid: str) -> ExportError:
    """An invoice is paid in its own currency only."""
    said = f"{invoice(name)} is in {invoiced}, and its payment in {paid}."
    return case.error(
        ExportReason.CURRENCY_MISMATCH,
        said,
        f"Dismiss this one, and export the payment in {invoiced} under another id, or record it in Xero.",
    )


def currencies_differ(case: Case, account: str, name: str) -> ExportError:
    """Xero found the account and the invoice to be in different currencies."""
    said = f"The account {account or 'that was chosen'} and {invoice(name)} are not in one currency."
    return case.error(
        ExportReason.CURRENCY_MISMATCH, said, "See in Xero which currencies they are in, and choose the account for it."
    )


def contact_archived(case: Case, name: str) -> ExportError:
    """Nothing new can be made for the customer."""
    said = f"The customer of {invoice(name)} is archived in Xero, where nothing new can be recorded for them."
    return case.error(ExportReason.CONTACT_ARCHIVED, said, "Restore the contact in Xero and try again.")


def invoice(name: str) -> str:
    """An invoice by its number, or one whose number is not known."""
    return f"invoice {name}" if name else "the invoice"


_DISMISS = "record the payment in Xero and dismiss it here"
_STANDS: Mapping[str, tuple[str, str]] = {
    DocumentStatus.DRAFT: ("is a draft", "Approve the invoice in Xero and try again."),
    DocumentStatus.SUBMITTED: ("waits for approval", "Approve the invoice in Xero and try again."),
    DocumentStatus.PAID: (
        "is settled: nothing is due on it",
        "See in Xero what settled it: if it was this payment, dismiss it here; if not, " + _DISMISS + ".",
    ),
    DocumentStatus.VOIDED: ("was voided", "See in Xero what took its place, " + _DISMISS + "."),
    DocumentStatus.DELETED: ("was deleted", "See in Xero what took its place, " + _DISMISS + "."),
}
_NOT_OPEN = ("takes no payment as it stands in Xero", "Look at the invoice in Xero: only approved ones are paid.")


# What is left over


def exceeds_due(case: Case, name: str, paid: str, due: str = "") -> ExportError:
    """More is paid on an invoice than is due; amounts as they are read out, empty where not known."""
    said = f"{paid or 'More'} is paid on {invoice(name)}, of which {due or 'less'} is due."
    return case.error(ExportReason.AMOUNT_EXCEEDS_DUE, said, _SPLIT)


def rest_held(case: Case, rest: str) -> ExportError:
    """Part of the payment pays no invoice."""
    return case.error(ExportReason.AMOUNT_EXCEEDS_DUE, f"{rest} of the payment pays no invoice.", _SPLIT)


def rest_of_several(case: Case, rest: str) -> ExportError:
    """Nobody can say whose overpayment it would be."""
    said = f"{rest} is paid beyond what is due, and the invoices are of several customers: it is not said whose it is."
    return case.error(ExportReason.AMOUNT_EXCEEDS_DUE, said, _BY_HAND)


def rest_of_recorded(case: Case, rest: str) -> ExportError:
    """Somebody recorded the payment; whether with the rest cannot be seen."""
    said = f"Somebody recorded this payment in Xero; whether also the {rest} beyond the invoices is not known."
    return case.error(
        ExportReason.AMOUNT_EXCEEDS_DUE,
        said,
        "Look for the rest in Xero, record it if it is not there, and dismiss it here.",
    )


_SPLIT = "Let what is paid beyond be recorded as an overpayment, or correct the invoice in Xero and try again."
_BY_HAND = "Record the payment in Xero and dismiss it here."


def recorded_twice(case: Case, invoice: str, there: Sequence[str], double: tuple[str, str]) -> ExportError:
    """Xero has the payment twice: as these records, and as the payment `double`, told by its id and its amount."""
    name, amount = double
    return case.error(
        ExportReason.RECORDED_TWICE,
        f"Xero shows it twice on invoice {invoice}: as {', '.join(there)}, and as payment {name} of {amount}, which "
        "came after it had been given up as lost.",
        f"Delete payment {name} in Xero.",
    )


# What is taken back


def taken_back_in_part(case: Case) -> ExportError:
    """Nobody can say whose part is given back."""
    said = "A part of a payment of several customers is given back, and it is not said whose it is."
    return case.error(ExportReason.REJECTED_BY_XERO, said, "Record it in Xero.")


def account_begun_with(case: Case, name: str) -> ExportError:
    """What was begun on an account cannot be finished there; on another one it would not net to zero."""
    which = f", {name}, is archived" if name else " is no longer"
    said = f"A part of this is recorded already, and the account for refunds that it was begun with{which} in Xero."
    return case.error(
        ExportReason.ACCOUNT_ARCHIVED,
        said,
        "Restore that account in Xero and try again with ReexportPayment, or record in Xero what is missing.",
    )


def begun_otherwise(case: Case) -> ExportError:
    """A reversal that is half done would have to be something else now."""
    return case.error(
        ExportReason.REJECTED_BY_XERO,
        "A part of this is recorded already, and does not go with the payment, its invoices or the accounts of now.",
        "Undo in Xero what has changed there, or choose the account as it was, and try again; or finish it in Xero.",
    )


# Xero, the consent and the calls


def scope_missing(case: Case) -> ExportError:
    """The consent does not permit writing."""
    said = "The consent does not cover recording payments in Xero."
    return case.error(ExportReason.SCOPE_MISSING, said, "Connect Xero again and agree to everything asked for.")


def role_missing(case: Case) -> ExportError:
    """The user who consented may not do this."""
    said = "The user who connected Xero may not record this there."
    return case.error(
        ExportReason.SCOPE_MISSING,
        said,
        "Give them the Standard or Adviser role in Xero, or have another such user connect it again; then try again.",
    )


def currency_not_held(case: Case, currency: str) -> ExportError:
    """The organisation does not keep books in it."""
    said = f"The organisation does not have the currency {currency} in Xero."
    return case.error(
        ExportReason.CURRENCY_MISMATCH, said, f"Add {currency} to the organisation in Xero and try again."
    )


def connection_lost(case: Case) -> ExportError:
    """Nothing can be written before somebody has connected again."""
    said = "The connection to Xero is not usable at the moment; the payment waits for it."
    return case.passing(
        ExportReason.CONNECTION_LOST, said, "Connect Xero again; it then goes on by itself.", Owner.MERCHANT
    )


def rate_limited(case: Case) -> ExportError:
    """Xero's calls are used."""
    said = "Xero's calls are used up for the moment; the payment waits for its turn."
    return case.passing(ExportReason.RATE_LIMITED, said, "Nothing is to be done.", Owner.NOBODY)


def unavailable(case: Case) -> ExportError:
    """Xero fails, and nothing was sent."""
    said = "Xero does not answer properly at the moment; nothing was sent."
    return case.passing(ExportReason.XERO_UNAVAILABLE, said, "Nothing is to be done.", Owner.XERO)


def nothing_to_take_back(case: Case) -> ExportError:
    """A reversal that is tried again is of a payment that is not in Xero."""
    return case.error(
        ExportReason.REJECTED_BY_XERO,
        "The payment is not in Xero at present: there is nothing to take back.",
        "Take it back once it is exported, or dismiss the export.",
    )


def taken_back_meanwhile(case: Case, left: Decimal, currency: str) -> ExportError:
    """Other reversals left too little of a payment for one that had failed before them."""
    return case.error(
        ExportReason.REJECTED_BY_XERO,
        f"Other reversals took the payment back meanwhile: {readable(left, currency)} of it is left.",
        "Nothing is to be done where they were meant instead; otherwise take back what is left.",
    )


def nothing_to_refund(case: Case) -> ExportError:
    """The payment that is to be refunded is not in Xero as it was exported."""
    return case.error(
        ExportReason.REJECTED_BY_XERO,
        "Somebody removed the payment, or a part of it, in Xero: there is nothing to refund.",
        "Export the payment again, and then take it back once more; or record both in Xero, and dismiss it.",
    )


def removed_after_refund(case: Case) -> ExportError:
    """What is left of a payment is to be taken back, and the payment is not in Xero as it was exported."""
    return case.error(
        ExportReason.REJECTED_BY_XERO,
        "Somebody removed the payment, of which a part was refunded before, in Xero: the rest cannot be taken back.",
        "Export the payment again, and then take the rest back once more; or record both in Xero, and dismiss it.",
    )


def reversal_removed(case: Case, kinds: Sequence[str]) -> ExportError:
    """What was made to take a payment back is gone; `kinds` says what."""
    what = " and ".join(kind.lower().replace("_", " ") for kind in kinds)
    said = f"It was taken back, and somebody removed the {what} that was made for it in Xero."
    return case.error(
        ExportReason.REJECTED_BY_XERO, said, f"If it is still to be taken back, record the {what} again in Xero."
    )


def not_shown(case: Case) -> ExportError:
    """What Xero accepted is not to be seen there."""
    said = "Xero accepted that it is taken back, and does not show it after an hour."
    remedy = "Nothing is to be done: it is looked for each hour, and nothing is sent twice."
    return case.passing(ExportReason.XERO_UNAVAILABLE, said, remedy, Owner.XERO)


def proof_not_understood(case: Case, trouble: str) -> ExportError:
    """It is done, and whether Xero shows it cannot be read."""
    said = f"Xero accepted that it is taken back, and it cannot be seen there at present: {trouble}"
    remedy = "It is looked for again each half hour; whoever runs this service finds the cause in its log."
    return case.passing(ExportReason.XERO_UNAVAILABLE, said, remedy, Owner.OPERATOR)


def not_understood(case: Case, trouble: str) -> ExportError:
    """Xero's answer, or our own plan, is not what this service was made for."""
    return case.error(
        ExportReason.REJECTED_BY_XERO,
        f"It cannot be taken back as things are: {trouble}",
        "Have whoever runs this service look at its log; then try again with ReexportPayment, or record it in Xero.",
        Owner.OPERATOR,
    )


def rejected(case: Case, messages: Sequence[str], remedy: str = "") -> ExportError:
    """Xero refused it for a cause that is not known here."""
    words = "; ".join(messages)
    quoted = words if len(words) <= LONGEST_QUOTE else f"{words[:LONGEST_QUOTE]}…"
    said = f"Xero refused it: {quoted}" if words else "Xero refused it without saying why."
    return case.error(
        ExportReason.REJECTED_BY_XERO,
        said,
        remedy or "Read Xero's words, correct in Xero what they name, and try again.",
    )
