"""What is taken back is taken back once: deleted, refunded, or owed again, whatever is killed or lost in between."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from documents import payment
from fakes import SettableClock, _database
from paying import (
    CONNECTION,
    EXCEEDS,
    KilledError,
    PayingBooks,
    PayingXero,
    Process,
    books_with,
    connect,
    mirrored_deletion,
    process,
)
from tieout_server.errors import CallLimitError, NotPermittedNowError, UnexpectedAnswerError
from tieout_server.exports.messages import Dismiss, Reverse
from tieout_server.exports.state import ReversalKind
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.documents import Account, Entity
from tieout_server.ledger.exports import PaymentExport
from tieout_server.ledger.money import Money
from tieout_server.ledger.writes import InvoiceDraft, RecordKind, RefundDraft, SpentMoneyDraft
from tieout_server.storage import connections, export_settings, mirror, reversals

REFUNDS = "refunds"


class Stage:
    """Books with one open invoice, and the processes beside them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = SettableClock()
        self.xero: PayingXero = books_with(self.clock, {"i1": "100", "i2": "200"})
        self.xero.documents[Entity.ACCOUNTS, REFUNDS] = Account(
            xero_account_id=REFUNDS,
            name="Refunds",
            kind="CURRLIAB",
            status="ACTIVE",
            updated_at=self.clock.now(),
            code="299",
        )

    def counting(self, kind: RecordKind) -> list[str]:
        """What of a kind is in the books."""
        return [one.xero_id for one in self.xero.records.values() if one.kind is kind and one.status == "AUTHORISED"]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[tuple[Stage, Process]]:
    """Books with open invoices and one process."""
    there, one = await _begin(tmp_path / "tieout.db")
    yield there, one
    await one.dies()


async def _begin(path: Path) -> tuple[Stage, Process]:
    await (await _database(path)).close()
    there = Stage(f"sqlite:///{path}")
    one = process(there.url, there.xero)
    await connect(one, refund_xero_account_id=REFUNDS)
    return there, one


async def reverse(
    one: Process, export: PaymentExport, kind: ReversalKind = ReversalKind.CHARGEBACK, amount: str = ""
) -> None:
    asked = Reverse(
        export_id=export.id,
        kind=kind,
        reversal_id=f"back-{export.payment.payment_id}-{amount}",
        amount=Money("NZD", Decimal(amount)) if amount else None,
        reversed_on=date(2026, 11, 22),
    )
    await one.exports.reverse(asked)


async def test_a_chargeback_deletes_the_payment(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export)
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [r.xero_status for r in done.reversals]) == ("REVERSED", ["VERIFIED"])
    assert there.counting(RecordKind.PAYMENT) == []
    assert [record.removed for record in done.records] == [True]
    assert done.reversals[0].completed_at


async def test_a_batch_is_deleted_as_a_whole(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "300", ("i1", "100"), ("i2", "200"))
    await one.run()
    await reverse(one, export, ReversalKind.LATE_FAILURE)
    await one.run()
    assert ((await one.now(export)).xero_status, there.counting(RecordKind.PAYMENT)) == ("REVERSED", [])


async def test_what_our_reversal_deleted_is_nobodys_removal(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export)
    await one.run()
    assert "REMOVED_IN_XERO" not in [event.xero_status for event in (await one.now(export)).history]
    assert there.counting(RecordKind.PAYMENT) == []


async def test_our_deletion_is_nobodys_removal_while_its_answer_is_lost(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.slice()
    there.xero.shows_new = False  # Xero is slow to show what it accepted: it is EXPORTED, and not VERIFIED
    there.clock.time += timedelta(seconds=73)
    await one.slice("export_upkeep")
    await reverse(one, export)
    there.xero.faults = ["after"] * 3
    await one.slice()
    there.xero.shows_new = True
    there.clock.time += timedelta(seconds=75)
    await one.slice("export_upkeep")
    assert there.counting(RecordKind.PAYMENT) == []
    assert (await one.now(export)).xero_status == "EXPORTED"
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [r.xero_status for r in done.reversals]) == ("REVERSED", ["VERIFIED"])
    assert "REMOVED_IN_XERO" not in [event.xero_status for event in done.history]


async def removed(there: Stage, one: Process) -> None:
    """Somebody deletes the payment, and polling brings it."""
    (name,) = there.counting(RecordKind.PAYMENT)
    there.xero.records[name] = msgspec.structs.replace(there.xero.records[name], status="DELETED")
    await mirrored_deletion(one, name)
    there.clock.time += timedelta(minutes=3)
    await one.slice("export_upkeep")


async def test_what_is_on_its_way_back_is_not_exported_again(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export)
    await removed(there, one)
    assert (await one.now(export)).xero_status == "REMOVED_IN_XERO"
    with pytest.raises(NotPermittedNowError, match="under way"):
        await one.again(export)
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [r.xero_status for r in done.reversals]) == ("REVERSED", ["VERIFIED"])
    assert there.counting(RecordKind.PAYMENT) == []


@pytest.mark.parametrize(
    "said", ["This payment cannot be deleted: it is DELETED.", "Payment has already been deleted", "Unheard of."]
)
async def test_a_deletion_that_somebody_was_faster_with_is_done(stage: tuple[Stage, Process], said: str) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    (name,) = there.counting(RecordKind.PAYMENT)

    def somebody_deletes_it() -> None:
        there.xero.records[name] = msgspec.structs.replace(there.xero.records[name], status="DELETED")
        there.xero.refusals = {"Deletion": said}

    there.xero.faults = [somebody_deletes_it]
    await reverse(one, export)
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [r.xero_status for r in done.reversals]) == ("REVERSED", ["VERIFIED"])
    assert [record.removed for record in done.records] == [True]
    assert there.counting(RecordKind.INVOICE) == there.counting(RecordKind.SPENT_MONEY) == []


@pytest.mark.parametrize("has_waited", [False, True])
async def test_what_is_gone_is_not_owed_again(stage: tuple[Stage, Process], *, has_waited: bool) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    (name,) = there.counting(RecordKind.PAYMENT)
    await _reconciled(one, name)
    await reverse(one, export)
    if has_waited:  # with a plan
        there.xero.faults = [CallLimitError("No more today.", "day", there.clock.now() + timedelta(hours=5))]
        await one.slice()
        there.clock.time += timedelta(hours=6)
    there.xero.records[name] = msgspec.structs.replace(there.xero.records[name], status="DELETED")
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [r.xero_status for r in done.reversals]) == ("REVERSED", ["VERIFIED"])
    assert there.counting(RecordKind.INVOICE) == there.counting(RecordKind.SPENT_MONEY) == []


async def _reconciled(one: Process, xero_payment_id: str) -> None:
    async with one.database.write() as tx:
        document = payment(xero_payment_id, xero_document_id="i1", is_reconciled=True)
        await mirror.save(tx, CONNECTION, [document], seen_in=0, at=one.clock.now())


async def test_what_somebody_removed_is_not_refunded(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export, ReversalKind.REFUND)
    await removed(there, one)
    await one.run()
    gone = await one.now(export)
    (failed,) = gone.reversals
    assert (gone.xero_status, failed.xero_status) == ("REMOVED_IN_XERO", "ERROR")
    assert failed.error
    assert "nothing to refund" in failed.error.sentence
    assert there.counting(RecordKind.CREDIT_NOTE) == []
    await one.again(export)
    await one.run()
    await one.again(export)
    await one.run()
    assert (await one.now(export)).xero_status == "REVERSED"
    assert len(there.counting(RecordKind.REFUND)) == len(there.counting(RecordKind.PAYMENT)) == 1


async def test_a_refund_does_not_hide_that_its_payment_was_removed(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export, ReversalKind.REFUND)
    limit = CallLimitError("No more today.", "day", there.clock.now() + timedelta(hours=5))

    def the_refund_waits() -> None:
        there.xero.faults = [limit]

    there.xero.faults = [the_refund_waits]
    await one.slice()
    await removed(there, one)
    there.clock.time += timedelta(hours=6)
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [r.xero_status for r in done.reversals]) == ("REMOVED_IN_XERO", ["VERIFIED"])
    with pytest.raises(NotPermittedNowError, match="All of the payment was refunded"):
        await one.again(export)
    await one.exports.dismiss(Dismiss(export_id=export.id, note="recorded by hand"))


async def test_what_xero_does_not_delete_is_owed_again_in_the_open_period(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    there.xero.refusals = {"Deletion": "This payment cannot be deleted as it has been reconciled."}
    await reverse(one, export)
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [r.xero_status for r in done.reversals]) == ("REVERSED", ["VERIFIED"]), done.history[-1]
    assert len(there.counting(RecordKind.INVOICE)) == len(there.counting(RecordKind.SPENT_MONEY)) == 1
    assert len(there.counting(RecordKind.PAYMENT)) == 1
    assert [record.kind for record in done.reversals[0].records] == [RecordKind.INVOICE, RecordKind.SPENT_MONEY]


async def test_a_refund_is_a_credit_note_that_is_paid_back(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export, ReversalKind.REFUND, "30")
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [r.xero_status for r in done.reversals]) == ("VERIFIED", ["VERIFIED"])
    (note,) = there.counting(RecordKind.CREDIT_NOTE)
    (refund,) = there.counting(RecordKind.REFUND)
    assert there.xero.records[refund].draft.xero_credit_id == note  # type: ignore[union-attr] # a refund
    await reverse(one, export, ReversalKind.REFUND, "70")
    await one.run()
    assert (await one.now(export)).xero_status == "REVERSED"


async def test_what_is_refused_waits_for_somebody_and_goes_on_when_asked(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    there.xero.refusals = {"RefundDraft": "You cannot do this on a Sunday."}
    await reverse(one, export, ReversalKind.REFUND)
    await one.run()
    (failed,) = (await one.now(export)).reversals
    assert failed.error
    assert (failed.xero_status, failed.error.xero_messages) == ("ERROR", ("You cannot do this on a Sunday.",))
    there.xero.refusals = {}
    await one.again(export)
    await one.run()
    assert (await one.now(export)).xero_status == "REVERSED"
    assert len(there.counting(RecordKind.CREDIT_NOTE)) == len(there.counting(RecordKind.REFUND)) == 1


@pytest.mark.parametrize("kind", [ReversalKind.REFUND, ReversalKind.CHARGEBACK])
@pytest.mark.parametrize(("loss", "start"), [("", 1), ("before", 1), ("after", 2)])
async def test_killed_at_any_commit_it_is_taken_back_once(
    tmp_path: Path, kind: ReversalKind, loss: str, start: int
) -> None:
    for commit in range(start, 60, 5 if loss else 1):
        there, victim = await _begin(tmp_path / f"{commit}.db")
        export = await victim.pay("p1", "100", ("i1", "100"))
        await victim.run()
        await reverse(victim, export, kind)
        there.xero.faults = [loss] * 3 if loss else []
        victim.database.dies_before = victim.database.commits + commit
        was_killed = False
        try:
            await victim.run()
        except KilledError:
            was_killed = True
        await victim.dies()
        there.xero.faults = []
        there.clock.time += timedelta(seconds=21)
        heir = process(there.url, there.xero)
        await heir.run()
        assert (await heir.now(export)).xero_status == "REVERSED", f"commit {commit}"
        refunds = len(there.counting(RecordKind.CREDIT_NOTE)), len(there.counting(RecordKind.REFUND))
        payments = len(there.counting(RecordKind.PAYMENT))
        assert (refunds, payments) == (((1, 1), 1) if kind is ReversalKind.REFUND else ((0, 0), 0)), f"commit {commit}"
        await heir.dies()
        if not was_killed:
            return
    pytest.fail("it never came to its end")


async def test_a_payment_that_somebody_deletes_is_told_and_exported_again_when_asked(
    stage: tuple[Stage, Process],
) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    (name,) = there.counting(RecordKind.PAYMENT)
    there.xero.records[name] = msgspec.structs.replace(there.xero.records[name], status="DELETED")
    await mirrored_deletion(one, name)
    there.clock.time += timedelta(minutes=3)
    await one.slice("export_upkeep")
    gone = await one.now(export)
    assert (gone.xero_status, [record.removed for record in gone.records]) == ("REMOVED_IN_XERO", [True])
    await one.again(export)
    await one.run()
    assert ((await one.now(export)).xero_status, len(there.counting(RecordKind.PAYMENT))) == ("VERIFIED", 1)


async def refunds_on(there: Stage, one: Process, account: str, code: str = "300") -> None:
    """The account for refunds is chosen anew; empty: none is. What was read of accounts is forgotten by then."""
    there.clock.time += timedelta(minutes=6)
    there.xero.documents[Entity.ACCOUNTS, account] = Account(
        xero_account_id=account, name=account, kind="CURRLIAB", status="ACTIVE", updated_at=there.clock.now(), code=code
    )
    async with one.database.write() as tx:
        chosen = await export_settings.get(tx, CONNECTION)
        await export_settings.put(tx, msgspec.structs.replace(chosen, refund_xero_account_id=account))


@pytest.mark.parametrize(("first", "then"), [("100", "100"), ("60", "70")])
async def test_a_failed_reversal_does_not_take_back_what_another_took_meanwhile(
    stage: tuple[Stage, Process], first: str, then: str
) -> None:
    there, one = stage
    await refunds_on(there, one, "")
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export, ReversalKind.REFUND, first)
    await one.run()
    await refunds_on(there, one, REFUNDS)
    amount = Money("NZD", Decimal(then))
    await one.exports.reverse(
        Reverse(export_id=export.id, kind=ReversalKind.REFUND, reversal_id="another", amount=amount)
    )
    await one.run()
    (failed,) = [r for r in (await one.now(export)).reversals if r.xero_status == "ERROR"]
    async with one.database.write() as tx:  # as changed settings and ReexportPayment do
        await one.exports._means.wake(tx, CONNECTION)
        due = msgspec.structs.replace(failed, xero_status="QUEUED", error=None, due_at=there.clock.now())
        await reversals.put(tx, due)
    await one.run()
    still = next(r for r in (await one.now(export)).reversals if r.id == failed.id)
    assert still.error
    assert (still.xero_status, "meanwhile" in still.error.sentence) == ("ERROR", True)
    assert len(there.counting(RecordKind.CREDIT_NOTE)) == len(there.counting(RecordKind.REFUND)) == 1


async def test_a_refund_that_goes_on_with_another_account_is_one_credit_note(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    there.xero.refusals = {"RefundDraft": "You cannot do this on a Sunday."}
    await reverse(one, export, ReversalKind.REFUND)
    await one.run()
    there.xero.refusals = {}
    await refunds_on(there, one, "others")
    await one.again(export)
    await one.run()
    assert (await one.now(export)).xero_status == "REVERSED"
    assert len(there.counting(RecordKind.CREDIT_NOTE)) == len(there.counting(RecordKind.REFUND)) == 1


async def test_what_is_owed_again_is_so_once_though_the_account_is_chosen_anew(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    kept = {"Deletion": "This payment cannot be deleted as it has been reconciled."}
    there.xero.refusals = {**kept, "SpentMoneyDraft": "Account code '299' is not a valid code for this document"}
    await reverse(one, export)
    await one.run()
    (failed,) = (await one.now(export)).reversals
    assert failed.error
    assert "refunds" in failed.error.sentence
    assert failed.error.remedy.startswith("Restore that account in Xero")
    assert failed.error.xero_messages
    there.xero.refusals = kept
    await refunds_on(there, one, "others")
    await one.again(export)
    await one.run()
    assert (await one.now(export)).xero_status == "REVERSED"
    assert len(there.counting(RecordKind.INVOICE)) == len(there.counting(RecordKind.SPENT_MONEY)) == 1
    drafts = [one.draft for one in there.xero.records.values() if isinstance(one.draft, InvoiceDraft | SpentMoneyDraft)]
    assert [line.xero_account_id for draft in drafts for line in draft.lines] == [REFUNDS] * 2, "it nets to zero there"


async def test_what_is_left_after_a_refund_is_owed_again_when_a_bank_takes_it(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export, ReversalKind.REFUND, "30")
    await one.run()
    await reverse(one, export, ReversalKind.CHARGEBACK, "70")
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [r.xero_status for r in done.reversals]) == ("REVERSED", ["VERIFIED"] * 2)
    made = [(record.kind, record.amount) for record in done.reversals[-1].records]
    assert made == [(RecordKind.INVOICE, Decimal(70)), (RecordKind.SPENT_MONEY, Decimal(70))]
    assert len(there.counting(RecordKind.PAYMENT)) == 1


async def test_the_rest_of_what_somebody_removed_is_taken_back_once_it_is_there_again(
    stage: tuple[Stage, Process],
) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export, ReversalKind.REFUND, "30")
    await one.run()
    await reverse(one, export, ReversalKind.CHARGEBACK, "70")
    await removed(there, one)
    await one.run()
    gone = await one.now(export)
    error = gone.reversals[-1].error
    assert error
    assert (gone.xero_status, gone.reversals[-1].xero_status) == ("REMOVED_IN_XERO", "ERROR")
    assert error.remedy.startswith("Export the payment again, and then take the rest back once more")
    assert there.counting(RecordKind.INVOICE) == there.counting(RecordKind.SPENT_MONEY) == []
    for _ in range(2):
        await one.again(export)
        await one.run()
    assert (await one.now(export)).xero_status == "REVERSED"
    assert len(there.counting(RecordKind.PAYMENT)) == len(there.counting(RecordKind.SPENT_MONEY)) == 1


# What a person sees meanwhile


async def connected(one: Process, state: str) -> None:
    async with one.database.write() as tx:
        link = await connections.get(tx, CONNECTION)
        assert link
        await connections.save(tx, msgspec.structs.replace(link, state=state))


async def test_a_reversal_says_that_it_waits_for_the_connection_and_goes_on_with_it(
    stage: tuple[Stage, Process],
) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export)
    await connected(one, "RECONNECT_REQUIRED")
    for _ in range(3):
        await one.slice()
        there.clock.time += timedelta(minutes=6)
    waiting = await one.now(export)
    (back,) = waiting.reversals
    assert back.error
    assert (back.xero_status, back.error.reason, back.error.owner) == ("QUEUED", "CONNECTION_LOST", "MERCHANT")
    assert (back.error.retries_by_itself, back.error.remedy) == (True, "Connect Xero again; it then goes on by itself.")
    assert [event.sentence.startswith("Not taken back yet.") for event in waiting.history].count(True) == 1
    await connected(one, "CONNECTED")
    await one.run()
    (back,) = (await one.now(export)).reversals
    assert (back.xero_status, back.error) == ("VERIFIED", None)


async def test_what_waits_between_two_steps_says_so(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export, ReversalKind.REFUND)
    limit = CallLimitError("No more today.", "day", there.clock.now() + timedelta(hours=5))
    there.xero.faults = [lambda: setattr(there.xero, "faults", [limit])]
    await one.slice()
    (back,) = (await one.now(export)).reversals
    assert back.error
    assert (back.error.reason, back.due_at) == ("RATE_LIMITED", limit.retry_at)
    assert len(there.counting(RecordKind.CREDIT_NOTE)) == 1
    there.clock.time += timedelta(hours=6)
    await one.run()
    assert (await one.now(export)).xero_status == "REVERSED"


async def taken_back_unseen(there: Stage, one: Process) -> PaymentExport:
    """A payment that was refunded a moment ago: Xero accepted it, and nobody has looked yet."""
    export = await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    await reverse(one, export, ReversalKind.REFUND)
    await one.slice()
    there.clock.time += timedelta(seconds=3)
    return await one.now(export)


async def test_what_xero_does_not_show_after_an_hour_is_said_and_looked_for_each_hour(
    stage: tuple[Stage, Process],
) -> None:
    there, one = stage
    export = await taken_back_unseen(there, one)
    hidden = {name: there.xero.records.pop(name) for name in there.counting(RecordKind.REFUND)}
    await one.run(timedelta(minutes=50))
    assert (await one.now(export)).reversals[0].error is None
    await one.run(timedelta(hours=30))
    seen = await one.now(export)
    (back,) = seen.reversals
    assert back.error
    assert (back.xero_status, back.error.reason, back.error.owner) == ("EXPORTED", "XERO_UNAVAILABLE", "XERO")
    assert back.error.retries_by_itself
    assert back.due_at
    assert back.due_at - there.clock.now() <= timedelta(hours=1)
    assert [event.sentence for event in seen.history].count(back.error.sentence) == 1
    there.xero.records |= hidden
    await one.run(timedelta(hours=2))
    (back,) = (await one.now(export)).reversals
    assert (back.xero_status, back.error) == ("VERIFIED", None)


async def test_what_was_made_to_take_it_back_and_is_removed_is_not_looked_for_for_ever(
    stage: tuple[Stage, Process],
) -> None:
    there, one = stage
    export = await taken_back_unseen(there, one)
    (name,) = there.counting(RecordKind.REFUND)
    there.xero.records[name] = msgspec.structs.replace(there.xero.records[name], status="DELETED")
    await one.run()
    (back,) = (await one.now(export)).reversals
    assert back.error
    assert (back.xero_status, back.due_at, back.error.owner) == ("REMOVED_IN_XERO", None, "MERCHANT")
    assert back.error.remedy == "If it is still to be taken back, record the refund again in Xero."


async def test_a_proof_that_cannot_be_read_says_so_and_whose_matter_that_is(
    stage: tuple[Stage, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, one = stage
    export = await taken_back_unseen(there, one)

    async def odd(*_: object) -> None:
        raise UnexpectedAnswerError("Xero's answer is not what was expected.")

    with monkeypatch.context() as patched:
        patched.setattr(PayingBooks, "status_of", odd)
        await one.run(timedelta(hours=2))
    seen = await one.now(export)
    (back,) = seen.reversals
    assert back.error
    assert (back.xero_status, back.error.owner, back.error.retries_by_itself) == ("EXPORTED", "OPERATOR", True)
    assert [event.sentence for event in seen.history].count(back.error.sentence) == 1
    await one.run(timedelta(hours=1))
    (back,) = (await one.now(export)).reversals
    assert (back.xero_status, back.error) == ("VERIFIED", None)


async def test_part_refunds_take_what_was_overpaid_first(stage: tuple[Stage, Process]) -> None:
    there, one = stage
    await connect(one, refund_xero_account_id=REFUNDS, overpayment_policy="SPLIT")
    export = await one.pay("p1", "120", ("i1", "120"))
    await one.run()
    for amount in ("15", "55", "49", "1"):
        await reverse(one, export, ReversalKind.REFUND, amount)
        await one.run()
    assert (await one.now(export)).xero_status == "REVERSED"
    drafts = [one.draft for one in there.xero.records.values()]
    refunds = [(d.entity, d.amount) for d in drafts if isinstance(d, RefundDraft)]
    credit, over = Entity.CREDIT_NOTES, Entity.OVERPAYMENTS
    parts = [(over, 15), (over, 5), (credit, 50), (credit, 49), (credit, 1)]
    assert refunds == [(entity, Decimal(amount)) for entity, amount in parts]


@pytest.mark.parametrize("words", [EXCEEDS, "Payments can only be made against Authorised documents"])
async def test_an_overpayment_that_was_applied_meanwhile_is_told_as_that(
    stage: tuple[Stage, Process], words: str
) -> None:
    there, one = stage
    await connect(one, refund_xero_account_id=REFUNDS, overpayment_policy="SPLIT")
    export = await one.pay("p1", "120", ("i1", "120"))
    await one.run()
    there.xero.refusals = {"RefundDraft(entity=<Entity.OVERPAYMENTS": words}
    await reverse(one, export)
    await one.run()
    (back,) = (await one.now(export)).reversals
    assert back.error
    assert (back.xero_status, back.error.reason, back.error.xero_messages) == ("ERROR", "REJECTED_BY_XERO", (words,))
    assert back.error.sentence == (
        "Of the overpayment less than 20.00 NZD is left to be paid back: it was applied or refunded in Xero."
    )
    there.xero.refusals = {}
    await one.again(export)
    await one.run()
    assert (await one.now(export)).xero_status == "REVERSED"


async def test_what_cannot_be_read_of_one_reversal_stops_no_other(
    stage: tuple[Stage, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, one = stage
    paid = [await one.pay("p1", "100", ("i1", "100")), await one.pay("p2", "200", ("i2", "200"))]
    await one.run()
    odd, other = sorted(paid, key=lambda export: export.id)

    async def lines(_: PayingBooks, name: str, purpose: Purpose) -> None:  # noqa: ARG001 - as the books are asked
        if name == odd.payment.lines[0].xero_invoice_id:
            raise UnexpectedAnswerError("Xero's answer is not what was expected.")

    monkeypatch.setattr(PayingBooks, "invoice_lines", lines)
    for export in (odd, other):
        await reverse(one, export, ReversalKind.REFUND)
    await one.run()
    (failed,) = (await one.now(odd)).reversals
    assert failed.error
    assert (failed.xero_status, failed.error.reason, failed.error.owner) == ("ERROR", "REJECTED_BY_XERO", "OPERATOR")
    assert "log" in failed.error.remedy
    assert (await one.now(other)).xero_status == "REVERSED"
