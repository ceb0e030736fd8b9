"""How a test brings about that Xero is away or has had enough: each by one move, with Xero's status and body."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from sandbox_caller import Caller


async def token_status(caller: Caller) -> tuple[int, str]:
    form = {"grant_type": "refresh_token", "refresh_token": caller.tokens["refresh_token"]}
    credentials = {"client_id": "tieout-sandbox-app", "client_secret": "sandbox-secret"}
    async with caller.http.post(f"{caller.sandbox.url}/connect/token", data=form | credentials) as response:
        return response.status, await response.text()


async def connections_status(caller: Caller) -> int:
    async with caller.http.get(f"{caller.sandbox.url}/connections", headers=caller.headers()) as response:
        return response.status


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "text"),
    [
        ("unavailable", 503, "text/plain", "The Xero API is temporarily unavailable"),
        ("unavailable_html", 503, "text/html", "Service Unavailable"),
        ("forbidden_html", 403, "text/html", "Access Denied"),
    ],
)
async def test_the_api_and_identity_can_be_away_without_each_other(
    caller: Caller, kind: str, status: int, content_type: str, text: str
) -> None:
    await caller.control("POST", "faults", {"kind": kind, "path": "^/api.xro/", "times": None})
    response, body = await caller.get("Organisation")
    assert (response.status, response.content_type, text in body.decode()) == (status, content_type, True)
    assert (await connections_status(caller), (await token_status(caller))[0]) == (200, 200)
    await caller.control("DELETE", "faults")
    await caller.control("POST", "faults", {"kind": kind, "path": "^/connect/", "times": None})
    found = await token_status(caller)
    assert (found[0], text in found[1]) == (status, True)
    assert (await connections_status(caller), (await caller.get("Organisation"))[0].status) == (200, 200)
    await caller.control("DELETE", "faults")
    assert (await token_status(caller))[0] == 200, "an outage costs no tokens"


async def test_one_organisation_can_be_offline_alone(caller: Caller) -> None:
    first, second = caller.sandbox.organisations
    await caller.connect(organisations=[first.name, second.name])
    rule = {"kind": "organisation_offline", "organisation": first.name, "times": None}
    assert (await caller.control("POST", "faults", rule))["organisation"] == first.id
    response, body = await caller.get("Users")
    assert (response.status, body) == (503, b"The Organisation is offline")
    assert (await replace(caller, tenant_id=second.id).get("Users"))[0].status == 200
    assert await connections_status(caller) == 200


async def test_a_rule_for_an_organisation_that_is_not_there_is_refused(caller: Caller) -> None:
    rule = {"kind": "offline", "organisation": "Nowhere Ltd"}
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/faults", json=rule) as response:
        assert response.status == 404


@pytest.mark.parametrize(("limit", "remaining"), [("minute", "X-MinLimit-Remaining"), ("day", "X-DayLimit-Remaining")])
async def test_a_limit_that_was_used_up_is_there_again_when_xero_said_so(
    caller: Caller, limit: str, remaining: str
) -> None:
    asked = {"organisation": caller.tenant_id, "limit": limit}
    said = await caller.control("POST", "limits/exhaust", asked)
    response, body = await caller.get("Organisation")
    assert (response.status, body) == (429, b"")
    assert response.headers["X-Rate-Limit-Problem"] == limit
    assert response.headers["Retry-After"] == str(said["retry_after"])
    assert response.headers[remaining] == "0"
    await caller.control("POST", "clock", {"advance_seconds": said["retry_after"]})
    status, tokens = await caller.token(
        {"grant_type": "refresh_token", "refresh_token": caller.tokens["refresh_token"]}
    )
    assert status == 200
    caller.tokens = tokens
    assert (await caller.get("Organisation"))[0].status == 200


async def test_a_day_that_is_used_up_is_so_for_one_organisation_and_app(caller: Caller) -> None:
    first, second = caller.sandbox.organisations
    await caller.connect(organisations=[first.name, second.name])
    await caller.control("POST", "limits/exhaust", {"organisation": second.name})
    assert (await caller.get("Users"))[0].status == 200
    assert (await replace(caller, tenant_id=second.id).get("Users"))[0].status == 429


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"limit": "day"}, 404),
        ({"organisation": "Nowhere Ltd"}, 404),
        ({"organisation": "Harbour & Vine Ltd", "limit": "appminute"}, 400),
        ({"organisation": "Harbour & Vine Ltd", "limit": "century"}, 400),
        ({"organisation": "Harbour & Vine Ltd", "client_id": "nobody"}, 404),
    ],
)
async def test_what_cannot_be_used_up_is_explained(caller: Caller, body: dict[str, str], status: int) -> None:
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/limits/exhaust", json=body) as response:
        assert (response.status, bool((await response.json())["error"])) == (status, True)


async def test_seventy_days_ahead_the_refresh_token_has_lapsed_and_the_connection_has_not(caller: Caller) -> None:
    before = await caller.connections()
    await caller.control("POST", "clock", {"advance_seconds": timedelta(days=70).total_seconds()})
    response, body = await caller.get("Organisation")
    assert (response.status, json.loads(body)["Detail"].split(":")[0]) == (401, "TokenExpired")
    assert await token_status(caller) == (400, '{"error":"invalid_grant"}')
    await caller.connect()
    after = await caller.connections()
    assert [row["id"] for row in after] == [row["id"] for row in before], "it is the same connection"
    assert (await caller.get("Organisation"))[0].status == 200


@pytest.mark.parametrize("role", ["REMOVED", "READONLY", "INVOICEONLY"])
async def test_whoever_is_removed_or_downgraded_is_refused_the_books_until_the_role_is_back(
    caller: Caller, role: str
) -> None:
    path = f"organisations/{caller.tenant_id}/roles"
    await caller.control("POST", path, {"user": "ada.adviser@example.com", "role": role})
    response, body = await caller.get("Invoices")
    assert (response.status, json.loads(body)["Detail"]) == (403, "AuthenticationUnsuccessful")
    assert (await token_status(caller))[0] == 200
    await caller.control("POST", path, {"user": "ada.adviser@example.com", "role": "STANDARD"})
    assert (await caller.get("Invoices"))[0].status == 200
