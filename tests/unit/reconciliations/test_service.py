"""What callers do with reconciliations, and what is compared without anybody asking."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from sqlalchemy import select, update

from documents import contact, invoice, payment
from open_organisation import AT, OFF, Around
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import (
    AccessRevokedError,
    AppRejectedError,
    CallLimitError,
    ConnectionNotUsableError,
    NotFoundError,
    NotPermittedNowError,
    RequestIdReusedError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.events import token
from tieout_server.ledger.books import Page, Purpose
from tieout_server.ledger.calls import Allowance
from tieout_server.ledger.documents import Entity
from tieout_server.reconciliations import changed
from tieout_server.reconciliations.messages import Acknowledge, InvoiceReference, Report, StartReconciliation
from tieout_server.reconciliations.service import WORK
from tieout_server.reconciliations.state import DiscrepancyState, ReconciliationState
from tieout_server.reconciliations.watch import DiscrepancyWatch, Told
from tieout_server.storage import comparisons, connections, live, syncs, tables, watermarks, work
from tieout_server.storage.discrepancies import DiscrepancyQuery
from tieout_server.storage.pages import Span
from tieout_server.storage.syncs import SyncRecord
from tieout_server.storage.watermarks import Watermark
from tieout_server.syncs.doubts import DISCARDED_FOR
from tieout_server.syncs.means import COMPARE
from tieout_server.syncs.plan import Line
from tieout_server.syncs.progress import dump_line
from tieout_server.syncs.service import ResolveHeldSync
from tieout_server.syncs.state import Decision, SyncPhase


async def test_an_organisation_is_reconciled_once_at_a_time(around: Around) -> None:
    asked = StartReconciliation(around.connection_id, request_id="r1")
    first = await around.service.start(asked)
    second = await around.service.start(StartReconciliation(around.connection_id))

    assert (first.joined, second.joined) == (False, True)
    assert second.reconciliation == first.reconciliation
    assert await around.service.start(asked) == first
    with pytest.raises(RequestIdReusedError):
        await around.service.start(StartReconciliation(around.connection_id, max_calls=5, request_id="r1"))
    with pytest.raises(NotFoundError):
        await around.service.start(StartReconciliation("con_none"))
    with pytest.raises(NotFoundError):
        await around.service.get("rec_none")
    while await around.work.perform(await around.job(WORK)):
        pass
    assert (await around.service.get(first.reconciliation.id)).state == ReconciliationState.SUCCEEDED
    assert await around.work.perform(await around.job(WORK)) is None
    assert (await around.service.start(StartReconciliation(around.connection_id))).joined is False


@pytest.mark.parametrize(
    "trouble",
    [
        XeroUnavailableError("Xero does not answer."),
        CallLimitError("The day is used up.", "day", AT + timedelta(days=1)),
        AppRejectedError("Xero does not know our client id."),
    ],
)
async def test_trouble_parks_a_reconciliation_and_it_goes_on_by_itself(around: Around, trouble: TieoutError) -> None:
    run = (await around.service.start(StartReconciliation(around.connection_id))).reconciliation
    around.refuse(trouble)

    again_at = await around.work.perform(await around.job(WORK))

    assert again_at
    assert again_at > around.world.clock.now()
    assert (await around.service.get(run.id)).state == ReconciliationState.WAITING
    around.books.before_call = lambda _: None
    assert (await around.reconcile()).state == ReconciliationState.SUCCEEDED


async def test_what_nobody_documented_fails_a_reconciliation(around: Around) -> None:
    around.refuse(UnexpectedAnswerError("Xero answered with a poem."))

    run = await around.reconcile()

    assert (run.state, run.error_sentence) == (ReconciliationState.FAILED, "Xero answered with a poem.")
    assert run.ended_at


async def test_access_that_is_lost_fails_a_reconciliation_and_its_connection(around: Around) -> None:
    around.refuse(AccessRevokedError("Xero refuses these books."))
    around.world.xero.is_linked = False

    run = await around.reconcile()

    assert run.state == ReconciliationState.FAILED
    link = await around.world.connections.get(around.connection_id)
    assert link.state == ConnectionState.RECONNECT_REQUIRED
    with pytest.raises(ConnectionNotUsableError):
        await around.service.reconcile_customer(around.connection_id, "c1")
    with pytest.raises(ConnectionNotUsableError):
        await around.service.start(StartReconciliation(around.connection_id))
    assert await around.compare_changed() is None


async def test_a_merged_customer_is_compared_as_what_it_is_now(around: Around) -> None:
    await around.both(contact("gone", merged_into="c1", status="ARCHIVED"))

    assert (await around.service.reconcile_customer(around.connection_id, "gone")).xero_contact_id == "c1"
    for connection_id, customer in ((around.connection_id, "nobody"), ("con_none", "c1")):
        with pytest.raises(NotFoundError):
            await around.service.reconcile_customer(connection_id, customer)


async def test_what_changed_and_agrees_costs_no_call(around: Around) -> None:
    again_at = await around.compare_changed()

    assert around.books.calls == []
    assert again_at is None


async def test_a_connection_is_looked_at_again_only_once_something_has_changed(around: Around) -> None:
    async def due() -> Sequence[str]:
        await around.changed.look()
        async with around.world.database.read() as tx:
            found = await work.due(tx, around.world.clock.now(), 10)
        return [one.task.kind for one in found if one.task.kind == COMPARE]

    await around.compare_changed()
    assert await due() == []
    await around.both(invoice("i9", xero_contact_id="c1"))
    async with around.world.database.write() as tx:
        await work.free(tx, "the test", around.world.clock.now() + timedelta(days=1))
    assert await due() == [COMPARE]


async def test_a_figure_that_moved_with_its_documents_costs_one_call(around: Around) -> None:
    await around.compare_changed()
    await around.both(invoice("i9", xero_contact_id="c1"))

    await around.compare_changed()

    assert around.books.calls == ["contacts by ids"]
    assert await around.off_balance() == set()
    await around.compare_changed()
    assert len(around.books.calls) == 1


async def test_whoever_still_disagrees_is_compared_closely_a_few_at_a_time(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changed, "CLOSELY", 1)
    monkeypatch.setattr(changed, "FIGURES", 2)
    for n in range(3):
        around.books.stated[f"c{n}"] = OFF
        await around.both(contact(f"c{n}"))

    for rounds in range(1, 4):
        again_at = around.world.clock.now() + changed.EVERY if rounds < 3 else None
        assert await around.compare_changed() == again_at
        assert len(await around.off_balance()) == rounds
    async with around.world.database.read() as tx:
        assert (await comparisons.cursor(tx, around.connection_id)).suspects == ()
    told = len(around.books.calls)
    await around.compare_changed()
    assert len(around.books.calls) == told, "that they are off balance now is no change to be looked at"


async def test_half_of_a_day_s_calls_is_left_for_others(around: Around) -> None:
    around.books.stated["c1"] = OFF
    await around.both(contact("c1"))
    around.world.xero.allowance = Allowance(0, 60, 500, day_limit=1_000)

    assert await around.compare_changed() == around.world.clock.now() + changed.EVERY
    assert around.books.calls == []

    around.world.xero.allowance = Allowance(0, 60, 501, day_limit=1_000)
    await around.compare_changed()
    assert await around.off_balance() == {"c1"}


async def odd_contact(around: Around, name: str) -> None:
    """Have everybody off balance, and nobody understand what Xero shows of this one."""
    for n in range(3):
        around.books.stated[f"c{n}"] = OFF
        await around.both(contact(f"c{n}"))
    by_ids = around.books.by_ids

    async def odd(entity: Entity, ids: Sequence[str], purpose: Purpose) -> Page:
        if name in ids:
            raise UnexpectedAnswerError("A poem.")
        return await by_ids(entity, ids, purpose)

    around.books.by_ids = odd  # type: ignore[method-assign] # Xero, for once


async def test_one_customer_whom_nobody_understands_keeps_no_other_waiting(around: Around) -> None:
    await odd_contact(around, "c0")

    await around.compare_changed()
    assert await around.off_balance() == {"c1", "c2"}

    told = len(around.books.calls)
    await around.compare_changed()
    assert len(around.books.calls) == told, "it is left alone for a while"
    async with around.world.database.read() as tx:
        assert (await comparisons.cursor(tx, around.connection_id)).suspects == ("c0",)
    del around.books.by_ids
    around.world.clock.time += changed.PUT_OFF
    await around.compare_changed()
    assert await around.off_balance() == {"c0", "c1", "c2"}


async def test_a_case_is_opened_though_nobody_understands_one_of_its_customers(around: Around) -> None:
    await odd_contact(around, "c0")

    case = await around.service.report(Report(connection_id=around.connection_id, customer_ids=("c0", "c1")))

    assert "A poem." in case.sentence


async def test_a_report_that_nobody_understands_tells_nothing(around: Around) -> None:
    around.books.stated["c1"] = Decimal(77)

    def odd(what: str) -> None:
        if what == "report":
            raise UnexpectedAnswerError("It has no closing balance.")

    around.books.before_call = odd

    (off,) = (await around.service.reconcile_customer(around.connection_id, "c1")).discrepancies
    assert off.cause == "UNEXPLAINED"


async def test_what_comparing_would_remove_is_doubted_like_what_a_sync_would(around: Around) -> None:
    for n in range(60):
        await around.here(invoice(f"z{n}", xero_contact_id="c1"))
    await around.both(contact("c1"))
    around.world.clock.time += timedelta(hours=3)

    with pytest.raises(NotPermittedNowError, match="60 of 63 invoices"):
        await around.service.reconcile_customer(around.connection_id, "c1")
    case = await around.service.report(Report(connection_id=around.connection_id, customer_ids=("c1",)))
    assert "60 of 63 invoices" in case.sentence
    await around.compare_changed()
    assert (await around.reconcile()).state == ReconciliationState.FAILED

    async with around.world.database.read() as tx:
        assert await live.count(tx, around.connection_id, Entity.INVOICES, open_only=True) == 63
    assert await around.off_balance() == set()


@pytest.mark.parametrize(
    "trouble",
    [XeroUnavailableError("Xero does not answer."), AccessRevokedError("No more.")],
)
async def test_trouble_leaves_the_suspects_for_later(around: Around, trouble: TieoutError) -> None:
    around.books.stated["c1"] = OFF
    await around.both(contact("c1"))
    around.refuse(trouble)

    assert await around.compare_changed() == around.world.clock.now() + changed.AFTER_TROUBLE

    async with around.world.database.read() as tx:
        assert (await comparisons.cursor(tx, around.connection_id)).suspects == ("c1",)


async def test_nothing_is_compared_before_the_first_sync_has_ended(around: Around) -> None:
    async with around.world.database.write() as tx:
        await tx.execute(update(tables.connections).values(last_synced_at=None))

    assert await around.compare_changed() == around.world.clock.now() + changed.SOON


async def test_a_discrepancy_is_listed_acknowledged_and_watched(around: Around) -> None:
    subjects = around.world.subjects.reconciliation
    watch = DiscrepancyWatch(around.world.database, around.means.feed, subjects.discrepancies)
    is_listening = asyncio.Event()

    async def listen(after: str = "", *, from_start: bool = False, most: int) -> list[Told]:
        heard: list[Told] = []
        async for one in watch.follow(around.connection_id, after, from_start=from_start):
            heard.append(one)
            is_listening.set()
            if len(heard) == most:
                break
        return heard

    listening = asyncio.create_task(listen(most=5))
    await is_listening.wait()
    around.books.stated["c1"] = OFF
    (off,) = (await around.service.reconcile_customer(around.connection_id, "c1")).discrepancies
    service = subjects.discrepancies
    page, following = await service.page(around.connection_id, DiscrepancyQuery(xero_contact_id="c1"), Span())
    assert ([one.id for one in page], following) == ([off.id], None)
    asked = Acknowledge(off.id, "Known", request_id="r1")
    known = await service.acknowledge(asked)
    assert (known.state, known.note) == (DiscrepancyState.ACKNOWLEDGED, "Known")
    assert await service.acknowledge(asked) == known == await service.get(off.id)

    told = await listening
    assert [one.change.event.state for one in told if one.change] == [
        "OPENED", "CAUSE_FOUND", "NEEDS_ATTENTION", "ACKNOWLEDGED"
    ]  # fmt: skip
    assert told[-1].change
    assert told[-1].change.discrepancy == known
    assert told[1].position is not None
    resumed = await listen(token.encode(told[1].position), most=3)
    assert resumed == told[2:]
    (snapshot, quiet) = await listen(from_start=True, most=2)
    assert (snapshot.position, snapshot.snapshot) == (None, known)
    assert quiet == Told(told[-1].position)

    around.books.stated.clear()
    await around.service.reconcile_customer(around.connection_id, "c1")
    with pytest.raises(NotPermittedNowError):
        await service.acknowledge(Acknowledge(off.id))
    for missing in (service.get("dis_none"), service.acknowledge(Acknowledge("dis_none"))):
        with pytest.raises(NotFoundError):
            await missing
    with pytest.raises(NotFoundError):
        await service.page("con_none", DiscrepancyQuery(), Span())
    with pytest.raises(NotFoundError):
        await service.position("con_none")


async def test_a_report_opens_a_case_with_what_comparing_finds(around: Around) -> None:
    await around.here(payment("p1", xero_contact_id="c2"), invoice("i5", xero_contact_id="c0", number="INV-5"))
    around.books.put(invoice("i5", xero_contact_id="c0", number="INV-5"))
    around.books.stated["c1"] = OFF
    asked = Report(
        connection_id=around.connection_id,
        customer_ids=("c1",),
        invoices=(InvoiceReference("i1"), InvoiceReference(number="INV-5")),
        payment_ids=("p1",),
        description="The icon is missing",
        request_id="r1",
    )

    case = await around.service.report(asked)

    assert case.customer_ids == ("c1", "c0", "c2")
    assert len(case.discrepancy_ids) == 1
    assert "1 of them" in case.sentence
    assert await around.service.report(asked) == case


@pytest.mark.parametrize(
    "names",
    [
        {"customer_ids": ("nobody",)},
        {"invoices": (InvoiceReference("none"),)},
        {"invoices": (InvoiceReference(number="twice"),)},
        {"payment_ids": ("none",)},
    ],
)
async def test_a_report_about_what_is_not_here_is_refused(around: Around, names: dict[str, tuple[str, ...]]) -> None:
    await around.here(invoice("t1", number="twice"), invoice("t2", number="twice"))

    with pytest.raises(NotFoundError):
        await around.service.report(Report(connection_id=around.connection_id, **names))  # type: ignore[arg-type] # each is right


async def test_a_report_is_taken_while_xero_does_not_answer(around: Around) -> None:
    around.refuse(XeroUnavailableError("Xero does not answer."))

    case = await around.service.report(Report(connection_id=around.connection_id, customer_ids=("c1",)))

    assert "Xero does not answer." in case.sentence


async def held(around: Around) -> str:
    """Have a sync held because of the invoices that it would void."""
    now = around.world.clock.now()
    line = Line(name="invoices", entity=Entity.INVOICES, phase=SyncPhase.CATCH_UP, purpose=Purpose.POLL, held=True)
    async with around.world.database.write() as tx:
        ordinal = await connections.next_sync_ordinal(tx, around.connection_id)
        sync = SyncRecord(
            id=f"syn{ordinal}", connection_id=around.connection_id, ordinal=ordinal, mode="INCREMENTAL", state="HELD",
            entities=(Entity.INVOICES,), created_at=now, updated_at=now,
        )  # fmt: skip
        await syncs.insert(tx, sync)
        await syncs.put_lines(tx, sync.id, [dump_line(0, line)])
    return sync.id


async def discard(around: Around, sync_id: str) -> None:
    await around.world.subjects.syncs.resolve(ResolveHeldSync(sync_id, Decision.DISCARD))


async def removed_behind_a_gate(around: Around, *, at: timedelta) -> None:
    """Have c0's invoice voided and c1's shown no more, c2's paid, and the contacts' new figures here.

    The comparison of what changed comes so long after somebody discarded that.
    """
    await around.compare_changed()
    await discard(around, await held(around))
    around.books.put(
        invoice("i0", xero_contact_id="c0", status="VOIDED", due=Decimal(0)),
        invoice("i2", xero_contact_id="c2", status="PAID", due=Decimal(0), paid=Decimal(100)),
    )
    around.books.drop("i1")
    for n in range(3):
        await around.both(contact(f"c{n}"))
    around.world.clock.time += at


async def statuses(around: Around) -> list[str]:
    """Where the three invoices stand here."""
    t = tables.invoices.c
    async with around.world.database.read() as tx:
        return list((await tx.execute(select(t.status).order_by(t.xero_invoice_id))).scalars())


async def read_at(around: Around, at: datetime) -> None:
    """Have the invoices read to their end at this instant."""
    async with around.world.database.write() as tx:
        await watermarks.put(tx, around.connection_id, Entity.INVOICES, Watermark(at, at))


async def test_while_a_sync_is_held_nothing_is_compared_unasked(around: Around) -> None:
    await around.both(invoice("i9", xero_contact_id="c1"))
    await held(around)

    assert await around.compare_changed() == around.world.clock.now() + changed.EVERY
    assert around.books.calls == []


async def test_what_was_discarded_is_not_taken_in_that_day_by_comparing_what_changed(around: Around) -> None:
    await removed_behind_a_gate(around, at=DISCARDED_FOR - timedelta(minutes=1))
    assert await around.compare_changed() == around.world.clock.now() + changed.EVERY
    assert (around.books.calls, await statuses(around)) == ([], ["AUTHORISED"] * 3)

    around.world.clock.time += timedelta(days=1)
    await around.compare_changed()
    assert await statuses(around) == ["AUTHORISED"] * 3, "polling has not asked again yet"

    await read_at(around, around.world.clock.now())
    while await around.compare_changed() == around.world.clock.now():
        pass
    assert await statuses(around) == ["VOIDED", "DELETED", "PAID"]


async def test_what_was_discarded_is_taken_in_once_a_sync_went_through(around: Around) -> None:
    await removed_behind_a_gate(around, at=timedelta(hours=1))
    again = await held(around)
    async with around.world.database.write() as tx:
        sync = await syncs.get(tx, again)
        assert sync
        await syncs.save(tx, msgspec.structs.replace(sync, state="SUCCEEDED"), while_in=(sync.state,))

    while await around.compare_changed() == around.world.clock.now():
        pass
    assert await statuses(around) == ["VOIDED", "DELETED", "PAID"]


async def test_an_organisation_is_compared_without_what_was_discarded_and_those_customers_are_left_over(
    around: Around,
) -> None:
    await removed_behind_a_gate(around, at=timedelta(hours=1))

    run = await around.reconcile()

    assert await statuses(around) == ["AUTHORISED", "AUTHORISED", "PAID"]
    assert (run.compared, run.agreeing, run.left_over, run.self_healed) == (1, 1, 2, 1)
    assert await around.off_balance() == set(), "a gate that holds is no discrepancy"


async def test_what_somebody_asks_for_one_customer_is_taken_in_whatever_was_discarded(around: Around) -> None:
    await removed_behind_a_gate(around, at=timedelta(hours=1))

    found = await around.service.reconcile_customer(around.connection_id, "c0")

    assert [repair.cause for repair in found.repairs] == ["MISSED_DELETION"]
    assert await statuses(around) == ["VOIDED", "AUTHORISED", "AUTHORISED"]
