"""A slice of work is counted by how it ended, names itself in the log, and points to what woke it."""

import asyncio

import pytest
import structlog
from opentelemetry.trace import Link, SpanContext

from tieout_server import measures
from tieout_server.work.observed import CAUSES, Causes, Outcome, observed


def count(outcome: Outcome) -> float:
    labels = {"kind": "test", "outcome": outcome.value}
    return measures.REGISTRY.get_sample_value("tieout_work_total", labels) or 0.0


def in_hand() -> float:
    return measures.REGISTRY.get_sample_value("tieout_work_in_hand", {"kind": "test"}) or 0.0


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED, Outcome.LOST, Outcome.DATABASE_AWAY])
def test_a_slice_is_counted_by_what_became_of_it(outcome: Outcome) -> None:
    before = count(outcome)
    with observed("test", "con", None) as slice_:
        assert in_hand() == 1
        slice_.outcome = outcome
    assert (count(outcome), in_hand()) == (before + 1, 0)


def test_a_slice_that_is_broken_off_is_no_failure_and_not_done() -> None:
    before = {outcome: count(outcome) for outcome in Outcome}
    with pytest.raises(asyncio.CancelledError), observed("test", "con", None):
        raise asyncio.CancelledError
    assert {outcome for outcome in Outcome if count(outcome) != before[outcome]} == {Outcome.CANCELLED}


def test_lines_within_a_slice_name_it_and_those_after_it_do_not() -> None:
    with observed("test", "con_1", None):
        assert structlog.contextvars.get_contextvars() == {"kind": "test", "connection_id": "con_1"}
    assert structlog.contextvars.get_contextvars() == {}


def test_a_cause_is_told_once_and_too_many_are_forgotten_from_the_first_on() -> None:
    causes, link = Causes(), Link(SpanContext(1, 2, is_remote=False))
    for number in range(CAUSES + 1):
        causes.note("test", str(number), link)
    assert causes.of("test", "0") is None
    assert causes.of("test", "1") is link
    assert causes.of("test", "1") is None
