"""Settings are examined in Xero before they are kept, and set going again what they unblock."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from handing_over import Desk, paid
from tieout_server.connections.messages import Disconnect
from tieout_server.errors import (
    AccessRevokedError,
    CallLimitError,
    ChangedMeanwhileError,
    ConnectionNotUsableError,
    InvalidRequestError,
    NotFoundError,
    RequestIdReusedError,
    XeroUnavailableError,
)
from tieout_server.exports import preflight, record
from tieout_server.exports.messages import Reverse, UpdateSettings
from tieout_server.ledger.books import HeldUp, WaitingFor
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.exports import PaymentExport
from tieout_server.storage import connections, exports, mirror, reversals

MINUTE = timedelta(minutes=1)


def new(desk: Desk, *accounts: tuple[str, str], **fields: Any) -> UpdateSettings:  # noqa: ANN401 - any field
    return UpdateSettings(connection_id=desk.connection_id, accounts=accounts, **fields)


async def stands(desk: Desk, export: PaymentExport) -> str:
    return (await desk.exports.get(export.id)).xero_status


async def read(desk: Desk, *xero_ids: str) -> None:
    """Have these accounts read into the mirror, as a poll does."""
    documents = [desk.xero.documents[(Entity.ACCOUNTS, xero_id)] for xero_id in xero_ids]
    async with desk.database.write() as tx:
        await mirror.save(tx, desk.connection_id, documents, seen_in=1, at=desk.clock.now())


async def test_before_the_first_update_nothing_is_chosen_and_nothing_is_wrong(desk: Desk) -> None:
    now = await desk.settings.get(desk.connection_id)
    assert (now.settings.accounts, now.settings.revision, now.problems) == ({}, 0, ())
    with pytest.raises(NotFoundError):
        await desk.settings.get("con_unknown")


async def test_the_accounts_that_take_payments_are_listed_as_xero_has_them_now(desk: Desk) -> None:
    desk.show("wise", currency="EUR")
    desk.show("old", status="ARCHIVED")
    desk.show("sales", kind="REVENUE", takes_payments=False, currency="")
    desk.show("till", kind="CURRENT", currency="")
    found = await desk.settings.accounts(desk.connection_id)
    assert [(one.account.name, one.currency, one.usable) for one in found] == [
        ("till", "NZD", True),
        ("wise", "EUR", True),
        ("old", "NZD", False),
    ]
    assert [one.account.name for one in await desk.settings.accounts(desk.connection_id, "EUR")] == ["wise"]


async def test_settings_are_replaced_as_a_whole(desk: Desk) -> None:
    desk.show("bank")
    desk.show("wise", currency="EUR")
    desk.show("refunds", kind="EXPENSE", takes_payments=False, currency="")
    wanted = new(desk, ("NZD", "bank"), ("EUR", "wise"), overpayment_policy="SPLIT", refund_xero_account_id="refunds")
    first = await desk.settings.update(wanted)
    assert first.now.problems == ()
    assert first.now.settings.accounts == {"NZD": "bank", "EUR": "wise"}
    assert (first.now.settings.overpayment_policy, first.now.settings.refund_xero_account_id) == ("SPLIT", "refunds")
    second = await desk.settings.update(new(desk, ("EUR", "wise"), revision="1"))
    assert second.now.settings.accounts == {"EUR": "wise"}
    assert (second.now.settings.overpayment_policy, second.now.settings.revision) == ("HOLD", 2)
    assert await desk.settings.get(desk.connection_id) == second.now


async def test_every_account_that_does_not_fit_is_named_and_nothing_is_kept(desk: Desk) -> None:
    desk.show("old", status="ARCHIVED")
    desk.show("bank")
    with pytest.raises(InvalidRequestError) as refused:
        await desk.settings.update(
            new(desk, ("EUR", "bank"), ("NZD", "old"), ("USD", "unknown"), refund_xero_account_id="bank")
        )
    assert [one.field for one in refused.value.violations] == [
        "accounts[0].xero_account_id",
        "accounts[1].xero_account_id",
        "accounts[2].xero_account_id",
        "refund_xero_account_id",
    ]
    assert (await desk.settings.get(desk.connection_id)).settings.revision == 0


async def test_two_people_do_not_undo_each_other(desk: Desk) -> None:
    desk.show("bank")
    await desk.settings.update(new(desk, ("NZD", "bank"), revision="0"))
    with pytest.raises(ChangedMeanwhileError):
        await desk.settings.update(new(desk, revision="0"))
    assert (await desk.settings.update(new(desk))).now.settings.revision == 2, "whatever is there is replaced"


async def test_a_repeated_update_is_answered_and_not_done_again(desk: Desk) -> None:
    desk.show("bank")
    wanted = new(desk, ("NZD", "bank"), revision="0", request_id="r1")
    await desk.settings.update(wanted)
    assert (await desk.settings.update(wanted)).now.settings.revision == 1
    with pytest.raises(RequestIdReusedError):
        await desk.settings.update(new(desk, request_id="r1"))


async def test_settings_of_books_that_cannot_be_read_are_not_updated(desk: Desk) -> None:
    desk.xero.read_trouble = XeroUnavailableError("Xero does not answer.")
    with pytest.raises(XeroUnavailableError):
        await desk.settings.update(new(desk))
    desk.xero.refusal = AccessRevokedError("Refused.", words="AuthenticationUnsuccessful")
    desk.xero.is_linked = False
    with pytest.raises(AccessRevokedError):
        await desk.settings.accounts(desk.connection_id)
    assert (await desk.links.get(desk.connection_id)).state == "RECONNECT_REQUIRED"
    await desk.links.disconnect(Disconnect(desk.connection_id))
    with pytest.raises(ConnectionNotUsableError):
        await desk.settings.update(new(desk))
    with pytest.raises(NotFoundError):
        await desk.settings.accounts("con_unknown")


async def test_choosing_an_account_sets_going_what_waited_for_it_and_nothing_else(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "AT_ONCE", 2)
    desk.show("wise", currency="EUR")
    euros = [await desk.handed_over(paid(f"p{n}", currency="EUR"), **desk.in_error()) for n in range(5)]
    others = [
        await desk.handed_over(paid("dollars", currency="USD"), **desk.in_error()),
        await desk.handed_over(paid("locked", currency="EUR"), **desk.in_error("PERIOD_LOCKED")),
        await desk.handed_over(paid("dismissed", currency="EUR"), xero_status="DISMISSED"),
    ]
    await desk.asleep()
    assert (await desk.settings.update(new(desk, ("EUR", "wise")))).woken == 5
    assert {await stands(desk, one) for one in euros} == {"QUEUED"}
    assert [await stands(desk, one) for one in others] == ["ERROR", "ERROR", "DISMISSED"]
    assert await desk.woken_at() == desk.clock.now()
    last = (await desk.exports.get(euros[0].id)).history[-1]
    assert (last.sentence, last.actor) == ("The settings were changed: it is tried again.", "caller")


async def test_permitting_overpayments_sets_going_what_was_held_for_them(desk: Desk) -> None:
    held = await desk.handed_over(**desk.in_error("AMOUNT_EXCEEDS_DUE"))
    assert (await desk.settings.update(new(desk))).woken == 0
    assert (await desk.settings.update(new(desk, overpayment_policy="SPLIT"))).woken == 1
    assert await stands(desk, held) == "QUEUED"


async def test_a_reversal_that_waited_for_the_account_for_refunds_goes_on(desk: Desk) -> None:
    desk.show("bank")
    desk.show("refunds", kind="EXPENSE", takes_payments=False, currency="")
    export = await desk.handed_over(xero_status="VERIFIED")
    back = (await desk.exports.reverse(Reverse(export_id=export.id, kind="REFUND", reversal_id="r1"))).reversals[-1]
    async with desk.database.write() as tx:
        error = desk.in_error()["error"]
        await reversals.put(tx, msgspec.structs.replace(back, xero_status="ERROR", error=error, due_at=None))
    wanted = new(desk, ("NZD", "bank"), refund_xero_account_id="refunds")
    assert (await desk.settings.update(wanted)).woken == 1
    (back,) = (await desk.exports.get(export.id)).reversals
    assert (back.xero_status, back.error, back.due_at) == ("QUEUED", None, desk.clock.now())


async def test_an_account_that_is_archived_later_is_a_problem_of_the_settings(desk: Desk) -> None:
    desk.show("bank")
    await desk.settings.update(new(desk, ("NZD", "bank")))
    desk.clock.time += MINUTE
    desk.show("bank", status="ARCHIVED")
    await read(desk, "bank")
    (problem,) = (await desk.settings.get(desk.connection_id)).problems
    assert problem.reason == "ACCOUNT_ARCHIVED"


async def test_an_account_that_works_again_sets_going_what_failed_because_of_it_once(desk: Desk) -> None:
    desk.show("bank")
    await desk.settings.update(new(desk, ("NZD", "bank")))
    desk.clock.time += MINUTE
    desk.show("bank", status="ARCHIVED")
    await read(desk, "bank")
    failed = await desk.handed_over(**desk.in_error("ACCOUNT_ARCHIVED"))
    locked = await desk.handed_over(paid("locked"), **desk.in_error("PERIOD_LOCKED"))
    desk.clock.time += MINUTE
    assert await desk.settings.revalidate(desk.connection_id) == 0, "nothing has changed since"
    desk.show("bank")
    await read(desk, "bank")
    assert await desk.settings.revalidate(desk.connection_id) == 1
    assert (await stands(desk, failed), await stands(desk, locked)) == ("QUEUED", "ERROR")
    last = (await desk.exports.get(failed.id)).history[-1]
    assert (last.sentence, last.actor) == ("The account was mended: it is tried again.", "tieout")


async def test_a_reversal_goes_on_when_the_account_for_refunds_works_again(desk: Desk) -> None:
    desk.show("bank")
    refunds = {"kind": "EXPENSE", "takes_payments": False, "currency": ""}
    desk.show("refunds", **refunds)
    await desk.settings.update(new(desk, ("NZD", "bank"), refund_xero_account_id="refunds"))
    export = await desk.handed_over(xero_status="VERIFIED")
    back = (await desk.exports.reverse(Reverse(export_id=export.id, kind="REFUND", reversal_id="r1"))).reversals[-1]
    desk.clock.time += MINUTE
    error = desk.in_error("ACCOUNT_ARCHIVED")["error"]
    failed = msgspec.structs.replace(back, xero_status="ERROR", error=error, due_at=None, updated_at=desk.clock.now())
    async with desk.database.write() as tx:
        await reversals.put(tx, failed)
    assert await desk.settings.revalidate(desk.connection_id) == 0
    desk.clock.time += MINUTE
    desk.show("refunds", name="Refunds", **refunds)
    await read(desk, "refunds")
    assert await desk.settings.revalidate(desk.connection_id) == 1
    (back,) = (await desk.exports.get(export.id)).reversals
    assert back.xero_status == "QUEUED"


async def test_a_new_consent_sets_going_what_an_earlier_one_did_not_cover_once(desk: Desk) -> None:
    desk.clock.time += MINUTE
    failed = await desk.handed_over(**desk.in_error("SCOPE_MISSING"))
    locked = await desk.handed_over(paid("locked"), **desk.in_error("PERIOD_LOCKED"))
    desk.clock.time += MINUTE
    assert await desk.settings.revalidate(desk.connection_id) == 0, "nobody has consented since"
    async with desk.database.write() as tx:
        link = await connections.get(tx, desk.connection_id)
        assert link
        await connections.save(tx, msgspec.structs.replace(link, consented_at=desk.clock.now()))
    assert await desk.settings.revalidate(desk.connection_id) == 1
    assert (await stands(desk, failed), await stands(desk, locked)) == ("QUEUED", "ERROR")
    async with desk.database.write() as tx:
        await exports.put(tx, msgspec.structs.replace(failed, updated_at=desk.clock.now()))
    assert await desk.settings.revalidate(desk.connection_id) == 0, "it was tried with this consent"


async def test_what_xero_refused_although_the_account_looked_right_is_not_tried_again_for_ever(desk: Desk) -> None:
    desk.show("bank")
    await desk.settings.update(new(desk, ("NZD", "bank")))
    desk.clock.time += MINUTE
    await desk.handed_over(**desk.in_error("ACCOUNT_NOT_PAYABLE"))
    assert await desk.settings.revalidate(desk.connection_id) == 0
    assert await desk.settings.revalidate("con_unknown") == 0


async def test_who_asks_for_accounts_hears_soon_that_xero_takes_no_calls(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller learns until when, while its deadline has not passed; a payment is examined likewise."""
    opens_at = desk.clock.now() + timedelta(seconds=40)
    books = desk.xero.open("tenant-1", None)  # type: ignore[arg-type] # nobody asks it for tokens

    async def never(*_asked: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(type(books), "organisation", never)
    monkeypatch.setattr(type(books), "held_up", lambda _: HeldUp(WaitingFor.MINUTE_LIMIT, opens_at))
    monkeypatch.setattr(preflight, "ASKED_WITHIN", 0.01)
    for asking in (desk.settings.accounts(desk.connection_id), desk.exports.check(desk.connection_id, paid())):
        with pytest.raises(CallLimitError) as raised:
            await asking
        assert (raised.value.retry_at, raised.value.limit) == (opens_at, "minute")
    monkeypatch.setattr(type(books), "held_up", lambda _: None)
    with pytest.raises(XeroUnavailableError):
        await desk.settings.accounts(desk.connection_id)
