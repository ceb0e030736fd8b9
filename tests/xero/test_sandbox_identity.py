"""The sandbox's identity server: consent, tokens, connections, refusals."""

import base64
import json
import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from sandbox_caller import REDIRECT_URI, Caller, basic_auth
from tieout_sandbox import Role, Sandbox


def code_form(code: str, **more: str) -> dict[str, str]:
    return {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI, **more}


async def test_the_token_response_has_xeros_keys_in_xeros_order(caller: Caller) -> None:
    assert list(caller.tokens) == ["id_token", "access_token", "expires_in", "token_type", "refresh_token", "scope"]
    assert caller.tokens["expires_in"] == 1800
    assert caller.tokens["token_type"] == "Bearer"


async def test_tokens_are_signed_with_a_published_key_and_carry_xeros_claims(caller: Caller) -> None:
    jwks = f"{caller.sandbox.url}/.well-known/openid-configuration/jwks"
    async with caller.http.get(jwks) as response:
        keys = KeySet.import_key_set(await response.json())
    access = jwt.decode(caller.tokens["access_token"], keys, algorithms=["RS256"])
    assert access.header["typ"] == "JWT"
    assert set(access.claims) == {
        "nbf", "exp", "iss", "aud", "client_id", "sub", "auth_time", "xero_userid", "global_session_id", "sid", "jti",
        "authentication_event_id", "scope", "amr",
    }  # fmt: skip
    assert access.claims["iss"] == "https://identity.xero.com"
    identity = jwt.decode(caller.tokens["id_token"], keys, algorithms=["RS256"])
    assert identity.claims["email"] == "ada.adviser@example.com"
    assert identity.claims["xero_userid"] == access.claims["xero_userid"]
    assert "authentication_event_id" not in identity.claims
    assert "d" not in keys.keys[0].as_dict(private=False)


async def test_a_nonce_comes_back_in_the_id_token_of_its_code_and_in_no_later_one(caller: Caller) -> None:
    def nonce_in(tokens: dict[str, Any]) -> object:
        payload = tokens["id_token"].split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).get("nonce")

    back = await caller.consent(caller.authorization_url(nonce="n-0S6_WzA2Mj"))
    _, tokens = await caller.token(code_form(back["code"]))
    assert nonce_in(tokens) == "n-0S6_WzA2Mj"
    _, later = await caller.token({"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})
    assert nonce_in(later) is None
    assert nonce_in(caller.tokens) is None


async def test_connections_are_a_bare_array_with_seven_digit_dates(caller: Caller) -> None:
    (connection,) = await caller.connections()
    assert list(connection) == [
        "id", "authEventId", "tenantId", "tenantType", "tenantName", "createdDateUtc", "updatedDateUtc",
    ]  # fmt: skip
    assert connection["createdDateUtc"] == "2026-11-22T09:30:15.2500000"
    payload = caller.tokens["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert connection["authEventId"] == claims["authentication_event_id"]


async def test_connections_can_be_asked_for_by_authentication_event(caller: Caller) -> None:
    first = (await caller.connections())[0]
    second_name = caller.sandbox.organisations[1].name
    await caller.connect(organisations=[second_name])
    both = await caller.connections()
    assert {row["tenantId"] for row in both} == {found.id for found in caller.sandbox.organisations}
    of_first = await caller.connections(f"?authEventId={first['authEventId']}")
    assert [row["id"] for row in of_first] == [first["id"]]


async def test_a_replayed_code_is_refused(caller: Caller) -> None:
    back = await caller.consent(caller.authorization_url())
    assert back["state"] == "st"
    assert (await caller.token(code_form(back["code"])))[0] == 200
    assert await caller.token(code_form(back["code"])) == (400, {"error": "invalid_grant"})


async def test_a_code_older_than_five_minutes_is_refused(caller: Caller) -> None:
    back = await caller.consent(caller.authorization_url())
    caller.sandbox.clock.advance(timedelta(minutes=5))
    assert await caller.token(code_form(back["code"])) == (400, {"error": "invalid_grant"})


@pytest.mark.parametrize("verifier", [None, "w" * 43])
async def test_a_code_bound_to_a_challenge_wants_its_verifier(caller: Caller, verifier: str | None) -> None:
    url = caller.authorization_url(code_challenge="c" * 43, code_challenge_method="S256")
    back = await caller.consent(url)
    form = code_form(back["code"]) | ({"code_verifier": verifier} if verifier else {})
    assert await caller.token(form) == (400, {"error": "invalid_grant"})


async def test_credentials_may_stand_in_the_body(caller: Caller) -> None:
    back = await caller.consent(caller.authorization_url())
    assert (await caller.token(code_form(back["code"]), basic=False))[0] == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "unknown"}, "invalid_grant"),
    ],
)
async def test_token_errors_are_named(caller: Caller, form: dict[str, str], error: str) -> None:
    assert await caller.token(form) == (400, {"error": error})


async def test_a_wrong_secret_is_an_invalid_client(caller: Caller) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": caller.tokens["refresh_token"], "client_secret": "wrong"}
    assert await caller.token(form, basic=False) == (400, {"error": "invalid_client"})


async def refresh(caller: Caller, token: str) -> tuple[int, dict[str, Any]]:
    return await caller.token({"grant_type": "refresh_token", "refresh_token": token})


async def test_a_refresh_token_rotates_and_the_old_one_works_for_thirty_minutes(caller: Caller) -> None:
    old = caller.tokens["refresh_token"]
    status, first = await refresh(caller, old)
    assert status == 200
    assert first["refresh_token"] != old
    caller.sandbox.clock.advance(timedelta(minutes=29, seconds=59))
    assert (await refresh(caller, old))[0] == 200
    caller.sandbox.clock.advance(timedelta(seconds=1))
    assert await refresh(caller, old) == (400, {"error": "invalid_grant"})
    assert (await refresh(caller, first["refresh_token"]))[0] == 200


async def test_a_refresh_token_dies_unused_after_sixty_days(caller: Caller) -> None:
    caller.sandbox.clock.advance(timedelta(days=60))
    assert await refresh(caller, caller.tokens["refresh_token"]) == (400, {"error": "invalid_grant"})


async def test_revoking_ends_tokens_and_connections_of_that_user(caller: Caller) -> None:
    auth = {"Authorization": basic_auth()}
    url = f"{caller.sandbox.url}/connect/revocation"
    async with caller.http.post(url, data={"token": caller.tokens["refresh_token"]}, headers=auth) as response:
        assert (response.status, await response.read()) == (200, b"")
    assert await refresh(caller, caller.tokens["refresh_token"]) == (400, {"error": "invalid_grant"})
    assert await caller.connections() == []


async def test_deleting_a_connection_leaves_the_tokens_good(caller: Caller) -> None:
    (connection,) = await caller.connections()
    url = f"{caller.sandbox.url}/connections/{connection['id']}"
    for status in (204, 404):
        async with caller.http.delete(url, headers=caller.headers()) as response:
            assert response.status == status
    response, body = await caller.get("Organisation")
    assert response.status == 403
    assert json.loads(body)["Detail"] == "AuthenticationUnsuccessful"
    assert (await refresh(caller, caller.tokens["refresh_token"]))[0] == 200


async def test_an_expired_token_says_when_it_expired(caller: Caller) -> None:
    caller.sandbox.clock.advance(timedelta(minutes=30))
    response, body = await caller.get("Organisation")
    assert response.status == 401
    problem = json.loads(body)
    assert list(problem) == ["Type", "Title", "Status", "Detail", "Instance", "Extensions"]
    assert problem["Detail"] == "TokenExpired: token expired at 11/22/2026 10:00:15"
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


async def test_a_token_that_nobody_signed_is_refused(caller: Caller) -> None:
    response, body = await caller.get("Organisation", Authorization="Bearer a.b.c")
    assert (response.status, json.loads(body)["Detail"]) == (401, "AuthenticationUnsuccessful")


async def test_a_missing_scope_is_401_insufficient_scope(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.authority.revoke_user(next(iter(sandbox.authority.users)))
    await caller.connect(scope="openid accounting.contacts.read")
    assert (await caller.get("Contacts"))[0].status == 200
    response, body = await caller.get("Invoices")
    assert (response.status, json.loads(body)["Detail"]) == (401, "AuthorizationUnsuccessful")
    assert "insufficient_scope" in response.headers["WWW-Authenticate"]


async def test_the_old_broad_scope_opens_invoices_and_payments(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.authority.revoke_user(next(iter(sandbox.authority.users)))
    await caller.connect(scope="accounting.transactions.read")
    for path, status in (("Invoices", 200), ("Payments", 200), ("Contacts", 401)):
        assert (await caller.get(path))[0].status == status


async def test_a_downgraded_user_is_403_until_promoted_again(caller: Caller) -> None:
    path = f"organisations/{caller.tenant_id}/roles"
    for role, status in ((Role.READONLY, 403), (Role.STANDARD, 200), (Role.REMOVED, 403)):
        await caller.control("POST", path, {"user": "ada.adviser@example.com", "role": role})
        assert (await caller.get("Contacts"))[0].status == status


async def test_only_standard_and_adviser_may_connect(caller: Caller) -> None:
    body = {"authorization_url": caller.authorization_url(), "user": "ivy.invoices@example.com"}
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/consent", json=body) as response:
        assert response.status == 400
        assert "may not connect" in (await response.json())["error"]


async def test_the_consent_page_names_app_scopes_and_organisations_and_its_form_works(caller: Caller) -> None:
    url = caller.authorization_url()
    async with caller.http.get(url) as response:
        page = await response.text()
        assert response.status == 200
    assert "Tieout wants access" in page
    assert "View invoices and credit notes" in page
    assert "Harbour &amp; Vine Ltd" in page
    form = {
        "response_type": "code",
        "client_id": "tieout-sandbox-app",
        "redirect_uri": REDIRECT_URI,
        "scope": "openid accounting.invoices.read",
        "state": "st",
        "decision": "allow",
        "organisation": caller.tenant_id,
    }
    endpoint = f"{caller.sandbox.url}/identity/connect/authorize"
    async with caller.http.post(endpoint, data=form, allow_redirects=False) as response:
        assert response.status == 302
        location = response.headers["Location"]
    assert location.startswith(REDIRECT_URI + "?code=")
    assert location.endswith("&state=st")
    async with caller.http.post(endpoint, data=form | {"decision": "deny"}, allow_redirects=False) as response:
        assert response.headers["Location"] == f"{REDIRECT_URI}?error=access_denied&state=st"


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "nobody"},
        {"redirect_uri": "https://evil.example/callback"},
        {"response_type": "token"},
        {"scope": "accounting.everything"},
        {"code_challenge": "x" * 43, "code_challenge_method": "plain"},
    ],
)
async def test_bad_parameters_give_an_error_page_and_no_redirect(caller: Caller, wrong: dict[str, str]) -> None:
    async with caller.http.get(caller.authorization_url(**wrong), allow_redirects=False) as response:
        assert response.status == 400
        assert response.content_type == "text/html"
        assert "something went wrong" in await response.text()


async def test_what_an_app_sends_cannot_break_out_of_the_page(caller: Caller) -> None:
    async with caller.http.get(caller.authorization_url(state='"><script>')) as response:
        assert "<script>" not in await response.text()


@pytest.mark.parametrize(
    "scope",
    ["accounting.reports.profitandloss.read", "accounting.reports.tenninetynine.read", "paymentservices", "files"],
)
async def test_scopes_are_granted_that_nothing_here_needs(caller: Caller, scope: str) -> None:
    await caller.connect(scope=f"openid offline_access {scope}")
    assert caller.tokens["scope"].split()[:3] == ["openid", "offline_access", scope]


async def test_discovery_leads_to_every_endpoint(caller: Caller) -> None:
    async with caller.http.get(f"{caller.sandbox.url}/.well-known/openid-configuration") as response:
        found = await response.json()
    assert found["issuer"] == "https://identity.xero.com"
    endpoints = [
        found[name] for name in ("authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri")
    ]
    assert all(endpoint.startswith(caller.sandbox.url) for endpoint in endpoints)


async def test_discovery_by_xeros_own_name_leads_to_xeros_own_addresses(caller: Caller) -> None:
    url, host = f"{caller.sandbox.url}/.well-known/openid-configuration", {"Host": "identity.xero.com"}
    async with caller.http.get(url, headers=host) as response:
        found = await response.json()
    assert found["authorization_endpoint"] == "https://login.xero.com/identity/connect/authorize"
    assert found["token_endpoint"] == "https://identity.xero.com/connect/token"


async def test_a_user_who_may_connect_nothing_sees_why_and_cannot_allow(caller: Caller) -> None:
    async with caller.http.get(caller.authorization_url(user="rex.reader@example.com")) as response:
        page = await response.text()
    assert "There is nothing that you may connect" in page
    assert "will be able to" not in page, "nothing is granted"
    assert 'value="allow"' not in page
    assert 'value="deny"' in page


async def test_whoever_chooses_nothing_is_asked_again_on_the_same_page(caller: Caller) -> None:
    sent = dict(parse_qsl(urlsplit(caller.authorization_url()).query)) | {"user": "ada.adviser@example.com"}
    endpoint = f"{caller.sandbox.url}/identity/connect/authorize"
    before = await caller.connections()
    async with caller.http.post(endpoint, data=sent | {"decision": "allow"}, allow_redirects=False) as response:
        page = await response.text()
    assert response.status == 400
    assert '<p role="alert" class="alert"><strong>Choose an organisation that you may connect.</strong></p>' in page
    carried = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
    assert {name: unescape(value) for name, value in carried.items()} == sent
    assert await caller.connections() == before
    again = sent | {"decision": "allow", "organisation": caller.tenant_id}
    async with caller.http.post(endpoint, data=again, allow_redirects=False) as response:
        assert (response.status, "code=" in response.headers["Location"]) == (302, True)


async def test_scopes_add_up_over_consents_until_they_are_revoked(caller: Caller) -> None:
    await caller.connect(scope="openid accounting.attachments.read")
    assert {"accounting.attachments.read", "accounting.contacts.read"} <= set(caller.tokens["scope"].split())
    caller.sandbox.authority.revoke_user(next(iter(caller.sandbox.authority.users)))
    await caller.connect(scope="openid accounting.contacts.read")
    assert caller.tokens["scope"] == "openid accounting.contacts.read"
