"""The callback page in a real browser: readable in light and dark, on a phone, and by keyboard."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import pytest
import pytest_asyncio
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

import readability
from fakes import World, world
from readability import READABLE
from tieout_server.connections.messages import Connect, Reconnect, Return
from tieout_server.errors import (
    AccessRevokedError,
    AppRejectedError,
    CallLimitError,
    ConsentDeniedError,
    ConsentExpiredError,
    ScopeMissingError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.storage import connections
from tieout_server.web.app import CALLBACK, build
from tieout_server.web.server import WebServer

pytestmark = pytest.mark.browser

RETURN_URL = "https://app.example/settings/accounting"

State = Callable[[World], Awaitable[dict[str, str]]]


async def connected(around: World) -> dict[str, str]:
    return {"state": await start(around), "code": "code-1"}


async def welcome_back(around: World) -> dict[str, str]:
    link = (await around.connections.complete(Return(await start(around), "code-1"))).link
    async with around.database.write() as tx:
        await connections.save(tx, msgspec.structs.replace(link, last_synced_at=around.clock.now()))
    again = await around.connections.reconnect(Reconnect(link.id, RETURN_URL))
    return {"state": state_in(again.consent.authorization_url), "code": "code-1"}


async def choose(around: World) -> dict[str, str]:
    around.xero.organisations = ["Southern Hops Ltd", "Northern Malt & Grain Cooperative", "Demo Company (NZ)"]
    return {"state": await start(around), "code": "code-1"}


async def denied(around: World) -> dict[str, str]:
    return {"state": await start(around), "error": "access_denied"}


async def expired(around: World) -> dict[str, str]:
    state = await start(around)
    around.clock.time += timedelta(hours=1)
    return {"state": state, "code": "code-1"}


async def xero_failed(around: World) -> dict[str, str]:
    return {"state": await start(around), "error": "server_error"}


async def too_late(around: World) -> dict[str, str]:
    around.xero.trouble = ConsentExpiredError("Too late.")
    return {"state": await start(around), "code": "code-1"}


async def used(around: World) -> dict[str, str]:
    state = await start(around)
    with pytest.raises(ConsentDeniedError):
        await around.connections.complete(Return(state, "", "access_denied"))
    return {"state": state, "code": "code-1"}


async def reloaded(around: World) -> dict[str, str]:
    state = await start(around)
    await around.connections.complete(Return(state, "code-1"))
    return {"state": state, "code": "code-1"}


async def chosen_again(around: World) -> dict[str, str]:
    parameters = await choose(around)
    await around.connections.complete(Return(parameters["state"], "code-1"))
    return parameters


async def taken(around: World) -> dict[str, str]:
    await around.connections.complete(Return(await start(around), "code-1"))
    return {"state": await start(around), "code": "code-1"}


async def unknown(_around: World) -> dict[str, str]:
    return {"state": "made-up", "code": "code-1"}


async def wrong_organisation(around: World) -> dict[str, str]:
    state = await start(around)
    link = (await around.connections.complete(Return(state, "code-1"))).link
    around.xero.organisations = ["Westcoast Brewing Supplies International Holdings Limited"]
    again = await around.connections.reconnect(Reconnect(link.id, RETURN_URL))
    return {"state": state_in(again.consent.authorization_url), "code": "code-2"}


async def not_administrator(around: World) -> dict[str, str]:
    around.xero.role = "READONLY"
    return {"state": await start(around), "code": "code-1"}


async def misconfigured(around: World) -> dict[str, str]:
    around.xero.trouble = AppRejectedError("No such app.")
    return {"state": await start(around), "code": "code-1"}


async def fault(around: World) -> dict[str, str]:
    around.xero.trouble = UnexpectedAnswerError("Odd.")
    return {"state": await start(around), "code": "code-1"}


async def xero_away(around: World) -> dict[str, str]:
    around.xero.trouble = XeroUnavailableError("Away.")
    return {"state": await start(around), "code": "code-1"}


async def xero_busy(around: World) -> dict[str, str]:
    around.xero.trouble = CallLimitError("Full.", "app")
    return {"state": await start(around), "code": "code-1"}


async def scope_missing(around: World) -> dict[str, str]:
    around.xero.trouble = ScopeMissingError("Not all.")
    return {"state": await start(around), "code": "code-1"}


async def not_let_in(around: World) -> dict[str, str]:
    around.xero.trouble = AccessRevokedError("No.")
    return {"state": await start(around), "code": "code-1"}


OUTCOMES: dict[State, str] = {
    connected: "Southern Hops Ltd is connected",
    welcome_back: "Welcome back: Southern Hops Ltd is connected again",
    choose: "One more step: choose an organisation",
    denied: "Consent was declined",
    expired: "This link has expired",
    xero_failed: "Xero could not finish",
    too_late: "Consent came back too late",
    used: "This link was used before",
    reloaded: "You are connected already",
    chosen_again: "One more step: choose an organisation",
    taken: "Southern Hops Ltd is connected already",
    unknown: "This link leads nowhere",
    wrong_organisation: "That is another organisation",
    not_administrator: "Your role in Xero is not enough",
    misconfigured: "This service is not set up correctly",
    fault: "Something went wrong on our side",
    xero_away: "Xero does not answer right now",
    xero_busy: "Xero is busy right now",
    scope_missing: "A permission is missing",
    not_let_in: "Xero does not let us in",
}


async def start(around: World) -> str:
    started = await around.connections.connect(Connect("m-1", RETURN_URL))
    return state_in(started.consent.authorization_url)


def state_in(url: str) -> str:
    return parse_qs(urlsplit(url).query)["state"][0]


@pytest_asyncio.fixture
async def around(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def address(around: World) -> AsyncIterator[str]:
    async def why_not_ready() -> str:
        return ""

    server = WebServer(build(around.connections, why_not_ready), "127.0.0.1:0")
    await server.start()
    yield f"http://127.0.0.1:{server.port}{CALLBACK}"
    await server.stop()


async def show(browser: Chrome, url: str, *, width: int, scheme: str) -> None:
    """Open a page as a screen of this width in this colour scheme shows it."""

    def there() -> None:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 720, "deviceScaleFactor": 2, "mobile": width < 600},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(url)

    await asyncio.to_thread(there)


@pytest.mark.parametrize("width", [320, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.__name__)
async def test_every_outcome_can_be_read_by_everybody(  # noqa: PLR0917 - fixtures and parameters come by name
    blank: Chrome, around: World, address: str, screenshots: Path, outcome: State, scheme: str, width: int
) -> None:
    parameters = await outcome(around)
    await show(blank, f"{address}?{urlencode(parameters)}", width=width, scheme=scheme)
    blank.save_screenshot(str(screenshots / f"{outcome.__name__}-{scheme}-{width}.png"))
    assert blank.title == OUTCOMES[outcome]
    assert [heading.text for heading in blank.find_elements(By.TAG_NAME, "h1")] == [OUTCOMES[outcome]]
    assert blank.execute_script("return document.documentElement.lang") == "en"
    for landmark in ("main", "footer", "section[aria-labelledby]"):
        assert len(blank.find_elements(By.CSS_SELECTOR, landmark)) == 1
    assert blank.execute_script("return document.documentElement.scrollWidth") <= width
    texts = blank.find_elements(By.CSS_SELECTOR, "h1, h2, p, li, a, footer")
    assert {element.text: contrast(blank, element) for element in texts if contrast(blank, element) < READABLE} == {}
    told = blank.get_log("browser")  # type: ignore[no-untyped-call] # selenium does not type it
    assert [entry for entry in told if entry["source"] != "network"] == []  # what the page's policy forbids


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_way_on_is_reached_by_keyboard_and_seen(
    chromium: Chrome, around: World, address: str, screenshots: Path, scheme: str
) -> None:
    await show(chromium, f"{address}?{urlencode(await connected(around))}", width=1100, scheme=scheme)
    ActionChains(chromium).send_keys(Keys.TAB).perform()
    focused = chromium.switch_to.active_element
    assert focused.text == "Continue to app.example"
    assert focused.value_of_css_property("outline-style") == "solid"
    assert focused.size["height"] >= 44
    assert str(focused.get_attribute("href")).startswith(RETURN_URL)
    chromium.save_screenshot(str(screenshots / f"focus-{scheme}.png"))


_GROUND = """
let element = arguments[0];
while (element && getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)") element = element.parentElement;
return [getComputedStyle(arguments[0]).color, getComputedStyle(element).backgroundColor];
"""


def contrast(browser: Chrome, element: object) -> float:
    """The contrast of an element's text against what lies under it (WCAG 2.2, contrast ratio)."""
    colours: list[str] = browser.execute_script(_GROUND, element)
    return readability.contrast(*colours)
