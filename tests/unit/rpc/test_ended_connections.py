"""Disconnect, CheckConnection and ListConnectionEvents over a real socket, with a scripted Xero."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from grpc import aio

from fakes import World
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1.types_pb2 import OWNER_MERCHANT, OWNER_XERO
from tieout_server.errors import AccessRevokedError, XeroUnavailableError


async def connected(connections: Any, merchant_id: str = "m-1") -> pb.Connection:  # noqa: ANN401 - see conftest
    started = await connections.Connect(pb.ConnectRequest(merchant_id=merchant_id))
    state = parse_qs(urlsplit(started.authorization_url).query)["state"][0]
    completed = await connections.CompleteAuthorization(
        pb.CompleteAuthorizationRequest(state=state, code=f"code-{merchant_id}")
    )
    connection: pb.Connection = completed.connection
    return connection


async def events(connections: Any, connection_id: str, size: int = 0) -> list[pb.ConnectionEvent]:  # noqa: ANN401
    found: list[pb.ConnectionEvent] = []
    request = pb.ListConnectionEventsRequest(connection_id=connection_id, page_size=size)
    while True:
        page = await connections.ListConnectionEvents(request)
        assert len(page.events) <= (size or 100)
        found += page.events
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_an_ended_connection_says_by_whom_it_was_ended(connections: Any) -> None:  # noqa: ANN401
    connection = await connected(connections)
    ended = (await connections.Disconnect(pb.DisconnectRequest(connection_id=connection.id))).connection
    assert (ended.id, ended.state) == (connection.id, pb.CONNECTION_STATE_DISCONNECTED)
    assert ended.health == pb.CONNECTION_HEALTH_UNSPECIFIED
    assert ended.reason.code == pb.CONNECTION_REASON_CODE_MANUALLY_DISCONNECTED
    assert connection.HasField("credentials_expire_at")
    assert not ended.HasField("credentials_expire_at"), "nothing can lapse any more"
    newest = (await events(connections, connection.id))[0]
    assert (newest.from_state, newest.to_state, newest.actor) == (
        pb.CONNECTION_STATE_CONNECTED,
        pb.CONNECTION_STATE_DISCONNECTED,
        "caller",
    )


async def test_a_check_of_what_works_finds_no_trouble(connections: Any) -> None:  # noqa: ANN401
    connection = await connected(connections)
    checked = await connections.CheckConnection(pb.CheckConnectionRequest(connection_id=connection.id))
    assert checked.connection.state == pb.CONNECTION_STATE_CONNECTED
    assert [seen.subject for seen in checked.evidence][:3] == ["token refresh", "GET /connections", "GET /Organisation"]
    assert all(seen.finding and seen.observed_at.seconds and not seen.is_trouble for seen in checked.evidence)


async def test_a_check_proves_a_loss_with_what_was_seen(connections: Any, around: World) -> None:  # noqa: ANN401
    connection = await connected(connections)
    around.xero.is_linked, around.xero.refusal = False, AccessRevokedError("403 AuthenticationUnsuccessful")
    checked = await connections.CheckConnection(pb.CheckConnectionRequest(connection_id=connection.id))
    assert checked.connection.state == pb.CONNECTION_STATE_RECONNECT_REQUIRED
    assert checked.connection.reason.code == pb.CONNECTION_REASON_CODE_DISCONNECTED_IN_XERO
    assert checked.connection.reason.owner == OWNER_MERCHANT
    assert [seen.is_trouble for seen in checked.evidence][:2] == [False, True]
    newest = (await events(connections, connection.id))[0]
    assert newest.actor == "tieout"
    assert list(newest.reason.evidence) == list(checked.evidence)


async def test_an_outage_during_a_check_is_no_loss(connections: Any, around: World) -> None:  # noqa: ANN401
    connection = await connected(connections)
    around.xero.refusal = XeroUnavailableError("Xero does not answer.")
    checked = await connections.CheckConnection(pb.CheckConnectionRequest(connection_id=connection.id))
    assert (checked.connection.state, checked.connection.health) == (
        pb.CONNECTION_STATE_CONNECTED,
        pb.CONNECTION_HEALTH_DEGRADED,
    )
    assert checked.connection.reason.owner == OWNER_XERO


@pytest.mark.parametrize("size", [0, 1, 2])
async def test_history_comes_newest_first_on_pages_of_any_size(connections: Any, size: int) -> None:  # noqa: ANN401
    connection, other = await connected(connections), await connected(connections, "m-2")
    await connections.Disconnect(pb.DisconnectRequest(connection_id=connection.id))
    found = await events(connections, connection.id, size)
    assert [(event.kind, event.to_state) for event in found] == [
        (pb.CONNECTION_EVENT_KIND_STATE_CHANGED, pb.CONNECTION_STATE_DISCONNECTED),
        (pb.CONNECTION_EVENT_KIND_STATE_CHANGED, pb.CONNECTION_STATE_CONNECTED),
        (pb.CONNECTION_EVENT_KIND_AUTHORISATION_STARTED, pb.CONNECTION_STATE_PENDING_AUTHORISATION),
    ]
    assert [event.actor for event in found] == ["caller", "ruth@southern-hops.example", "caller"]
    assert {event.connection_id for event in found} == {connection.id}
    assert len(await events(connections, other.id)) == 2


async def test_what_does_not_exist_is_not_found(connections: Any) -> None:  # noqa: ANN401
    for call in (
        connections.Disconnect(pb.DisconnectRequest(connection_id="con_none")),
        connections.CheckConnection(pb.CheckConnectionRequest(connection_id="con_none")),
        connections.ListConnectionEvents(pb.ListConnectionEventsRequest(connection_id="con_none")),
    ):
        with pytest.raises(aio.AioRpcError) as refusal:
            await call
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
