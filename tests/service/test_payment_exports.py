"""Payments on their way into the sandbox's books: answers are lost, bookkeepers interfere, and money goes back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal

import pytest

from servers import ROOMY, Service, service
from tieout.v1 import payment_export_service_pb2 as pb
from tieout.v1.types_pb2 import Money
from tieout_sandbox import FaultKind, FaultRule, Sandbox, SandboxSettings, serve
from tieout_sandbox.books.documents import Contact, Invoice

pytestmark = [pytest.mark.timeout(60), pytest.mark.in_turn]

QUICK = 60.0
"""How many times as fast as ours the time of these servers passes: what is looked for after minutes is, in seconds."""
BOOKS = SandboxSettings(contacts=12, invoices=40, speed=QUICK)


@dataclass
class Till:
    """A connection whose payments in base currency have an account, and a customer who pays."""

    sandbox: Sandbox
    running: Service
    connection_id: str
    kauri: Contact

    def owed(self, amount: str) -> Invoice:
        """A new invoice of the customer's."""
        return self.sandbox.books.create_invoice(self.kauri.id, Decimal(amount))

    async def pays(self, payment_id: str, *invoices: Invoice, amount: str = "") -> str:
        """Hand over a payment of all that is due; answers the export's id."""
        whole = Decimal(amount or sum(it.amount_due for it in invoices))
        lines = [pb.PaymentLine(xero_invoice_id=it.id, amount=_money(it.amount_due)) for it in invoices]
        today = self.sandbox.organisations[0].books.today().isoformat()
        payment = pb.PlatformPayment(payment_id=payment_id, paid_on=today, amount=_money(whole), lines=lines)
        return (await self.running.client.payment_exports.export(self.connection_id, payment)).export.id

    async def becomes(self, export_id: str, status: "pb.XeroStatus.ValueType") -> pb.PaymentExport:
        """The export once it stands there."""
        return await self.until(export_id, lambda export: export.xero_status == status)

    async def until(self, export_id: str, is_it: Callable[[pb.PaymentExport], bool]) -> pb.PaymentExport:
        async with asyncio.timeout(40):
            while True:
                export = await self.running.client.payment_exports.get(export_id)
                if is_it(export):
                    return export
                await asyncio.sleep(0.05)

    def puts(self, path: str) -> int:
        return self.sandbox.requests.count(path, method="PUT")


def _money(amount: Decimal) -> Money:
    return Money(currency_code="NZD", amount=f"{amount:f}")


@pytest.fixture
async def till(sqlite_url: str) -> AsyncIterator[Till]:
    async with serve(BOOKS) as sandbox:
        sandbox.limits.quota = ROOMY
        kauri = sandbox.books.create_contact("Kauri & Co")
        async with service(sandbox, sqlite_url, clock_speed=QUICK) as running:
            connection_id = (await running.connected()).id
            calls = running.client.payment_exports
            accounts = [it async for it in calls.list_accounts(connection_id, currency_code="NZD")]
            bank = next(it.xero_account_id for it in accounts if it.usable and it.type == "BANK")
            refunds = next(name for name, it in sandbox.books.accounts.items() if it.type == "REVENUE")
            await calls.update_settings(
                connection_id,
                {"NZD": bank},
                overpayment_policy=pb.OVERPAYMENT_POLICY_SPLIT,
                refund_xero_account_id=refunds,
            )
            yield Till(sandbox, running, connection_id, kauri)


async def test_several_invoices_are_one_line_on_the_bank_statement(till: Till) -> None:
    first, second = till.owed("100.00"), till.owed("50.00")
    export = await till.becomes(await till.pays("p1", first, second), pb.XERO_STATUS_VERIFIED)
    (record,) = export.xero_records
    assert (record.kind, Decimal(record.amount.amount)) == (pb.XERO_RECORD_KIND_BATCH_PAYMENT, Decimal(150))
    assert first.amount_due == second.amount_due == 0
    assert till.sandbox.books.batches[record.xero_id].payments == [*first.payments, *second.payments]


async def test_what_is_paid_too_much_becomes_an_overpayment(till: Till) -> None:
    invoice = till.owed("100.00")
    export = await till.becomes(await till.pays("p1", invoice, amount="130.00"), pb.XERO_STATUS_VERIFIED)
    assert [(it.kind, Decimal(it.amount.amount)) for it in export.xero_records] == [
        (pb.XERO_RECORD_KIND_PAYMENT, Decimal(100)),
        (pb.XERO_RECORD_KIND_OVERPAYMENT, Decimal(30)),
    ]


@pytest.mark.parametrize("fault", [FaultKind.DROP, FaultKind.DROP_AFTER])
async def test_a_lost_answer_is_asked_for_again_and_pays_once(till: Till, fault: FaultKind) -> None:
    invoice = till.owed("100.00")
    till.sandbox.faults.add(FaultRule(fault, "/Payments", method="PUT"))
    await till.becomes(await till.pays("p1", invoice, amount="100.00"), pb.XERO_STATUS_VERIFIED)
    assert (len(invoice.payments), till.puts("/Payments")) == (1, 2)


@pytest.mark.parametrize("fault", [FaultKind.DROP, FaultKind.DROP_AFTER])
async def test_answers_that_stay_lost_are_looked_for_and_pay_once(till: Till, fault: FaultKind) -> None:
    """Part of the invoice only, so that nothing but us keeps the rest from being paid as well."""
    invoice = till.owed("100.00")
    till.sandbox.faults.add(FaultRule(fault, "/Payments", method="PUT", times=3))
    line = pb.PaymentLine(xero_invoice_id=invoice.id, amount=_money(Decimal(40)))
    today = till.sandbox.organisations[0].books.today().isoformat()
    payment = pb.PlatformPayment(payment_id="p1", paid_on=today, amount=_money(Decimal(40)), lines=[line])
    accepted = await till.running.client.payment_exports.export(till.connection_id, payment)
    export = await till.becomes(accepted.export.id, pb.XERO_STATUS_VERIFIED)
    assert pb.XERO_STATUS_OUTCOME_UNKNOWN in [it.xero_status for it in export.history]
    assert ([it.amount for it in invoice.payments], invoice.amount_due) == ([Decimal(40)], Decimal(60))
    assert export.attempts == (2 if fault is FaultKind.DROP else 1)


async def test_what_somebody_removes_in_xero_is_told_and_exported_again_when_asked(till: Till) -> None:
    invoice = till.owed("100.00")
    export_id = await till.pays("p1", invoice)
    await till.becomes(export_id, pb.XERO_STATUS_VERIFIED)
    till.sandbox.books.delete_payment(invoice.payments[0].id)
    gone = await till.becomes(export_id, pb.XERO_STATUS_REMOVED_IN_XERO)
    assert [it.removed for it in gone.xero_records] == [True]
    await till.running.client.payment_exports.reexport(export_id)
    again = await till.becomes(export_id, pb.XERO_STATUS_VERIFIED)
    assert (sorted(it.removed for it in again.xero_records), invoice.amount_due) == ([False, True], Decimal(0))


async def test_a_batch_is_charged_back_as_a_whole(till: Till) -> None:
    first, second = till.owed("100.00"), till.owed("50.00")
    export_id = await till.pays("p1", first, second)
    await till.becomes(export_id, pb.XERO_STATUS_VERIFIED)
    await till.running.client.payment_exports.reverse(export_id, pb.REVERSAL_KIND_CHARGEBACK, "back")
    export = await till.until(export_id, lambda it: it.reversals[0].xero_status == pb.XERO_STATUS_VERIFIED)
    assert export.xero_status == pb.XERO_STATUS_REVERSED
    assert (first.amount_due, second.amount_due) == (Decimal(100), Decimal(50))


@pytest.mark.parametrize("lost", [0, 3])
async def test_a_refund_is_a_credit_note_paid_back_once(till: Till, lost: int) -> None:
    invoice = till.owed("100.00")
    export_id = await till.pays("p1", invoice)
    await till.becomes(export_id, pb.XERO_STATUS_VERIFIED)
    before = set(till.sandbox.books.credit_notes)
    if lost:
        till.sandbox.faults.add(FaultRule(FaultKind.DROP_AFTER, "/CreditNotes", method="PUT", times=lost))
    await till.running.client.payment_exports.reverse(export_id, pb.REVERSAL_KIND_REFUND, "back")
    export = await till.until(export_id, lambda it: it.reversals[0].xero_status == pb.XERO_STATUS_VERIFIED)
    assert export.xero_status == pb.XERO_STATUS_REVERSED
    (note,) = [it for name, it in till.sandbox.books.credit_notes.items() if name not in before]
    assert (note.total, note.remaining_credit, len(note.payments)) == (Decimal(100), Decimal(0), 1)
    assert invoice.amount_due == 0


async def test_the_payment_is_named_in_the_history_of_its_invoice(till: Till) -> None:
    invoice = till.owed("100.00")
    export_id = await till.pays("p1", invoice)
    await till.becomes(export_id, pb.XERO_STATUS_VERIFIED)
    await till.until(export_id, lambda _: till.puts(f"/Invoices/{invoice.id}/History") == 1)
