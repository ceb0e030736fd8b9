"""What is due is done by one owner at a time, and freed when its owner goes or is gone."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from databases import add_connection
from tieout_server.storage import replicas, tables, work
from tieout_server.storage.database import Database
from tieout_server.storage.work import Lease, Task

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
MOMENT = timedelta(microseconds=1)
OWNERS = ("one", "two", "three", "gone")
SYNC, WRITE = Task("sync", "con1", "read"), Task("export", "con1", "write")


@pytest.fixture(autouse=True)
async def _connection(database: Database) -> None:
    await add_connection(database, "con1")
    async with database.write() as tx:
        for name in OWNERS:
            await replicas.join(tx, name, None, alone=False)


async def _wake(database: Database, task: Task = SYNC, *, priority: int = 10, at: datetime = NOW) -> None:
    async with database.write() as tx:
        await work.wake(tx, task, priority=priority, due_at=at)


async def _take(database: Database, owner: str = "one", task: Task = SYNC, now: datetime = NOW) -> Lease | None:
    async with database.write() as tx:
        return await work.take(tx, task, owner=owner, now=now)


async def _gone(database: Database, owner: str) -> None:
    async with database.write() as tx:
        await replicas.leave(tx, owner)


async def _due(
    database: Database, now: datetime = NOW, limit: int = 10, *, replica_id: str = "", lanes: Sequence[str] = ()
) -> list[Task]:
    async with database.read() as tx:
        return [due.task for due in await work.due(tx, now, limit, replica_id=replica_id, lanes=lanes)]


async def test_of_many_who_take_a_task_at_once_one_gets_it(database: Database) -> None:
    await _wake(database)
    leases = await asyncio.gather(*(_take(database, name) for name in OWNERS))
    assert [lease is not None for lease in leases].count(True) == 1
    assert await _due(database) == []


async def test_an_owner_who_goes_frees_its_own_work_at_once_and_nobody_elses(database: Database) -> None:
    for task in (SYNC, WRITE):
        await _wake(database, task)
    lease = await _take(database, "one", SYNC)
    await _take(database, "two", WRITE)
    async with database.write() as tx:
        assert await work.free(tx, "one", NOW) == 1
    assert await _due(database) == [SYNC]
    again = await _take(database, "three")
    assert lease
    assert again
    assert again.fence > lease.fence


async def test_all_that_a_process_held_that_is_gone_is_due_at_once(database: Database) -> None:
    for task in (SYNC, WRITE):
        await _wake(database, task)
        await _take(database, "gone", task)
    assert await _due(database, LATER) == []
    await _gone(database, "gone")
    assert len(await _due(database)) == 2


async def test_what_a_process_held_that_is_gone_is_taken_over_and_it_holds_nothing_any_more(database: Database) -> None:
    await _wake(database)
    lost = await _take(database)
    assert await _take(database, "two", now=LATER) is None
    await _gone(database, "one")
    taken = await _take(database, "two")
    assert lost
    assert taken
    async with database.write() as tx:
        assert not await work.hold(tx, lost)
        assert not await work.finish(tx, lost, again_at=NOW)
        assert await work.hold(tx, taken)


async def test_who_is_gone_holds_what_nobody_has_taken_over_yet(database: Database) -> None:
    """It was only asleep: what it has done is not thrown away as long as nobody else has begun to do it."""
    await _wake(database)
    lease = await _take(database)
    await _gone(database, "one")
    assert lease
    async with database.write() as tx:
        assert await work.hold(tx, lease)
        assert await work.finish(tx, lease, again_at=None)
    assert await _due(database) == []


async def test_of_an_organisation_that_is_at_home_elsewhere_nothing_is_due(database: Database) -> None:
    async with database.write() as tx:
        for name in ("here", "there"):
            await replicas.join(tx, name, None, alone=False)
        await tx.execute(tables.connections.update().values(xero_tenant_id="tenant-1"))
        await replicas.settle(tx, "tenant-1", "there")
    await _wake(database)
    assert await _due(database, replica_id="here") == []
    assert await _due(database, replica_id="there") == [SYNC]
    await _gone(database, "there")
    assert await _due(database, replica_id="here") == [SYNC]


async def test_what_is_woken_while_it_is_done_is_due_again(database: Database) -> None:
    await _wake(database)
    lease = await _take(database)
    await _wake(database)
    assert await _due(database) == [], "it is in somebody's hands"
    assert lease
    async with database.write() as tx:
        await work.finish(tx, lease, again_at=NOW + timedelta(hours=1))
    assert await _due(database) == [SYNC]


async def test_work_is_done_when_it_is_due_and_the_most_urgent_first(database: Database) -> None:
    await _wake(database, SYNC, priority=20, at=NOW)
    await _wake(database, WRITE, priority=10, at=NOW + MOMENT)
    assert await _due(database) == [SYNC]
    assert await _due(database, NOW + MOMENT) == [WRITE, SYNC]


async def test_a_later_wake_does_not_put_off_what_is_due(database: Database) -> None:
    await _wake(database)
    await _wake(database, at=NOW + timedelta(hours=1))
    assert await _due(database) == [SYNC]


async def test_it_is_known_when_there_is_something_to_do_next(database: Database) -> None:
    async def next_at() -> datetime | None:
        async with database.read() as tx:
            return await work.next_due_at(tx, NOW)

    assert await next_at() is None
    await _wake(database, WRITE, at=NOW - timedelta(hours=1))
    assert await next_at() is None, "what is due already may be for another process to do"
    await _wake(database, at=NOW + MOMENT)
    assert await next_at() == NOW + MOMENT
    await _take(database, now=NOW + MOMENT)
    assert await next_at() is None, "what is in somebody's hands is due when it is given back"


async def test_what_a_connection_at_work_has_to_wait_for_takes_no_place_of_others(database: Database) -> None:
    await add_connection(database, "con2")
    poll, export, other = Task("poll", "con1", "read"), Task("export", "con1", "write"), Task("poll", "con2", "read")
    await _wake(database)
    assert await _take(database)
    for task in (poll, export):
        await _wake(database, task, priority=5)
    await _wake(database, other, priority=50)
    assert await _due(database, limit=1) == [export, other]
    assert await _due(database, limit=1, lanes=["read"]) == [other]
    await _gone(database, "one")
    assert set(await _due(database, lanes=["read"])) == {SYNC, poll, other}
