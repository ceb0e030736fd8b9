"""Which day it is for an organisation: what is overdue, and what is dated today, goes by its own calendar."""

from datetime import UTC, date, datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tieout_server import log
from tieout_server.ledger.documents import Organisation

logger = log.get("ledger")


def today_of(organisation: Organisation | None, now: datetime) -> date:
    """The date of this instant where the organisation is; UTC's as long as its time zone is not known."""
    name = organisation.time_zone if organisation else ""
    return now.astimezone(_zone(name) if name else UTC).date()


@cache  # there are as many as Xero has names for
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:  # stored by a newer version of this service
        logger.warning("time zone without data, taken for UTC", time_zone=name)
        return UTC
