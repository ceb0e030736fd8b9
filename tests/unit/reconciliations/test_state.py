"""The life of a discrepancy: what can happen to it in which state."""

import pytest

from tieout_server.errors import NotPermittedNowError
from tieout_server.reconciliations.state import OPEN, DiscrepancyState, Happening, move

S, H = DiscrepancyState, Happening
AFTER = {
    H.EXPLAINED: S.CAUSE_FOUND,
    H.LEFT_TO_A_PERSON: S.NEEDS_ATTENTION,
    H.REPAIRED: S.SELF_HEALED,
    H.GONE: S.RESOLVED,
    H.ACKNOWLEDGED: S.ACKNOWLEDGED,
}


@pytest.mark.parametrize("state", [None, *DiscrepancyState])
def test_a_difference_opens_it_whatever_it_was(state: DiscrepancyState | None) -> None:
    assert move(state, H.SEEN) is S.OPENED


@pytest.mark.parametrize("happening", AFTER)
@pytest.mark.parametrize("state", OPEN)
def test_all_else_happens_while_it_is_open(state: DiscrepancyState, happening: Happening) -> None:
    assert move(state, happening) is AFTER[happening]


@pytest.mark.parametrize("happening", AFTER)
@pytest.mark.parametrize("state", [None, S.SELF_HEALED, S.RESOLVED])
def test_nothing_else_happens_to_one_that_is_over_or_was_never_there(
    state: DiscrepancyState | None, happening: Happening
) -> None:
    with pytest.raises(NotPermittedNowError):
        move(state, happening)
