"""The sandbox's page over plain HTTP: who is answered, what is escaped, where forms lead."""

import re
from urllib.parse import quote

import aiohttp
import pytest

from sandbox_caller import Caller
from tieout_sandbox import Sandbox
from tieout_sandbox.books.documents import Status
from tieout_sandbox.page.routes import ACTIONS

NEED_NOTHING = {
    "churn", "clear-faults", "delete-organisation", "forget-requests", "put-figures-right", "reset-organisation",
    "set-lock-dates",
}  # fmt: skip
LISTS = ("", "customers", "invoices", "payments", "credits", "people", "traffic", "webhooks", "behaviour")


def address(sandbox: Sandbox, page: str) -> str:
    return f"{sandbox.url}/{f'sandbox/page/{page}' if page else ''}"


async def page(caller: Caller, name: str, **headers: str) -> str:
    async with caller.http.get(address(caller.sandbox, name), headers=headers) as response:
        assert response.status == 200
        return await response.text()


async def send(caller: Caller, action: str, **form: str) -> aiohttp.ClientResponse:
    """Send a form as the browser would: with the token of a page."""
    if "token" not in form:
        found = re.search(r'name="token" value="([^"]+)"', await page(caller, "people"))
        assert found
        form["token"] = found.group(1)
    url = address(caller.sandbox, f"do/{action}")
    async with caller.http.post(url, data=form, allow_redirects=False) as response:
        await response.read()
        return response


@pytest.mark.parametrize("name", LISTS)
async def test_every_page_loads_nothing_from_elsewhere_and_has_no_inline_script(caller: Caller, name: str) -> None:
    async with caller.http.get(address(caller.sandbox, name)) as response:
        text = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r'<script(?! src="/sandbox/)', text) == []
    assert re.findall(r' on\w+="', text) == []
    assert " style=" not in text
    linked = re.findall(r'(?:href|src|action)="([^"]+)"', text)
    assert [link for link in linked if not link.startswith(("/", "#", "data:"))] == []


async def test_forms_without_the_token_are_refused(caller: Caller) -> None:
    invoice = next(one for one in caller.sandbox.books.invoices.values() if one.status is Status.AUTHORISED)
    for token in ("", "guessed", "ü"):
        response = await send(caller, "pay", token=token, invoice_id=invoice.id)
        assert response.status == 403
    assert invoice.status is Status.AUTHORISED


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.nip.io:80", "192.0.2.1"])
async def test_a_foreign_name_for_this_machine_is_not_answered(caller: Caller, host: str) -> None:
    for name in ("", "people", "live/requests", "page.js"):
        async with caller.http.get(address(caller.sandbox, name), headers={"Host": host}) as response:
            assert response.status == 403


async def test_what_people_typed_is_escaped_everywhere(caller: Caller) -> None:
    books = caller.sandbox.books
    contact = books.create_contact("<script>alert(1)</script>\"'&", "<i>@example.com")
    for name in ("customers?q=script", f"contact?id={contact.id}", f"traffic?q={quote('<script>')}"):
        text = await page(caller, name)
        assert "<script>" not in text
        assert "&lt;script&gt;" in text
    async with caller.http.get(f"{caller.sandbox.url}/api.xro/2.0/{quote('<script>')}") as response:
        assert response.status == 404
    assert "<script>" not in await page(caller, "live/requests")


async def test_a_form_leads_back_to_its_page_and_never_elsewhere(caller: Caller) -> None:
    back = "/sandbox/page/customers?q=a"
    response = await send(caller, "create-contact", name="Ann", back=back)
    assert response.status == 303
    assert response.headers["Location"].startswith(f"{back}&said=")
    async with caller.http.get(caller.sandbox.url + response.headers["Location"]) as shown:
        assert "Ann was added." in await shown.text()
    async with caller.http.get(caller.sandbox.url + response.headers["Location"]) as again:
        assert "Ann was added." not in await again.text()
    for number, other in enumerate(("https://evil.example/", "//evil.example", "/connections", "javascript:alert(1)")):
        response = await send(caller, "create-contact", name=f"Ben {number}", back=other)
        assert response.headers["Location"].startswith("/?said=")


async def test_unknown_pages_documents_and_actions_are_not_found(caller: Caller) -> None:
    for name in ("nonsense", "invoice?id=none", "contact", "credit?id=none", "live/none", "people?org=none"):
        async with caller.http.get(address(caller.sandbox, name)) as response:
            assert response.status == 404
    assert (await send(caller, "nonsense")).status == 404


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - NEED_NOTHING))
async def test_an_action_that_is_asked_for_nothing_says_so_and_changes_nothing(caller: Caller, action: str) -> None:
    revision = caller.sandbox.books.revision
    response = await send(caller, action)
    assert response.status == 303
    async with caller.http.get(caller.sandbox.url + response.headers["Location"]) as shown:
        assert 'role="alert"' in await shown.text()
    assert caller.sandbox.books.revision == revision


async def test_an_organisation_is_closed_opened_and_made_a_demo_company(caller: Caller) -> None:
    organisation = caller.sandbox.organisations[0]
    for standing, closed, demo in (
        ("closed", True, False), ("demo", True, True), ("open", False, True), ("real", False, False),
    ):  # fmt: skip
        assert f'value="{standing}"' in await page(caller, "people")
        assert (await send(caller, "set-standing", standing=standing)).status == 303
        assert (organisation.is_closed, organisation.is_demo) == (closed, demo)


async def test_the_page_is_not_among_the_requests_of_apps(caller: Caller) -> None:
    caller.sandbox.requests.clear()
    await page(caller, "")
    await page(caller, "live/requests")
    assert caller.sandbox.requests.count() == 0


async def test_a_browser_at_the_control_api_is_sent_to_the_page(caller: Caller) -> None:
    headers = {"Accept": "text/html,application/xhtml+xml"}
    async with caller.http.get(f"{caller.sandbox.url}/sandbox", headers=headers) as response:
        assert response.url.path == "/"
    async with caller.http.get(f"{caller.sandbox.url}/sandbox") as response:
        assert "organisations" in await response.json()


async def test_each_organisation_has_its_own_pages(caller: Caller) -> None:
    second = caller.sandbox.organisations[1]
    contact = second.books.create_contact("Only in the second")
    assert "Only in the second" in await page(caller, f"customers?org={second.id}&q=only")
    assert "Only in the second" not in await page(caller, "customers?q=only")
    await send(caller, "archive-contact", org=second.id, contact_id=contact.id)
    assert contact.status == "ARCHIVED"
