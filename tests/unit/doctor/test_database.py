"""How the doctor judges what a PostgreSQL server says of itself."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tieout_server.doctor.database import judged
from tieout_server.doctor.findings import Level
from tieout_server.settings import Settings
from tieout_server.storage.condition import Postgres

SETTINGS = Settings(database_url="postgresql://db/tieout", database_pool=10)


def server(**changes: object) -> Postgres:
    """A server as it should be, but for this."""
    good = Postgres(
        version=160_003,
        is_standby=False,
        is_read_only=False,
        synchronous_commit="on",
        fsync="on",
        full_page_writes="on",
        isolation="read committed",
        connections=97,
        size=123_456_789,
        now=datetime.now(UTC),
        is_pooled=False,
        lacking=(),
    )
    return msgspec.structs.replace(good, **changes)


def test_a_good_server_has_nothing_to_mend() -> None:
    found = judged(SETTINGS, server())
    assert {one.level for one in found} == {Level.FINE}
    assert found[0].seen == "PostgreSQL 16.3, 123.5 MB."


@pytest.mark.parametrize(
    ("change", "level", "remedy"),
    [
        ({"is_standby": True}, Level.FAULT, "TIEOUT_DATABASE_URL"),
        ({"is_read_only": True}, Level.FAULT, "TIEOUT_DATABASE_URL"),
        ({"version": 110_002}, Level.FAULT, "Upgrade"),
        ({"lacking": ("syncs",)}, Level.FAULT, "GRANT"),
        ({"isolation": "serializable"}, Level.FAULT, "default_transaction_isolation"),
        ({"fsync": "off"}, Level.FAULT, "fsync = on"),
        ({"full_page_writes": "off"}, Level.FAULT, "full_page_writes = on"),
        ({"synchronous_commit": "off"}, Level.FAULT, "synchronous_commit = on"),
        ({"connections": 12}, Level.FAULT, "TIEOUT_DATABASE_POOL"),
        ({"is_pooled": True}, Level.WARNING, "TIEOUT_DATABASE_LISTEN_URL"),
        ({"now": datetime.now(UTC) - timedelta(minutes=1)}, Level.FAULT, "NTP"),
    ],
)
def test_each_fault_is_named_with_what_mends_it(change: dict[str, object], level: Level, remedy: str) -> None:
    found = [one for one in judged(SETTINGS, server(**change)) if one.level is not Level.FINE]
    assert [(one.level, remedy in one.remedy) for one in found] == [(level, True)], found


def test_a_pooler_is_fine_where_there_is_a_way_around_it_to_listen() -> None:
    settings = Settings(database_url="postgresql://pooler/tieout", database_listen_url="postgresql://db/tieout")
    assert {one.level for one in judged(settings, server(is_pooled=True, connections=5))} == {Level.FINE}
