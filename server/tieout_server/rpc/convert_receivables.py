"""Customers, invoices, credits and payments, as messages."""

from decimal import Decimal
from typing import assert_never

from tieout.v1 import receivables_service_pb2 as pb
from tieout.v1 import types_pb2
from tieout_server.ledger.documents import Allocation, ContactPerson, Credit, Entity, Phone
from tieout_server.ledger.money import Money
from tieout_server.receivables.views import (
    AccountView,
    AllocationView,
    Change,
    CreditView,
    Customer,
    InvoiceView,
    PaymentView,
    dialled,
)
from tieout_server.rpc.convert import entity, iso, money, moneys, timestamp

CREDIT_KINDS = {
    Entity.CREDIT_NOTES: pb.CREDIT_KIND_CREDIT_NOTE,
    Entity.OVERPAYMENTS: pb.CREDIT_KIND_OVERPAYMENT,
    Entity.PREPAYMENTS: pb.CREDIT_KIND_PREPAYMENT,
}
_PHONE_TYPES = {
    "DEFAULT": pb.PHONE_TYPE_DEFAULT,
    "DDI": pb.PHONE_TYPE_DIRECT_DIAL,
    "MOBILE": pb.PHONE_TYPE_MOBILE,
    "FAX": pb.PHONE_TYPE_FAX,
}
"""By Xero's PhoneType."""
_PAYMENT_KINDS = {
    "ACCRECPAYMENT": pb.PAYMENT_KIND_INVOICE,
    "ARCREDITPAYMENT": pb.PAYMENT_KIND_CREDIT_NOTE_REFUND,
    "AROVERPAYMENTPAYMENT": pb.PAYMENT_KIND_OVERPAYMENT_REFUND,
    "ARPREPAYMENTPAYMENT": pb.PAYMENT_KIND_PREPAYMENT_REFUND,
}
"""By Xero's PaymentType, those of receivables."""


def customer(view: Customer) -> pb.Customer:
    """A customer with its balances."""
    contact = view.contact
    return pb.Customer(
        id=view.customer_id,
        connection_id=view.connection_id,
        xero_contact_id=contact.xero_contact_id,
        name=contact.name,
        first_name=contact.first_name,
        last_name=contact.last_name,
        email=contact.email,
        mobile_phone=view.mobile_phone,
        phones=[_phone(phone) for phone in contact.phones if dialled(phone)],
        contact_persons=[_person(person) for person in contact.persons],
        account_number=contact.account_number,
        contact_number=contact.contact_number,
        is_supplier=contact.is_supplier,
        archived_with_balance=view.archived_with_balance,
        outstanding=moneys(view.outstanding),
        overdue=moneys(view.overdue),
        unapplied=moneys(view.unapplied),
        off_balance=view.off_balance,
        off_balance_sentence=view.off_balance_sentence,
        default_currency=contact.default_currency,
        updated_at=timestamp(view.updated_at),
        xero_updated_at=timestamp(contact.updated_at),
    )


def invoice(view: InvoiceView) -> pb.Invoice:
    """An invoice, with what settled it where the view has that."""
    stated = view.invoice

    def amount(value: Decimal) -> types_pb2.Money:
        return money(Money(stated.currency, value))

    return pb.Invoice(
        id=stated.xero_invoice_id,
        connection_id=view.connection_id,
        customer_id=view.customer_id,
        xero_invoice_id=stated.xero_invoice_id,
        xero_contact_id=stated.xero_contact_id,
        number=stated.number,
        reference=stated.reference,
        status=_status(stated.status),
        issued_on=iso(stated.issued_on),
        due_on=iso(stated.due_on),
        expected_payment_date=iso(stated.expected_payment_on),
        fully_paid_on=iso(stated.fully_paid_on),
        currency_code=stated.currency,
        currency_rate=_rate(stated.rate),
        subtotal=amount(stated.subtotal),
        total_tax=amount(stated.tax),
        total=amount(stated.total),
        amount_due=amount(stated.due),
        amount_paid=amount(stated.paid),
        amount_credited=amount(stated.credited),
        sent_to_contact=stated.sent_to_contact,
        payments=[payment(paid) for paid in view.payments],
        allocations=[_allocation_to_invoice(part) for part in view.allocations],
        updated_at=timestamp(view.updated_at),
        xero_updated_at=timestamp(stated.updated_at),
    )


def credit_note(view: CreditView) -> pb.CreditNote:
    """A credit note with what it was applied to."""
    stated = view.credit
    return pb.CreditNote(
        id=stated.xero_credit_id,
        connection_id=view.connection_id,
        customer_id=view.customer_id,
        xero_credit_note_id=stated.xero_credit_id,
        xero_contact_id=stated.xero_contact_id,
        number=stated.number,
        reference=stated.reference,
        status=_status(stated.status),
        issued_on=iso(stated.issued_on),
        currency_code=stated.currency,
        currency_rate=_rate(stated.rate),
        total=money(Money(stated.currency, stated.total)),
        remaining_credit=money(Money(stated.currency, stated.remaining)),
        allocations=[_allocation_of(stated, part) for part in stated.allocations],
        updated_at=timestamp(view.updated_at),
        xero_updated_at=timestamp(stated.updated_at),
    )


def unapplied_credit(view: CreditView) -> pb.UnappliedCredit:
    """A credit of any kind, as far as it is not used up."""
    stated = view.credit
    return pb.UnappliedCredit(
        id=stated.xero_credit_id,
        connection_id=view.connection_id,
        customer_id=view.customer_id,
        kind=CREDIT_KINDS[stated.entity],
        xero_credit_id=stated.xero_credit_id,
        xero_contact_id=stated.xero_contact_id,
        number=stated.number,
        reference=stated.reference,
        issued_on=iso(stated.issued_on),
        total=money(Money(stated.currency, stated.total)),
        remaining_credit=money(Money(stated.currency, stated.remaining)),
        allocations=[_allocation_of(stated, part) for part in stated.allocations],
        updated_at=timestamp(view.updated_at),
        xero_updated_at=timestamp(stated.updated_at),
    )


def payment(view: PaymentView) -> pb.Payment:
    """A payment of an invoice, or a refund of a credit."""
    stated = view.payment
    kind = _PAYMENT_KINDS[stated.kind]
    of_invoice = kind == pb.PAYMENT_KIND_INVOICE
    return pb.Payment(
        id=stated.xero_payment_id,
        connection_id=view.connection_id,
        customer_id=view.customer_id,
        xero_payment_id=stated.xero_payment_id,
        kind=kind,
        status=pb.PaymentStatus.Value(f"PAYMENT_STATUS_{stated.status}"),
        paid_on=iso(stated.paid_on),
        amount=money(Money(stated.currency, stated.amount)),
        currency_rate=_rate(stated.rate),
        reference=stated.reference,
        is_reconciled=stated.is_reconciled,
        invoice_id=stated.xero_document_id if of_invoice else "",
        xero_invoice_id=stated.xero_document_id if of_invoice else "",
        invoice_number=view.invoice_number,
        credit_id="" if of_invoice else stated.xero_document_id,
        xero_account_id=stated.xero_account_id,
        xero_batch_payment_id=stated.xero_batch_payment_id,
        updated_at=timestamp(view.updated_at),
        xero_updated_at=timestamp(stated.updated_at),
    )


def account(view: AccountView) -> pb.Account:
    """An account of the chart of accounts."""
    stated = view.account
    return pb.Account(
        id=stated.xero_account_id,
        connection_id=view.connection_id,
        xero_account_id=stated.xero_account_id,
        code=stated.code,
        name=stated.name,
        type=stated.kind,
        currency_code=stated.currency,
        status=stated.status,
        takes_payments=stated.takes_payments,
    )


def change(told: Change) -> pb.Change:
    """What happened to a record, with the record."""
    message = pb.Change(
        entity=entity(told.entity),
        id=told.id,
        kind=pb.ChangeKind.Value(f"CHANGE_KIND_{told.kind}"),
        committed_at=timestamp(told.committed_at),
        sync_id=told.sync_id,
    )
    match told.record:
        case Customer() as record:
            message.customer.CopyFrom(customer(record))
        case InvoiceView() as record:
            message.invoice.CopyFrom(invoice(record))
        case PaymentView() as record:
            message.payment.CopyFrom(payment(record))
        case AccountView() as record:
            message.account.CopyFrom(account(record))
        case CreditView() as record if told.entity is Entity.CREDIT_NOTES:
            message.credit_note.CopyFrom(credit_note(record))
        case CreditView() as record:
            message.credit.CopyFrom(unapplied_credit(record))
        case _ as never:
            assert_never(never)
    return message


def _phone(phone: Phone) -> pb.Phone:
    return pb.Phone(type=_PHONE_TYPES.get(phone.kind, pb.PHONE_TYPE_UNSPECIFIED), number=dialled(phone))


def _person(person: ContactPerson) -> pb.ContactPerson:
    return pb.ContactPerson(
        first_name=person.first_name,
        last_name=person.last_name,
        email=person.email,
        include_in_emails=person.included_in_emails,
    )


def _allocation_to_invoice(part: AllocationView) -> pb.Allocation:
    return pb.Allocation(
        kind=CREDIT_KINDS[part.kind],
        credit_id=part.xero_credit_id,
        xero_credit_id=part.xero_credit_id,
        credit_number=part.credit_number,
        invoice_id=part.xero_invoice_id,
        xero_invoice_id=part.xero_invoice_id,
        amount=money(part.amount),
        applied_on=part.allocated_on,
    )


def _allocation_of(credit: Credit, part: Allocation) -> pb.Allocation:
    return pb.Allocation(
        kind=CREDIT_KINDS[credit.entity],
        credit_id=credit.xero_credit_id,
        xero_credit_id=credit.xero_credit_id,
        credit_number=credit.number,
        invoice_id=part.xero_invoice_id,
        xero_invoice_id=part.xero_invoice_id,
        amount=money(Money(credit.currency, part.amount)),
        applied_on=iso(part.allocated_on),
    )


def _status(status: str) -> "pb.InvoiceStatus.ValueType":
    return pb.InvoiceStatus.Value(f"INVOICE_STATUS_{status}")


def _rate(rate: Decimal) -> str:
    """The rate without the zeros that say nothing."""
    return f"{rate.normalize():f}"
