"""The sandbox's faults: each kind does what it says, by turn and by chance, and nothing else is touched."""

import json
import time
from datetime import timedelta
from decimal import Decimal

import aiohttp
import pytest

from sandbox_caller import Caller
from tieout_sandbox import FaultKind, FaultRule, SandboxSettings, serve
from tieout_sandbox.__main__ import main
from tieout_sandbox.faults import Call, Faults


def refresh_form(caller: Caller) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": caller.tokens["refresh_token"]}


def test_chance_comes_from_a_seed_and_only_matching_calls_ask_it() -> None:
    def met(paths: list[str]) -> list[bool]:
        faults = Faults()
        faults.seed(7)
        faults.add(FaultRule(FaultKind.UNAVAILABLE, "/invoices", times=None, probability=0.3))
        other = Call("GET", "/contacts")
        return [faults.take(Call("GET", path)) is not None for path in paths if faults.take(other) is None]

    first = met(["/Invoices"] * 200)
    assert first == met(["/Invoices"] * 200)
    assert 30 < sum(first) < 90


def test_a_probability_outside_of_its_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Faults().add(FaultRule(FaultKind.DROP, probability=1.5))


async def test_a_rule_without_end_goes_on_until_it_is_cleared(caller: Caller) -> None:
    await caller.control("POST", "faults", {"kind": "offline", "times": None})
    assert [(await caller.get("Users"))[0].status for _ in range(3)] == [503] * 3
    await caller.control("DELETE", "faults")
    assert (await caller.get("Users"))[0].status == 200


async def test_an_unknown_member_of_a_rule_is_refused(caller: Caller) -> None:
    body = {"kind": "offline", "likelihood": 1}
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/faults", json=body) as response:
        assert response.status == 400
        assert (await response.json())["error"].startswith("Unknown: likelihood; there are seed, kind, path,")


async def test_a_lost_refresh_answer_rotates_the_token_and_the_old_one_still_works(caller: Caller) -> None:
    caller.sandbox.faults.add(FaultRule(FaultKind.REFRESH_LOST))
    before = len(caller.sandbox.authority.refresh_tokens)
    with pytest.raises(aiohttp.ClientError):
        await caller.token(refresh_form(caller))
    assert len(caller.sandbox.authority.refresh_tokens) == before + 1
    status, tokens = await caller.token(refresh_form(caller))
    assert (status, tokens["refresh_token"] != caller.tokens["refresh_token"]) == (200, True)


async def test_only_a_refresh_loses_its_answer(caller: Caller) -> None:
    caller.sandbox.faults.add(FaultRule(FaultKind.REFRESH_LOST))
    await caller.connect()
    with pytest.raises(aiohttp.ClientError):
        await caller.token(refresh_form(caller))


async def test_a_truncated_answer_ends_in_the_middle_of_its_body(caller: Caller) -> None:
    caller.sandbox.faults.add(FaultRule(FaultKind.TRUNCATED, "/accounts"))
    url = f"{caller.sandbox.url}/api.xro/2.0/Accounts"
    async with caller.http.get(url, headers=caller.headers()) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    _, whole = await caller.get("Accounts")
    assert json.loads(whole)["Status"] == "OK"


async def test_a_slow_answer_is_late_and_whole(caller: Caller) -> None:
    caller.sandbox.faults.add(FaultRule(FaultKind.SLOW, seconds=0.05))
    begun = time.monotonic()
    response, _ = await caller.get("Currencies")
    assert (response.status, time.monotonic() - begun >= 0.05) == (200, True)


@pytest.mark.parametrize(
    ("kind", "named", "retries"),
    [("limit_minute", "minute", True), ("limit_day", "day", True), ("limit_concurrent", "concurrent", False)],
)
async def test_a_limit_on_demand_says_when_to_come_back_only_where_xero_does(
    caller: Caller, kind: str, named: str, *, retries: bool
) -> None:
    await caller.control("POST", "faults", {"kind": kind})
    response, _ = await caller.get("Users")
    assert (response.status, response.headers["X-Rate-Limit-Problem"]) == (429, named)
    assert ("Retry-After" in response.headers) == retries


async def test_retry_after_can_be_left_out_or_be_anything(caller: Caller) -> None:
    for wanted in ("", "later", "86400"):
        await caller.control("POST", "faults", {"kind": "limit_minute", "retry_after": wanted})
        response, _ = await caller.get("Users")
        assert response.headers.get("Retry-After", "") == wanted


async def test_identity_can_be_limited_too(caller: Caller) -> None:
    await caller.control("POST", "faults", {"kind": "limit_minute", "path": "/connect/token", "retry_after": "3"})
    form = refresh_form(caller)
    async with caller.http.post(f"{caller.sandbox.url}/connect/token", data=form) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "3")
    assert (await caller.token(form))[0] == 200, "the refused call did not use the token up"


async def test_the_bookkeeper_pays_first(caller: Caller) -> None:
    books = caller.sandbox.books
    invoice = next(found for found in books.invoices.values() if found.status == "AUTHORISED" and found.amount_due)
    caller.sandbox.faults.add(FaultRule(FaultKind.BOOKKEEPER_PAYS))
    payment = {"Invoice": {"InvoiceID": invoice.id}, "Amount": "1.00", "Account": {"Code": "090"}}
    url = f"{caller.sandbox.url}/api.xro/2.0/Payments"
    async with caller.http.put(url, json={"Payments": [payment]}, headers=caller.headers()) as response:
        assert response.status != 200
    assert (invoice.status, invoice.amount_due) == ("PAID", Decimal("0.00"))
    assert invoice.payments[-1].reference == "Paid by the bookkeeper"
    books.check()


async def test_reads_can_lag_behind_writes(caller: Caller) -> None:
    books, clock = caller.sandbox.books, caller.sandbox.clock
    invoice = next(found for found in books.invoices.values() if found.status == "AUTHORISED" and found.amount_due)
    since = {"If-Modified-Since": f"{clock.now():%Y-%m-%dT%H:%M:%S}"}

    async def changed() -> int:
        rows = await caller.rows("Payments", {"page": "1"}, **since)
        _, body = await caller.get(f"Invoices/{invoice.id}")
        assert (json.loads(body)["Invoices"][0]["AmountPaid"] == float(invoice.amount_paid)) == bool(rows)
        return len(rows)

    await caller.control("POST", "lag", {"seconds": 5})
    books.pay(invoice.id, Decimal("1.00"))
    assert await changed() == 0
    clock.advance(timedelta(seconds=4))
    assert await changed() == 0
    clock.advance(timedelta(seconds=1))
    assert await changed() == 1
    books.pay(invoice.id, Decimal("1.00"))
    rows = await caller.rows("Payments", {"page": "1"}, **since)
    assert len(rows) == 1
    await caller.control("POST", "lag", {"seconds": 0})
    assert await changed() == 2
    async with caller.http.post(f"{caller.sandbox.url}/sandbox/lag", json={"seconds": -1}) as response:
        assert response.status == 400


async def test_faults_can_be_in_force_from_the_start() -> None:
    settings = SandboxSettings(contacts=20, invoices=100, faults=(FaultRule(FaultKind.UNAVAILABLE),))
    for _ in range(2):  # the settings can be used again: rules count down on a copy
        async with serve(settings) as sandbox, aiohttp.ClientSession() as http:
            statuses = []
            for _ in range(2):
                async with http.get(f"{sandbox.url}/connections") as response:
                    statuses.append(response.status)
            assert statuses == [503, 401]


def test_the_command_knows_which_faults_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--fault", "meteor=0.1"])
    assert "argument --fault: there is no fault 'meteor'" in capsys.readouterr().err
