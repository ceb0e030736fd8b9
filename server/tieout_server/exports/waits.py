"""What a payment waits for that is not in Xero yet: troubles that pass, and when to try again."""

from datetime import datetime, timedelta

import msgspec

from tieout_server.connections import scopes
from tieout_server.errors import (
    CallLimitError,
    OperatorMustActError,
    PersonMustActError,
    ScopeMissingError,
    TieoutError,
    TryAgainError,
)
from tieout_server.exports import sentences
from tieout_server.exports.checks import Examined
from tieout_server.exports.sentences import Case
from tieout_server.ledger.exports import ExportError
from tieout_server.ledger.links import Link, Owner
from tieout_server.ledger.writes import OverpaymentDraft

PAYMENTS = "accounting.payments"
BANK_TRANSACTIONS = "accounting.banktransactions"
"""The scopes that writing needs (Xero, Scopes)."""
FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(minutes=10)
LOOK_EVERY = timedelta(minutes=5)
"""How often a connection that only a person can mend is looked at, if nobody says that it was mended."""


def of_trouble(trouble: TieoutError, now: datetime) -> ExportError:
    """Why payments wait; all of it goes on by itself when the trouble has passed."""
    case = Case(at=now)
    if isinstance(trouble, CallLimitError):
        return sentences.rate_limited(case)
    if isinstance(trouble, ScopeMissingError):
        return msgspec.structs.replace(sentences.scope_missing(case), retries_by_itself=True)
    if isinstance(trouble, PersonMustActError) and not isinstance(trouble, OperatorMustActError):
        return sentences.connection_lost(case)
    if isinstance(trouble, TryAgainError):
        return sentences.unavailable(case)
    return msgspec.structs.replace(sentences.unavailable(case), owner=Owner.OPERATOR, xero_messages=(trouble.sentence,))


def may_not_write(link: Link, scope: str = PAYMENTS) -> bool:
    """Whether the consent does not permit what this scope does."""
    return not scopes.covers(link.scopes, scope)


def permitted(examined: Examined, link: Link, now: datetime) -> Examined:
    """With what the consent does not cover as a finding; an overpayment needs a scope of its own."""
    if not examined.plan and not examined.findings:
        return examined
    overpays = any(isinstance(one.draft, OverpaymentDraft) for one in examined.plan)
    if not any(may_not_write(link, scope) for scope in (PAYMENTS, *([BANK_TRANSACTIONS] if overpays else ()))):
        return examined
    finding = sentences.scope_missing(Case(at=now))
    return Examined(findings=(*examined.findings, finding), twins=examined.twins)


def until(trouble: TieoutError, began_at: datetime | None, now: datetime) -> datetime:
    """When to try again: when Xero says, or the later the longer it lasts."""
    if isinstance(trouble, TryAgainError) and trouble.retry_at is not None and trouble.retry_at > now:
        return trouble.retry_at
    if isinstance(trouble, PersonMustActError):
        return now + LOOK_EVERY
    lasts = now - began_at if began_at else timedelta()
    return now + min(max(lasts, FIRST_RETRY), LAST_RETRY)
