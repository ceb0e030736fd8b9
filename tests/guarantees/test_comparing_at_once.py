"""Promise: whoever compares at the same time, in whichever process, finds one difference once, and loses no word."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import func, select

import tieout
from servers import ROOMY, Service, client_of, server_process, service, until
from tieout.v1 import reconciliation_service_pb2 as pb
from tieout_sandbox import Sandbox, SandboxSettings, serve
from tieout_sandbox.books.causes import Cause, bring_about
from tieout_sandbox.books.documents import Contact
from tieout_sandbox.books.rules import NotAllowedError
from tieout_server.storage import reconciliation_tables, tables
from tieout_server.storage.database import Database

pytestmark = pytest.mark.timeout(90)

QUICK = 60.0
"""How many times as fast as ours the time of these servers passes."""
BOOKS = SandboxSettings(contacts=20, invoices=100, speed=QUICK)
OFF = 3
"""Customers whose balances Xero states otherwise."""
TOLD_OF_CUSTOMERS = (
    tables.contacts,
    tables.invoices,
    tables.credits,
    tables.payments,
    reconciliation_tables.discrepancies,
    reconciliation_tables.comparisons,
    reconciliation_tables.reconciliations,
)


@contextlib.asynccontextmanager
async def two_processes(database_url: str) -> AsyncIterator[tuple[Sandbox, list[Service], str]]:
    """Two servers on one database (one on SQLite, twice), and a connection with differences that nobody found yet."""
    count = 1 if database_url.startswith("sqlite") else 2
    async with serve(BOOKS) as sandbox, contextlib.AsyncExitStack() as stack:
        sandbox.limits.quota = ROOMY
        running = [
            await stack.enter_async_context(service(sandbox, database_url, clock_speed=QUICK)) for _ in range(count)
        ]
        connection = await running[0].connected()
        yield sandbox, [running[0], running[-1]], connection.id


def throw_off(sandbox: Sandbox) -> list[Contact]:
    """Have Xero state other balances of some customers than their documents make."""
    off: list[Contact] = []
    for contact in sandbox.books.contacts.values():
        if len(off) < OFF and contact.is_customer:
            with contextlib.suppress(NotAllowedError):  # nothing of it is open
                off.append(bring_about(sandbox.books, Cause.ROUNDING, contact.id).contact)
    assert len(off) == OFF
    return off


async def test_comparing_at_once_finds_each_difference_once(database_url: str) -> None:
    async with two_processes(database_url) as (sandbox, running, connection_id):
        customers = throw_off(sandbox)
        asked = [
            one.client.reconciliations.reconcile_customer(connection_id, customer.id)
            for one in running
            for customer in customers
            for _ in range(2)
        ]
        whole = await running[0].client.reconciliations.start(connection_id)
        answers = await asyncio.gather(*asked)
        await ended(running[1], whole.reconciliation.id)

        found = [one async for one in running[0].client.reconciliations.list_discrepancies(connection_id)]
        assert sorted(one.xero_contact_id for one in found) == sorted(customer.id for customer in customers)
        assert {one.id for answer in answers for one in answer.discrepancies} == {one.id for one in found}
        for one in found:
            history = (await running[1].client.reconciliations.get_discrepancy(one.id)).history
            assert [happened.state for happened in history] == [
                pb.DISCREPANCY_STATE_OPENED, pb.DISCREPANCY_STATE_CAUSE_FOUND, pb.DISCREPANCY_STATE_NEEDS_ATTENTION
            ]  # fmt: skip


async def test_what_is_acknowledged_while_it_is_compared_stays_acknowledged(database_url: str) -> None:
    async with two_processes(database_url) as (sandbox, running, connection_id):
        (customer, *_) = throw_off(sandbox)
        client = running[0].client.reconciliations
        (off,) = (await client.reconcile_customer(connection_id, customer.id)).discrepancies
        for number in range(3):
            comparing = [
                asyncio.create_task(one.client.reconciliations.reconcile_customer(connection_id, customer.id))
                for one in running
            ]
            for part in range(4):
                await running[part % 2].client.reconciliations.acknowledge_discrepancy(
                    off.id, note=f"Known {number}.{part}"
                )
            await asyncio.gather(*comparing)
            now = await client.get_discrepancy(off.id)
            assert (now.state, now.note) == (pb.DISCREPANCY_STATE_ACKNOWLEDGED, f"Known {number}.3")
        now = await client.get_discrepancy(off.id)
        acknowledged = [one for one in now.history if one.state == pb.DISCREPANCY_STATE_ACKNOWLEDGED]
        assert len(acknowledged) == 3 * 4, "nothing that a person said is lost"


async def test_a_purge_leaves_nothing_of_what_was_compared_meanwhile(database_url: str) -> None:
    async with two_processes(database_url) as (sandbox, running, connection_id):
        customers = throw_off(sandbox)
        await running[0].client.reconciliations.start(connection_id)
        asked = [
            asyncio.create_task(one.client.reconciliations.reconcile_customer(connection_id, customer.id))
            for one in running
            for customer in customers
        ]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        await running[1].client.connections.disconnect(connection_id, purge_data=True)
        answers = await asyncio.gather(*asked, return_exceptions=True)

        refused = [one for one in answers if isinstance(one, BaseException)]
        assert all(isinstance(one, tieout.PersonMustActError | tieout.CallerError) for one in refused), refused
        async with asyncio.timeout(30):
            await erased(database_url, connection_id)
        await asyncio.sleep(0.5)  # whoever had not heard of it would have written by now
        assert await rows(database_url, connection_id) == 0


async def test_a_reconciliation_is_watched_to_its_end_though_the_server_is_killed(
    database_url: str, tmp_path: Path
) -> None:
    books = SandboxSettings(contacts=40, invoices=300, latency_ms=20)
    async with (
        serve(books) as sandbox,
        server_process(sandbox.url, database_url, tmp_path) as server,
        client_of(server) as running,
    ):
        sandbox.limits.quota = ROOMY
        connection = await running.connected()
        throw_off(sandbox)
        started = await running.client.reconciliations.start(connection.id)
        told: list[pb.WatchReconciliationResponse] = []
        watching = asyncio.create_task(read(running, started.reconciliation.id, told))
        for _ in range(2):
            known = len(told)
            await until(lambda: len(told) > known or watching.done())  # noqa: B023 - awaited here
            await server.replace()
        async with asyncio.timeout(60):
            await watching

        states = [message.reconciliation for message in told if message.HasField("reconciliation")]
        assert states[-1].state == pb.RECONCILIATION_STATE_SUCCEEDED, states[-1]
        assert all(before.percent <= after.percent for before, after in pairwise(states))
        known_by_token = by_token(told)
        tokens = list(known_by_token)
        assert tokens == sorted(tokens, key=base64.urlsafe_b64decode), "in the order in which it happened"
        for index, token in enumerate(tokens[:-1]):
            rest: list[pb.WatchReconciliationResponse] = []
            await read(running, started.reconciliation.id, rest, after=token)
            again = by_token(rest)
            again.pop(token, None)  # how it stands is told again
            assert again == {later: known_by_token[later] for later in tokens[index + 1 :]}


def by_token(told: Sequence[pb.WatchReconciliationResponse]) -> dict[str, pb.Reconciliation]:
    """What was told at each token; told again, it is the same, but for calls that were made since."""
    found: dict[str, pb.Reconciliation] = {}
    for message in told:
        if message.HasField("reconciliation"):
            state = pb.Reconciliation()
            state.CopyFrom(message.reconciliation)
            state.ClearField("calls_used")
            assert found.setdefault(message.resume_token, state) == state
    return found


async def read(
    running: Service, reconciliation_id: str, told: list[pb.WatchReconciliationResponse], after: str = ""
) -> None:
    """Read the watch to its end."""
    async for message in running.client.reconciliations.watch(reconciliation_id, after=after):
        told.append(message)  # noqa: PERF401 - somebody looks on


async def ended(running: Service, reconciliation_id: str) -> None:
    """Wait for its end."""
    await read(running, reconciliation_id, [])


async def erased(database_url: str, connection_id: str) -> None:
    """Wait until nothing is left."""
    while True:
        if not await rows(database_url, connection_id):
            return
        await asyncio.sleep(0.05)


async def rows(database_url: str, connection_id: str) -> int:
    """How many rows there are that tell of the connection's customers."""
    database = Database(database_url)
    try:
        async with database.read() as tx:
            of: Sequence[int] = [
                (
                    await tx.execute(
                        select(func.count()).select_from(table).where(table.c.connection_id == connection_id)
                    )
                ).scalar_one()
                for table in TOLD_OF_CUSTOMERS
            ]
            return sum(of)
    finally:
        await database.close()
