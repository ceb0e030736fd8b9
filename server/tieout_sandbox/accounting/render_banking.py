"""Batch payments, bank transactions, allocations and history as Xero writes them."""

from typing import Any

from tieout_sandbox.accounting.fields import midnight, of_contact
from tieout_sandbox.accounting.render import USUAL_PLACES, Detail, contact_member, id_key, lines_block
from tieout_sandbox.accounting.where import Fields
from tieout_sandbox.accounting.wire import (
    array,
    boolean,
    day,
    day_string,
    instant,
    milliseconds,
    nest,
    optional,
    plain_day,
    pretty,
    quote,
)
from tieout_sandbox.books.banking import BankTransaction, Note
from tieout_sandbox.books.documents import Allocation, Batch, Payment, Status

_HOLLOW: dict[str, Any] = {
    "Payments": [],
    "CreditNotes": [],
    "Prepayments": [],
    "Overpayments": [],
    "HasErrors": False,
    "IsDiscounted": False,
    "LineItems": [],
}
"""What an invoice consists of inside another document, beside its id."""

BATCH: Fields = {
    "batchpaymentid": lambda batch: batch.id,
    "type": lambda batch: batch.type,
    "status": lambda batch: str(batch.status),
    "date": lambda batch: midnight(batch.on),
    "reference": lambda batch: batch.reference,
    "totalamount": lambda batch: batch.total,
    "isreconciled": lambda batch: batch.is_reconciled,
    "account.accountid": lambda batch: batch.account.id,
    "updateddateutc": lambda batch: batch.updated_at,
}
BANK_TRANSACTION: Fields = {
    "banktransactionid": lambda entry: entry.id,
    "type": lambda entry: str(entry.type),
    "status": lambda entry: str(entry.status),
    "date": lambda entry: midnight(entry.on),
    "reference": lambda entry: entry.reference,
    "total": lambda entry: entry.total,
    "isreconciled": lambda entry: entry.is_reconciled,
    "currencycode": lambda entry: entry.currency,
    "bankaccount.accountid": lambda entry: entry.account.id,
    "bankaccount.code": lambda entry: entry.account.code,
    "updateddateutc": lambda entry: entry.updated_at,
    **of_contact(lambda entry: entry.contact),
}


def batch_block(batch: Batch, _detail: Detail) -> str:
    """A batch payment; a deleted one shows no payments."""
    payments = [] if batch.status is Status.DELETED else batch.payments
    texts = "".join(
        optional(key, quote(text) if text else None)
        for key, text in (
            ("Reference", batch.reference),
            ("Particulars", batch.particulars),
            ("Code", batch.code),
            ("Details", batch.details),
            ("Narrative", batch.narrative),
        )
    )
    return f"""{{
  "Account": {{
    "AccountID": "{batch.account.id}",
    "CurrencyCode": "{batch.account.currency}"
  }},{texts}
  "BatchPaymentID": "{batch.id}",
  "DateString": {day_string(batch.on)},
  "Date": {day(batch.on)},
  "Payments": {nest(array(map(_part, payments)))},
  "Type": "{batch.type}",
  "Status": "{batch.status}",
  "TotalAmount": {batch.total},
  "UpdatedDateUTC": {instant(batch.updated_at)},
  "IsReconciled": {boolean(batch.is_reconciled)}
}}"""


def _part(payment: Payment) -> str:
    invoice = {"InvoiceID": payment.target.id, "CurrencyCode": payment.target.currency} | _HOLLOW
    block: dict[str, Any] = {"Invoice": invoice, "PaymentID": payment.id}
    if payment.reference:
        block["Reference"] = payment.reference
    return pretty(block | {"Amount": payment.amount, "BankAmount": payment.bank_amount})


def bank_transaction_block(entry: BankTransaction, detail: Detail, places: int = USUAL_PLACES) -> str:
    """Money spent or received; an over- or prepayment names the document that it is the bank's side of."""
    account = entry.account
    code = "" if account.code is None else f'\n    "Code": "{account.code}",'
    credit = "" if entry.credit is None else f'\n  "{id_key(entry.credit.kind)}": "{entry.credit.id}",'
    rate = "" if entry.rate == 1 and detail is not Detail.SINGLE else f'\n  "CurrencyRate": {entry.rate},'
    return f"""{{
  "BankTransactionID": "{entry.id}",
  "BankAccount": {{
    "AccountID": "{account.id}",{code}
    "Name": {quote(account.name)}
  }},
  "Type": "{entry.type}",
  "Reference": {quote(entry.reference)},
  "IsReconciled": {boolean(entry.is_reconciled)},{credit}
  "HasAttachments": false,{rate}
  "Contact": {contact_member(entry.contact, detail)},
  "DateString": {day_string(entry.on)},
  "Date": {day(entry.on)},
  "Status": "{entry.status}",
  "LineAmountTypes": "{entry.line_amounts}",
  "LineItems": {lines_block(entry, detail, places)},
  "SubTotal": {entry.sub_total},
  "TotalTax": {entry.total_tax},
  "Total": {entry.total},
  "UpdatedDateUTC": {instant(entry.updated_at)},
  "CurrencyCode": "{entry.currency}"
}}"""


def allocation_block(allocation: Allocation) -> str:
    """An allocation that was just made; its id is told by the credit only (Xero, OpenAPI examples)."""
    key = id_key(allocation.credit.kind)
    credit_id = allocation.credit.id
    return pretty(
        {
            "Amount": allocation.amount,
            "Date": plain_day(allocation.on),
            "Invoice": {"InvoiceID": allocation.invoice.id} | _HOLLOW | {"ValidationErrors": []},
            key.removesuffix("ID"): {key: credit_id, "ID": credit_id, "LineItems": []},
            "ValidationErrors": [],
        }
    )


def removed_allocation(allocation: Allocation) -> str:
    """The answer to a removal: `AllocationId` spelled so, and the invoice in a list."""
    block = {
        "AllocationId": allocation.id,
        "Date": plain_day(allocation.on),
        "Invoice": [{"InvoiceID": allocation.invoice.id}],
        "IsDeleted": True,
    }
    return pretty(block)


def note_block(note: Note, *, is_new: bool = False) -> str:
    """A record of a document's history; the answer to a new one has neither user nor kind of change."""
    when = {"DateUTCString": note.at.isoformat(timespec="seconds")[:19]}
    if is_new:
        new = {"DateUTC": f"/Date({milliseconds(note.at)})/", "Details": note.details, "ValidationErrors": []}
        return pretty(when | new)
    block = {"Changes": note.changes} | when | {"DateUTC": f"/Date({milliseconds(note.at)}+0000)/", "User": note.user}
    return pretty(block | {"Details": note.details} if note.details else block)
