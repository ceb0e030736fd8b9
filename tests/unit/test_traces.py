"""Traces are off unless they are asked for, and asking for them without the extra says what to install."""

import sys

import pytest

from tieout_server import __main__ as main
from tieout_server import traces


def test_what_is_off_does_nothing() -> None:
    assert not traces.are_on()
    with traces.span("anything") as span:
        assert span is None
        assert traces.cause() is None
    assert traces.caller([("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]) is None


def test_without_the_extra_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(SystemExit):
        main._trace()
    assert "tieout[server,telemetry]" in capsys.readouterr().err
