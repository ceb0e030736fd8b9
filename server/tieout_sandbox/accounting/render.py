"""Sales documents and payments as Xero writes them: key order, twin dates, what a list leaves out.

What nearly every document contains is written where it will stand: moving blocks in later is felt in large books.
"""

from datetime import date
from enum import Enum, auto
from functools import lru_cache

from tieout_sandbox.accounting.render_contact import contact_block
from tieout_sandbox.accounting.wire import (
    array,
    boolean,
    day,
    day_string,
    instant,
    nest,
    optional,
    quote,
    seconds_string,
)
from tieout_sandbox.books.banking import BankTransaction
from tieout_sandbox.books.documents import (
    Allocation,
    Batch,
    Contact,
    Credit,
    CreditKind,
    Invoice,
    Line,
    Payment,
    Target,
)
from tieout_sandbox.books.ids import line_item_id

USUAL_PLACES = 2
"""Decimal places of UnitAmount unless `unitdp=4` is asked for."""


class Detail(Enum):
    """How much of a document an answer shows."""

    PAGE = auto()
    """An element of a paged list, or of one chosen by ids."""
    LISTING = auto()
    """An element of the old listing without paging: no line items, contacts without their paged fields."""
    SUMMARY = auto()
    """An element of a list with summaryOnly=true."""
    SINGLE = auto()
    """The only element of a single answer."""


def target_type(target: Target) -> str:
    """The Type of a payment's document, as it stands inside the payment."""
    return target.type if isinstance(target, Invoice) else target.type_in_payments


def invoice_block(
    invoice: Invoice,
    detail: Detail,
    places: int = USUAL_PLACES,
    *,
    brief_credits: bool = False,
    brief_payments: bool = False,
) -> str:
    """An invoice or bill; what is in it of credits (fact sheet U24) and of payments are open questions."""
    expected = "PlannedPaymentDate" if invoice.of_supplier else "ExpectedPaymentDate"
    paid_on = invoice.fully_paid_on
    summary = detail is Detail.SUMMARY
    payments = "" if summary else f'\n  "Payments": {_nested_payments(invoice, brief=brief_payments)},'
    lines = "" if summary else f'\n  "LineItems": {lines_block(invoice, detail, places)},'
    attachments = "" if summary else '\n  "HasAttachments": false,'
    return f"""{{
  "Type": "{invoice.type}",
  "InvoiceID": "{invoice.id}",
  "InvoiceNumber": {quote(invoice.number)},
  "Reference": {quote(invoice.reference)},{payments}
  "CreditNotes": {_applied(invoice, CreditKind.CREDIT_NOTE, brief=brief_credits)},
  "Prepayments": {_applied(invoice, CreditKind.PREPAYMENT, brief=brief_credits)},
  "Overpayments": {_applied(invoice, CreditKind.OVERPAYMENT, brief=brief_credits)},
  "AmountDue": {invoice.amount_due},
  "AmountPaid": {invoice.amount_paid},
  "AmountCredited": {invoice.amount_credited},{_optional_day(expected, invoice.expected_payment_on)}
  "SentToContact": {boolean(invoice.sent)},
  "CurrencyRate": {invoice.rate},
  "IsDiscounted": false,{attachments}
  "HasErrors": false,
  "Contact": {contact_member(invoice.contact, detail)},
  "DateString": {day_string(invoice.on)},
  "Date": {day(invoice.on)},
  "DueDateString": {day_string(invoice.due_on)},
  "DueDate": {day(invoice.due_on)},
  "Status": "{invoice.status}",
  "LineAmountTypes": "{invoice.line_amounts}",{lines}
  "SubTotal": {invoice.sub_total},
  "TotalTax": {invoice.total_tax},
  "Total": {invoice.total},
  "UpdatedDateUTC": {instant(invoice.updated_at)},
  "UpdatedDateUTCString": {seconds_string(invoice.updated_at)},{_optional_day("FullyPaidOnDate", paid_on)}
  "CurrencyCode": "{invoice.currency}"
}}"""


def credit_block(credit: Credit, detail: Detail, places: int = USUAL_PLACES) -> str:
    """A credit note, overpayment or prepayment."""
    paid_on = credit.fully_paid_on if credit.kind is CreditKind.CREDIT_NOTE else None  # others have no such key
    return f"""{{{_credit_head(credit)}
  "CurrencyRate": {credit.rate},
  "Type": "{credit.type}",{_credit_reference(credit)}
  "RemainingCredit": {credit.remaining_credit},
  "Allocations": {nest(array(_allocation(made, detail) for made in credit.allocations))},
  "Payments": {_nested_payments(credit)},
  "HasAttachments": false,
  "Contact": {contact_member(credit.contact, detail)},
  "DateString": {day_string(credit.on)},
  "Date": {day(credit.on)},
  "Status": "{credit.status}",
  "LineAmountTypes": "{"NoTax" if credit.kind is CreditKind.OVERPAYMENT else credit.line_amounts}",
  "LineItems": {lines_block(credit, detail, places)},
  "SubTotal": {credit.sub_total},
  "TotalTax": {credit.total_tax},
  "Total": {credit.total},
  "UpdatedDateUTC": {instant(credit.updated_at)},
  "UpdatedDateUTCString": {seconds_string(credit.updated_at)},{_optional_day("FullyPaidOnDate", paid_on)}
  "CurrencyCode": "{credit.currency}"
}}"""


def _optional_day(key: str, on: date | None) -> str:
    return "" if on is None else optional(key, day(on))


def _credit_head(credit: Credit) -> str:
    """A credit's ids: each stands there twice, and only credit notes have a number of their own."""
    key = id_key(credit.kind)
    number = f'\n  "CreditNoteNumber": {quote(credit.number)},' if credit.kind is CreditKind.CREDIT_NOTE else ""
    return f'\n  "{key}": "{credit.id}",{number}\n  "ID": "{credit.id}",'


def _credit_reference(credit: Credit) -> str:
    """The reference; a prepayment's is its invoice number (Xero, Prepayments)."""
    if credit.kind is CreditKind.PREPAYMENT:
        return f'\n  "Reference": {quote(credit.number)},\n  "InvoiceNumber": {quote(credit.number)},'
    return f'\n  "Reference": {quote(credit.reference)},'


def id_key(kind: CreditKind) -> str:
    """The name of a credit's primary id."""
    return {
        CreditKind.CREDIT_NOTE: "CreditNoteID",
        CreditKind.OVERPAYMENT: "OverpaymentID",
        CreditKind.PREPAYMENT: "PrepaymentID",
    }[kind]


def payment_block(payment: Payment, detail: Detail, places: int = USUAL_PLACES, *, texts_in_batch: bool = False) -> str:
    """A payment or refund."""
    return f"""{{
  "PaymentID": "{payment.id}",
  "Date": {day(payment.on)},
  "BankAmount": {payment.bank_amount},
  "Amount": {payment.amount},
  "Reference": {quote(payment.reference)},
  "CurrencyRate": {payment.rate},
  "PaymentType": "{payment.type}",
  "Status": "{payment.status}",
  "UpdatedDateUTC": {instant(payment.updated_at)},
  "UpdatedDateUTCString": {seconds_string(payment.updated_at)},
  "HasAccount": true,
  "IsReconciled": {boolean(payment.is_reconciled)},{_batch(payment.batch, texts=texts_in_batch)}
  "Account": {_payment_account(payment, detail)},
  "Invoice": {_payment_target(payment, detail, places)},
  "HasValidationErrors": false
}}"""


def _batch(batch: Batch | None, *, texts: bool) -> str:
    """The batch that a payment is part of; by switch, its total and IsReconciled are texts."""
    if batch is None:
        return ""
    total, is_reconciled = str(batch.total), boolean(batch.is_reconciled)
    if texts:
        total, is_reconciled = quote(total), quote(is_reconciled)
    block = f"""{{
  "Account": {{
    "AccountID": "{batch.account.id}"
  }},
  "BatchPaymentID": "{batch.id}",
  "Date": {day(batch.on)},
  "Type": "{batch.type}",
  "Status": "{batch.status}",
  "TotalAmount": {total},
  "UpdatedDateUTC": {instant(batch.updated_at)},
  "IsReconciled": {is_reconciled}
}}"""
    return f'\n  "BatchPayment": {nest(block)},\n  "BatchPaymentID": "{batch.id}",'


def _payment_account(payment: Payment, detail: Detail) -> str:
    account = payment.account
    code = "" if account.code is None else f',\n    "Code": "{account.code}"'
    name = f',\n    "Name": {quote(account.name)}' if detail is Detail.SINGLE else ""
    return f'{{\n    "AccountID": "{account.id}"{code}{name}\n  }}'


def _payment_target(payment: Payment, detail: Detail, places: int) -> str:
    """The paid document: an invoice whole in a single answer, else its name; a refunded credit stands there too."""
    target = payment.target
    if detail is Detail.SINGLE and isinstance(target, Invoice):
        return nest(invoice_block(target, Detail.PAGE, places))
    return f"""{{
    "Type": "{target_type(target)}",
    "InvoiceID": "{target.id}",
    "InvoiceNumber": {quote(target.number)},
    "Payments": [],
    "CreditNotes": [],
    "Prepayments": [],
    "Overpayments": [],
    "IsDiscounted": false,
    "HasErrors": false,
    "Contact": {nest(_stub(target.contact))},
    "LineItems": [],
    "CurrencyCode": "{target.currency}"
  }}"""


def _nested_payments(target: Target, *, brief: bool = False) -> str:
    """The payments inside their document."""
    if not target.payments:
        return "[]"
    blocks = (_nested_payment(payment, brief=brief) for payment in target.payments)
    return "[\n    " + ",\n    ".join(blocks) + "\n  ]"


def _nested_payment(payment: Payment, *, brief: bool) -> str:
    """A payment inside its document: no account, no status, and perhaps neither batch nor reference."""
    batch = f'\n      "BatchPaymentID": "{payment.batch.id}",' if payment.batch and not brief else ""
    reference = f'\n      "Reference": {quote(payment.reference)},' if payment.reference and not brief else ""
    return f"""{{
      "PaymentID": "{payment.id}",{batch}
      "Date": {day(payment.on)},
      "Amount": {payment.amount},{reference}
      "CurrencyRate": {payment.rate},
      "HasAccount": false,
      "HasValidationErrors": false
    }}"""


def _applied(invoice: Invoice, kind: CreditKind, *, brief: bool) -> str:
    """The credits of one kind that were set against an invoice (exact keys undocumented: fact sheet U24)."""
    if not invoice.allocations:
        return "[]"
    block = _briefly_applied_credit if brief else _applied_credit
    return nest(array(block(made) for made in invoice.allocations if made.credit.kind is kind))


def _briefly_applied_credit(allocation: Allocation) -> str:
    return f"""{{{_credit_head(allocation.credit)}
  "AppliedAmount": {allocation.amount}
}}"""


def _applied_credit(allocation: Allocation) -> str:
    credit = allocation.credit
    errors = '\n  "HasErrors": false,' if credit.kind is CreditKind.CREDIT_NOTE else ""
    return f"""{{{_credit_head(credit)}{errors}
  "AppliedAmount": {allocation.amount},
  "DateString": {day_string(allocation.on)},
  "Date": {day(allocation.on)},
  "LineItems": [],
  "Total": {credit.total}
}}"""


def _allocation(allocation: Allocation, detail: Detail) -> str:
    """An allocation inside its credit; only a single answer tells its id."""
    key = f'\n  "AllocationID": "{allocation.id}",' if detail is Detail.SINGLE else ""
    return f"""{{{key}
  "Amount": {allocation.amount},
  "Date": {day(allocation.on)},
  "Invoice": {{
    "InvoiceID": "{allocation.invoice.id}",
    "InvoiceNumber": {quote(allocation.invoice.number)},
    "Payments": [],
    "CreditNotes": [],
    "Prepayments": [],
    "Overpayments": [],
    "IsDiscounted": false,
    "HasErrors": false,
    "LineItems": []
  }}
}}"""


def lines_block(document: Invoice | Credit | BankTransaction, detail: Detail, places: int) -> str:
    """The line items; the old listing leaves them out."""
    if detail is Detail.LISTING:
        return "[]"
    if not document.lines:
        return "[]"
    ids = (line_item_id(document.id, index) for index in range(len(document.lines)))
    blocks = (f'{_line_without_id(line, places)}"{id_}"\n    }}' for line, id_ in zip(document.lines, ids, strict=True))
    return "[\n    " + ",\n    ".join(blocks) + "\n  ]"


@lru_cache(maxsize=4096)
def _line_without_id(line: Line, places: int) -> str:
    """A line up to its id, which stands last: made-up documents share their lines."""
    discount = f'\n      "DiscountRate": {line.discount_rate:.2f},' if line.discount_rate else ""
    return f"""{{
      "Description": {quote(line.description)},
      "UnitAmount": {line.unit_amount:.{places}f},
      "TaxType": "{line.tax_type or ("OUTPUT2" if line.tax_amount else "NONE")}",
      "TaxAmount": {line.tax_amount},
      "LineAmount": {line.line_amount},
      "AccountCode": {quote(line.account_code)},
      "Tracking": [],
      "Quantity": {line.quantity:.4f},{discount}
      "LineItemID": """


def contact_member(contact: Contact, detail: Detail) -> str:
    """The contact inside a document: whole in a single answer, else hardly more than its name."""
    return nest(contact_block(contact)) if detail is Detail.SINGLE else _stub(contact)


def _stub(contact: Contact) -> str:
    if contact.stub is None:
        contact.stub = f"""{{
    "ContactID": "{contact.id}",
    "Name": {quote(contact.name)},
    "Addresses": [],
    "Phones": [],
    "ContactGroups": [],
    "ContactPersons": [],
    "HasValidationErrors": false
  }}"""
    return contact.stub
