"""Every error that this service raises on purpose, sorted by the next move.

TieoutError
├── CallerError                     the caller corrects the request
│   ├── InvalidRequestError         fields are wrong: every violation is named
│   ├── NotFoundError               there is no such thing
│   ├── RequestIdReusedError        the request_id came before with other content
│   ├── OrganisationAlreadyConnectedError  another connection has the organisation
│   ├── PaymentIdReusedError        the payment_id came before with other content
│   ├── ChangedMeanwhileError       somebody else changed it since it was read
│   ├── NotPermittedNowError        the state of the thing does not permit it
│   ├── ContactNotErasedError       Xero has the contact as any other, and would bring it back
│   ├── ConsentStateError           the consent's state is unknown, used or expired
│   ├── ResumeTokenTooOldError      the watch must start anew
│   ├── CallerUnauthenticatedError  no token came, or a wrong one
│   └── CallerNotPermittedError     this caller may not do that, or not for this merchant
├── PersonMustActError              a person at the merchant (or an operator) acts
│   ├── ConsentDeniedError          consent was refused at Xero
│   ├── AuthorizationFailedError    Xero sent an error instead of a consent
│   ├── ConsentExpiredError         the authorisation code is used, expired or not ours
│   ├── NotAdministratorError       the authorising user may not do what we need
│   ├── WrongOrganisationError      a reconnect came back as another organisation
│   ├── NoOrganisationError         the consent linked no organisation
│   ├── CredentialsExpiredError     the refresh token is no longer good
│   ├── AccessRevokedError          Xero refuses these books to us
│   ├── ScopeMissingError           the consent did not cover this call
│   ├── OperatorMustActError        not the merchant's matter: an operator of this service acts
│   │   ├── AppRejectedError        Xero does not know our client id or secret
│   │   └── ListenError             a server cannot listen as it is told to
│   └── ConnectionNotUsableError    the connection waits for a person
├── TryAgainError                   it is tried again, by us where we own the work
│   ├── XeroUnavailableError        Xero or the network did not answer properly
│   │   └── AnswerLostError         a write was sent, and whether it was done is not known
│   ├── CallLimitError              Xero's call limits hold the call up
│   ├── CallerRateLimitedError      this caller calls too often, or watches too much
│   └── IssuerUnavailableError      the issuer of callers' tokens does not answer
├── DrainingError                   this process is shutting down; ask another
├── StorageUnavailableError         our database cannot be used now; nobody knows what became of what was under way
└── BugError                        somebody has to change code
    └── UnexpectedAnswerError       Xero answered what nobody documented
        └── RejectedError           Xero refused a request as a whole, in its own words
"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

import msgspec


class Violation(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request: which field, and the rule it breaks."""

    field: str
    rule: str


class TieoutError(Exception):
    """What every error of this service has: a sentence for a person, and facts for a program."""

    reason: ClassVar[str] = "INTERNAL"
    """The `ErrorReason` on the wire, without its prefix."""

    def __init__(self, sentence: str, **facts: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.facts: Mapping[str, str] = facts


# The caller corrects the request.


class CallerError(TieoutError):
    """The request cannot be served as it is; nothing was changed."""


class InvalidRequestError(CallerError):
    """Fields of the request break their rules. Every violation is named, not only the first."""

    reason = "INVALID_REQUEST"

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(f"{v.field} {v.rule}" for v in violations))
        self.violations = violations


class NotFoundError(CallerError):
    """There is no such thing, or it is not the caller's."""

    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"There is no {kind} {name!r}.", kind=kind, name=name)
        self.kind = kind
        self.name = name


class RequestIdReusedError(CallerError):
    """The request_id was used before, for a request with other content."""

    reason = "REQUEST_ID_REUSED"


class OrganisationAlreadyConnectedError(CallerError):
    """Another connection has the organisation: that one is used, or disconnected first."""

    reason = "ORGANISATION_ALREADY_CONNECTED"


class PaymentIdReusedError(CallerError):
    """The payment_id was used before on this connection, for a payment with other content."""

    reason = "PAYMENT_ID_REUSED"


class ChangedMeanwhileError(CallerError):
    """What is to be replaced has changed since it was read: read it again."""

    reason = "CHANGED_MEANWHILE"


class NotPermittedNowError(CallerError):
    """The state of the connection, sync or document does not permit this."""

    reason = "NOT_PERMITTED_NOW"


class ContactNotErasedError(CallerError):
    """A person is to be erased here whom Xero has as any other contact: the next read would bring them back."""

    reason = "CONTACT_NOT_ERASED_IN_XERO"


class ConsentStateError(CallerError):
    """The `state` of a consent is unknown, used or expired, as the fact `fault` says. Nothing was changed."""

    reason = "CONSENT_STATE_INVALID"


class ResumeTokenTooOldError(CallerError):
    """A resume token is older than what is kept (7 days), or younger than a restored backup: start from a snapshot."""

    reason = "RESUME_TOKEN_TOO_OLD"


class CallerUnauthenticatedError(CallerError):
    """The caller presents no bearer token, or one that is not ours."""

    reason = "CALLER_UNAUTHENTICATED"


class CallerNotPermittedError(CallerError):
    """The caller has not the role that this takes, or is not for this merchant; the facts name which."""

    reason = "CALLER_NOT_PERMITTED"


# A person acts.


class PersonMustActError(TieoutError):
    """Nothing here can mend this; a person must."""


class ConsentDeniedError(PersonMustActError):
    """The person refused consent at Xero."""

    reason = "CONSENT_DENIED"


class AuthorizationFailedError(PersonMustActError):
    """Xero sent back an error that is no refusal; nothing was consented to."""

    reason = "AUTHORIZATION_FAILED"


class ConsentExpiredError(PersonMustActError):
    """The authorisation code was used before, is older than 5 minutes, or is not ours (Xero, Token types)."""

    reason = "CONSENT_EXPIRED"


class NotAdministratorError(PersonMustActError):
    """The authorising user may not do what the connection needs (Standard or Adviser role: Xero, Permissions)."""

    reason = "NOT_ADMINISTRATOR"


class WrongOrganisationError(PersonMustActError):
    """The consent was for another organisation than the one this connection belongs to."""

    reason = "WRONG_ORGANISATION"


class NoOrganisationError(PersonMustActError):
    """The consent linked no organisation to us."""

    reason = "NO_ORGANISATION"


class CredentialsExpiredError(PersonMustActError):
    """Xero no longer accepts the refresh token: unused for 60 days, revoked, or rotated away."""

    reason = "CREDENTIALS_EXPIRED"


class AccessRevokedError(PersonMustActError):
    """Xero refuses these books: disconnected there, the user removed or downgraded, or the organisation gone."""

    reason = "ACCESS_REVOKED"


class ScopeMissingError(PersonMustActError):
    """The consent did not cover this call; only a new consent can."""

    reason = "SCOPE_MISSING"


class OperatorMustActError(PersonMustActError):
    """An operator of this service acts: its settings, keys or database. No merchant can, and none is asked to."""

    reason = "INTERNAL"


class AppRejectedError(OperatorMustActError):
    """Xero does not accept our client id, secret or scopes: an operator's matter."""

    reason = "APP_REJECTED"


class ListenError(OperatorMustActError):
    """A server cannot listen as it is told to: an operator's matter, and before any call could come."""


class ConnectionNotUsableError(PersonMustActError):
    """The connection is not connected now; its reason says why and who must act."""

    reason = "CONNECTION_NOT_USABLE"


# It is tried again.


class TryAgainError(TieoutError):
    """A passing trouble. `retry_at` says when to try again, where that is known."""

    def __init__(self, sentence: str, retry_at: datetime | None = None, **facts: str) -> None:
        super().__init__(sentence, **facts)
        self.retry_at = retry_at


class XeroUnavailableError(TryAgainError):
    """Xero or the way to it did not answer properly. Nothing is lost; no token is given up for this."""

    reason = "XERO_UNAVAILABLE"


class AnswerLostError(XeroUnavailableError):
    """A write was sent and no proper answer came: whether it was done is not known. It is not sent again blindly."""


class CallLimitError(TryAgainError):
    """Xero's limits hold this call up: the organisation's minute or day, or the app's minute."""

    reason = "RATE_LIMITED"

    def __init__(self, sentence: str, limit: str, retry_at: datetime | None = None) -> None:
        super().__init__(sentence, retry_at, limit=limit)
        self.limit = limit


class CallerRateLimitedError(TryAgainError):
    """This caller calls too often or has too many streams open, or its address showed too much that is wrong."""

    reason = "CALLER_RATE_LIMITED"


class IssuerUnavailableError(TryAgainError):
    """The issuer of callers' tokens does not answer, and a token cannot be judged without it."""

    reason = "ISSUER_UNAVAILABLE"


# This process ends.


class DrainingError(TieoutError):
    """This process is shutting down: another one does it. A call to Xero that this ends was not sent.

    No TryAgainError: that one is about Xero, and work that meets it waits. Here it is given back as it was.
    """

    reason = "DRAINING"

    def __init__(self, sentence: str = "This server is shutting down; ask another one.", **facts: str) -> None:
        super().__init__(sentence, **facts)


# The database is away.


class StorageUnavailableError(TieoutError):
    """Our database cannot be used at the moment; `why` is in its words, for the log and not for callers.

    No TryAgainError: that one is about Xero, and of a write it says that nothing was sent. Here that is not known.
    """

    reason = "STORAGE_UNAVAILABLE"

    def __init__(self, sentence: str, why: str) -> None:
        super().__init__(sentence)
        self.why = why


# It is a bug.


class BugError(TieoutError):
    """Somebody has to change code."""


class UnexpectedAnswerError(BugError):
    """Xero answered what nobody documented; its words are kept."""

    reason = "UNEXPECTED_ANSWER"


class RejectedError(UnexpectedAnswerError):
    """Xero refused a request (400, 404) and did nothing; `messages` are its words, one for each thing it minds."""

    def __init__(self, sentence: str, messages: tuple[str, ...], **facts: str) -> None:
        super().__init__(sentence, **facts)
        self.messages = messages
