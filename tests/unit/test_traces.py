"""Traces are off unless they are asked for."""

from tieout_server import traces


def test_what_is_off_does_nothing() -> None:
    assert not traces.are_on()
    with traces.span("anything") as span:
        assert span is None
        assert traces.cause() is None
    assert traces.caller([("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]) is None
