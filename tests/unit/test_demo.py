"""The demo stands by itself: apart from other demos and from this shell's settings, and awake to what dies."""

import asyncio
import sys
from asyncio.subprocess import Process
from datetime import timedelta
from pathlib import Path

import pytest

from tieout_server import demo
from tieout_server.settings import Settings


async def test_settings_of_the_shell_stay_out_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEOUT_TOKEN", "of-another-server")
    monkeypatch.setenv("TIEOUT_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("HOME", "/home/somebody")
    environment = demo._environment(Path(".demo/7440"), "http://127.0.0.1:9440", 7440, 7441)
    assert "TIEOUT_TOKEN" not in environment
    assert environment["TIEOUT_LISTEN"] == "127.0.0.1:7440"
    assert environment["TIEOUT_DATABASE_URL"] == "sqlite:///.demo/7440/tieout.db"
    assert environment["HOME"] == "/home/somebody"


async def test_who_is_removed_in_the_sandbox_is_missed_within_seconds() -> None:
    environment = demo._environment(Path(".demo/7440"), "http://127.0.0.1:9440", 7440, 7441)
    settings = Settings(look_every=environment["TIEOUT_LOOK_EVERY"])  # type: ignore[arg-type] # as the environment has it
    assert settings.look_every <= timedelta(seconds=10)


async def test_the_sandbox_sends_its_webhooks_to_the_server_and_both_have_the_key() -> None:
    command = demo._sandbox(9440, 7441)
    environment = demo._environment(Path(".demo/7440"), "http://127.0.0.1:9440", 7440, 7441)
    assert "http://127.0.0.1:7441/xero/webhooks" in command
    assert environment["TIEOUT_WEB_LISTEN"] == "127.0.0.1:7441"
    assert environment["TIEOUT_XERO_WEBHOOK_KEY"] in command


async def test_a_server_that_dies_while_the_demo_waits_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "INTERRUPT_WITHIN", 0.01)
    sandbox, server = await python("import time; time.sleep(60)"), await python("raise SystemExit(3)")
    try:
        with pytest.raises(SystemExit, match=r"the server has ended; see .*server\.log"):
            await demo._until_interrupted({"sandbox": sandbox, "server": server}, demo.Stage(tmp_path, {}))
    finally:
        sandbox.kill()
        await sandbox.wait()


async def python(code: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code)
