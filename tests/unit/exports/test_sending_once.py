"""Each payment is in Xero once: whatever is killed, lost, paused or refused between two commits."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from documents import account
from fakes import SettableClock, _database
from paying import (
    BANK,
    CONNECTION,
    EXCEEDS,
    KilledError,
    LostLeaseError,
    PayingXero,
    Process,
    books_with,
    connect,
    mirrored_deletion,
    process,
)
from tieout_server.errors import (
    AccessRevokedError,
    AnswerLostError,
    CallLimitError,
    DrainingError,
    RejectedError,
    XeroUnavailableError,
)
from tieout_server.exports.means import EXPORT, UPKEEP
from tieout_server.exports.messages import Dismiss
from tieout_server.exports.preflight import Preflight, Seen
from tieout_server.exports.state import XeroStatus
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.exports import PaymentExport
from tieout_server.ledger.writes import RecordKind
from tieout_server.storage import export_steps

INVOICES = {"i1": "100", "i2": "200", "i3": "300"}
LATER = timedelta(minutes=10)


class Stage:
    """A database, books, and the processes on them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = SettableClock()
        self.xero: PayingXero = books_with(self.clock, INVOICES)
        self.processes: list[Process] = []

    def starts(self) -> Process:
        """Another process."""
        one = process(self.url, self.xero)
        self.processes.append(one)
        return one

    def in_xero(self) -> Decimal:
        """All that the books show as paid."""
        counted = (RecordKind.PAYMENT, RecordKind.OVERPAYMENT)
        total = Decimal(0)
        for one in self.xero.records.values():
            if one.status == "AUTHORISED" and one.kind in counted:
                total += one.amount or one.draft.amount  # type: ignore[union-attr] # an overpayment has one
        return total


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A connected organisation with three open invoices."""
    path = tmp_path / "tieout.db"
    await (await _database(path)).close()
    there = Stage(f"sqlite:///{path}")
    first = there.starts()
    await connect(first)
    yield there
    for one in there.processes:
        await one.dies()


async def statuses(one: Process, *of: PaymentExport) -> list[str]:
    return [(await one.now(export)).xero_status for export in of]


def told(export: PaymentExport) -> list[str]:
    return [str(event.xero_status) for event in export.history]


async def test_a_payment_is_exported_and_seen(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "100", ("i1", "100"), reference="Card 4711")
    await one.run()
    done = await one.now(export)
    assert told(done) == ["QUEUED", "SENDING", "EXPORTED", "VERIFIED"]
    (made,) = stage.xero.records.values()
    assert (made.xero_invoice_id, made.amount, made.text[12:]) == ("i1", Decimal(100), " Card 4711")
    (record,) = done.records
    assert (record.xero_id, record.invoice_number, record.is_ours) == (made.xero_id, "I1", True)
    assert done.attempts == 1
    assert "went from 100.00 NZD to 0.00 NZD" in done.history[-1].sentence
    assert stage.xero.notes == [f"i1: Payment p1 of 100.00 NZD recorded by Tieout (export {export.id})."]


async def test_the_rest_of_a_payment_follows_a_first_part_that_took_too_long(stage: Stage) -> None:
    (one,) = stage.processes
    await connect(one, overpayment_policy="SPLIT")
    export = await one.pay("p1", "120", ("i1", "120"))

    def xero_is_slow() -> None:
        stage.clock.time += timedelta(seconds=31)

    stage.xero.faults = [xero_is_slow]
    await one.run()
    assert await statuses(one, export) == ["VERIFIED"]
    assert stage.in_xero() == Decimal(120)
    assert sorted(made.kind for made in stage.xero.records.values()) == ["OVERPAYMENT", "PAYMENT"]


async def test_a_part_of_a_batch_whose_id_xero_does_not_tell_is_nobodys_payment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = stage.processes
    arrive = stage.xero.arrive
    monkeypatch.setattr(
        stage.xero,
        "arrive",
        lambda drafts, key: [msgspec.structs.replace(made, parts=()) for made in arrive(drafts, key)],
    )
    batch = await one.pay("p1", "100", ("i2", "50"), ("i3", "50"))
    await one.run()
    another = await one.pay("p2", "50", ("i2", "50"))
    await one.run()
    assert await statuses(one, batch, another) == ["VERIFIED", "VERIFIED"]
    assert stage.in_xero() == Decimal(150)


async def test_what_another_export_gave_up_as_lost_is_nobodys_twin(stage: Stage) -> None:
    (one,) = stage.processes
    first = await one.pay("p1", "50", ("i1", "50"))
    stage.xero.faults = ["before"] * 3
    await one.slice()
    async with one.database.read() as tx:
        (step,) = (await export_steps.of_exports(tx, [first.id]))[first.id]
    await one.run()
    stage.xero.somebody_pays("i1", "50", f"{step.marker} hours late")
    stage.xero.documents[Entity.INVOICES, "i1"] = msgspec.structs.replace(
        stage.xero.documents[Entity.INVOICES, "i1"], total=Decimal(200)
    )
    second = await one.pay("p2", "50", ("i1", "50"))
    await one.run()
    assert await statuses(one, second) == ["VERIFIED"]


async def test_what_a_note_says_is_said_once(stage: Stage) -> None:
    (one,) = stage.processes
    await one.pay("p1", "100", ("i1", "100"))
    await one.run()
    for _ in range(3):
        stage.clock.time += timedelta(minutes=3)
        await one.slice(UPKEEP)
    assert len(stage.xero.notes) == 1


async def test_many_payments_go_in_few_calls(stage: Stage) -> None:
    (one,) = stage.processes
    for number in range(60):
        stage.xero.documents[Entity.INVOICES, f"n{number}"] = stage.xero.documents[Entity.INVOICES, "i1"].__class__(
            **{
                name: getattr(stage.xero.documents[Entity.INVOICES, "i1"], name)
                for name in stage.xero.documents[Entity.INVOICES, "i1"].__struct_fields__
            }
            | {"xero_invoice_id": f"n{number}", "number": f"N{number}"}
        )
    made = [await one.pay(f"p{number}", "100", (f"n{number}", "100")) for number in range(60)]
    await one.slice()
    assert len(stage.xero.calls) == 2
    assert set(await statuses(one, *made)) == {"EXPORTED"}
    checked = [export for export in made if "CHECKED" in told(await one.now(export))]
    assert len(checked) == 10, "those of the second call were told that they are next"


async def test_several_invoices_are_one_batch(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "600", ("i1", "100"), ("i2", "200"), ("i3", "300"))
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, [record.kind for record in done.records]) == ("VERIFIED", [RecordKind.BATCH_PAYMENT])
    assert stage.in_xero() == 600
    assert len(stage.xero.notes) == 3


async def test_the_rest_becomes_an_overpayment_after_the_payment(tmp_path: Path) -> None:
    path = tmp_path / "split.db"
    await (await _database(path)).close()
    stage = Stage(f"sqlite:///{path}")
    one = stage.starts()
    await connect(one, overpayment_policy="SPLIT")
    export = await one.pay("p1", "130", ("i1", "130"))
    await one.run()
    done = await one.now(export)
    assert done.xero_status == "VERIFIED"
    assert [(record.kind, record.amount) for record in done.records] == [
        (RecordKind.PAYMENT, Decimal(100)),
        (RecordKind.OVERPAYMENT, Decimal(30)),
    ]
    await one.dies()


# Lost answers


@pytest.mark.parametrize("losses", [1, 2])
async def test_a_lost_answer_is_asked_for_again_with_the_same_key(stage: Stage, losses: int) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = ["after"] * losses
    await one.slice()
    assert (await statuses(one, export), stage.in_xero()) == (["EXPORTED"], Decimal(40))
    assert len(set(stage.xero.calls)) == 1


async def test_an_answer_that_stays_lost_is_looked_for_and_found(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = ["after", "after", "after"]
    await one.slice()
    assert await statuses(one, export) == ["OUTCOME_UNKNOWN"]
    await one.run()
    assert (await statuses(one, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))


async def test_what_never_came_is_sent_again_only_when_it_cannot_come_any_more(stage: Stage) -> None:
    (one,) = stage.processes
    began_at = stage.clock.now()
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = ["before", "before", "before"]
    await one.run()
    assert (await statuses(one, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))
    done = await one.now(export)
    sent = [event.occurred_at for event in done.history if event.xero_status == "SENDING"]
    assert sent[1] - sent[0] >= timedelta(minutes=7, seconds=30)
    assert sent[0] >= began_at
    assert done.attempts == 2
    assert len(stage.xero.listings) == 2, "once soon, once when it is certain"


async def test_a_clock_that_is_set_ahead_gives_nothing_up_that_may_still_arrive(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = stage.processes
    began_at, ahead = stage.clock.now().timestamp(), [0.0]
    monkeypatch.setattr(stage.clock, "monotonic", lambda: stage.clock.now().timestamp() - ahead[0])
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = ["before"] * 3
    await one.slice()
    stage.clock.time += LATER
    ahead[0] = LATER.total_seconds()
    seen: list[float] = []

    def is_sent_again() -> None:
        seen.append(stage.clock.monotonic() - began_at)

    stage.xero.faults = [is_sent_again]
    await one.run()
    assert (await statuses(one, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))
    assert 6.5 * 60 <= seen[0] <= 9 * 60
    assert len(stage.xero.listings) <= 9, "it is looked for now and then, not all the time"


async def test_who_takes_over_looks_at_once_and_then_as_long_as_anybody(stage: Stage) -> None:
    (victim,) = stage.processes
    export = await victim.pay("p1", "40", ("i1", "40"))

    def dies() -> None:
        raise KilledError

    stage.xero.faults = [dies]
    with pytest.raises(KilledError):
        await victim.slice()
    began_at = stage.clock.now()
    stage.clock.time += LATER
    heir = stage.starts()
    await heir.slice()
    assert (await statuses(heir, export), len(stage.xero.listings)) == (["OUTCOME_UNKNOWN"], 1)
    await heir.run()
    assert (await statuses(heir, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))
    sent = [event.occurred_at for event in (await heir.now(export)).history if event.xero_status == "SENDING"]
    assert sent[1] - began_at >= LATER + timedelta(minutes=6, seconds=30)


async def test_an_overpayment_that_xero_does_not_name_yet_is_not_taken_for_absent(stage: Stage) -> None:
    (one,) = stage.processes
    await connect(one, overpayment_policy="SPLIT")
    export = await one.pay("p1", "120", ("i1", "120"))
    stage.xero.names_overpayments = False
    stage.xero.faults = [lambda: None, "after", "after", "after"]
    await one.run(timedelta(minutes=30))
    assert (await statuses(one, export), stage.in_xero()) == (["OUTCOME_UNKNOWN"], Decimal(120))
    assert len(stage.xero.listings) < 20
    stage.xero.names_overpayments = True
    await one.run()
    assert (await statuses(one, export), stage.in_xero()) == (["VERIFIED"], Decimal(120))


async def test_a_refusal_of_a_repetition_proves_nothing(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "100", ("i1", "100"))
    stage.xero.faults = ["after", stage.xero.keys.clear]  # the key is lost: the repetition is refused, as it is paid
    await one.slice()
    assert await statuses(one, export) == ["OUTCOME_UNKNOWN"]
    await one.run()
    assert (await statuses(one, export), stage.in_xero()) == (["VERIFIED"], Decimal(100))


@pytest.mark.parametrize("shows_references", [True, False])
async def test_while_an_outcome_is_unknown_a_like_payment_takes_nothing_of_it(
    stage: Stage, *, shows_references: bool
) -> None:
    """What the lost answer was about is told by its marker, or, where invoices show none, waited for."""
    (one,) = stage.processes
    stage.xero.shows_references = shows_references
    lost = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = ["after", "after", "after"]
    await one.slice()
    like = await one.pay("p2", "40", ("i1", "40"))
    await one.slice()
    assert await statuses(one, lost, like) == ["OUTCOME_UNKNOWN", "EXPORTED" if shows_references else "QUEUED"]
    await one.run()
    assert await statuses(one, lost, like) == ["VERIFIED", "VERIFIED"]
    assert stage.in_xero() == 80


async def test_what_was_deleted_before_it_was_found_is_told(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = ["after", "after", "after"]
    await one.slice()
    for name, kept in list(stage.xero.records.items()):
        stage.xero.records[name] = type(kept)(
            **{field: getattr(kept, field) for field in kept.__struct_fields__} | {"status": "DELETED"}
        )
    await one.run()
    assert await statuses(one, export) == ["REMOVED_IN_XERO"]
    await one.again(export)
    await one.run()
    assert (await statuses(one, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))


async def test_what_was_deleted_before_it_was_found_counts_once_where_xero_lists_no_deletions(stage: Stage) -> None:
    """It cannot be told from what never came: it is sent once more, and that one is all that counts."""
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = ["after", "after", "after"]
    await one.slice()
    ((deleted, kept),) = stage.xero.records.items()
    stage.xero.records[deleted] = msgspec.structs.replace(kept, status="DELETED")
    stage.xero.is_silent_about_deletions = True
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, stage.in_xero(), len(stage.xero.records)) == ("VERIFIED", Decimal(40), 2)
    assert [(record.amount, record.removed) for record in done.records] == [(Decimal(40), False)]


# Killed


async def scenario(one: Process) -> list[PaymentExport]:
    """A single payment, a batch, and two of the same invoice."""
    return [
        await one.pay("p1", "40", ("i1", "40")),
        await one.pay("p2", "300", ("i2", "100"), ("i3", "200")),
        await one.pay("p3", "60", ("i1", "60")),
    ]


async def _turn_until_killed(one: Process) -> bool:
    """Turn its wheels; whether it was killed meanwhile."""
    try:
        await one.run()
    except KilledError:
        return True
    return False


@pytest.mark.parametrize("when", ["dies_before", "dies_after"])
async def test_killed_at_any_commit_each_payment_is_there_once(tmp_path: Path, when: str) -> None:
    """Every commit of a run without trouble, one after the other; the next owner begins with nothing in memory."""
    for commit in range(1, 60):
        path = tmp_path / f"{when}-{commit}.db"
        await (await _database(path)).close()
        stage = Stage(f"sqlite:///{path}")
        victim = stage.starts()
        await connect(victim)
        made = await scenario(victim)
        setattr(victim.database, when, victim.database.commits + commit)
        was_killed = await _turn_until_killed(victim)
        await victim.dies()
        stage.clock.time += timedelta(seconds=21)  # the lease runs out
        heir = stage.starts()
        await heir.run()
        assert await statuses(heir, *made) == ["VERIFIED"] * 3, f"{when} commit {commit}"
        assert stage.in_xero() == 400, f"{when} commit {commit}"
        await heir.dies()
        if not was_killed:
            assert commit > 8, "it was killed at each of its commits before"
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("loss", ["before", "after"])
async def test_killed_at_any_commit_after_a_lost_answer_each_payment_is_there_once(tmp_path: Path, loss: str) -> None:
    for commit in range(1, 60):
        path = tmp_path / f"{loss}-{commit}.db"
        await (await _database(path)).close()
        stage = Stage(f"sqlite:///{path}")
        victim = stage.starts()
        await connect(victim)
        made = [await victim.pay("p1", "40", ("i1", "40"))]
        stage.xero.faults = [loss, loss, loss]
        victim.database.dies_before = victim.database.commits + commit
        was_killed = await _turn_until_killed(victim)
        await victim.dies()
        stage.clock.time += timedelta(seconds=21)
        stage.xero.faults = []
        heir = stage.starts()
        await heir.run()
        assert await statuses(heir, *made) == ["VERIFIED"], f"{loss}, commit {commit}"
        assert stage.in_xero() == 40, f"{loss}, commit {commit}"
        await heir.dies()
        if not was_killed:
            assert commit > 8
            return
    pytest.fail("it never came to its end")


async def test_killed_while_the_call_is_on_its_way_it_is_looked_for(stage: Stage) -> None:
    (victim,) = stage.processes
    export = await victim.pay("p1", "40", ("i1", "40"))

    def dies() -> None:
        stage.xero.arrive([], "nothing")
        raise KilledError

    stage.xero.faults = [dies]
    with pytest.raises(KilledError):
        await victim.slice()
    stage.clock.time += timedelta(seconds=21)
    heir = stage.starts()
    await heir.slice()
    assert await statuses(heir, export) == ["OUTCOME_UNKNOWN"]
    await heir.run()
    assert (await statuses(heir, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))


# Owners that were only asleep


async def test_an_owner_that_slept_after_its_commit_sends_nothing(stage: Stage) -> None:
    """It wakes between the commit that says SENDING and the call, long after another owner has sent the payment."""
    (sleeper,) = stage.processes
    export = await sleeper.pay("p1", "40", ("i1", "40"))
    other = stage.starts()
    before = sleeper.work._preflight.look

    async def sleeps(*given: object, **named: object) -> object:
        seen = await before(*given, **named)  # type: ignore[arg-type] # passed on
        write = sleeper.database.write

        def nods_off(**kind: bool) -> object:
            async def sleeping() -> None:
                stage.clock.time += LATER
                await other.run()

            return _then(write(**kind), sleeping)

        sleeper.database.write = nods_off  # type: ignore[method-assign,assignment] # it sleeps after its next commit
        return seen

    sleeper.work._preflight.look = sleeps  # type: ignore[method-assign,assignment]
    with pytest.raises(LostLeaseError):
        await sleeper.slice()
    assert (await statuses(other, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))
    assert len(stage.xero.calls) == 1


class _then:  # noqa: N801 - a context manager by function
    """A transaction, and what happens right after it has committed."""

    def __init__(self, inner: object, then: object) -> None:
        self.inner, self.then = inner, then

    async def __aenter__(self) -> object:
        return await self.inner.__aenter__()  # type: ignore[attr-defined] # a transaction

    async def __aexit__(self, *raised: object) -> object:
        said = await self.inner.__aexit__(*raised)  # type: ignore[attr-defined] # a transaction
        if raised[0] is None:
            await self.then()  # type: ignore[operator] # a function
        return said


async def test_an_owner_that_slept_during_its_call_settles_nothing(stage: Stage) -> None:
    (sleeper,) = stage.processes
    export = await sleeper.pay("p1", "40", ("i1", "40"))
    other = stage.starts()

    async def sleeps() -> None:
        stage.clock.time += timedelta(minutes=1)
        assert await other.slice() is not None

    stage.xero.faults = [sleeps]
    with pytest.raises(LostLeaseError):
        await sleeper.slice()
    await other.run()
    assert (await statuses(other, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))


async def test_an_owner_whose_work_was_taken_over_repeats_no_call(stage: Stage) -> None:
    (sleeper,) = stage.processes
    export = await sleeper.pay("p1", "40", ("i1", "40"))
    other = stage.starts()

    async def is_taken_over() -> None:
        stage.clock.time += timedelta(seconds=30)
        assert await other.slice() is not None
        stage.xero.faults.insert(0, "before")

    async def lost() -> None:
        await is_taken_over()
        stage.xero.faults.clear()
        raise AnswerLostError("It never came.")

    stage.xero.faults = [lost]
    with pytest.raises(LostLeaseError):
        await sleeper.slice()
    assert stage.xero.calls == []
    await other.run()
    assert (await statuses(other, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))


async def test_what_comes_after_it_was_given_up_is_told_as_a_double(stage: Stage) -> None:
    """No call can come so late; should one all the same, somebody hears of it, and it is no other payment's twin."""
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    late: list[object] = []
    stage.xero.faults = ["before", "before", "before"]
    await one.slice()
    async with one.database.read() as tx:
        (step,) = (await export_steps.of_exports(tx, [export.id]))[export.id]
    stage.xero.faults = [lambda: late.append(stage.xero.arrive([step.draft], "late"))]
    await one.run()
    twice = await one.now(export)
    told_of = [event.sentence for event in twice.history if "shows it twice" in event.sentence]
    assert (twice.xero_status, len(told_of), stage.in_xero()) == ("VERIFIED", 1, Decimal(80))
    (double,) = [name for name, kept in stage.xero.records.items() if step.marker in kept.text]
    (record,) = twice.records
    assert twice.error
    assert (twice.error.reason, twice.error.owner, twice.error.retries_by_itself) == (
        "RECORDED_TWICE",
        "MERCHANT",
        False,
    )
    assert record.xero_id in twice.error.sentence
    assert double in twice.error.sentence
    assert twice.error.remedy == f"Delete payment {double} in Xero."
    like = await one.pay("p2", "40", ("i1", "40"))
    await one.run()
    assert await statuses(one, like) == ["ERROR"], "it is not linked to the double"
    await mirrored_deletion(one, double)
    stage.clock.time += timedelta(minutes=3)
    await one.slice(UPKEEP)
    once = await one.now(export)
    assert (once.xero_status, once.error, once.records) == ("VERIFIED", None, (record,))


async def test_whichever_of_the_two_is_deleted_the_other_one_counts(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = ["before", "before", "before"]
    await one.slice()
    async with one.database.read() as tx:
        (step,) = (await export_steps.of_exports(tx, [export.id]))[export.id]
    stage.xero.faults = [lambda: stage.xero.arrive([step.draft], "late") and None]
    await one.run()
    (made,) = (await one.now(export)).records
    (double,) = [name for name, kept in stage.xero.records.items() if step.marker in kept.text]
    await mirrored_deletion(one, made.xero_id)
    stage.xero.records[made.xero_id] = msgspec.structs.replace(stage.xero.records[made.xero_id], status="DELETED")
    stage.clock.time += timedelta(minutes=3)
    await one.slice(UPKEEP)
    once = await one.now(export)
    assert (once.xero_status, once.error, stage.in_xero()) == ("VERIFIED", None, Decimal(40))
    assert [record.xero_id for record in once.records if not record.removed] == [double]


# Nothing was done


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (XeroUnavailableError("Xero cannot be reached."), "XERO_UNAVAILABLE"),
        (CallLimitError("Xero's minute limit refused the call.", "minute"), "RATE_LIMITED"),
    ],
)
async def test_where_nothing_was_done_it_waits_and_goes_on_by_itself(
    stage: Stage, trouble: Exception, reason: str
) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = [trouble]  # type: ignore[list-item] # an error of ours
    await one.slice()
    waiting = await one.now(export)
    assert (waiting.xero_status, waiting.error and waiting.error.reason) == ("QUEUED", reason)
    assert waiting.error
    assert waiting.error.retries_by_itself
    assert waiting.due_at
    await one.run()
    done = await one.now(export)
    assert (done.xero_status, done.error, stage.in_xero(), done.attempts) == ("VERIFIED", None, Decimal(40), 1)


async def test_a_server_that_is_stopped_before_it_sends_gives_the_payment_back(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = [DrainingError()]
    with pytest.raises(DrainingError):
        await one.slice()
    waiting = await one.now(export)
    assert (waiting.xero_status, waiting.error, waiting.attempts) == ("QUEUED", None, 0)
    another = stage.starts()
    stage.clock.time += timedelta(minutes=1)
    await another.run()
    done = await another.now(export)
    assert (done.xero_status, stage.in_xero(), done.attempts, len(stage.xero.calls)) == ("VERIFIED", Decimal(40), 1, 1)


async def test_without_access_it_waits_for_a_consent(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = [AccessRevokedError("Xero refuses these books.")]
    await one.slice()
    waiting = await one.now(export)
    assert waiting.error
    assert (waiting.xero_status, waiting.error.reason, waiting.attempts) == ("QUEUED", "CONNECTION_LOST", 0)
    stage.clock.time += timedelta(minutes=6)
    await one.slice()
    assert (len(stage.xero.calls), len(told(await one.now(export)))) == (0, 3), "it is told once"
    await connect(one)
    stage.clock.time += timedelta(minutes=6)
    await one.run()
    assert (await statuses(one, export), stage.in_xero()) == (["VERIFIED"], Decimal(40))


async def test_what_is_dismissed_while_it_waits_is_not_sent_when_there_is_a_consent(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.faults = [AccessRevokedError("Xero refuses these books.")]
    await one.slice()
    await one.exports.dismiss(Dismiss(export.id, "The bank returned it."))
    await connect(one)
    stage.clock.time += timedelta(minutes=6)
    await one.run()
    assert (await statuses(one, export), stage.xero.calls) == (["DISMISSED"], [])


async def test_what_is_dismissed_right_before_it_is_sent_is_not_sent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = stage.processes
    failed, sound = await one.pay("p1", "40", ("i1", "40")), await one.pay("p2", "50", ("i2", "50"))
    look = Preflight.look

    async def dismissed_meanwhile(*asked: Any, **how: Any) -> Seen:  # noqa: ANN401 - whatever `look` is given
        seen = await look(*asked, **how)
        await one.exports.dismiss(Dismiss(failed.id, "The bank returned it."))
        return seen

    monkeypatch.setattr(Preflight, "look", dismissed_meanwhile)
    await one.run()
    assert await statuses(one, failed, sound) == ["DISMISSED", "VERIFIED"]
    assert stage.in_xero() == 50


async def test_of_a_call_that_is_refused_as_a_whole_each_is_sent_alone(stage: Stage) -> None:
    (one,) = stage.processes
    made = [await one.pay(f"p{n}", "50", (f"i{n}", "50")) for n in (1, 2, 3)]
    stage.xero.faults = [RejectedError("Xero refused it.", ("The file is too large.",))]
    await one.run()
    assert await statuses(one, *made) == ["VERIFIED"] * 3
    assert len(stage.xero.calls) == 3
    assert stage.in_xero() == 150


# Refused, recorded by somebody else, removed


async def test_what_is_refused_says_why_and_holds_nobody_else_up(stage: Stage) -> None:
    (one,) = stage.processes
    bad, good = await one.pay("p1", "40", ("i1", "40"), reference="odd"), await one.pay("p2", "50", ("i2", "50"))
    stage.xero.refusals = {"odd": "You cannot do this on a Sunday."}
    await one.run()
    refused = await one.now(bad)
    assert refused.error
    assert (refused.xero_status, refused.error.reason) == ("ERROR", "REJECTED_BY_XERO")
    assert refused.error.xero_messages == ("You cannot do this on a Sunday.",)
    assert await statuses(one, good) == ["VERIFIED"]
    stage.xero.refusals = {}
    await one.again(bad)
    await one.run()
    assert (await statuses(one, bad), stage.in_xero()) == (["VERIFIED"], Decimal(90))


async def test_who_pays_by_hand_in_between_is_found_out(stage: Stage) -> None:
    """Between the examination and the call a bookkeeper records the same payment: it is linked, not paid twice."""
    (one,) = stage.processes
    export = await one.pay("p1", "100", ("i1", "100"))

    def somebody_is_faster() -> None:
        stage.xero.somebody_pays("i1", "100")

    stage.xero.faults = [somebody_is_faster]
    await one.run()
    found = await one.now(export)
    assert (found.xero_status, stage.in_xero()) == ("ALREADY_RECORDED", Decimal(100))
    assert [(record.is_ours, record.xero_invoice_id) for record in found.records] == [(False, "i1")]


async def test_a_refusal_that_lasts_is_examined_once_more_and_then_told(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"), reference="odd")
    stage.xero.refusals = {"odd": EXCEEDS}
    await one.run()
    refused = await one.now(export)
    assert refused.error
    assert (refused.xero_status, refused.error.reason, refused.attempts) == ("ERROR", "AMOUNT_EXCEEDS_DUE", 2)
    assert (refused.error.sentence, refused.error.line) == (
        "40.00 NZD is paid on the invoice, of which less is due.",
        0,
    )


async def test_of_two_like_payments_one_is_linked_to_the_only_twin(stage: Stage) -> None:
    (one,) = stage.processes
    stage.xero.somebody_pays("i1", "40")
    first, second = await one.pay("p1", "40", ("i1", "40")), await one.pay("p2", "40", ("i1", "40"))
    await one.run()
    assert sorted(await statuses(one, first, second)) == ["ALREADY_RECORDED", "VERIFIED"]
    assert stage.in_xero() == 80


async def test_two_payments_of_one_invoice_do_not_go_beyond_what_is_due(stage: Stage) -> None:
    (one,) = stage.processes
    first = await one.pay("p1", "80", ("i1", "80"))
    stage.clock.time += timedelta(seconds=1)
    second = await one.pay("p2", "70", ("i1", "70"))
    await one.run()
    held = await one.now(second)
    assert held.error
    assert (await statuses(one, first), held.xero_status, held.error.reason) == (
        ["VERIFIED"],
        "ERROR",
        "AMOUNT_EXCEEDS_DUE",
    )
    assert stage.in_xero() == 80


async def test_an_account_that_is_mended_is_seen_at_once(stage: Stage) -> None:
    (one,) = stage.processes
    await one.pay("p1", "40", ("i1", "40"))
    await one.run()
    bank = stage.xero.documents.pop((Entity.ACCOUNTS, "bank-nzd"))
    failed = await one.pay("p2", "50", ("i2", "50"))
    stage.clock.time += timedelta(minutes=6)
    await one.slice()
    assert await statuses(one, failed) == ["ERROR"]
    stage.xero.documents[Entity.ACCOUNTS, "bank-nzd"] = bank
    await one.again(failed)
    await one.run()
    assert (await statuses(one, failed), stage.in_xero()) == (["VERIFIED"], Decimal(90))


async def test_once_other_settings_are_kept_nothing_leaves_by_the_former(stage: Stage) -> None:
    (one,) = stage.processes
    second = account("second", name="Second", currency="NZD", takes_payments=True)
    stage.xero.documents[Entity.ACCOUNTS, "second"] = second
    for number in range(60):  # two calls
        await one.pay(f"p{number:02}", "1", ("i3", "1"))

    async def others_are_chosen() -> None:
        await connect(one, accounts={"NZD": "second"}, revision=2)

    stage.xero.faults = [others_are_chosen]
    await one.run()
    went_to = Counter(made.draft.xero_account_id for made in stage.xero.records.values())  # type: ignore[union-attr] # payments
    assert went_to == {BANK: 50, "second": 10}  # what had left when they were kept, and the rest


async def test_an_overpayment_that_is_no_longer_wanted_does_not_follow_its_payment(stage: Stage) -> None:
    (one,) = stage.processes
    await connect(one, overpayment_policy="SPLIT")
    export = await one.pay("p1", "120", ("i1", "120"))

    async def it_is_held_from_now_on() -> None:
        await connect(one, overpayment_policy="HOLD", revision=2)

    stage.xero.faults = [it_is_held_from_now_on]
    await one.run()
    held = await one.now(export)
    assert held.error
    assert (held.xero_status, held.error.reason) == ("ERROR", "AMOUNT_EXCEEDS_DUE")
    assert [made.kind for made in stage.xero.records.values()] == [RecordKind.PAYMENT]


async def test_what_xero_does_not_show_yet_is_looked_for_again(stage: Stage) -> None:
    (one,) = stage.processes
    export = await one.pay("p1", "40", ("i1", "40"))
    stage.xero.shows_new = False
    await one.run(timedelta(minutes=5))
    assert await statuses(one, export) == ["EXPORTED"]
    stage.xero.shows_new = True
    await one.run()
    assert await statuses(one, export) == ["VERIFIED"]


async def test_a_payment_that_cannot_be_asked_about_holds_nobody_else_up(stage: Stage) -> None:
    (one,) = stage.processes
    bad, good = await one.pay("p1", "40", ("no-guid", "40")), await one.pay("p2", "50", ("i2", "50"))
    stage.xero.unaskable = "no-guid"
    await one.run()
    refused = await one.now(bad)
    assert refused.error
    assert (refused.xero_status, refused.error.xero_messages) == ("ERROR", ("A GUID is expected.",))
    assert (await statuses(one, good), stage.in_xero()) == (["VERIFIED"], Decimal(50))


async def test_work_that_is_not_there_is_done_without_calls(stage: Stage) -> None:
    (one,) = stage.processes
    async with one.database.write() as tx:
        await one.engine.wake(tx, EXPORT, CONNECTION, priority=10)  # type: ignore[arg-type] # any priority
    assert await one.slice() is None
    assert stage.xero.asked == []
    assert XeroStatus.QUEUED == "QUEUED"
