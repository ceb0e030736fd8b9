"""What is said to a person when a connection is not well: one sentence per reason, and who must act."""

from datetime import datetime

from tieout_server.errors import (
    AccessRevokedError,
    AuthorizationFailedError,
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
from tieout_server.ledger.links import Owner, Reason, ReasonCode

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


def of_error(error: TieoutError, observed_at: datetime, *evidence: str) -> Reason:
    """The reason that this error gives a connection, in the error's own words."""
    code, owner = next(_OF_ERRORS[kind] for kind in type(error).__mro__ if kind in _OF_ERRORS)
    return Reason(code=code, sentence=error.sentence, owner=owner, observed_at=observed_at, evidence=evidence)
