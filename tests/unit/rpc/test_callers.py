"""Callers at the door of a real server: who is let in, for what, how often, until when, and what is on record of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from fakes import World, serving
from issuer import AUDIENCE, issuing
from tieout import Client, errors
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1.reconciliation_service_pb2 import SubmitPlatformBalancesRequest
from tieout_server.callers.authentication import WRONG_AT_ONCE
from tieout_server.callers.caller import Role
from tieout_server.callers.keys import make
from tieout_server.callers.registering import Registration, RegistrationError, Wanted
from tieout_server.connections.messages import Connect
from tieout_server.errors import StorageUnavailableError
from tieout_server.rpc.server import RpcServer
from tieout_server.storage import audit
from tieout_server.storage.audit import AuditEvent

Events = list[tuple[str, str, str, str]]


@asynccontextmanager
async def client_of(server: RpcServer, token: str = "") -> AsyncIterator[Client]:
    async with Client(f"127.0.0.1:{server.port}", token=token) as client:
        yield client


async def registered(around: World, name: str, *roles: Role, merchants: tuple[str, ...] = (), **more: Any) -> str:  # noqa: ANN401 - as Wanted has it
    wanted = Wanted(name=name, roles=frozenset(roles), merchants=merchants, **more)
    return await Registration(around.database, around.clock).add(wanted)


async def on_record(around: World) -> list[pb.AuditEvent]:
    """What is on record, by what was called (the clock stands still), once all of it is written."""
    await around.subjects.callers.audit.close()
    async with serving(around, token="root") as server, client_of(server, "root") as root:
        return sorted([it async for it in root.connections.list_audit_events()], key=lambda it: it.method)


def in_short(events: list[pb.AuditEvent]) -> Events:
    return [(it.caller, it.method.rpartition(".")[2], it.status, it.reason) for it in events]


async def test_a_key_opens_what_its_roles_permit(around: World) -> None:
    key = await registered(around, "console", Role.OPERATOR)
    async with serving(around) as server, client_of(server, key) as client:
        connection = (await client.connections.connect("m-1")).connection
        assert (await client.connections.get(connection.id)).merchant_id == "m-1"
        with pytest.raises(errors.CallerNotPermittedError) as refusal:
            await client.payment_exports.reexport_all(connection.id)
        assert refusal.value.metadata == {"role": "exporter"}


async def test_keys_are_rotated_one_beside_the_other(around: World) -> None:
    registration = Registration(around.database, around.clock)
    old = await registered(around, "console", Role.READER)
    new = await registration.new_key("console", None)
    async with serving(around) as server, client_of(server, old) as before, client_of(server, new) as after:
        await before.connections.list().first(1)
        await after.connections.list().first(1)
        await registration.revoke_key(old.split("_")[1])
        around.forget_callers()
        with pytest.raises(errors.CallerUnauthenticatedError):
            await before.connections.list().first(1)
        await after.connections.list().first(1)


async def test_a_key_expires(around: World) -> None:
    key = await registered(around, "console", Role.READER, key_life=timedelta(days=1))
    async with serving(around) as server, client_of(server, key) as client:
        await client.connections.list().first(1)
        around.clock.time += timedelta(days=1)
        with pytest.raises(errors.CallerUnauthenticatedError):
            await client.connections.list().first(1)


async def test_a_revoked_caller_is_out_within_seconds_and_its_open_watches_too(around: World) -> None:
    key = await registered(around, "console", Role.OPERATOR)
    async with serving(around) as server, client_of(server, key) as client:
        stub: Any = client.connections._stub
        watch = stub.WatchConnections(pb.WatchConnectionsRequest(), metadata=(("authorization", f"Bearer {key}"),))
        await watch.read()
        await Registration(around.database, around.clock).revoke("console")
        await client.connections.connect("m-1")  # it is known of a moment ago
        await watch.read()
        around.forget_callers()
        with pytest.raises(errors.CallerUnauthenticatedError):
            await client.connections.connect("m-1")
        async with client_of(server, await registered(around, "another", Role.OPERATOR)) as another:
            await another.connections.connect("m-1")
        with pytest.raises(aio.AioRpcError) as refusal:
            await watch.read()
        assert refusal.value.code().name == "UNAUTHENTICATED"


@pytest.mark.parametrize("wrong", ["wrong", f"tk_{'0' * 12}_{'A' * 43}", "a.b.c", "tk_"])
async def test_what_is_shown_and_no_good_is_refused(around: World, wrong: str) -> None:
    async with serving(around, token="right") as server, aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call: Any = channel.unary_unary(
            "/tieout.v1.ConnectionService/ListConnections",
            request_serializer=pb.ListConnectionsRequest.SerializeToString,
        )
        with pytest.raises(aio.AioRpcError) as refusal:
            await call(pb.ListConnectionsRequest(), metadata=(("authorization", f"Bearer {wrong}".encode()),))
        assert refusal.value.code().name == "UNAUTHENTICATED"


async def test_an_address_that_guesses_is_slowed_down_and_who_is_known_is_not(around: World) -> None:
    key = await registered(around, "console", Role.READER)
    async with serving(around, token="right") as server, client_of(server, key) as known:
        await known.connections.list().first(1)
        async with client_of(server, make().text) as guessing:
            for _ in range(int(WRONG_AT_ONCE)):
                with pytest.raises(errors.CallerUnauthenticatedError):
                    await guessing.connections.list().first(1)
            with pytest.raises(errors.CallerRateLimitedError) as refusal:
                await guessing.connections.list().first(1)
            assert refusal.value.retry_after.total_seconds() > 0
        await known.connections.list().first(1)
        async with client_of(server, "right") as root:
            await root.connections.list().first(1)


async def test_a_jwt_opens_what_it_says(around: World) -> None:
    async with issuing() as issuer:
        issuer.add_key("k1")
        settings = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE}
        async with serving(around, **settings) as server, client_of(server, issuer.token("k1")) as client:
            assert await client.connections.list(merchant_id="m-1").first(1) == []
            with pytest.raises(errors.CallerNotPermittedError):
                await client.connections.list(merchant_id="m-2").first(1)
            with pytest.raises(errors.CallerNotPermittedError):
                await client.connections.connect("m-1")


async def test_an_issuer_that_is_away_locks_out_neither_keys_nor_the_static_token(around: World) -> None:
    key = await registered(around, "console", Role.READER)
    async with issuing() as issuer:
        issuer.add_key("k1")
        issuer.is_away = True
        settings = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE, "token": "right"}
        async with serving(around, **settings) as server:
            for good in (key, "right"):
                async with client_of(server, good) as client:
                    await client.connections.list().first(1)
            async with client_of(server, issuer.token("k1")) as client:
                with pytest.raises(errors.IssuerUnavailableError):
                    await client.connections.get("c")


async def test_a_caller_that_calls_too_often_waits_and_others_do_not(around: World) -> None:
    keys = [await registered(around, name, Role.READER) for name in ("one", "two")]
    async with (
        serving(around, caller_rate=2.0) as server,
        client_of(server, keys[0]) as one,
        client_of(server, keys[1]) as two,
    ):
        for _ in range(4):
            await one.connections.list().first(1)
        with pytest.raises(errors.CallerRateLimitedError) as refusal:
            await one.connections.list().first(1)
        assert 0 < refusal.value.retry_after.total_seconds() <= 0.5
        await two.connections.list().first(1)
        around.forget_callers()
        await one.connections.list().first(1)


async def test_a_caller_has_so_many_streams_open_and_room_again_when_one_ends(around: World) -> None:
    key = await registered(around, "console", Role.READER)
    async with serving(around, caller_streams=1) as server, client_of(server, key) as client:
        first = client.connections.watch()
        await anext(first)
        stub: Any = client.connections._stub
        metadata = (("authorization", f"Bearer {key}"),)
        with pytest.raises(aio.AioRpcError) as refusal:
            await stub.WatchConnections(pb.WatchConnectionsRequest(), metadata=metadata).read()
        assert refusal.value.code().name == "RESOURCE_EXHAUSTED"
        await client.connections.list().first(1)
        await first.aclose()
        async with asyncio.timeout(10), aclosing(client.connections.watch()) as second:
            await anext(second)  # the client tries again until the server has noticed


async def test_where_callers_are_not_told_apart_there_is_no_limit(around: World) -> None:
    async with serving(around, caller_rate=1.0) as server, client_of(server) as client:
        for _ in range(20):
            await client.connections.list().first(1)


# What is on record


async def test_every_act_is_on_record_with_its_outcome_and_no_read_is(around: World) -> None:
    key = await registered(around, "console", Role.OPERATOR)
    async with serving(around) as server, client_of(server, key) as client:
        connection = (await client.connections.connect("m-1", request_id="r-1")).connection
        await client.connections.get(connection.id)
        with pytest.raises(errors.NotPermittedNowError):
            await client.connections.reconnect(connection.id)
    connect, reconnect = await on_record(around)
    assert in_short([connect, reconnect]) == [
        ("console", "Connect", "OK", ""),
        ("console", "Reconnect", "FAILED_PRECONDITION", "NOT_PERMITTED_NOW"),
    ]
    assert (connect.merchant_id, connect.request_id, connect.peer) == ("m-1", "r-1", "127.0.0.1")
    assert (connect.authenticated_by, reconnect.connection_id) == ("key", connection.id)
    assert reconnect.merchant_id == "m-1"


async def test_what_is_not_permitted_is_on_record(around: World) -> None:
    key = await registered(around, "console", Role.READER, merchants=("m-1",))
    other = (await around.connections.connect(Connect("m-2"))).link
    async with serving(around) as server, client_of(server, key) as client:
        with pytest.raises(errors.CallerNotPermittedError):
            await client.connections.connect("m-1")
        with pytest.raises(errors.NotFoundError):
            await client.connections.get(other.id)
        with pytest.raises(errors.NotFoundError):
            await client.connections.get("con_nobodys")
        with pytest.raises(errors.CallerNotPermittedError):
            await client.connections.list(merchant_id="m-2").first(1)
    events = await on_record(around)
    refused = ("PERMISSION_DENIED", "CALLER_NOT_PERMITTED")
    assert in_short(events) == [
        ("console", "Connect", *refused),
        ("console", "GetConnection", *refused),
        ("console", "ListConnections", *refused),
    ]
    assert (events[1].connection_id, events[1].merchant_id) == (other.id, "m-2")


async def test_an_attempt_in_the_middle_of_a_stream_is_on_record_too(around: World) -> None:
    key = await registered(around, "console", Role.OPERATOR, merchants=("m-1",))
    own, other = [(await around.connections.connect(Connect(merchant))).link for merchant in ("m-1", "m-2")]

    async def messages() -> AsyncIterator[SubmitPlatformBalancesRequest]:
        yield SubmitPlatformBalancesRequest(connection_id=own.id, as_of=Timestamp(seconds=1))
        yield SubmitPlatformBalancesRequest(connection_id=other.id)

    async with serving(around) as server, client_of(server, key) as client:
        with pytest.raises(errors.NotFoundError):
            await client.reconciliations.submit_platform_balances(messages())
    told = {it.connection_id: (it.merchant_id, it.status) for it in await on_record(around)}
    assert told == {own.id: ("m-1", "NOT_FOUND"), other.id: ("m-2", "PERMISSION_DENIED")}


async def test_a_flood_of_refusals_does_not_fill_the_disk(around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tieout_server.rpc.callers.REFUSALS_AT_ONCE", 3.0)
    key = await registered(around, "console", Role.READER)
    async with serving(around) as server, client_of(server, key) as client:
        for _ in range(10):
            with pytest.raises(errors.CallerNotPermittedError):
                await client.connections.connect("m-1")
    assert len(await on_record(around)) == 3


async def test_nothing_is_done_that_cannot_be_put_on_record(around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_tx: object, _events: list[AuditEvent]) -> None:
        raise StorageUnavailableError("The database is away.", "it is a test")

    key = await registered(around, "console", Role.OPERATOR)
    async with serving(around) as server, client_of(server, key) as client:
        with monkeypatch.context() as patch:
            patch.setattr(audit, "insert", away)
            with pytest.raises(errors.StorageUnavailableError):
                await client.connections.connect("m-1")
        assert await client.connections.list().first(1) == []


async def test_the_record_is_read_by_what_is_asked_for(around: World) -> None:
    key = await registered(around, "console", Role.OPERATOR)
    limited = await registered(around, "limited", Role.OPERATOR, merchants=("m-2",))
    async with serving(around) as server, client_of(server, key) as client, client_of(server, limited) as other:
        first = (await client.connections.connect("m-1")).connection
        between = around.clock.now()
        around.forget_callers()
        await client.connections.disconnect(first.id)
        around.forget_callers()
        await other.connections.connect("m-2")
        await around.subjects.callers.audit.close()

        async def methods(of: Client, **asked: Any) -> list[str]:  # noqa: ANN401 - conditions of the list
            return [it.method.rpartition(".")[2] async for it in of.connections.list_audit_events(page_size=1, **asked)]

        assert await methods(client) == ["Connect", "Disconnect", "Connect"]
        assert await methods(client, merchant_id="m-1") == ["Disconnect", "Connect"]
        assert await methods(client, connection_id=first.id) == ["Disconnect"]
        assert await methods(client, caller="limited") == ["Connect"]
        assert await methods(client, since=between + timedelta(seconds=1)) == ["Connect", "Disconnect"]
        assert await methods(client, until=between + timedelta(seconds=1)) == ["Connect"]
        assert await methods(other) == ["Connect"]
        with pytest.raises(errors.NotFoundError):
            await methods(other, connection_id=first.id)


# Registering


async def test_a_name_is_given_once_and_a_revoked_one_is_not_given_again(around: World) -> None:
    registration = Registration(around.database, around.clock)
    await registered(around, "console", Role.READER)
    with pytest.raises(RegistrationError, match="registered already"):
        await registered(around, "console", Role.READER)
    await registration.revoke("console")
    for doing in (registration.revoke("console"), registration.new_key("console", None)):
        with pytest.raises(RegistrationError, match="no caller 'console'"):
            await doing
    with pytest.raises(RegistrationError, match="was revoked"):
        await registered(around, "console", Role.READER)


@pytest.mark.parametrize("name", ["", "local", "token", "jwt:me", "Console", "a b", "a" * 64, "a\x1fb", "-a"])
async def test_what_is_no_name_or_has_a_meaning_is_no_callers(around: World, name: str) -> None:
    with pytest.raises(RegistrationError, match="cannot be a caller's name"):
        await registered(around, name, Role.READER)


async def test_a_certificate_is_one_callers(around: World) -> None:
    assert await registered(around, "one", Role.READER, certificate="spiffe://x/one") == ""
    with pytest.raises(RegistrationError, match="another caller's"):
        await registered(around, "two", Role.READER, certificate="spiffe://x/one")


async def test_a_certificate_whose_caller_was_revoked_may_be_another_callers(around: World) -> None:
    registration = Registration(around.database, around.clock)
    await registered(around, "one", Role.READER, certificate="spiffe://x/one")
    await registration.revoke("one")
    await registered(around, "two", Role.OPERATOR, certificate="spiffe://x/one")
    found = await around.subjects.callers.directory.by_certificate(("spiffe://x/one",))
    assert found is not None
    assert (found.name, found.roles) == ("two", frozenset({Role.OPERATOR}))
    assert [(it.caller.name, it.caller.certificate) for it in await registration.everybody()] == [
        ("one", None),
        ("two", "spiffe://x/one"),
    ]


async def test_a_secret_is_not_in_the_database(around: World) -> None:
    key = await registered(around, "console", Role.READER)
    (listed,) = await Registration(around.database, around.clock).everybody()
    assert key.split("_", 2)[1] == listed.keys[0].id
    assert key.split("_", 2)[2] not in str(listed)
    assert listed.keys[0].digest.hex() not in key
