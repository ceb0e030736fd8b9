"""What one process commits wakes the others at once; what could not be heard is made up for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from servers import until
from tieout_server.storage import events, notices
from tieout_server.storage.database import Database, DatabaseUrlError
from tieout_server.storage.notices import Notices, notify

pytestmark = pytest.mark.timeout(60)

CHANNEL = "tieout_test"
_AT = datetime(2026, 11, 22, tzinfo=UTC)


@contextlib.asynccontextmanager
async def listening(heard: Notices) -> AsyncIterator[None]:
    task = asyncio.create_task(heard.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Database]:
    opened = Database(postgres_url)
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "LONGEST_PAUSE", 0.05)


@pytest.fixture
def told() -> list[str | None]:
    return []


@pytest.fixture
async def heard(postgres: Database, told: list[str | None]) -> AsyncIterator[Notices]:
    made = Notices(postgres)
    made.listen(CHANNEL, told.append)
    async with listening(made):
        await until(lambda: told == [None])
        yield made


def end_listeners(url: str) -> Iterator[int]:
    """End the connections that listen, as an administrator does; tells of each."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        ).fetchall()
        for (pid,) in found:
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
            yield pid


async def test_what_is_committed_is_heard_in_the_order_of_commits(
    heard: Notices, postgres: Database, told: list[str | None]
) -> None:
    assert heard.is_heard
    for number in range(3):
        async with postgres.write() as tx:
            await notify(tx, CHANNEL, str(number))
            await notify(tx, CHANNEL, str(number))
    await until(lambda: len(told) == 4)
    assert told == [None, "0", "1", "2"]


@pytest.mark.usefixtures("heard")
async def test_what_is_rolled_back_is_never_heard(postgres: Database, told: list[str | None]) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with postgres.write() as tx:
            await notify(tx, CHANNEL, "undone")
            raise ZeroDivisionError
    async with postgres.write() as tx:
        await notify(tx, CHANNEL, "done")
    await until(lambda: len(told) > 1)
    assert told == [None, "done"]


@pytest.mark.usefixtures("heard")
async def test_nobody_hears_other_channels(postgres: Database, told: list[str | None]) -> None:
    async with postgres.write() as tx:
        await notify(tx, "tieout_other", "x")
        await notify(tx, CHANNEL, "y")
    await until(lambda: len(told) > 1)
    assert told == [None, "y"]


async def test_after_a_broken_connection_everybody_is_told_that_anything_may_have_happened(
    heard: Notices, postgres: Database, postgres_url: str, told: list[str | None]
) -> None:
    assert len(list(end_listeners(postgres_url))) == 1
    await until(lambda: told == [None, None])
    assert heard.is_heard
    async with postgres.write() as tx:
        await notify(tx, CHANNEL, "again")
    await until(lambda: len(told) == 3)
    assert told[-1] == "again"


async def test_while_postgresql_cannot_be_reached_nothing_is_raised_and_nothing_is_heard(
    postgres: Database, told: list[str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing listens at this address; one outage is one line in the log, however often it is tried."""
    away = Notices(postgres, "postgresql://127.0.0.1:1/nowhere")
    away.listen(CHANNEL, told.append)
    async with listening(away):
        await asyncio.sleep(0.3)
    assert not away.is_heard
    assert told == []
    assert capsys.readouterr().out.count("the database is away") == 1


async def test_an_event_tells_how_far_the_log_goes(heard: Notices, postgres: Database, told: list[str | None]) -> None:
    positions: list[str | None] = []
    further = Notices(postgres)
    further.listen(events.CHANNEL, positions.append)
    async with listening(further):
        await until(lambda: positions == [None])
        async with postgres.write() as tx:
            last = [await events.append(tx, _event()) for _ in range(2)][-1]
        await until(lambda: len(positions) == 3)
    assert positions[-1] == str(last)
    assert told == [None]
    assert heard.is_heard


def _event() -> events.Event:
    return events.Event(0, "c", "sync", "s", _AT, b"{}")


async def test_with_sqlite_nobody_is_told_and_nobody_waits(sqlite_url: str, told: list[str | None]) -> None:
    database = Database(sqlite_url)
    alone = Notices(database)
    alone.listen(CHANNEL, told.append)
    async with listening(alone):
        async with database.write() as tx:
            await notify(tx, CHANNEL, "x")
        await asyncio.sleep(0)
    await database.close()
    assert not alone.is_heard
    assert told == []


@pytest.mark.parametrize("url", ["nonsense", "sqlite:///x.db", "mysql://127.0.0.1/x"])
async def test_a_url_to_listen_at_is_one_of_postgresql(postgres: Database, url: str) -> None:
    with pytest.raises(DatabaseUrlError, match="TIEOUT_DATABASE_LISTEN_URL"):
        Notices(postgres, url)


async def test_sqlite_takes_no_url_to_listen_at(sqlite_url: str, postgres_url: str) -> None:
    database = Database(sqlite_url)
    with pytest.raises(DatabaseUrlError, match="TIEOUT_DATABASE_LISTEN_URL"):
        Notices(database, postgres_url)
    await database.close()
