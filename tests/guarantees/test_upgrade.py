"""Promise: a rolling upgrade interrupts nothing: the version before works on the tables of this one, beside it."""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from fleet import Fleet, Replica, following, quick_books
from fleet_merchants import Merchant, has_ended, never_runs_backwards, nothing_left, syncs_of
from servers import ServerProcess, client_of, limits_kept, settings_of, until
from tieout.v1.sync_service_pb2 import SYNC_MODE_FULL
from tieout_sandbox import FaultKind, FaultRule, Sandbox, serve
from tieout_server.storage import compatibility, migrate
from tieout_server.storage.database import Database

pytestmark = pytest.mark.timeout(150)

ROOT = Path(__file__).parents[2]
PREVIOUS = "7a4f681"
"""The commit that was the version before; its newest revision was 0005."""
READS = r"/api\.xro/2\.0/(Contacts|Invoices|CreditNotes|Payments|Overpayments|Prepayments|Accounts)"
QUICK_SERVER = Path("tests/guarantees/quick_server.py")
SOME = 4


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the version before, from git's history."""
    git = shutil.which("git")
    archived = git and subprocess.run(
        [git, "-C", str(ROOT), "archive", PREVIOUS, "client", "server", str(QUICK_SERVER)],
        capture_output=True,
        check=False,
    )
    if not archived or archived.returncode:
        pytest.skip(f"there is no history here that has {PREVIOUS}: a shallow clone, or no clone at all")
    tree = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(archived.stdout)) as packed:
        packed.extractall(tree, filter="data")
    return tree


def paths_of(tree: Path) -> Mapping[str, str]:
    """What has Python find that tree's packages, and no others."""
    return {"PYTHONPATH": os.pathsep.join((str(tree / "client"), str(tree / "server")))}


async def migrate_by(tree: Path, sandbox: Sandbox, database_url: str) -> str:
    """Run that tree's `tieout-server migrate`; answers what it says."""
    ours = {f"TIEOUT_{name.upper()}": value for name, value in settings_of(sandbox.url, database_url).items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tieout_server", "migrate",
        env={**os.environ, **ours, **paths_of(tree)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


@contextlib.asynccontextmanager
async def server_of(tree: Path, sandbox: Sandbox, database_url: str, folder: Path) -> AsyncIterator[Replica]:
    """A server process that runs that tree's code, by the sandbox's time, and reads small pages."""
    settings = sandbox.settings
    assert settings.starts_at, "see `quick_books`"
    quick = {"TIEOUT_TEST_ORIGIN": settings.starts_at.isoformat(), "TIEOUT_TEST_SPEED": str(settings.speed)}
    process = ServerProcess(sandbox.url, database_url, folder, (str(tree / QUICK_SERVER),), {**quick, **paths_of(tree)})
    try:
        await process.start()
        async with client_of(process) as service:
            yield Replica(process, service)
    finally:
        await process.kill()


async def older(database: Database) -> Sequence[str]:
    """The replicas that are alive and were not written for this version's tables."""
    async with database.read() as tx:
        return await tx.run_sync(compatibility.older_replicas, migrate.HEAD)


@pytest.mark.parametrize("empty_database_url", ["postgres"], indirect=True)
async def test_the_version_before_works_on_the_new_tables_until_this_one_takes_over(
    previous: Path, empty_database_url: str, tmp_path: Path
) -> None:
    url, olds, news = empty_database_url, tmp_path / "old", tmp_path / "new"
    for folder in (olds, news):
        folder.mkdir()
    books = quick_books(5.0, contacts=40, invoices=300, latency_ms=150)
    async with contextlib.AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(serve(books))
        database = Database(url)
        stack.push_async_callback(database.close)
        assert "0005" in await migrate_by(previous, sandbox, url)
        old = await stack.enter_async_context(server_of(previous, sandbox, url, olds))
        running = Fleet(sandbox, url, database, [old])
        merchant = Merchant(running, sandbox.organisations[0], random.Random(1))
        await merchant.connect()
        await merchant.choose_account()
        progress = syncs_of(merchant.connection_id, merchant.any)
        async with following([progress]):
            await merchant.pay()
            await until(lambda: sandbox.requests.count(READS) >= SOME)
            sandbox.faults.add(
                FaultRule(FaultKind.SLOW, READS, times=None, seconds=5.0)
            )  # another server starts meanwhile
            assert migrate.HEAD in await migrate_by(ROOT, sandbox, url)
            reads = sandbox.requests.count(READS)
            await until(lambda: sandbox.requests.count(READS) > reads)  # the old one works on
            await merchant.pay()
            assert len(await older(database)) == 1
            new = await stack.enter_async_context(server_of(ROOT, sandbox, url, news))
            running.replicas.append(new)
            assert not has_ended(progress), "there was nothing left to take over"
            await merchant.pay()
            await old.process.stop()
            sandbox.faults.clear()
            assert await older(database) == []
            assert await running.found_home(merchant.organisation.id) is new
            await merchant.pay()
            await until(lambda: has_ended(progress), within=60)
            await nothing_left(merchant.unverified)
        # A name that the version before kept of somebody erased goes when all is read again, once a day or now.
        await new.service.client.syncs.start(merchant.connection_id, mode=SYNC_MODE_FULL)
        await nothing_left(merchant.is_mirrored)
        never_runs_backwards(progress)
        merchant.each_payment_is_there_once()
        assert list(limits_kept(sandbox)) == []
        assert "Traceback" not in old.process.log.read_text()
