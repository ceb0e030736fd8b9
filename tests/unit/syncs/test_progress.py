"""Percent: what a watcher was told is never more than what the next owner goes on from."""

from hypothesis import given
from hypothesis import strategies as st

from tieout_server.ledger.books import Purpose
from tieout_server.ledger.documents import Entity
from tieout_server.syncs.plan import Line, Plan
from tieout_server.syncs.progress import percent
from tieout_server.syncs.state import SyncPhase


@given(st.integers(1, 10**7).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(0, rows))))
def test_percent_is_kept_as_it_is_told(counted: tuple[int, int]) -> None:
    expected, fetched = counted
    line = Line(
        name="invoices",
        entity=Entity.INVOICES,
        phase=SyncPhase.HISTORY,
        purpose=Purpose.FIRST_SYNC,
        expected=expected,
        fetched=fetched,
    )
    told = percent(Plan([line]), 0.0)

    assert told == round(told * 100) / 100  # as `storage.syncs` keeps it
    assert percent(Plan([line]), told) == told
