"""What the doctor says of settings alone: each fault is named with the setting that mends it."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tieout_server.doctor import configuration
from tieout_server.doctor.findings import Finding, Level
from tieout_server.settings import Settings

KEY = f"k1:{base64.b64encode(bytes(32)).decode()}"
GOOD: dict[str, Any] = {
    "database_url": "postgresql://tieout@db/tieout",
    "vault_keys": KEY,
    "web_url": "https://tieout.example",
    "xero_client_id": "id",
    "xero_client_secret": "secret",
    "xero_webhook_key": "hook",
    "return_url_allow": "https://app.example/, http://localhost:3000",
}


READING = "openid offline_access accounting.contacts accounting.settings"
"""Scopes that need not end in .read to cover reading; those of documents come on top."""


async def found(**settings: object) -> list[Finding]:
    """What is not fine with these."""
    return [one for one in await configuration.examine(Settings(**(GOOD | settings))) if one.level is not Level.FINE]


async def test_good_settings_have_nothing_to_mend() -> None:
    assert await found() == []


@pytest.mark.parametrize(
    ("wrong", "level", "setting"),
    [
        ({"listen": "nowhere"}, Level.FAULT, "TIEOUT_LISTEN"),
        ({"web_listen": "127.0.0.1:99999"}, Level.FAULT, "TIEOUT_WEB_LISTEN"),
        ({"metrics_listen": "7442"}, Level.FAULT, "TIEOUT_METRICS_LISTEN"),
        ({"web_trusted_proxies": "10.0.0.1/8"}, Level.FAULT, "TIEOUT_WEB_TRUSTED_PROXIES"),
        ({"web_url": "tieout.example"}, Level.FAULT, "TIEOUT_WEB_URL"),
        ({"web_url": "http://tieout.example"}, Level.FAULT, "TIEOUT_WEB_URL"),
        ({"web_url": "http://localhost:7441", "listen": "0.0.0.0:7440"}, Level.WARNING, "TIEOUT_WEB_URL"),
        ({"xero_client_id": ""}, Level.FAULT, "TIEOUT_XERO_CLIENT_ID"),
        ({"xero_client_secret": ""}, Level.FAULT, "TIEOUT_XERO_CLIENT_SECRET"),
        ({"xero_scopes": "openid profile"}, Level.FAULT, "TIEOUT_XERO_SCOPES"),
        ({"xero_scopes": f"{READING} accounting.payments"}, Level.FAULT, "TIEOUT_XERO_SCOPES"),
        ({"xero_webhook_key": " , "}, Level.WARNING, "TIEOUT_XERO_WEBHOOK_KEY"),
        ({"clock_speed": 60}, Level.FAULT, "TIEOUT_CLOCK_SPEED"),
        ({"vault_keys": ""}, Level.FAULT, "TIEOUT_VAULT_KEYS"),
        ({"vault_keys": "k1:too-short"}, Level.FAULT, "TIEOUT_VAULT_KEYS"),
        ({"return_url_allow": "http://app.example"}, Level.WARNING, "https prefixes"),
        ({"return_url_allow": "https://*.example"}, Level.FAULT, "TIEOUT_RETURN_URL_ALLOW"),
        (
            {"xero_identity_url": "http://identity.example", "xero_plain_http": True},
            Level.WARNING,
            "TIEOUT_XERO_IDENTITY_URL",
        ),
        ({"xero_api_url": "http://127.0.0.1:9440"}, Level.FAULT, "all three"),
    ],
)
async def test_each_fault_is_named_with_what_mends_it(wrong: dict[str, object], level: Level, setting: str) -> None:
    findings = await found(**wrong)
    assert any(one.level is level and setting in one.remedy for one in findings), findings


@pytest.mark.parametrize("documents", ["accounting.invoices.read accounting.payments", "accounting.transactions"])
async def test_scopes_that_cover_reading_are_enough(documents: str) -> None:
    assert await found(xero_scopes=f"{READING} {documents}") == []


async def test_addresses_are_fine_only_where_each_of_them_is() -> None:
    [listening] = [one for one in await configuration.examine(Settings(listen="nowhere")) if one.check == "addresses"]
    assert listening.level is Level.FAULT


async def test_a_faster_clock_is_fine_beside_a_sandbox() -> None:
    hosts = dict.fromkeys(("xero_login_url", "xero_identity_url", "xero_api_url"), "http://127.0.0.1:9440")
    assert await found(clock_speed=60, **hosts) == []


async def test_a_key_file_that_others_may_read_is_named_and_none_is_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tieout.db'}"
    [missing] = await found(database_url=url, vault_keys="")
    assert missing.level is Level.WARNING
    file = tmp_path / "tieout.db.key"
    assert not file.exists()
    file.write_text(KEY)
    file.chmod(0o644)
    [open_to_all] = await found(database_url=url, vault_keys="")
    assert open_to_all.remedy == f"Run: chmod 600 {file}"
    file.chmod(0o600)
    assert await found(database_url=url, vault_keys="") == []


def test_what_is_not_understood_or_unknown_is_named_and_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEOUT_DATABASE_POOL", "many")
    monkeypatch.setenv("TIEOUT_WEB_URL", "https://tieout.example")
    given = {"TIEOUT_DATABASE_POOL": "many", "TIEOUT_WEBURL": "x", "TIEOUT_TARGET": "the client's", "HOME": "/"}
    settings, findings = configuration.read(given)
    assert (settings.database_pool, settings.web_url) == (10, "https://tieout.example")
    assert [(one.level, one.remedy) for one in findings] == [
        (Level.FAULT, "Correct TIEOUT_DATABASE_POOL."),
        (Level.WARNING, "Unset TIEOUT_WEBURL, or write TIEOUT_WEB_URL if that is meant."),
    ]
