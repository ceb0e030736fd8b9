"""How access to the sandbox ends, and what still answers: every way under both answers to what nobody knows."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from sandbox_caller import SCOPES, Caller

ADA = "ada.adviser@example.com"
REFUSED = {"Organisation": 403, "Organisation/Actions": 403, "Users": 403, "Contacts": 403, "Accounts": 403}
SETTINGS = {"Organisation": 200, "Organisation/Actions": 200, "Users": 200}


async def statuses(caller: Caller) -> Mapping[str, int]:
    return {path: (await caller.get(path))[0].status for path in REFUSED}


async def organisation(caller: Caller) -> dict[str, Any]:
    _, body = await caller.get("Organisation")
    return dict(json.loads(body)["Organisations"][0])


async def names(caller: Caller) -> list[str | None]:
    return [row["tenantName"] for row in await caller.connections()]


async def refreshed(caller: Caller) -> None:
    status, caller.tokens = await caller.token(
        {"grant_type": "refresh_token", "refresh_token": caller.tokens["refresh_token"]}
    )
    assert status == 200


@pytest.mark.parametrize("settings", [True, False])
async def test_a_downgraded_user_reads_settings_at_most(caller: Caller, *, settings: bool) -> None:
    await caller.control("POST", "switches", {"downgraded_users_read_settings": settings})
    await caller.control("POST", f"organisations/{caller.tenant_id}/roles", {"user": ADA, "role": "READONLY"})
    assert await statuses(caller) == (REFUSED | SETTINGS if settings else REFUSED)
    assert await names(caller) == ["Harbour & Vine Ltd"]
    async with caller.http.post(
        f"{caller.sandbox.url}/api.xro/2.0/Users", json={}, headers=caller.headers()
    ) as response:
        assert response.status == 403, "reading is not writing"


async def test_a_removed_user_reads_nothing_and_stays_in_the_list(caller: Caller) -> None:
    await caller.control("POST", f"organisations/{caller.tenant_id}/roles", {"user": ADA, "role": "REMOVED"})
    assert await statuses(caller) == REFUSED
    assert await names(caller) == ["Harbour & Vine Ltd"]


@pytest.mark.parametrize("describes", [True, False])
async def test_a_closed_organisation_describes_itself_at_most_until_it_is_open_again(
    caller: Caller, *, describes: bool
) -> None:
    assert (await organisation(caller))["OrganisationStatus"] == "ACTIVE"
    await caller.control("POST", "switches", {"closed_organisations_describe_themselves": describes})
    path = f"organisations/{caller.tenant_id}/standing"
    assert await caller.control("POST", path, {"closed": True}) == {"closed": True, "demo": False}
    assert await statuses(caller) == (REFUSED | {"Organisation": 200} if describes else REFUSED)
    if describes:
        assert (await organisation(caller))["OrganisationStatus"] != "ACTIVE"
    assert await names(caller) == ["Harbour & Vine Ltd"]
    await caller.control("POST", path, {"closed": False})
    assert set((await statuses(caller)).values()) == {200}


async def test_a_demo_company_says_that_it_is_one(caller: Caller) -> None:
    await caller.control("POST", f"organisations/{caller.tenant_id}/standing", {"demo": True})
    found = await organisation(caller)
    assert (found["IsDemoCompany"], found["Class"]) == (True, "DEMO")


@pytest.mark.parametrize("how", ["delete", "reset"])
async def test_an_organisation_that_is_gone_stays_in_the_list_without_a_name(caller: Caller, how: str) -> None:
    (before,) = await caller.connections()
    await caller.control("POST", f"organisations/{caller.tenant_id}/{how}")
    assert await statuses(caller) == REFUSED
    assert await caller.connections() == [before | {"tenantName": None}]
    assert "gone" in await (await caller.http.get(f"{caller.sandbox.url}/sandbox/page/people")).text()
    assert (await caller.http.get(f"{caller.sandbox.url}/sandbox/page/traffic")).status == 200
    saved = await caller.control("GET", "state")
    await caller.control("PUT", "state", saved)
    assert await names(caller) == [None], "a saved state knows it, too"
    url = f"{caller.sandbox.url}/connections/{before['id']}"
    async with caller.http.delete(url, headers=caller.headers()) as response:
        assert response.status == 204
    assert await caller.connections() == []


async def test_a_consent_can_be_narrowed_from_the_next_refresh_on(caller: Caller) -> None:
    await caller.control("POST", f"users/{ADA}/narrow", {"scopes": ["accounting.contacts.read"]})
    assert (await caller.get("Contacts"))[0].status == 200
    await refreshed(caller)
    assert set(caller.tokens["scope"].split()) == set(SCOPES.split()) - {"accounting.contacts.read"}
    response, _ = await caller.get("Contacts")
    assert (response.status, "insufficient_scope" in response.headers["WWW-Authenticate"]) == (401, True)
    assert (await caller.get("Organisation"))[0].status == 200
    await caller.connect()
    assert (await caller.get("Contacts"))[0].status == 200, "a new consent gives it again"
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/users/{ADA}/narrow", json={"scopes": ["x"]}) as refusal:
        assert refusal.status == 400


async def test_a_refresh_token_lapses_after_sixty_days_unused(caller: Caller) -> None:
    caller.sandbox.clock.advance(timedelta(days=61))
    form = {"grant_type": "refresh_token", "refresh_token": caller.tokens["refresh_token"]}
    assert await caller.token(form) == (400, {"error": "invalid_grant"})
