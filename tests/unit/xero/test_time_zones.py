"""Xero's names of time zones are those of Windows, and become everybody's."""

from zoneinfo import ZoneInfo

import pytest
import structlog

from tieout_server.xero import time_zones
from tieout_server.xero.time_zones import time_zone


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("NEWZEALANDSTANDARDTIME", "Pacific/Auckland"),
        ("GMTSTANDARDTIME", "Europe/London"),
        ("PACIFICSTANDARDTIME", "America/Los_Angeles"),
        ("PACIFICSTANDARDTIME(MEXICO)", "America/Tijuana"),
        ("INDIASTANDARDTIME", "Asia/Kolkata"),
        ("UTC08", "Etc/GMT+8"),  # eight hours behind: the sign of these names is the other way round
        ("UTC+13", "Etc/GMT-13"),
    ],
)
def test_a_time_zone_of_xeros_is_known_by_the_name_that_everybody_uses(stated: str, name: str) -> None:
    assert time_zone(stated) == name


def test_of_every_name_there_is_data() -> None:
    assert {ZoneInfo(name).key for name in time_zones._NAMES.values()} == set(time_zones._NAMES.values())


def test_one_that_nobody_knows_is_none_and_said_once() -> None:
    time_zone.cache_clear()
    with structlog.testing.capture_logs() as logs:
        assert (time_zone("LUNARSTANDARDTIME"), time_zone("LUNARSTANDARDTIME"), time_zone("")) == ("", "", "")
    assert [(line["log_level"], line["time_zone"]) for line in logs] == [("warning", "LUNARSTANDARDTIME")]
