"""The sandbox's page in a real browser: readable by everybody, usable by keyboard, and it does what it says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from readability import READABLE, contrast
from sandbox_caller import Caller
from tieout_sandbox import CreditKind, FaultKind, Role, Sandbox, SandboxSettings, Status, serve
from tieout_sandbox.books.causes import meanings
from tieout_sandbox.books.documents import Contact, Invoice, InvoiceType

pytestmark = pytest.mark.browser

T = TypeVar("T")


def open_invoice(sandbox: Sandbox) -> Invoice:
    return next(
        found
        for found in sandbox.books.invoices.values()
        if found.type is InvoiceType.ACCREC and found.status is Status.AUTHORISED and not found.payments
        if not found.allocations and found.currency == sandbox.books.base_currency
    )


def lasting(sandbox: Sandbox) -> Contact:
    return open_invoice(sandbox).contact


PAGES: dict[str, Callable[[Sandbox], str]] = {
    "overview": lambda _: "/",
    "contacts": lambda _: "/sandbox/page/customers",
    "contact": lambda sandbox: f"/sandbox/page/contact?id={lasting(sandbox).id}",
    "invoices": lambda _: "/sandbox/page/invoices",
    "invoice": lambda sandbox: f"/sandbox/page/invoice?id={open_invoice(sandbox).id}",
    "payments": lambda _: "/sandbox/page/payments",
    "credits": lambda _: "/sandbox/page/credits",
    "credit": lambda sandbox: f"/sandbox/page/credit?id={next(iter(sandbox.books.credit_notes))}",
    "people": lambda _: "/sandbox/page/people",
    "traffic": lambda _: "/sandbox/page/traffic",
    "webhooks": lambda _: "/sandbox/page/webhooks",
    "behaviour": lambda _: "/sandbox/page/behaviour",
}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with serve(SandboxSettings(contacts=40, invoices=200)) as running:
        yield running


@pytest.fixture
async def caller(sandbox: Sandbox) -> AsyncIterator[Caller]:
    """An app that is connected, has read something, and wants webhooks at an address where nobody listens."""
    async with aiohttp.ClientSession() as http:
        made = Caller(sandbox, http)
        await made.connect()
        await made.get("Invoices", {"page": "1", "where": 'Status=="AUTHORISED"'})
        await made.get("Nonsense")
        sandbox.webhooks.subscribe("tieout-sandbox-app", "http://127.0.0.1:9/webhooks", "a-key")
        await sandbox.webhooks.intend("tieout-sandbox-app")
        yield made


class Screen:
    """A browser that shows a sandbox; every call leaves the loop to the sandbox meanwhile."""

    def __init__(self, browser: Chrome, sandbox: Sandbox) -> None:
        self.browser = browser
        self.sandbox = sandbox

    async def show(self, page: str, *, width: int = 1200, scheme: str = "light") -> None:
        """Open a page as a screen of this width in this colour scheme shows it."""

        def there() -> None:
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            self.browser.get(self.sandbox.url + PAGES[page](self.sandbox))

        await asyncio.to_thread(there)

    async def send(self, action: str, *, agree: bool = False, index: int = 0, **values: str) -> str:
        """Fill in the form of an action, send it, and give back what the page then says."""
        return await asyncio.to_thread(self._send, action, values, agree=agree, index=index)

    async def run(self, what: Callable[[Chrome], T]) -> T:
        return await asyncio.to_thread(what, self.browser)

    def _send(self, action: str, values: dict[str, str], *, agree: bool, index: int) -> str:
        form = self.browser.find_elements(By.CSS_SELECTOR, f"form[action$='/do/{action}']")[index]
        self.browser.execute_script("for (const fold of document.querySelectorAll('details')) fold.open = true;")
        for name, value in values.items():
            put(form.find_element(By.NAME, name), value)
        button = form.find_element(By.TAG_NAME, "button")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        before = self.browser.current_url
        button.click()
        if agree:
            self.browser.switch_to.alert.accept()
        arrived(self.browser, before)  # where a notice may have been, too
        waiting(self.browser).until(lambda browser: browser.find_elements(By.CSS_SELECTOR, ".notice"))
        return self.browser.find_element(By.CSS_SELECTOR, ".notice").text


def waiting(browser: Chrome) -> WebDriverWait[Chrome]:
    """Waits for a page, or for what is on it; what is found may be of the page before, and gone as it is read."""
    return WebDriverWait(browser, 10, ignored_exceptions=[StaleElementReferenceException])


def arrived(browser: Chrome, before: str) -> None:
    """Wait until the browser shows another page than before."""
    wait = waiting(browser)
    wait.until(lambda browser: browser.current_url != before)
    wait.until(lambda browser: browser.execute_script("return document.readyState") == "complete")


def put(control: WebElement, value: str) -> None:
    if control.tag_name == "select":
        Select(control).select_by_value(value)
    else:
        control.clear()
        control.send_keys(value)


@pytest.fixture
def screen(blank: Chrome, sandbox: Sandbox, caller: Caller) -> Screen:
    assert caller.sandbox is sandbox
    return Screen(blank, sandbox)


_TEXTS = """
const wanted = "h1, h2, h3, p, a, dt, dd, td, th, label span, button, summary, time, footer, code, .badge, .notice";
const shown = [...document.querySelectorAll(wanted)];
return shown.filter((element) => element.checkVisibility() && element.textContent.trim()).map((element) => {
  let ground = element;
  while (ground && getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  return [element.textContent.trim().slice(0, 40), getComputedStyle(element).color,
          getComputedStyle(ground).backgroundColor];
});
"""
_UNNAMED = """
return [...document.querySelectorAll("input:not([type=hidden]), select, button, a")]
  .filter((control) => control.checkVisibility() && !(control.labels && control.labels.length)
    && !control.textContent.trim() && !control.getAttribute("aria-label")).map((control) => control.outerHTML);
"""


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
async def test_every_page_can_be_read_by_everybody(
    screen: Screen, screenshots: Path, page: str, scheme: str, width: int
) -> None:
    await screen.show(page, width=width, scheme=scheme)
    browser = screen.browser
    browser.save_screenshot(str(screenshots / f"sandbox-{page}-{scheme}-{width}.png"))
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
    assert browser.title.endswith("· Xero sandbox")
    assert browser.execute_script("return document.documentElement.lang") == "en"
    for landmark in ("header", "nav[aria-label=Main]", "main", "footer"):
        assert len(browser.find_elements(By.CSS_SELECTOR, landmark)) == 1
    assert len(browser.find_elements(By.CSS_SELECTOR, "nav.main a[aria-current=page]")) == 1
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))
    assert browser.execute_script(_UNNAMED) == []
    names = browser.execute_script("return [...document.querySelectorAll('td button')].map((one) => one.textContent)")
    assert len(names) == len(set(names))
    texts = browser.execute_script(_TEXTS)
    assert len(texts) > 10
    assert [text for text, *colours in texts if contrast(*colours) < READABLE] == []
    told = browser.get_log("browser")  # type: ignore[no-untyped-call] # selenium does not type it
    assert told == []  # nothing missing, and nothing that the page's policy forbids


async def test_a_bookkeeper_pays_an_invoice_by_keyboard_and_undoes_it(screen: Screen, screenshots: Path) -> None:
    invoice = open_invoice(screen.sandbox)
    await screen.show("invoice")

    def pay(browser: Chrome) -> None:
        ActionChains(browser).send_keys(Keys.TAB).perform()
        focused = browser.switch_to.active_element
        assert focused.text == "Skip to the content"
        focused.send_keys(Keys.ENTER)
        for _ in range(10):
            ActionChains(browser).send_keys(Keys.TAB).perform()
            if browser.switch_to.active_element.get_attribute("name") == "amount":
                break
        focused = browser.switch_to.active_element
        assert focused.value_of_css_property("outline-style") == "solid"
        browser.save_screenshot(str(screenshots / "sandbox-focus.png"))
        focused.send_keys("1.25" + Keys.ENTER)
        waiting(browser).until(lambda on: on.find_elements(By.CSS_SELECTOR, ".notice.done[role=status]"))

    await screen.run(pay)
    assert invoice.amount_paid == Decimal("1.25")
    assert await screen.send("delete-payment", agree=True) == f"The payment of 1.25 on {invoice.number} was deleted."
    assert invoice.amount_paid == 0
    screen.sandbox.books.check()


async def test_what_the_books_do_not_allow_is_said_in_words(screen: Screen) -> None:
    invoice = open_invoice(screen.sandbox)
    await screen.show("invoice")
    said = await screen.send("pay", amount="99999999")
    assert said == "Payment amount exceeds the amount outstanding on this document"
    await screen.run(lambda browser: browser.find_element(By.CSS_SELECTOR, ".notice.failed[role=alert]"))
    assert invoice.amount_paid == 0


async def test_a_bookkeeper_edits_and_voids_an_invoice(screen: Screen) -> None:
    invoice = open_invoice(screen.sandbox)
    await screen.show("invoice")
    await screen.send("edit-invoice", reference="PO <b>7</b>")
    assert invoice.reference == "PO <b>7</b>"
    await screen.send("edit-invoice", index=1, due_on="12242026")
    assert invoice.due_on.isoformat() == "2026-12-24"
    assert await screen.send("void", agree=True) == f"Invoice {invoice.number} was voided."
    assert invoice.status is Status.VOIDED


async def test_a_bookkeeper_enters_and_authorises_an_invoice_and_sets_a_credit_against_it(screen: Screen) -> None:
    books, contact = screen.sandbox.books, lasting(screen.sandbox)
    await screen.show("contact")
    said = await screen.send("create-invoice", total="80.40", status="DRAFT", currency=books.base_currency)
    made = list(books.invoices.values())[-1]
    assert said == f"Invoice {made.number} over 80.40 {books.base_currency} was entered."
    await screen.send("create-credit", kind=CreditKind.CREDIT_NOTE, total="30", currency=books.base_currency)
    credit = list(books.credit_notes.values())[-1]
    await screen.run(lambda browser: browser.get(f"{screen.sandbox.url}/sandbox/page/invoice?id={made.id}"))
    await screen.send("authorise")
    await screen.send("allocate", credit_id=credit.id)
    assert (made.contact, made.amount_due, credit.status) == (contact, Decimal("50.40"), Status.PAID)
    await screen.send("remove-allocation", agree=True)
    assert made.amount_due == Decimal("80.40")
    books.check()


async def test_a_bookkeeper_renames_merges_and_archives_contacts(screen: Screen) -> None:
    books, contact = screen.sandbox.books, lasting(screen.sandbox)
    winner = books.create_contact("Winner & Sons")
    await screen.show("contact")
    assert await screen.send("rename-contact", name="Loser's") == "It is called Loser's now."
    assert await screen.send("merge-contact", agree=True, winner="winner & sons") == (
        "Loser's was merged into winner & sons."
    )
    assert contact.merged_to_id == winner.id
    await screen.run(lambda browser: browser.get(f"{screen.sandbox.url}/sandbox/page/contact?id={winner.id}"))
    assert await screen.send("archive-contact", agree=True) == "Winner & Sons was archived."
    assert await screen.send("restore-contact") == "Winner & Sons is back."


async def test_every_cause_of_a_difference_is_one_click_and_can_be_put_right(screen: Screen) -> None:
    contact, books = lasting(screen.sandbox), screen.sandbox.books
    books.create_credit(CreditKind.CREDIT_NOTE, contact.id, Decimal(20))
    books.pay(books.create_invoice(contact.id, Decimal(300)).id, Decimal("1.50"))
    await screen.show("contact")
    for index, (cause, _) in enumerate(meanings()):
        said = await screen.send("bring-about", index=index)
        assert said.startswith(f"{contact.name}: "), (cause, said)
    assert await screen.send("put-figures-right") == "6 figures were put right."
    assert await screen.send("put-figures-right") == "Every figure followed its documents already."
    await screen.show("behaviour")
    assert ": Invoice " in await screen.send("bring-about")
    books.check()


async def test_an_administrator_downgrades_users_and_disconnects_apps(screen: Screen, caller: Caller) -> None:
    organisation = screen.sandbox.organisations[0]
    await screen.show("people")
    assert await screen.send("set-role", role="READONLY") == "Ada Adviser has the role READONLY now."
    assert next(iter(organisation.members.values())).role is Role.READONLY
    response, _ = await caller.get("Invoices")
    assert response.status == 403
    assert await screen.send("disconnect", agree=True) == (
        f"{organisation.name} was disconnected from tieout-sandbox-app."
    )
    assert screen.sandbox.authority.connections == {}
    former = organisation.id
    assert await screen.send("reset-organisation", agree=True) == f"{organisation.name} has fresh books and another id."
    assert organisation.id != former
    await screen.show("people")
    assert await screen.send("delete-organisation", agree=True) == f"{organisation.name} was deleted."
    assert organisation not in screen.sandbox.organisations
    await screen.show("traffic")
    assert await screen.run(lambda browser: "gone · tieout-sandbox-app" in browser.page_source)


async def test_time_faults_and_switches_are_set(screen: Screen) -> None:
    sandbox = screen.sandbox
    await screen.show("behaviour")
    await screen.send("speed", speed="0")
    before_at = sandbox.clock.now()
    await screen.send("advance", index=2)
    assert (sandbox.clock.now() - before_at).days == 1
    await screen.send("add-fault", kind="forbidden_html", path="/Payments", times="3")
    (rule,) = sandbox.faults.rules
    assert (rule.kind, rule.path, rule.times) == (FaultKind.FORBIDDEN_HTML, "/Payments", 3)
    await screen.send("set-switch", value="false")
    assert sandbox.switches.balances_in_base_currency is False


async def test_new_requests_and_deliveries_appear_by_themselves(screen: Screen, caller: Caller) -> None:
    await screen.show("overview")
    await caller.get("Contacts/00000000-0000-4000-8000-000000000000")

    def appears(browser: Chrome) -> None:
        shown = "[data-live=last] td"
        seen = "Contacts/00000000"
        waiting(browser).until(
            lambda on: any(seen in cell.text for cell in on.find_elements(By.CSS_SELECTOR, shown)[:5])
        )
        browser.find_element(By.CSS_SELECTOR, "[data-pause]").click()
        assert browser.find_element(By.CSS_SELECTOR, "[data-pause]").text == "Resume updates"

    await screen.run(appears)


async def test_lists_are_searched_and_paged(screen: Screen) -> None:
    invoice = open_invoice(screen.sandbox)
    await screen.show("invoices")

    def look(browser: Chrome) -> None:
        browser.find_element(By.LINK_TEXT, "Next").click()
        waiting(browser).until(lambda on: "Page 2 of" in on.find_element(By.CLASS_NAME, "pager").text)
        put(browser.find_element(By.NAME, "q"), invoice.number + Keys.ENTER)
        waiting(browser).until(lambda on: "1 in all" in on.find_element(By.CLASS_NAME, "pager").text)
        browser.find_element(By.LINK_TEXT, invoice.number).click()
        waiting(browser).until(lambda on: invoice.number in on.find_element(By.TAG_NAME, "h1").text)

    await screen.run(look)


async def test_a_tester_uses_up_the_day_of_an_app(screen: Screen, caller: Caller) -> None:
    await screen.show("traffic")
    said = await screen.send("exhaust", client_id="tieout-sandbox-app", limit="day")
    assert said.startswith("The day is used up; the next one begins in ")
    assert (await caller.get("Organisation"))[0].status == 429


async def test_whoever_allows_nothing_is_asked_again_and_can_choose(screen: Screen, caller: Caller) -> None:
    def press(browser: Chrome) -> None:
        before = browser.current_url
        browser.find_element(By.CSS_SELECTOR, "button.allow").click()
        arrived(browser, before)

    def untick(browser: Chrome) -> None:
        browser.get(caller.authorization_url())
        for box in browser.find_elements(By.CSS_SELECTOR, "input[name=organisation]:checked"):
            box.click()
        press(browser)

    await screen.run(untick)
    alert = await screen.run(lambda browser: browser.find_element(By.CSS_SELECTOR, "[role=alert]").text)
    assert alert == "Choose an organisation that you may connect."
    choices = await screen.run(lambda browser: browser.find_elements(By.CSS_SELECTOR, "input[name=organisation]"))
    assert len(choices) == 2
    await screen.run(lambda browser: browser.find_element(By.LINK_TEXT, "Rex Reader").click())
    body = await screen.run(lambda browser: browser.find_element(By.TAG_NAME, "main").text)
    assert "There is nothing that you may connect." in body
    assert "will be able to" not in body
