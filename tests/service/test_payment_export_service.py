"""PaymentExportService from a client's side, against the sandbox's books: every call, and what each answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from servers import ROOMY, Service, service
from tieout import errors
from tieout.payment_exports import PaymentExports
from tieout.v1 import payment_export_service_pb2 as pb
from tieout.v1.types_pb2 import Money
from tieout_sandbox import Sandbox, SandboxSettings, serve
from tieout_sandbox.books.documents import Contact, Invoice

pytestmark = [pytest.mark.timeout(60), pytest.mark.in_turn]

QUICK = 60.0
"""How many times as fast as ours the time of these servers passes: nobody waits for what is looked at again later."""
BOOKS = SandboxSettings(contacts=12, invoices=60, speed=QUICK)
SETTLED = (pb.XERO_STATUS_VERIFIED, pb.XERO_STATUS_ERROR, pb.XERO_STATUS_ALREADY_RECORDED)


@dataclass
class Paying:
    """A connection whose first sync has succeeded, and a customer who pays."""

    sandbox: Sandbox
    running: Service
    connection_id: str
    kauri: Contact

    @property
    def calls(self) -> PaymentExports:
        return self.running.client.payment_exports

    def owed(self, amount: str, currency: str = "") -> Invoice:
        """A new invoice of the customer's."""
        return self.sandbox.books.create_invoice(self.kauri.id, Decimal(amount), currency=currency or None)

    def payment(self, payment_id: str, *invoices: Invoice, amount: str = "", **other: Any) -> pb.PlatformPayment:  # noqa: ANN401 - any of its fields
        """A payment of all that is due on these invoices."""
        lines = [pb.PaymentLine(invoice_number=it.number, amount=money(it.amount_due, it.currency)) for it in invoices]
        whole = Decimal(amount or sum(it.amount_due for it in invoices))
        stated: dict[str, Any] = {"paid_on": self.today, "amount": money(whole, invoices[0].currency), "lines": lines}
        return pb.PlatformPayment(payment_id=payment_id, **(stated | other))

    @property
    def today(self) -> str:
        return self.sandbox.organisations[0].books.today().isoformat()

    async def account(self, currency: str) -> str:
        """The bank account of the books for a currency."""
        found = [it async for it in self.calls.list_accounts(self.connection_id, currency_code=currency)]
        return next(it.xero_account_id for it in found if it.usable and it.type == "BANK")

    async def choose(self, *currencies: str, **other: Any) -> pb.UpdateExportSettingsResponse:  # noqa: ANN401 - any setting
        """Have payments in these currencies go to the bank accounts that there are."""
        chosen = {currency: await self.account(currency) for currency in currencies}
        return await self.calls.update_settings(self.connection_id, chosen, **other)

    async def settled(self, export_id: str) -> pb.PaymentExport:
        """The export once it is seen in Xero, or waits for a person."""
        async with asyncio.timeout(30), aclosing(self.calls.watch(self.connection_id)) as messages:
            await anext(messages)
            export = await self.calls.get(export_id)
            while export.xero_status not in SETTLED:
                message = await anext(messages)
                export = message.change.export if message.change.export.id == export_id else export
        return await self.calls.get(export_id)


def money(amount: Decimal, currency: str) -> Money:
    return Money(currency_code=currency, amount=f"{amount:f}")


@pytest.fixture
async def paying(sqlite_url: str) -> AsyncIterator[Paying]:
    async with serve(BOOKS) as sandbox:
        sandbox.limits.quota = ROOMY
        kauri = sandbox.books.create_contact("Kauri & Co")
        async with service(sandbox, sqlite_url, clock_speed=QUICK) as running:
            yield Paying(sandbox, running, (await running.connected()).id, kauri)


async def test_a_payment_is_recorded_once_and_seen_in_xero(paying: Paying) -> None:
    await paying.choose("NZD")
    invoice = paying.owed("230.50")
    payment = paying.payment("pay-1", invoice, reference="till 4", method=pb.PAYMENT_METHOD_CARD)
    accepted = await paying.calls.export(paying.connection_id, payment, request_id="r")
    assert (accepted.existing, accepted.export.payment) == (False, payment)
    export = await paying.settled(accepted.export.id)
    assert export.xero_status == pb.XERO_STATUS_VERIFIED, export
    (record,) = export.xero_records
    (paid,) = invoice.payments
    assert (record.kind, record.xero_id, record.xero_invoice_id) == (
        pb.XERO_RECORD_KIND_PAYMENT,
        paid.id,
        invoice.id,
    )
    assert (paid.amount, invoice.amount_due) == (Decimal("230.50"), Decimal(0))
    assert record.xero_url
    statuses = [one.xero_status for one in export.history]
    assert statuses[0] == pb.XERO_STATUS_QUEUED
    assert statuses[-2:] == [pb.XERO_STATUS_EXPORTED, pb.XERO_STATUS_VERIFIED]
    again = await paying.calls.export(paying.connection_id, payment, request_id="r-2")
    assert (again.existing, again.export.id) == (True, export.id)
    assert await paying.calls.get_by_payment(paying.connection_id, "pay-1") == export
    assert len(invoice.payments) == 1


async def test_what_fails_for_an_account_goes_on_when_it_is_chosen(paying: Paying) -> None:
    await paying.choose("NZD")
    euros = paying.owed("80.00", "EUR")
    accepted = await paying.calls.export(paying.connection_id, paying.payment("pay-eur", euros))
    failed = await paying.settled(accepted.export.id)
    assert failed.error.reason == pb.EXPORT_ERROR_REASON_ACCOUNT_NOT_CHOSEN
    assert failed.error.remedy == "Choose the bank account for EUR."
    listed = paying.calls.list(paying.connection_id, error_reasons=[pb.EXPORT_ERROR_REASON_ACCOUNT_NOT_CHOSEN])
    assert [it.id async for it in listed] == [failed.id]
    settings = await paying.calls.get_settings(paying.connection_id)
    updated = await paying.choose("NZD", "EUR", revision=settings.revision)
    assert updated.exports_woken == 1
    assert (await paying.settled(failed.id)).xero_status == pb.XERO_STATUS_VERIFIED
    assert euros.amount_due == 0
    with pytest.raises(errors.ChangedMeanwhileError):
        await paying.choose("NZD", revision=settings.revision)


async def test_a_payment_is_examined_before_it_is_handed_over(paying: Paying) -> None:
    invoice = paying.owed("100.00")
    found = await paying.calls.check(paying.connection_id, paying.payment("pay-1", invoice, amount="120.00"))
    assert {it.reason for it in found.findings} >= {pb.EXPORT_ERROR_REASON_ACCOUNT_NOT_CHOSEN}
    await paying.choose("NZD", overpayment_policy=pb.OVERPAYMENT_POLICY_SPLIT)
    found = await paying.calls.check(paying.connection_id, paying.payment("pay-1", invoice, amount="120.00"))
    assert [(it.kind, Decimal(it.amount.amount)) for it in found.plan] == [
        (pb.XERO_RECORD_KIND_PAYMENT, Decimal(100)),
        (pb.XERO_RECORD_KIND_OVERPAYMENT, Decimal(20)),
    ]
    paying.sandbox.books.pay(invoice.id, Decimal("100.00"))
    twins = (await paying.calls.check(paying.connection_id, named(invoice, paying.today))).twins
    assert [(it.xero_id, it.linked) for it in twins] == [(invoice.payments[0].id, True)]
    assert not invoice.payments[1:]


def named(invoice: Invoice, paid_on: str) -> pb.PlatformPayment:
    """A payment of the whole total of an invoice, whatever is due on it."""
    whole = money(invoice.total, invoice.currency)
    line = pb.PaymentLine(xero_invoice_id=invoice.id, amount=whole)
    return pb.PlatformPayment(payment_id="pay-2", paid_on=paid_on, amount=whole, lines=[line])


async def test_what_a_person_recorded_is_linked_and_not_paid_twice(paying: Paying) -> None:
    await paying.choose("NZD")
    invoice = paying.owed("100.00")
    paying.sandbox.books.pay(invoice.id, Decimal("100.00"))
    accepted = await paying.calls.export(paying.connection_id, named(invoice, paying.today))
    export = await paying.settled(accepted.export.id)
    assert export.xero_status == pb.XERO_STATUS_ALREADY_RECORDED
    assert [(it.xero_id, it.linked) for it in export.xero_records] == [(invoice.payments[0].id, True)]
    with pytest.raises(errors.NotPermittedNowError):
        await paying.calls.reverse(export.id, pb.REVERSAL_KIND_CHARGEBACK, "rev-1")


async def test_what_cannot_be_exported_is_tried_again_dismissed_and_watched(paying: Paying) -> None:
    first, second = (paying.owed("10.00") for _ in range(2))
    exports = [
        (await paying.calls.export(paying.connection_id, paying.payment(f"pay-{n}", invoice))).export
        for n, invoice in enumerate((first, second))
    ]
    failed = [await paying.settled(it.id) for it in exports]
    async with aclosing(paying.calls.watch(paying.connection_id, from_start=True)) as messages:
        told = [await anext(messages) for _ in range(3)]
    assert {it.snapshot.id for it in told[:2]} == {it.id for it in failed}
    dismissed = await paying.calls.dismiss(failed[1].id, "Recorded by hand.", request_id="d")
    assert (dismissed.xero_status, dismissed.dismissal_note) == (pb.XERO_STATUS_DISMISSED, "Recorded by hand.")
    async with aclosing(paying.calls.watch(paying.connection_id, after=told[2].resume_token)) as resumed:
        assert (await anext(resumed)).change.export.dismissed_by == "caller"
    assert await paying.calls.reexport_all(paying.connection_id, request_id="all") == 1
    assert (await paying.settled(failed[0].id)).xero_status == pb.XERO_STATUS_ERROR
    with pytest.raises(errors.NotPermittedNowError):
        await paying.calls.reexport(failed[1].id)


async def test_a_chargeback_makes_the_invoice_due_again(paying: Paying) -> None:
    await paying.choose("NZD")
    invoice = paying.owed("230.50")
    accepted = await paying.calls.export(paying.connection_id, paying.payment("pay-1", invoice))
    await paying.settled(accepted.export.id)
    asked = await paying.calls.reverse(accepted.export.id, pb.REVERSAL_KIND_CHARGEBACK, "rev-1", reason="disputed")
    assert [it.reversal_id for it in asked.reversals] == ["rev-1"]
    async with asyncio.timeout(30), aclosing(paying.calls.watch(paying.connection_id)) as messages:
        await anext(messages)
        export = await paying.calls.get(accepted.export.id)
        while export.xero_status != pb.XERO_STATUS_REVERSED:
            export = (await anext(messages)).change.export
    assert invoice.amount_due == Decimal("230.50")
    assert export.reversals[0].xero_status in (pb.XERO_STATUS_EXPORTED, pb.XERO_STATUS_VERIFIED)
    with pytest.raises(errors.PaymentIdReusedError):
        await paying.calls.reverse(accepted.export.id, pb.REVERSAL_KIND_REFUND, "rev-1")
