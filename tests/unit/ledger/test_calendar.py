"""Which day it is depends on where the organisation is."""

from datetime import UTC, date, datetime

import pytest
import structlog

from tieout_server.ledger import calendar
from tieout_server.ledger.calendar import today_of
from tieout_server.ledger.documents import Organisation


def organisation(time_zone: str) -> Organisation:
    return Organisation(xero_tenant_id="t", name="Southern Hops Ltd", base_currency="NZD", time_zone=time_zone)


@pytest.mark.parametrize(
    ("time_zone", "at", "day"),
    [
        ("Pacific/Auckland", "2027-04-03T10:59", 3),  # +13:00, as it is summer there
        ("Pacific/Auckland", "2027-04-03T11:00", 4),
        ("Pacific/Auckland", "2027-04-04T11:59", 4),  # +12:00: it ended that night
        ("Pacific/Auckland", "2027-04-04T12:00", 5),
        ("Europe/London", "2027-03-27T23:59", 27),
        ("Europe/London", "2027-03-28T22:59", 28),  # +01:00 since that night
        ("Europe/London", "2027-03-28T23:00", 29),
        ("America/Los_Angeles", "2027-03-14T07:59", 13),
        ("America/Los_Angeles", "2027-03-15T06:59", 14),
        ("America/Los_Angeles", "2027-03-15T07:00", 15),
        ("", "2027-03-15T23:59", 15),
        ("", "2027-03-16T00:00", 16),
    ],
)
def test_it_is_the_day_that_it_is_where_the_organisation_is(time_zone: str, at: str, day: int) -> None:
    now = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert today_of(organisation(time_zone), now).day == day


def test_as_long_as_no_organisation_is_known_it_is_the_day_of_utc() -> None:
    assert today_of(None, datetime(2027, 3, 15, 23, 59, tzinfo=UTC)) == date(2027, 3, 15)


def test_a_zone_without_data_is_taken_for_utc_and_said_once() -> None:
    calendar._zone.cache_clear()
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            today = today_of(organisation("Atlantic/Atlantis"), datetime(2027, 3, 15, 23, 59, tzinfo=UTC))
            assert today == date(2027, 3, 15)
    assert [(line["log_level"], line["time_zone"]) for line in logs] == [("warning", "Atlantic/Atlantis")]
