"""Where an export may move from where it stands."""

from itertools import product

import pytest

from tieout_server.errors import NotPermittedNowError
from tieout_server.exports.state import IN_XERO, OVER, REVERSIBLE, STUCK, UNDER_WAY, XeroStatus, move


def _moves(status: XeroStatus) -> set[XeroStatus]:
    found = set()
    for to in XeroStatus:
        try:
            found.add(move(status, to))
        except NotPermittedNowError:
            continue
    return found - {status}


def test_whatever_stands_somewhere_may_stay_there() -> None:
    assert [move(status, status) for status in XeroStatus] == list(XeroStatus)


def test_what_was_sent_and_never_answered_for_is_not_sent_again_before_it_was_looked_for() -> None:
    assert XeroStatus.SENDING not in _moves(XeroStatus.OUTCOME_UNKNOWN)
    assert XeroStatus.DISMISSED not in _moves(XeroStatus.OUTCOME_UNKNOWN) | _moves(XeroStatus.SENDING)


@pytest.mark.parametrize(("status", "to"), list(product(IN_XERO, UNDER_WAY)))
def test_what_is_in_xero_never_goes_there_again(status: XeroStatus, to: XeroStatus) -> None:
    with pytest.raises(NotPermittedNowError) as refused:
        move(status, to)
    assert refused.value.facts == {"state": status}


def test_only_what_is_stuck_waits_for_somebody_to_decide() -> None:
    assert all(_moves(status) - {XeroStatus.REVERSED} == {XeroStatus.QUEUED, XeroStatus.DISMISSED} for status in STUCK)


def test_only_what_is_stuck_or_was_not_sent_is_given_up() -> None:
    given_up = {status for status in XeroStatus if XeroStatus.DISMISSED in _moves(status)}
    assert given_up == {*STUCK, XeroStatus.QUEUED, XeroStatus.CHECKED}


def test_what_was_taken_back_or_given_up_stays_so() -> None:
    assert _moves(XeroStatus.REVERSED) == _moves(XeroStatus.DISMISSED) == set()


def test_only_what_we_put_into_xero_is_taken_back() -> None:
    was_removed_first = XeroStatus.REMOVED_IN_XERO
    assert {s for s in XeroStatus if XeroStatus.REVERSED in _moves(s)} == {*REVERSIBLE, was_removed_first}


def test_every_status_is_under_way_stuck_or_over_or_waits_to_be_seen() -> None:
    assert {*UNDER_WAY, *STUCK, *OVER, XeroStatus.EXPORTED} == set(XeroStatus)
    assert len(UNDER_WAY) + len(STUCK) + len(OVER) + 1 == len(XeroStatus)
