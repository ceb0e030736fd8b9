"""What is to be made at Xero, as Xero wants it said: which address, which parameters, which JSON.

Amounts are JSON numbers with exactly their digits, dates are written YYYY-MM-DD (Xero, OpenAPI examples). Contacts are
named by their id alone: whatever else is said of them would overwrite them (Xero, Contacts).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from tieout_server.ledger.documents import Entity
from tieout_server.ledger.writes import (
    BatchDraft,
    CreditNoteDraft,
    Deletion,
    Draft,
    DraftLine,
    InvoiceDraft,
    OverpaymentDraft,
    PaymentDraft,
    RecordKind,
    RefundDraft,
    SpentMoneyDraft,
)

_Json = dict[str, Any]
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_EACH = {"summarizeErrors": "false"}
"""Have each element judged by itself (Xero, Requests and responses)."""
_EACH_WITH_LINES = _EACH | {"unitdp": "4"}
"""The same, and do not round prices to cents (Xero, Invoices)."""
_TARGETS = {
    Entity.CREDIT_NOTES: ("CreditNote", "CreditNoteID"),
    Entity.OVERPAYMENTS: ("Overpayment", "OverpaymentID"),
    Entity.PREPAYMENTS: ("Prepayment", "PrepaymentID"),
}


@dataclass(frozen=True, slots=True)
class Form:
    """How one kind of draft is sent, and under which key Xero answers with the id of what it made."""

    collection: str
    key: str
    element: Callable[[Any], _Json]
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Letter:
    """A request that writes: everything but who asks."""

    method: str
    path: str
    parameters: Mapping[str, str]
    content: bytes


def letter_of(drafts: Sequence[Draft]) -> Letter:
    """What is sent to have these made, which are all of one kind; or one thing deleted.

    Raises:
        ValueError: there are none, or they are of several kinds, or something is to be deleted among others.
    """
    first, *others = drafts
    if any(type(other) is not type(first) for other in others):
        raise ValueError("Drafts of several kinds do not go into one call.")
    if isinstance(first, Deletion):
        if others:
            raise ValueError("A deletion goes alone.")
        return Letter("POST", f"{collection_of(first)}/{first.xero_id}", {}, _ENCODER.encode({"Status": "DELETED"}))
    form = FORMS[type(first)]
    body = {form.collection: [form.element(draft) for draft in drafts]}
    return Letter("PUT", form.collection, form.parameters, _ENCODER.encode(body))


def letter_of_note(xero_invoice_id: str, text: str) -> Letter:
    """What is sent to have a note added to an invoice's history: payments take none (Xero, OpenAPI examples)."""
    body = {"HistoryRecords": [{"Details": text}]}
    return Letter("PUT", f"Invoices/{xero_invoice_id}/History", {}, _ENCODER.encode(body))


def collection_of(deletion: Deletion) -> str:
    """Where what is deleted stands.

    Raises:
        ValueError: Xero deletes no such records.
    """
    match deletion.record:
        case RecordKind.PAYMENT | RecordKind.REFUND:
            return "Payments"
        case RecordKind.BATCH_PAYMENT:
            return "BatchPayments"
        case other:
            raise ValueError(f"{other} cannot be deleted.")


def _payment(draft: PaymentDraft) -> _Json:
    return {
        "Invoice": {"InvoiceID": draft.xero_invoice_id},
        "Account": {"AccountID": draft.xero_account_id},
        "Date": draft.paid_on,
        "Amount": _plain(draft.amount),
        "Reference": draft.reference,
    }


def _refund(draft: RefundDraft) -> _Json:
    name, key = _TARGETS[draft.entity]
    return {
        name: {key: draft.xero_credit_id},
        "Account": {"AccountID": draft.xero_account_id},
        "Date": draft.paid_on,
        "Amount": _plain(draft.amount),
        "Reference": draft.reference,
    }


def _batch(draft: BatchDraft) -> _Json:
    """The marker twice: a batch keeps its Reference in New Zealand only, its Details elsewhere only (Xero, OpenAPI)."""
    return {
        "Account": {"AccountID": draft.xero_account_id},
        "Date": draft.paid_on,
        "Reference": draft.reference,
        "Details": draft.reference,
        "Payments": [
            {"Invoice": {"InvoiceID": part.xero_invoice_id}, "Amount": _plain(part.amount), "Reference": part.reference}
            for part in draft.parts
        ],
    }


def _overpayment(draft: OverpaymentDraft) -> _Json:
    """One line, without tax and without an account: accounts receivable is understood (Xero, Bank transactions)."""
    return {
        "Type": "RECEIVE-OVERPAYMENT",
        "Contact": {"ContactID": draft.xero_contact_id},
        "BankAccount": {"AccountID": draft.xero_account_id},
        "Date": draft.paid_on,
        "CurrencyCode": draft.currency,
        "LineAmountTypes": "NoTax",
        "LineItems": [{"Description": draft.text, "LineAmount": _plain(draft.amount)}],
    }


def _credit_note(draft: CreditNoteDraft) -> _Json:
    return {
        "Type": "ACCRECCREDIT",
        "Status": "AUTHORISED",
        "Contact": {"ContactID": draft.xero_contact_id},
        "Date": draft.issued_on,
        "CurrencyCode": draft.currency,
        "Reference": draft.reference,
        "LineAmountTypes": draft.line_amount_types,
        "LineItems": [_line(line) for line in draft.lines],
    } | ({} if draft.rate is None else {"CurrencyRate": _plain(draft.rate)})


def _invoice(draft: InvoiceDraft) -> _Json:
    return {
        "Type": "ACCREC",
        "Status": "AUTHORISED",
        "Contact": {"ContactID": draft.xero_contact_id},
        "Date": draft.issued_on,
        "DueDate": draft.due_on,
        "CurrencyCode": draft.currency,
        "Reference": draft.reference,
        "LineAmountTypes": "NoTax",  # tax was due on what was sold, not on money that is owed again
        "LineItems": [_line(line) for line in draft.lines],
    } | ({} if draft.rate is None else {"CurrencyRate": _plain(draft.rate)})


def _spent(draft: SpentMoneyDraft) -> _Json:
    """Without a currency: it is the bank account's (Xero, Bank transactions)."""
    return {
        "Type": "SPEND",
        "Contact": {"ContactID": draft.xero_contact_id},
        "BankAccount": {"AccountID": draft.xero_account_id},
        "Date": draft.paid_on,
        "Reference": draft.reference,
        "LineAmountTypes": "NoTax",
        "LineItems": [_line(line) for line in draft.lines],
    }


def _line(line: DraftLine) -> _Json:
    said: _Json = {
        "Description": line.description,
        "Quantity": _plain(line.quantity),
        "UnitAmount": _plain(line.unit_amount),
    }
    said |= {"AccountCode": line.account_code} if line.account_code else {}
    said |= {"AccountID": line.xero_account_id} if line.xero_account_id and not line.account_code else {}
    said |= {"TaxType": line.tax_type} if line.tax_type else {}
    said |= {"ItemCode": line.item_code} if line.item_code else {}
    said |= {"TaxAmount": _plain(line.tax_amount)} if line.tax_amount is not None else {}
    said |= {"DiscountRate": _plain(line.discount_rate)} if line.discount_rate else {}
    said |= {"Tracking": [{"Name": name, "Option": option} for name, option in line.tracking]} if line.tracking else {}
    return said


def _plain(number: Decimal) -> Decimal:
    """The same number written without an exponent, which 50 has once its zeros were taken off (5E+1)."""
    return Decimal(f"{number:f}")


FORMS: Mapping[type[Draft], Form] = {
    PaymentDraft: Form("Payments", "PaymentID", _payment, _EACH),
    RefundDraft: Form("Payments", "PaymentID", _refund, _EACH),
    BatchDraft: Form("BatchPayments", "BatchPaymentID", _batch, _EACH),
    OverpaymentDraft: Form("BankTransactions", "OverpaymentID", _overpayment, _EACH),
    SpentMoneyDraft: Form("BankTransactions", "BankTransactionID", _spent, _EACH_WITH_LINES),
    CreditNoteDraft: Form("CreditNotes", "CreditNoteID", _credit_note, _EACH_WITH_LINES),
    InvoiceDraft: Form("Invoices", "InvoiceID", _invoice, _EACH_WITH_LINES),
}
