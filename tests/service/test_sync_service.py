"""SyncService from a client's side: asked for once, watched, cancelled, told what it cost."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from servers import Service, service, small_pages
from tieout import errors
from tieout.syncs import ENDED
from tieout.v1 import sync_service_pb2 as pb
from tieout.v1.types_pb2 import ENTITY_ACCOUNTS, ENTITY_CONTACTS, ENTITY_INVOICES, Entity
from tieout_sandbox import FaultKind, FaultRule, Sandbox

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def running(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Service]:
    async with service(sandbox, sqlite_url) as made:
        yield made


@pytest.fixture
async def held_up(running: Service, sandbox: Sandbox) -> tuple[str, str]:
    """A connection, and its first sync, which will not end today: Xero has no calls left."""
    sandbox.faults.add(FaultRule(FaultKind.LIMIT_DAY, "/(Accounts|Contacts|Invoices)$", times=1_000_000))
    connection = await running.connect()
    async with contextlib.aclosing(running.client.syncs.watch_connection(connection.id)) as messages:
        began = await anext(m.progress async for m in messages if m.HasField("progress"))
    return connection.id, began.sync.id


async def test_the_first_sync_begins_by_itself_and_tells_its_whole_story(running: Service, sandbox: Sandbox) -> None:
    with small_pages(50):
        connection = await running.connect()
        told = await running.first_sync(connection.id)
    last = told[-1]
    assert (last.sync.mode, last.sync.requested_by) == (pb.SYNC_MODE_FULL, "connect")
    assert last.sync.state == pb.SYNC_STATE_SUCCEEDED
    assert last.phase == pb.SYNC_PHASE_SETTLED
    assert last.percent == last.sync.percent == 100
    assert [m.milestone for m in last.milestones] == [
        pb.MILESTONE_COLLECTIBLE_READY, pb.MILESTONE_HISTORY_COMPLETE,
    ]  # fmt: skip
    phases = [progress.phase for progress in told]
    assert phases == sorted(phases)
    assert {line.entity for line in last.entities} == set(Entity.values()) - {0}
    assert {line.state for line in last.entities} == {pb.ENTITY_STATE_DONE}
    invoices = next(line for line in last.entities if line.entity == ENTITY_INVOICES and not line.open_only)
    assert invoices.fetched == invoices.expected
    reads = sandbox.requests.find(path="/api.xro/", status=200)
    assert last.sync.calls == len([r for r in reads if "Organisation" not in r.path and "Users" not in r.path])
    assert last.sync.bytes_wire > 0
    assert (await running.client.connections.get(connection.id)).HasField("last_synced_at")
    assert await running.client.syncs.get(last.sync.id) == last.sync


async def test_a_sync_under_way_is_joined_and_never_doubled(running: Service, held_up: tuple[str, str]) -> None:
    connection, sync_id = held_up
    for mode in (pb.SYNC_MODE_FULL, pb.SYNC_MODE_INCREMENTAL):
        answer = await running.client.syncs.start(connection, mode=mode)
        assert (answer.joined, answer.sync.id) == (True, sync_id)
    assert [sync.id async for sync in running.client.syncs.list(connection)] == [sync_id]


async def test_a_repeated_start_is_answered_as_the_first_and_other_content_is_refused(running: Service) -> None:
    connection = await running.connected()
    syncs = running.client.syncs
    first = await syncs.start(connection.id, request_id="r1")
    assert not first.joined
    assert await syncs.start(connection.id, request_id="r1") == first
    with pytest.raises(errors.RequestIdReusedError):
        await syncs.start(connection.id, mode=pb.SYNC_MODE_FULL, request_id="r1")
    assert len(await syncs.list(connection.id).first(0)) == 2


async def test_a_sync_of_named_entities_reads_those_alone(running: Service, sandbox: Sandbox) -> None:
    connection = await running.connected()
    sandbox.requests.clear()
    last = (await running.sync(connection.id, mode=pb.SYNC_MODE_FULL, entities=[ENTITY_CONTACTS, ENTITY_ACCOUNTS]))[-1]
    assert last.sync.state == pb.SYNC_STATE_SUCCEEDED
    assert {line.entity for line in last.entities} == {ENTITY_CONTACTS, ENTITY_ACCOUNTS}
    assert sandbox.requests.count("/Invoices") == 0
    assert sandbox.requests.count("/Contacts") > 0


async def test_a_cancelled_sync_ends_and_keeps_what_it_read(running: Service, held_up: tuple[str, str]) -> None:
    connection, sync_id = held_up
    cancelled = await running.client.syncs.cancel(sync_id, request_id="r1")
    assert cancelled.state == pb.SYNC_STATE_CANCELLED
    assert cancelled.HasField("ended_at")
    assert await running.client.syncs.cancel(sync_id, request_id="r1") == cancelled
    told = [m.progress async for m in running.client.syncs.watch(sync_id) if m.HasField("progress")]
    assert told[-1].sync.state == pb.SYNC_STATE_CANCELLED
    again = await running.client.syncs.start(connection)
    assert not again.joined
    assert again.sync.mode == pb.SYNC_MODE_FULL  # nothing was ever read to its end


async def test_a_watch_of_a_sync_that_has_ended_says_so_and_ends(running: Service) -> None:
    connection = await running.connected()
    (sync,) = await running.client.syncs.list(connection.id).first(0)
    told = [message async for message in running.client.syncs.watch(sync.id)]
    assert [message.progress.sync.state for message in told] == [pb.SYNC_STATE_SUCCEEDED]


async def test_a_watch_of_a_connection_goes_on_over_its_syncs(running: Service) -> None:
    connection = await running.connected()
    ended: list[str] = []
    async with contextlib.aclosing(running.client.syncs.watch_connection(connection.id)) as messages:
        async for message in messages:
            sync = message.progress.sync
            if sync.state in ENDED and sync.id not in ended:
                ended.append(sync.id)
                if len(ended) == 3:
                    break
                await running.client.syncs.start(connection.id)
    assert len(set(ended)) == 3


async def test_syncs_are_listed_newest_first_over_pages_and_by_state(running: Service) -> None:
    connection = await running.connected()
    for _ in range(2):
        await running.sync(connection.id)
    syncs = running.client.syncs
    found = [sync async for sync in syncs.list(connection.id, page_size=1)]
    assert len({sync.id for sync in found}) == 3
    times = [sync.created_at.ToNanoseconds() for sync in found]
    assert times == sorted(times, reverse=True)
    assert [s.mode for s in found] == [pb.SYNC_MODE_INCREMENTAL, pb.SYNC_MODE_INCREMENTAL, pb.SYNC_MODE_FULL]
    assert await syncs.list(connection.id, states=[pb.SYNC_STATE_FAILED]).first(0) == []
    assert len(await syncs.list(connection.id, states=[pb.SYNC_STATE_SUCCEEDED]).first(0)) == 3


async def test_freshness_tells_what_is_here_and_what_it_cost(running: Service, sandbox: Sandbox) -> None:
    connection = await running.connected()
    sandbox.requests.clear()
    fresh = await running.client.syncs.freshness(connection.id)
    rows = {line.entity: line.rows for line in fresh.entities}
    assert rows[ENTITY_CONTACTS] == len(sandbox.books.contacts)
    assert rows[ENTITY_ACCOUNTS] == len(sandbox.books.accounts)
    assert all(line.HasField("watermark") and line.HasField("last_read_at") for line in fresh.entities)
    assert fresh.calls.used_this_minute + fresh.calls.left_this_minute == 60
    assert fresh.calls.used_this_minute > 7
    assert fresh.calls.left_today < 5_000
    assert sandbox.requests.count() == 0


async def test_a_connection_that_waits_for_a_person_is_not_synced(running: Service) -> None:
    started = await running.client.connections.connect("acme")
    with pytest.raises(errors.ConnectionNotUsableError) as refusal:
        await running.client.syncs.start(started.connection.id)
    assert refusal.value.code == "FAILED_PRECONDITION"
    assert refusal.value.metadata["state"] == "PENDING_AUTHORISATION"
    assert refusal.value.metadata["connection_id"] == started.connection.id


async def test_what_does_not_exist_is_not_found(running: Service) -> None:
    syncs = running.client.syncs
    for call, kind in (
        (syncs.start("con_none"), "connection"),
        (syncs.list("con_none").first(1), "connection"),
        (syncs.freshness("con_none"), "connection"),
        (anext(syncs.watch_connection("con_none")), "connection"),
        (syncs.get("syn_none"), "sync"),
        (syncs.cancel("syn_none"), "sync"),
        (anext(syncs.watch("syn_none")), "sync"),
    ):
        with pytest.raises(errors.NotFoundError) as refusal:
            await call
        assert refusal.value.metadata["kind"] == kind


async def test_all_that_is_wrong_with_a_request_is_named_at_once(running: Service) -> None:
    with pytest.raises(errors.InvalidRequestError) as refusal:
        await running.client.syncs.start("", mode=99, entities=[0], request_id="r" * 65)  # type: ignore[arg-type, list-item] # wrong on purpose
    assert {v.field for v in refusal.value.violations} == {"connection_id", "mode", "entities[0]", "request_id"}
    with pytest.raises(errors.InvalidRequestError):
        await anext(running.client.syncs.watch(""))
    connection = (await running.client.connections.connect("acme")).connection
    with pytest.raises(errors.InvalidRequestError) as refusal:
        await anext(running.client.syncs.watch_connection(connection.id, after="made-up"))
    assert [v.field for v in refusal.value.violations] == ["after"]


async def test_a_sync_that_is_not_held_cannot_be_decided_about(running: Service) -> None:
    connection = await running.connected()
    (sync,) = await running.client.syncs.list(connection.id).first(1)
    for decision in (pb.HELD_SYNC_DECISION_CONFIRM, pb.HELD_SYNC_DECISION_DISCARD):
        with pytest.raises(errors.NotPermittedNowError):
            await running.client.syncs.resolve_held(sync.id, decision)
    with pytest.raises(errors.NotFoundError):
        await running.client.syncs.resolve_held("another", pb.HELD_SYNC_DECISION_CONFIRM)
    with pytest.raises(errors.InvalidRequestError) as refusal:
        await running.client.syncs.resolve_held("", pb.HELD_SYNC_DECISION_UNSPECIFIED, note="n" * 1001)
    assert {v.field for v in refusal.value.violations} == {"sync_id", "decision", "note"}
