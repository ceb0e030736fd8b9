"""Every error that a call can raise, sorted by the next move.

TieoutError
├── CallerError                          correct the request; nothing was changed
│   ├── InvalidRequestError              fields are wrong: every violation is named
│   ├── NotFoundError                    there is no such thing
│   ├── RequestIdReusedError             the request_id came before with other content
│   ├── PaymentIdReusedError             the payment_id came before with other content
│   ├── NotPermittedNowError             the state of the thing does not permit it
│   ├── ContactNotErasedError            Xero has the contact as any other, and would bring it back
│   ├── ChangedMeanwhileError            read it again and decide anew
│   ├── OrganisationAlreadyConnectedError   another connection has the organisation
│   ├── ConsentStateError                the consent's state is unknown, used or expired
│   ├── ResumeTokenTooOldError           the watch must start anew
│   ├── CallerUnauthenticatedError       present a valid token or certificate
│   ├── CallerNotPermittedError          ask the operator for the role or the merchant
│   └── NotServedYetError                this server is older than the call
├── PersonMustActError                   a person at the merchant (or the operator) acts
│   ├── ConsentDeniedError               consent was refused at Xero
│   ├── AuthorizationFailedError         Xero sent an error instead of a consent
│   ├── ConsentExpiredError              the authorisation code is used, expired or not ours
│   ├── NotAdministratorError            the authorising user may not do what is needed
│   ├── WrongOrganisationError           a reconnect came back as another organisation
│   ├── NoOrganisationError              the consent linked no organisation
│   ├── ConnectionNotUsableError         the connection waits for a person
│   ├── CredentialsExpiredError          Xero no longer accepts the tokens
│   ├── AccessRevokedError               Xero refuses these books
│   ├── ScopeMissingError                the consent did not cover this call
│   └── AppRejectedError                 Xero does not know the app's client id or secret
├── TryAgainError                        repeat it after `retry_after`
│   ├── XeroUnavailableError             Xero or the way to it did not answer properly
│   ├── CallLimitError                   Xero's call limits hold the call up
│   ├── CallerRateLimitedError           this caller calls too often, or watches too much
│   ├── StorageUnavailableError          the service's database did not answer
│   ├── DrainingError                    the server is being stopped
│   ├── IssuerUnavailableError           the issuer of the caller's token did not answer the service
│   ├── UnreachableError                 no server answered
│   └── DeadlineError                    no answer in time: what was asked for may have happened
└── BugError                             a fault of the service: report it
    └── UnexpectedAnswerError            Xero answered what nobody documented
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

_A_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a request: which field, and the rule it breaks."""

    field: str
    rule: str


@dataclass(frozen=True)
class Facts:
    """What an answer says about an error beside its sentence."""

    code: str = "UNKNOWN"
    """The gRPC status code by name: `FAILED_PRECONDITION`."""
    reason: str = ""
    """An `ErrorReason` without its prefix: `CONNECTION_NOT_USABLE`. Empty where no server of ours answered."""
    violations: tuple[Violation, ...] = ()
    """Everything that is wrong with the request, or has to be true first."""
    retry_after: timedelta | None = None
    """How long to wait before a repeat, as the service asks. None: it did not say."""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """More about the reason, by the keys that `errors.proto` names."""
    call_id: str = ""
    """How the service's log and traces name the call (`x-request-id`). Empty where no server of ours answered."""


class TieoutError(Exception):
    """A call failed. `sentence` is for a person, everything else for a program."""

    def __init__(self, sentence: str, facts: Facts | None = None) -> None:
        facts = facts or Facts()
        super().__init__(sentence)
        self.sentence = sentence
        self.code = facts.code
        self.reason = facts.reason
        self.violations = facts.violations
        self.retry_after = facts.retry_after
        self.metadata = facts.metadata
        self.call_id = facts.call_id


class CallerError(TieoutError):
    """The request cannot be served as it is, and nothing was changed: correct it."""


class InvalidRequestError(CallerError):
    """Fields of the request break their rules; `violations` names every one."""


class NotFoundError(CallerError):
    """There is no such thing, or it is not this caller's."""


class RequestIdReusedError(CallerError):
    """The request_id was used before, for a request with other content."""


class PaymentIdReusedError(CallerError):
    """The payment_id or reversal_id was used before, for other content."""


class NotPermittedNowError(CallerError):
    """The state of the thing does not permit this; read it again."""


class ContactNotErasedError(CallerError):
    """Xero has the person as any other contact, and would bring them back: have them erased in Xero first."""


class ChangedMeanwhileError(CallerError):
    """What was to be changed was changed since it was read: read it again and decide anew."""


class OrganisationAlreadyConnectedError(CallerError):
    """The organisation has a connection; metadata `connection_id` names it where this caller may see it."""


class ConsentStateError(CallerError):
    """The `state` of a consent is unknown, was used before, or has expired: the merchant starts again."""


class ResumeTokenTooOldError(CallerError):
    """The resume token is older than 7 days, or the database was restored: start without one, from a snapshot."""


class CallerUnauthenticatedError(CallerError):
    """The service does not know who is calling: present a valid token or certificate."""


class CallerNotPermittedError(CallerError):
    """This caller may not do that: the operator grants the role or the merchant."""


class NotServedYetError(CallerError):
    """The call is part of the API, and this server is too old for it."""


class PersonMustActError(TieoutError):
    """No program can mend this: the merchant, or the operator, must act. The sentence says who and how."""


class ConsentDeniedError(PersonMustActError):
    """The merchant refused consent at Xero; they may start again."""


class AuthorizationFailedError(PersonMustActError):
    """Xero sent an error instead of a consent, as metadata `error` has it; the merchant starts again."""


class ConsentExpiredError(PersonMustActError):
    """Xero no longer accepts the authorisation code; the merchant starts again."""


class NotAdministratorError(PersonMustActError):
    """The user who consented may not do what is needed; the merchant starts again as an administrator."""


class WrongOrganisationError(PersonMustActError):
    """The consent was for another organisation than the connection's; nothing was changed."""


class NoOrganisationError(PersonMustActError):
    """The consent linked no organisation; the merchant starts again."""


class ConnectionNotUsableError(PersonMustActError):
    """The connection is not connected now; its reason says why, and `reconnect` leads back."""


class CredentialsExpiredError(PersonMustActError):
    """Xero no longer accepts the tokens; the merchant reconnects."""


class AccessRevokedError(PersonMustActError):
    """Xero refuses these books; the merchant reconnects."""


class ScopeMissingError(PersonMustActError):
    """The consent did not cover this call; the merchant reconnects and grants metadata `scopes`."""


class AppRejectedError(PersonMustActError):
    """Xero does not accept the app's client id, secret or scopes; the operator corrects them."""


class TryAgainError(TieoutError):
    """A passing trouble: repeat the call after `retry_after`, with the same request_id where it has one."""

    retry_after: timedelta
    """How long to wait before a repeat: as long as the service asks for, or a second where it could not be asked."""

    def __init__(self, sentence: str, facts: Facts | None = None) -> None:
        super().__init__(sentence, facts)
        self.retry_after = self.retry_after or _A_MOMENT


class XeroUnavailableError(TryAgainError):
    """Xero or the way to it did not answer properly; nothing is lost."""


class CallLimitError(TryAgainError):
    """Xero's limits hold the call up; metadata `limit` says whether the minute's, the day's or the app's."""


class CallerRateLimitedError(TryAgainError):
    """This caller calls too often, or has too many watches open."""


class StorageUnavailableError(TryAgainError):
    """The service's database did not answer."""


class DrainingError(TryAgainError):
    """The server is being stopped; another one, or the same one restarted, will answer."""


class IssuerUnavailableError(TryAgainError):
    """The service cannot judge the token now: its issuer does not answer."""


class UnreachableError(TryAgainError):
    """No server answered at the target."""


class DeadlineError(TryAgainError):
    """No answer in time. What was asked for may have happened: repeat it with the same request_id."""


class BugError(TieoutError):
    """A fault of the service; metadata `request_id` finds it in the operator's log."""


class UnexpectedAnswerError(BugError):
    """Xero answered what nobody documented; the operator's log has its words."""


BY_REASON: Mapping[str, type[TieoutError]] = MappingProxyType(
    {
        "INVALID_REQUEST": InvalidRequestError,
        "NOT_FOUND": NotFoundError,
        "REQUEST_ID_REUSED": RequestIdReusedError,
        "NOT_PERMITTED_NOW": NotPermittedNowError,
        "CONTACT_NOT_ERASED_IN_XERO": ContactNotErasedError,
        "RESUME_TOKEN_TOO_OLD": ResumeTokenTooOldError,
        "CHANGED_MEANWHILE": ChangedMeanwhileError,
        "PAYMENT_ID_REUSED": PaymentIdReusedError,
        "ORGANISATION_ALREADY_CONNECTED": OrganisationAlreadyConnectedError,
        "CALLER_UNAUTHENTICATED": CallerUnauthenticatedError,
        "CALLER_NOT_PERMITTED": CallerNotPermittedError,
        "CALLER_RATE_LIMITED": CallerRateLimitedError,
        "CONSENT_STATE_INVALID": ConsentStateError,
        "CONSENT_DENIED": ConsentDeniedError,
        "AUTHORIZATION_FAILED": AuthorizationFailedError,
        "CONSENT_EXPIRED": ConsentExpiredError,
        "NOT_ADMINISTRATOR": NotAdministratorError,
        "WRONG_ORGANISATION": WrongOrganisationError,
        "NO_ORGANISATION": NoOrganisationError,
        "CONNECTION_NOT_USABLE": ConnectionNotUsableError,
        "CREDENTIALS_EXPIRED": CredentialsExpiredError,
        "ACCESS_REVOKED": AccessRevokedError,
        "SCOPE_MISSING": ScopeMissingError,
        "APP_REJECTED": AppRejectedError,
        "XERO_UNAVAILABLE": XeroUnavailableError,
        "RATE_LIMITED": CallLimitError,
        "STORAGE_UNAVAILABLE": StorageUnavailableError,
        "DRAINING": DrainingError,
        "ISSUER_UNAVAILABLE": IssuerUnavailableError,
        "NOT_SERVED_YET": NotServedYetError,
        "INTERNAL": BugError,
        "UNEXPECTED_ANSWER": UnexpectedAnswerError,
    }
)
"""The class of every `ErrorReason` that this version knows."""

BY_CODE: Mapping[str, type[TieoutError]] = MappingProxyType(
    {
        "CANCELLED": TryAgainError,
        "UNKNOWN": BugError,
        "INVALID_ARGUMENT": InvalidRequestError,
        "DEADLINE_EXCEEDED": DeadlineError,
        "NOT_FOUND": NotFoundError,
        "ALREADY_EXISTS": CallerError,
        "PERMISSION_DENIED": CallerNotPermittedError,
        "RESOURCE_EXHAUSTED": TryAgainError,
        "FAILED_PRECONDITION": PersonMustActError,
        "ABORTED": ChangedMeanwhileError,
        "OUT_OF_RANGE": CallerError,
        "UNIMPLEMENTED": NotServedYetError,
        "INTERNAL": BugError,
        "UNAVAILABLE": UnreachableError,
        "DATA_LOSS": BugError,
        "UNAUTHENTICATED": CallerUnauthenticatedError,
    }
)
"""The class of a status without a reason, or with one that is newer than this version."""


def error_of(sentence: str, facts: Facts) -> TieoutError:
    """The error of the class that the reason has, or else the status code."""
    known = BY_REASON.get(facts.reason) or BY_CODE.get(facts.code, BugError)
    return known(sentence, facts)
