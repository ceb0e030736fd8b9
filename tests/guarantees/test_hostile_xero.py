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
from tieout.v1.sync_service_pb2 import (
    SYNC_STATE_SUCCEEDED,
    SYNC_STATE_WAITING,
    WAIT_REASON_XERO_UNAVAILABLE,
    SyncProgress,
)
from tieout.v1.types_pb2 import OWNER_XERO
from tieout_sandbox import FaultKind, FaultRule, Sandbox

pytestmark = pytest.mark.timeout(60)

QUICK = 300.0
RUBBISH = {
    "a page of the edge": "<html><h1>Access Denied</h1></html>",
    "broken off": '{"Id": "x", "Invoices": [{"InvoiceID": "046d',
    "nested": '{"New": ' + "[" * 50_000,
    "empty": "",
}
"""What is no JSON."""
ODD = {
    "of wrong types": '{"Id": "x", "Status": "OK", "Invoices": "none"}',
    "of rows that are none": '{"Id": "x", "Status": "OK", "Invoices": [{"InvoiceID": 7}]}',
}
"""What is, and is no page."""


async def held_up(running: Service, connection_id: str) -> SyncProgress:
    """Wait until the connection's sync waits for Xero; answers what it says then."""
    async with contextlib.aclosing(running.client.syncs.watch_connection(connection_id)) as messages:
        async for message in messages:
            if message.HasField("progress") and message.progress.sync.state == SYNC_STATE_WAITING:
                assert message.progress.waiting_on.what == WAIT_REASON_XERO_UNAVAILABLE
                return message.progress
    raise AssertionError("the watch has ended")


async def with_health(running: Service, connection_id: str, health: ConnectionHealth.ValueType) -> Connection:
    """The connection once its health is this one: it is told a moment after the sync."""
    async with asyncio.timeout(30):
        while (found := await running.client.connections.get(connection_id)).health != health:  # noqa: ASYNC110 - of the server
            await asyncio.sleep(0.02)
    return found


@pytest.mark.parametrize("body", [*RUBBISH.values(), *ODD.values()], ids=[*RUBBISH, *ODD])
async def test_a_first_sync_waits_for_xero_to_make_sense_and_then_is_whole(
    body: str, sandbox: Sandbox, sqlite_url: str
) -> None:
    sandbox.limits.quota = ROOMY
    sandbox.faults.add(FaultRule(FaultKind.ANSWER, "/Invoices", status=200, body=body, times=None))
    async with service(sandbox, sqlite_url, clock_speed=QUICK) as running:
        connection = await running.connect()
        held = await held_up(running, connection.id)
        assert held.waiting_on.HasField("until")
        if body in ODD.values():
            assert (held.sync.error.reason, held.sync.error.owner) == ("UNEXPECTED_ANSWER", OWNER_XERO)
        else:
            assert not held.sync.HasField("error")
        broken = await with_health(running, connection.id, CONNECTION_HEALTH_DEGRADED)
        assert broken.reason.code == CONNECTION_REASON_CODE_XERO_UNAVAILABLE
        sandbox.faults.clear()
        last = (await running.first_sync(connection.id))[-1]
        assert last.sync.state == SYNC_STATE_SUCCEEDED, last
        assert (last.sync.id, last.sync.HasField("error")) == (held.sync.id, False)
        assert all(line.fetched == line.expected for line in last.entities if not line.catch_up), last
        await with_health(running, connection.id, CONNECTION_HEALTH_OK)
        assert differences(truth_of(sandbox.books), await mirror_of(sqlite_url, connection.id)) == []
