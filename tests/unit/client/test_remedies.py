"""What the command line advises: it follows from the error, and from what the error is about."""

from datetime import timedelta

import pytest

from tieout import errors
from tieout.cli.remedies import remedy


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("PENDING_AUTHORISATION", "`tieout connect MERCHANT` gives a new address."),
        (
            "PENDING_ORGANISATION",
            "`tieout choose c1 ORGANISATION` picks one of those that `tieout connections c1` shows.",
        ),
        ("RECONNECT_REQUIRED", "`tieout reconnect c1` gives the address where the merchant mends it."),
    ],
)
@pytest.mark.parametrize("kind", [errors.ConnectionNotUsableError, errors.NotPermittedNowError])
def test_the_advice_follows_the_state_of_the_connection(
    kind: type[errors.TieoutError], state: str, advice: str
) -> None:
    facts = errors.Facts(metadata={"state": state, "connection_id": "c1"})
    assert remedy(kind("It is not connected.", facts)) == advice


def test_what_was_disconnected_is_reconnected_unless_it_never_was_connected() -> None:
    facts = errors.Facts(metadata={"state": "DISCONNECTED", "connection_id": "c1"})
    assert remedy(errors.ConnectionNotUsableError("It is over.", facts)).startswith("`tieout reconnect c1`")
    advice = "`tieout connect MERCHANT` makes a new connection."
    assert remedy(errors.NotPermittedNowError("It was never connected.", facts)) == advice


def test_a_connection_that_is_not_named_is_left_to_be_filled_in() -> None:
    assert remedy(errors.AccessRevokedError("Gone.")).startswith("`tieout reconnect CONNECTION`")


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("sync", "tieout syncs CONNECTION"),
        ("customer", "tieout customers"),
        ("invoice", "tieout invoices CONNECTION"),
        ("connection", "tieout connections"),
    ],
)
def test_what_was_not_found_is_looked_for_where_it_is_listed(kind: str, command: str) -> None:
    assert command in remedy(errors.NotFoundError("Gone.", errors.Facts(metadata={"kind": kind})))


@pytest.mark.parametrize(
    ("asked", "said"), [(6.2, "7 s"), (120, "120 s"), (121, "3 min"), (7200, "120 min"), (43_000, "12 h")]
)
def test_a_repeat_is_advised_when_the_service_asks_for_it(asked: float, said: str) -> None:
    facts = errors.Facts(reason="RATE_LIMITED", retry_after=timedelta(seconds=asked))
    assert remedy(errors.CallLimitError("Too many calls.", facts)) == f"Repeat it in {said}."


def test_a_server_that_did_not_answer_is_to_be_looked_for() -> None:
    assert "TIEOUT_TARGET" in remedy(errors.UnreachableError("No server answered."))
    assert "It may have happened" in remedy(errors.DeadlineError("Too late."))
