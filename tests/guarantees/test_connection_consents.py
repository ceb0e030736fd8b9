"""Promise: a consent that is denied, late, forged, replayed or for other books changes nothing and leaks nothing."""

from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from merchants import WORKS, Market, Merchant, in_words, standing
from tieout.v1 import connection_service_pb2 as pb
from tieout_sandbox import FaultKind, FaultRule, Role

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module"), pytest.mark.in_turn]

FORGED = "Zm9yZ2VkLXN0YXRlLW9mLW5vYm9keS13aG9tLXdlLWtub3c"


@dataclass
class Reader:
    """A person whom Xero sent back, with what stood in the address of their browser."""

    market: Market

    async def reads(self, *secrets: str, **parameters: str) -> tuple[int, str]:
        """Status and text of the page; none of these stands in it, nor what came with the address."""
        address = f"http://127.0.0.1:{self.market.running.web_port}/xero/callback"
        async with self.market.running.browser.http.get(address, params=parameters) as answer:
            page = unescape(await answer.text())
            told = f"{page} {answer.headers}"
        for secret in (*secrets, parameters.get("state", ""), parameters.get("code", "")):
            assert not secret or secret not in told
        return answer.status, page


@pytest.fixture
def reader(market: Market) -> Reader:
    return Reader(market)


async def asked(merchant: Merchant, **choices: object) -> dict[str, str]:
    """What Xero appends to the address after the merchant was asked again, and decided so."""
    started = await merchant.running.client.connections.reconnect(merchant.id)
    who = {"user": merchant.user.email, "organisations": [merchant.organisation.name]}
    return await merchant.running.browser.returned(started.authorization_url, **(who | choices))


def all_of(merchant: Merchant) -> tuple[str, ...]:
    """What belongs to this merchant and is nobody else's business."""
    return (
        merchant.id,
        merchant.organisation.id,
        merchant.organisation.name,
        merchant.user.id,
        merchant.user.email,
        merchant.user.name,
    )


async def unchanged(merchant: Merchant, before: pb.Connection) -> None:
    """The connection is as it was and works; not even the refusal of a stranger stands in it."""
    now = await merchant.now()
    now.ClearField("last_synced_at")  # it goes on being read
    before.ClearField("last_synced_at")
    assert now == before
    await merchant.well_again()


async def test_a_forged_callback_changes_no_connection_and_tells_nothing(market: Market, reader: Reader) -> None:
    merchant = await market.merchant()
    back, before = await asked(merchant), await merchant.now()
    market.sandbox.requests.clear()
    for state in (FORGED, back["state"][:-1] + "~", back["state"] + "x", "", "'; DROP TABLE connections; --"):
        for more in ({"code": back["code"]}, {"error": "access_denied"}, {}):
            status, page = await reader.reads(*all_of(merchant), state=state, **more)
            assert status in {400, 404, 410}
            assert "nothing" in page.lower()
    assert market.sandbox.requests.count("^/connect/token$") == 0, "the code was not even tried"
    await unchanged(merchant, before)


async def test_a_replayed_callback_changes_no_connection_and_tells_nothing(market: Market, reader: Reader) -> None:
    merchant = await market.merchant()
    back = await asked(merchant)
    assert (await reader.reads(**back))[0] == 200
    before = await merchant.now()
    market.sandbox.requests.clear()
    other = await market.merchant()
    elsewhere = await asked(other)
    for parameters in (back, back | {"code": elsewhere["code"]}, {"state": back["state"], "error": "access_denied"}):
        await reader.reads(merchant.id, merchant.user.email, merchant.user.id, *all_of(other), **parameters)
    await unchanged(merchant, before)


async def test_a_code_of_somebody_elses_consent_changes_no_connection(market: Market, reader: Reader) -> None:
    merchant, other = await market.merchant(), await market.merchant()
    mine, theirs = await asked(merchant), await asked(other)
    status, _ = await reader.reads(*all_of(other), state=mine["state"], code=theirs["code"])
    assert status >= 400
    for one in (merchant, other):
        assert standing(await one.now())[0] == pb.CONNECTION_STATE_CONNECTED
    assert (await merchant.now()).authorised_by.xero_user_id == merchant.user.id


async def test_a_consent_that_is_denied_leaves_the_connection_and_says_so(market: Market, reader: Reader) -> None:
    merchant = await market.merchant()
    back = await asked(merchant, decision="deny")
    status, page = await reader.reads(**back)
    assert status == 403
    assert "declined" in page
    assert standing(await merchant.now())[0] == pb.CONNECTION_STATE_CONNECTED
    (told,) = await merchant.running.client.connections.list_events(merchant.id, page_size=1).first(1)
    assert told.kind == pb.CONNECTION_EVENT_KIND_AUTHORISATION_REFUSED
    assert in_words(told.reason)[0] == "CONSENT_DENIED"
    await merchant.well_again()


async def test_a_consent_that_is_abandoned_leaves_the_connection_and_its_link_expires(
    market: Market, reader: Reader
) -> None:
    merchant = await market.merchant()
    back, before = await asked(merchant), await merchant.now()
    market.leap(timedelta(minutes=31))
    market.sandbox.requests.clear()
    status, page = await reader.reads(*all_of(merchant), **back)
    assert status == 410
    assert "expired" in page
    assert market.sandbox.requests.count("^/connect/token$") == 0
    await unchanged(merchant, before)


async def test_a_consent_that_comes_back_after_five_minutes_leaves_the_connection_and_says_so(
    market: Market, reader: Reader
) -> None:
    merchant = await market.merchant()
    back = await asked(merchant)
    market.leap(timedelta(minutes=6))
    status, page = await reader.reads(**back)
    assert status >= 400
    assert "too late" in page
    assert standing(await merchant.now())[0] == pb.CONNECTION_STATE_CONNECTED
    await merchant.well_again()


async def test_a_consent_for_other_books_is_refused_and_the_connection_stays(market: Market, reader: Reader) -> None:
    merchant, other = await market.merchant(), market.organisation()
    merchant_of_both = market.user(other)
    back = await asked(merchant, user=merchant_of_both.email, organisations=[other.name])
    status, page = await reader.reads(other.id, merchant.organisation.id, merchant.user.email, **back)
    assert status == 409
    assert "another organisation" in page
    now = await merchant.now()
    assert now.state == pb.CONNECTION_STATE_CONNECTED
    assert now.organisation.xero_tenant_id == merchant.organisation.id
    assert now.authorised_by.xero_user_id == merchant.user.id
    await merchant.well_again()


async def test_books_that_are_connected_are_not_connected_twice_and_nobody_learns_of_the_other(
    market: Market, reader: Reader
) -> None:
    merchant = await market.merchant()
    rival = market.user(merchant.organisation)
    started = await market.running.client.connections.connect("rival")
    back = await market.running.browser.returned(
        started.authorization_url, user=rival.email, organisations=[merchant.organisation.name]
    )
    before = await merchant.now()
    status, page = await reader.reads(merchant.id, merchant.organisation.id, merchant.user.email, **back)
    assert status == 409
    assert "connected already" in page
    await unchanged(merchant, before)


async def test_a_user_who_lost_the_role_on_the_way_is_refused_and_the_connection_stays(
    market: Market, reader: Reader
) -> None:
    merchant = await market.merchant()
    second = market.user(merchant.organisation)
    back = await asked(merchant, user=second.email)
    merchant.organisation.set_role(second.id, Role.INVOICEONLY, market.sandbox.clock.now())
    status, page = await reader.reads(merchant.id, merchant.user.email, **back)
    assert status >= 400
    assert "role" in page
    now = await merchant.now()
    assert now.authorised_by.xero_user_id == merchant.user.id
    await merchant.well_again()


async def test_a_consent_during_an_outage_can_be_brought_again_and_connects(market: Market, reader: Reader) -> None:
    merchant = await market.merchant()
    back = await asked(merchant)
    with market.breaking(FaultRule(FaultKind.UNAVAILABLE, "^/connections$", times=None)):
        status, page = await reader.reads(**back)
        assert status == 503
        assert "does not answer" in page
    status, _ = await reader.reads(**back)
    assert status == 200
    assert standing(await merchant.now()) == WORKS


async def test_the_link_of_a_connection_works_once_whoever_opens_it_first(market: Market) -> None:
    merchant = await market.merchant()
    started = await merchant.running.client.connections.reconnect(merchant.id)
    state = parse_qs(urlsplit(started.authorization_url).query)["state"][0]
    again = await merchant.running.client.connections.reconnect(merchant.id)
    assert state not in again.authorization_url
    status, page = await Reader(market).reads(*all_of(merchant), state=state, code="anything")
    assert status >= 400
    assert "nothing" in page.lower()
