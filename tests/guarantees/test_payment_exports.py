"""Promises of payment exports, by name: accepted once, said why, sent together, split, taken back, watched for good."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

import exporters
from exporters import Exporter
from servers import ROOMY, until
from tieout_sandbox import FaultKind, FaultRule, Sandbox, SandboxSettings, Status, serve
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import Invoice
from tieout_server.connections.messages import Disconnect
from tieout_server.errors import NotPermittedNowError, PaymentIdReusedError
from tieout_server.exports.means import EXPORT, UPKEEP
from tieout_server.exports.messages import Dismiss, ExportPayment, Reexport, ReexportAll, Reverse, UpdateSettings
from tieout_server.ledger.exports import PaymentExport, PaymentLine, PlatformPayment
from tieout_server.ledger.money import Money
from tieout_server.syncs.means import SYNCING
from tieout_server.syncs.service import StartSync
from tieout_server.syncs.state import SyncMode

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module"), pytest.mark.in_turn]

BOOKS = SandboxSettings(contacts=12, invoices=40, speed=0)
WAITS = ("QUEUED", "CHECKED", "SENDING", "EXPORTED", "OUTCOME_UNKNOWN")
GONE_BY = timedelta(minutes=6)
"""For so long, and no longer, accounts and lock dates are gone by without being read again."""
HOLD, SPLIT = "HOLD", "SPLIT"


@dataclass
class Desk:
    """A merchant's books, and the service that records payments in them; time passes when somebody waits."""

    sandbox: Sandbox
    one: Exporter
    connection_id: str
    paid: int = 0

    @property
    def books(self) -> Books:
        return self.sandbox.books

    def owed(self, amount: str = "100.00", currency: str = "NZD", **more: Any) -> Invoice:  # noqa: ANN401 - any field
        """A new invoice."""
        contact = more.pop("contact", None) or self.books.create_contact(f"Customer {len(self.books.contacts)}")
        return self.books.create_invoice(contact.id, Decimal(amount), currency=currency, **more)

    async def choose(self, policy: str = HOLD, **accounts: str) -> int:
        """Choose accounts, bank accounts unless told otherwise; answers how many exports that set going."""
        chosen = {"NZD": self.books.bank_account("NZD").id, "EUR": self.books.bank_account("EUR").id} | accounts
        revenue = next(one for one in self.books.accounts.values() if one.type == "REVENUE" and not one.system_account)
        updated = await self.one.settings.update(
            UpdateSettings(
                connection_id=self.connection_id,
                accounts=tuple((currency, name) for currency, name in chosen.items() if name),
                overpayment_policy=policy,
                refund_xero_account_id=revenue.id,
            )
        )
        return updated.woken

    def payment(self, *paid: tuple[Invoice, str], **more: Any) -> PlatformPayment:  # noqa: ANN401 - any field of it
        """A payment of so much of each of these invoices."""
        self.paid += 1
        lines = tuple(PaymentLine(xero_invoice_id=invoice.id, amount=Decimal(amount)) for invoice, amount in paid)
        stated: dict[str, Any] = {
            "payment_id": f"pay-{self.paid}",
            "paid_on": self.sandbox.organisations[0].books.today(),
            "currency": paid[0][0].currency,
            "amount": sum((line.amount for line in lines), Decimal(0)),
            "lines": lines,
        }
        return PlatformPayment(**(stated | more))

    async def accept(self, payment: PlatformPayment, request_id: str = "") -> PaymentExport:
        return (await self.one.exports.export(ExportPayment(self.connection_id, payment, request_id))).export

    async def pay(self, *paid: tuple[Invoice, str], **more: Any) -> PaymentExport:  # noqa: ANN401 - any field of it
        """The export of a payment once it is at rest."""
        return await self.rest(await self.accept(self.payment(*paid, **more)))

    async def now(self, export: PaymentExport) -> PaymentExport:
        return await self.one.exports.get(export.id)

    async def rest(self, export: PaymentExport, *, within: int = 400) -> PaymentExport:
        """The export once nothing more is done about it, or this many times 5 seconds have passed."""
        for _ in range(within):
            await self.one.work(EXPORT, UPKEEP)
            now = await self.now(export)
            under_way = [it for it in now.reversals if it.xero_status in WAITS]
            if now.xero_status not in WAITS and not under_way:
                return now
            self.sandbox.clock.advance(timedelta(seconds=5))
        return await self.now(export)

    async def later(self, hours: float = 1) -> None:
        """Time passes, and everything that is due by then is done."""
        self.sandbox.clock.advance(timedelta(hours=hours))
        await self.one.work()
        await self.one.work()

    async def reverse(self, export: PaymentExport, kind: str, amount: str = "") -> PaymentExport:
        part = Money(export.payment.currency, Decimal(amount)) if amount else None
        asked = Reverse(export_id=export.id, kind=kind, reversal_id=f"rev-{export.id}-{amount}", amount=part)
        await self.one.exports.reverse(asked)
        return await self.rest(export)

    def writes(self, since: int = 0) -> list[str]:
        """The paths of all writes that arrived, notes apart, after so many."""
        entries = self.sandbox.requests.find(path="/api.xro/")
        return [it.path.rpartition("/")[2] for it in entries if it.method == "PUT" and "History" not in it.path][since:]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(lasting_database_url: str) -> AsyncIterator[Desk]:
    async with serve(BOOKS) as sandbox:
        sandbox.limits.quota = ROOMY
        one = await exporters.start(sandbox, lasting_database_url)
        try:
            connection_id = await one.connect()
            await one.work()
            yield Desk(sandbox, one, connection_id)
        finally:
            await one.close()


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _as_usual(desk: Desk) -> AsyncIterator[None]:
    """Each test begins, and ends, with accounts that are chosen and a Xero that is well."""
    await desk.choose()
    yield
    desk.sandbox.faults.clear()
    desk.sandbox.organisations[0].period_lock_on = None
    for account in desk.books.accounts.values():
        if account.type == "BANK" and account.status == "ARCHIVED":
            desk.books.edit_account(account.id, status="ACTIVE")
    await desk.later(0.2)


# Accepted once


async def test_accepted_once_however_often_it_is_asked(desk: Desk) -> None:
    invoice = desk.owed()
    payment = desk.payment((invoice, "100.00"))
    asked = ExportPayment(desk.connection_id, payment, "once")
    accepted = await asyncio.gather(*(desk.one.exports.export(asked) for _ in range(5)))
    again = await desk.one.exports.export(ExportPayment(desk.connection_id, payment))
    assert len({it.export.id for it in (*accepted, again)}) == 1
    assert again.existing
    export = await desk.rest(again.export)
    assert export.xero_status == "VERIFIED"
    assert [it.amount for it in invoice.payments] == [Decimal(100)]
    other = desk.payment((invoice, "99.00"), payment_id=payment.payment_id)
    with pytest.raises(PaymentIdReusedError):
        await desk.accept(other)


async def test_nothing_is_guessed_and_everything_is_said_at_once(desk: Desk) -> None:
    voided = desk.owed(currency="EUR")
    desk.books.void(voided.id)
    await desk.choose(EUR="")
    desk.sandbox.organisations[0].period_lock_on = desk.sandbox.organisations[0].books.today()
    found = await desk.one.exports.check(desk.connection_id, desk.payment((voided, "100.00")))
    assert {it.reason for it in found.findings} == {"ACCOUNT_NOT_CHOSEN", "PERIOD_LOCKED", "INVOICE_NOT_PAYABLE"}
    assert not found.plan
    assert all(it.remedy and it.owner == "MERCHANT" for it in found.findings)


# Each reason, by name


async def _account_not_chosen(desk: Desk) -> PaymentExport:
    await desk.choose(EUR="")
    return await desk.pay((desk.owed(currency="EUR"), "100.00"))


async def _account_not_payable(desk: Desk) -> PaymentExport:
    account = next(it for it in desk.books.accounts.values() if it.type == "REVENUE" and not it.is_for_payments)
    desk.books.edit_account(account.id, takes_payments=True)
    await desk.choose(NZD=account.id)
    desk.books.edit_account(account.id, takes_payments=False)
    desk.sandbox.clock.advance(GONE_BY)
    return await desk.pay((desk.owed(), "100.00"))


async def _account_archived(desk: Desk) -> PaymentExport:
    desk.books.edit_account(desk.books.bank_account("EUR").id, status="ARCHIVED")
    desk.sandbox.clock.advance(GONE_BY)
    return await desk.pay((desk.owed(currency="EUR"), "100.00"))


async def _period_locked(desk: Desk) -> PaymentExport:
    desk.sandbox.organisations[0].period_lock_on = desk.sandbox.organisations[0].books.today()
    desk.sandbox.clock.advance(GONE_BY)
    return await desk.pay((desk.owed(), "100.00"))


async def _invoice_not_payable(desk: Desk) -> PaymentExport:
    return await desk.pay((desk.owed(status=Status.DRAFT), "100.00"))


async def _amount_exceeds_due(desk: Desk) -> PaymentExport:
    return await desk.pay((desk.owed(), "100.01"))


async def _contact_archived(desk: Desk) -> PaymentExport:
    invoice = desk.owed()
    desk.books.archive_contact(invoice.contact.id)
    await desk.later()
    await desk.choose(SPLIT)
    return await desk.pay((invoice, "130.00"))


async def _currency_mismatch(desk: Desk) -> PaymentExport:
    return await desk.pay((desk.owed(), "100.00"), currency="EUR")


async def _rejected(desk: Desk) -> PaymentExport:
    desk.sandbox.faults.add(FaultRule(FaultKind.ELEMENT_ERROR, "/Payments", method="PUT", body="The moon is full."))
    return await desk.pay((desk.owed(), "100.00"))


REASONS: dict[str, tuple[Callable[[Desk], Any], str]] = {
    "ACCOUNT_NOT_CHOSEN": (_account_not_chosen, "Choose the bank account for EUR."),
    "ACCOUNT_NOT_PAYABLE": (_account_not_payable, "Enable payments to this account in Xero, or choose another"),
    "ACCOUNT_ARCHIVED": (_account_archived, "Choose another account for EUR"),
    "PERIOD_LOCKED": (_period_locked, "Unlock the period in Xero and try again"),
    "INVOICE_NOT_PAYABLE": (_invoice_not_payable, "Approve the invoice in Xero and try again."),
    "AMOUNT_EXCEEDS_DUE": (_amount_exceeds_due, "Let what is paid beyond be recorded as an overpayment"),
    "CONTACT_ARCHIVED": (_contact_archived, "Restore the contact in Xero and try again."),
    "CURRENCY_MISMATCH": (_currency_mismatch, "Dismiss this one, and export the payment in NZD under another id"),
    "REJECTED_BY_XERO": (_rejected, "Read Xero's words"),
}


@pytest.mark.parametrize("reason", REASONS)
async def test_an_export_says_why_it_is_not_in_xero(desk: Desk, reason: str) -> None:
    happens, remedy = REASONS[reason]
    before = len(desk.writes())
    export = await happens(desk)
    error = export.error
    assert error, export
    assert (export.xero_status, error.reason, error.owner) == ("ERROR", reason, "MERCHANT")
    assert error.remedy.startswith(remedy), error
    assert not error.retries_by_itself
    assert len(desk.writes()) - before == (reason == "REJECTED_BY_XERO"), "nothing is tried that is known to fail"
    if reason == "REJECTED_BY_XERO":
        assert any("The moon is full." in said for said in error.xero_messages)
    await desk.one.exports.dismiss(Dismiss(export.id, "by hand"))


PASSING = {
    "RATE_LIMITED": (FaultKind.LIMIT_DAY, "NOBODY"),
    "XERO_UNAVAILABLE": (FaultKind.OFFLINE, "XERO"),
}


@pytest.mark.parametrize("reason", PASSING)
async def test_an_export_that_waits_says_so_and_goes_on_by_itself(desk: Desk, reason: str) -> None:
    kind, owner = PASSING[reason]
    desk.sandbox.faults.add(FaultRule(kind, "/api.xro/", times=40))
    export = await desk.accept(desk.payment((desk.owed(), "100.00")))
    await desk.one.work(EXPORT)
    error = (await desk.now(export)).error
    assert error
    assert (error.reason, error.owner, error.retries_by_itself) == (reason, owner, True)
    desk.sandbox.faults.clear()
    await desk.later(25)
    assert (await desk.rest(export)).xero_status == "VERIFIED"


async def test_an_export_waits_for_a_connection_that_is_lost(desk: Desk) -> None:
    await desk.one.links.disconnect(Disconnect(desk.connection_id))
    await desk.one.work()
    export = await desk.rest(await desk.accept(desk.payment((desk.owed(), "100.00"))), within=2)
    assert export.error
    assert (export.xero_status, export.error.reason, export.error.owner) == ("QUEUED", "CONNECTION_LOST", "MERCHANT")
    assert export.error.retries_by_itself
    await desk.one.reconnect(desk.connection_id)
    assert (await desk.rest(export)).xero_status == "VERIFIED"


async def test_an_export_waits_for_a_consent_that_permits_writing(desk: Desk) -> None:
    user = desk.sandbox.authority.user_by_email("ada.adviser@example.com")
    assert user
    without = "openid profile email offline_access accounting.settings.read accounting.contacts.read"
    desk.sandbox.authority.narrow(user.id, without.split())
    desk.sandbox.clock.advance(timedelta(minutes=31))
    export = await desk.rest(await desk.accept(desk.payment((desk.owed(), "100.00"))), within=4)
    assert export.error
    assert (export.error.reason, export.error.owner) == ("SCOPE_MISSING", "MERCHANT"), export
    await desk.one.reconnect(desk.connection_id)
    assert (await desk.rest(export)).xero_status == "VERIFIED"


# Sent together


async def test_several_invoices_of_one_payment_are_one_line_at_the_bank(desk: Desk) -> None:
    invoices = [desk.owed(amount) for amount in ("10.00", "20.00", "30.00")]
    export = await desk.pay(*((it, str(it.total)) for it in invoices))
    batch = invoices[0].payments[0].batch
    assert batch
    assert (batch.total, [it.payments[0].batch for it in invoices]) == (Decimal(60), [batch] * 3)
    assert {it.kind for it in export.records} == {"BATCH_PAYMENT"}


async def test_several_invoices_in_another_currency_are_single_payments(desk: Desk) -> None:
    invoices = [desk.owed(amount, "EUR") for amount in ("10.00", "20.00")]
    export = await desk.pay(*((it, str(it.total)) for it in invoices))
    assert (export.xero_status, [it.payments[0].batch for it in invoices]) == ("VERIFIED", [None, None])


async def test_more_than_is_due_becomes_an_overpayment_where_that_is_wanted(desk: Desk) -> None:
    invoice = desk.owed("100.00")
    held = await desk.pay((invoice, "100.00"), amount=Decimal("120.50"))
    assert held.error
    assert (held.error.reason, invoice.payments) == ("AMOUNT_EXCEEDS_DUE", [])
    assert await desk.choose(SPLIT) >= 1
    export = await desk.rest(held)
    (over,) = [it for it in desk.books.overpayments.values() if it.contact is invoice.contact]
    assert (export.xero_status, invoice.amount_due, over.total) == ("VERIFIED", Decimal(0), Decimal("20.50"))


async def test_fifty_payments_are_one_call_and_one_that_is_refused_does_not_hurt_the_others(desk: Desk) -> None:
    contact = desk.books.create_contact("Many")
    invoices = [desk.owed(contact=contact) for _ in range(50)]
    accepted = [await desk.accept(desk.payment((it, "100.00"))) for it in invoices]
    desk.sandbox.faults.add(FaultRule(FaultKind.SLOW, "/Payments", method="PUT", seconds=0.25))
    before = len(desk.writes())
    sending = asyncio.create_task(desk.one.work(EXPORT))
    await until(lambda: len(desk.writes()) > before)
    by_hand = desk.books.pay(invoices[17].id, Decimal(60))  # while the call is on its way
    await sending
    found = [await desk.rest(it) for it in accepted]
    assert desk.writes(before) == ["Payments"]
    assert [place for place, it in enumerate(found) if it.xero_status != "VERIFIED"] == [17]
    assert found[17].error
    assert (found[17].xero_status, found[17].error.reason) == ("ERROR", "AMOUNT_EXCEEDS_DUE")
    assert invoices[17].payments == [by_hand]
    assert all(len(it.payments) == 1 for it in invoices)


async def test_each_payment_of_a_call_is_made_once_in_whatever_order_xero_answers(desk: Desk) -> None:
    desk.sandbox.switches.written_elements_keep_their_order = False
    contact = desk.books.create_contact("Any order")
    invoices = [desk.owed(f"{number}00.00", contact=contact) for number in range(1, 4)]
    accepted = [await desk.accept(desk.payment((it, str(it.total)))) for it in invoices]
    found = [await desk.rest(it) for it in accepted]
    desk.sandbox.switches.written_elements_keep_their_order = True
    assert [it.xero_status for it in found] == ["VERIFIED"] * 3
    assert [len(it.payments) for it in invoices] == [1, 1, 1]


# What is recorded already, and what changes meanwhile


async def test_what_a_person_recorded_is_linked_to_one_export_and_not_paid_again(desk: Desk) -> None:
    invoice = desk.owed("100.00")
    paid = desk.books.pay(invoice.id, Decimal(40))
    first, second = [await desk.accept(desk.payment((invoice, "40.00"))) for _ in range(2)]
    linked, exported = sorted([await desk.rest(first), await desk.rest(second)], key=lambda it: it.xero_status)
    assert (linked.xero_status, exported.xero_status) == ("ALREADY_RECORDED", "VERIFIED")
    assert [it.xero_id for it in linked.records] == [paid.id]
    assert invoice.amount_due == Decimal(20)


async def test_an_account_that_is_archived_later_stops_what_waits_before_it_is_tried(desk: Desk) -> None:
    account = desk.books.bank_account("EUR")
    first = await desk.pay((desk.owed(currency="EUR"), "100.00"))
    assert first.xero_status == "VERIFIED"
    waiting = await desk.accept(desk.payment((desk.owed(currency="EUR"), "100.00")))
    desk.books.edit_account(account.id, status="ARCHIVED")
    await desk.later()
    before = len(desk.writes())
    export = await desk.rest(waiting)
    assert export.error
    assert (export.error.reason, len(desk.writes())) == ("ACCOUNT_ARCHIVED", before)
    assert [it.reason for it in (await desk.one.settings.get(desk.connection_id)).problems] == ["ACCOUNT_ARCHIVED"]
    desk.books.edit_account(account.id, status="ACTIVE")
    await desk.later(25)
    await desk.later()
    assert (await desk.rest(export)).xero_status == "VERIFIED"


async def test_settings_set_going_what_they_unblock_and_nothing_that_was_dismissed(desk: Desk) -> None:
    await desk.choose(EUR="")
    failed, dismissed = [await desk.pay((desk.owed(currency="EUR"), "100.00")) for _ in range(2)]
    await desk.one.exports.dismiss(Dismiss(dismissed.id, "Ruth did it"))
    assert await desk.choose() == 1
    assert (await desk.rest(failed)).xero_status == "VERIFIED"
    await desk.one.exports.reexport_all(ReexportAll(desk.connection_id))
    await desk.later()
    now = await desk.now(dismissed)
    assert (now.xero_status, now.dismissal_note, now.dismissed_by) == ("DISMISSED", "Ruth did it", "caller")
    with pytest.raises(NotPermittedNowError):
        await desk.one.exports.reexport(Reexport(dismissed.id))


# Taken back


@pytest.mark.parametrize("count", [1, 3])
async def test_a_chargeback_makes_invoices_due_again(desk: Desk, count: int) -> None:
    invoices = [desk.owed("50.00") for _ in range(count)]
    export = await desk.reverse(await desk.pay(*((it, "50.00") for it in invoices)), "CHARGEBACK")
    assert (export.xero_status, export.reversals[0].xero_status) == ("REVERSED", "VERIFIED")
    assert [it.amount_due for it in invoices] == [Decimal(50)] * count
    with pytest.raises(NotPermittedNowError):
        await desk.one.exports.reverse(Reverse(export_id=export.id, kind="REFUND", reversal_id=f"again {export.id}"))


async def _reconciled(_desk: Desk, invoice: Invoice) -> None:
    invoice.payments[0].is_reconciled = True


async def _locked(desk: Desk, _invoice: Invoice) -> None:
    desk.sandbox.clock.advance(timedelta(days=2))
    desk.sandbox.organisations[0].period_lock_on = desk.sandbox.organisations[0].books.today() - timedelta(days=1)


@pytest.mark.parametrize("hinders", [_reconciled, _locked])
async def test_a_chargeback_of_what_cannot_be_deleted_is_recorded_in_the_open_period(
    desk: Desk, hinders: Callable[[Desk, Invoice], Any]
) -> None:
    invoice = desk.owed("50.00")
    paid = await desk.pay((invoice, "50.00"))
    await hinders(desk, invoice)
    export = await desk.reverse(paid, "CHARGEBACK")
    assert (export.xero_status, export.reversals[0].xero_status) == ("REVERSED", "VERIFIED"), export.reversals
    assert [it.kind for it in export.reversals[0].records] == ["INVOICE", "SPENT_MONEY"]
    assert invoice.amount_due == 0
    again = [it for it in desk.books.invoices.values() if it.contact is invoice.contact and it is not invoice]
    assert [it.amount_due for it in again] == [Decimal(50)]


async def test_a_refund_is_a_credit_note_that_is_paid_back(desk: Desk) -> None:
    invoice = desk.owed("80.00")
    paid = await desk.pay((invoice, "80.00"))
    part = await desk.reverse(paid, "REFUND", "30.00")
    assert (part.xero_status, part.reversals[0].xero_status) == ("VERIFIED", "VERIFIED")
    whole = await desk.reverse(paid, "REFUND", "50.00")
    assert whole.xero_status == "REVERSED"
    notes = [it for it in desk.books.credit_notes.values() if it.contact is invoice.contact]
    assert sorted((it.total, it.remaining_credit) for it in notes) == [
        (Decimal(30), Decimal(0)),
        (Decimal(50), Decimal(0)),
    ]


@pytest.mark.parametrize("kind", ["CHARGEBACK", "LATE_FAILURE"])
async def test_what_a_refund_left_of_a_payment_is_owed_again_when_the_bank_takes_it(desk: Desk, kind: str) -> None:
    invoice = desk.owed("100.00")
    paid = await desk.reverse(await desk.pay((invoice, "100.00")), "REFUND", "30.00")
    with pytest.raises(NotPermittedNowError, match=r"Only 70\.00 NZD"):
        await desk.reverse(paid, kind)
    export = await desk.reverse(paid, kind, "70.00")
    assert (export.xero_status, export.reversals[1].xero_status) == ("REVERSED", "VERIFIED"), export.reversals
    assert invoice.amount_due == 0
    again = [it for it in desk.books.invoices.values() if it.contact is invoice.contact and it is not invoice]
    assert [it.amount_due for it in again] == [Decimal(70)], "the customer owes what is sold and not paid"


# For good, and beside everything else


async def test_a_payment_that_is_removed_in_xero_later_is_seen_and_can_be_exported_again(desk: Desk) -> None:
    invoice = desk.owed()
    export = await desk.pay((invoice, "100.00"))
    desk.books.delete_payment(invoice.payments[0].id)
    for _ in range(3):
        await desk.later(3)
    assert (await desk.now(export)).xero_status == "REMOVED_IN_XERO"
    assert not any(it.status is not Status.DELETED for it in invoice.payments)
    await desk.one.exports.reexport(Reexport(export.id))
    assert (await desk.rest(export)).xero_status == "VERIFIED"
    assert invoice.amount_due == 0


async def test_an_invoice_has_a_note_that_names_the_platforms_payment(desk: Desk) -> None:
    invoice = desk.owed()
    export = await desk.pay((invoice, "100.00"))
    await desk.later()
    notes = [it.details for it in desk.books.history.get(invoice.id, ())]
    assert [it for it in notes if export.payment.payment_id in it and export.id in it]


async def test_an_export_goes_while_a_backfill_is_running(desk: Desk) -> None:
    await desk.one.syncs.start(StartSync(desk.connection_id, mode=SyncMode.FULL))
    slow = desk.sandbox.faults.add(
        FaultRule(FaultKind.SLOW, "/(Contacts|[A-Z][a-z]*payments|CreditNotes)", seconds=0.3, times=5)
    )
    reading = asyncio.create_task(desk.one.work(SYNCING))
    await until(lambda: slow.times != 5)
    export = await desk.accept(desk.payment((desk.owed(), "100.00")))
    await desk.one.work(EXPORT)
    assert (await desk.now(export)).xero_status == "EXPORTED"
    assert not reading.done(), "the backfill was over before"
    await reading
