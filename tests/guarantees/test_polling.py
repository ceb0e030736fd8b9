"""Promise: what changes in Xero comes here by itself, told of or not, within the calls of a day; and no mishap does."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from sqlalchemy import select

from jumping import Days, days
from servers import SMALL, Truth, differences, limits_kept, mirror_of, small_pages, truth_of
from tieout import errors
from tieout.v1 import sync_service_pb2 as pb
from tieout.v1.connection_service_pb2 import (
    CONNECTION_HEALTH_DEGRADED,
    CONNECTION_HEALTH_OK,
    CONNECTION_REASON_CODE_DAY_LIMIT_REACHED,
    Connection,
)
from tieout_sandbox import CreditKind, FaultKind, FaultRule, InvoiceType, Status, Switches, Tier, serve
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import ContactStatus, Invoice
from tieout_server.storage import tables

pytestmark = [pytest.mark.timeout(180), pytest.mark.in_turn]

READS = r"/api\.xro/2\.0/"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HALF_A_DAY = timedelta(hours=12)
MEGABYTE = 1_000_000
A_BIT_MORE_THAN_5_MINUTES = timedelta(minutes=5, seconds=1)
"""A read takes a moment, and the next one is due five minutes after that."""
AMOUNT = Decimal("12.34")
TOLD = Switches(allocations_move_updated=True, deleted_payments_in_delta=True)
UNTOLD = Switches(allocations_move_updated=False, deleted_payments_in_delta=False)


def open_invoices(books: Books, *, paid: bool = False) -> list[Invoice]:
    """Open sales invoices on which something was paid or credited, or nothing."""
    return [
        invoice
        for invoice in books.invoices.values()
        if invoice.type is InvoiceType.ACCREC
        and invoice.status is Status.AUTHORISED
        and bool(invoice.payments or invoice.allocations) is paid
        and invoice.contact.status is ContactStatus.ACTIVE
    ]


async def differences_of(around: Days, connection: Connection) -> list[str]:
    """Where the mirror is not what the books are, IsCustomer and who was merged into whom included."""
    books = around.sandbox.books
    found = differences(truth_of(books), await mirror_of(around.database_url, connection.id))
    async with around.database.read() as tx:
        c = tables.contacts.c
        query = select(c.xero_contact_id, c.is_customer, c.merged_into).where(c.connection_id == connection.id)
        ours = {name: (bool(is_customer), into) for name, is_customer, into in await tx.execute(query)}
    theirs = {c.id: (c.is_customer, c.merged_to_id or "") for c in books.contacts.values()}
    return found + [
        f"contact {name}: {ours.get(name)} is {theirs[name]}" for name in theirs if ours[name] != theirs[name]
    ]


def change_everything(books: Books) -> None:
    """One of each change that Xero does not tell of for sure, and some that it does."""
    part_paid, *_ = open_invoices(books, paid=True)
    unpaid = open_invoices(books)
    paid = next(
        p for p in books.payments.values()
        if p.status is Status.AUTHORISED and p.batch is None and isinstance(p.target, Invoice)
        and p.target.type is InvoiceType.ACCREC and p.target is not part_paid
    )  # fmt: skip
    allocation = next(a for i in books.invoices.values() for a in i.allocations if i.type is InvoiceType.ACCREC)
    books.edit_invoice(part_paid.id, due_on=date(2027, 3, 1))
    books.delete_payment(paid.id)
    books.remove_allocation(allocation)
    credit = books.create_credit(CreditKind.OVERPAYMENT, unpaid[0].contact.id, unpaid[0].amount_due)
    if credit.currency == unpaid[0].currency:
        books.allocate(credit.id, unpaid[0].id)
    books.void(unpaid[1].id)
    books.pay(unpaid[2].id)
    never_invoiced = next(c for c in books.contacts.values() if not c.is_customer and c.status is ContactStatus.ACTIVE)
    books.create_invoice(never_invoiced.id, AMOUNT)
    losing = unpaid[3].contact
    winning = next(
        c for c in books.contacts.values() if c.status is ContactStatus.ACTIVE and not c.is_customer and c is not losing
    )
    books.merge_contact(losing.id, winning.id)
    archived = next(c for c in books.contacts.values() if c.status is ContactStatus.ARCHIVED and not c.merged_to_id)
    names = {c.name for c in books.contacts.values() if c.status is ContactStatus.ACTIVE}
    if archived.name not in names:
        books.restore_contact(archived.id)
    books.archive_contact(unpaid[-1].contact.id)
    erased = next(c for c in books.contacts.values() if not c.documents and c.status is ContactStatus.ACTIVE)
    erased.status = ContactStatus.GDPRREQUEST
    books.silent(erased)


@pytest.mark.parametrize("switches", [TOLD, UNTOLD], ids=["told-of", "untold"])
async def test_whatever_changes_in_silence_is_found_by_polling_and_the_sweep_without_a_sync(
    database_url: str, switches: Switches
) -> None:
    async with serve(dataclasses.replace(SMALL, switches=switches)) as sandbox, days(sandbox, database_url) as around:
        connection = await around.running.connected()
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        assert await differences_of(around, connection) == []
        change_everything(sandbox.books)
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        assert await differences_of(around, connection) != []  # or there was nothing for the sweep to find
        await around.passing(DAY + 2 * HOUR, step=2 * HOUR)
        assert await differences_of(around, connection) == []
        syncs = await around.running.client.syncs.list(connection.id).first(10)
        assert [sync.requested_by for sync in syncs] == ["connect"]
        assert list(limits_kept(sandbox)) == []


async def test_what_xero_tells_of_is_here_within_five_minutes_without_a_sync(database_url: str) -> None:
    async with serve(SMALL) as sandbox, days(sandbox, database_url) as around:
        connection = await around.running.connected()
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        books = sandbox.books
        unpaid = open_invoices(books)
        payment = books.pay(unpaid[0].id)
        books.create_invoice(unpaid[1].contact.id, AMOUNT)
        books.void(unpaid[2].id)
        await around.passing(5 * MINUTE + timedelta(seconds=30))
        assert await differences_of(around, connection) == []
        invoice = await around.running.client.receivables.get_invoice(connection.id, payment.target.id)
        assert Decimal(invoice.amount_due.amount) == 0
        fresh = await around.running.client.syncs.freshness(connection.id)
        assert all(it.lag_seconds <= 330 for it in fresh.entities if it.HasField("next_read_at") and it.entity != 7)


async def test_an_idle_day_of_the_smallest_tier_costs_600_calls_and_2_megabytes_at_most(sqlite_url: str) -> None:
    async with (
        serve(dataclasses.replace(SMALL, tier=Tier.STARTER)) as sandbox,
        days(sandbox, sqlite_url) as around,
    ):
        connection = await around.running.connected()
        await around.passing(30 * MINUTE)
        sandbox.requests.clear()
        await around.passing(DAY, step=A_BIT_MORE_THAN_5_MINUTES)
        asked = sandbox.requests.find(path=READS)
        assert 400 < len(asked) <= 600  # payments alone every five minutes are 288
        payments = [entry.at for entry in asked if entry.path.endswith("/Payments")]
        gaps = [later - earlier for earlier, later in pairwise(payments)]
        assert max(gaps) <= 6 * MINUTE
        assert sum(entry.bytes for entry in asked) <= 2 * MEGABYTE
        assert list(limits_kept(sandbox)) == []
        fresh = await around.running.client.syncs.freshness(connection.id)
        assert fresh.calls.day_limit == 1_000
        assert fresh.projected_month_bytes > 0


@contextlib.asynccontextmanager
async def held(database_url: str) -> AsyncIterator[tuple[Days, Connection, pb.Sync]]:
    """A connection in whose books far too much was voided at once, and the sync that is held for it."""
    async with serve(SMALL) as sandbox, days(sandbox, database_url) as around:
        books = sandbox.books
        customer = open_invoices(books)[0].contact
        mistakes = [books.create_invoice(customer.id, AMOUNT) for _ in range(len(ledger_of(truth_of(books))) // 2)]
        connection = await around.running.connected()
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        for mistake in mistakes:
            books.void(mistake.id)
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        (sync,) = await around.running.client.syncs.list(connection.id).first(1)
        yield around, connection, sync


def ledger_of(mirror: Truth) -> set[str]:
    return {key for key, row in mirror["invoices"].items() if row[0] in ("AUTHORISED", "PAID")}


async def test_a_mishap_holds_a_sync_until_somebody_confirms_it_and_meanwhile_the_rest_goes_on(
    database_url: str,
) -> None:
    async with held(database_url) as (around, connection, sync):
        assert (sync.state, sync.requested_by) == (pb.SYNC_STATE_HELD, "schedule")
        assert sync.error.reason == "TOO_MANY_REMOVED"
        mirror = await mirror_of(around.database_url, connection.id)
        truth = truth_of(around.sandbox.books)
        assert len(ledger_of(mirror)) > len(ledger_of(truth))
        books, syncs = around.sandbox.books, around.running.client.syncs
        contact = books.create_contact("Made While It Was Held")
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        assert contact.id in (await mirror_of(around.database_url, connection.id))["contacts"]
        assert (await syncs.start(connection.id)).sync.id == sync.id  # there is never a second one
        confirmed = await syncs.resolve_held(sync.id, pb.HELD_SYNC_DECISION_CONFIRM, note="We stopped that product.")
        assert confirmed.state == pb.SYNC_STATE_RUNNING
        last = [m.progress async for m in syncs.watch(sync.id) if m.HasField("progress")][-1]
        assert last.sync.state == pb.SYNC_STATE_SUCCEEDED
        assert sum(line.removed for line in last.entities) == len(ledger_of(mirror)) - len(ledger_of(truth))
        again = await syncs.resolve_held(sync.id, pb.HELD_SYNC_DECISION_CONFIRM)
        assert again.state == pb.SYNC_STATE_SUCCEEDED
        with pytest.raises(errors.NotPermittedNowError):
            await syncs.resolve_held(sync.id, pb.HELD_SYNC_DECISION_DISCARD)
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        assert await differences_of(around, connection) == []


async def test_a_held_sync_that_is_discarded_changes_nothing_and_is_not_asked_about_again_that_day(
    sqlite_url: str,
) -> None:
    async with held(sqlite_url) as (around, connection, sync):
        before = ledger_of(await mirror_of(sqlite_url, connection.id))
        syncs = around.running.client.syncs
        discarded = await syncs.resolve_held(sync.id, pb.HELD_SYNC_DECISION_DISCARD)
        assert (discarded.state, discarded.error.reason) == (pb.SYNC_STATE_CANCELLED, "TOO_MANY_REMOVED")
        await around.passing(12 * HOUR, step=2 * HOUR)
        assert ledger_of(await mirror_of(sqlite_url, connection.id)) == before
        assert (await syncs.list(connection.id).first(1))[0].id == sync.id
        await around.passing(14 * HOUR, step=2 * HOUR)
        assert (await syncs.list(connection.id).first(1))[0].state == pb.SYNC_STATE_HELD


async def test_a_listing_that_is_suddenly_empty_holds_a_sync_and_empties_nothing(sqlite_url: str) -> None:
    async with serve(SMALL) as sandbox, days(sandbox, sqlite_url) as around:
        connection = await around.running.connected()
        before = await mirror_of(sqlite_url, connection.id)
        contacts = dict(sandbox.books.contacts)
        sandbox.books.contacts.clear()
        sandbox.books.revision += 1
        syncs = around.running.client.syncs
        asked = await syncs.start(connection.id, mode=pb.SYNC_MODE_FULL)
        async for message in syncs.watch(asked.sync.id):
            if message.progress.sync.state == pb.SYNC_STATE_HELD:
                break
        assert message.progress.sync.error.reason == "NOTHING_RETURNED"
        assert await mirror_of(sqlite_url, connection.id) == before
        sandbox.books.contacts.update(contacts)
        sandbox.books.revision += 1
        await syncs.resolve_held(asked.sync.id, pb.HELD_SYNC_DECISION_CONFIRM)
        last = [m.progress async for m in syncs.watch(asked.sync.id) if m.HasField("progress")][-1]
        assert last.sync.state == pb.SYNC_STATE_SUCCEEDED
        assert await mirror_of(sqlite_url, connection.id) == before


async def test_a_day_that_is_used_up_parks_polling_until_it_is_over_and_says_so(sqlite_url: str) -> None:
    async with serve(SMALL) as sandbox, days(sandbox, sqlite_url) as around:
        connection = await around.running.connected()
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        over_in = str(int(HALF_A_DAY.total_seconds()))  # the sandbox's own day could be over in a minute
        sandbox.faults.add(FaultRule(FaultKind.LIMIT_DAY, "/Payments$", retry_after=over_in))
        await around.passing(6 * MINUTE)
        parked = await around.running.client.connections.get(connection.id)
        assert (parked.health, parked.reason.code) == (
            CONNECTION_HEALTH_DEGRADED, CONNECTION_REASON_CODE_DAY_LIMIT_REACHED,
        )  # fmt: skip
        fresh = await around.running.client.syncs.freshness(connection.id)
        next_at = min(it.next_read_at.ToDatetime(UTC) for it in fresh.entities)
        assert next_at > around.clock.now() + HALF_A_DAY - 10 * MINUTE
        sandbox.books.create_contact("Made While The Day Was Over")
        asked = sandbox.requests.count(READS)
        await around.passing(next_at - around.clock.now() - MINUTE, step=HOUR)
        assert sandbox.requests.count(READS) == asked
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        assert await differences_of(around, connection) == []
        well = await around.running.client.connections.get(connection.id)
        assert (well.health, well.HasField("reason")) == (CONNECTION_HEALTH_OK, False)


@pytest.mark.parametrize("switches", [Switches(modified_since_inclusive=inclusive) for inclusive in (True, False)])
async def test_changes_of_one_second_across_pages_are_all_met_whether_or_not_a_sync_asks_from_it_inclusively(
    database_url: str, switches: Switches
) -> None:
    async with serve(dataclasses.replace(SMALL, switches=switches)) as sandbox, days(sandbox, database_url) as around:
        connection = await around.running.connected()
        await around.passing(10 * MINUTE, step=5 * MINUTE)
        with small_pages(5):
            for invoice in open_invoices(sandbox.books)[:12]:
                sandbox.books.edit_invoice(invoice.id, due_on=date(2027, 3, 1))
            await around.passing(10 * MINUTE, step=5 * MINUTE)
        assert await differences_of(around, connection) == []
