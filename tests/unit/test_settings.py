"""The settings: what would give secrets away is refused, and no repr shows one."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from tieout_server.exports.outcomes import SURE_AFTER
from tieout_server.exports.recovery import LOOKED_FOR
from tieout_server.exports.send import SEND_WITHIN
from tieout_server.ledger.writes import SENT_WITHIN
from tieout_server.settings import Settings

HOSTS = ("xero_login_url", "xero_identity_url", "xero_api_url")


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize(
    "url",
    [
        "http://api.xero.com", "http://sandbox:9440", "http://127.0.0.1.evil.example", "http://localhost@evil.example",
        "https://", "api.xero.com", "", "ftp://localhost", "//localhost",
    ],
)  # fmt: skip
def test_xero_is_spoken_to_in_the_clear_only_on_this_machine(name: str, url: str) -> None:
    with pytest.raises(ValidationError, match="TIEOUT_XERO_PLAIN_HTTP"):
        Settings.model_validate({name: url})


@pytest.mark.parametrize("name", HOSTS)
def test_xero_is_spoken_to_in_the_clear_elsewhere_when_told_outright(name: str) -> None:
    Settings.model_validate({name: "http://sandbox:9440", "xero_plain_http": True})
    with pytest.raises(ValidationError):
        Settings.model_validate({name: "ftp://sandbox:9440", "xero_plain_http": True})


@pytest.mark.parametrize("url", ["https://api.xero.com", "http://localhost:9440", "http://[::1]:1", "http://127.0.0.1"])
def test_xero_itself_and_a_sandbox_on_this_machine_need_no_word(url: str) -> None:
    assert Settings.model_validate(dict.fromkeys(HOSTS, url)).xero_api_url == url


@pytest.mark.parametrize("seconds", [0, 121])
def test_a_call_takes_no_longer_than_it_is_waited_for_before_a_payment_is_sent_again(seconds: int) -> None:
    longest = SEND_WITHIN + SENT_WITHIN + Settings(xero_timeout=timedelta(minutes=2)).xero_timeout
    assert longest < LOOKED_FOR < SURE_AFTER
    with pytest.raises(ValidationError, match="xero_timeout"):
        Settings(xero_timeout=timedelta(seconds=seconds))


def test_the_password_of_the_database_is_not_shown() -> None:
    url = "postgresql://tieout:a-secret-word@db/tieout"
    settings = Settings(database_url=url, database_listen_url=url)
    assert "a-secret-word" not in f"{settings!r} {settings}"


def test_what_stands_around_a_value_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that was made of a file ends with its last line's end."""
    monkeypatch.setenv("TIEOUT_TOKEN", "secret\n")
    monkeypatch.setenv("TIEOUT_LISTEN", " 127.0.0.1:7440 ")
    monkeypatch.setenv("TIEOUT_XERO_API_URL", "https://api.xero.com\n")
    read = Settings()
    told = (read.token.get_secret_value(), read.listen, read.xero_api_url)
    assert told == ("secret", "127.0.0.1:7440", "https://api.xero.com")


def test_a_file_that_is_set_to_nothing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEOUT_TLS_CERT_FILE", "")
    assert Settings().tls_cert_file is None
