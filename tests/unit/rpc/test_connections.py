"""ConnectionService over a real socket, on a real database, with a scripted Xero."""

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from google.rpc import error_details_pb2 as details
from grpc import aio
from grpc_status import rpc_status

from fakes import World
from tieout.v1 import connection_service_pb2 as pb
from tieout_server.errors import AccessRevokedError, ConsentExpiredError, CredentialsExpiredError, XeroUnavailableError


def state_of(answer: pb.ConnectResponse | pb.ReconnectResponse) -> str:
    return parse_qs(urlsplit(answer.authorization_url).query)["state"][0]


async def connect(connections: Any, merchant_id: str = "m-1") -> pb.Connection:  # noqa: ANN401 - see conftest
    started = await connections.Connect(pb.ConnectRequest(merchant_id=merchant_id))
    completed = await connections.CompleteAuthorization(
        pb.CompleteAuthorizationRequest(state=state_of(started), code=f"code-{merchant_id}")
    )
    connection: pb.Connection = completed.connection
    return connection


def reason_of(error: aio.AioRpcError) -> str:
    return str(info_of(error).reason)


def info_of(error: aio.AioRpcError) -> details.ErrorInfo:
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # it takes the error of a call as well
    assert status is not None
    info = details.ErrorInfo()
    assert any(part.Unpack(info) for part in status.details)
    return info


async def test_a_new_connection_waits_for_consent(connections: Any) -> None:  # noqa: ANN401
    started = await connections.Connect(pb.ConnectRequest(merchant_id="m-1", return_url="https://app.example/done"))
    assert started.connection.state == pb.CONNECTION_STATE_PENDING_AUTHORISATION
    assert started.connection.health == pb.CONNECTION_HEALTH_UNSPECIFIED
    assert started.expires_at.ToDatetime() - started.connection.created_at.ToDatetime() == timedelta(minutes=30)


async def test_consent_connects(connections: Any) -> None:  # noqa: ANN401
    connection = await connect(connections)
    assert connection.state == pb.CONNECTION_STATE_CONNECTED
    assert connection.health == pb.CONNECTION_HEALTH_OK
    assert connection.organisation.name == "Southern Hops Ltd"
    assert connection.authorised_by.organisation_role == "STANDARD"
    assert list(connection.missing_scopes) == ["accounting.contacts.read"]
    assert connection.credentials_expire_at.ToDatetime() - connection.updated_at.ToDatetime() == timedelta(days=60)
    read = await connections.GetConnection(pb.GetConnectionRequest(connection_id=connection.id))
    assert read.connection == connection


async def test_no_secret_is_in_an_answer(connections: Any) -> None:  # noqa: ANN401
    assert "secret" not in str(await connect(connections))


async def test_a_repeat_with_the_same_request_id_gets_the_first_answer(connections: Any) -> None:  # noqa: ANN401
    request = pb.ConnectRequest(merchant_id="m-1", request_id="r-1")
    assert await connections.Connect(request) == await connections.Connect(request)
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.Connect(pb.ConnectRequest(merchant_id="m-2", request_id="r-1"))
    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason_of(refusal.value) == "REQUEST_ID_REUSED"


async def test_a_completed_consent_is_answered_again_by_its_request_id_only(connections: Any) -> None:  # noqa: ANN401
    started = await connections.Connect(pb.ConnectRequest(merchant_id="m-1"))
    request = pb.CompleteAuthorizationRequest(state=state_of(started), code="code-1", request_id="r-1")
    first = await connections.CompleteAuthorization(request)
    assert await connections.CompleteAuthorization(request) == first
    request.request_id = "r-2"
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.CompleteAuthorization(request)
    assert reason_of(refusal.value) == "CONSENT_STATE_INVALID"


async def test_a_consent_that_comes_too_late_is_refused(connections: Any, around: World) -> None:  # noqa: ANN401
    started = await connections.Connect(pb.ConnectRequest(merchant_id="m-1"))
    around.clock.time += timedelta(minutes=31)
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.CompleteAuthorization(pb.CompleteAuthorizationRequest(state=state_of(started), code="c"))
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(refusal.value) == "CONSENT_STATE_INVALID"


@pytest.mark.parametrize(
    ("trouble", "status", "reason"),
    [
        (ConsentExpiredError("Used."), grpc.StatusCode.FAILED_PRECONDITION, "CONSENT_EXPIRED"),
        (XeroUnavailableError("Away."), grpc.StatusCode.UNAVAILABLE, "XERO_UNAVAILABLE"),
        (KeyError("a bug"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
    ids=["refused", "away", "bug"],
)
async def test_what_goes_wrong_at_xero_has_its_reason(
    connections: Any,  # noqa: ANN401
    around: World,
    trouble: Any,  # noqa: ANN401
    status: grpc.StatusCode,
    reason: str,
) -> None:
    started = await connections.Connect(pb.ConnectRequest(merchant_id="m-1"))
    around.xero.trouble = trouble
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.CompleteAuthorization(pb.CompleteAuthorizationRequest(state=state_of(started), code="c"))
    assert (refusal.value.code(), reason_of(refusal.value)) == (status, reason)


async def test_an_organisation_is_chosen_where_there_are_several(connections: Any, around: World) -> None:  # noqa: ANN401
    around.xero.organisations = ["Hops", "Malt"]
    pending = await connect(connections)
    assert pending.state == pb.CONNECTION_STATE_PENDING_ORGANISATION
    assert [choice.name for choice in pending.organisation_choices] == ["Hops", "Malt"]
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.ChooseOrganisation(
            pb.ChooseOrganisationRequest(connection_id=pending.id, xero_tenant_id="tenant-code-m-1/Yeast")
        )
    assert reason_of(refusal.value) == "INVALID_REQUEST"
    request = pb.ChooseOrganisationRequest(connection_id=pending.id, xero_tenant_id="tenant-code-m-1/Malt")
    chosen = await connections.ChooseOrganisation(request)
    assert chosen.connection.organisation.name == "Malt"
    assert await connections.ChooseOrganisation(request) == chosen


async def test_a_connection_that_never_worked_is_not_reconnected(connections: Any) -> None:  # noqa: ANN401
    started = await connections.Connect(pb.ConnectRequest(merchant_id="m-1"))
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.Reconnect(pb.ReconnectRequest(connection_id=started.connection.id))
    assert reason_of(refusal.value) == "NOT_PERMITTED_NOW"


async def test_a_new_way_to_consent_closes_the_one_before(connections: Any) -> None:  # noqa: ANN401
    connection = await connect(connections)
    first = await connections.Reconnect(pb.ReconnectRequest(connection_id=connection.id))
    second = await connections.Reconnect(pb.ReconnectRequest(connection_id=connection.id))
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.CompleteAuthorization(pb.CompleteAuthorizationRequest(state=state_of(first), code="c"))
    assert reason_of(refusal.value) == "CONSENT_STATE_INVALID"
    again = await connections.CompleteAuthorization(
        pb.CompleteAuthorizationRequest(state=state_of(second), code="code-m-1")
    )
    assert again.connection.id == connection.id


async def test_connections_are_listed_oldest_first_page_by_page(connections: Any, around: World) -> None:  # noqa: ANN401
    made = []
    for number in range(5):
        around.clock.time += timedelta(seconds=number % 2)  # some of the same instant
        answer = await connections.Connect(pb.ConnectRequest(merchant_id=f"m-{number}"))
        made.append(answer.connection)
    listed, token = [], ""
    while True:
        page = await connections.ListConnections(pb.ListConnectionsRequest(page_size=2, page_token=token))
        listed += page.connections
        if not (token := page.next_page_token):
            break
    key = [(c.created_at.ToNanoseconds(), c.id) for c in listed]
    assert sorted(key) == key
    assert {c.id for c in listed} == {c.id for c in made}
    assert len(listed) == 5


async def test_a_list_keeps_to_merchant_and_states(connections: Any) -> None:  # noqa: ANN401
    connected = await connect(connections, "m-1")
    await connections.Connect(pb.ConnectRequest(merchant_id="m-1"))
    await connect(connections, "m-2")
    page = await connections.ListConnections(
        pb.ListConnectionsRequest(merchant_id="m-1", states=[pb.CONNECTION_STATE_CONNECTED])
    )
    assert [c.id for c in page.connections] == [connected.id]


class Watch:
    """A watch that is read message by message."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - a call of the stub
        self._call = call

    async def next(self) -> pb.WatchConnectionsResponse:
        message = await asyncio.wait_for(self._call.read(), 5)
        assert isinstance(message, pb.WatchConnectionsResponse)
        return message

    def leave(self) -> None:
        self._call.cancel()


async def test_a_watch_from_now_begins_with_a_heartbeat_and_tells_every_change(connections: Any) -> None:  # noqa: ANN401
    await connect(connections, "m-0")
    watch = Watch(connections.WatchConnections(pb.WatchConnectionsRequest()))
    first = await watch.next()
    assert first.WhichOneof("update") == "heartbeat"
    assert first.resume_token
    connection = await connect(connections)
    started, settled = (await watch.next()).change, (await watch.next()).change
    assert started.event.kind == pb.CONNECTION_EVENT_KIND_AUTHORISATION_STARTED
    assert started.event.from_state == pb.CONNECTION_STATE_UNSPECIFIED
    assert settled.event.kind == pb.CONNECTION_EVENT_KIND_STATE_CHANGED
    assert (settled.event.from_state, settled.event.to_state) == (
        pb.CONNECTION_STATE_PENDING_AUTHORISATION,
        pb.CONNECTION_STATE_CONNECTED,
    )
    assert settled.event.actor == "ruth@southern-hops.example"
    assert settled.connection == connection
    watch.leave()


async def test_a_watch_from_the_start_gives_each_connection_once_and_then_changes(connections: Any) -> None:  # noqa: ANN401
    known = [await connect(connections, f"m-{n}") for n in range(3)]
    watch = Watch(connections.WatchConnections(pb.WatchConnectionsRequest(from_start=True)))
    snapshot = [(await watch.next()).snapshot for _ in known]
    assert sorted(c.id for c in snapshot) == sorted(c.id for c in known)
    assert (await watch.next()).WhichOneof("update") == "heartbeat"
    await connections.Connect(pb.ConnectRequest(merchant_id="m-9"))
    assert (await watch.next()).change.connection.merchant_id == "m-9"
    watch.leave()


async def test_a_watch_resumes_behind_its_token(connections: Any) -> None:  # noqa: ANN401
    watch = Watch(connections.WatchConnections(pb.WatchConnectionsRequest()))
    await watch.next()
    for name in ("m-1", "m-2", "m-3"):
        await connections.Connect(pb.ConnectRequest(merchant_id=name))
    token = (await watch.next()).resume_token
    watch.leave()
    again = Watch(connections.WatchConnections(pb.WatchConnectionsRequest(after=token)))
    assert [(await again.next()).change.connection.merchant_id for _ in range(2)] == ["m-2", "m-3"]
    again.leave()


async def test_a_watch_of_a_merchant_also_tells_of_connections_made_later(connections: Any) -> None:  # noqa: ANN401
    watch = Watch(connections.WatchConnections(pb.WatchConnectionsRequest(merchant_id="m-1")))
    await watch.next()
    await connections.Connect(pb.ConnectRequest(merchant_id="m-2"))
    wanted = await connections.Connect(pb.ConnectRequest(merchant_id="m-1"))
    assert (await watch.next()).change.connection.id == wanted.connection.id
    watch.leave()


async def test_a_refused_reconnect_is_told_and_changes_nothing(connections: Any, around: World) -> None:  # noqa: ANN401
    connection = await connect(connections)
    watch = Watch(connections.WatchConnections(pb.WatchConnectionsRequest(connection_ids=[connection.id])))
    await watch.next()
    around.xero.organisations = ["Another Ltd"]
    started = await connections.Reconnect(pb.ReconnectRequest(connection_id=connection.id))
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.CompleteAuthorization(pb.CompleteAuthorizationRequest(state=state_of(started), code="c"))
    assert reason_of(refusal.value) == "WRONG_ORGANISATION"
    await watch.next()
    refused = (await watch.next()).change
    assert refused.event.kind == pb.CONNECTION_EVENT_KIND_AUTHORISATION_REFUSED
    assert refused.event.reason.code == pb.CONNECTION_REASON_CODE_WRONG_ORGANISATION
    assert refused.connection.state == pb.CONNECTION_STATE_CONNECTED
    assert not refused.connection.HasField("reason")
    watch.leave()


async def test_a_loss_is_told_with_its_reason(connections: Any, around: World) -> None:  # noqa: ANN401
    connection = await connect(connections)
    watch = Watch(connections.WatchConnections(pb.WatchConnectionsRequest()))
    await watch.next()
    around.xero.trouble = CredentialsExpiredError("Please consent again.")
    await around.connections.access_lost(connection.id, AccessRevokedError("403 AuthenticationUnsuccessful"))
    lost = (await watch.next()).change
    assert lost.event.to_state == pb.CONNECTION_STATE_RECONNECT_REQUIRED
    assert lost.event.reason.code == pb.CONNECTION_REASON_CODE_CREDENTIALS_EXPIRED
    assert ("token refresh", True) in [(seen.subject, seen.is_trouble) for seen in lost.event.reason.evidence]
    assert lost.event.actor == "tieout"
    watch.leave()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (pb.WatchConnectionsRequest(connection_ids=["con_none"]), "NOT_FOUND"),
        (pb.WatchConnectionsRequest(after="made-up"), "INVALID_REQUEST"),
        (pb.WatchConnectionsRequest(after="x", from_start=True), "INVALID_REQUEST"),
    ],
    ids=["unknown", "token", "both"],
)
async def test_a_watch_that_cannot_be_is_refused(
    connections: Any,  # noqa: ANN401
    asked: pb.WatchConnectionsRequest,
    reason: str,
) -> None:
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.WatchConnections(asked).read()
    assert reason_of(refusal.value) == reason


async def test_a_token_that_is_too_old_is_refused_with_the_oldest_that_is_good(
    connections: Any,  # noqa: ANN401
    around: World,
) -> None:
    watch = Watch(connections.WatchConnections(pb.WatchConnectionsRequest()))
    old = (await watch.next()).resume_token
    watch.leave()
    await connections.Connect(pb.ConnectRequest(merchant_id="forgotten"))
    around.clock.time += timedelta(days=8)
    await around.subjects.feed.prune()
    await connections.Connect(pb.ConnectRequest(merchant_id="kept"))
    with pytest.raises(aio.AioRpcError) as refusal:
        await connections.WatchConnections(pb.WatchConnectionsRequest(after=old)).read()
    assert refusal.value.code() is grpc.StatusCode.OUT_OF_RANGE
    oldest = info_of(refusal.value).metadata["oldest_resume_token"]
    again = Watch(connections.WatchConnections(pb.WatchConnectionsRequest(after=oldest)))
    assert (await again.next()).change.connection.merchant_id == "kept"
    again.leave()
