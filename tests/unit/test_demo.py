"""The demo stands by itself: apart from other demos and from this shell's settings, and awake to what dies."""

import asyncio
import sys
from asyncio.subprocess import Process
from datetime import timedelta
from pathlib import Path

import pytest

from tieout_sandbox import SandboxSettings, serve
from tieout_sandbox.books.causes import Cause, bring_about
from tieout_server.demo import sandbox, stage, steps
from tieout_server.demo.stage import Stage
from tieout_server.settings import Settings


async def test_settings_of_the_shell_stay_out_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEOUT_TOKEN", "of-another-server")
    monkeypatch.setenv("TIEOUT_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("HOME", "/home/somebody")
    environment = stage.environment(Path(".demo/7440"), "http://127.0.0.1:9440", 7440, 7441)
    assert "TIEOUT_TOKEN" not in environment
    assert environment["TIEOUT_LISTEN"] == "127.0.0.1:7440"
    assert environment["TIEOUT_DATABASE_URL"] == "sqlite:///.demo/7440/tieout.db"
    assert environment["HOME"] == "/home/somebody"


async def test_who_is_removed_in_the_sandbox_is_missed_within_seconds() -> None:
    environment = stage.environment(Path(".demo/7440"), "http://127.0.0.1:9440", 7440, 7441)
    settings = Settings(look_every=environment["TIEOUT_LOOK_EVERY"])  # type: ignore[arg-type] # as the environment has it
    assert settings.look_every <= timedelta(seconds=10)


async def test_the_sandbox_sends_its_webhooks_to_the_server_and_both_have_the_key() -> None:
    command = sandbox.command(9440, 7441)
    environment = stage.environment(Path(".demo/7440"), "http://127.0.0.1:9440", 7440, 7441)
    assert "http://127.0.0.1:7441/xero/webhooks" in command
    assert environment["TIEOUT_WEB_LISTEN"] == "127.0.0.1:7441"
    assert environment["TIEOUT_XERO_WEBHOOK_KEY"] in command


async def test_a_server_that_dies_while_the_demo_waits_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "INTERRUPT_WITHIN", 0.01)
    books, server = await python("import time; time.sleep(60)"), await python("raise SystemExit(3)")
    try:
        with pytest.raises(SystemExit, match=r"the server has ended; see .*server\.log"):
            await Stage(tmp_path, {}).until_interrupted({"sandbox": books, "server": server})
    finally:
        books.kill()
        await books.wait()


async def test_the_customer_of_the_demo_can_be_made_to_differ_as_it_is_told() -> None:
    contacts, invoices = (int(number) for number in sandbox.BOOKS[1::2])
    async with serve(SandboxSettings(contacts=contacts, invoices=invoices)) as xero:
        customer = xero.books.contact_named(steps.CUSTOMER)
        voided = bring_about(xero.books, Cause.MISSED_DELETION, customer.id)
        bring_about(xero.books, Cause.DRAFT_COUNTED, customer.id)
        assert xero.organisations[0].name == sandbox.ORGANISATION
        assert len([it for it in customer.documents if it.status == "AUTHORISED"]) > 1
        assert voided.documents[0].status == "VOIDED"


async def test_a_command_that_ends_otherwise_than_expected_ends_the_demo(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="tieout ended with 2"):
        await Stage(tmp_path, {}).run("tieout", "no-such-command", statuses=(0, 3))


async def python(code: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code)
