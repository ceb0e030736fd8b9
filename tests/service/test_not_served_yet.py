"""Calls whose version has not come yet say so in a sentence, as a typed error of the client."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from servers import Service, service
from tieout import Client, errors
from tieout.v1.payment_export_service_pb2 import DESCRIPTOR as EXPORTS
from tieout.v1.sync_service_pb2 import HELD_SYNC_DECISION_CONFIRM
from tieout_sandbox import Sandbox

pytestmark = pytest.mark.timeout(60)

CALLS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "Disconnect": lambda client: client.connections.disconnect("c"),
    "CheckConnection": lambda client: client.connections.check("c"),
    "ListConnectionEvents": lambda client: client.connections.list_events("c").first(1),
    "ResolveHeldSync": lambda client: client.syncs.resolve_held("s", HELD_SYNC_DECISION_CONFIRM),
    "ExplainContact": lambda client: client.syncs.explain_contact("c", name="ACME"),
    "WatchChanges": lambda client: anext(client.receivables.watch_changes("c")),
}


@pytest.fixture
async def running(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Service]:
    async with service(sandbox, sqlite_url) as made:
        yield made


@pytest.mark.parametrize("method", CALLS)
async def test_a_call_that_comes_later_says_so(running: Service, method: str) -> None:
    with pytest.raises(errors.NotServedYetError) as refusal:
        await CALLS[method](running.client)
    assert refusal.value.code == "UNIMPLEMENTED"
    assert refusal.value.metadata["method"] == method
    assert "later" in refusal.value.sentence


async def test_every_method_of_the_services_to_come_says_so(running: Service) -> None:
    channel = running.client._channel
    for service_ in EXPORTS.services_by_name.values():
        for method in service_.methods:
            with pytest.raises(errors.NotServedYetError):
                await _call(channel, f"/{service_.full_name}/{method.name}")


async def _call(channel: object, path: str) -> None:
    """An empty request to any method; whatever the answer's arity is, a refusal comes the same way."""
    from grpc.aio import AioRpcError  # noqa: PLC0415 - the client hides it from everybody else

    from tieout.wire import typed  # noqa: PLC0415 - likewise

    try:
        await channel.unary_unary(path)(b"")  # type: ignore[attr-defined] # a channel of grpc's
    except AioRpcError as error:
        raise typed(error) from error
