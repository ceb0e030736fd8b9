"""`tieout-server serve` says in a sentence what it lacks."""

import sys

import pytest
import typer

from tieout_server.commands import serving


def test_traces_without_the_extra_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(typer.Exit) as left:
        serving.trace()
    assert left.value.exit_code == 2
    assert "tieout[server,telemetry]" in capsys.readouterr().err
