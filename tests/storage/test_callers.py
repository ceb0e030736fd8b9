"""Callers, owners and the audit log, on both kinds of database."""

import asyncio
from datetime import UTC, datetime, timedelta

from tieout_server.callers.audit import AuditLog
from tieout_server.callers.owners import Owners
from tieout_server.ledger.links import Link
from tieout_server.storage import audit, callers, connections, owners, retention
from tieout_server.storage.audit import AuditEvent, AuditQuery, Outcome
from tieout_server.storage.callers import Key, Registered
from tieout_server.storage.database import Database
from tieout_server.storage.owners import IDS, Owner
from tieout_server.storage.pages import Span

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALL = Span(limit=100)


def a_caller(name: str = "console", **fields: object) -> Registered:
    known: dict[str, object] = {"roles": ("reader",), "merchants": None, "certificate": None, "created_at": AT}
    return Registered(name=name, **(known | fields))  # type: ignore[arg-type] # as the tests have it


def an_event(number: int, **fields: str) -> AuditEvent:
    at = AT + timedelta(seconds=number)
    known = {"caller": "console", "authenticated_by": "key", "method": "S.M"} | fields
    return AuditEvent(id=f"e{number:04}", at=at, **known)


async def test_a_caller_and_its_keys_are_kept_as_they_were_registered(database: Database) -> None:
    caller = a_caller(roles=("reader", "exporter"), merchants=("m 1", "m,2"), certificate="spiffe://x/y")
    key = Key(id="k1", caller="console", digest=bytes(range(32)), created_at=AT, expires_at=AT + timedelta(days=1))
    async with database.write() as tx:
        assert not await callers.is_anybody_registered(tx)
        await callers.insert(tx, caller)
        await callers.insert_key(tx, key)
    async with database.read() as tx:
        assert await callers.is_anybody_registered(tx)
        assert await callers.key_of(tx, "k1") == (key, caller)
        assert await callers.key_of(tx, "k2") is None
        assert await callers.of_certificate(tx, ("other", "spiffe://x/y")) == caller
        assert await callers.of_certificate(tx, ("other",)) is None
        assert list(await callers.everybody(tx)) == [caller]


async def test_what_is_revoked_stays_known_and_is_revoked_once(database: Database) -> None:
    async with database.write() as tx:
        await callers.insert(tx, a_caller())
        await callers.insert_key(tx, Key(id="k1", caller="console", digest=b"x", created_at=AT))
        assert [await callers.revoke_key(tx, "k1", AT) for _ in range(2)] == [True, False]
        assert [await callers.revoke(tx, "console", AT) for _ in range(2)] == [True, False]
        found = await callers.get(tx, "console")
        assert found is not None
        assert found.revoked_at == AT
        assert (await callers.keys_of_all(tx))[0].revoked_at == AT
        assert await callers.is_anybody_registered(tx)


async def test_the_owner_of_a_thing_is_its_connections_merchant(database: Database) -> None:
    link = Link(id="con_1", merchant_id="m-1", state="CONNECTED", created_at=AT, updated_at=AT)
    async with database.write() as tx:
        await connections.insert(tx, link)
        for kind in IDS:  # each is a query that both databases understand
            assert await owners.find(tx, kind, ["nothing"]) == {}
    known = Owners(database)
    expected = {"con_1": Owner("m-1", "con_1")}
    assert await known.of("connection", ["con_1", "con_2"]) == expected
    await database.close()
    assert await known.of("connection", ["con_1"]) == expected  # it is remembered


async def test_an_event_is_there_before_and_its_outcome_after(database: Database) -> None:
    log = AuditLog(database)
    await log.begin(an_event(1))
    (found,), _ = await log.page(AuditQuery(), ALL)
    assert found.status == ""  # who reads it now, or after a kill, knows that it may have happened
    log.end(Outcome("e0001", "OK", ""))
    await log.close()
    (found,), _ = await log.page(AuditQuery(), ALL)
    assert found.status == "OK"


async def test_many_at_once_are_all_on_record(database: Database) -> None:
    log = AuditLog(database)

    async def act(number: int) -> None:
        await log.begin(an_event(number))
        log.end(Outcome(f"e{number:04}", "OK", ""))

    await asyncio.gather(*(act(number) for number in range(200)))
    log.note(an_event(200, status="PERMISSION_DENIED"))
    await log.close()
    found, following = await log.page(AuditQuery(), Span(limit=300))
    assert [it.status for it in found] == ["PERMISSION_DENIED"] + ["OK"] * 200
    assert following is None


async def test_pages_are_newest_first_and_meet_every_condition(database: Database) -> None:
    log = AuditLog(database)
    for number in range(6):
        await log.begin(an_event(number, merchant_id=f"m-{number % 2}", connection_id=f"con_{number % 3}"))
    first, following = await log.page(AuditQuery(), Span(limit=4))
    assert following is not None
    rest, none = await log.page(AuditQuery(), following)
    assert [it.id for it in (*first, *rest)] == [f"e{number:04}" for number in (5, 4, 3, 2, 1, 0)]
    assert none is None

    async def ids(asked: AuditQuery) -> list[str]:
        return [it.id for it in (await log.page(asked, ALL))[0]]

    assert await ids(AuditQuery(merchant_id="m-1")) == ["e0005", "e0003", "e0001"]
    assert await ids(AuditQuery(merchants={"m-0"}, connection_id="con_2")) == ["e0002"]
    assert await ids(AuditQuery(merchants=set())) == []
    assert await ids(AuditQuery(since=AT + timedelta(seconds=4))) == ["e0005", "e0004"]
    assert await ids(AuditQuery(until=AT + timedelta(seconds=1))) == ["e0000"]
    assert await ids(AuditQuery(caller="another")) == []


async def test_what_is_old_is_forgotten(database: Database) -> None:
    async with database.write() as tx:
        await audit.insert(tx, [an_event(number) for number in range(3)])
        assert await retention.forget_some(tx, retention.Kind.AUDIT_EVENTS, AT + timedelta(seconds=2)) == 2
        assert [it.id for it in (await audit.page(tx, AuditQuery(), ALL))[0]] == ["e0002"]
