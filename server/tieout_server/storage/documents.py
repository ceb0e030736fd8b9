"""Rows of the mirror's tables as documents again: what `rows` wrote, exactly."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from tieout_server.clock import from_micros
from tieout_server.ledger.documents import Account, Allocation, Contact, Credit, Entity, Invoice, Payment
from tieout_server.ledger.money import from_units
from tieout_server.storage.rows import NEVER, ContactDetails

_details = msgspec.json.Decoder(ContactDetails).decode


def contact(row: Any) -> Contact:  # noqa: ANN401 - a row of `contacts`
    """The contact in this row."""
    details = _details(row.details)
    return Contact(
        xero_contact_id=row.xero_contact_id,
        name=row.name,
        status=row.status,
        updated_at=from_micros(row.xero_updated_at),
        first_name=details.first_name,
        last_name=details.last_name,
        email=row.email,
        contact_number=row.contact_number,
        account_number=row.account_number,
        is_customer=row.is_customer,
        is_supplier=row.is_supplier,
        default_currency=row.default_currency,
        merged_into=row.merged_into,
        phones=details.phones,
        persons=details.persons,
        stated_outstanding=_amount(row.stated_outstanding),
        stated_overdue=_amount(row.stated_overdue),
    )


def invoice(row: Any) -> Invoice:  # noqa: ANN401 - a row of `invoices`
    """The invoice in this row."""
    return Invoice(
        xero_invoice_id=row.xero_invoice_id,
        xero_contact_id=row.xero_contact_id,
        status=row.status,
        currency=row.currency,
        rate=Decimal(row.rate),
        total=from_units(row.total),
        due=from_units(row.due),
        paid=from_units(row.paid),
        credited=from_units(row.credited),
        updated_at=from_micros(row.xero_updated_at),
        number=row.number,
        reference=row.reference,
        issued_on=_day(row.issued_on),
        due_on=None if row.due_on == NEVER else _day(row.due_on),
        expected_payment_on=_day(row.expected_payment_on),
        fully_paid_on=_day(row.fully_paid_on),
        subtotal=from_units(row.subtotal),
        tax=from_units(row.tax),
        sent_to_contact=row.sent_to_contact,
    )


def credit(row: Any, allocations: Sequence[Allocation]) -> Credit:  # noqa: ANN401 - a row of `credits`
    """The credit in this row, with these allocations."""
    return Credit(
        entity=Entity(row.entity),
        xero_credit_id=row.xero_credit_id,
        xero_contact_id=row.xero_contact_id,
        status=row.status,
        currency=row.currency,
        rate=Decimal(row.rate),
        total=from_units(row.total),
        remaining=from_units(row.remaining),
        updated_at=from_micros(row.xero_updated_at),
        number=row.number,
        reference=row.reference,
        issued_on=_day(row.issued_on),
        allocations=tuple(allocations),
    )


def allocation(row: Any) -> Allocation:  # noqa: ANN401 - a row of `allocations`
    """The allocation in this row."""
    return Allocation(
        xero_invoice_id=row.xero_invoice_id,
        amount=from_units(row.amount),
        allocated_on=_day(row.allocated_on),
        xero_allocation_id=row.xero_allocation_id,
    )


def payment(row: Any) -> Payment:  # noqa: ANN401 - a row of `payments`
    """The payment in this row."""
    return Payment(
        xero_payment_id=row.xero_payment_id,
        kind=row.kind,
        status=row.status,
        xero_document_id=row.xero_document_id,
        xero_contact_id=row.xero_contact_id,
        amount=from_units(row.amount),
        currency=row.currency,
        rate=Decimal(row.rate),
        updated_at=from_micros(row.xero_updated_at),
        paid_on=_day(row.paid_on),
        bank_amount=_amount(row.bank_amount),
        reference=row.reference,
        xero_account_id=row.xero_account_id,
        xero_batch_payment_id=row.xero_batch_payment_id,
        is_reconciled=row.is_reconciled,
    )


def account(row: Any) -> Account:  # noqa: ANN401 - a row of `accounts`
    """The account in this row."""
    return Account(
        xero_account_id=row.xero_account_id,
        name=row.name,
        kind=row.kind,
        status=row.status,
        updated_at=from_micros(row.xero_updated_at),
        code=row.code,
        currency=row.currency,
        takes_payments=row.takes_payments,
    )


def _amount(units: int | None) -> Decimal | None:
    return None if units is None else from_units(units)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
