"""The inbox of webhooks: one row per document, the latest event counts, in whatever order and however often told."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from databases import add_connection
from tieout_server.ledger.documents import Entity
from tieout_server.storage import webhooks
from tieout_server.storage.database import Database
from tieout_server.storage.webhooks import ANY, Named, following

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
async def connection(database: Database) -> None:
    await add_connection(database, "c1")


def named(seconds: int = 0, xero_id: str = "i1", kind: str = "UPDATE") -> Named:
    return Named(entity=Entity.INVOICES, xero_id=xero_id, kind=kind, event_at=NOW + seconds * SECOND)


async def put(database: Database, *some: Named, at: datetime = NOW) -> None:
    async with database.write() as tx:
        await webhooks.put(tx, "c1", some, at)


async def due(database: Database, at: datetime = NOW) -> list[Named]:
    async with database.read() as tx:
        return list(await webhooks.due(tx, "c1", at, 100))


async def test_whatever_the_order_of_events_the_latest_one_stays(database: Database) -> None:
    for order in permutations((0, 1, 2)):
        async with database.write() as tx:
            await webhooks.forget(tx, "c1")
        for seconds in order:
            await put(database, named(seconds))
        assert await due(database) == [named(2)]


async def test_a_duplicate_does_not_begin_the_tries_again(database: Database) -> None:
    await put(database, named())
    async with database.write() as tx:
        await webhooks.put_off(tx, "c1", [named()], NOW + SECOND)
    await put(database, named())
    assert await due(database) == []
    (again,) = await due(database, NOW + SECOND)
    assert again.tries == 1
    await put(database, named(1))
    assert await due(database) == [named(1)]


async def test_what_was_read_goes_unless_a_later_event_came_meanwhile(database: Database) -> None:
    await put(database, named(), named(xero_id="i2"))
    in_hand = await due(database)
    await put(database, named(1))
    async with database.write() as tx:
        await webhooks.take_out(tx, "c1", in_hand)
        await webhooks.put_off(tx, "c1", in_hand, NOW + SECOND)
    assert await due(database) == [named(1)]


async def test_an_event_and_what_follows_are_kept_beside_each_other(database: Database) -> None:
    follows = following(Entity.INVOICES, "i1")
    for some in ((named(-5), follows), (follows, named(-5))):
        for one in some:
            await put(database, one)
        in_hand = await due(database)
        assert sorted(one.follows for one in in_hand) == [False, True]
        async with database.write() as tx:
            await webhooks.take_out(tx, "c1", [one for one in in_hand if one.follows])
        assert await due(database) == [named(-5)]
        async with database.write() as tx:
            await webhooks.take_out(tx, "c1", [named(-5)])
        assert await due(database) == []


async def test_what_follows_again_while_it_is_read_is_read_once_more(database: Database) -> None:
    follows = following(Entity.PAYMENTS)
    await put(database, follows)
    (in_hand,) = await due(database)
    assert (in_hand.xero_id, in_hand.follows) == (ANY, True)
    await put(database, follows, at=NOW + SECOND)
    async with database.write() as tx:
        await webhooks.take_out(tx, "c1", [in_hand])
    assert len(await due(database, NOW + SECOND)) == 1


async def test_the_next_one_is_known_and_old_ones_are_forgotten(database: Database) -> None:
    async with database.read() as tx:
        assert await webhooks.next_due_at(tx, "c1") is None
    await put(database, named())
    async with database.write() as tx:
        await webhooks.put_off(tx, "c1", [named()], NOW + SECOND)
    async with database.read() as tx:
        assert await webhooks.next_due_at(tx, "c1") == NOW + SECOND
    async with database.write() as tx:
        assert await webhooks.prune(tx, NOW) == 0
        assert await webhooks.prune(tx, NOW + SECOND) == 1
    assert await due(database, NOW + SECOND) == []


async def test_a_delivery_is_heard_of_to_the_minute(database: Database) -> None:
    async with database.read() as tx:
        assert await webhooks.last_heard(tx) is None
    for seconds, heard in ((0, 0), (59, 0), (61, 61), (30, 61)):
        async with database.write() as tx:
            await webhooks.heard(tx, NOW + seconds * SECOND)
        async with database.read() as tx:
            assert await webhooks.last_heard(tx) == NOW + heard * SECOND
