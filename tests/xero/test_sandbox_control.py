"""The sandbox's control API, its churn, its faults, and its command."""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from sandbox_caller import Caller
from tieout_sandbox import FaultKind, FaultRule, SandboxSettings, Status, serve
from tieout_sandbox.books.truth import compact_truth
from tieout_sandbox.clock import SandboxClock


def test_a_clock_at_speed_sixty_makes_a_minute_of_a_second() -> None:
    real = 100.0
    clock = SandboxClock(speed=60, monotonic=lambda: real)
    begun_at = clock.now()
    real += 1
    assert clock.now() - begun_at == timedelta(minutes=1)
    clock.speed = 0
    real += 1_000
    assert clock.now() - begun_at == timedelta(minutes=1)
    clock.advance(timedelta(days=1))
    assert clock.now() - begun_at == timedelta(days=1, minutes=1)
    with pytest.raises(ValueError, match="turned back"):
        clock.advance(timedelta(seconds=-1))
    with pytest.raises(ValueError, match="a number from 0"):
        clock.speed = -1


async def test_the_clock_can_be_set_over_http(caller: Caller) -> None:
    before = await caller.control("GET", "clock")
    assert before == {"now": "2026-11-22T09:30:15.250000+00:00", "speed": 0.0}
    after = await caller.control("POST", "clock", {"advance_seconds": 60})
    assert after["now"] == "2026-11-22T09:31:15.250000+00:00"


async def test_requests_are_logged_and_counted(caller: Caller) -> None:
    await caller.control("DELETE", "requests")
    await caller.get("Invoices", {"page": "2", "pageSize": "7"})
    await caller.get("Contacts")
    await caller.get("nonsense")
    answer = await caller.control("GET", "requests?path=invoices")
    (entry,) = answer["requests"]
    assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/api.xro/2.0/Invoices", 200)
    assert entry["query"] == {"page": "2", "pageSize": "7"}
    assert entry["organisation_id"] == caller.tenant_id
    assert entry["bytes"] > 0
    assert await caller.control("GET", "requests?count=1") == {"count": 3}
    assert await caller.control("GET", "requests?count=1&status=404") == {"count": 1}
    assert caller.sandbox.requests.count("/api.xro/", method="GET", status=200) == 2


async def test_the_truth_lists_every_document(caller: Caller) -> None:
    truth = await caller.control("GET", f"books/{caller.tenant_id}")
    books = caller.sandbox.books
    assert truth["invoices"].keys() == books.invoices.keys()
    assert truth == compact_truth(books)
    invoice = next(iter(books.invoices.values()))
    assert truth["invoices"][invoice.id]["amount_due"] == str(invoice.amount_due)


async def test_the_books_can_be_changed_over_http(caller: Caller) -> None:
    async def move(name: str, /, **arguments: object) -> dict[str, Any]:
        return await caller.control("POST", f"books/{caller.tenant_id}/{name}", arguments)

    contact = await move("create_contact", name="Controlled Ltd")
    invoice = await move("create_invoice", contact_id=contact["id"], total="115.00", due_on="2026-12-01")
    credit = await move("create_credit", kind="RECEIVE-OVERPAYMENT", contact_id=contact["id"], total="15.00")
    await move("allocate", credit_id=credit["id"], invoice_id=invoice["id"])
    payment = await move("pay", invoice_id=invoice["id"], amount="60.00", reference="half")
    assert payment["amount"] == "60.00"
    (row,) = await caller.rows("Invoices", {"IDs": invoice["id"]})
    assert (row["AmountDue"], row["AmountPaid"], row["AmountCredited"]) == (40.0, 60.0, 15.0)
    assert row["Payments"][0]["Reference"] == "half"
    assert row["Overpayments"][0]["AppliedAmount"] == 15.0
    await move("delete_payment", payment_id=payment["id"])
    await move("rename_contact", contact_id=contact["id"], name="Renamed Ltd")
    (row,) = await caller.rows("Invoices", {"IDs": invoice["id"]})
    assert (row["AmountDue"], row["Contact"]["Name"]) == (100.0, "Renamed Ltd")
    caller.sandbox.books.check()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("books/nowhere/pay", {}, 404),
        ("books/Harbour & Vine Ltd/steal", {}, 400),
        ("books/Harbour & Vine Ltd/pay", {"invoice_id": "none"}, 404),
        ("books/Harbour & Vine Ltd/pay", {"colour": "red"}, 400),
        ("clock", {"speed": -1}, 400),
        ("clock", {"speed": "nan"}, 400),
        ("clock", {"speed": 1e300}, 400),
        ("clock", {"advance_seconds": 1e300}, 400),
        ("clock", {"advance_seconds": 1e12}, 400),
        ("latency", {"milliseconds": "nan"}, 400),
        ("latency", {"milliseconds": -1}, 400),
        ("limits", {"minutes": 10}, 400),
        ("clock", {"spede": 60}, 400),
        ("churn", {"no": True}, 400),
        ("organisations/Harbour & Vine Ltd/lock-dates", {"perod": "2026-09-30"}, 400),
        ("faults", {"kind": "answer", "status": 7}, 400),
        ("switches", {"gravity": False}, 400),
        ("faults", {"kind": "meteor"}, 400),
        ("faults", {"kind": "drop", "path": "("}, 400),
        ("faults", {"kind": "drop", "times": "often"}, 400),
        ("books/Harbour & Vine Ltd/create_invoice", {"contact_id": "x", "total": "much"}, 400),
        ("consent", {"authorization_url": "http://x/?client_id=nobody"}, 400),
        ("clock", [], 400),
    ],
)
async def test_what_a_caller_gets_wrong_is_explained(caller: Caller, path: str, body: object, status: int) -> None:
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/{path}", json=body) as response:
        assert response.status == status
        assert (await response.json())["error"]


@pytest.mark.parametrize("query", ["path=(", "since=yesterday", "status=many", "statsu=429"])
async def test_a_log_that_cannot_be_asked_for_like_this_is_explained(caller: Caller, query: str) -> None:
    async with caller.http.get(f"{caller.sandbox.url}/sandbox/requests?{query}") as response:
        assert (response.status, bool((await response.json())["error"])) == (400, True)


async def test_an_instant_without_a_zone_is_one_of_utc(caller: Caller) -> None:
    since = caller.sandbox.clock.now().replace(tzinfo=None).isoformat()
    assert (await caller.control("GET", f"requests?since={since}"))["count"] > 0


async def test_churn_changes_one_thing_per_served_page_and_the_books_still_add_up(caller: Caller) -> None:
    books = caller.sandbox.books
    before = compact_truth(books)
    await caller.get("Invoices", {"page": "1"})
    assert compact_truth(books) == before
    await caller.control("POST", "churn", {"on": True})
    for page in range(30):
        await caller.get("Invoices", {"page": str(page % 3 + 1), "pageSize": "40"})
    assert caller.sandbox.churn.changes == 30
    books.check()
    after = compact_truth(books)
    assert len(after["invoices"]) > len(before["invoices"])
    assert len(after["payments"]) > len(before["payments"])


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        (FaultKind.OFFLINE, 503, "The Xero API is currently offline for maintenance"),
        (FaultKind.UNAVAILABLE, 503, "The Xero API is temporarily unavailable"),
        (FaultKind.ORGANISATION_OFFLINE, 503, "The Organisation is offline"),
        (FaultKind.FORBIDDEN_HTML, 403, "Access Denied"),
        (FaultKind.LIMIT_MINUTE, 429, ""),
        (FaultKind.LIMIT_DAY, 429, ""),
        (FaultKind.LIMIT_CONCURRENT, 429, ""),
        (FaultKind.LIMIT_APP_MINUTE, 429, ""),
    ],
)
async def test_the_next_call_fails_as_told_and_the_one_after_does_not(
    caller: Caller, kind: FaultKind, status: int, text: str
) -> None:
    await caller.control("POST", "faults", {"kind": kind, "path": "/contacts$", "times": 1})
    assert (await caller.get("Organisation"))[0].status == 200
    response, body = await caller.get("Contacts")
    assert response.status == status
    assert text in body.decode()
    if status == 429:
        assert ("Retry-After" in response.headers) == (kind in {FaultKind.LIMIT_MINUTE, FaultKind.LIMIT_DAY})
        assert f"limit_{response.headers['X-Rate-Limit-Problem']}" == kind
    assert (await caller.get("Contacts"))[0].status == 200


async def test_any_answer_can_be_put_in_xeros_mouth(caller: Caller) -> None:
    body = {"kind": "answer", "path": "token", "status": 500, "body": "oops"}
    await caller.control("POST", "faults", body)
    async with caller.http.post(f"{caller.sandbox.url}/connect/token") as response:
        assert (response.status, await response.text()) == (500, "oops")


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.DROP_AFTER])
async def test_a_connection_can_be_dropped_before_and_after_the_work(caller: Caller, kind: FaultKind) -> None:
    caller.sandbox.faults.add(FaultRule(kind, "/connect/token"))
    form = {"grant_type": "refresh_token", "refresh_token": caller.tokens["refresh_token"]}
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await caller.token(form)
    used = [token.used_at for token in caller.sandbox.authority.refresh_tokens.values() if token.used_at]
    assert bool(used) == (kind is FaultKind.DROP_AFTER)
    assert (await caller.token(form))[0] == 200


async def test_an_administrator_can_disconnect_an_organisation(caller: Caller) -> None:
    await caller.control("POST", f"organisations/{caller.tenant_id}/disconnect")
    assert (await caller.get("Organisation"))[0].status == 403
    assert await caller.connections() == []


async def test_a_user_can_be_revoked(caller: Caller) -> None:
    await caller.control("POST", "users/ada.adviser@example.com/revoke")
    assert (await caller.get("Organisation"))[0].status == 403
    form = {"grant_type": "refresh_token", "refresh_token": caller.tokens["refresh_token"]}
    assert await caller.token(form) == (400, {"error": "invalid_grant"})


async def test_lock_dates_show_once_they_are_set(caller: Caller) -> None:
    _, before = await caller.get("Organisation")
    assert b"LockDate" not in before
    await caller.control("POST", f"organisations/{caller.tenant_id}/lock-dates", {"period": "2026-09-30"})
    _, after = await caller.get("Organisation")
    assert b'"PeriodLockDate": "\\/Date(1790726400000+0000)\\/"' in after


async def test_consent_can_be_denied(caller: Caller) -> None:
    back = await caller.consent(caller.authorization_url(), decision="deny")
    assert back == {"error": "access_denied", "state": "st"}


async def test_two_sandboxes_live_side_by_side() -> None:
    settings = SandboxSettings(contacts=20, invoices=100)
    async with serve(settings) as one, serve(settings) as two:
        assert one.url != two.url
        one.books.void(
            next(
                i
                for i in one.books.invoices.values()
                if i.status is Status.AUTHORISED and not i.payments and not i.allocations
            ).id
        )
        assert compact_truth(one.books) != compact_truth(two.books)


async def test_the_command_says_where_it_listens_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "tieout_sandbox", "--port", "0", "--contacts", "20", "--invoices", "100"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    url = line.split("TIEOUT_XERO_API_URL=")[1].split()[0]
    assert "TIEOUT_XERO_CLIENT_ID=tieout-sandbox-app TIEOUT_XERO_CLIENT_SECRET=sandbox-secret" in line
    async with aiohttp.ClientSession() as http, http.get(f"{url}/sandbox") as response:
        assert len((await response.json())["organisations"]) == 2
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0


@pytest.mark.parametrize(
    ("option", "said"), [("--contacts=1", b"Books need at least"), ("--port=70000", b"A port is a number from 0")]
)
async def test_settings_that_make_no_sense_are_refused_with_a_sentence(option: str, said: bytes) -> None:
    command = [sys.executable, "-m", "tieout_sandbox", "--port=0", option]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert (process.returncode, errors.startswith(b"tieout-sandbox: " + said)) == (2, True)
