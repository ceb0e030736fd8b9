"""The command line as scripts use it: processes against a live server, JSON lines, exit codes."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from servers import Service, service
from tieout_sandbox import InvoiceType, Sandbox
from tieout_sandbox.books.documents import Role

pytestmark = [pytest.mark.timeout(60), pytest.mark.in_turn]

TIEOUT = str(Path(sys.executable).with_name("tieout"))


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Its output as JSON, one document a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """What it said of an error, as JSON."""
        return dict(json.loads(self.err.splitlines()[-1])["error"])


async def run(running: Service, *arguments: str, target: str = "") -> Ran:
    environment = {**os.environ, "TIEOUT_TARGET": target or running.target, "NO_COLOR": "1"}
    process = await asyncio.create_subprocess_exec(
        TIEOUT, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:  # cancelled: nothing of it stays behind
            process.kill()
            await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def running(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Service]:
    async with service(sandbox, sqlite_url) as made:
        yield made


async def test_from_consent_to_invoices(running: Service, sandbox: Sandbox) -> None:
    started = await run(running, "connect", "acme", "--no-browser", "--json")
    assert started.code == 0, started.err
    (answer,) = started.documents
    back = await running.browser.returned(answer["authorization_url"])
    await running.client.connections.complete_authorization(**back)
    followed = await run(running, "sync", "acme", "--follow", "--json")
    assert followed.code == 0, followed.err
    assert followed.documents[-1]["progress"]["sync"]["state"] == "SYNC_STATE_SUCCEEDED"

    customers, some, invoices, connections, fresh, synced = await asyncio.gather(
        run(running, "customers", "acme", "--limit", "0", "--json"),
        run(running, "customers", "acme", "--limit", "3", "--json"),
        run(running, "invoices", "acme", "--limit", "0", "--status", "authorised", "--json"),
        run(running, "connections", "--json"),
        run(running, "freshness", "acme", "--json"),
        run(running, "syncs", "acme", "--json"),
    )
    assert {ran.code for ran in (customers, some, invoices, connections, fresh, synced)} == {0}
    assert len(some.documents) == 3
    assert some.documents == customers.documents[:3]
    assert all(
        {"name", "outstanding", "overdue", "unapplied", "off_balance"} <= it.keys() for it in customers.documents
    )
    open_ones = [
        i for i in sandbox.books.invoices.values() if i.type is InvoiceType.ACCREC and i.status == "AUTHORISED"
    ]
    assert {it["id"] for it in invoices.documents} == {i.id for i in open_ones}
    assert [it["state"] for it in connections.documents] == ["CONNECTION_STATE_CONNECTED"]
    assert {"entities", "calls"} <= fresh.documents[0].keys()
    assert {it["state"] for it in synced.documents} == {"SYNC_STATE_SUCCEEDED"}


async def test_people_get_tables_and_sentences(running: Service) -> None:
    await running.connected()
    customers, connections, followed = await asyncio.gather(
        run(running, "customers", "acme", "--limit", "2"),
        run(running, "connections", "acme"),
        run(running, "sync", "acme", "--follow"),
    )
    assert "NZD" in customers.out
    assert "There are more" in customers.out
    assert "Harbour & Vine Ltd" in connections.out
    assert "connected" in connections.out
    assert "100.0 %" in followed.out
    assert {customers.code, connections.code, followed.code} == {0}


async def test_each_kind_of_trouble_has_its_exit_code(running: Service) -> None:
    waiting = (await running.client.connections.connect("waiting")).connection
    nobody, person, away, usage = await asyncio.gather(
        run(running, "customers", "nobody", "--json"),
        run(running, "sync", waiting.id, "--json"),
        run(running, "--timeout", "2", "connections", "--json", target="127.0.0.1:1"),
        run(running, "no-such-command"),
    )
    assert (nobody.code, nobody.error["reason"]) in {(2, "NOT_FOUND"), (2, "")}
    assert "nobody" in nobody.error["sentence"]
    assert (person.code, person.error["reason"]) == (3, "CONNECTION_NOT_USABLE")
    assert "tieout connect" in person.error["remedy"]
    assert away.code == 4
    assert usage.code == 2
    assert nobody.out == person.out == away.out == ""


async def test_all_violations_are_printed(running: Service) -> None:
    refused = await run(running, "connect", "x" * 300, "--return-url", "ftp://" + "y" * 3000, "--no-browser", "--json")
    assert refused.code == 2
    assert {violation["field"] for violation in refused.error["violations"]} == {"merchant_id", "return_url"}


async def test_an_organisation_is_chosen_by_its_name(running: Service, sandbox: Sandbox) -> None:
    names = [organisation.name for organisation in sandbox.organisations]
    await running.connect("acme", organisations=names)
    wrong = await run(running, "choose", "acme", "Nobody's Ltd", "--json")
    right = await run(running, "choose", "acme", names[1], "--json")
    assert (wrong.code, right.code) == (2, 0)
    assert right.documents[0]["organisation"]["name"] == names[1]


async def test_a_connection_that_breaks_is_examined_told_and_ended(running: Service, sandbox: Sandbox) -> None:
    connection = await running.connected()
    ada = sandbox.authority.user_by_email("ada.adviser@example.com")
    assert ada is not None
    well = await run(running, "check", "acme")
    sandbox.organisations[0].set_role(ada.id, Role.REMOVED, sandbox.clock.now())
    broken = await run(running, "check", "acme")
    assert (well.code, broken.code) == (0, 3)
    assert "✗ trouble" not in well.out
    assert "✗ trouble" in broken.out
    assert "Harbour & Vine Ltd (acme): reconnect required" in broken.out
    assert f"The merchant acts: `tieout reconnect {connection.id}` gives the address." in broken.out
    events, ended = await asyncio.gather(run(running, "events", "acme"), run(running, "connections", "acme"))
    newest, *_, first = events.out.splitlines()
    assert "reconnect required: " in newest
    assert first.endswith("consent asked for  [caller]")
    assert "who acts" in ended.out
    purged = await run(running, "disconnect", "acme", "--purge", "--yes", "--json")
    assert (purged.code, purged.documents[0]["state"]) == (0, "CONNECTION_STATE_DISCONNECTED")


async def test_connect_waits_for_the_consent_where_it_is_told_to(running: Service) -> None:
    waiting = asyncio.create_task(run(running, "connect", "acme", "--wait", "--no-browser", "--json"))
    async with asyncio.timeout(30):
        async for change in running.client.connections.watch(merchant_id="acme", from_start=True):
            if change.HasField("snapshot") or change.HasField("change"):
                break
    connection = (await running.client.connections.list(merchant_id="acme").first(1))[0]
    assert not waiting.done()
    started = await running.client.connections.connect("other")  # somebody else's does not end the wait
    await running.client.connections.complete_authorization(**await running.browser.returned(started.authorization_url))
    assert not waiting.done()
    waiting.cancel()
    assert connection.merchant_id == "acme"


async def test_a_payment_waits_for_its_account_and_is_then_seen_in_xero(running: Service, sandbox: Sandbox) -> None:
    connection = await running.connected()
    kauri = sandbox.books.create_contact("Kauri & Co")
    invoice = sandbox.books.create_invoice(kauri.id, Decimal("80.00"), currency="EUR")
    paid = ("acme", "--currency", "EUR", "--pays", f"{invoice.number}=80")
    checked = await run(running, "payments", "check", *paid)
    assert (checked.code, "Choose the bank account for EUR." in checked.out) == (3, True)
    export = ("payments", "export", *paid, "--payment-id", "pay-1", "--wait")
    failed = await run(running, *export, "--json")
    assert failed.code == 3, failed.err
    chosen = await run(running, "export-settings", "acme", "--account", "EUR=Euro Account")
    assert "are on their way again: 1." in chosen.out, chosen.err
    verified = await run(running, *export)
    assert (verified.code, "  verified: Seen in Xero" in verified.out) == (0, True), verified.err
    shown = await run(running, "payments", "list", connection.id, "--id", "pay-1", "--json")
    assert shown.documents[0]["xero_status"] == "XERO_STATUS_VERIFIED"
    (record,) = shown.documents[0]["xero_records"]
    assert [record["xero_id"]] == [it.id for it in invoice.payments]
    refused = await run(running, "payments", "reexport", shown.documents[0]["id"], "--json")
    assert (refused.code, refused.error["reason"]) == (2, "NOT_PERMITTED_NOW")
