"""The sandbox's state: whatever was saved is there again, to the byte, and goes on."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import aiohttp
import pytest

from sandbox_caller import Caller
from sandbox_writer import WRITING_SCOPES, Writer
from tieout_sandbox import FaultKind, FaultRule, Sandbox, SandboxSettings, make_sandbox, serve
from tieout_sandbox.__main__ import take_up
from tieout_sandbox.books.truth import compact_truth
from tieout_sandbox.graph import GraphError, Shapes, frozen, thawed
from tieout_sandbox.state import copy_of, dump, load, load_file, save_file

COLLECTIONS = ("Contacts", "Invoices", "CreditNotes", "Overpayments", "Prepayments", "Payments", "Accounts", "Users")


@pytest.fixture
async def other(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    """Another sandbox with other books, earlier on the clock."""
    starts_at = sandbox.clock.now() - timedelta(days=9)
    async with serve(SandboxSettings(contacts=20, invoices=100, seed=77, speed=0, starts_at=starts_at)) as running:
        yield running


async def pages(caller: Caller) -> dict[str, object]:
    """Every collection as it is read."""
    params = {"page": "1", "pageSize": "1000", "includeArchived": "true"}
    return {name: await caller.rows(name, params) for name in COLLECTIONS}


async def test_another_sandbox_goes_on_where_the_first_was_saved(caller: Caller, other: Sandbox) -> None:
    await caller.connect(scope=WRITING_SCOPES)
    writer, books = Writer(caller), caller.sandbox.books
    invoice = writer.owed()
    books.pay(invoice.id, Decimal("1.00"))
    part = {"Invoice": {"InvoiceID": invoice.id}, "Amount": "1.00"}
    batch = {"Account": {"AccountID": writer.bank_id}, "Date": "2026-11-20", "Payments": [part]}
    assert (await writer.put("BatchPayments", {"BatchPayments": [batch]})).status == 200
    note = {"HistoryRecords": [{"Details": "Chased"}]}
    assert (await writer.put(f"Invoices/{invoice.id}/History", note)).status == 200
    history = (await writer.send("GET", f"Invoices/{invoice.id}/History")).body["HistoryRecords"]
    caller.sandbox.switches.balances_net_credits = False
    before = await pages(caller)
    load(other, dump(caller.sandbox))
    assert other.clock.now() == caller.sandbox.clock.now()
    taken = Caller(other, caller.http, caller.tokens, caller.tenant_id)
    form = {"grant_type": "refresh_token", "refresh_token": caller.tokens["refresh_token"]}
    status, taken.tokens = await taken.token(form)
    for name in ("BankTransactions", "BatchPayments"):
        assert await taken.rows(name) == await caller.rows(name) != []
    assert (status, other.switches.balances_net_credits) == (200, False)
    assert await pages(taken) == before
    kept = (await Writer(taken).send("GET", f"Invoices/{invoice.id}/History")).body["HistoryRecords"]
    assert (kept, len(kept) >= 1) == (history, True)
    other.books.check()
    made = other.books.create_contact("Made afterwards")
    assert made.id not in books.contacts
    assert other.books.pay(invoice.id).updated_at > invoice.updated_at


async def test_a_state_goes_over_http_and_back(caller: Caller) -> None:
    truth = compact_truth(caller.sandbox.books)
    url = f"{caller.sandbox.url}/sandbox/state"
    async with caller.http.get(url) as response:
        saved = await response.read()
    before = await pages(caller)
    for invoice in list(caller.sandbox.books.invoices.values()):
        if invoice.status == "AUTHORISED":
            caller.sandbox.books.pay(invoice.id)
    assert await pages(caller) != before
    async with caller.http.put(url, data=saved) as response:
        assert response.status == 200
    assert compact_truth(caller.sandbox.books) == truth
    assert await pages(caller) == before
    async with caller.http.put(url, data=b'{"format": "something else"}') as response:
        assert (response.status, "no saved state" in await response.text()) == (400, True)
    assert await pages(caller) == before


async def test_limits_go_on_counting(caller: Caller, other: Sandbox) -> None:
    used = (await caller.get("Organisation"))[0].headers["X-DayLimit-Remaining"]
    load(other, dump(caller.sandbox))
    left = other.limits.remaining(caller.tenant_id, "tieout-sandbox-app", other.clock.now())
    assert str(left.day) == used


async def test_calls_in_flight_are_no_part_of_the_state(caller: Caller, other: Sandbox) -> None:
    line, limits = (caller.tenant_id, "tieout-sandbox-app"), caller.sandbox.limits
    assert limits.admit(*line, caller.sandbox.clock.now()) is None
    load(other, dump(caller.sandbox))
    assert other.limits.in_flight(*line) == 0, "its call is not the other's"
    load(caller.sandbox, dump(other))
    assert limits.in_flight(*line) == 1, "it is still being answered"
    limits.release(*line)
    assert limits.in_flight(*line) == 0


async def test_webhooks_watch_the_loaded_books(caller: Caller, other: Sandbox) -> None:
    load(other, dump(caller.sandbox))
    assert all(organisation.books.observers for organisation in other.organisations)


async def test_fault_rules_go_on_with_the_calls_they_have_left(caller: Caller, other: Sandbox) -> None:
    rule = FaultRule(FaultKind.ANSWER, "/users", times=2, status=418, body="teapot", organisation=caller.tenant_id)
    caller.sandbox.faults.add(rule)
    other.faults.add(FaultRule(FaultKind.OFFLINE, times=None))
    assert (await caller.get("Users"))[0].status == 418
    load(other, dump(caller.sandbox))
    assert other.faults.rules == [replace(rule, times=1)]
    assert rule.times == 1, "the first sandbox keeps its own"
    assert (await caller.get("Users"))[0].status == 418
    assert other.faults.rules[0].times == 1


async def test_a_fault_rule_that_nobody_could_have_made_is_refused(caller: Caller) -> None:
    caller.sandbox.faults.add(FaultRule(FaultKind.OFFLINE, "/users"))
    saved = dump(caller.sandbox).replace(b'"/users"', b'"("')
    with pytest.raises(ValueError, match="Not a regular expression"):
        load(caller.sandbox, saved)
    assert [rule.path for rule in caller.sandbox.faults.rules] == ["/users"]


@pytest.mark.parametrize("saved", [b"", b"[]", b"{", b'{"format": "tieout-sandbox 1", "root": 1, "objects": []}'])
async def test_what_is_no_state_is_refused_and_changes_nothing(caller: Caller, saved: bytes) -> None:
    before = compact_truth(caller.sandbox.books)
    with pytest.raises(ValueError, match=r"state|read"):
        load(caller.sandbox, saved)
    assert compact_truth(caller.sandbox.books) == before


def test_a_file_is_written_whole_for_its_owner_only_and_read_again(tmp_path: Path) -> None:
    sandbox = make_sandbox(SandboxSettings(contacts=20, invoices=100))
    path = tmp_path / "sandbox.json"
    load_file(sandbox, path)
    truth = compact_truth(sandbox.books)
    save_file(sandbox, path)
    sandbox.books.create_contact("Made after saving")
    load_file(sandbox, path)
    assert compact_truth(sandbox.books) == truth
    assert path.stat().st_mode & 0o077 == 0
    assert json.loads(path.read_bytes())["format"] == "tieout-sandbox 1"
    assert [found.name for found in tmp_path.iterdir()] == ["sandbox.json"]


async def test_a_file_that_could_not_be_written_at_the_end_is_refused_at_the_beginning(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with pytest.raises(NotADirectoryError, match="There is no folder"):
        take_up(sandbox, tmp_path / "nowhere" / "state.json")


async def test_copied_books_do_not_change_with_the_first(sandbox: Sandbox) -> None:
    copied = copy_of(sandbox.books)
    truth = compact_truth(copied)
    assert truth == compact_truth(sandbox.books)
    sandbox.books.create_contact("Only there")
    assert compact_truth(copied) == truth


@dataclass(eq=False)
class Knot:
    """Something that can point at itself."""

    other: object = None


def test_circles_and_long_chains_come_back_as_they_were() -> None:
    module = ModuleType("knots")
    Knot.__module__, module.Knot = "knots", Knot  # type: ignore[attr-defined] # a module may have anything
    shapes = Shapes([module], {})
    first = last = Knot()
    for _ in range(5_000):
        last.other = Knot()
        last = last.other
    last.other = first
    again = thawed(json.loads(json.dumps(frozen(first, shapes))), shapes)
    walked, steps = again.other, 1
    while walked is not again:
        walked, steps = walked.other, steps + 1
    assert steps == 5_001
    with pytest.raises(TypeError, match="No shape"):
        frozen(Knot(object()), shapes)
    with pytest.raises(GraphError):
        thawed({"root": ["r", 0], "objects": [["Popen", "rm"]]}, shapes)


async def test_the_command_keeps_its_state_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    command = [sys.executable, "-m", "tieout_sandbox", "--port", "0", "--contacts", "20", "--invoices", "100"]
    counts = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(*command, "--state", str(path), stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        url = line.split("TIEOUT_XERO_API_URL=")[1].split()[0]
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{url}/sandbox/books/Harbour%20&%20Vine%20Ltd") as response:
                counts.append(len((await response.json())["contacts"]))
            move = f"{url}/sandbox/books/Harbour%20&%20Vine%20Ltd/create_contact"
            async with http.post(move, json={"name": "Kept over the end"}) as response:
                assert response.status == (200 if len(counts) == 1 else 400)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert counts == [20, 21]
