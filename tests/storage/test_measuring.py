"""Whoever scrapes gets figures at once: the database is asked rarely, and not waited for when it is away."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager

import pytest
from sqlalchemy import event, text

from databases import add_connection
from fakes import SettableClock
from tieout_server import measuring
from tieout_server.errors import StorageUnavailableError
from tieout_server.measuring import Measuring, Sources
from tieout_server.storage.arrivals import kept_beside
from tieout_server.storage.database import POOL_SIZE, Database, Transaction
from tieout_server.storage.tables import connections
from tieout_server.work.homes import Homes
from tieout_server.work.replica import Replica
from tieout_server.xero.limits import Limits


@pytest.fixture
async def figures(database: Database) -> AsyncIterator[Measuring]:
    replica = Replica(database)
    async with kept_beside(database) as kept:
        clock = SettableClock()
        yield Measuring(Sources(database, kept, replica, Homes(database, replica, Limits(clock)), clock))


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """The statements that are sent to the database."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    engines = {engine.sync_engine for engine in (database._engine, database._writing)}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield sent
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def told(page: bytes, name: str) -> float:
    [line] = [line for line in page.decode().splitlines() if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


async def test_the_database_is_asked_once_however_often_somebody_scrapes(
    database: Database, figures: Measuring
) -> None:
    with statements(database) as sent:
        await figures.text()
        counted = len([statement for statement in sent if "count(" in statement])
        assert counted > 0
        for _ in range(10):
            await figures.text()
        assert len([statement for statement in sent if "count(" in statement]) == counted


async def test_a_count_that_took_long_is_not_soon_repeated(
    database: Database, figures: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "COUNT_EVERY", 0.0)
    with statements(database) as sent:
        await figures.text()
        counted = len(sent)
        await figures.text()  # at once, and it has taken more than nothing
        assert len(sent) == counted


async def test_figures_of_the_process_are_told_while_the_database_is_away(
    database: Database, figures: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted_at = told(await figures.text(), "tieout_tallied_timestamp_seconds")

    def away() -> AbstractAsyncContextManager[Transaction]:
        raise StorageUnavailableError("It is away.", "gone fishing")

    monkeypatch.setattr(measuring, "COUNT_EVERY", 0.0)
    monkeypatch.setattr(measuring, "SHARE", float("inf"))
    monkeypatch.setattr(database, "read", away)
    meanwhile = await figures.text()
    assert told(meanwhile, "tieout_database_connections_limit") > 0
    assert told(meanwhile, "tieout_tallied_timestamp_seconds") == counted_at


async def test_a_scrape_does_not_wait_for_a_database_that_hangs(
    database: Database, figures: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "COUNT_WITHIN", 0.05)
    async with AsyncExitStack() as all_of_them:
        for _ in range(POOL_SIZE):
            await (await all_of_them.enter_async_context(database.read())).execute(text("SELECT 1"))
        told_all_the_same = await figures.text()
    assert told(told_all_the_same, "tieout_database_connections_in_use") == POOL_SIZE


async def test_a_group_that_is_gone_is_not_told_any_more(
    database: Database, figures: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "COUNT_EVERY", -1.0)
    monkeypatch.setattr(measuring, "SHARE", float("inf"))
    await add_connection(database, "con")
    assert b'tieout_connections{health="",reason="",state=""} 1.0' in await figures.text()
    async with database.write() as tx:
        await tx.execute(connections.delete())
    assert b"tieout_connections{" not in await figures.text()
