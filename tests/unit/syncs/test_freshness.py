"""What a month comes to, from what it has cost so far."""

from datetime import UTC, date, datetime

import pytest

from tieout_server.ledger.books import Purpose
from tieout_server.storage.calls import Usage
from tieout_server.syncs.freshness import projected

MEGABYTE = 1_000_000


def used(purpose: Purpose, day: int, megabytes: int) -> Usage:
    return Usage(
        xero_tenant_id="t", used_on=date(2026, 11, day), purpose=purpose, call_count=1,
        bytes_wire=megabytes, bytes_body=megabytes * MEGABYTE,
    )  # fmt: skip


def test_a_rate_goes_on_to_the_end_of_the_month_and_what_came_once_does_not() -> None:
    rows = [used(Purpose.FIRST_SYNC, 1, 500), used(Purpose.POLL, 1, 2), used(Purpose.POLL, 10, 8)]
    now = datetime(2026, 11, 11, tzinfo=UTC)
    assert projected(rows, now) == (510 + 20) * MEGABYTE  # 10 MB in 10 days, and 20 days to come


def test_the_rate_counts_from_the_first_call_of_the_month() -> None:
    assert projected([used(Purpose.POLL, 21, 10)], datetime(2026, 11, 26, tzinfo=UTC)) == 20 * MEGABYTE


@pytest.mark.parametrize("rows", [[], [used(Purpose.POLL, 22, 10)]])
def test_before_a_day_has_been_seen_nothing_is_projected(rows: list[Usage]) -> None:
    assert projected(rows, datetime(2026, 11, 22, 23, tzinfo=UTC)) is None


def test_december_ends_with_the_year() -> None:
    row = Usage(xero_tenant_id="t", used_on=date(2026, 12, 1), purpose=Purpose.POLL, call_count=1, bytes_body=10)
    assert projected([row], datetime(2026, 12, 11, tzinfo=UTC)) == 31
