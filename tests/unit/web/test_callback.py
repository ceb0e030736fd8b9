"""The callback page over HTTP: each outcome says what happened and what comes next, and keeps secrets to itself."""

from collections.abc import AsyncIterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer

from fakes import World
from tieout_server.connections.messages import Completed, Connect, Reconnect, Return
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import (
    AccessRevokedError,
    AppRejectedError,
    CallLimitError,
    ConsentExpiredError,
    CredentialsExpiredError,
    DrainingError,
    ListenError,
    NotPermittedNowError,
    OperatorMustActError,
    ScopeMissingError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.links import Link, OrganisationChoice
from tieout_server.storage import connections
from tieout_server.web import pages
from tieout_server.web.app import CALLBACK, build
from tieout_server.web.page import render
from tieout_server.web.server import WebServer

RETURN_URL = "https://app.example/done?tab=xero#top"
Client = TestClient[Any, Any]


@pytest_asyncio.fixture
async def browser(around: World) -> AsyncIterator[Client]:
    async def why_not_ready() -> str:
        return ""

    async with TestClient(TestServer(build(around.connections, why_not_ready))) as client:
        yield client


class Page(HTMLParser):
    """What a page says, and where it leads."""

    def __init__(self, status: int, html: str) -> None:
        super().__init__()
        self.status = status
        self.html = html
        self.link = ""
        self._text: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.link = dict(attrs).get("href") or ""

    def handle_data(self, data: str) -> None:
        self._text.append(data)


async def start(around: World, return_url: str = "") -> tuple[str, str]:
    """A new connection and the state of its consent."""
    started = await around.connections.connect(Connect("m-1", return_url))
    return started.link.id, state_in(started.consent.authorization_url)


def state_in(url: str) -> str:
    return parse_qs(urlsplit(url).query)["state"][0]


async def come_back(browser: Client, **parameters: str) -> Page:
    async with browser.get(CALLBACK, params=parameters) as answer:
        return Page(answer.status, await answer.text())


async def test_consent_given_is_told_with_the_name_of_the_organisation(browser: Client, around: World) -> None:
    _, state = await start(around)
    page = await come_back(browser, state=state, code="code-1")
    assert page.status == 200
    assert "Southern Hops Ltd is connected" in page.text
    assert "import of your invoices and customers has begun" in page.text
    assert "You can close this page" in page.text
    assert not page.link


async def test_the_link_onward_tells_the_platform_how_it_ended(browser: Client, around: World) -> None:
    connection_id, state = await start(around, RETURN_URL)
    page = await come_back(browser, state=state, code="code-1")
    assert page.link == f"https://app.example/done?tab=xero&connection_id={connection_id}&result=connected#top"
    assert "Continue to app.example" in page.text


async def test_several_organisations_are_named_and_left_to_the_platform(browser: Client, around: World) -> None:
    around.xero.organisations = ["Hops & Co", "Malt"]
    _, state = await start(around, RETURN_URL)
    page = await come_back(browser, state=state, code="code-1")
    assert "choose an organisation" in page.text
    assert "Hops & Co" in page.text
    assert "result=choose_organisation" in page.link


async def test_the_page_of_several_organisations_opened_again_names_none_of_them(
    browser: Client, around: World
) -> None:
    around.xero.organisations = ["Hops & Co", "Malt"]
    connection_id, state = await start(around, RETURN_URL)
    await come_back(browser, state=state, code="code-1")
    page = await come_back(browser, state=state, code="code-1")
    assert (page.status, "choose an organisation" in page.text) == (200, True)
    assert "Hops" not in page.text
    assert f"connection_id={connection_id}&result=choose_organisation" in page.link


async def test_an_organisation_that_another_connection_has_is_marked_in_the_choice(around: World) -> None:
    now = around.clock.now()
    offered = (
        OrganisationChoice(xero_tenant_id="t1", name="Hops", membership_id="m1", connected_as="con_other"),
        OrganisationChoice(xero_tenant_id="t2", name="Malt", membership_id="m2"),
    )
    state = ConnectionState.PENDING_ORGANISATION
    link = Link(id="con_1", merchant_id="m-1", state=state, choices=offered, created_at=now, updated_at=now)
    page = pages.connected(Completed(link, RETURN_URL))
    assert page.items == ("Hops (connected already)", "Malt")
    assert "con_other" not in render(page)


async def test_who_reconnects_is_welcomed_back_and_told_that_the_rest_is_being_read(
    browser: Client, around: World
) -> None:
    connection_id, state = await start(around)
    await come_back(browser, state=state, code="code-1")
    async with around.database.write() as tx:
        link = await connections.get(tx, connection_id)
        assert link
        await connections.save(tx, msgspec.structs.replace(link, last_synced_at=around.clock.now()))
    again = await around.connections.reconnect(Reconnect(connection_id, RETURN_URL))
    page = await come_back(browser, state=state_in(again.consent.authorization_url), code="code-1")
    assert page.status == 200
    assert "Welcome back: Southern Hops Ltd is connected again" in page.text
    assert "what was missed meanwhile is being read now" in page.text
    assert f"connection_id={connection_id}&result=connected" in page.link


async def test_consent_declined_says_that_nothing_was_connected(browser: Client, around: World) -> None:
    connection_id, state = await start(around, RETURN_URL)
    page = await come_back(browser, state=state, error="access_denied")
    assert page.status == 403
    assert "Consent was declined" in page.text
    assert f"connection_id={connection_id}&result=consent_denied" in page.link


async def test_a_link_that_expired_says_so_and_leads_back(browser: Client, around: World) -> None:
    _, state = await start(around, RETURN_URL)
    around.clock.time += timedelta(minutes=31)
    page = await come_back(browser, state=state, code="code-1")
    assert page.status == 410
    assert "has expired" in page.text
    assert "result=consent_state_invalid" in page.link


async def test_an_error_of_xeros_is_no_refusal_by_the_person(browser: Client, around: World) -> None:
    _, state = await start(around, RETURN_URL)
    page = await come_back(browser, state=state, error="server_error")
    assert page.status == 502
    assert "Xero could not finish" in page.text
    assert "server_error" in page.text
    assert "declined" not in page.text
    assert "Back to app.example" in page.text


async def test_an_error_that_xero_cannot_have_sent_is_not_repeated(browser: Client, around: World) -> None:
    _, state = await start(around)
    page = await come_back(browser, state=state, error="Call +64 9 555 0100 now")
    assert "Xero could not finish" in page.text
    assert "555" not in page.text


async def test_opening_the_page_of_success_again_says_that_all_is_well_and_changes_nothing(
    browser: Client, around: World
) -> None:
    connection_id, state = await start(around, RETURN_URL)
    await come_back(browser, state=state, code="code-1")
    before = await around.connections.get(connection_id)
    page = await come_back(browser, state=state, code="code-1")
    assert page.status == 200
    assert "You are connected already" in page.text
    assert "Southern Hops" not in page.text  # whoever has the link from a history learns no names
    assert 'class="success"' in page.html
    assert page.link.endswith(f"connection_id={connection_id}&result=connected#top")
    assert await around.connections.get(connection_id) == before


async def test_a_link_that_was_used_in_vain_says_so(browser: Client, around: World) -> None:
    _, state = await start(around)
    await come_back(browser, state=state, error="access_denied")
    page = await come_back(browser, state=state, code="code-1")
    assert page.status == 410
    assert "was used before" in page.text


async def test_an_organisation_that_is_connected_already_is_named(browser: Client, around: World) -> None:
    holder, first = await start(around)
    await come_back(browser, state=first, code="code-1")
    ours, second = await start(around, RETURN_URL)
    page = await come_back(browser, state=second, code="code-1")
    assert page.status == 409
    assert "Southern Hops Ltd is connected already" in page.text
    assert "already has a connection to this platform" in page.text
    assert f"connection_id={ours}&result=organisation_already_connected" in page.link
    assert holder not in page.html


async def test_a_link_that_a_newer_one_replaced_is_no_longer_known(browser: Client, around: World) -> None:
    connection_id, state = await start(around)
    await come_back(browser, state=state, code="code-1")
    older = state_in((await around.connections.reconnect(Reconnect(connection_id))).consent.authorization_url)
    await around.connections.reconnect(Reconnect(connection_id))
    page = await come_back(browser, state=older, code="code-2")
    assert page.status == 400
    assert "a newer one has replaced it" in page.text


@pytest.mark.parametrize("parameters", [{"state": "made-up", "code": "c"}, {"code": "c"}, {}, {"state": "s" * 5000}])
async def test_a_link_that_was_never_given_out_is_not_ours(browser: Client, parameters: dict[str, str]) -> None:
    page = await come_back(browser, **parameters)
    assert page.status == 400
    assert "We do not know this link" in page.text


async def test_another_organisation_is_named_beside_the_right_one(browser: Client, around: World) -> None:
    connection_id, state = await start(around)
    await come_back(browser, state=state, code="code-1")
    around.xero.organisations = ["Another <b>Ltd</b>"]
    again = await around.connections.reconnect(Reconnect(connection_id))
    page = await come_back(browser, state=state_in(again.consent.authorization_url), code="code-2")
    assert page.status == 409
    assert "belongs to Southern Hops Ltd, but consent was given for Another <b>Ltd</b>" in page.text
    assert "<b>" not in page.html


async def test_a_role_that_is_not_enough_is_explained(browser: Client, around: World) -> None:
    around.xero.role = "READONLY"
    _, state = await start(around)
    page = await come_back(browser, state=state, code="code-1")
    assert page.status == 403
    assert "role in Xero is not enough" in page.text
    assert "Standard or Adviser" in page.text


@pytest.mark.parametrize(
    ("trouble", "status", "words"),
    [
        (XeroUnavailableError("Away."), 503, "Xero does not answer right now"),
        (CallLimitError("Full.", "app"), 503, "Xero is busy right now"),
        (DrainingError(), 503, "This server is being replaced"),
        (ConsentExpiredError("Used."), 410, "Your consent took too long to come back. Xero gives it five minutes."),
        (ScopeMissingError("No."), 403, "A permission is missing"),
        (AccessRevokedError("No."), 403, "Xero does not let us in"),
        (CredentialsExpiredError("No."), 403, "Nothing was connected"),
        (AppRejectedError("No such app."), 500, "This service is not set up correctly"),
        (OperatorMustActError("No key."), 500, "This service is not set up correctly"),
        (KeyError("a bug"), 500, "Something went wrong on our side"),
        (UnexpectedAnswerError("Odd."), 500, "Something went wrong on our side"),
    ],
    ids=["away", "limit", "draining", "code", "scope", "refused", "tokens", "app", "key", "bug", "odd"],
)
async def test_what_goes_wrong_is_told_for_people(
    browser: Client,
    around: World,
    trouble: Any,  # noqa: ANN401 - any error
    status: int,
    words: str,
) -> None:
    around.xero.trouble = trouble
    _, state = await start(around)
    page = await come_back(browser, state=state, code="code-1")
    assert (page.status, words in page.text) == (status, True)


async def test_what_only_an_operator_can_mend_is_told_to_the_operator(
    browser: Client, around: World, capfd: pytest.CaptureFixture[str]
) -> None:
    around.xero.trouble = AppRejectedError("Xero does not accept the client secret.")
    _, state = await start(around)
    await come_back(browser, state=state, code="code-1")
    assert "Xero does not accept the client secret." in "".join(capfd.readouterr())


@pytest.mark.parametrize("trouble", [XeroUnavailableError("Away."), AppRejectedError("No such app.")])
async def test_trouble_leaves_the_way_back_open(browser: Client, around: World, trouble: Any) -> None:  # noqa: ANN401 - any error
    around.xero.trouble = trouble
    connection_id, state = await start(around, RETURN_URL)
    page = await come_back(browser, state=state, code="code-1")
    assert "Back to app.example" in page.text
    assert f"connection_id={connection_id}&result={trouble.reason.lower()}" in page.link


def test_a_connection_that_was_ended_meanwhile_is_told_as_such_with_the_way_back() -> None:
    error = NotPermittedNowError("It was disconnected meanwhile.", connection_id="con_1", return_url=RETURN_URL)
    page = render(pages.refused(error))
    assert "has changed meanwhile" in page
    assert "connection_id=con_1&amp;result=not_permitted_now" in page


def test_a_fault_leads_back_as_far_as_the_way_is_known() -> None:
    error = UnexpectedAnswerError("Odd.", connection_id="con_1", return_url=RETURN_URL)
    assert "Back to app.example" in render(pages.fault("r1", error))
    assert "Back to" not in render(pages.fault("r1", KeyError("a bug")))


async def test_reloading_after_an_outage_connects(browser: Client, around: World) -> None:
    around.xero.trouble = XeroUnavailableError("Away.")
    _, state = await start(around)
    assert (await come_back(browser, state=state, code="code-1")).status == 503
    assert (await come_back(browser, state=state, code="code-1")).status == 200


async def test_neither_state_nor_code_is_in_the_page_or_the_log(
    browser: Client, around: World, capfd: pytest.CaptureFixture[str]
) -> None:
    _, state = await start(around, RETURN_URL)
    for parameters in ({"state": state, "error": "other<script>"}, {"state": state, "code": "code-secret"}):
        page = await come_back(browser, **parameters)
        assert state not in page.html
        assert "secret" not in page.html
        assert "<script" not in page.html
    log = "".join(capfd.readouterr())
    assert state not in log
    assert "code-secret" not in log
    assert "consent refused" in log


async def test_the_page_runs_nothing_loads_nothing_and_is_kept_by_nobody(browser: Client) -> None:
    async with browser.get(CALLBACK) as answer:
        policy = answer.headers["Content-Security-Policy"]
        html = await answer.text()
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "src=" not in html
    assert "http" not in html


async def test_looking_at_a_link_without_opening_it_does_not_use_it_up(browser: Client, around: World) -> None:
    _, state = await start(around)
    async with browser.head(CALLBACK, params={"state": state, "code": "c"}) as answer:
        assert answer.status == 405
    assert (await around.connections.complete(Return(state, "c"))).link.organisation


async def test_health_is_told_to_machines(browser: Client) -> None:
    async with browser.get("/healthz") as alive, browser.get("/readyz") as ready:
        assert (alive.status, ready.status) == (200, 200)


async def test_a_process_that_cannot_serve_is_alive_and_not_ready(around: World) -> None:
    async def why_not_ready() -> str:
        return "the database is on holiday"

    async with (
        TestClient(TestServer(build(around.connections, why_not_ready))) as client,
        client.get("/healthz") as alive,
        client.get("/readyz") as ready,
    ):
        assert (alive.status, ready.status) == (200, 503)
        assert "the database is on holiday" in await ready.text()


async def test_an_address_that_is_taken_is_named(around: World) -> None:
    async def why_not_ready() -> str:
        return ""

    first = WebServer(build(around.connections, why_not_ready), "127.0.0.1:0")
    await first.start()
    second = WebServer(build(around.connections, why_not_ready), f"127.0.0.1:{first.port}")
    with pytest.raises(ListenError, match=f"TIEOUT_WEB_LISTEN: cannot listen on 127.0.0.1:{first.port}"):
        await second.start()
    await second.stop()
    await first.stop()


@pytest.mark.parametrize("listen", ["abc", "7441", "localhost:", "localhost:http", "127.0.0.1:65536", "127.0.0.1:-1"])
async def test_what_is_no_address_is_refused_with_the_form_of_one(around: World, listen: str) -> None:
    async def why_not_ready() -> str:
        return ""

    with pytest.raises(ListenError, match=f"TIEOUT_WEB_LISTEN: '{listen}' is not of the form host:port"):
        WebServer(build(around.connections, why_not_ready), listen)
