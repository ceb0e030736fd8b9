"""What the SDK writes: contacts, invoices, payments, batches, credits and allocations."""

from datetime import timedelta
from functools import partial
from typing import Any

from xero_python import accounting as models

from third_party_flows import control
from xero.clients.xero_python.session import TODAY, made, refused, stumbled, tenant, xero


def contacts() -> object:
    """Makes, changes and archives one; makes and changes several at once."""
    phone = models.Phone(phone_type="MOBILE", phone_number="5551234")
    new = models.Contact(name="SDK Ltd", email_address="sdk@example.com", phones=[phone])
    made["contact"] = xero.create_contacts(tenant(), models.Contacts(contacts=[new])).contacts[0].contact_id
    changed = models.Contacts(contacts=[models.Contact(email_address="two@example.com")])
    update = xero.update_contact(tenant(), made["contact"], changed).contacts[0]
    both = [models.Contact(contact_id=made["contact"], name="SDK Limited"), models.Contact(name="Gone Ltd")]
    upserted = xero.update_or_create_contacts(tenant(), models.Contacts(contacts=both)).contacts
    archive = models.Contacts(contacts=[models.Contact(contact_status="ARCHIVED")])
    archived = xero.update_contact(tenant(), upserted[1].contact_id, archive).contacts[0]
    return {
        "id": made["contact"],
        "email": update.email_address,
        "upserted": [found.name for found in upserted],
        "archived": (archived.contact_id, archived.contact_status),
    }


def invoices() -> object:
    """Makes, changes, e-mails, notes upon, links to and voids; with an idempotency key the second time is the first."""
    one = models.Invoices(invoices=[_invoice()])
    first = xero.create_invoices(tenant(), one, idempotency_key="once").invoices[0]
    again = xero.create_invoices(tenant(), one, idempotency_key="once").invoices[0]
    made["invoice"] = first.invoice_id
    other = xero.create_invoices(tenant(), models.Invoices(invoices=[_invoice()])).invoices[0]
    reference = models.Invoices(invoices=[models.Invoice(reference="PO 1")])
    changed = xero.update_invoice(tenant(), made["invoice"], reference).invoices[0]
    mixed = models.Invoices(invoices=[_invoice(), models.Invoice(type="ACCREC")])
    answers = xero.update_or_create_invoices(tenant(), mixed, summarize_errors=False).invoices
    xero.email_invoice(tenant(), made["invoice"], models.RequestEmpty())
    note = models.HistoryRecords(history_records=[models.HistoryRecord(details="Called them")])
    xero.create_invoice_history(tenant(), made["invoice"], note)
    history = xero.get_invoice_history(tenant(), made["invoice"]).history_records
    online = xero.get_online_invoice(tenant(), made["invoice"]).online_invoices[0].online_invoice_url
    voided = models.Invoices(invoices=[models.Invoice(status="VOIDED")])
    return {
        "once": first.invoice_id == again.invoice_id,
        "total": first.total,
        "reference": changed.reference,
        "mixed": [found.status_attribute_string for found in answers],
        "sent": xero.get_invoice(tenant(), made["invoice"]).invoices[0].sent_to_contact,
        "history": [found.details for found in history],
        "online": online,
        "voided": (other.invoice_id, xero.update_invoice(tenant(), other.invoice_id, voided).invoices[0].status),
        "report": xero.get_report_aged_receivables_by_contact(tenant(), made["contact"]).reports[0].report_name,
        "id": made["invoice"],
    }


def payments() -> object:
    """Pays, pays too much, takes back; and a batch."""
    several = models.Payments(payments=[_payment(10.0, reference="SDK-1"), _payment(5.0)])
    kept, undone = xero.create_payments(tenant(), several, summarize_errors=False).payments
    single = xero.create_payment(tenant(), _payment(2.5)).payments[0]
    delete = models.PaymentDelete(status="DELETED")
    deleted = xero.delete_payment(tenant(), undone.payment_id, delete).payments[0]
    return {
        "kept": (kept.payment_id, kept.reference, kept.status),
        "single": single.payment_id,
        "deleted": (deleted.payment_id, deleted.status),
        "too_much": refused(lambda: xero.create_payments(tenant(), models.Payments(payments=[_payment(5_000.0)]))),
        "payment_note": refused(lambda: _note_on_payment(kept.payment_id)),
    }


def batches() -> object:
    """Pays as one sum at the bank, reads it back in every way, undoes all of it."""
    batch = models.BatchPayment(
        account=models.Account(account_id=made["bank"]), date=TODAY, reference="run", payments=[_payment(3.0)]
    )
    (one,) = xero.create_batch_payment(tenant(), models.BatchPayments(batch_payments=[batch])).batch_payments
    payment = xero.get_payment(tenant(), one.payments[0].payment_id).payments[0]
    listed = xero.get_payments(tenant(), where=f'PaymentID==guid("{payment.payment_id}")', page=1).payments
    read = xero.get_batch_payment(tenant(), one.batch_payment_id).batch_payments[0]
    delete = models.BatchPaymentDeleteByUrlParam(status="DELETED")
    gone = xero.delete_batch_payment_by_url_param(tenant(), one.batch_payment_id, delete).batch_payments[0]
    return {
        "id": one.batch_payment_id,
        "total": read.total_amount,
        "payment_knows_its_batch": {
            payment.batch_payment.batch_payment_id, *(found.batch_payment.batch_payment_id for found in listed)
        } == {one.batch_payment_id},
        "gone": gone.status,
    }  # fmt: skip


def customer_credits() -> object:
    """A credit note, an overpayment and a prepayment: made, allocated; the credit note refunded in part."""
    note = models.CreditNote(
        type="ACCRECCREDIT",
        contact=_contact(),
        date=TODAY,
        status="AUTHORISED",
        line_items=[_line()],
    )
    (credit,) = xero.create_credit_notes(tenant(), models.CreditNotes(credit_notes=[note])).credit_notes
    bank = [_received("RECEIVE-OVERPAYMENT", None), _received("RECEIVE-PREPAYMENT", "200")]
    over, pre = xero.create_bank_transactions(
        tenant(), models.BankTransactions(bank_transactions=bank)
    ).bank_transactions
    xero.create_credit_note_allocation(tenant(), credit.credit_note_id, _allocation(7.0))
    xero.create_overpayment_allocations(tenant(), over.overpayment_id, _allocation(6.0))
    xero.create_prepayment_allocations(tenant(), pre.prepayment_id, _allocation(5.0))
    refund = models.Payment(
        credit_note=models.CreditNote(credit_note_id=credit.credit_note_id),
        account=models.Account(account_id=made["bank"]), date=TODAY, amount=2.0,
    )  # fmt: skip
    refunded = xero.create_payment(tenant(), refund).payments[0]
    made.update(credit_note=credit.credit_note_id, overpayment=over.overpayment_id, prepayment=pre.prepayment_id)
    return {
        "ids": (credit.credit_note_id, over.overpayment_id, pre.prepayment_id),
        "refund": (refunded.payment_id, str(refunded.payment_type)),
    }


def removed_allocations() -> object:
    """What the SDK says to either answer that Xero may give; it is made for none of them (its issue 159)."""
    removals = {
        "credit_note": xero.delete_credit_note_allocations,
        "overpayment": xero.delete_overpayment_allocations,
        "prepayment": xero.delete_prepayment_allocations,
    }
    said = {}
    for kind, remove in removals.items():
        control("POST", "switches", {"removed_allocations_have_envelope": kind != "credit_note"})
        said[kind] = stumbled(partial(remove, tenant(), made[kind], _first_allocation(kind)))
    return said


def batch_texts() -> object:
    """The examples of the OpenAPI file write texts in a payment's batch: the SDK cannot read those."""
    batch = models.BatchPayment(
        account=models.Account(account_id=made["bank"]), date=TODAY, reference="run", payments=[_payment(1.0)]
    )
    (one,) = xero.create_batch_payment(tenant(), models.BatchPayments(batch_payments=[batch])).batch_payments
    control("POST", "switches", {"batches_in_payments_have_texts": True})
    said = stumbled(lambda: xero.get_payment(tenant(), one.payments[0].payment_id))
    control("POST", "switches", {"batches_in_payments_have_texts": False})
    return said


# Pieces


def _contact() -> Any:  # noqa: ANN401 the SDK has no types
    return models.Contact(contact_id=made["contact"])


def _line() -> Any:  # noqa: ANN401 the SDK has no types
    return models.LineItem(description="Work", quantity=2.0, unit_amount=50.0, account_code="200")


def _invoice() -> Any:  # noqa: ANN401 the SDK has no types
    return models.Invoice(
        type="ACCREC", contact=_contact(), date=TODAY, due_date=TODAY + timedelta(days=20), status="AUTHORISED",
        line_amount_types=models.LineAmountTypes.EXCLUSIVE, line_items=[_line()],
    )  # fmt: skip


def _payment(amount: float, reference: str | None = None) -> Any:  # noqa: ANN401 the SDK has no types
    return models.Payment(
        invoice=models.Invoice(invoice_id=made["invoice"]), account=models.Account(account_id=made["bank"]),
        date=TODAY, amount=amount, reference=reference,
    )  # fmt: skip


def _received(kind: str, account: str | None) -> Any:  # noqa: ANN401 the SDK has no types
    line = models.LineItem(description="Money in", quantity=1.0, unit_amount=20.0, account_code=account)
    return models.BankTransaction(
        type=kind, contact=_contact(), bank_account=models.Account(account_id=made["bank"]), date=TODAY,
        line_amount_types=models.LineAmountTypes.NOTAX, line_items=[line],
    )  # fmt: skip


def _allocation(amount: float) -> Any:  # noqa: ANN401 the SDK has no types
    invoice = models.Invoice(invoice_id=made["invoice"])
    return models.Allocations(allocations=[models.Allocation(invoice=invoice, amount=amount, date=TODAY)])


def _first_allocation(kind: str) -> str:
    answer = getattr(xero, f"get_{kind}")(tenant(), made[kind])
    return str(getattr(answer, f"{kind}s")[0].allocations[0].allocation_id)


def _note_on_payment(payment_id: str) -> object:
    note = models.HistoryRecords(history_records=[models.HistoryRecord(details="A note")])
    return xero.create_payment_history(tenant(), payment_id, note)
