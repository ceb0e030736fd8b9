"""Promise: a Xero that answers rubbish holds a sync up and is named as the reason; once it is well, all is here."""

import asyncio
import contextlib

import pytest

from servers import ROOMY, Service, differences, mirror_of, service, truth_of
from tieout.v1.connection_service_pb2 import (
    CONNECTION_HEALTH_DEGRADED,
    CONNECTION_HEALTH_OK,
    CONNECTION_REASON_CODE_XERO_UNAVAILABLE,
    Connection,
    ConnectionHealth,
)
from tieout.v1.sync_service_pb2 import SYNC_STATE_SUCCEEDED, SYNC_STATE_WAITING, WAIT_REASON_XERO_UNAVAILABLE
from tieout_sandbox import FaultKind, FaultRule, Sandbox

pytestmark = pytest.mark.timeout(60)

QUICK = 300.0
RUBBISH = {
    "a page of the edge": "<html><h1>Access Denied</h1></html>",
    "broken off": '{"Id": "x", "Invoices": [{"InvoiceID": "046d',
    "nested": '{"New": ' + "[" * 50_000,
    "empty": "",
}


async def held_up(running: Service, connection_id: str) -> None:
    """Wait until the connection's sync waits for Xero."""
    async with contextlib.aclosing(running.client.syncs.watch_connection(connection_id)) as messages:
        async for message in messages:
            if message.HasField("progress") and message.progress.sync.state == SYNC_STATE_WAITING:
                assert message.progress.waiting_on.what == WAIT_REASON_XERO_UNAVAILABLE
                return


async def with_health(running: Service, connection_id: str, health: ConnectionHealth.ValueType) -> Connection:
    """The connection once its health is this one: it is told a moment after the sync."""
    async with asyncio.timeout(30):
        while (found := await running.client.connections.get(connection_id)).health != health:  # noqa: ASYNC110 - of the server
            await asyncio.sleep(0.02)
    return found


@pytest.mark.parametrize("body", RUBBISH.values(), ids=RUBBISH)
async def test_a_first_sync_waits_for_xero_to_make_sense_and_then_is_whole(
    body: str, sandbox: Sandbox, sqlite_url: str
) -> None:
    sandbox.limits.quota = ROOMY
    sandbox.faults.add(FaultRule(FaultKind.ANSWER, "/Invoices", status=200, body=body, times=None))
    async with service(sandbox, sqlite_url, clock_speed=QUICK) as running:
        connection = await running.connect()
        await held_up(running, connection.id)
        broken = await with_health(running, connection.id, CONNECTION_HEALTH_DEGRADED)
        assert broken.reason.code == CONNECTION_REASON_CODE_XERO_UNAVAILABLE
        sandbox.faults.clear()
        last = (await running.first_sync(connection.id))[-1]
        assert last.sync.state == SYNC_STATE_SUCCEEDED, last
        await with_health(running, connection.id, CONNECTION_HEALTH_OK)
        assert differences(truth_of(sandbox.books), await mirror_of(sqlite_url, connection.id)) == []
