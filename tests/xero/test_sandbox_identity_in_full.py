"""The sandbox's identity in full: apps of every kind, what ends a connection, and what nobody knows for sure."""

import base64
import hashlib
import html
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest

from sandbox_caller import REDIRECT_URI, Caller
from tieout_sandbox import App, SandboxSettings, serve

ADVISER = "ada.adviser@example.com"
APPS = (
    App(),
    App("native", None, "Native"),
    App("second", "s2", "Second", broad_scopes=False),
    App("third", "s3", "Third"),
    App("certified", "s4", "Certified", certified=True),
)
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    """One of several apps, which has been given access to the first organisation."""
    settings = SandboxSettings(
        contacts=20, invoices=100, speed=0, starts_at=datetime(2026, 11, 22, 9, 30, tzinfo=UTC), apps=APPS
    )
    async with serve(settings) as sandbox, aiohttp.ClientSession() as http:
        made = Caller(sandbox, http)
        await made.connect()
        yield made


async def post(caller: Caller, path: str, body: dict[str, object]) -> tuple[int, dict[str, str]]:
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/{path}", json=body) as response:
        return response.status, await response.json()


async def consent_of(caller: Caller, client_id: str) -> tuple[int, dict[str, str]]:
    url = caller.authorization_url(client_id=client_id, scope="openid offline_access accounting.contacts.read")
    return await post(caller, "consent", {"authorization_url": url})


async def test_an_app_without_a_secret_proves_itself_by_pkce_alone(caller: Caller) -> None:
    url = caller.authorization_url(client_id="native", code_challenge=CHALLENGE, code_challenge_method="S256")
    back = await caller.consent(url)
    form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": REDIRECT_URI}
    native = {"client_id": "native", "code_verifier": VERIFIER}
    endpoint = f"{caller.sandbox.url}/connect/token"
    async with caller.http.post(endpoint, data=form | native) as response:
        assert response.status == 200
        tokens = await response.json()
    renewal = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": "native"}
    async with caller.http.post(endpoint, data=renewal) as response:
        assert response.status == 200
    renewal["client_id"] = "third"
    async with caller.http.post(endpoint, data=renewal) as response:
        assert (response.status, await response.json()) == (400, {"error": "invalid_client"})


async def test_an_app_without_a_secret_must_send_a_challenge(caller: Caller) -> None:
    async with caller.http.get(caller.authorization_url(client_id="native"), allow_redirects=False) as response:
        assert (response.status, "code challenge required" in await response.text()) == (400, True)


async def test_an_organisation_connects_at_most_two_uncertified_apps(caller: Caller) -> None:
    assert (await consent_of(caller, "second"))[0] == 200
    status, body = await consent_of(caller, "third")
    assert (status, "2 uncertified apps" in body["error"]) == (400, True)
    assert (await consent_of(caller, "certified"))[0] == 200
    assert (await consent_of(caller, "second"))[0] == 200, "who is connected may come back"
    form = {
        "response_type": "code",
        "client_id": "third",
        "redirect_uri": REDIRECT_URI,
        "scope": "openid",
        "decision": "allow",
        "organisation": caller.tenant_id,
    }
    endpoint = f"{caller.sandbox.url}/identity/connect/authorize"
    async with caller.http.post(endpoint, data=form, allow_redirects=False) as response:
        assert (response.status, "uncertified apps" in await response.text()) == (400, True)


async def test_several_users_of_one_app_count_once(caller: Caller) -> None:
    await caller.consent(caller.authorization_url(), user="stan.standard@example.com")
    assert (await consent_of(caller, "second"))[0] == 200


async def test_a_consent_may_take_several_organisations_unless_switched(caller: Caller) -> None:
    names = [found.name for found in caller.sandbox.organisations]
    await caller.connect(organisations=names)
    assert sorted(row["tenantName"] for row in await caller.connections()) == sorted(names)
    events = {row["authEventId"] for row in await caller.connections()}
    assert len(events) == 1, "one consent, one event"
    caller.sandbox.switches.several_organisations_per_consent = False
    body = {"authorization_url": caller.authorization_url(), "organisations": names}
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/consent", json=body) as response:
        assert (response.status, "Choose one" in await response.text()) == (400, True)


async def test_the_page_shows_in_which_role_each_would_act(caller: Caller) -> None:
    async with caller.http.get(caller.authorization_url()) as response:
        page = await response.text()
    assert "Harbour &amp; Vine Ltd <span class=note>as Adviser, connected already</span>" in page
    assert "Rex Reader</a> <span class=note>Read only</span>" in page


async def test_the_page_offers_nothing_that_is_connected_already_if_switched(caller: Caller) -> None:
    caller.sandbox.switches.connected_stay_in_picker = False
    async with caller.http.get(caller.authorization_url()) as response:
        page = await response.text()
    names = [found.name for found in caller.sandbox.organisations]
    assert [html.escape(name) in page for name in names] == [False, True]
    await caller.connect(organisations=[names[1]])
    before = await caller.connections()
    async with caller.http.get(caller.authorization_url()) as response:
        assert "Whatever you may connect is connected already" in await response.text()
    form = dict(parse_qsl(urlsplit(caller.authorization_url()).query)) | {"decision": "allow"}
    endpoint = f"{caller.sandbox.url}/identity/connect/authorize"
    async with caller.http.post(endpoint, data=form, allow_redirects=False) as response:
        assert response.status == 302
        assert "code=" in response.headers["Location"]
    assert await caller.connections() == before
    form["organisation"] = caller.tenant_id
    async with caller.http.post(endpoint, data=form, allow_redirects=False) as response:
        assert response.status == 400, "it was not offered"


@pytest.mark.parametrize("how", ["delete", "reset", "disconnect"])
async def test_an_organisation_that_is_gone_answers_403_and_may_leave_the_list(caller: Caller, how: str) -> None:
    caller.sandbox.switches.gone_organisations_stay_connected = False
    status, _ = await post(caller, f"organisations/{caller.tenant_id}/{how}", {})
    assert status == 200
    response, body = await caller.get("Organisation")
    assert (response.status, json.loads(body)["Detail"]) == (403, "AuthenticationUnsuccessful")
    assert await caller.connections() == []


async def test_the_last_organisation_cannot_be_deleted(caller: Caller) -> None:
    first, second = caller.sandbox.organisations
    assert (await post(caller, f"organisations/{second.id}/delete", {}))[0] == 200
    assert (await post(caller, f"organisations/{first.id}/delete", {}))[0] == 400


async def test_a_reset_gives_other_books_and_another_id_and_it_can_be_connected_again(caller: Caller) -> None:
    before, books = caller.tenant_id, caller.sandbox.books
    status, body = await post(caller, f"organisations/{before}/reset", {})
    assert (status, body["id"] != before, body["name"]) == (200, True, "Harbour & Vine Ltd")
    assert not set(caller.sandbox.books.invoices) & set(books.invoices)
    caller.sandbox.books.check()
    await caller.connect()
    caller.tenant_id = body["id"]
    assert [row["tenantId"] for row in await caller.connections() if row["tenantName"]] == [body["id"]]
    _, answer = await caller.get("Organisation")
    assert json.loads(answer)["Organisations"][0]["OrganisationID"] == body["id"]


async def test_problem_bodies_may_be_in_lower_case(caller: Caller) -> None:
    caller.sandbox.switches.problem_keys_lower_case = True
    _, body = await caller.get("Organisation", Authorization="")
    assert list(json.loads(body)) == ["type", "title", "status", "detail", "instance", "extensions"]


async def test_a_wrong_secret_may_be_answered_with_401(caller: Caller) -> None:
    caller.sandbox.switches.invalid_client_status = 401
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_secret": "wrong"}
    assert await caller.token(form, basic=False) == (401, {"error": "invalid_client"})


async def test_pkce_with_a_secret_may_be_refused(caller: Caller) -> None:
    caller.sandbox.switches.web_apps_may_use_pkce = False
    url = caller.authorization_url(code_challenge=CHALLENGE, code_challenge_method="S256")
    assert (await post(caller, "consent", {"authorization_url": url}))[0] == 400
    assert (await post(caller, "consent", {"authorization_url": caller.authorization_url()}))[0] == 200


async def test_broad_scopes_are_for_old_apps_and_end_one_day(caller: Caller) -> None:
    async def status(client_id: str) -> int:
        url = caller.authorization_url(client_id=client_id, scope="accounting.transactions")
        return (await post(caller, "consent", {"authorization_url": url}))[0]

    assert (await status("tieout-sandbox-app"), await status("second")) == (200, 400)
    caller.sandbox.switches.broad_scopes_end_on = caller.sandbox.clock.today()
    assert await status("tieout-sandbox-app") == 400


async def test_the_id_token_may_leave_names_out(caller: Caller) -> None:
    caller.sandbox.switches.id_token_has_names = False
    await caller.connect()
    payload = caller.tokens["id_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert (claims["email"], "given_name" in claims) == (ADVISER, False)


async def test_a_connection_that_is_gone_is_not_found_or_by_switch_forbidden(caller: Caller) -> None:
    (held,) = await caller.connections()
    endpoint = f"{caller.sandbox.url}/connections/{held['id']}"
    statuses, body = [], b""
    for switched in (False, False, True):
        caller.sandbox.switches.removed_connection_answers_403 = switched
        async with caller.http.delete(endpoint, headers=caller.headers()) as response:
            statuses.append(response.status)
            body = await response.read()
    assert statuses == [204, 404, 403]
    assert json.loads(body)["Detail"] == "AuthenticationUnsuccessful"
