"""One payment that Xero minds, or one that it only seemed to lose, costs the others nothing and nobody money."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from documents import invoice
from fakes import SettableClock, _database
from paying import CONNECTION, PayingBooks, PayingXero, Process, books_with, connect, mirrored_deletion, process
from tieout_server.errors import RejectedError
from tieout_server.exports.exporting import LOOKS
from tieout_server.exports.means import UPKEEP
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.writes import RecordKind
from tieout_server.storage import webhooks

MANY = 40


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Process]:
    """A process whose connection splits overpayments, and an organisation with many invoices of ten dollars."""
    path = tmp_path / "tieout.db"
    await (await _database(path)).close()
    clock = SettableClock()
    xero = books_with(clock, {"i1": "100", "i2": "200", "i3": "300"})
    for number in range(MANY):
        ten = Decimal(10)
        xero.documents[Entity.INVOICES, f"j{number}"] = invoice(f"j{number}", number=f"J{number}", total=ten, due=ten)
    it = process(f"sqlite:///{path}", xero)
    await connect(it, overpayment_policy="SPLIT")
    yield it
    await it.dies()


def paid(xero: PayingXero) -> list[Decimal]:
    """The payments and overpayments that stand in the books."""
    kinds = (RecordKind.PAYMENT, RecordKind.OVERPAYMENT)
    found = [one for one in xero.records.values() if one.status == "AUTHORISED" and one.kind in kinds]
    return [one.amount or one.draft.amount for one in found]  # type: ignore[union-attr] # an overpayment has one


async def sliced(one: Process) -> None:
    """What is due is done, without what proves it afterwards."""
    for _ in range(2):
        await one.slice()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many invoices each call asks for."""
    asked: list[int] = []
    asks = PayingBooks.payable

    async def payable(self: PayingBooks, ids: Any, numbers: Any, purpose: Any) -> Any:  # noqa: ANN401 - as it is there
        asked.append(len(ids))
        return await asks(self, ids, numbers, purpose)

    monkeypatch.setattr(PayingBooks, "payable", payable)
    return asked


# What cannot be asked for


async def test_of_many_the_one_that_cannot_be_asked_for_is_found_by_halves(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [await one.pay(f"p{number}", "10", (f"j{number}", "10")) for number in range(MANY)]
    one.xero.unaskable = "j7"
    asked = counted(monkeypatch)
    await one.slice()
    assert len(asked) <= 13
    refused = await one.now(made[7])
    assert refused.error
    assert (refused.xero_status, refused.error.xero_messages) == ("ERROR", ("A GUID is expected.",))
    await one.run()
    assert {(await one.now(export)).xero_status for export in [*made[:7], *made[8:]]} == {"VERIFIED"}
    assert sum(paid(one.xero)) == 10 * (MANY - 1)


async def test_what_is_refused_whatever_is_asked_is_no_payments_fault(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [await one.pay(f"p{number}", "10", (f"j{number}", "10")) for number in range(MANY)]
    looks = 0

    async def refuses(*_: object) -> None:
        nonlocal looks
        looks += 1
        raise RejectedError("Xero refused it.", ("The organisation is being moved.",))

    with monkeypatch.context() as patched:
        patched.setattr(PayingBooks, "payable", refuses)
        await one.slice()
    assert looks <= LOOKS + 2
    assert {(await one.now(export)).xero_status for export in made} == {"QUEUED"}
    await one.run()
    assert {(await one.now(export)).xero_status for export in made} == {"VERIFIED"}


async def test_accounts_that_cannot_be_read_are_no_payments_fault(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = await one.pay("p1", "50", ("i1", "50"))

    async def refuses(*_: object) -> None:
        raise RejectedError("Xero refused it.", ("The organisation is being moved.",))

    with monkeypatch.context() as patched:
        patched.setattr(PayingBooks, "organisation", refuses)
        await one.slice()
    assert (await one.now(export)).xero_status == "QUEUED"
    await one.run()
    assert (await one.now(export)).xero_status == "VERIFIED"


# What is only said to be removed


async def test_what_is_said_to_be_removed_and_is_there_is_not_paid_again(one: Process) -> None:
    export = await one.pay("p1", "50", ("i1", "50"))
    await one.run()
    [made] = (await one.now(export)).records
    await mirrored_deletion(one, made.xero_id)
    one.clock.time += timedelta(minutes=3)
    await one.slice(UPKEEP)
    assert (await one.now(export)).xero_status == "REMOVED_IN_XERO"
    await one.again(export)
    await sliced(one)
    again = await one.now(export)
    assert (again.xero_status, again.records) == ("EXPORTED", (made,))
    assert paid(one.xero) == [50]
    async with one.database.read() as tx:  # and what said so is read again
        reading = await webhooks.due(tx, CONNECTION, one.clock.now(), 10)
    assert (Entity.PAYMENTS, made.xero_id) in [(named.entity, named.xero_id) for named in reading]


async def test_a_batch_that_is_said_to_be_removed_and_is_there_is_not_paid_again(one: Process) -> None:
    export = await one.pay("p1", "100", ("i2", "50"), ("i3", "50"))
    await one.run()
    part = next(name for name, kept in one.xero.records.items() if kept.xero_invoice_id == "i2")
    await mirrored_deletion(one, part)
    one.clock.time += timedelta(minutes=3)
    await one.slice(UPKEEP)
    assert (await one.now(export)).xero_status == "REMOVED_IN_XERO"
    await one.again(export)
    await sliced(one)
    assert ((await one.now(export)).xero_status, paid(one.xero)) == ("EXPORTED", [Decimal(50)] * 2)


async def test_a_linked_payment_that_is_said_to_be_removed_and_is_there_is_not_paid_again(one: Process) -> None:
    theirs = one.xero.somebody_pays("i1", "50")
    export = await one.pay("p1", "50", ("i1", "50"))
    await one.run()
    assert (await one.now(export)).xero_status == "ALREADY_RECORDED"
    await mirrored_deletion(one, theirs)
    one.clock.time += timedelta(minutes=3)
    await one.slice(UPKEEP)
    assert (await one.now(export)).xero_status == "REMOVED_IN_XERO"
    await one.again(export)
    await sliced(one)
    assert ((await one.now(export)).xero_status, paid(one.xero)) == ("ALREADY_RECORDED", [Decimal(50)])


# What is left of a plan that was given up


async def test_who_is_faster_than_a_split_payment_holds_nobody_up(one: Process) -> None:
    split, other = await one.pay("p1", "120", ("i1", "120")), await one.pay("p2", "50", ("i2", "50"))
    one.xero.faults = [lambda: one.xero.somebody_pays("i1", "60") and None]
    await one.run()
    assert [(await one.now(export)).xero_status for export in (split, other)] == ["VERIFIED", "VERIFIED"]
    assert sorted(paid(one.xero)) == [40, 50, 60, 80]


async def test_after_a_call_that_is_refused_as_a_whole_no_overpayment_goes_before_its_payment(one: Process) -> None:
    made = [await one.pay(f"p{number}", "120", (f"i{number}", "120")) for number in (1, 2)]
    await connect(one, overpayment_policy="SPLIT")
    one.xero.faults = [RejectedError("Xero refused it.", ("The file is too large.",))]
    await one.slice()
    assert one.xero.records == {}
    await one.run()
    assert {(await one.now(export)).xero_status for export in made} == {"VERIFIED"}
    assert sum(paid(one.xero)) == 240
