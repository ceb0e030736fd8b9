"""What is said to a person when a connection is not well: one sentence per reason, and who must act."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tieout_server.connections.scopes import BROAD_END_AT, Capability
from tieout_server.errors import (
    AccessRevokedError,
    AuthorizationFailedError,
    CallLimitError,
    ConsentDeniedError,
    ConsentExpiredError,
    CredentialsExpiredError,
    NoOrganisationError,
    NotAdministratorError,
    OperatorMustActError,
    OrganisationAlreadyConnectedError,
    ScopeMissingError,
    TieoutError,
    WrongOrganisationError,
)
from tieout_server.ledger.links import Link, Observation, Owner, Reason, ReasonCode

_OF_ERRORS: dict[type[TieoutError], tuple[ReasonCode, Owner]] = {
    ConsentDeniedError: (ReasonCode.CONSENT_DENIED, Owner.MERCHANT),
    AuthorizationFailedError: (ReasonCode.CONSENT_DENIED, Owner.MERCHANT),
    ConsentExpiredError: (ReasonCode.CREDENTIALS_EXPIRED, Owner.MERCHANT),
    NoOrganisationError: (ReasonCode.ORGANISATION_UNAVAILABLE, Owner.MERCHANT),
    NotAdministratorError: (ReasonCode.NOT_ADMINISTRATOR, Owner.MERCHANT),
    WrongOrganisationError: (ReasonCode.WRONG_ORGANISATION, Owner.MERCHANT),
    CredentialsExpiredError: (ReasonCode.CREDENTIALS_EXPIRED, Owner.MERCHANT),
    AccessRevokedError: (ReasonCode.DISCONNECTED_IN_XERO, Owner.MERCHANT),
    ScopeMissingError: (ReasonCode.SCOPE_MISSING, Owner.MERCHANT),
    OrganisationAlreadyConnectedError: (ReasonCode.WRONG_ORGANISATION, Owner.MERCHANT),
    OperatorMustActError: (ReasonCode.SERVICE_MISCONFIGURED, Owner.OPERATOR),
}

TEMPORARY = (ReasonCode.XERO_UNAVAILABLE, ReasonCode.DAY_LIMIT_REACHED, ReasonCode.SERVICE_MISCONFIGURED)
"""Reasons that pass without anybody at the merchant."""

REFUSED_CALL = "the call that was refused"
"""The subject of what made somebody look."""
ODD_ANSWER = "the answer that was not understood"
"""The subject of what only reading meets."""

LONGEST_QUOTE = 120
"""Characters of Xero's words that a finding keeps."""

_AGAIN = "Somebody with the Standard or Adviser role has to connect it again."

_NOTICED = "within a week, or at once when it is checked"
"""When what heals without a new consent is seen (TIEOUT_LOOK_EVERY)."""


class Case(msgspec.Struct, frozen=True):
    """Of what a reason is said: which connection, when, and what was seen."""

    link: Link
    at: datetime
    evidence: tuple[Observation, ...] = ()

    @property
    def who(self) -> str:
        """The authorising user, as a person knows them."""
        user = self.link.authorised_by
        return (user and (user.name or user.email)) or "the user who consented"

    @property
    def where(self) -> str:
        """The organisation."""
        return self.link.organisation.name if self.link.organisation else "the organisation"

    def reason(self, code: ReasonCode, owner: Owner, sentence: str, retry_at: datetime | None = None) -> Reason:
        """This case's reason."""
        return Reason(
            code=code,
            sentence=sentence[0].upper() + sentence[1:],
            owner=owner,
            observed_at=self.at,
            evidence=self.evidence,
            retry_at=retry_at,
        )


def of_error(error: TieoutError, observed_at: datetime) -> Reason:
    """The reason that this error gives a connection, in the error's own words."""
    code, owner = next(_OF_ERRORS[kind] for kind in type(error).__mro__ if kind in _OF_ERRORS)
    return Reason(code=code, sentence=error.sentence, owner=owner, observed_at=observed_at)


# What only a person at the merchant can mend


def lapsed(case: Case) -> Reason:
    """The consent was not used for 60 days (Xero, Token types)."""
    said = f"The consent for {case.where} has lapsed, as it was not used for 60 days. {_AGAIN}"
    return case.reason(ReasonCode.CREDENTIALS_EXPIRED, Owner.MERCHANT, said)


def revoked(case: Case) -> Reason:
    """The consent was taken back, or there are newer tokens that we do not have: after a restore, say."""
    said = (
        f"Xero no longer accepts the consent that {case.who} gave for {case.where}: "
        f"either it was taken back in Xero, or its newest tokens were lost here. {_AGAIN}"
    )
    return case.reason(ReasonCode.CREDENTIALS_EXPIRED, Owner.MERCHANT, said)


def disconnected_in_xero(case: Case) -> Reason:
    """Somebody removed the app in Xero."""
    said = f"{case.where} was disconnected in Xero, under Settings, Connected apps. {_AGAIN}"
    return case.reason(ReasonCode.DISCONNECTED_IN_XERO, Owner.MERCHANT, said)


def demo_reset(case: Case) -> Reason:
    """Xero has put a new demo company in this one's place (Xero, Demo company: every 28 days)."""
    said = (
        f"{case.where} is a demo company, and Xero has reset it, as it does every 28 days. "
        "The new one is another organisation: it needs a connection of its own."
    )
    return case.reason(ReasonCode.ORGANISATION_UNAVAILABLE, Owner.MERCHANT, said)


def gone(case: Case) -> Reason:
    """The organisation was deleted."""
    said = f"{case.where} no longer exists in Xero. Disconnect it here; a new one needs a connection of its own."
    return case.reason(ReasonCode.ORGANISATION_UNAVAILABLE, Owner.MERCHANT, said)


def closed(case: Case, status: str) -> Reason:
    """The organisation describes itself as something other than ACTIVE."""
    said = (
        f"{case.where} cannot be used through Xero's API: Xero calls it {status}, so its subscription or trial has "
        f"ended or it was closed. Once it is active again in Xero, the connection goes on by itself {_NOTICED}."
    )
    return case.reason(ReasonCode.ORGANISATION_UNAVAILABLE, Owner.MERCHANT, said)


def shut_out(case: Case) -> Reason:
    """The organisation is linked, and yet the user is refused: Xero does not say which of the two it is."""
    said = (
        f"Xero no longer lets {case.who} into {case.where}: this user was removed from it, or may not use apps there "
        "any more. Have another user with the Standard or Adviser role connect it again, or give them back such a "
        f"role: it then goes on by itself {_NOTICED}."
    )
    return case.reason(ReasonCode.AUTHORISING_USER_REMOVED, Owner.MERCHANT, said)


def user_removed(case: Case) -> Reason:
    """The organisation's list of users says so."""
    said = (
        f"{case.who}, who connected {case.where}, is no longer among its users. "
        "Another user with the Standard or Adviser role has to connect it again."
    )
    return case.reason(ReasonCode.AUTHORISING_USER_REMOVED, Owner.MERCHANT, said)


def downgraded(case: Case, role: str) -> Reason:
    """The user's role, or what they may do, is no longer enough."""
    now = f"has the role {role} in {case.where}" if role else f"may no longer record payments in {case.where}"
    said = (
        f"{case.who}, who connected it, {now}, which is not enough. "
        "Have another user with the Standard or Adviser role connect it again, or give them such a role in Xero: "
        f"it then goes on by itself {_NOTICED}."
    )
    return case.reason(ReasonCode.AUTHORISING_USER_DOWNGRADED, Owner.MERCHANT, said)


def scope_missing(case: Case, lacking: Sequence[Capability]) -> Reason:
    """The consent does not cover what the service does."""
    what = "; ".join(capability.name for capability in lacking) or "a call that is needed"
    said = f"The consent for {case.where} does not cover: {what}. Connect it again and agree to everything asked for."
    return case.reason(ReasonCode.SCOPE_MISSING, Owner.MERCHANT, said)


def scopes_end(case: Case) -> Reason:
    """The consent is for broad scopes, which Xero ends."""
    said = (
        f"The consent for {case.where} is of an older kind that Xero ends in September 2027. "
        f"Connect it again before {day(BROAD_END_AT)}."
    )
    return case.reason(ReasonCode.SCOPE_MISSING, Owner.MERCHANT, said)


# What others mend, or what passes


def expiring(case: Case, expires_at: datetime) -> Reason:
    """The weekly refresh has not worked for weeks: this service's own trouble, before it becomes the merchant's."""
    said = (
        f"The consent for {case.where} lapses on {day(expires_at)} unless it is refreshed before; "
        "that is done weekly and has not worked since. An operator has to find out why."
    )
    return case.reason(ReasonCode.CREDENTIALS_EXPIRED, Owner.OPERATOR, said)


def unavailable(case: Case) -> Reason:
    """Xero or the way to it fails."""
    said = "Xero does not answer properly at the moment. Nothing is lost; it is tried again by itself."
    return case.reason(ReasonCode.XERO_UNAVAILABLE, Owner.XERO, said)


def refused(case: Case) -> Reason:
    """A call is refused, although everything else about the connection is as it should be."""
    said = (
        f"Xero refuses a part of {case.where}'s books, although the connection itself is in order. "
        "Nothing is lost; it is tried again by itself, at least once an hour."
    )
    return case.reason(ReasonCode.XERO_UNAVAILABLE, Owner.XERO, said)


def odd(case: Case) -> Reason:
    """A page is not what Xero documents, and may be the next time."""
    said = (
        f"Xero answers for a part of {case.where}'s books in a way that nobody documented. "
        "Nothing is lost; it is tried again by itself, at least once an hour."
    )
    return case.reason(ReasonCode.XERO_UNAVAILABLE, Owner.XERO, said)


def day_limit(case: Case, retry_at: datetime | None) -> Reason:
    """The calls of the day are used."""
    said = "Xero's calls for the day are used up for this organisation; reading goes on by itself."
    return case.reason(ReasonCode.DAY_LIMIT_REACHED, Owner.NOBODY, said, retry_at)


def misconfigured(case: Case) -> Reason:
    """This service is not set up right."""
    said = "This service's own settings keep it from reading; an operator has to act, no merchant can."
    return case.reason(ReasonCode.SERVICE_MISCONFIGURED, Owner.OPERATOR, said)


def not_understood(case: Case) -> Reason:
    """Xero answers what nobody documented: waiting mends nothing, and neither can the merchant."""
    said = "Xero answers what this service does not understand; an operator has to see its log, no merchant can act."
    return case.reason(ReasonCode.SERVICE_MISCONFIGURED, Owner.OPERATOR, said)


def disconnected(case: Case) -> Reason:
    """The caller asked for it."""
    return case.reason(ReasonCode.MANUALLY_DISCONNECTED, Owner.NOBODY, "The connection was ended on request.")


def passes(reason: Reason | None) -> bool:
    """Whether this is a trouble that passes, and looking tells whether it has."""
    return reason is not None and reason.code in TEMPORARY and not only_reading_tells(reason)


def only_reading_tells(reason: Reason | None) -> bool:
    """Whether this was met by reading, while whoever looks finds everything in order."""
    return (
        reason is not None
        and reason.code is ReasonCode.XERO_UNAVAILABLE
        and any(seen.subject in (REFUSED_CALL, ODD_ANSWER) for seen in reason.evidence)
    )


def warning(reason: Reason | None) -> Reason | None:
    """The warning that this is, or that it covers until it has passed."""
    return reason.covers if reason and reason.code in TEMPORARY else reason


def day(instant: datetime) -> str:
    """A day for people: 1 September 2027."""
    return f"{instant.day} {instant:%B %Y}"


def words_of(error: TieoutError) -> str:
    """What Xero answered, as near to its own words as they are known."""
    words = error.facts.get("words", "")[:LONGEST_QUOTE]
    match error:
        case CredentialsExpiredError():
            return f"400 {error.facts['error']}" if "error" in error.facts else error.sentence
        case AccessRevokedError() if words:
            return f"{error.facts.get('status', '403')} {words}"
        case ScopeMissingError():
            return f"401 {words}".strip()
        case CallLimitError():  # of Xero's, or our own keeping of it
            return error.sentence
        case _ if status := error.facts.get("status", ""):
            return f"{status} {words}".strip()
        case _:
            return error.facts.get("error") or error.sentence
