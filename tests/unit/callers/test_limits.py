"""So many streams of one name at once."""

from tieout_server.callers.limits import Streams


def test_a_stream_that_ends_makes_room_for_another() -> None:
    streams = Streams(2)
    assert [streams.open("a"), streams.open("a"), streams.open("a"), streams.open("b")] == [True, True, False, True]
    streams.close("a")
    assert streams.open("a")
    for name in ("a", "a", "b"):
        streams.close(name)
    assert not streams._open
