"""What sightings prove: every way in which a Xero connection ends, and every way in which it only seems to."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tieout_server.connections.diagnosis import Certainty, Circumstances, Sightings, diagnose
from tieout_server.errors import (
    AccessRevokedError,
    AppRejectedError,
    CallLimitError,
    CredentialsExpiredError,
    PersonMustActError,
    ScopeMissingError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import Membership
from tieout_server.ledger.documents import Organisation, OrganisationUser
from tieout_server.ledger.links import AuthorisedBy, Link, Observation, Owner, ReasonCode

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
HARBOUR = Organisation(xero_tenant_id="t", name="Harbour & Vine", base_currency="NZD", status="ACTIVE")
DEMO = Organisation(xero_tenant_id="t", name="Demo Company (NZ)", base_currency="NZD", is_demo=True)
ADA = AuthorisedBy(xero_user_id="u", email="ada@example.com", name="Ada", organisation_role="STANDARD")
LISTED = (Membership(membership_id="m", xero_tenant_id="t", name="Harbour & Vine"),)
NAMELESS = (Membership(membership_id="m", xero_tenant_id="t", name=""),)
ELSEWHERE = (Membership(membership_id="m2", xero_tenant_id="another", name="Another"),)
REFUSED = AccessRevokedError("Xero refuses us these books.", words="AuthenticationUnsuccessful")
NO_SCOPE = ScopeMissingError("The consent does not cover this call.")
OUTAGE = XeroUnavailableError("Xero did not answer properly.", status="503")
DAY_OVER = CallLimitError("Xero's day limit refused the call.", "day", AT + timedelta(hours=5))
ASKED = ("accounting.contacts.read", "accounting.payments")


def link(**stated: Any) -> Link:  # noqa: ANN401 - any field of a link
    fields: dict[str, Any] = {
        "id": "con_1", "merchant_id": "m", "state": "CONNECTED", "xero_tenant_id": "t", "organisation": HARBOUR,
        "authorised_by": ADA, "scopes": ("accounting.contacts.read",), "created_at": AT, "updated_at": AT,
    }  # fmt: skip
    return Link(**(fields | stated))


def users(role: str) -> list[OrganisationUser]:
    return [OrganisationUser(xero_user_id="u", email=ADA.email, name="Ada", role=role)]


STRANGERS = [OrganisationUser(xero_user_id="v", email="bo@example.com", name="Bo", role="STANDARD")]
WELL: dict[str, Any] = {"memberships": LISTED, "organisation": HARBOUR, "users": users("STANDARD"), "actions": {}}
LAPSED = AT - timedelta(days=1)


@pytest.mark.parametrize(
    ("found", "cause", "code", "words"),
    [
        ({"refresh": CredentialsExpiredError("")}, None, "CREDENTIALS_EXPIRED", "taken back"),
        ({"memberships": ELSEWHERE, "organisation": REFUSED}, None, "DISCONNECTED_IN_XERO", "disconnected in Xero"),
        ({"memberships": (), "organisation": REFUSED}, REFUSED, "DISCONNECTED_IN_XERO", "disconnected in Xero"),
        ({"memberships": NAMELESS, "organisation": REFUSED}, None, "ORGANISATION_UNAVAILABLE", "no longer exists"),
        (
            {"memberships": LISTED, "organisation": REFUSED},
            None,
            "AUTHORISING_USER_REMOVED",
            "no longer lets Ada into Harbour & Vine: this user was removed from it, or may not use apps there any more",
        ),
        (WELL | {"users": users("READONLY"), "actions": None}, REFUSED, "AUTHORISING_USER_DOWNGRADED", "READONLY"),
        (WELL | {"actions": {"CreateInvoicePayment": False}}, REFUSED, "AUTHORISING_USER_DOWNGRADED", "payments"),
        (WELL | {"users": REFUSED, "actions": None}, None, "AUTHORISING_USER_DOWNGRADED", "payments"),
        (WELL | {"users": STRANGERS}, REFUSED, "AUTHORISING_USER_REMOVED", "no longer among its users"),
        (WELL | {"organisation": NO_SCOPE}, None, "SCOPE_MISSING", "recording payments"),
        (WELL, NO_SCOPE, "SCOPE_MISSING", "recording payments"),
    ],
)
def test_a_refusal_is_named_by_what_was_seen_and_the_merchant_must_act(
    found: dict[str, Any], cause: PersonMustActError | None, code: str, words: str
) -> None:
    seen = Sightings(**found, observations=(Observation("GET /Organisation", "403", AT),))
    verdict = diagnose(link(), seen, Circumstances(AT, ASKED, cause=cause))
    assert verdict.certainty is Certainty.LOST
    assert verdict.reason
    assert (verdict.reason.code, verdict.reason.owner) == (ReasonCode(code), Owner.MERCHANT)
    assert words in verdict.reason.sentence
    assert any(remedy in verdict.reason.sentence.lower() for remedy in ("connect it again", "disconnect it here"))
    assert (verdict.reason.evidence, verdict.reason.observed_at) == (seen.observations, AT)


def test_a_consent_that_nobody_used_for_sixty_days_is_told_from_one_that_was_taken_back() -> None:
    seen = Sightings(refresh=CredentialsExpiredError(""))
    verdict = diagnose(link(), seen, Circumstances(AT, credentials_expire_at=LAPSED))
    assert verdict.reason
    assert verdict.reason.code is ReasonCode.CREDENTIALS_EXPIRED
    assert "60 days" in verdict.reason.sentence


def test_of_a_refused_refresh_it_is_not_said_who_is_to_blame_for_it() -> None:
    """A merchant who took the consent back and a backup that holds older tokens look alike from here."""
    verdict = diagnose(link(), Sightings(refresh=CredentialsExpiredError("")), Circumstances(AT))
    assert verdict.reason
    assert "either it was taken back in Xero, or its newest tokens were lost here" in verdict.reason.sentence


@pytest.mark.parametrize(
    "found",
    [
        {"memberships": LISTED, "organisation": REFUSED},
        WELL | {"users": users("READONLY"), "actions": None},
        {"organisation": msgspec.structs.replace(WELL["organisation"], status="CLOSED")},
    ],
)
def test_of_what_heals_it_is_said_when_that_is_noticed(found: dict[str, Any]) -> None:
    verdict = diagnose(link(), Sightings(**found), Circumstances(AT))
    assert verdict.reason
    assert "within a week, or at once when it is checked" in verdict.reason.sentence


@pytest.mark.parametrize("memberships", [LISTED, NAMELESS, ()])
def test_a_demo_company_that_refuses_us_was_reset(memberships: tuple[Membership, ...]) -> None:
    seen = Sightings(memberships=memberships, organisation=REFUSED)
    verdict = diagnose(link(organisation=DEMO), seen, Circumstances(AT))
    assert verdict.certainty is Certainty.LOST
    assert verdict.reason
    assert verdict.reason.code is ReasonCode.ORGANISATION_UNAVAILABLE
    assert "28 days" in verdict.reason.sentence


@pytest.mark.parametrize(("refused", "certainty"), [(REFUSED, Certainty.LOST), (users("STANDARD"), Certainty.WARNING)])
def test_an_organisation_that_is_not_active_is_unavailable(refused: object, certainty: Certainty) -> None:
    closed = Organisation(xero_tenant_id="t", name="Harbour & Vine", base_currency="NZD", status="PENDINGCANCEL")
    verdict = diagnose(link(), Sightings(organisation=closed, users=refused), Circumstances(AT))  # type: ignore[arg-type] # either kind
    assert verdict.certainty is certainty
    assert verdict.reason
    assert verdict.reason.code is ReasonCode.ORGANISATION_UNAVAILABLE
    assert "PENDINGCANCEL" in verdict.reason.sentence


@pytest.mark.parametrize(
    ("error", "code", "owner"),
    [
        (OUTAGE, ReasonCode.XERO_UNAVAILABLE, Owner.XERO),
        (UnexpectedAnswerError("Xero answered 418."), ReasonCode.SERVICE_MISCONFIGURED, Owner.OPERATOR),
        (DAY_OVER, ReasonCode.DAY_LIMIT_REACHED, Owner.NOBODY),
        (AppRejectedError("", error="invalid_client"), ReasonCode.SERVICE_MISCONFIGURED, Owner.OPERATOR),
    ],
)
@pytest.mark.parametrize("step", ["refresh", "memberships", "organisation", "users", "actions"])
@pytest.mark.parametrize("cause", [None, REFUSED, CredentialsExpiredError("")])
def test_trouble_at_any_step_proves_nothing_and_asks_no_merchant(
    step: str, error: TieoutError, code: ReasonCode, owner: Owner, cause: PersonMustActError | None
) -> None:
    verdict = diagnose(link(), Sightings(**(WELL | {step: error})), Circumstances(AT, cause=cause))
    assert verdict.certainty is Certainty.TEMPORARY
    assert verdict.reason
    assert (verdict.reason.code, verdict.reason.owner) == (code, owner)
    assert verdict.reason.retry_at == (DAY_OVER.retry_at if error is DAY_OVER else None)


@pytest.mark.parametrize("step", ["memberships", "organisation", "users", "actions"])
def test_a_full_minute_is_no_trouble_that_is_told(step: str) -> None:
    verdict = diagnose(link(), Sightings(**(WELL | {step: CallLimitError("", "minute")})), Circumstances(AT))
    assert (verdict.certainty, verdict.reason) == (Certainty.TEMPORARY, None)


@pytest.mark.parametrize("step", ["refresh", "memberships", "organisation", "users", "actions"])
def test_tokens_that_are_gone_are_told_as_such_whichever_step_needed_them(step: str) -> None:
    gone = CredentialsExpiredError("", error="invalid_grant")
    verdict = diagnose(link(), Sightings(**(WELL | {step: gone})), Circumstances(AT))
    assert verdict.certainty is Certainty.LOST
    assert verdict.reason
    assert (verdict.reason.code, verdict.reason.owner) == (ReasonCode.CREDENTIALS_EXPIRED, Owner.MERCHANT)


def test_a_token_that_is_refused_where_links_are_listed_proves_nothing_while_it_can_be_refreshed() -> None:
    verdict = diagnose(link(), Sightings(memberships=REFUSED), Circumstances(AT, cause=REFUSED))
    assert verdict.certainty is Certainty.TEMPORARY


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (WELL | {"users": users("INVOICEONLY"), "actions": None}, ReasonCode.AUTHORISING_USER_DOWNGRADED),
        (WELL | {"users": users("REMOVED"), "actions": None}, ReasonCode.AUTHORISING_USER_REMOVED),
        (WELL | {"users": STRANGERS, "actions": None}, ReasonCode.AUTHORISING_USER_REMOVED),
        (WELL | {"actions": {"CreateInvoicePayment": False}}, ReasonCode.AUTHORISING_USER_DOWNGRADED),
    ],
)
def test_what_is_seen_while_calls_succeed_is_a_warning(found: dict[str, Any], code: ReasonCode) -> None:
    verdict = diagnose(link(), Sightings(**found), Circumstances(AT))
    assert verdict.certainty is Certainty.WARNING
    assert verdict.reason
    assert verdict.reason.code is code


@pytest.mark.parametrize("cause", [None, CredentialsExpiredError("")])
@pytest.mark.parametrize("found", [WELL, WELL | {"memberships": None}, WELL | {"users": []}])
def test_where_everything_is_as_it_should_be_nothing_is_lost(
    found: dict[str, Any], cause: PersonMustActError | None
) -> None:
    assert diagnose(link(), Sightings(**found), Circumstances(AT, cause=cause)).certainty is Certainty.WORKS


def test_a_call_that_is_refused_where_everything_is_as_it_should_be_is_waited_for() -> None:
    verdict = diagnose(link(), Sightings(**WELL), Circumstances(AT, cause=REFUSED))
    assert verdict.certainty is Certainty.TEMPORARY
    assert verdict.reason
    assert (verdict.reason.code, verdict.reason.owner) == (ReasonCode.XERO_UNAVAILABLE, Owner.XERO)


def test_a_user_who_never_could_be_found_in_the_list_is_not_missed_there() -> None:
    unknown = AuthorisedBy(xero_user_id="u", email="ada@example.com")
    seen = Sightings(organisation=HARBOUR, users=STRANGERS, actions={})
    assert diagnose(link(authorised_by=unknown), seen, Circumstances(AT)).certainty is Certainty.WORKS
