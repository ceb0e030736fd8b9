"""Promise: the vault's keys are changed while servers run, and no token is lost over it."""

import asyncio
import base64
import os
import sys
from pathlib import Path

import pytest

from leaks import database_bytes
from servers import ROOMY, VAULT_KEY, Service, client_of, server_process
from tieout.v1.connection_service_pb2 import CONNECTION_STATE_CONNECTED
from tieout.v1.sync_service_pb2 import SYNC_STATE_SUCCEEDED
from tieout_sandbox import Sandbox
from tieout_server.storage.vault import Vault

pytestmark = pytest.mark.timeout(180)

OLD, NEW = f"first:{VAULT_KEY}", "second:" + base64.b64encode(bytes(range(32))).decode()

QUICK = 60.0
"""How many times as fast as ours the time of server and sandbox passes, so that no minute of calls is waited for."""
AS_QUICK = {"TIEOUT_CLOCK_SPEED": str(QUICK)}


async def rotate_keys(database_url: str, keys: str, *arguments: str) -> tuple[int, str]:
    """How `tieout-server rotate-keys` ends, and what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tieout_server", "rotate-keys", *arguments,
        env={**os.environ, "TIEOUT_DATABASE_URL": database_url, "TIEOUT_VAULT_KEYS": keys},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def refresh_until(done: asyncio.Event, running: Service, connection_id: str) -> int:
    """Have the tokens refreshed again and again; answers how often."""
    times = 0
    while not done.is_set():
        await running.client.connections.check(connection_id)
        times += 1
    return times


async def test_keys_are_rotated_during_a_sync_with_refreshes_and_the_old_key_is_not_needed_afterwards(
    sandbox: Sandbox, database_url: str, tmp_path: Path
) -> None:
    sandbox.limits.quota, sandbox.clock.speed = ROOMY, QUICK
    async with server_process(
        sandbox.url, database_url, tmp_path, TIEOUT_VAULT_KEYS=OLD, TIEOUT_CLOCK_SPEED=str(QUICK)
    ) as server:
        async with client_of(server) as running:
            connection = await running.connected()
            await running.client.connections.reconnect(connection.id, request_id="open")  # a verifier, a kept answer
        await server.stop()
        assert Vault.from_settings(OLD, database_url).mark("first") in await database_bytes(database_url)
        server.environment = {"TIEOUT_VAULT_KEYS": f"{NEW},{OLD}", **AS_QUICK}
        await server.start()
        async with client_of(server) as running:
            assert (await rotate_keys(database_url, f"{NEW},{OLD}", "--check"))[0] == 1
            rotated = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                refreshing = tasks.create_task(refresh_until(rotated, running, connection.id))
                syncing = tasks.create_task(running.sync(connection.id))
                while (said := await rotate_keys(database_url, f"{NEW},{OLD}"))[0] != 0:  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0)
                rotated.set()
            assert refreshing.result() > 0
            assert syncing.result()[-1].sync.state == SYNC_STATE_SUCCEEDED
        assert said[1].endswith("Everything is sealed with second: first may be removed from TIEOUT_VAULT_KEYS.\n")
        await server.stop()
        server.environment = {"TIEOUT_VAULT_KEYS": NEW, **AS_QUICK}
        await server.start()
        async with client_of(server) as running:
            checked = await running.client.connections.check(connection.id)
            assert checked.connection.state == CONNECTION_STATE_CONNECTED
            again = await running.client.connections.reconnect(connection.id, request_id="open")
            assert again.authorization_url  # the answer that was kept opens
            assert (await running.sync(connection.id))[-1].sync.state == SYNC_STATE_SUCCEEDED
    assert await rotate_keys(database_url, NEW, "--check") == (
        0, "Everything is sealed with second, the only key there is.\n",
    )  # fmt: skip


async def test_a_key_file_is_left_by_naming_its_key_behind_a_new_one(sandbox: Sandbox, tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path / 'tieout.db'}"
    async with server_process(sandbox.url, database_url, tmp_path, TIEOUT_VAULT_KEYS="") as server:
        async with client_of(server) as running:
            connection = await running.connect()
        await server.stop()
        file = tmp_path / "tieout.db.key"
        status, said = await rotate_keys(database_url, f"{NEW},{file.read_text().strip()}")
        assert status == 0, said
        file.unlink()
        server.environment = {"TIEOUT_VAULT_KEYS": NEW}
        await server.start()
        async with client_of(server) as running:
            checked = await running.client.connections.check(connection.id)
            assert checked.connection.state == CONNECTION_STATE_CONNECTED
    assert not file.exists()
