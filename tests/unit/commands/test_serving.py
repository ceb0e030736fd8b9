"""`tieout-server serve` says in a sentence what it lacks."""

import sys

import pytest
import typer

from tieout_server import log
from tieout_server.commands import serving


def test_a_misspelt_setting_is_warned_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(log_format="console", level="info")
    monkeypatch.setenv("TIEOUT_WEBURL", "https://tieout.example")
    monkeypatch.setenv("TIEOUT_WEB_URL", "https://tieout.example")
    serving.warn_of_strangers()
    (line,) = capsys.readouterr().err.splitlines()
    assert "TIEOUT_WEBURL is no setting" in line
    assert "write TIEOUT_WEB_URL" in line


def test_traces_without_the_extra_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(typer.Exit) as left:
        serving.trace()
    assert left.value.exit_code == 2
    assert "tieout[server,telemetry]" in capsys.readouterr().err
