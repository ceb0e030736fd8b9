"""Promise: a loss is named by evidence, not guessed; a passing trouble costs nothing and asks nobody to act.

Each test has its own merchant, breaks access in the way in which Xero would, and reads what a watcher is told.
"""

from datetime import UTC, timedelta

import pytest

from merchants import BROKEN, HELD_UP, Market, Merchant, in_words, open_market, open_sandbox, standing, troubles
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1.types_pb2 import OWNER_MERCHANT
from tieout_sandbox import FaultKind, FaultRule, Role

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module"), pytest.mark.in_turn]

REFRESH, LISTED, BOOKS, PEOPLE = "token refresh", "GET /connections", "GET /Organisation", "GET /Users"
CALL = "the call that was refused"
IDENTITY, API = "^/connect/token$", "^/api.xro/"
PAYMENTS = ("accounting.payments", "accounting.payments.read")


# What a person has to mend.


async def test_a_connection_whose_user_was_removed_says_so(market: Market) -> None:
    merchant = await market.merchant()
    merchant.becomes(Role.REMOVED)
    reason = await merchant.told()
    assert in_words(reason) == ("AUTHORISING_USER_REMOVED", "MERCHANT")
    refused = "403 AuthenticationUnsuccessful"
    assert troubles(reason) == {REFRESH: "", LISTED: "", BOOKS: refused, CALL: refused}
    assert merchant.user.first_name in reason.sentence
    assert merchant.organisation.name in reason.sentence
    assert standing(await merchant.now()) == BROKEN


async def test_a_connection_whose_user_was_downgraded_names_the_role(market: Market) -> None:
    merchant = await market.merchant()
    merchant.becomes(Role.READONLY)
    reason = await merchant.told()
    assert in_words(reason) == ("AUTHORISING_USER_DOWNGRADED", "MERCHANT")
    assert list(troubles(reason)) == [REFRESH, LISTED, BOOKS, PEOPLE, CALL]
    assert "READONLY" in troubles(reason)[PEOPLE]
    assert standing(await merchant.now()) == BROKEN


async def test_a_connection_whose_user_was_downgraded_where_xero_then_hides_all_is_told_with_a_hedge(
    market: Market,
) -> None:
    merchant = await market.merchant()
    with market.switched(downgraded_users_read_settings=False):
        merchant.becomes(Role.READONLY)
        reason = await merchant.told()
        assert in_words(reason) == ("AUTHORISING_USER_REMOVED", "MERCHANT")
        assert "or may not use apps there any more" in reason.sentence
        assert standing(await merchant.now()) == BROKEN


async def test_a_downgrade_that_is_only_seen_is_a_warning_and_the_connection_stays(market: Market) -> None:
    merchant = await market.merchant()
    merchant.becomes(Role.INVOICEONLY)
    reason = await merchant.told(merchant.running.client.connections.check(merchant.id))
    assert in_words(reason) == ("AUTHORISING_USER_DOWNGRADED", "MERCHANT")
    assert standing(await merchant.now()) == HELD_UP


async def test_a_connection_that_was_ended_in_xero_says_so(market: Market) -> None:
    merchant = await market.merchant()
    await market.control(f"organisations/{merchant.organisation.id}/disconnect")
    reason = await merchant.told()
    assert in_words(reason) == ("DISCONNECTED_IN_XERO", "MERCHANT")
    assert list(troubles(reason))[:2] == [REFRESH, LISTED]
    assert not troubles(reason)[REFRESH]
    assert troubles(reason)[LISTED]
    assert standing(await merchant.now()) == BROKEN


async def test_a_connection_whose_consent_was_revoked_says_so(market: Market) -> None:
    merchant = await market.merchant()
    await market.control(f"users/{merchant.user.email}/revoke")
    reason = await merchant.told()
    assert in_words(reason) == ("CREDENTIALS_EXPIRED", "MERCHANT")
    assert list(troubles(reason)) == [REFRESH, CALL]
    assert "invalid_grant" in troubles(reason)[REFRESH]
    assert "60 days" not in reason.sentence
    assert standing(await merchant.now()) == BROKEN


async def test_a_connection_whose_tokens_lapsed_unused_says_so(database_url: str) -> None:
    async with open_sandbox() as sandbox:
        async with open_market(sandbox, database_url) as market:
            merchant = await market.merchant()
        sandbox.clock.advance(timedelta(days=61))  # and our service was stopped: nobody refreshed them
        async with open_market(sandbox, database_url) as market:
            reason = await market.same(merchant).told()
        assert in_words(reason) == ("CREDENTIALS_EXPIRED", "MERCHANT")
        assert list(troubles(reason)) == [REFRESH]
        assert "60 days" in reason.sentence


async def test_a_connection_whose_refresh_was_lost_for_longer_than_the_grace_says_so(market: Market) -> None:
    merchant = await market.merchant()
    market.expire_access()
    with market.breaking(FaultRule(FaultKind.REFRESH_LOST, times=None)):
        assert in_words(await merchant.told()) == ("XERO_UNAVAILABLE", "XERO")
        market.leap(timedelta(minutes=31))
    assert in_words((await merchant.comes_to(BROKEN)).reason) == ("CREDENTIALS_EXPIRED", "MERCHANT")
    await merchant.reconnects()
    await merchant.well_again()


async def test_a_connection_that_lacks_a_scope_names_what_it_is_for(market: Market) -> None:
    merchant = await market.merchant()
    await market.control(f"users/{merchant.user.email}/narrow", scopes=PAYMENTS)
    market.expire_access()
    reason = await merchant.told()
    assert in_words(reason) == ("SCOPE_MISSING", "MERCHANT")
    assert "payments" in reason.sentence
    now = await merchant.now()
    assert standing(now) == BROKEN
    assert list(now.missing_scopes) == ["accounting.payments"]
    await merchant.reconnects()
    await merchant.well_again()
    assert list((await merchant.now()).missing_scopes) == []


async def test_a_connection_to_a_closed_organisation_says_so_until_it_opens_again(market: Market) -> None:
    merchant = await market.merchant()
    standing_of = f"organisations/{merchant.organisation.id}/standing"
    await market.control(standing_of, closed=True)
    reason = await merchant.told()
    assert in_words(reason) == ("ORGANISATION_UNAVAILABLE", "MERCHANT")
    assert "CLOSED" in troubles(reason)[BOOKS]
    assert standing(await merchant.now()) == BROKEN
    await market.control(standing_of, closed=False)
    await merchant.running.client.connections.check(merchant.id)
    await merchant.well_again()


async def test_a_connection_to_a_closed_organisation_that_hides_all_is_broken_and_blames_nobody_for_sure(
    market: Market,
) -> None:
    merchant = await market.merchant()
    with market.switched(closed_organisations_describe_themselves=False):
        await market.control(f"organisations/{merchant.organisation.id}/standing", closed=True)
        reason = await merchant.told()
        assert in_words(reason) == ("AUTHORISING_USER_REMOVED", "MERCHANT")
        assert " or " in reason.sentence
        assert standing(await merchant.now()) == BROKEN


@pytest.mark.parametrize("stays", [True, False], ids=["nameless", "unlisted"])
async def test_a_connection_to_a_deleted_organisation_says_what_can_be_known(market: Market, *, stays: bool) -> None:
    merchant = await market.merchant()
    with market.switched(gone_organisations_stay_connected=stays):
        await market.control(f"organisations/{merchant.organisation.id}/delete")
        reason = await merchant.told()
    code = "ORGANISATION_UNAVAILABLE" if stays else "DISCONNECTED_IN_XERO"
    assert in_words(reason) == (code, "MERCHANT")
    assert not troubles(reason)[REFRESH]
    assert troubles(reason)[LISTED]
    assert standing(await merchant.now()) == BROKEN


@pytest.mark.parametrize("stays", [True, False], ids=["nameless", "unlisted"])
async def test_a_connection_to_a_demo_company_that_was_reset_says_so(market: Market, *, stays: bool) -> None:
    organisation = market.organisation()
    organisation.is_demo = True
    merchant = await market.merchant(organisation)
    with market.switched(gone_organisations_stay_connected=stays):
        await market.control(f"organisations/{organisation.id}/reset")
        reason = await merchant.told()
    assert in_words(reason) == ("ORGANISATION_UNAVAILABLE", "MERCHANT")
    assert "28 days" in reason.sentence
    assert standing(await merchant.now()) == BROKEN


# What passes by itself.

OUTAGES = {
    "503": FaultRule(FaultKind.UNAVAILABLE, API, times=None),
    "edge-403-html": FaultRule(FaultKind.FORBIDDEN_HTML, API, times=None),
    "edge-503-html": FaultRule(FaultKind.UNAVAILABLE_HTML, API, times=None),
    "cut": FaultRule(FaultKind.DROP, API, times=None),
    "clocks-apart": FaultRule(
        FaultKind.ANSWER,
        API,
        times=None,
        status=401,
        content_type="application/json",
        body='{"Status":401,"Detail":"TokenExpired: token expired at 11/22/2026 07:00:40"}',
    ),
    "identity-503": FaultRule(FaultKind.UNAVAILABLE, IDENTITY, times=None),
    "identity-html": FaultRule(FaultKind.FORBIDDEN_HTML, IDENTITY, times=None),
    "identity-429": FaultRule(FaultKind.ANSWER, IDENTITY, times=None, status=429),
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_connection_lives_through_an_outage_without_anybody(market: Market, outage: str) -> None:
    merchant = await market.merchant()
    before = await merchant.tokens()
    market.expire_access()
    with market.breaking(OUTAGES[outage]):
        reason = await merchant.told()
        assert in_words(reason) == ("XERO_UNAVAILABLE", "XERO")
        assert standing(await merchant.now()) == HELD_UP
        checked = await merchant.running.client.connections.check(merchant.id)
        assert standing(checked.connection) == HELD_UP
        assert any(seen.is_trouble for seen in checked.evidence)
    await merchant.well_again()
    await _nothing_was_lost(merchant, before.generation if before else 0)


async def test_a_connection_whose_day_of_calls_is_used_says_until_when_and_goes_on_by_itself(market: Market) -> None:
    merchant = await market.merchant()
    before = await merchant.tokens()
    until = market.sandbox.clock.now() + timedelta(minutes=1)
    with market.breaking(FaultRule(FaultKind.LIMIT_DAY, API, times=None, retry_after="60")):
        reason = await merchant.told()
        assert in_words(reason) == ("DAY_LIMIT_REACHED", "NOBODY")
        assert until <= reason.retry_at.ToDatetime(UTC) <= market.sandbox.clock.now() + timedelta(minutes=1)
        assert standing(await merchant.now()) == HELD_UP
    await merchant.well_again()
    await _nothing_was_lost(merchant, before.generation if before else 0)


async def test_a_connection_is_not_blamed_for_a_secret_that_xero_rejects(market: Market) -> None:
    merchant = await market.merchant()
    market.expire_access()
    rejected = FaultRule(FaultKind.ANSWER, IDENTITY, times=None, status=400, body='{"error":"invalid_client"}',
                         content_type="application/json")  # fmt: skip
    with market.breaking(rejected):
        assert in_words(await merchant.told()) == ("SERVICE_MISCONFIGURED", "OPERATOR")
        assert standing(await merchant.now()) == HELD_UP
    await merchant.well_again()


async def _nothing_was_lost(merchant: Merchant, generation: int) -> None:
    """The consent is the same, its tokens are there, and no event asked the merchant to act."""
    kept = await merchant.tokens()
    assert kept is not None
    assert kept.generation >= generation
    events = [event async for event in merchant.running.client.connections.list_events(merchant.id)]
    assert not [event for event in events if event.reason.owner == OWNER_MERCHANT]
    assert {event.to_state for event in events} == {
        pb.CONNECTION_STATE_PENDING_AUTHORISATION,
        pb.CONNECTION_STATE_CONNECTED,
    }
