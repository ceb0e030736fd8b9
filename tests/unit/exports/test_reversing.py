"""What was exported may be taken back once, in whole or as refunds that add up to it."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from handing_over import Desk
from tieout_server.errors import (
    InvalidRequestError,
    NotFoundError,
    NotPermittedNowError,
    PaymentIdReusedError,
    RequestIdReusedError,
)
from tieout_server.exports.messages import Reexport, Reverse
from tieout_server.ledger.exports import PaymentExport, Reversal, Step
from tieout_server.ledger.money import Money
from tieout_server.ledger.writes import Deletion, RecordKind
from tieout_server.storage import export_steps, reversals


def asked(export: PaymentExport, **fields: Any) -> Reverse:  # noqa: ANN401 - any field
    return Reverse(**({"export_id": export.id, "kind": "REFUND", "reversal_id": "r1"} | fields))


def nzd(amount: str) -> Money:
    return Money("NZD", Decimal(amount))


async def became(desk: Desk, reversal: Reversal, status: str, *, step: str = "") -> None:
    """Have this become of a reversal, with a step of it in this state if one is named; a second passes."""
    desk.clock.time += timedelta(seconds=1)
    changed = msgspec.structs.replace(reversal, xero_status=status, due_at=None)
    async with desk.database.write() as tx:
        await reversals.put(tx, changed)
        if step:
            deletion = Deletion(record=RecordKind.PAYMENT, xero_id="xp1")
            one = Step(
                id=f"stp_{reversal.id}",
                connection_id=reversal.connection_id,
                export_id=reversal.export_id,
                reversal_id=reversal.id,
                number=1,
                draft=deletion,
                marker="",
                state=step,
            )
            await export_steps.add(tx, [one])


@pytest.mark.parametrize("status", ["EXPORTED", "VERIFIED"])
async def test_all_of_a_payment_is_taken_back_unless_less_is_named(desk: Desk, status: str) -> None:
    export = await desk.handed_over(xero_status=status)
    await desk.asleep()
    after = await desk.exports.reverse(asked(export, kind="CHARGEBACK", reason="disputed"))
    (back,) = after.reversals
    assert (back.amount, back.currency, back.kind, back.reason) == (Decimal("12.50"), "NZD", "CHARGEBACK", "disputed")
    assert (back.xero_status, back.due_at, back.reversed_on) == ("QUEUED", desk.clock.now(), desk.clock.now().date())
    assert after.xero_status == status, "it is in Xero until it is not"
    assert after.history == ()
    assert await desk.woken_at() == desk.clock.now()
    told = (await desk.exports.get(export.id)).history[-1]
    assert told.sentence == "12.50 NZD is to be taken back as a chargeback: disputed."


@pytest.mark.parametrize(("time_zone", "day"), [("", 22), ("Pacific/Auckland", 23), ("America/Los_Angeles", 22)])
async def test_one_without_a_date_is_of_today_where_the_organisation_is(desk: Desk, time_zone: str, day: int) -> None:
    desk.xero.time_zone = time_zone
    await desk.links.check(desk.connection_id)
    desk.clock.time = datetime(2026, 11, 22, 11, tzinfo=UTC)
    (back,) = (await desk.exports.reverse(asked(await desk.handed_over(xero_status="VERIFIED")))).reversals
    assert back.reversed_on == date(2026, 11, day)


async def test_the_same_reversal_again_is_the_one_that_is_there(desk: Desk) -> None:
    export = await desk.handed_over(xero_status="VERIFIED")
    first = asked(export, request_id="q1")
    await desk.exports.reverse(first)
    desk.clock.time += timedelta(days=1)
    for again in (first, asked(export), asked(export, amount=nzd("12.5"))):
        assert len((await desk.exports.reverse(again)).reversals) == 1
    with pytest.raises(RequestIdReusedError):
        await desk.exports.reverse(asked(export, request_id="q1", reason="another"))


@pytest.mark.parametrize(
    "other", [{"kind": "CHARGEBACK"}, {"amount": nzd("1")}, {"reason": "else"}, {"reversed_on": date(2026, 11, 1)}]
)
async def test_another_reversal_under_the_same_id_is_refused(desk: Desk, other: dict[str, Any]) -> None:
    export = await desk.handed_over(xero_status="VERIFIED")
    await desk.exports.reverse(asked(export))
    with pytest.raises(PaymentIdReusedError):
        await desk.exports.reverse(asked(export, **other))


async def test_of_two_reversals_at_the_same_time_one_is_taken(desk: Desk) -> None:
    export = await desk.handed_over(xero_status="VERIFIED")
    both = (desk.exports.reverse(asked(export, reversal_id=name)) for name in ("r1", "r2"))
    answers = await asyncio.gather(*both, return_exceptions=True)
    assert [type(one) for one in answers if isinstance(one, Exception)] == [NotPermittedNowError]
    assert len((await desk.exports.get(export.id)).reversals) == 1


async def test_refunds_of_parts_follow_each_other_up_to_the_whole(desk: Desk) -> None:
    export = await desk.handed_over(xero_status="VERIFIED")
    first = (await desk.exports.reverse(asked(export, amount=nzd("10")))).reversals[-1]
    with pytest.raises(NotPermittedNowError, match="'r1' is under way"):
        await desk.exports.reverse(asked(export, reversal_id="r2", amount=nzd("1")))
    await became(desk, first, "VERIFIED")
    with pytest.raises(NotPermittedNowError, match=r"Only 2\.50 NZD"):
        await desk.exports.reverse(asked(export, reversal_id="r2", amount=nzd("2.51")))
    after = await desk.exports.reverse(asked(export, reversal_id="r2", amount=nzd("2.50")))
    assert [one.amount for one in after.reversals] == [Decimal("10.00"), Decimal("2.50")]


@pytest.mark.parametrize("kind", ["CHARGEBACK", "LATE_FAILURE"])
async def test_after_a_refund_of_a_part_a_bank_may_take_the_rest(desk: Desk, kind: str) -> None:
    export = await desk.handed_over(xero_status="VERIFIED")
    await became(desk, (await desk.exports.reverse(asked(export, amount=nzd("10")))).reversals[-1], "VERIFIED")
    with pytest.raises(NotPermittedNowError, match=r"^Only 2\.50 NZD .* name that as the amount\.$"):
        await desk.exports.reverse(asked(export, reversal_id="r2", kind=kind))
    with pytest.raises(InvalidRequestError) as refused:
        await desk.exports.reverse(asked(export, reversal_id="r2", kind=kind, amount=nzd("2")))
    (violation,) = refused.value.violations
    assert violation.rule == f"must be all that is left of the payment for a {kind}: 2.50 NZD"
    last = (await desk.exports.reverse(asked(export, reversal_id="r2", kind=kind, amount=nzd("2.50")))).reversals[-1]
    assert (last.kind, last.amount) == (kind, Decimal("2.50"))
    await became(desk, last, "VERIFIED")
    with pytest.raises(NotPermittedNowError, match="taken back already"):
        await desk.exports.reverse(asked(export, reversal_id="r3", amount=nzd("1")))


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"amount": Money("EUR", Decimal(1))}, "amount.currency_code"),
        ({"amount": nzd("12.51")}, "amount"),
        ({"amount": nzd("0.001")}, "amount"),
        ({"amount": nzd("12.49"), "kind": "CHARGEBACK"}, "amount"),
        ({"amount": nzd("12.49"), "kind": "LATE_FAILURE"}, "amount"),
    ],
)
async def test_an_amount_that_is_not_of_the_payment_is_refused(desk: Desk, wanted: dict[str, Any], field: str) -> None:
    export = await desk.handed_over(xero_status="VERIFIED")
    with pytest.raises(InvalidRequestError) as refused:
        await desk.exports.reverse(asked(export, **wanted))
    assert [one.field for one in refused.value.violations] == [field]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("QUEUED", "dismiss it, and it never will be"),
        ("CHECKED", "dismiss it, and it never will be"),
        ("SENDING", "ask again"),
        ("OUTCOME_UNKNOWN", "ask again"),
        ("ERROR", "dismiss it"),
        ("REMOVED_IN_XERO", "dismiss it"),
        ("ALREADY_RECORDED", "take it back there"),
        ("DISMISSED", "take it back there"),
        ("REVERSED", "taken back already"),
    ],
)
async def test_what_we_did_not_put_into_xero_is_not_taken_back_and_it_is_told_what_to_do(
    desk: Desk, status: str, advice: str
) -> None:
    export = await desk.handed_over(xero_status=status)
    with pytest.raises(NotPermittedNowError, match=advice) as refused:
        await desk.exports.reverse(asked(export))
    assert refused.value.facts["state"] == status


async def test_what_is_not_there_is_not_taken_back(desk: Desk) -> None:
    export = await desk.handed_over(xero_status="VERIFIED")
    with pytest.raises(NotFoundError):
        await desk.exports.reverse(asked(export, export_id="exp_unknown"))


async def test_a_reversal_that_failed_before_anything_was_done_makes_way_for_another(desk: Desk) -> None:
    export = await desk.handed_over(xero_status="VERIFIED")
    failed = (await desk.exports.reverse(asked(export, amount=nzd("5")))).reversals[-1]
    await became(desk, failed, "ERROR", step="REFUSED")
    after = await desk.exports.reverse(asked(export, reversal_id="r2"))
    assert [one.xero_status for one in after.reversals] == ["ERROR", "QUEUED"]


async def test_a_reversal_that_is_half_done_is_tried_again_and_no_other_begun(desk: Desk) -> None:
    export = await desk.handed_over(xero_status="VERIFIED")
    failed = (await desk.exports.reverse(asked(export))).reversals[-1]
    await became(desk, failed, "ERROR", step="DONE")
    with pytest.raises(NotPermittedNowError, match="try it again with ReexportPayment"):
        await desk.exports.reverse(asked(export, reversal_id="r2"))
    again = await desk.exports.reexport(Reexport(export.id))
    assert again.xero_status == "VERIFIED"
    assert [(one.xero_status, one.due_at) for one in again.reversals] == [("QUEUED", desk.clock.now())]
