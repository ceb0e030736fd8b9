"""What moves a connection, and what each state permits: every state against everything that can happen."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tieout_server.connections.state import (
    HAS_ACCESS,
    ConnectionState,
    Happening,
    check_can_choose_organisation,
    check_can_read,
    check_can_reconnect,
    move,
)
from tieout_server.errors import ConnectionNotUsableError, NotPermittedNowError
from tieout_server.ledger.links import Link, Owner, Reason, ReasonCode

AT = datetime(2026, 11, 22, tzinfo=UTC)
S = ConnectionState


def link(state: ConnectionState, **fields: Any) -> Link:  # noqa: ANN401 - any field of a link
    return Link(id="con_1", merchant_id="m", state=state, created_at=AT, updated_at=AT, **fields)


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize(
    ("happening", "after"),
    [
        (Happening.SEVERAL_ORGANISATIONS, S.PENDING_ORGANISATION),
        (Happening.ORGANISATION_SETTLED, S.CONNECTED),
        (Happening.ENDED, S.DISCONNECTED),
    ],
)
def test_a_consent_and_an_end_can_come_in_any_state(
    state: ConnectionState, happening: Happening, after: ConnectionState
) -> None:
    assert move(state, happening) is after


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize(
    ("happening", "after"),
    [(Happening.ACCESS_LOST, S.RECONNECT_REQUIRED), (Happening.ACCESS_REGAINED, S.CONNECTED)],
)
def test_only_what_has_access_can_lose_or_regain_it(
    state: ConnectionState, happening: Happening, after: ConnectionState
) -> None:
    if state in HAS_ACCESS:
        assert move(state, happening) is after
    else:
        with pytest.raises(NotPermittedNowError) as refusal:
            move(state, happening)
        assert refusal.value.facts["state"] == state


@pytest.mark.parametrize("state", S)
def test_an_organisation_is_chosen_only_where_there_are_several(state: ConnectionState) -> None:
    if state is S.PENDING_ORGANISATION:
        check_can_choose_organisation(link(state))
    else:
        with pytest.raises(NotPermittedNowError) as refusal:
            check_can_choose_organisation(link(state))
        assert refusal.value.facts["state"] == state


@pytest.mark.parametrize("state", S)
def test_what_was_connected_once_can_be_connected_again_in_any_state(state: ConnectionState) -> None:
    check_can_reconnect(link(state, xero_tenant_id="t"))
    with pytest.raises(NotPermittedNowError):
        check_can_reconnect(link(state))


@pytest.mark.parametrize("state", S)
def test_only_a_connected_one_is_read_and_the_others_say_who_must_act(state: ConnectionState) -> None:
    reason = Reason(code=ReasonCode.CREDENTIALS_EXPIRED, sentence="Gone.", owner=Owner.MERCHANT, observed_at=AT)
    if state is S.CONNECTED:
        check_can_read(link(state))
        return
    with pytest.raises(ConnectionNotUsableError) as refusal:
        check_can_read(link(state, reason=reason))
    expected = {
        "connection_id": "con_1",
        "state": state,
        "connection_reason": "CREDENTIALS_EXPIRED",
        "owner": "MERCHANT",
    }
    assert refusal.value.facts == expected
    assert state in refusal.value.sentence
