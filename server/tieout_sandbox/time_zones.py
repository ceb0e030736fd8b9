"""Where the sandbox's organisations may be: the dates of their books are those of their time zone, as in Xero."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

_ZONES = {
    "AUSEASTERNSTANDARDTIME": "Australia/Sydney",
    "EASTERNSTANDARDTIME": "America/New_York",
    "GMTSTANDARDTIME": "Europe/London",
    "NEWZEALANDSTANDARDTIME": "Pacific/Auckland",
    "PACIFICSTANDARDTIME": "America/Los_Angeles",
    "SINGAPORESTANDARDTIME": "Asia/Singapore",
    "SOUTHAFRICASTANDARDTIME": "Africa/Johannesburg",
}
"""Those of the countries that Xero is sold in, by the names that Xero gives them (OpenAPI, TimeZone)."""


def date_in(timezone: str, at: datetime) -> date:
    """The date of this instant in a time zone; UTC's in one that the sandbox does not know."""
    return at.astimezone(ZoneInfo(_ZONES[timezone]) if timezone in _ZONES else UTC).date()
