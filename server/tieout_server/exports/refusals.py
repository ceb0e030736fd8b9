"""What Xero's words mean when it refuses a payment: a reason, a remedy, and who must act.

Xero documents few of its messages; they are matched by parts of them in small letters, and always kept whole.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime

import msgspec

from tieout_server.exports import sentences
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import ExportReason
from tieout_server.ledger.exports import ExportError


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """What was refused, as a person knows it."""

    currency: str
    paid_on: date
    account: str = ""
    """The account's name."""
    account_is_for: str = ""
    """What it was chosen for, where that is not the currency: `refunds`."""
    invoice: str = ""
    """The invoice's number; empty where it was about several."""
    amount: str = ""
    """What it was to pay, as it is read out."""
    credit: str = ""
    """What kind of credit was to be paid back; empty where no credit was."""
    line: int | None = None
    at: datetime

    @property
    def case(self) -> Case:
        """Of what it is said."""
        return Case(self.at, self.line)

    @property
    def purpose(self) -> str:
        """What the account was chosen for."""
        return self.account_is_for or self.currency


_Told = Callable[[Refused], ExportError]


def classify(messages: Sequence[str], refused: Refused) -> ExportError:
    """The reason that these words give; REJECTED_BY_XERO with the words where they are not known.

    Where several causes are named, it is the most decisive one; all the words are kept in any case.
    """
    meanings = (*_OF_CREDITS, *_MEANINGS) if refused.credit else _MEANINGS
    told = next((tell for tell, words in meanings if _any_of(words, messages)), None)
    error = told(refused) if told else sentences.rejected(refused.case, _telling(messages), _advice(messages))
    return msgspec.structs.replace(error, xero_messages=tuple(messages))


def says_undeletable(messages: Sequence[str]) -> bool:
    """Whether a deletion was refused for good, so that what was paid is to be taken back in another way."""
    return _any_of(_UNDELETABLE, messages)


def _any_of(words: Sequence[str], messages: Sequence[str]) -> bool:
    lowered = "\n".join(messages).lower()
    return any(word in lowered for word in words)


def _telling(messages: Sequence[str]) -> Sequence[str]:
    """Without what Xero always says before it says what is wrong."""
    return [message for message in messages if _PREAMBLE not in message.lower()]


def _advice(messages: Sequence[str]) -> str:
    return next((remedy for remedy, words in _ADVICE if _any_of(words, messages)), "")


_PREAMBLE = "a validation exception occurred"

_LOCKED = ("accounts are locked", "period lock date", "end of year lock date", "locked period")
_UNDELETABLE = (*_LOCKED, "reconciled", "part of a batch", "cannot be deleted", "cannot be removed")

_MEANINGS: tuple[tuple[_Told, tuple[str, ...]], ...] = (
    (
        lambda refused: sentences.role_missing(refused.case),
        ("does not have the correct permissions",),
    ),
    (
        lambda refused: sentences.contact_archived(refused.case, refused.invoice),
        ("contact details has been archived", "contact must be un-archived", "contact has been archived"),
    ),
    (
        lambda refused: sentences.account_gone(refused.case, refused.purpose),
        (
            "account could not be found",
            "is not a valid code for this document",
            "has been archived or has been deleted",
            "account has been archived",
            "account is archived",
        ),
    ),
    (
        lambda refused: sentences.account_not_payable(refused.case, refused.account, refused.purpose),
        ("account type is invalid", "not a valid account for payments", "must be an account of the type bank"),
    ),
    (
        lambda refused: sentences.currency_not_held(refused.case, refused.currency),
        ("not subscribed to currency",),
    ),
    (
        lambda refused: sentences.currencies_differ(refused.case, refused.account, refused.invoice),
        ("account's currency must be", "currency mismatch", "same currency", "base currency"),
    ),
    (
        lambda refused: sentences.invoice_unknown(refused.case, refused.invoice),
        ("invoice could not be found", "document could not be found"),
    ),
    (
        lambda refused: sentences.invoice_not_payable(refused.case, refused.invoice, ""),
        ("only be made against authorised documents", "not of valid status"),
    ),
    (
        lambda refused: sentences.period_locked(refused.case, refused.paid_on),
        _LOCKED,
    ),
    (
        lambda refused: sentences.exceeds_due(refused.case, refused.invoice, refused.amount),
        ("exceeds the amount outstanding", "exceeds the amount due"),
    ),
)
"""Most decisive first: an invoice that is paid meanwhile is refused with two messages (Xero, Payments)."""


def _credit_used(refused: Refused) -> ExportError:
    """A credit is refunded by a payment, and Xero's words are those of payments of invoices."""
    left = f"less than {refused.amount} is left to be paid back: it was applied or refunded in Xero."
    return refused.case.error(
        ExportReason.REJECTED_BY_XERO,
        f"Of the {refused.credit} {left}",
        "Undo that in Xero and try again with ReexportPayment, or record there what is missing of this.",
    )


_OF_CREDITS: tuple[tuple[_Told, tuple[str, ...]], ...] = (
    (_credit_used, ("exceeds the amount outstanding", "exceeds the amount due", "only be made against authorised")),
)
"""What the words mean where they are about a credit, before what they mean otherwise."""

_ADVICE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Choose a tax type that goes with the account for refunds, and try again.", ("taxtype code", "tax type")),
    ("Raise the organisation's plan in Xero, or wait for its next month, and try again.", ("reached the limit",)),
    ("Undo it in Xero where it is reconciled, and record it there.", ("reconciled",)),
    ("It can be tried again on the day that it was paid.", ("in the future",)),
)
"""For causes that callers need not tell apart."""
