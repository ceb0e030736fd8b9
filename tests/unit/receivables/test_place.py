"""A resume token of changes stands for exactly one place in one connection's changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_server.errors import InvalidRequestError
from tieout_server.ledger.documents import Entity
from tieout_server.receivables import place
from tieout_server.receivables.place import Bookmark, Place

NUMBERS = st.integers(0, 2**62)
WHAT_CAN_BE_KEPT = st.characters(exclude_characters="\0", codec="utf-8")


@given(
    number=NUMBERS,
    entity=st.sampled_from(Entity),
    name=st.text(WHAT_CAN_BE_KEPT, max_size=40),
    in_snapshot=st.booleans(),
)
def test_a_token_comes_back_as_the_place_that_it_was_made_of(
    number: int, entity: Entity, name: str, *, in_snapshot: bool
) -> None:
    bookmark = Bookmark(Place.of(number, entity, name), in_snapshot)
    assert place.decode("con1", place.encode("con1", bookmark), last=number) == bookmark


@given(number=NUMBERS, entity=st.sampled_from(Entity), name=st.text())
def test_the_end_of_a_number_lies_behind_all_with_it_and_before_the_next(
    number: int, entity: Entity, name: str
) -> None:
    assert Place.of(number, entity, name) < Place.end_of(number) < Place.of(number + 1, Entity.CONTACTS, "")
    assert Place.end_of(number).is_end
    assert not Place.of(number, entity, name).is_end


@given(text=st.text(max_size=80))
def test_what_is_no_token_is_refused_and_breaks_nothing(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        place.decode("con1", text, last=2**62)


def test_a_token_of_another_connection_or_of_the_future_is_refused() -> None:
    token = place.encode("con1", Bookmark(Place.end_of(5)))
    for connection_id, last in (("con2", 5), ("con1", 4)):
        with pytest.raises(InvalidRequestError):
            place.decode(connection_id, token, last=last)


def test_a_token_that_postgresql_cannot_be_asked_for_is_refused() -> None:
    token = place.encode("con1", Bookmark(Place.of(1, Entity.INVOICES, "a\0b")))
    with pytest.raises(InvalidRequestError):
        place.decode("con1", token, last=1)


def test_customers_are_told_before_their_documents() -> None:
    assert place.ORDER[0] is Entity.CONTACTS
    assert set(place.ORDER) == set(Entity)
