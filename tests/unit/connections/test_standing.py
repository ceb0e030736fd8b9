"""Warnings that are told before anything breaks, and what the scopes of a consent cover."""

from datetime import UTC, datetime, timedelta

import pytest

from tieout_server.connections import scopes
from tieout_server.connections.standing import standing
from tieout_server.ledger.links import AuthorisedBy, Link, Owner, ReasonCode
from tieout_server.settings import SCOPES

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
ASKED = tuple(SCOPES.split())
BROAD = ("offline_access", "accounting.transactions", "accounting.contacts", "accounting.settings",
         "accounting.reports.read")  # fmt: skip
LATER = AT + timedelta(days=59)


def link(role: str = "STANDARD", granted: tuple[str, ...] = ASKED) -> Link:
    ada = AuthorisedBy(xero_user_id="u", name="Ada", organisation_role=role)
    return Link(
        id="con_1", merchant_id="m", state="CONNECTED", authorised_by=ada, scopes=granted, created_at=AT, updated_at=AT
    )


@pytest.mark.parametrize(
    ("found", "expires_at", "now", "code", "owner"),
    [
        (link("READONLY"), LATER, AT, ReasonCode.AUTHORISING_USER_DOWNGRADED, Owner.MERCHANT),
        (link("REMOVED"), LATER, AT, ReasonCode.AUTHORISING_USER_REMOVED, Owner.MERCHANT),
        (link(granted=ASKED[:-1]), LATER, AT, ReasonCode.SCOPE_MISSING, Owner.MERCHANT),
        (link(), AT + timedelta(days=13), AT, ReasonCode.CREDENTIALS_EXPIRED, Owner.OPERATOR),
        (link(granted=BROAD), None, datetime(2027, 6, 4, tzinfo=UTC), ReasonCode.SCOPE_MISSING, Owner.MERCHANT),
    ],
)
def test_what_is_going_to_break_is_told_with_who_must_act_and_what_was_seen(
    found: Link, expires_at: datetime | None, now: datetime, code: ReasonCode, owner: Owner
) -> None:
    reason = standing(found, ASKED, expires_at, now)
    assert reason
    assert (reason.code, reason.owner) == (code, owner)
    assert reason.evidence[0].is_trouble


@pytest.mark.parametrize("role", ["STANDARD", "FINANCIALADVISER", ""])
def test_nothing_stands_against_what_is_well(role: str) -> None:
    assert standing(link(role), ASKED, LATER, AT) is None


@pytest.mark.parametrize("now", [AT, datetime(2027, 6, 2, tzinfo=UTC)])
def test_broad_scopes_are_as_good_as_granular_ones_until_their_end_is_near(now: datetime) -> None:
    assert standing(link(granted=BROAD), ASKED, None, now) is None


def test_a_missing_scope_is_told_as_what_cannot_be_done() -> None:
    reason = standing(link(granted=("offline_access", "accounting.contacts.read")), ASKED, LATER, AT)
    assert reason
    assert "reading invoices and credit notes" in reason.sentence
    assert "accounting.invoices.read" in reason.evidence[0].finding


def test_what_was_never_asked_for_is_not_missed() -> None:
    assert standing(link(granted=("offline_access",)), ("offline_access",), LATER, AT) is None


@pytest.mark.parametrize(
    ("granted", "scope", "covered"),
    [
        ("accounting.payments", "accounting.payments", True),
        ("accounting.payments", "accounting.payments.read", True),
        ("accounting.payments.read", "accounting.payments", False),
        ("accounting.transactions", "accounting.payments.read", True),
        ("accounting.transactions.read", "accounting.invoices.read", True),
        ("accounting.transactions.read", "accounting.invoices", False),
        ("accounting.reports.read", "accounting.reports.aged.read", True),
        ("accounting.contacts", "accounting.invoices", False),
    ],
)
def test_a_write_scope_covers_reading_and_a_broad_one_its_granular_ones(
    granted: str,
    scope: str,
    covered: bool,  # noqa: FBT001 - a table
) -> None:
    assert scopes.covers((granted,), scope) is covered


def test_missing_scopes_are_those_asked_for_and_not_covered_sorted() -> None:
    assert scopes.missing(("b", "a", "accounting.payments.read"), ("accounting.payments",)) == ("a", "b")


def test_everything_that_the_service_does_is_asked_for() -> None:
    assert len(scopes.lacking(ASKED, ())) == len(scopes.CAPABILITIES)
