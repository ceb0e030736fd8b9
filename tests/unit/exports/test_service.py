"""Payments are accepted once, tried again when somebody says so, and given up only with a note."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from documents import invoice
from handing_over import Desk, paid
from tieout_server.connections.messages import Connect, Disconnect
from tieout_server.errors import (
    AccessRevokedError,
    ConnectionNotUsableError,
    NotFoundError,
    NotPermittedNowError,
    PaymentIdReusedError,
    RequestIdReusedError,
)
from tieout_server.exports import record, service
from tieout_server.exports.messages import Dismiss, ExportPayment, Reexport, ReexportAll, Reverse
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.exports import PaymentExport, PaymentLine, PlatformPayment
from tieout_server.storage import exports
from tieout_server.storage.database import Transaction
from tieout_server.storage.exports import ExportQuery
from tieout_server.storage.pages import Span

STATUSES_ON_THE_WAY = ["QUEUED", "CHECKED", "SENDING", "OUTCOME_UNKNOWN"]
STATUSES_IN_XERO = ["EXPORTED", "VERIFIED", "ALREADY_RECORDED", "REVERSED"]


async def test_a_payment_is_kept_and_due_before_it_is_answered(desk: Desk) -> None:
    await desk.asleep()
    accepted = await desk.hand_over()
    assert not accepted.existing
    assert accepted.export.payment == paid()
    kept = await desk.exports.get(accepted.export.id)
    assert (kept.xero_status, kept.due_at) == ("QUEUED", desk.clock.now())
    assert [(event.sentence, event.actor) for event in kept.history] == [("Accepted for export.", "caller")]
    assert await desk.exports.of_payment(desk.connection_id, "p1") == kept
    assert await desk.woken_at() == desk.clock.now()


async def test_the_same_payment_again_gets_the_export_that_is_there_whatever_its_request_id(desk: Desk) -> None:
    first = (await desk.hand_over(request_id="r1")).export
    lines = (PaymentLine(xero_invoice_id="i1", amount=Decimal("12.5")),)
    for request_id in ("", "r2"):
        again = await desk.hand_over(paid(amount="12.5000", lines=lines), request_id)
        assert again.existing
        assert again.export.id == first.id
    assert not (await desk.hand_over(request_id="r1")).existing, "the first answer again"
    assert len((await desk.exports.get(first.id)).history) == 1


@pytest.mark.parametrize(
    "other",
    [
        paid(amount="12.51"),
        paid(reference="another"),
        paid(currency="EUR"),
        paid(lines=(PaymentLine(invoice_number="i1", amount=Decimal("12.50")),)),
    ],
)
async def test_another_payment_under_the_same_id_is_refused(desk: Desk, other: PlatformPayment) -> None:
    first = (await desk.hand_over()).export
    with pytest.raises(PaymentIdReusedError) as refused:
        await desk.hand_over(other)
    assert refused.value.facts == {"payment_id": "p1", "export_id": first.id}


async def test_one_request_id_is_one_payment(desk: Desk) -> None:
    await desk.hand_over(request_id="r1")
    with pytest.raises(RequestIdReusedError):
        await desk.hand_over(paid("p2"), "r1")


async def test_of_the_same_payment_at_the_same_time_one_is_accepted(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.hand_over() for _ in range(5)))
    assert sorted(one.existing for one in answers) == [False, True, True, True, True]
    assert len({one.export.id for one in answers}) == 1


async def test_callers_at_the_same_time_never_wait_for_each_other_for_ever(desk: Desk) -> None:
    stuck = [await desk.handed_over(paid(f"stuck {n}"), **desk.in_error()) for n in range(6)]
    sent = await desk.handed_over(paid("sent"), xero_status="VERIFIED")
    answers = await asyncio.gather(
        *(desk.hand_over(paid(f"new {n}")) for n in range(6)),
        desk.exports.reexport_all(ReexportAll(desk.connection_id)),
        *(desk.exports.dismiss(Dismiss(one.id, "by hand")) for one in reversed(stuck[:3])),
        *(desk.exports.reexport(Reexport(one.id)) for one in reversed(stuck[3:])),
        desk.exports.reverse(Reverse(export_id=sent.id, kind="REFUND", reversal_id="r1")),
        desk.links.disconnect(Disconnect(desk.connection_id)),
        return_exceptions=True,
    )
    refused = [one for one in answers if isinstance(one, BaseException)]
    assert all(isinstance(one, NotPermittedNowError) for one in refused), "what was on its way is not dismissed"
    async with desk.database.read() as tx:
        every = await exports.with_status(tx, desk.connection_id, ("QUEUED", "DISMISSED"), limit=99)
    assert len(every) == 12, "all were accepted, and what was stuck went on or was given up"


async def test_a_payment_is_accepted_whatever_state_its_connection_is_in(desk: Desk) -> None:
    never = (await desk.links.connect(Connect("never consented"))).link.id
    await desk.links.disconnect(Disconnect(desk.connection_id))
    for connection_id in (never, desk.connection_id):
        accepted = await desk.exports.export(ExportPayment(connection_id, paid()))
        assert accepted.export.xero_status == "QUEUED"
    with pytest.raises(NotFoundError):
        await desk.exports.export(ExportPayment("con_unknown", paid()))


async def test_what_waits_for_a_consent_is_due_once_there_is_one(desk: Desk) -> None:
    later = desk.clock.now() + timedelta(minutes=5)
    lost = desk.in_error("CONNECTION_LOST") | {"xero_status": "QUEUED", "due_at": later}
    limited = desk.in_error("RATE_LIMITED") | {"xero_status": "QUEUED", "due_at": later}
    waits = await desk.handed_over(paid("p1"), **lost)
    for_xero = await desk.handed_over(paid("p2"), **limited)
    await desk.asleep()
    link = await desk.links.get(desk.connection_id)
    async with desk.database.write() as tx:
        await desk.links._access.gain(tx, link, link)
    assert await desk.woken_at() == desk.clock.now()
    assert (await desk.exports.get(waits.id)).due_at == desk.clock.now()
    assert (await desk.exports.get(for_xero.id)).due_at == later


@pytest.mark.parametrize("status", ["ERROR", "REMOVED_IN_XERO"])
async def test_what_is_stuck_is_tried_again_with_its_error_gone(desk: Desk, status: str) -> None:
    stuck = await desk.handed_over(**(desk.in_error() | {"xero_status": status}))
    await desk.asleep()
    desk.clock.time += timedelta(hours=1)
    asked = Reexport(stuck.id, "r1")
    again = await desk.exports.reexport(asked)
    assert (again.xero_status, again.error, again.due_at) == ("QUEUED", None, desk.clock.now())
    assert await desk.woken_at() == desk.clock.now()
    assert (await desk.exports.reexport(asked)).id == stuck.id
    assert [event.sentence for event in (await desk.exports.get(stuck.id)).history][1:] == ["It is tried again."]
    with pytest.raises(RequestIdReusedError):
        await desk.exports.reexport(Reexport("another", "r1"))


@pytest.mark.parametrize("status", STATUSES_ON_THE_WAY)
async def test_what_is_on_its_way_is_answered_as_it_is(desk: Desk, status: str) -> None:
    export = await desk.handed_over(xero_status=status)
    assert await desk.exports.reexport(Reexport(export.id)) == export


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("EXPORTED", "is in Xero already"),
        ("VERIFIED", "is in Xero already"),
        ("ALREADY_RECORDED", "is in Xero already"),
        ("REVERSED", "export that under another payment_id"),
        ("DISMISSED", "export it under another payment_id"),
    ],
)
async def test_what_is_in_xero_or_over_is_not_tried_again(desk: Desk, status: str, why: str) -> None:
    export = await desk.handed_over(xero_status=status)
    with pytest.raises(NotPermittedNowError, match=why) as refused:
        await desk.exports.reexport(Reexport(export.id))
    assert refused.value.facts == {"export_id": export.id, "state": status}
    with pytest.raises(NotFoundError):
        await desk.exports.reexport(Reexport("exp_unknown"))


async def test_everything_in_error_is_tried_again_or_what_is_for_one_reason(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "AT_ONCE", 2)
    for number in range(5):
        await desk.handed_over(paid(f"p{number}"), **desk.in_error())
    await desk.handed_over(paid("locked"), **desk.in_error("PERIOD_LOCKED"))
    await desk.handed_over(paid("removed"), xero_status="REMOVED_IN_XERO")
    await desk.handed_over(paid("dismissed"), xero_status="DISMISSED")
    of_one_reason = ReexportAll(desk.connection_id, ("ACCOUNT_NOT_CHOSEN",), "r1")
    assert await desk.exports.reexport_all(of_one_reason) == 5
    assert await desk.exports.reexport_all(of_one_reason) == 5, "the first answer again"
    assert await desk.exports.reexport_all(ReexportAll(desk.connection_id)) == 1
    assert await desk.exports.reexport_all(ReexportAll(desk.connection_id)) == 0
    page, _ = await desk.exports.page(desk.connection_id, ExportQuery(statuses=("QUEUED",)), Span(9))
    assert sorted(export.payment.payment_id for export in page) == ["locked", "p0", "p1", "p2", "p3", "p4"]
    with pytest.raises(NotFoundError):
        await desk.exports.reexport_all(ReexportAll("con_unknown"))


async def test_what_fails_again_meanwhile_is_not_tried_twice_by_one_request(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "AT_ONCE", 2)
    made = [await desk.handed_over(paid(f"p{number}"), **desk.in_error()) for number in range(5)]
    go_on, rounds = exports.with_status, 0

    async def as_quick_as_the_caller(tx: Transaction, *query: Any, **more: Any) -> list[PaymentExport]:  # noqa: ANN401 - what it takes
        nonlocal rounds
        rounds += 1
        assert rounds < 10, "it never ends"
        for export in made:
            await exports.put(tx, export)
        return await go_on(tx, *query, **more)

    monkeypatch.setattr(exports, "with_status", as_quick_as_the_caller)
    assert await desk.exports.reexport_all(ReexportAll(desk.connection_id)) == 5


async def test_what_was_handled_elsewhere_is_dismissed_with_a_note_that_may_be_replaced(desk: Desk) -> None:
    stuck = await desk.handed_over(**desk.in_error())
    await desk.exports.dismiss(Dismiss(stuck.id, "paid by hand", "r1"))
    await desk.exports.dismiss(Dismiss(stuck.id, "paid by hand", "r1"))
    dismissed = await desk.exports.dismiss(Dismiss(stuck.id, "by Ruth"))
    assert (dismissed.xero_status, dismissed.dismissal_note) == ("DISMISSED", "by Ruth")
    assert dismissed.dismissed_by == "caller"
    assert dismissed.error is None
    sentences = [event.sentence for event in (await desk.exports.get(stuck.id)).history][1:]
    assert sentences == ["Dismissed: paid by hand", "Dismissed: by Ruth"]


@pytest.mark.parametrize("status", ["QUEUED", "CHECKED"])
async def test_what_waits_is_not_to_be_recorded_any_more_and_its_invoice_not_held_back(desk: Desk, status: str) -> None:
    waits = desk.in_error("CONNECTION_LOST") | {"xero_status": status, "due_at": desk.clock.now()}
    export = await desk.handed_over(**waits)
    dismissed = await desk.exports.dismiss(Dismiss(export.id, "The bank returned it."))
    assert (dismissed.xero_status, dismissed.error, dismissed.due_at) == ("DISMISSED", None, None)
    async with desk.database.read() as tx:
        assert await exports.pending_of(tx, desk.connection_id, ["i1"]) == {}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("SENDING", "on its way"),
        ("OUTCOME_UNKNOWN", "on its way"),
        ("EXPORTED", "ReversePayment"),
        ("VERIFIED", "ReversePayment"),
        ("ALREADY_RECORDED", "take it back there"),
        ("REVERSED", "taken back already"),
    ],
)
async def test_what_may_be_in_xero_is_not_dismissed(desk: Desk, status: str, why: str) -> None:
    export = await desk.handed_over(xero_status=status)
    with pytest.raises(NotPermittedNowError, match=why) as refused:
        await desk.exports.dismiss(Dismiss(export.id, "never mind"))
    assert refused.value.facts == {"export_id": export.id, "state": status}


async def test_a_payment_is_examined_without_being_kept(desk: Desk) -> None:
    desk.show("bank")
    desk.xero.documents[(Entity.INVOICES, "i1")] = invoice("i1", currency="NZD", due=Decimal(99), number="INV-1")
    checked = await desk.exports.check(desk.connection_id, paid())
    assert [finding.reason for finding in checked.findings] == ["ACCOUNT_NOT_CHOSEN", "SCOPE_MISSING"]
    assert checked.plan == ()
    assert checked.as_of == desk.clock.now()
    assert await desk.exports.page(desk.connection_id, ExportQuery(), Span(9)) == ([], None)


async def test_a_refusal_while_examining_is_looked_into(desk: Desk) -> None:
    desk.xero.refusal = AccessRevokedError("Refused.", words="AuthenticationUnsuccessful")
    desk.xero.is_linked = False
    with pytest.raises(AccessRevokedError):
        await desk.exports.check(desk.connection_id, paid())
    assert (await desk.links.get(desk.connection_id)).state == "RECONNECT_REQUIRED"
    with pytest.raises(ConnectionNotUsableError):
        await desk.exports.check(desk.connection_id, paid())
    with pytest.raises(NotFoundError):
        await desk.exports.check("con_unknown", paid())


async def test_a_watcher_gets_what_is_not_over_and_then_what_happens(desk: Desk) -> None:
    stuck = await desk.handed_over(**desk.in_error())
    await desk.handed_over(paid("p2"), xero_status="VERIFIED")
    watch = desk.watch.follow(desk.connection_id, from_start=True)
    first = await anext(watch)
    assert first.position is None
    assert first.snapshot == stuck
    closing = await anext(watch)
    assert (closing.snapshot, closing.change) == (None, None)
    await desk.exports.reexport(Reexport(stuck.id))
    told = await anext(watch)
    assert told.change is not None
    assert told.change.event.sentence == "It is tried again."
    assert told.change.export.xero_status == "QUEUED"
    assert [event.sentence for event in told.change.export.history] == ["Accepted for export.", "It is tried again."]
    await watch.aclose()


async def test_a_slow_reader_of_a_snapshot_is_told_of_each_export_as_it_is_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PAGE", 2)
    waiting: list[PaymentExport] = []
    for number in range(5):
        desk.clock.time += timedelta(seconds=1)
        waiting.append(await desk.handed_over(paid(f"p{number}")))
    async with aclosing(desk.watch.follow(desk.connection_id, from_start=True)) as watch:
        snapshot = [(await anext(watch)).snapshot]
        await desk.exports.dismiss(Dismiss(waiting[0].id, "Entered by hand."))
        while told := (await anext(watch)).snapshot:
            snapshot.append(told)
        change = (await anext(watch)).change
    assert [it.id for it in snapshot if it] == [it.id for it in waiting[:0:-1]]
    assert change
    assert (change.export.id, change.export.xero_status) == (waiting[0].id, "DISMISSED")


async def test_a_watcher_hears_nothing_of_other_connections_and_of_none_that_is_not_there(desk: Desk) -> None:
    elsewhere = await desk.connect("other")
    watch = desk.watch.follow(desk.connection_id)
    assert (await anext(watch)).snapshot is None
    await desk.exports.export(ExportPayment(elsewhere, paid("theirs")))
    await desk.hand_over(paid("ours"))
    told = await anext(watch)
    assert told.change is not None
    assert told.change.export.payment.payment_id == "ours"
    await watch.aclose()
    with pytest.raises(NotFoundError):
        await anext(desk.watch.follow("con_unknown"))


async def test_an_invoice_waits_for_a_payment_until_that_was_seen_in_xero(desk: Desk) -> None:
    export = (await desk.hand_over()).export
    async with desk.database.read() as tx:
        assert await exports.pending_of(tx, desk.connection_id, ["i1", "i2"]) == {"i1": export.id}
    async with desk.database.write() as tx:
        await exports.put(tx, msgspec.structs.replace(export, xero_status="VERIFIED"))
        assert await exports.pending_of(tx, desk.connection_id, ["i1", "i2"]) == {}
