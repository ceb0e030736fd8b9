"""Markers are found again in whatever text they were put."""

from hypothesis import given
from hypothesis import strategies as st

from tieout_server.exports import markers


def test_markers_are_12_characters_and_never_alike() -> None:
    made = {markers.fresh() for _ in range(1_000)}
    assert len(made) == 1_000
    assert {len(marker) for marker in made} == {12}


@given(st.text())
def test_a_marker_is_found_in_every_text_that_it_was_put_into(text: str) -> None:
    marker = markers.fresh()
    marked = markers.marked(marker, text)
    assert len(marked) <= markers.REFERENCE
    assert marker in markers.within(("", marked))


def test_what_only_looks_alike_is_no_marker() -> None:
    assert markers.within(("TIE12345678", "XTIE123456789", "TIE1234567890", "TIE12345678U", "tie123456789")) == set()
    assert markers.within(("paid TIE123456789, thanks",)) == {"TIE123456789"}


def test_a_text_keeps_to_one_line() -> None:
    assert markers.marked("TIE123456789", " Card\n 4242 ") == "TIE123456789 Card 4242"
