"""A server that is stopped lets go at once: of its database, and of those who watch."""

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

import tieout
from servers import ROOMY, service, small_pages
from tieout_sandbox import Sandbox
from tieout_server.storage import events
from tieout_server.storage.database import Database

pytestmark = pytest.mark.timeout(60)

TIMES = 8


async def test_stopped_in_the_middle_of_a_sync_it_leaves_no_lock_behind(
    sandbox: Sandbox, sqlite_template: Path, tmp_path: Path
) -> None:
    sandbox.limits.quota = ROOMY
    with small_pages(20):
        for number in range(TIMES):
            url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / f'{number}.db')}"
            async with service(sandbox, url) as running:
                connection = await running.connect()
                watch = running.client.syncs.watch_connection(connection.id)
                for _ in range(number):  # each time a little later
                    await anext(watch)
                began = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - began < 5, "somebody waited for a lock"
            database = Database(url)
            async with asyncio.timeout(5), database.write() as tx:  # it would wait for a lock for ten
                await events.bounds(tx)
            await database.close()


async def test_watchers_are_told_to_come_back_elsewhere(sandbox: Sandbox, sqlite_url: str) -> None:
    patience = tieout.Patience(first_pause=timedelta(milliseconds=1), attempts=1)
    async with service(sandbox, sqlite_url) as running:
        client = tieout.Client(running.target, patience=patience)
        watch = client.connections.watch()
        assert (await anext(watch)).resume_token
        waiting = asyncio.ensure_future(anext(watch))
    assert (await waiting).HasField("heartbeat")
    with pytest.raises(tieout.TryAgainError):
        await anext(watch)
    await client.close()
