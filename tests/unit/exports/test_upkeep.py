"""What was sent is looked for in few calls, whatever Xero's limits leave, and notes hold nothing up."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete

from documents import payment
from fakes import SettableClock, _database
from paying import CONNECTION, Process, books_with, connect, mirrored_deletion, process
from tieout_server.exports.means import EXPORT, NOTES, UPKEEP
from tieout_server.ledger.exports import PaymentExport
from tieout_server.ledger.writes import RecordKind
from tieout_server.storage import export_steps, exports, mirror
from tieout_server.storage.export_tables import export_links
from tieout_server.work.engine import Priority

MANY = 60
"""More than one transaction notes."""


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Process]:
    """A connected organisation with open invoices; what is paid too much becomes an overpayment."""
    path = tmp_path / "tieout.db"
    await (await _database(path)).close()
    clock = SettableClock()
    running = process(f"sqlite:///{path}", books_with(clock, {"i1": "100", "i3": "300"}))
    await connect(running, overpayment_policy="SPLIT")
    yield running
    await running.dies()


async def count(one: Process, status: str) -> int:
    async with one.database.read() as tx:
        return len(await exports.with_status(tx, CONNECTION, (status,), limit=1_000))


async def sent(one: Process) -> PaymentExport:
    """A payment that is in Xero and was not looked for yet."""
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.slice()
    one.clock.time += timedelta(seconds=3)
    return export


async def test_notes_without_calls_hold_neither_proof_nor_watch_up(one: Process) -> None:
    one.xero.notes_wait_until = one.clock.now() + timedelta(hours=10)
    export = await sent(one)
    await one.slice(UPKEEP)
    assert await one.slice(NOTES) == one.xero.notes_wait_until
    (name,) = one.xero.records
    await mirrored_deletion(one, name)
    one.clock.time += timedelta(minutes=2)
    await one.slice(UPKEEP)
    assert (await one.now(export)).xero_status == "REMOVED_IN_XERO"


async def test_notes_are_added_once_there_are_calls_for_them(one: Process) -> None:
    one.xero.notes_wait_until = one.clock.now() + timedelta(hours=10)
    await sent(one)
    await one.slice(UPKEEP)
    await one.slice(NOTES)
    one.clock.time, one.xero.notes_wait_until = one.xero.notes_wait_until, None
    assert await one.slice(NOTES) is None
    assert len(one.xero.notes) == 1


async def test_the_mirror_is_watched_while_a_day_has_no_more_calls(one: Process) -> None:
    export = await sent(one)
    await one.slice(UPKEEP)
    one.xero.calls_left = 0
    over = await one.pay("p2", "301", ("i3", "301"))
    await one.slice()
    one.clock.time += timedelta(seconds=3)
    again_at = await one.slice(UPKEEP)
    assert again_at
    assert again_at - one.clock.now() <= timedelta(minutes=2)
    name = next(name for name, made in one.xero.records.items() if made.xero_invoice_id == "i1")
    await mirrored_deletion(one, name)
    one.clock.time = again_at
    await one.slice(UPKEEP)
    assert (await one.now(export)).xero_status == "REMOVED_IN_XERO"
    assert (await one.now(over)).xero_status == "EXPORTED"


async def test_many_overpayments_are_seen_by_one_listing(one: Process) -> None:
    for number in range(MANY):
        await one.pay(f"p{number}", "2", ("i3", "1"))
    await one.slice()
    one.clock.time += timedelta(seconds=3)
    one.xero.calls_left, one.xero.listings = 0, []
    await one.slice(UPKEEP)
    assert await count(one, "VERIFIED") == MANY
    assert [kind for kind, _ in one.xero.listings] == [RecordKind.OVERPAYMENT]


async def test_what_is_not_shown_is_asked_for_in_few_calls_and_holds_no_proof_up(one: Process) -> None:
    hidden = [await one.pay(f"p{number}", "2", ("i3", "1")) for number in range(MANY)]
    seen = await one.pay("seen", "100", ("i1", "100"))
    await one.slice()
    for name, made in list(one.xero.records.items()):
        if made.xero_invoice_id != "i1":
            one.xero.records[name] = msgspec.structs.replace(made, status="DELETED")
    one.xero.is_silent_about_deletions, one.xero.calls_left = True, 20
    one.clock.time += timedelta(minutes=2)
    await one.slice(UPKEEP)
    assert (await one.now(seen)).xero_status == "VERIFIED"
    removed = await count(one, "REMOVED_IN_XERO")
    assert 0 < removed <= 20, "one for each call, and two of one export are no more"
    one.xero.is_silent_about_deletions, one.xero.calls_left = False, 0
    one.clock.time += timedelta(hours=1)
    await one.slice(UPKEEP)
    assert await count(one, "REMOVED_IN_XERO") == len(hidden), "where it tells of them, no more calls are needed"


async def test_what_comes_long_after_it_was_given_up_is_told_wherever_it_is_seen(one: Process) -> None:
    export = await one.pay("p1", "40", ("i1", "40"))
    one.xero.faults = ["before", "before", "before"]
    await one.run()
    done = await one.now(export)
    assert done.xero_status == "VERIFIED"
    async with one.database.write() as tx:
        (lost,) = await export_steps.in_state(tx, CONNECTION, ("DROPPED",), 9)
        late = payment("late", xero_document_id="i1", reference=f"{lost.marker} p1", amount=Decimal(40))
        await mirror.save(tx, CONNECTION, [late], seen_in=0, at=one.clock.now())
    for _ in range(2):
        one.clock.time += timedelta(minutes=3)
        await one.slice(UPKEEP)
    told = (await one.now(export)).history[len(done.history) :]
    assert len(told) == 1, "it is told once"
    assert "payment late of 40.00 NZD" in told[0].sentence
    await mirrored_deletion(one, "late")
    one.clock.time += timedelta(minutes=3)
    await one.slice(UPKEEP)
    again = await one.now(export)
    assert (again.xero_status, again.history[-1].sentence) == ("VERIFIED", "What Xero showed twice was removed there.")


async def test_what_comes_before_it_is_sent_again_is_no_double(one: Process) -> None:
    export = await one.pay("p1", "40", ("i1", "40"))
    other = await one.pay("p2", "5", ("i1", "5"))
    await one.slice()
    async with one.database.write() as tx:
        await one.engine.wake(tx, EXPORT, CONNECTION, priority=Priority.ASKED, at=one.clock.now())
        (sent,) = (await export_steps.of_exports(tx, [export.id]))[export.id]
        await export_steps.put(tx, msgspec.structs.replace(sent, state="DROPPED", xero_id=""))
        await tx.execute(delete(export_links).where(export_links.c.export_id == export.id))
        queued = msgspec.structs.replace(await one.now(export), xero_status="QUEUED", records=())
        queued = msgspec.structs.replace(queued, due_at=one.clock.now() + timedelta(minutes=1))
        await exports.put(tx, queued, verify_at=None)
    one.clock.time += timedelta(seconds=3)
    await one.slice(UPKEEP)
    assert (await one.now(other)).xero_status == "VERIFIED"
    assert "twice" not in repr((await one.now(export)).history)
    await one.run()
    assert ((await one.now(export)).xero_status, one.xero.due("i1")) == ("ALREADY_RECORDED", Decimal(55))
